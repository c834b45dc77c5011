//! Conditions of the rules of one stream, each evaluated once a batch however many rules ask for it
//! (`contracts.md` 2, hot-path.md 7.6).
//!
//! Only pure conditions over the stream's own slots are filed, by [`Expr::key`]. What a condition says is handed to
//! every rule, whose filter counts its own rows and errors from it. Conditions joined by AND are evaluated part by
//! part when another condition has a part in common; but only over batches on which no part can fail or be anything
//! but a boolean, so the order of the parts cannot matter there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::Relaxed;

use chrono_tz::Tz;
use hashbrown::HashMap;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Batch, BinaryOp, Clock, Selection};
use thalweg_expr::expr::Hits;
use thalweg_expr::{EvalCx, Expr};

use crate::operator::Verdict;

/// What a rule asks of the rows of a scan.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub expr: Expr,
    /// The zone in which it is evaluated (T-12).
    pub zone: Tz,
}

/// The conditions of a stream's rules.
#[derive(Default)]
pub(crate) struct Conditions {
    whole: Shelf<Whole>,
    parts: Shelf<Part>,
    /// Nobody's: tells whether a condition counts exceptions.
    metrics: NodeMetrics,
}

/// A condition as rules ask for it.
struct Whole {
    condition: Condition,
    /// Its conjuncts among the parts; itself, when it is no AND.
    parts: Vec<usize>,
    said: Said<Verdict>,
}

/// A conjunct of at least one condition.
struct Part {
    condition: Condition,
    said: Said<Option<Vec<u32>>>,
}

/// What is known of the batch at hand.
enum Said<T> {
    NotAsked,
    Known(T),
    /// It panicked once, or counted an exception that every asking rule has to count: from then on each of them
    /// evaluates it by itself, and who panics stops (`contracts.md` 9).
    Private,
}

impl<T> Said<T> {
    fn forget(&mut self) {
        if matches!(self, Self::Known(_)) {
            *self = Self::NotAsked;
        }
    }
}

impl Conditions {
    /// Files a condition and tells by which number to ask for it.
    pub(crate) fn join(&mut self, condition: Condition) -> usize {
        let parts = &mut self.parts;
        self.whole.file(condition, |condition| {
            let mut conjuncts = Vec::new();
            flatten(&condition.expr, &mut conjuncts);
            let file = |expr: &Expr| {
                let condition = Condition { expr: expr.clone(), zone: condition.zone };
                parts.file(condition, |condition| Part { condition, said: Said::NotAsked })
            };
            let parts = conjuncts.into_iter().map(file).collect();
            Whole { parts, condition, said: Said::NotAsked }
        })
    }

    /// One rule asks no longer.
    pub(crate) fn leave(&mut self, node: usize) {
        if let Some(whole) = self.whole.leave(node) {
            whole.parts.iter().for_each(|part| drop(self.parts.leave(*part)));
        }
    }

    /// The next batch.
    pub(crate) fn begin(&mut self) {
        self.whole.iter_mut().for_each(|whole| whole.said.forget());
        self.parts.iter_mut().for_each(|part| part.said.forget());
    }

    /// What a condition says of the batch; `None` when the rules are to ask by themselves.
    pub(crate) fn verdict(
        &mut self,
        node: usize,
        (batch, rows): (&Batch, &Selection),
        clock: &dyn Clock,
    ) -> Option<&Verdict> {
        let Self { whole, parts, metrics } = self;
        let whole = whole.get_mut(node)?;
        if matches!(whole.said, Said::NotAsked) {
            let began = clock.monotonic_micros();
            let mut cx = surroundings(whole.condition.zone, clock, metrics);
            let judged =
                catch_unwind(AssertUnwindSafe(|| match narrow(&whole.parts, parts, batch, rows, &mut cx) {
                    Some(passed) => Verdict::passed(passed),
                    None => Verdict::of(&whole.condition.expr, batch, rows, &mut cx),
                }));
            let counts = metrics.exceptions.swap(0, Relaxed) > 0;
            whole.said = judged.ok().filter(|_| !counts).map_or(Said::Private, |mut verdict| {
                verdict.micros = clock.monotonic_micros().saturating_sub(began);
                Said::Known(verdict)
            });
        }
        match &whole.said {
            Said::Known(verdict) => Some(verdict),
            _ => None,
        }
    }
}

/// A pure condition does not look at any of this but the zone.
fn surroundings<'a>(zone: Tz, clock: &dyn Clock, metrics: &'a NodeMetrics) -> EvalCx<'a> {
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

/// The conjuncts of an AND from left to right.
fn flatten<'a>(expr: &'a Expr, into: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Binary(BinaryOp::And, left, right) => {
            flatten(left, into);
            flatten(right, into);
        }
        other => into.push(other),
    }
}

/// The rows that pass every part: first what other conditions ask for too, then the rest over the survivors. `None`
/// when nothing is shared, or a part may fail on this batch.
fn narrow(
    of: &[usize],
    parts: &mut Shelf<Part>,
    batch: &Batch,
    rows: &Selection,
    cx: &mut EvalCx<'_>,
) -> Option<Vec<u32>> {
    let mut survivors: Option<Vec<u32>> = None;
    for part in of {
        if parts.users(*part) > 1 {
            let passed = parts.get_mut(*part)?.passed(batch, rows, cx)?;
            survivors = Some(match survivors {
                None => passed.to_vec(),
                Some(before) => intersect(before, passed),
            });
        }
    }
    let mut survivors = survivors?;
    for part in of {
        if parts.users(*part) == 1 {
            let part = parts.get_mut(*part)?;
            survivors = part.condition.expr.narrow_further(batch, survivors, cx)?;
        }
    }
    Some(survivors)
}

/// Both lists are ascending.
fn intersect(mut rows: Vec<u32>, others: &[u32]) -> Vec<u32> {
    let mut others = others.iter().copied().peekable();
    rows.retain(|row| {
        while others.next_if(|other| other < row).is_some() {}
        others.peek() == Some(row)
    });
    rows
}

impl Part {
    fn passed(&mut self, batch: &Batch, rows: &Selection, cx: &mut EvalCx<'_>) -> Option<&[u32]> {
        if matches!(self.said, Said::NotAsked) {
            self.said = Said::Private;
            self.said = Said::Known(self.condition.expr.narrow(batch, rows, cx));
        }
        match &self.said {
            Said::Known(passed) => passed.as_deref(),
            _ => None,
        }
    }
}

/// Things that are filed once and counted.
struct Shelf<T> {
    places: Vec<Option<Filed<T>>>,
    by_key: HashMap<String, usize>,
}

struct Filed<T> {
    thing: T,
    key: String,
    users: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self { places: Vec::new(), by_key: HashMap::new() }
    }
}

impl<T> Shelf<T> {
    /// The place of the thing that `make` makes of a condition, or of the equal one that is there.
    fn file(&mut self, condition: Condition, make: impl FnOnce(Condition) -> T) -> usize {
        let key = format!("{:?} {}", condition.expr.key(), condition.zone);
        if let Some(at) = self.by_key.get(&key) {
            if let Some(Some(filed)) = self.places.get_mut(*at) {
                filed.users += 1;
            }
            return *at;
        }
        let free = self.places.iter().position(Option::is_none).unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        self.by_key.insert(key.clone(), free);
        self.places[free] = Some(Filed { thing: make(condition), key, users: 1 });
        free
    }

    /// One user less; the thing when that was the last.
    fn leave(&mut self, at: usize) -> Option<T> {
        let place = self.places.get_mut(at)?;
        let filed = place.as_mut()?;
        filed.users -= 1;
        if filed.users > 0 {
            return None;
        }
        let filed = place.take()?;
        self.by_key.remove(&filed.key);
        Some(filed.thing)
    }

    fn users(&self, at: usize) -> usize {
        self.places.get(at).and_then(Option::as_ref).map_or(0, |filed| filed.users)
    }

    fn get_mut(&mut self, at: usize) -> Option<&mut T> {
        self.places.get_mut(at)?.as_mut().map(|filed| &mut filed.thing)
    }

    fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten().map(|filed| &mut filed.thing)
    }
}

#[cfg(test)]
mod tests;
