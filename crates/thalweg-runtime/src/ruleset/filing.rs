//! How the conditions of a stream are filed, so that a batch finds those that its rows may pass.
//!
//! Adding or removing a condition touches its own entries and no other condition.

use std::panic::{AssertUnwindSafe, catch_unwind};

use chrono_tz::Tz;
use thalweg_core::{Batch, Cell, Selection};
use thalweg_expr::EvalCx;

use super::conditions::Condition;
use super::conjunct::{self, Term, Test};
use super::lane::{NumberLane, TextLane};
use super::mask::{self, Masks};
use super::shelf::{HasCondition, Shelf};
use super::threshold::{self, Ramp};

/// The conditions of a stream with their indices.
#[derive(Default)]
pub(super) struct Filing {
    whole: Shelf<Whole>,
    /// First conjuncts that no index can answer, of conditions without access.
    leads: Shelf<Lead>,
    numbers: Vec<NumberLane>,
    texts: Vec<TextLane>,
    steps: Vec<Bound>,
    free_steps: Vec<u32>,
    /// Conditions without access.
    free: Vec<u32>,
    /// Conditions that the rules ask by themselves.
    unreliable: Vec<u32>,
    /// Room for the sets of rows that meet the bounds.
    met: Vec<u64>,
    room: Vec<u64>,
    /// Conditions looked at while joining and leaving.
    #[cfg(test)]
    pub(super) work: usize,
}

/// A condition as rules ask for it.
struct Whole {
    condition: Condition,
    /// Its terms with their lanes, all of which precede the rest.
    terms: Box<[(u32, Term)]>,
    /// Those that are bounds, as steps of ramps.
    steps: Box<[u32]>,
    access: Access,
    is_all_terms: bool,
    lead: Option<u32>,
}

/// By which term the rows of a condition are found.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Access {
    /// A step.
    Step(u32),
    /// The term at this position, by the hash index of its lane.
    Hash(usize),
    None,
}

/// A bound that one or more conditions have.
#[derive(Default)]
struct Bound {
    users: usize,
    /// The conditions that are found by it.
    finds: Vec<u32>,
}

/// A first conjunct that several conditions have.
struct Lead {
    condition: Condition,
    /// For the batch at hand: the rows for which it is not plainly false.
    candidates: Option<Vec<u64>>,
    /// It panicked: nobody relies on it.
    is_broken: bool,
}

impl HasCondition for Whole {
    fn condition(&self) -> &Condition {
        &self.condition
    }
}

impl HasCondition for Lead {
    fn condition(&self) -> &Condition {
        &self.condition
    }
}

impl Filing {
    /// Files a condition: its number, and whether it is new.
    pub(super) fn join(&mut self, condition: Condition) -> (u32, bool) {
        let (terms, is_all_terms) = conjunct::leading_terms(&condition.expr);
        let make = |condition| Whole {
            condition,
            terms: Box::default(),
            steps: Box::default(),
            access: Access::None,
            is_all_terms,
            lead: None,
        };
        let (number, is_new) = self.whole.file(condition, make);
        if is_new {
            self.index(number, terms);
        }
        (number, is_new)
    }

    fn index(&mut self, number: u32, terms: Vec<Term>) {
        let mut placed = Vec::with_capacity(terms.len());
        let mut steps = Vec::new();
        for term in terms {
            let lane = self.lane(&term);
            steps.extend(self.step(lane, &term.test));
            placed.push((lane, term));
        }
        let hash = placed.iter().position(|(_, term)| matches!(term.test, Test::Number(_) | Test::Text(_)));
        let access = match (hash, steps.first()) {
            (Some(at), _) => Access::Hash(at),
            (None, Some(step)) => Access::Step(*step),
            (None, None) => Access::None,
        };
        match access {
            Access::Step(step) => self.steps[step as usize].finds.push(number),
            Access::Hash(at) => self.hash(&placed[at], number, true),
            Access::None => self.free.push(number),
        }
        let lead = (access == Access::None).then(|| self.lead_of(number)).flatten();
        if let Some(whole) = self.whole.get_mut(number) {
            (whole.terms, whole.steps) = (placed.into(), steps.into());
            (whole.access, whole.lead) = (access, lead);
            #[cfg(test)]
            {
                self.work += 1;
            }
        }
    }

    /// The first of several conjuncts, filed.
    fn lead_of(&mut self, number: u32) -> Option<u32> {
        let whole = &self.whole.get(number)?.condition;
        let mut conjuncts = Vec::new();
        conjunct::flatten(&whole.expr, &mut conjuncts);
        let [first, _, ..] = conjuncts[..] else { return None };
        let condition = Condition { expr: first.clone(), zone: whole.zone };
        let make = |condition| Lead { condition, candidates: None, is_broken: false };
        Some(self.leads.file(condition, make).0)
    }

    fn lane(&mut self, term: &Term) -> u32 {
        let slot = term.subject.slot().filter(|_| !term.test.is_number());
        let Some(slot) = slot else {
            let at = NumberLane::place(&mut self.numbers, &term.subject);
            self.numbers[at].users += 1;
            return at as u32;
        };
        let at = self.texts.iter().position(|lane| lane.slot == slot).unwrap_or_else(|| {
            self.texts.push(TextLane::new(slot));
            self.texts.len() - 1
        });
        self.texts[at].users += 1;
        at as u32
    }

    fn ramp(&mut self, lane: u32, test: &Test) -> Option<(&mut Ramp, f64, bool)> {
        let lane = &mut self.numbers[lane as usize];
        match test {
            Test::Above { bound, is_strict } => Some((&mut lane.above, *bound, *is_strict)),
            Test::Below { bound, is_strict } => Some((&mut lane.below, -bound, *is_strict)),
            _ => None,
        }
    }

    /// The step of a term that is a bound.
    fn step(&mut self, lane: u32, test: &Test) -> Option<u32> {
        let (ramp, bound, is_strict) = test.is_number().then(|| self.ramp(lane, test))??;
        let id = match ramp.find(bound, is_strict) {
            Some(id) => id,
            None => {
                let next = self.free_steps.pop().unwrap_or(self.steps.len() as u32);
                if let Some((ramp, ..)) = self.ramp(lane, test) {
                    ramp.insert(threshold::Step { bound, is_strict, id: next });
                }
                if next as usize == self.steps.len() {
                    self.steps.push(Bound::default());
                }
                next
            }
        };
        self.steps[id as usize].users += 1;
        Some(id)
    }

    fn hash(&mut self, (lane, term): &(u32, Term), number: u32, is_joining: bool) {
        match &term.test {
            Test::Number(wanted) => {
                let index = &mut self.numbers[*lane as usize].equal;
                for value in wanted {
                    if is_joining { index.insert(*value, number) } else { index.remove(*value, number) }
                }
            }
            Test::Text(wanted) => {
                let index = &mut self.texts[*lane as usize].equal;
                for value in wanted {
                    if is_joining { index.insert(value, number) } else { index.remove(value, number) }
                }
            }
            _ => {}
        }
    }

    /// One rule asks no longer.
    pub(super) fn leave(&mut self, number: u32) {
        let Some(whole) = self.whole.leave(number) else { return };
        match whole.access {
            Access::Step(step) => self.steps[step as usize].finds.retain(|other| *other != number),
            Access::Hash(at) => self.hash(&whole.terms[at], number, false),
            Access::None => self.free.retain(|other| *other != number),
        }
        let mut steps = whole.steps.iter();
        for (lane, term) in &whole.terms {
            let is_number = term.test.is_number();
            if matches!(term.test, Test::Above { .. } | Test::Below { .. })
                && let Some(step) = steps.next()
            {
                self.leave_step(*step, *lane, &term.test);
            }
            let users = match is_number {
                true => &mut self.numbers[*lane as usize].users,
                false => &mut self.texts[*lane as usize].users,
            };
            *users -= 1;
        }
        if let Some(lead) = whole.lead {
            self.leads.leave(lead);
        }
        self.unreliable.retain(|other| *other != number);
        #[cfg(test)]
        {
            self.work += 1;
        }
    }

    fn leave_step(&mut self, step: u32, lane: u32, test: &Test) {
        let bound = &mut self.steps[step as usize];
        bound.users -= 1;
        if bound.users == 0 {
            if let Some((ramp, bound, is_strict)) = self.ramp(lane, test) {
                ramp.remove(bound, is_strict);
            }
            self.free_steps.push(step);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.whole.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.whole.is_empty()
    }

    pub(super) fn get(&self, number: u32) -> Option<&Condition> {
        self.whole.get(number).map(|whole| &whole.condition)
    }

    /// All conditions.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        self.whole.iter().map(|(number, _)| number)
    }

    /// Conditions without access.
    pub(super) fn free(&self) -> &[u32] {
        &self.free
    }

    /// Whether a condition is nothing but terms.
    pub(super) fn is_all_terms(&self, number: u32) -> bool {
        self.whole.get(number).is_some_and(|whole| whole.is_all_terms && whole.access != Access::None)
    }

    /// From now on the rules ask this condition by themselves.
    pub(super) fn distrust(&mut self, number: u32) {
        if !self.unreliable.contains(&number) {
            self.unreliable.push(number);
        }
    }

    pub(super) fn unreliable(&self) -> &[u32] {
        &self.unreliable
    }

    /// Whether any lane has odd rows.
    pub(super) fn has_odd(&self) -> bool {
        self.numbers.iter().any(|lane| lane.users > 0 && lane.odd.rows().is_some())
            || self.texts.iter().any(|lane| lane.users > 0 && lane.odd.rows().is_some())
    }

    /// Writes the rows with cells that are odd for a condition; whether there are any.
    pub(super) fn odd(&self, number: u32, into: &mut Vec<u64>) -> bool {
        into.clear();
        let Some(whole) = self.whole.get(number).filter(|whole| whole.access != Access::None) else {
            return false;
        };
        for (lane, term) in &whole.terms {
            let odd = match term.test.is_number() {
                true => self.numbers[*lane as usize].odd.rows(),
                false => self.texts[*lane as usize].odd.rows(),
            };
            if let Some(rows) = odd {
                into.resize(rows.len(), 0);
                mask::unite(into, rows);
            }
        }
        !into.is_empty()
    }

    /// The filed first conjunct of a condition without access, if others have it too.
    pub(super) fn lead(&self, number: u32) -> Option<u32> {
        self.whole.get(number)?.lead.filter(|lead| self.leads.users(*lead) > 1)
    }

    /// Leaves out the rows for which a first conjunct is plainly false; it is asked once a batch.
    pub(super) fn narrow<'a>(
        &mut self,
        lead: u32,
        batch: &Batch,
        rows: &mut [u64],
        cx: &mut dyn FnMut(Tz) -> EvalCx<'a>,
    ) {
        let Some(lead) = self.leads.get_mut(lead).filter(|lead| !lead.is_broken) else { return };
        if lead.candidates.is_none() {
            let asked = Selection::mask(rows.to_vec(), batch.n_rows);
            let condition = &lead.condition;
            let found = catch_unwind(AssertUnwindSafe(|| {
                let column = condition.expr.eval(batch, &asked, &mut cx(condition.zone));
                let mut candidates = rows.to_vec();
                mask::retain(&mut candidates, |row| !matches!(column.cell(row), Cell::Bool(false)));
                candidates
            }));
            lead.is_broken = found.is_err();
            lead.candidates = found.ok();
        }
        if let Some(candidates) = &lead.candidates {
            mask::intersect(rows, candidates);
        }
    }

    /// Finds the rows that meet all terms of a condition, for every condition with access.
    pub(super) fn search(&mut self, batch: &Batch, into: &mut Masks, cx: &mut EvalCx<'_>) {
        self.leads.iter_mut().for_each(|lead| lead.candidates = None);
        let mut met = 0;
        for lane in self.numbers.iter_mut().filter(|lane| lane.users > 0) {
            lane.read(batch, cx);
            met += lane.above.measure(&lane.values, 1.0) + lane.below.measure(&lane.values, -1.0);
        }
        self.texts.iter_mut().filter(|lane| lane.users > 0).for_each(|lane| lane.read(batch));
        self.search_hashes(batch, into);
        let n_steps: usize = self.numbers.iter().map(|lane| lane.above.len() + lane.below.len()).sum();
        if n_steps == 0 {
            return;
        }
        if threshold::prefers_masks(met, n_steps, self.whole.len(), batch.n_rows) {
            self.search_masks(batch, into);
        } else {
            self.search_steps(batch, into);
        }
    }

    fn search_hashes(&self, batch: &Batch, into: &mut Masks) {
        for lane in self.numbers.iter().filter(|lane| !lane.equal.is_empty()) {
            for (row, value) in lane.values.iter().enumerate() {
                let found = lane.equal.get(*value).iter().filter(|number| self.meets(**number, batch, row));
                found.for_each(|number| into.set(*number, row));
            }
        }
        for lane in self.texts.iter().filter(|lane| !lane.equal.is_empty()) {
            let column = batch.column(lane.slot);
            for row in 0..batch.n_rows {
                let Cell::Str(text) = column.cell(row) else { continue };
                let found = lane.equal.get(text).iter().filter(|number| self.meets(**number, batch, row));
                found.for_each(|number| into.set(*number, row));
            }
        }
    }

    /// Row by row: the conditions found by a bound that the row meets.
    fn search_steps(&self, batch: &Batch, into: &mut Masks) {
        for lane in self.numbers.iter().filter(|lane| lane.users > 0) {
            for row in 0..batch.n_rows {
                for step in lane.above.met(row).chain(lane.below.met(row)) {
                    let finds = self.steps[step as usize].finds.iter();
                    let found = finds.filter(|number| self.meets(**number, batch, row));
                    found.for_each(|number| into.set(*number, row));
                }
            }
        }
    }

    /// Condition by condition: the rows that meet all its bounds.
    fn search_masks(&mut self, batch: &Batch, into: &mut Masks) {
        let words = mask::words_for(batch.n_rows);
        self.met.resize(self.steps.len() * words, 0);
        for lane in self.numbers.iter_mut().filter(|lane| lane.users > 0) {
            lane.above.spread(words, &mut self.met);
            lane.below.spread(words, &mut self.met);
        }
        let mut rows = std::mem::take(&mut self.room);
        let met = |step: u32| &self.met[step as usize * words..][..words];
        let lanes = self.numbers.iter().filter(|lane| lane.users > 0);
        for ramp in lanes.flat_map(|lane| [&lane.above, &lane.below]) {
            for step in ramp.reached() {
                for number in &self.steps[step as usize].finds {
                    let Some(whole) = self.whole.get(*number) else { continue };
                    rows.clear();
                    rows.extend_from_slice(met(step));
                    let mut others = whole.steps.iter().filter(|other| **other != step);
                    if !others.all(|other| mask::intersect(&mut rows, met(*other))) {
                        continue;
                    }
                    if whole.terms.len() > whole.steps.len() {
                        mask::retain(&mut rows, |row| self.meets(*number, batch, row));
                    }
                    into.add(*number, &rows);
                }
            }
        }
        self.room = rows;
    }

    /// Whether a row meets all terms of a condition.
    #[inline]
    fn meets(&self, number: u32, batch: &Batch, row: usize) -> bool {
        let Some(whole) = self.whole.get(number) else { return false };
        whole.terms.iter().all(|(lane, term)| match term.test.is_number() {
            true => term.test.number(self.numbers[*lane as usize].values[row]),
            false => match batch.column(self.texts[*lane as usize].slot).cell(row) {
                Cell::Str(text) => term.test.text(text),
                _ => false,
            },
        })
    }

    /// What is filed: conditions, first conjuncts, bounds in use.
    #[cfg(test)]
    pub(super) fn filed(&self) -> (usize, usize, usize) {
        let steps = self.numbers.iter().map(|lane| lane.above.ids().count() + lane.below.ids().count());
        (self.whole.iter().count(), self.leads.iter().count(), steps.sum())
    }
}
