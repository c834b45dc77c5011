//! Rules whose results go nowhere and whose condition is one bound (`a > 30`, `a * 2 > 30`; sink `nop`): nothing is
//! left to do for them but to count.
//!
//! A row meets a run of the sorted bounds, so one number per row says all: how many it meets. What a rule has counted
//! is the sum over the depths beyond its bound, made when somebody asks; a batch costs the same for ten such rules as
//! for ten thousand (hot-path.md 7.6).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::{Batch, Selection, Timestamp};
use thalweg_expr::EvalCx;

use super::conditions::Condition;
use super::conjunct::{self, Subject, Test};
use super::lane::NumberLane;
use super::mask;
use super::sharing::Share;
use super::tally::Count;

/// What a row must exceed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bound {
    subject: Subject,
    /// Whether the column's numbers and the bound are negated: `<`.
    is_upper: bool,
    exceeds: f64,
}

impl Bound {
    /// The bound that a rule asks for, when that is all and its results go nowhere.
    pub(super) fn of(condition: &Condition, share: &Share) -> Option<Self> {
        let (terms, is_all) = conjunct::leading_terms(&condition.expr);
        let is_all = is_all && share.swallows() && terms.len() == 1;
        let term = terms.into_iter().next().filter(|_| is_all)?;
        let (is_upper, bound, is_strict) = match term.test {
            Test::Above { bound, is_strict } => (false, bound, is_strict),
            Test::Below { bound, is_strict } => (true, -bound, is_strict),
            _ => return None,
        };
        // `>= b` is `>` the number before b.
        let exceeds = if is_strict { bound } else { bound.next_down() };
        bound.is_finite().then_some(Self { subject: term.subject, is_upper, exceeds })
    }
}

/// A rule's place among those that are only counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    cohort: u32,
    exceeds: f64,
}

/// The part of a rule in what its cohort counts.
#[derive(Debug)]
pub(super) struct Part {
    ledger: Arc<Ledger>,
    exceeds: f64,
    /// What stood there when it joined.
    base: Sum,
}

/// What was counted for a bound.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    rows: u64,
    nanos: u64,
    last: Reach,
}

impl Part {
    /// Hands on how to find out what the rule has counted since it joined, and its part of the time. Meanwhile nothing
    /// is counted, and no rule leaves.
    pub(super) fn look<T>(&self, with: impl FnOnce(&dyn Fn() -> (Count, u64)) -> T) -> T {
        let state = self.ledger.lock();
        with(&|| {
            let now = state.sum(self.exceeds);
            let nanos = now.nanos.wrapping_sub(self.base.nanos);
            if now.last.batch == self.base.last.batch {
                return (Count::default(), nanos);
            }
            let rows = now.rows.wrapping_sub(self.base.rows);
            (Count { rows, last: now.last.now, micros: now.last.micros }, nanos)
        })
    }
}

/// The counters of a cohort, written by its shard and read by anybody.
#[derive(Debug, Default)]
struct Ledger(Mutex<State>);

/// By depth: row or batch met so many bounds, and no more.
#[derive(Debug, Default)]
struct State {
    /// The bounds, ascending.
    bounds: Vec<f64>,
    /// The rules of each.
    rules: Vec<u32>,
    /// The rules that a depth reaches; empty when that has changed.
    reached: Vec<u32>,
    rows: Vec<u64>,
    nanos: Vec<u64>,
    reaches: Vec<Reach>,
    batches: u64,
}

/// The last batch whose greatest depth this was.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    batch: u64,
    now: Timestamp,
    micros: u64,
}

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// How many bounds a number exceeds; NaN none.
    #[inline]
    fn depth(&self, number: f64) -> usize {
        self.bounds.partition_point(|bound| *bound < number)
    }

    /// All that exceeded a bound.
    fn sum(&self, exceeds: f64) -> Sum {
        let beyond = self.depth(exceeds) + 1;
        let from = |list: &[u64]| list.get(beyond..).unwrap_or_default().iter().fold(0, add);
        let reaches = self.reaches.get(beyond..).unwrap_or_default();
        Sum {
            rows: from(&self.rows),
            nanos: from(&self.nanos),
            last: reaches.iter().max_by_key(|reach| reach.batch).copied().unwrap_or_default(),
        }
    }

    /// One more rule. What was counted before for other bounds stays true; for a new one it says nothing, and is
    /// subtracted.
    fn join(&mut self, exceeds: f64) {
        let at = self.depth(exceeds);
        self.reached.clear();
        if self.bounds.get(at) == Some(&exceeds) {
            self.rules[at] += 1;
            return;
        }
        let n_depths = self.bounds.len() + 1;
        self.rows.resize(n_depths, 0);
        self.nanos.resize(n_depths, 0);
        self.reaches.resize(n_depths, Reach::default());
        self.bounds.insert(at, exceeds);
        self.rules.insert(at, 1);
        self.rows.insert(at + 1, 0);
        self.nanos.insert(at + 1, 0);
        self.reaches.insert(at + 1, Reach::default());
    }

    /// One rule less.
    fn leave(&mut self, exceeds: f64) {
        let at = self.depth(exceeds);
        if self.bounds.get(at) != Some(&exceeds) {
            return;
        }
        self.reached.clear();
        self.rules[at] -= 1;
        if self.rules[at] > 0 {
            return;
        }
        self.bounds.remove(at);
        self.rules.remove(at);
        self.rows[at] = self.rows[at].wrapping_add(self.rows.remove(at + 1));
        self.nanos[at] = self.nanos[at].wrapping_add(self.nanos.remove(at + 1));
        let reach = self.reaches.remove(at + 1);
        if reach.batch > self.reaches[at].batch {
            self.reaches[at] = reach;
        }
    }

    /// The rules that rows of this depth pass.
    fn n_reached(&mut self, depth: usize) -> u32 {
        if self.reached.is_empty() {
            self.reached.push(0);
            let mut sum = 0;
            self.reached.extend(self.rules.iter().map(|rules| {
                sum += rules;
                sum
            }));
        }
        self.reached.get(depth).copied().unwrap_or_default()
    }
}

fn add(sum: u64, more: &u64) -> u64 {
    sum.wrapping_add(*more)
}

/// All cohorts of a stream.
#[derive(Default)]
pub(super) struct Cohorts {
    lanes: Vec<NumberLane>,
    list: Vec<Option<Cohort>>,
}

/// Rules with one SELECT list and bounds for one column.
struct Cohort {
    /// The group of that list.
    group: u32,
    lane: u32,
    is_upper: bool,
    n_rules: usize,
    ledger: Arc<Ledger>,
    /// Of the batch at hand: how many bounds each row exceeds, and the most that any does.
    depths: Vec<u32>,
    most: usize,
    rows: Vec<u64>,
}

/// What a cohort has in the batch at hand.
pub(super) struct Stake<'a> {
    pub group: u32,
    pub rows: &'a [u64],
    pub n_rules: usize,
}

impl Cohorts {
    /// Takes a rule of a group in.
    pub(super) fn join(&mut self, bound: Bound, group: u32) -> (Place, Box<Part>) {
        let lane = NumberLane::place(&mut self.lanes, &bound.subject);
        self.lanes[lane].users += 1;
        let (lane, is_upper) = (lane as u32, bound.is_upper);
        let is_same =
            |cohort: &Cohort| (cohort.group, cohort.lane, cohort.is_upper) == (group, lane, is_upper);
        let known = self.list.iter().position(|cohort| cohort.as_ref().is_some_and(is_same));
        let at = known.or_else(|| self.list.iter().position(Option::is_none)).unwrap_or_else(|| {
            self.list.push(None);
            self.list.len() - 1
        });
        let cohort = self.list[at].get_or_insert_with(|| Cohort::new((group, lane), is_upper));
        cohort.n_rules += 1;
        let (exceeds, ledger) = (bound.exceeds, Arc::clone(&cohort.ledger));
        let mut state = ledger.lock();
        state.join(exceeds);
        let base = state.sum(exceeds);
        drop(state);
        (Place { cohort: at as u32, exceeds }, Box::new(Part { ledger, exceeds, base }))
    }

    /// Lets one go, which has noted what it has counted.
    pub(super) fn leave(&mut self, place: Place) {
        let Some(cohort) = &mut self.list[place.cohort as usize] else { return };
        cohort.ledger.lock().leave(place.exceeds);
        self.lanes[cohort.lane as usize].users -= 1;
        cohort.n_rules -= 1;
        if cohort.n_rules == 0 {
            self.list[place.cohort as usize] = None;
        }
    }

    /// Looks at the next batch: the cohorts whose bounds rows exceed go to `met`. False when a cell is neither number
    /// nor nothing, so that comparing it fails, or calculating it panics: then the rules have to see the batch themselves.
    pub(super) fn measure(
        &mut self,
        (batch, rows): (&Batch, &Selection),
        cx: &mut EvalCx<'_>,
        mut met: impl FnMut(u32, Stake<'_>),
    ) -> bool {
        let lanes = || {
            self.lanes.iter_mut().filter(|lane| lane.users > 0).all(|lane| {
                lane.read(batch, cx);
                lane.odd.rows().is_none()
            })
        };
        if !catch_unwind(AssertUnwindSafe(lanes)).unwrap_or(false) {
            return false;
        }
        for (at, cohort) in self.list.iter_mut().enumerate() {
            let Some(cohort) = cohort else { continue };
            let lane = &self.lanes[cohort.lane as usize];
            let n_rules = cohort.measure(&lane.values, rows);
            if n_rules > 0 {
                met(at as u32, Stake { group: cohort.group, rows: &cohort.rows, n_rules });
            }
        }
        true
    }

    /// Counts the rows of the batch at hand that passed the rules of a cohort, each of which took so long; nothing,
    /// and false, when the rules have to see some of the rows themselves.
    pub(super) fn count(
        &mut self,
        cohort: u32,
        refused: &[u64],
        (now, micros): (Timestamp, u64),
        nanos: u64,
    ) -> bool {
        let Some(cohort) = &mut self.list[cohort as usize] else { return true };
        if mask::meets(&cohort.rows, refused) {
            return false;
        }
        let mut state = cohort.ledger.lock();
        for depth in cohort.depths.iter().filter(|depth| **depth > 0) {
            let rows = &mut state.rows[*depth as usize];
            *rows = rows.wrapping_add(1);
        }
        state.batches += 1;
        let batch = state.batches;
        state.reaches[cohort.most] = Reach { batch, now, micros };
        state.nanos[cohort.most] = state.nanos[cohort.most].wrapping_add(nanos);
        true
    }

    /// Whether rows of the batch at hand pass a rule.
    pub(super) fn is_met(&self, place: Place, cohort: u32) -> bool {
        place.cohort == cohort
            && self.list[cohort as usize]
                .as_ref()
                .is_some_and(|cohort| cohort.ledger.lock().depth(place.exceeds) < cohort.most)
    }
}

impl Cohort {
    fn new((group, lane): (u32, u32), is_upper: bool) -> Self {
        let (ledger, depths, rows) = (Arc::default(), Vec::new(), Vec::new());
        Self { group, lane, is_upper, n_rules: 0, ledger, depths, most: 0, rows }
    }

    /// How many rules any row passes.
    fn measure(&mut self, values: &[f64], rows: &Selection) -> usize {
        let Self { ledger, depths, most, .. } = self;
        let (mut state, sign) = (ledger.lock(), if self.is_upper { -1.0 } else { 1.0 });
        depths.clear();
        if rows.len() == values.len() {
            depths.extend(values.iter().map(|value| state.depth(sign * value) as u32));
        } else {
            depths.resize(values.len(), 0);
            rows.iter().for_each(|row| depths[row] = state.depth(sign * values[row]) as u32);
        }
        *most = depths.iter().max().copied().unwrap_or_default() as usize;
        if *most == 0 {
            return 0;
        }
        self.rows.clear();
        let word = |depths: &[u32]| {
            depths.iter().enumerate().fold(0, |word, (row, depth)| word | u64::from(*depth > 0) << row)
        };
        self.rows.extend(depths.chunks(64).map(word));
        state.n_reached(*most) as usize
    }
}
