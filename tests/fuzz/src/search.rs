//! Tries inputs of one target on a thread of its own, watched: panics, differences, and inputs that take too long.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Seek, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, Once, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::choices::{Choices, Shrink, seed_of};
use crate::{Input, Target};

/// As much stack as the threads of the engine have.
const STACK: usize = 2 << 20;
const SHRINKS: usize = 3_000;

/// What to try.
#[derive(Debug, Clone)]
pub struct Search {
    /// Makes the inputs.
    pub seed: u64,
    /// The number of the first one.
    pub first: u64,
    /// How many at most.
    pub inputs: u64,
    /// How long.
    pub time: Option<Duration>,
    /// How long one input may take.
    pub patience: Duration,
    /// A file that always names the input being tried, for when the process itself dies.
    pub note: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Inputs tried.
    pub inputs: u64,
    /// One for each kind of trouble.
    pub findings: Vec<Finding>,
}

/// An input that went wrong.
#[derive(Debug, Clone)]
pub struct Finding {
    /// Its number.
    pub number: u64,
    /// What went wrong.
    pub trouble: String,
    /// The smallest input for which it does.
    pub input: String,
}

impl Finding {
    /// For people, with the command that repeats it.
    pub fn describe(&self, target: &Target, seed: u64) -> String {
        let command = format!("cargo xtask fuzz --target {} --seed {seed} --at {}", target.name, self.number);
        format!("{}\n--- input\n{}\n--- repeat\n{command}", self.trouble, self.input)
    }

    /// Equal for findings that are probably the same.
    fn kind(&self) -> String {
        let line = self.trouble.lines().next().unwrap_or_default();
        line.chars().filter(|c| !c.is_ascii_digit()).take(60).collect()
    }
}

/// The input being tried, for the watchdog.
#[derive(Default)]
struct Watched {
    number: u64,
    since: Option<Moment>,
    input: String,
}

/// A moment, in time for everybody and in time that this process got.
#[derive(Clone, Copy)]
struct Moment {
    wall: Instant,
    used: Option<Duration>,
}

impl Moment {
    fn now() -> Self {
        Self { wall: Instant::now(), used: time_used() }
    }

    /// Whether an input that began then has used up this patience. A busy machine may stop the process for long, so
    /// the time it got counts where the system tells it.
    fn is_over(&self, patience: Duration) -> bool {
        let passed = self.wall.elapsed();
        match (self.used, time_used()) {
            (Some(before), Some(now)) => now.saturating_sub(before) > patience || passed > patience * 30,
            _ => passed > patience,
        }
    }
}

/// The processor time of this process so far, from `/proc`, where 100 ticks are a second.
fn time_used() -> Option<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(Duration::from_millis(ticks * 10))
}

type Watch = Arc<Mutex<Watched>>;

/// Tries inputs until time or number is used up. An input that hangs ends the search: its thread cannot be stopped.
pub fn search(target: &'static Target, search: &Search) -> Outcome {
    let watch = Watch::default();
    let outcome: Arc<Mutex<Outcome>> = Arc::default();
    let (done, end) = channel();
    let worker = {
        let (watch, outcome, search) = (Arc::clone(&watch), Arc::clone(&outcome), search.clone());
        let work = move || {
            listen_to_panics();
            worker(target, &search, &watch, &outcome);
            let _ = done.send(());
        };
        thread::Builder::new().name(format!("fuzz-{}", target.name)).stack_size(STACK).spawn(work)
    };
    let hang = match worker {
        Ok(_) => wait(&end, &watch, search.patience),
        Err(error) => {
            Some(Finding { number: 0, trouble: format!("no thread: {error}"), input: String::new() })
        }
    };
    let mut outcome = lock(&outcome).clone();
    outcome.findings.extend(hang);
    outcome
}

/// Waits for the end; gives the input that takes longer than `patience`.
fn wait(end: &std::sync::mpsc::Receiver<()>, watch: &Watch, patience: Duration) -> Option<Finding> {
    loop {
        match end.recv_timeout(Duration::from_millis(50)) {
            Ok(()) => return None,
            Err(RecvTimeoutError::Disconnected) => {
                let watched = lock(watch);
                let trouble = "the harness itself panicked".to_owned();
                return Some(Finding { number: watched.number, trouble, input: watched.input.clone() });
            }
            Err(RecvTimeoutError::Timeout) => {
                let watched = lock(watch);
                if watched.since.is_some_and(|since| since.is_over(patience)) {
                    let trouble = format!("takes longer than {patience:?}");
                    return Some(Finding { number: watched.number, trouble, input: watched.input.clone() });
                }
            }
        }
    }
}

fn worker(target: &Target, search: &Search, watch: &Watch, outcome: &Mutex<Outcome>) {
    let started = Instant::now();
    let mut note = search.note.as_ref().and_then(|path| File::create(path).ok());
    for number in search.first..search.first.saturating_add(search.inputs) {
        if search.time.is_some_and(|time| started.elapsed() >= time) {
            return;
        }
        if let Some(file) = &mut note {
            let text = format!("--target {} --seed {} --at {number}\n", target.name, search.seed);
            drop(file.rewind().and_then(|()| file.set_len(0)).and_then(|()| file.write_all(text.as_bytes())));
        }
        let mut choices = Choices::random(seed_of(search.seed, target.name, number));
        let failed = attempt(target, &mut choices, (number, watch));
        let mut finding = failed.map(|(trouble, input)| Finding { number, trouble, input });
        let is_new =
            |finding: &Finding| lock(outcome).findings.iter().all(|known| known.kind() != finding.kind());
        if let Some(found) = finding.take_if(|found| is_new(found)) {
            let small = smallest(target, &choices, found, watch);
            let mut outcome = lock(outcome);
            if outcome.findings.iter().all(|known| known.kind() != small.kind()) {
                outcome.findings.push(small);
            }
        }
        lock(outcome).inputs += 1;
    }
}

/// Shrinks, as long as the same kind of trouble remains.
fn smallest(target: &Target, choices: &Choices, found: Finding, watch: &Watch) -> Finding {
    let mut best = found;
    let number = best.number;
    let shrink = Shrink::new(choices.trail(), SHRINKS, |script| {
        let mut choices = Choices::replay(script);
        let (trouble, input) = attempt(target, &mut choices, (number, watch))?;
        let finding = Finding { number, trouble, input };
        (finding.kind() == best.kind()).then(|| choices.trail())
    });
    let mut choices = Choices::replay(shrink.run());
    if let Some((trouble, input)) = attempt(target, &mut choices, (number, watch)) {
        best = Finding { number, trouble, input };
    }
    best
}

/// Draws and checks one input: what is wrong, and the input.
fn attempt(
    target: &Target,
    choices: &mut Choices,
    (number, watch): (u64, &Watch),
) -> Option<(String, String)> {
    drop(take_panic());
    *lock(watch) = Watched { number, since: Some(Moment::now()), input: "(being drawn)".to_owned() };
    let drawn = catch_unwind(AssertUnwindSafe(|| (target.draw)(choices)));
    let Ok(input) = drawn else {
        return Some((take_panic().unwrap_or_default(), "(the generator itself)".to_owned()));
    };
    let text = input.text();
    lock(watch).input.clone_from(&text);
    let checked = catch_unwind(AssertUnwindSafe(|| input.check()));
    // A panic that somebody caught on the way counts all the same.
    let trouble = match (take_panic(), checked) {
        (Some(panic), _) => Some(panic),
        (None, Ok(Err(difference))) => Some(difference),
        (None, Ok(Ok(()))) => None,
        (None, Err(_)) => Some("panicked without a word".to_owned()),
    };
    drop_quietly(input);
    lock(watch).since = None;
    trouble.map(|trouble| (trouble, text))
}

/// Dropping may panic too.
fn drop_quietly(input: Box<dyn Input>) {
    drop(catch_unwind(AssertUnwindSafe(|| drop(input))));
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

thread_local! {
    /// The first panic since the last look; `None` outside: this thread does not listen.
    static HEARD: RefCell<Option<Option<String>>> = const { RefCell::new(None) };
}

/// Panics of this thread are kept instead of printed, from now on.
fn listen_to_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let is_heard = HEARD.with_borrow_mut(|heard| match heard {
                Some(first) => {
                    first.get_or_insert_with(|| format!("panic: {panic}{}", trace()));
                    true
                }
                None => false,
            });
            if !is_heard {
                usual(panic);
            }
        }));
    });
    HEARD.with_borrow_mut(|heard| *heard = Some(None));
}

fn take_panic() -> Option<String> {
    HEARD.with_borrow_mut(|heard| heard.as_mut().and_then(Option::take))
}

/// Where a panic came from, our own code only, when `RUST_BACKTRACE` asks for it.
fn trace() -> String {
    let trace = std::backtrace::Backtrace::capture();
    if trace.status() != std::backtrace::BacktraceStatus::Captured {
        return String::new();
    }
    let text = trace.to_string();
    let ours = text.lines().filter(|line| line.contains("./crates/")).take(12);
    ours.map(|line| format!("\n{}", line.trim())).collect()
}
