//! One step of a join: candidate pairs, ON, and what each kind of join makes of them (J-2, J-3).

use std::sync::Arc;

use thalweg_core::{Batch, BinaryOp, Cell, Column, ColumnRef, Schema, Selection, Tag, TagSet};
use thalweg_expr::Expr;
use thalweg_plan::JoinKind;
use thalweg_plan::logical::JoinStep;

use crate::op::condition::{Nulls, Picked};
use crate::op::join::{Failed, Joined, time_of};
use crate::op::keys::Keys;
use crate::op::reshape::{self, NONE};
use crate::operator::OpCx;

/// Left and right row; [`NONE`] where a side is missing.
type Pair = (u32, u32);

/// Pairs judged at a time.
const CHUNK: usize = 8_192;
/// Fewer pairs than this are faster found by the loop.
const SMALL: usize = 64;

/// Joins what is there with one more side.
pub(crate) fn join(
    left: &Joined,
    (right, right_rows): &(Batch, Selection),
    step: &JoinStep,
    schema: &Arc<Schema>,
    (failed, keys): (&mut Failed, &mut Keys),
    cx: &OpCx<'_>,
) -> Joined {
    let rights: Vec<u32> = right_rows.iter().map(|row| row as u32).collect();
    let mut matching =
        Matching { left, right, step, schema, matched: Vec::new(), pending: Vec::new(), failed, cx };
    match Index::build(left, (right, right_rows), step, keys, cx) {
        Some(mut index) if index.decides => {
            for row in 0..left.batch.n_rows {
                let pairs = index.candidates(row).iter().map(|candidate| (row as u32, *candidate));
                matching.matched.extend(pairs);
            }
        }
        Some(mut index) => {
            for row in 0..left.batch.n_rows {
                for candidate in index.candidates(row) {
                    matching.add((row as u32, *candidate));
                }
            }
        }
        None => {
            for row in 0..left.batch.n_rows as u32 {
                rights.iter().for_each(|candidate| matching.add((row, *candidate)));
            }
        }
    }
    matching.judge();
    let matched = matching.matched;
    let pairs = arrange(matched, left.batch.n_rows as u32, &rights, step.kind);
    materialize(left, right, &pairs, schema)
}

/// Collects candidates and keeps those that ON accepts, in order.
struct Matching<'a, 'c> {
    left: &'a Joined,
    right: &'a Batch,
    step: &'a JoinStep,
    schema: &'a Arc<Schema>,
    matched: Vec<Pair>,
    pending: Vec<Pair>,
    failed: &'a mut Failed,
    cx: &'a OpCx<'c>,
}

impl Matching<'_, '_> {
    fn add(&mut self, pair: Pair) {
        self.pending.push(pair);
        if self.pending.len() == CHUNK {
            self.judge();
        }
    }

    fn judge(&mut self) {
        let Some(on) = &self.step.on else {
            return self.matched.append(&mut self.pending);
        };
        if self.pending.is_empty() {
            return;
        }
        let batch = self.candidates(on);
        let rows = Selection::all(self.pending.len());
        let column = on.eval(&batch, &rows, &mut self.cx.eval(self.left.batch.window));
        let mut picked = Picked::default();
        picked.pick(&column, &rows, self.pending.len(), Nulls::Error);
        for (row, message) in picked.bad.drain(..) {
            let left = self.pending[row].0 as usize;
            self.failed.entry(self.left.origin[left]).or_insert(message);
        }
        self.matched.extend(
            self.pending.drain(..).enumerate().filter(|(row, _)| picked.has(*row)).map(|(_, pair)| pair),
        );
    }
}

impl Matching<'_, '_> {
    /// The pending pairs as a batch that has only the columns which ON reads.
    fn candidates(&self, on: &Expr) -> Batch {
        let (left, right) = (&self.left.batch, self.right);
        let (lefts, rights): (Vec<u32>, Vec<u32>) = self.pending.iter().copied().unzip();
        let none = Arc::new(Column::new());
        let mut columns = vec![none; self.schema.len()];
        on.slots(&mut |slot| {
            let slot = slot.index();
            let column = match slot.checked_sub(left.columns.len()) {
                None => reshape::gather(&left.columns[slot], &lefts),
                Some(slot) => reshape::gather(&right.columns[slot], &rights),
            };
            columns[slot] = Arc::new(column);
        });
        let times = self.pending.iter().map(|pair| time_of(left, right, *pair)).collect();
        reshape::collection(self.schema, columns, times, left.window)
    }
}

/// The joined rows in the order of J-2.
fn arrange(mut matched: Vec<Pair>, lefts: u32, rights: &[u32], kind: JoinKind) -> Vec<Pair> {
    match kind {
        JoinKind::Inner | JoinKind::Cross => matched,
        JoinKind::Left => with_lefts(&matched, lefts),
        JoinKind::Full => {
            let mut seen: Vec<u32> = matched.iter().map(|(_, right)| *right).collect();
            seen.sort_unstable();
            let mut pairs = with_lefts(&matched, lefts);
            let lonely = rights.iter().filter(|right| seen.binary_search(right).is_err());
            pairs.extend(lonely.map(|right| (NONE, *right)));
            pairs
        }
        JoinKind::Right => {
            matched.sort_by_key(|(left, right)| (*right, *left));
            let mut pairs = Vec::with_capacity(matched.len());
            let mut matched = matched.into_iter().peekable();
            for right in rights {
                let before = pairs.len();
                while let Some(pair) = matched.next_if(|(_, matched)| matched == right) {
                    pairs.push(pair);
                }
                if pairs.len() == before {
                    pairs.push((NONE, *right));
                }
            }
            pairs
        }
    }
}

/// The matched pairs, and every left row without one in its place.
fn with_lefts(matched: &[Pair], lefts: u32) -> Vec<Pair> {
    let mut pairs = Vec::with_capacity(matched.len());
    let mut next = 0;
    for pair in matched {
        pairs.extend((next..pair.0).map(|left| (left, NONE)));
        pairs.push(*pair);
        next = pair.0 + 1;
    }
    pairs.extend((next..lefts).map(|left| (left, NONE)));
    pairs
}

fn materialize(left: &Joined, right: &Batch, pairs: &[Pair], schema: &Arc<Schema>) -> Joined {
    let (lefts, rights): (Vec<u32>, Vec<u32>) = pairs.iter().copied().unzip();
    let mut columns = Vec::with_capacity(schema.len());
    let gathered = |column: &Arc<Column>, rows: &[u32]| Arc::new(reshape::gather(column, rows));
    columns.extend(left.batch.columns.iter().map(|column| gathered(column, &lefts)));
    columns.extend(right.columns.iter().map(|column| gathered(column, &rights)));
    let times = pairs.iter().map(|pair| time_of(&left.batch, right, *pair)).collect();
    // Without a left row there is but one event (`Join::run_events`).
    let origin = lefts.iter().map(|row| left.origin.get(*row as usize).copied().unwrap_or(0)).collect();
    Joined { batch: reshape::collection(schema, columns, times, left.batch.window), origin }
}

/// Right rows by key.
struct Index<'a> {
    keys: &'a mut Keys,
    /// The right rows that have a key, key by key, and where those of each key end.
    rows: Vec<u32>,
    ends: Vec<u32>,
    lefts: Vec<ColumnRef<'a>>,
    /// ON asks for nothing but these keys.
    decides: bool,
}

impl<'a> Index<'a> {
    /// `None` where the loop must do: no equalities, few pairs, or keys of kinds that ON would have to judge (J-3).
    fn build(
        left: &'a Joined,
        (right, right_rows): (&Batch, &Selection),
        step: &'a JoinStep,
        keys: &'a mut Keys,
        cx: &OpCx<'_>,
    ) -> Option<Self> {
        if step.equi.is_empty() || left.batch.n_rows * right_rows.len() <= SMALL {
            return None;
        }
        let mut eval = cx.eval(left.batch.window);
        let all = Selection::all(left.batch.n_rows);
        let lefts: Vec<_> = step.equi.iter().map(|(key, _)| key.eval(&left.batch, &all, &mut eval)).collect();
        let rights: Vec<_> =
            step.equi.iter().map(|(_, key)| key.eval(right, right_rows, &mut eval)).collect();
        if !lefts.iter().zip(&rights).all(|(left, right)| are_of_one_kind(left, right)) {
            return None;
        }
        let decides = step.on.as_ref().is_some_and(|on| equalities(on) == Some(step.equi.len()))
            && !lefts.iter().chain(&rights).any(|keys| has_nan(keys.column()));
        keys.clear();
        let mut index = Self { keys, rows: Vec::new(), ends: Vec::new(), lefts, decides };
        let there = |row: &usize| rights.iter().all(|key| !key.cell(*row).is_nothing());
        let keyed = Selection::rows(right_rows.iter().filter(there).map(|row| row as u32).collect());
        let (mut numbers, mut fresh) = (Vec::with_capacity(keyed.len()), Vec::new());
        index.keys.number_all(&rights, &keyed, &mut numbers, &mut fresh);
        index.fill(&keyed, &numbers);
        Some(index)
    }

    /// Sorts the rows by the numbers of their keys.
    fn fill(&mut self, keyed: &Selection, numbers: &[u32]) {
        self.ends.resize(self.keys.len(), 0);
        numbers.iter().for_each(|number| self.ends[*number as usize] += 1);
        let mut end = 0;
        for count in &mut self.ends {
            // Where the next row of the key goes, for now.
            end += std::mem::replace(count, end);
        }
        self.rows.resize(numbers.len(), 0);
        for (row, number) in keyed.iter().zip(numbers) {
            let place = &mut self.ends[*number as usize];
            self.rows[*place as usize] = row as u32;
            *place += 1;
        }
    }

    /// Right rows, ascending, whose key equals that of a left row.
    fn candidates(&mut self, left: usize) -> &[u32] {
        let Some(number) = self.keys.find(&self.lefts, left) else { return &[] };
        let number = number as usize;
        let start = if number == 0 { 0 } else { self.ends[number - 1] as usize };
        &self.rows[start..self.ends[number] as usize]
    }
}

/// The number of conjuncts, when all are equalities.
fn equalities(on: &Expr) -> Option<usize> {
    match on.as_written() {
        Expr::Binary(BinaryOp::And, one, other) => Some(equalities(one)? + equalities(other)?),
        Expr::Binary(BinaryOp::Eq, ..) => Some(1),
        _ => None,
    }
}

/// NaN is a key but equals nothing.
fn has_nan(column: &Column) -> bool {
    let is_nan = |row| matches!(column.cell(row), Cell::Float(value) if value.is_nan());
    column.seen().contains(Tag::Float) && (0..column.len()).any(is_nan)
}

fn are_of_one_kind(left: &ColumnRef<'_>, right: &ColumnRef<'_>) -> bool {
    const NOTHING: TagSet = TagSet::of(Tag::Missing).with(Tag::Null);
    let mut seen = left.column().seen();
    seen.extend(right.column().seen());
    let kinds = [
        NOTHING.with(Tag::Int).with(Tag::Float),
        NOTHING.with(Tag::Str),
        NOTHING.with(Tag::Bool),
        NOTHING.with(Tag::Time),
    ];
    kinds.into_iter().any(|kind| seen.within(kind))
}
