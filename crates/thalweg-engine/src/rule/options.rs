//! Rule options: what was written over what the instance says over what is built in (R1.9, rules.md 2).

use serde_json::{Map, Value as Json};
use thalweg_core::{Diagnostic, Props};
use thalweg_plan::PlanOptions;
use thalweg_runtime::RunOptions;

use super::definition::{self, Action};
use super::inert;
use super::schedule::{Schedule, Wrong};

/// What the options of a rule mean.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleOptions {
    /// isEventTime.
    pub event_time: bool,
    /// lateTolerance, milliseconds.
    pub late_tolerance: i64,
    /// lateData: the actions that take late rows.
    pub late_data: Vec<Action>,
    /// concurrency.
    pub concurrency: i64,
    /// bufferLength.
    pub buffer_length: i64,
    /// sendMetaToSink.
    pub send_meta: bool,
    /// sendNilField.
    pub send_nil: bool,
    /// sendError.
    pub send_error: bool,
    /// qos.
    pub qos: u8,
    /// checkpointInterval, milliseconds.
    pub checkpoint_interval: i64,
    /// restartStrategy.attempts.
    pub restart_attempts: i64,
    /// planOptimizeStrategy.optimizeControl.disableOptimizeRules.
    pub disabled_passes: Vec<String>,
    /// planOptimizeStrategy.windowOption.enableSendSlidingWindowTwice.
    pub sliding_twice: bool,
    /// disableBufferFullDiscard, when written.
    pub disable_discard: Option<bool>,
    /// enableSaveStateBeforeStop.
    pub save_before_stop: bool,
    /// latencyBudgetUs, microseconds.
    pub latency_budget: i64,
    /// cron.
    pub cron: String,
    /// duration, milliseconds; 0: none.
    pub duration: i64,
    /// What cron, duration and cronDatetimeRange say together, or what is wrong with them.
    pub schedule: Result<Option<Schedule>, Wrong>,
    /// What is written and has no effect, each with the reason or the name that may be meant.
    pub notes: Vec<String>,
}

impl RuleOptions {
    /// The options of a rule: its own, key by key, over the instance's.
    ///
    /// # Errors
    /// A value of the wrong type; the message names the option.
    pub fn new(instance: &Props, own: &Props) -> Result<Self, Diagnostic> {
        let mut all = instance.to_json();
        overlay(&mut all, &own.to_json());
        let all = Props::from(all.as_object().cloned().unwrap_or_default());
        check_types(&all)?;
        let flag = |name| all.bool(name).map(Option::unwrap_or_default);
        let int = |name, default| all.int(name).map(|value| value.unwrap_or(default));
        let qos = int("qos", 0)?;
        let small_qos = u8::try_from(qos).ok().filter(|qos| *qos <= 2);
        let cron = all.text("cron")?.unwrap_or_default().to_owned();
        let duration = all
            .millis("duration")
            .or_else(|error| if is_empty(&all, "duration") { Ok(None) } else { Err(error) })?
            .unwrap_or(0);
        let idle = (!cron.is_empty() && duration == 0).then(|| {
            "option cron has no effect without duration, which says how long each run is".to_owned()
        });
        let interval = all.millis("checkpointInterval")?.filter(|interval| *interval > 0);
        Ok(Self {
            event_time: flag("isEventTime")?,
            late_tolerance: all.millis("lateTolerance")?.unwrap_or(1_000),
            late_data: late_data(&all)?,
            concurrency: int("concurrency", 1)?,
            buffer_length: int("bufferLength", 1_024)?,
            send_meta: flag("sendMetaToSink")?,
            send_nil: flag("sendNilField")?,
            send_error: flag("sendError")?,
            qos: small_qos
                .ok_or_else(|| Diagnostic::plain(format!("option \"qos\" must be 0, 1 or 2, not {qos}")))?,
            checkpoint_interval: interval.unwrap_or(300_000),
            restart_attempts: attempts(&all)?,
            sliding_twice: sliding_twice(&all)?,
            disabled_passes: disabled_passes(&all)?,
            disable_discard: all.bool("disableBufferFullDiscard")?,
            save_before_stop: flag("enableSaveStateBeforeStop")?,
            latency_budget: int("latencyBudgetUs", 300)?,
            schedule: Schedule::read(&all, &cron, duration),
            notes: inert::options(own).into_iter().chain(idle).collect(),
            cron,
            duration,
        })
    }

    /// The names of all options, those in others with the path to them: `restartStrategy.attempts`.
    pub fn names() -> Vec<String> {
        inert::names()
    }

    /// What a rule of these options must not have (R1.3): upstream's texts, and the place of each.
    pub fn mistakes(&self) -> Vec<(&'static str, &'static str)> {
        let rules = [
            (self.concurrency, "invalidConcurrency:concurrency must be greater than 0", "concurrency"),
            (self.buffer_length, "invalidBufferLength:bufferLength must be greater than 0", "bufferLength"),
            (self.late_tolerance, "invalidLateTol:lateTol must be greater than 0", "lateTolerance"),
            (
                self.restart_attempts,
                "invalidRestartAttempts:restart attempts must be greater than 0",
                "restartStrategy/attempts",
            ),
        ];
        rules.into_iter().filter(|(value, ..)| *value < 0).map(|(_, text, place)| (text, place)).collect()
    }

    /// What the planner looks at.
    pub fn for_plan(&self, ignore_case: bool) -> PlanOptions {
        PlanOptions {
            event_time: self.event_time,
            late_tolerance: self.late_tolerance,
            late_data: !self.late_data.is_empty(),
            send_meta: self.send_meta,
            send_nil: self.send_nil,
            sliding_twice: self.sliding_twice,
            disabled_passes: self.disabled_passes.clone(),
            ignore_case,
        }
    }

    /// What the runtime looks at.
    pub fn for_run(&self, zone: &str) -> RunOptions {
        RunOptions {
            // A length of 0 is Go's unbuffered channel; ours holds at least one message.
            buffer_length: usize::try_from(self.buffer_length).unwrap_or_default().max(1),
            send_error: self.send_error,
            qos: self.qos,
            checkpoint_interval: self.checkpoint_interval,
            disable_discard: self.disable_discard,
            event_time: self.event_time,
            late_tolerance: self.late_tolerance,
            send_meta: self.send_meta,
            save_before_stop: self.save_before_stop,
            latency_budget: u64::try_from(self.latency_budget).unwrap_or_default(),
            zone: zone.into(),
            instance: std::sync::Arc::default(),
        }
    }
}

fn attempts(all: &Props) -> Result<i64, Diagnostic> {
    let attempts = part(all, "restartStrategy")?.int("attempts").map_err(|why| Diagnostic {
        message: why.message.replace("\"attempts\"", "\"restartStrategy.attempts\""),
        ..why
    })?;
    Ok(attempts.unwrap_or(0))
}

fn is_empty(props: &Props, name: &str) -> bool {
    props.get(name).and_then(Json::as_str).is_some_and(str::is_empty)
}

/// An option that holds options.
fn part(props: &Props, name: &str) -> Result<Props, Diagnostic> {
    match props.get(name) {
        None | Some(Json::Null) => Ok(Props::new()),
        Some(Json::Object(options)) => Ok(Props::from(options.clone())),
        Some(other) => Err(Diagnostic::plain(format!("option \"{name}\" must be an object, not {other}"))),
    }
}

fn disabled_passes(all: &Props) -> Result<Vec<String>, Diagnostic> {
    let control = part(&part(all, "planOptimizeStrategy")?, "optimizeControl")?;
    let wrong = |got: &Json| {
        Diagnostic::plain(format!("option \"disableOptimizeRules\" must be a list of names, not {got}"))
    };
    match control.get("disableOptimizeRules") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Array(names)) => {
            names.iter().map(|name| name.as_str().map(str::to_owned).ok_or_else(|| wrong(name))).collect()
        }
        Some(other) => Err(wrong(other)),
    }
}

/// What is of the right type, and nothing more.
fn check_types(all: &Props) -> Result<(), Diagnostic> {
    let strategy = part(all, "planOptimizeStrategy")?;
    for name in ["enableIncrementalWindow", "enableAliasPushdown", "disableAliasRefCal"] {
        strategy.bool(name)?;
    }
    part(&strategy, "windowOption")?.text("windowVersion")?;
    part(all, "experiment")?.bool("useSliceTuple")?;
    for name in ["debug", "notifySub", "enableRuleTracer"] {
        all.bool(name)?;
    }
    all.text("logFilename").map(drop)
}

fn sliding_twice(all: &Props) -> Result<bool, Diagnostic> {
    let window = part(&part(all, "planOptimizeStrategy")?, "windowOption")?;
    Ok(window.bool("enableSendSlidingWindowTwice")?.unwrap_or_default())
}

/// The actions that take late rows. In processing time there are none, so they would wait for ever.
fn late_data(all: &Props) -> Result<Vec<Action>, Diagnostic> {
    let items = match all.get("lateData") {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(items)) => items,
        Some(other) => {
            let message = format!("option \"lateData\" must be a list of actions, not {other}");
            return Err(Diagnostic::plain(message));
        }
    };
    let actions = definition::actions(items, "/options/lateData")
        .map_err(|why| Diagnostic { message: format!("option \"lateData\": {}", why.message), ..why })?;
    if !actions.is_empty() && !all.bool("isEventTime")?.unwrap_or_default() {
        let message =
            "option \"lateData\" needs \"isEventTime\": true, because only event time knows late rows";
        return Err(Diagnostic::plain(message));
    }
    Ok(actions)
}

/// Lays a document over another, objects member by member, names in any case.
pub(super) fn overlay(under: &mut Json, over: &Json) {
    match (under, over) {
        (Json::Object(under), Json::Object(over)) => {
            over.iter().for_each(|(name, value)| lay(under, name, value))
        }
        (under, over) => *under = over.clone(),
    }
}

fn lay(under: &mut Map<String, Json>, name: &str, value: &Json) {
    let known = under.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
    let place = under.entry(known.unwrap_or_else(|| name.to_owned())).or_insert(Json::Null);
    overlay(place, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn late_data_is_a_list_of_actions_of_an_event_time_rule() {
        let read = |own: &str| options("{}", own).map(|options| options.late_data);
        let refused = |own: &str| read(own).expect_err("it is refused").message;
        let actions = read(r#"{"isEventTime":true,"lateData":[{"log":{}},{"mqtt":{"topic":"t"}}]}"#);
        let actions = actions.expect("they are right");
        assert_eq!((&*actions[1].kind, actions[1].index), ("mqtt", 1));
        assert!(refused(r#"{"lateData":[{"log":{}}]}"#).contains("needs \"isEventTime\": true"));
        assert!(
            refused(r#"{"isEventTime":true,"lateData":{"log":{}}}"#).contains("must be a list of actions")
        );
        let item = refused(r#"{"isEventTime":true,"lateData":["log"]}"#);
        assert!(item.starts_with("option \"lateData\": an action must be an object"), "{item}");
        assert_eq!(read(r#"{"lateData":[]}"#), Ok(Vec::new()));
    }

    fn options(instance: &str, own: &str) -> Result<RuleOptions, Diagnostic> {
        let props = |text: &str| Props::from(serde_json::from_str::<Map<String, Json>>(text).expect("JSON"));
        RuleOptions::new(&props(instance), &props(own))
    }

    #[test]
    fn r1_9_own_options_lie_key_by_key_over_the_instances_and_those_over_the_built_in() {
        let options = options(
            r#"{"qos":1,"sendNilField":true,"restartStrategy":{"attempts":2,"delay":1}}"#,
            r#"{"QOS":2,"restartStrategy":{"delay":9},"checkpointInterval":"30s"}"#,
        )
        .expect("they are right");
        assert_eq!((options.qos, options.send_nil, options.restart_attempts), (2, true, 2));
        assert_eq!(
            (options.checkpoint_interval, options.late_tolerance, options.buffer_length),
            (30_000, 1_000, 1_024)
        );
    }

    #[test]
    fn r1_7_durations_are_milliseconds_or_go_text_and_nothing_else() {
        assert_eq!(options("{}", r#"{"lateTolerance":250}"#).map(|o| o.late_tolerance), Ok(250));
        assert_eq!(options("{}", r#"{"lateTolerance":"1m"}"#).map(|o| o.late_tolerance), Ok(60_000));
        assert_eq!(options("{}", r#"{"duration":""}"#).map(|o| o.duration), Ok(0));
        assert_eq!(options("{}", r#"{"checkpointInterval":-5}"#).map(|o| o.checkpoint_interval), Ok(300_000));
        assert!(options("{}", r#"{"lateTolerance":1.5}"#).is_err());
        assert!(options("{}", r#"{"qos":3}"#).is_err());
        assert!(options("{}", r#"{"sendError":"yes"}"#).expect_err("text").message.contains("sendError"));
    }

    #[test]
    fn unknown_options_are_told_with_the_name_that_may_be_meant_and_refused_by_nobody() {
        let options = options("{}", r#"{"isEventTim":true,"QOS":1,"color":"red","enableRuleTracer":true}"#);
        let told = options.expect("upstream accepts it").notes;
        assert_eq!(
            told,
            [
                "unknown option color has no effect",
                "unknown option isEventTim has no effect (did you mean isEventTime?)",
                "option enableRuleTracer has no effect: a rule is traced by POST /rules/{id}/trace/start"
            ]
        );
    }

    #[test]
    fn r1_3_negative_options_are_named_together() {
        let options = options("{}", r#"{"concurrency":-1,"bufferLength":-1}"#).expect("types are right");
        assert_eq!(
            options.mistakes(),
            [
                ("invalidConcurrency:concurrency must be greater than 0", "concurrency"),
                ("invalidBufferLength:bufferLength must be greater than 0", "bufferLength")
            ]
        );
    }
}
