//! The life of one rule as a pure function: a state and a signal give a state and effects (rules.md 4.1).
//!
//! Whoever calls [`step`] performs the effects and brings their results back as signals. Nothing here knows a clock,
//! a task or the runtime.

use std::collections::VecDeque;
use std::sync::Arc;

/// Where a rule stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It does not run.
    Stopped,
    /// It does not run because it failed.
    StoppedByError,
    /// Its run is being launched.
    Starting,
    /// It runs; its connections may still be coming up (R4.2).
    Running,
    /// Its run is ending.
    Stopping,
    /// It waits for its schedule.
    Waiting,
}

impl Phase {
    /// The status text that clients know.
    pub fn text(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::StoppedByError => "stopped by error",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Waiting => "stopped: waiting for next schedule.",
        }
    }

    /// Whether something of the rule is alive.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Stopping)
    }
}

/// What can happen to a rule.
#[derive(Debug, Clone, PartialEq)]
pub enum Signal {
    /// Somebody wants it to run.
    Start,
    /// Somebody wants it to stop; the text becomes the message.
    Stop(Arc<str>),
    /// Its schedule wants it to run.
    ScheduledStart,
    /// Its schedule wants it to stop.
    ScheduledStop,
    /// It is to wait for its schedule, without having run (R4.3).
    Park,
    /// The launch succeeded.
    Launched,
    /// The launch failed, and why.
    LaunchFailed(Arc<str>),
    /// All bounded sources have ended (R4.6).
    Done,
    /// The run cannot go on (R5.12), and why.
    Failed(Arc<str>),
    /// The run has ended and is taken apart.
    Closed,
}

/// What the caller of [`step`] must do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Build and launch the run; answer with `Launched` or `LaunchFailed`.
    Launch,
    /// Stop the run; answer with `Closed`.
    Halt,
    /// Store `triggered: false` (R4.6).
    ForgetTrigger,
}

/// The state of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Where it stands.
    pub phase: Phase,
    /// Why it stands there.
    pub message: Arc<str>,
    /// Where it will stand once its run is taken apart, and the message then. Only while stopping.
    ending: Option<(Phase, Arc<str>)>,
    /// Signals that wait for a transition to end (R4.1).
    queue: VecDeque<Signal>,
}

impl Default for State {
    fn default() -> Self {
        Self { phase: Phase::Stopped, message: Arc::default(), ending: None, queue: VecDeque::new() }
    }
}

impl State {
    /// A rule that could not even be planned.
    pub fn failed(why: Arc<str>) -> Self {
        Self { phase: Phase::StoppedByError, message: why, ..Self::default() }
    }

    /// Whether no transition is under way and none is queued.
    pub fn is_settled(&self) -> bool {
        self.queue.is_empty() && !matches!(self.phase, Phase::Starting | Phase::Stopping)
    }

    fn to(mut self, phase: Phase, message: impl Into<Arc<str>>) -> Self {
        self.phase = phase;
        self.message = message.into();
        self
    }

    fn queued(mut self, signal: Signal) -> Self {
        if self.queue.back() != Some(&signal) {
            self.queue.push_back(signal);
        }
        self
    }

    fn ending(mut self, phase: Phase, message: Arc<str>) -> Self {
        self.ending = Some((phase, message));
        self.to(Phase::Stopping, "")
    }
}

/// What a signal does to a state.
pub fn step(state: State, signal: Signal) -> (State, Vec<Effect>) {
    match signal {
        Signal::Start | Signal::Stop(_) | Signal::ScheduledStart | Signal::ScheduledStop | Signal::Park => {
            ask(state, signal)
        }
        Signal::Launched if state.phase == Phase::Starting => next(state.to(Phase::Running, ""), Vec::new()),
        Signal::LaunchFailed(why) if state.phase == Phase::Starting => {
            next(state.to(Phase::StoppedByError, why), Vec::new())
        }
        Signal::Done if state.phase == Phase::Running => {
            (state.ending(Phase::Stopped, Arc::from("done")), vec![Effect::ForgetTrigger, Effect::Halt])
        }
        Signal::Failed(why) if state.phase == Phase::Running => {
            (state.ending(Phase::StoppedByError, why), vec![Effect::Halt])
        }
        Signal::Closed if state.phase == Phase::Stopping => {
            let mut state = state;
            let (phase, message) = state.ending.take().unwrap_or((Phase::Stopped, Arc::default()));
            next(state.to(phase, message), Vec::new())
        }
        // The result of something that is no longer under way.
        _ => (state, Vec::new()),
    }
}

/// The table of rules.md 4.1.
fn ask(state: State, signal: Signal) -> (State, Vec<Effect>) {
    let transition = matches!(state.phase, Phase::Starting | Phase::Stopping);
    if transition {
        let starts = matches!(signal, Signal::Start | Signal::ScheduledStart);
        let ignored = state.phase == Phase::Starting && starts && state.queue.is_empty();
        return (if ignored { state } else { state.queued(signal) }, Vec::new());
    }
    match (state.phase, signal) {
        (Phase::Stopped | Phase::StoppedByError, Signal::Start | Signal::ScheduledStart) => launch(state),
        (Phase::Waiting, Signal::ScheduledStart) => launch(state),
        (Phase::Stopped | Phase::StoppedByError, Signal::Park) => {
            next(state.to(Phase::Waiting, ""), Vec::new())
        }
        (Phase::Running, Signal::Stop(why)) => (state.ending(Phase::Stopped, why), vec![Effect::Halt]),
        (Phase::Running, Signal::ScheduledStop) => {
            (state.ending(Phase::Waiting, Arc::from("schedule terminated")), vec![Effect::Halt])
        }
        (Phase::Waiting, Signal::Stop(why)) => next(state.to(Phase::Stopped, why), Vec::new()),
        _ => next(state, Vec::new()),
    }
}

fn launch(state: State) -> (State, Vec<Effect>) {
    (state.to(Phase::Starting, ""), vec![Effect::Launch])
}

/// R4.1: reaching running or any stopped state performs the next queued signal.
fn next(mut state: State, mut effects: Vec<Effect>) -> (State, Vec<Effect>) {
    match state.queue.pop_front() {
        None => (state, effects),
        Some(signal) => {
            let (state, more) = ask(state, signal);
            effects.extend(more);
            (state, effects)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop() -> Signal {
        Signal::Stop(Arc::from("canceled manually"))
    }

    fn at(phase: Phase) -> State {
        State { phase, ..State::default() }
    }

    /// Runs signals and prints each phase reached with its effects.
    fn walk(mut state: State, signals: Vec<Signal>) -> Vec<(Phase, Vec<Effect>)> {
        let mut seen = Vec::new();
        for signal in signals {
            let (next, effects) = step(state, signal);
            seen.push((next.phase, effects));
            state = next;
        }
        seen
    }

    #[test]
    fn the_table_of_rules_md_4_1_holds() {
        use Phase::*;
        for (phase, start, stopped, by_plan, plan_stop) in [
            (Stopped, Starting, Stopped, Starting, Stopped),
            (StoppedByError, Starting, StoppedByError, Starting, StoppedByError),
            (Starting, Starting, Starting, Starting, Starting),
            (Running, Running, Stopping, Running, Stopping),
            (Stopping, Stopping, Stopping, Stopping, Stopping),
            (Waiting, Waiting, Stopped, Starting, Waiting),
        ] {
            let to = |signal| step(at(phase), signal).0.phase;
            assert_eq!(
                [to(Signal::Start), to(stop()), to(Signal::ScheduledStart), to(Signal::ScheduledStop)],
                [start, stopped, by_plan, plan_stop],
                "{phase:?}"
            );
        }
    }

    #[test]
    fn r4_1_signals_during_a_transition_are_done_after_it_and_repeats_are_dropped() {
        let (state, _) = step(at(Phase::Starting), stop());
        let (state, _) = step(state, stop());
        let (state, _) = step(state, Signal::Start);
        let (state, effects) = step(state, Signal::Launched);
        assert_eq!((state.phase, effects), (Phase::Stopping, vec![Effect::Halt]));
        let (state, effects) = step(state, Signal::Closed);
        assert_eq!((state.phase, effects), (Phase::Starting, vec![Effect::Launch]));
        let (state, _) = step(state, Signal::Launched);
        assert!(state.is_settled() && state.phase == Phase::Running);
    }

    #[test]
    fn a_restart_is_stop_and_start() {
        let seen = walk(at(Phase::Running), vec![stop(), Signal::Start, Signal::Closed, Signal::Launched]);
        assert_eq!(seen[2], (Phase::Starting, vec![Effect::Launch]));
        assert_eq!(seen[3], (Phase::Running, vec![]));
    }

    #[test]
    fn r4_6_the_end_of_all_input_stops_with_done_and_forgets_the_trigger() {
        let (state, effects) = step(at(Phase::Running), Signal::Done);
        assert_eq!(effects, [Effect::ForgetTrigger, Effect::Halt]);
        let (state, _) = step(state, Signal::Closed);
        assert_eq!((state.phase, state.message.as_ref()), (Phase::Stopped, "done"));
    }

    #[test]
    fn r4_8_a_run_that_fails_leaves_its_error_as_the_message() {
        let (state, _) = step(at(Phase::Running), Signal::Failed(Arc::from("it broke")));
        let (state, _) = step(state, Signal::Closed);
        assert_eq!((state.phase, state.message.as_ref()), (Phase::StoppedByError, "it broke"));
        let (state, _) = step(at(Phase::Starting), Signal::LaunchFailed(Arc::from("no sink")));
        assert_eq!((state.phase, state.message.as_ref()), (Phase::StoppedByError, "no sink"));
        assert_eq!(step(state, Signal::Start).1, [Effect::Launch]);
    }

    #[test]
    fn a_late_result_changes_nothing() {
        for signal in [Signal::Launched, Signal::Done, Signal::Closed, Signal::Failed(Arc::default())] {
            assert_eq!(step(at(Phase::Stopped), signal).0, at(Phase::Stopped));
        }
    }
}
