//! Conditions of the rules of one stream, each asked once a batch however many rules ask it, and most of them by an
//! index (`contracts.md` 2, hot-path.md 7.6).
//!
//! Only pure conditions over the stream's own slots are filed. What a condition says is handed to every rule that
//! asks it; one that no row passes or fails is not mentioned at all, so it costs nothing.
//!
//! A condition begins with [`Term`]s, which an index can answer, and goes on with the *rest*. One of the terms is its
//! *access*: the rows that meet it are found without looking at the condition. Rows of which a term's cell is *odd*
//! may fail, and rows that meet all terms of a condition with a rest may do anything: those rows are asked the
//! condition itself, so every answer and every error is that of the rule alone (`contracts.md` 9).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;

use chrono_tz::Tz;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::selection::Live;
use thalweg_core::{Batch, Clock, Selection};
use thalweg_expr::expr::Hits;
use thalweg_expr::{EvalCx, Expr};

use super::filing::Filing;
use super::mask::{self, Masks};
use crate::operator::Verdict;

/// What a rule asks of the rows of a scan.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub expr: Expr,
    /// The zone in which it is evaluated (T-12).
    pub zone: Tz,
}

impl Condition {
    /// Equal for equal conditions.
    pub(super) fn key(&self) -> String {
        format!("{:?} {}", self.expr.key(), self.zone)
    }
}

/// The conditions of a stream's rules, and what they say of the batch at hand.
#[derive(Default)]
pub(crate) struct Conditions {
    filing: Filing,
    /// The conditions that any row passes or fails.
    hits: Vec<Hit>,
    /// Of each condition: its place among the hits.
    places: Vec<u32>,
    /// Verdicts of earlier batches, for their room.
    spare: Vec<Verdict>,
    sets: Masks,
    live: Vec<u64>,
    /// Set while the rules are to ask by themselves: something shared has panicked on this batch.
    is_private: bool,
    /// Nobody's: tells whether a condition counts exceptions.
    metrics: NodeMetrics,
}

/// A condition that rows pass or fail.
pub(crate) struct Hit {
    pub condition: u32,
    pub verdict: Verdict,
}

/// What is known of a condition.
pub(crate) enum Said<'a> {
    /// No row passes, and none fails.
    Nothing,
    /// These do.
    Verdict(&'a Verdict),
    /// It panicked once, or counted an exception that every asking rule has to count: each of them evaluates it by
    /// itself, and who panics stops (`contracts.md` 9).
    Private,
}

const NOWHERE: u32 = u32::MAX;
const PRIVATE: u32 = u32::MAX - 1;

impl Conditions {
    /// Files a condition and tells by which number to ask for it.
    pub(crate) fn join(&mut self, condition: Condition) -> u32 {
        let (number, is_new) = self.filing.join(condition);
        if is_new {
            self.places.resize(self.filing.len(), NOWHERE);
            self.places[number as usize] = NOWHERE;
        }
        number
    }

    /// One rule asks no longer.
    pub(crate) fn leave(&mut self, number: u32) {
        self.filing.leave(number);
    }

    /// Asks all conditions about the next batch.
    pub(crate) fn judge(&mut self, batch: &Batch, rows: &Selection, clock: &dyn Clock) {
        for hit in self.hits.drain(..) {
            if self.places[hit.condition as usize] != PRIVATE {
                self.places[hit.condition as usize] = NOWHERE;
            }
            self.spare.push(hit.verdict);
        }
        self.is_private = false;
        if rows.is_empty() || self.filing.is_empty() {
            return;
        }
        let began = clock.monotonic_micros();
        match &rows.live {
            Live::All(n) if *n as usize == batch.n_rows => self.live.clear(),
            _ => mask::fill(&mut self.live, rows.iter(), batch.n_rows),
        }
        let found = catch_unwind(AssertUnwindSafe(|| {
            self.sets.begin(self.filing.len(), batch.n_rows);
            // What is calculated for an index depends on no zone and counts nothing.
            self.filing.search(batch, &mut self.sets, &mut surroundings(Tz::UTC, clock, &self.metrics));
        }));
        if found.is_err() {
            self.sets.reset();
            self.is_private = true;
            return;
        }
        self.take(batch);
        self.ask_odd(batch, clock);
        self.ask_rest(batch, rows, clock);
        let micros = clock.monotonic_micros().saturating_sub(began);
        self.hits.iter_mut().for_each(|hit| hit.verdict.micros = micros);
    }

    /// What a condition says of the batch.
    pub(crate) fn said(&self, number: u32) -> Said<'_> {
        match self.places.get(number as usize) {
            _ if self.is_private => Said::Private,
            None | Some(&PRIVATE) => Said::Private,
            Some(&NOWHERE) => Said::Nothing,
            Some(&at) => Said::Verdict(&self.hits[at as usize].verdict),
        }
    }

    /// The conditions that rows pass or fail.
    pub(crate) fn hits(&self) -> &[Hit] {
        if self.is_private { &[] } else { &self.hits }
    }

    /// The conditions that the rules ask by themselves.
    pub(crate) fn private(&self) -> Vec<u32> {
        let is_asked = |number: &u32| matches!(self.said(*number), Said::Private);
        if self.is_private {
            return self.filing.numbers().collect();
        }
        self.filing.unreliable().iter().copied().filter(is_asked).collect()
    }

    /// Turns the sets of rows into verdicts.
    fn take(&mut self, batch: &Batch) {
        let Self { sets, live, hits, places, spare, .. } = self;
        sets.drain(|condition, rows| {
            let mut bits = room(spare);
            bits.extend_from_slice(rows);
            if !live.is_empty() && !mask::intersect(&mut bits, live) {
                return;
            }
            places[condition as usize] = hits.len() as u32;
            hits.push(Hit { condition, verdict: verdict(bits, batch.n_rows) });
        });
    }

    /// Rows with odd cells are asked every condition that looks at those cells.
    fn ask_odd(&mut self, batch: &Batch, clock: &dyn Clock) {
        if !self.filing.has_odd() {
            return;
        }
        let (mut odd, numbers) = (Vec::new(), self.filing.numbers().collect::<Vec<_>>());
        for number in numbers {
            if !self.filing.odd(number, &mut odd)
                || !self.live.is_empty() && !mask::intersect(&mut odd, &self.live)
            {
                continue;
            }
            if self.filing.is_all_terms(number) {
                let asked = std::mem::take(&mut odd);
                self.ask(number, batch, asked, clock);
            } else {
                // They become candidates, which are asked later anyway.
                let at = self.place(number, batch.n_rows);
                if let Live::Mask { bits, .. } = &mut self.hits[at].verdict.passed.live {
                    mask::unite(bits, &odd);
                }
            }
        }
    }

    /// Candidates of conditions that have more than terms, and all rows of those that have none.
    fn ask_rest(&mut self, batch: &Batch, rows: &Selection, clock: &dyn Clock) {
        for at in 0..self.hits.len() {
            let number = self.hits[at].condition;
            if self.filing.is_all_terms(number) {
                continue;
            }
            let Live::Mask { bits, .. } = &mut self.hits[at].verdict.passed.live else { continue };
            let candidates = std::mem::take(bits);
            self.ask(number, batch, candidates, clock);
        }
        for number in self.filing.free().to_vec() {
            if self.places[number as usize] == PRIVATE {
                continue;
            }
            let mut asked = Vec::new();
            mask::fill(&mut asked, rows.iter(), batch.n_rows);
            let lead = self.filing.lead(number);
            if let Some(lead) = lead {
                let Self { filing, metrics, .. } = self;
                filing.narrow(lead, batch, &mut asked, &mut |zone| surroundings(zone, clock, metrics));
                if self.metrics.exceptions.swap(0, Relaxed) > 0 {
                    mask::fill(&mut asked, rows.iter(), batch.n_rows);
                }
            }
            self.ask(number, batch, asked, clock);
        }
    }

    /// Asks a condition about these rows and adds the answer to what is known.
    fn ask(&mut self, number: u32, batch: &Batch, rows: Vec<u64>, clock: &dyn Clock) {
        let Some(condition) = self.filing.get(number) else { return };
        let asked = Selection::mask(rows, batch.n_rows);
        let mut cx = surroundings(condition.zone, clock, &self.metrics);
        let answer = catch_unwind(AssertUnwindSafe(|| Verdict::of(&condition.expr, batch, &asked, &mut cx)));
        let counts = self.metrics.exceptions.swap(0, Relaxed) > 0;
        let Some(answer) = answer.ok().filter(|_| !counts) else {
            self.filing.distrust(number);
            self.places[number as usize] = PRIVATE;
            return;
        };
        if answer.is_void() && self.places[number as usize] == NOWHERE {
            return;
        }
        let at = self.place(number, batch.n_rows);
        let known = &mut self.hits[at].verdict;
        if let Live::Mask { bits, .. } = &mut known.passed.live {
            bits.resize(mask::words_for(batch.n_rows), 0);
            answer.passed.iter().for_each(|row| bits[row / 64] |= 1 << (row % 64));
            known.count = mask::count(bits);
        }
        known.bad = answer.bad;
    }

    /// The place of a condition among the hits.
    fn place(&mut self, number: u32, n_rows: usize) -> usize {
        if self.places[number as usize] == NOWHERE {
            let mut bits = room(&mut self.spare);
            bits.resize(mask::words_for(n_rows), 0);
            self.places[number as usize] = self.hits.len() as u32;
            self.hits.push(Hit { condition: number, verdict: verdict(bits, n_rows) });
        }
        self.places[number as usize] as usize
    }

    #[cfg(test)]
    pub(super) fn filing(&mut self) -> &mut Filing {
        &mut self.filing
    }
}

/// An empty list, with room if there is any left over.
fn room(spare: &mut Vec<Verdict>) -> Vec<u64> {
    match spare.pop().map(|verdict| verdict.passed.live) {
        Some(Live::Mask { mut bits, .. }) => {
            bits.clear();
            bits
        }
        _ => Vec::new(),
    }
}

fn verdict(bits: Vec<u64>, n_rows: usize) -> Verdict {
    Verdict { count: mask::count(&bits), passed: Selection::mask(bits, n_rows), bad: Vec::new(), micros: 0 }
}

/// A pure condition does not look at any of this but the zone.
pub(super) fn surroundings<'a>(zone: Tz, clock: &dyn Clock, metrics: &'a NodeMetrics) -> EvalCx<'a> {
    let now = clock.now();
    EvalCx {
        now,
        zone,
        rule: "",
        node: "",
        rule_start: now,
        window: None,
        instance: None,
        clock: None,
        hits: Hits::default(),
        metrics,
    }
}

#[cfg(test)]
pub(super) mod tests;
