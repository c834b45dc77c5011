//! Windows: which rows belong together, and when they do. What is computed from them is `op/aggregate.rs`.
//!
//! What is kept of each input is its rows, or the groups of the aggregate above, into which rows are folded as they
//! arrive ([`store::Store`]); one small file a kind decides which of them a window holds and when it closes
//! ([`Assigner`]), and does not know the form. A window closes on time whether or not a row follows, and a row is counted
//! by its own time, so neither batch borders nor a late timer change a result. In processing time a row that arrives
//! after its window has closed belongs to the next one; nothing is lost.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Fault, Live, Schema, Selection, Slot, Timestamp, WindowRange};
use thalweg_expr::Expr;
use thalweg_plan::logical::{Window as Plan, WindowKind};
use thalweg_plan::{Kind, Node};

use crate::op::reorder::Reorder;
use crate::op::signals::Merge;
use crate::op::{faults, reshape};
use crate::operator::{Behind, Emit, OpCx, Operator, Partial, Signal};

pub(crate) mod align;
pub(crate) mod buffer;

mod count;
mod hopping;
mod panes;
mod parts;
mod queue;
mod session;
mod shared;
mod sliding;
mod state;
mod store;
mod tumbling;

use panes::{Folding, Grid};
use parts::Parts;
use shared::Common;
use store::Store;

/// After a jump of time at most so many empty windows are emitted one by one; a clock that was set by years must not
/// stop the engine.
const MAX_EMPTY: i64 = 10_000;

/// Decides which rows a window holds and when it closes. Times never go back from call to call.
trait Assigner: Send {
    /// The rule starts (W-5); also called after [`Assigner::load`].
    fn start(&mut self, cx: &OpCx<'_>) {
        let _ = cx;
    }

    /// Takes rows of one input, in order, and closes what they close.
    fn rows(&mut self, rows: Incoming<'_>, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>);

    /// Nothing before `to` follows: closes what is due.
    fn advance(&mut self, to: Timestamp, held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let _ = (to, held, out, cx);
    }

    /// When something closes by time alone.
    fn due(&self) -> Option<Timestamp> {
        None
    }

    /// The bytes that it has on the heap, without those of [`Held`].
    fn memory(&self) -> usize {
        0
    }

    /// Writes what is not in [`Held`].
    fn save(&self, out: &mut StateWriter);

    /// Reads what [`Assigner::save`] wrote.
    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError>;
}

/// Rows that arrive at a window; never none.
#[derive(Clone, Copy)]
struct Incoming<'a> {
    input: usize,
    batch: &'a Batch,
    rows: &'a [u32],
}

/// Rows looked at together.
const BLOCK: usize = 64;

impl Incoming<'_> {
    /// How many of the first rows come before `end`, and the latest time among those. Rows that follow each other are
    /// looked at in blocks: most end no window.
    fn before(&self, end: Timestamp) -> (usize, Timestamp) {
        let (mut n_before, mut latest) = (0, Timestamp(i64::MIN));
        for rows in self.rows.chunks(BLOCK) {
            if let Some(rows) = reshape::range(rows) {
                let times = &self.batch.times[rows];
                let last = times.iter().fold(latest, |latest, time| latest.max(*time));
                if last < end {
                    (n_before, latest) = (n_before + times.len(), last);
                    continue;
                }
            }
            for row in rows {
                let time = self.batch.times[*row as usize];
                if time >= end {
                    return (n_before, latest);
                }
                (n_before, latest) = (n_before + 1, latest.max(time));
            }
        }
        (n_before, latest)
    }

    /// The rows as a selection.
    fn selection(&self) -> Selection {
        if self.rows.len() == self.batch.n_rows {
            Selection::all(self.batch.n_rows)
        } else {
            Selection::rows(self.rows.to_vec())
        }
    }
}

/// Some of the rows in [`Window::rows`].
struct Part<'a> {
    input: usize,
    batch: &'a Batch,
    rows: std::ops::Range<usize>,
}

/// What a window holds.
struct Held {
    /// One an input.
    stores: Vec<Store>,
    event_time: bool,
    /// No row counts as earlier than this: the latest time seen, so that times ascend over all inputs.
    latest: Timestamp,
}

impl Held {
    /// Keeps rows; gives the time of the last one. Windows end at the times of the grid, or where the assigner cuts.
    fn push(&mut self, incoming: Incoming<'_>, grid: Option<Grid>, cx: &OpCx<'_>) -> Timestamp {
        let store = &mut self.stores[incoming.input];
        self.latest = store.push(incoming.batch, incoming.rows, self.latest, grid, cx);
        self.latest
    }

    /// A window may end here.
    fn cut(&mut self) {
        self.stores.iter_mut().for_each(Store::cut);
    }

    /// The number of rows of all inputs.
    fn len(&self) -> usize {
        self.stores.iter().map(Store::len).sum()
    }

    /// The time that a row counts for.
    fn time_of(&self, batch: &Batch, row: u32) -> Timestamp {
        batch.times[row as usize].max(self.latest)
    }

    /// Emits one collection an input: the positions that `range` gives.
    fn emit(
        &mut self,
        window: WindowRange,
        out: &mut dyn Emit,
        cx: &OpCx<'_>,
        range: impl Fn(usize, &Store) -> (u64, u64),
    ) {
        for (port, store) in self.stores.iter_mut().enumerate() {
            let range = range(port, store);
            store.emit(port, range, window, out, cx);
        }
    }

    /// Emits everything and forgets it.
    fn emit_all(&mut self, window: WindowRange, out: &mut dyn Emit, cx: &OpCx<'_>) {
        self.emit(window, out, cx, |_, store| (store.first(), store.end()));
        self.stores.iter_mut().for_each(|store| store.drop_before(store.end()));
    }

    /// Drops rows before a time.
    fn drop_before(&mut self, time: Timestamp) {
        self.stores.iter_mut().for_each(|store| store.drop_before(store.at(time)));
    }

    /// The boundary to go on with when the next row, or `to`, is further away than [`MAX_EMPTY`] intervals.
    fn skip_to(&self, next: Timestamp, to: Timestamp, interval: i64, cx: &OpCx<'_>) -> Timestamp {
        let first = self.stores.iter().filter_map(Store::first_time).min();
        let to = first.map_or(to, |first| to.min(first));
        let missed = to.0.saturating_sub(next.0) / interval;
        if missed <= MAX_EMPTY {
            return next;
        }
        let skipped = missed - MAX_EMPTY;
        let message = format!("time jumped: {skipped} empty windows were not emitted");
        cx.metrics.exception(&message, cx.now);
        next.plus(skipped.saturating_mul(interval))
    }
}

/// The operator.
pub(crate) struct Window {
    assigner: Box<dyn Assigner>,
    held: Held,
    /// The schema of each port.
    outputs: Vec<Arc<Schema>>,
    merge: Merge,
    /// Event time over several inputs, or a UNION ALL: rows wait here until the common watermark has passed them.
    reorder: Option<Reorder>,
    rows: Vec<u32>,
    /// Of the nodes whose work is done here, nearest first.
    behind: Vec<Behind>,
    folding: Option<Arc<Folding>>,
    /// Over a split stream: the groups of all parts are put together here.
    parts: Option<Box<Parts>>,
    /// Other rules have the same window.
    common: Option<Box<Common>>,
    /// Length and hop, where windows are as common ones may be.
    beat: Option<(i64, i64)>,
}

impl Window {
    pub(crate) fn new(node: &Node, plan: &Plan) -> Self {
        let schemas: Vec<_> = node.inputs.iter().map(|input| Arc::clone(&input.schema)).collect();
        // With groups the output is theirs.
        let outputs = match &plan.fold {
            Some(fold) => vec![Arc::clone(&fold.schema)],
            None => schemas.clone(),
        };
        let overlaps = matches!(plan.kind, WindowKind::Hopping { .. } | WindowKind::Count { .. });
        let folding = plan.fold.as_deref().map(|fold| Arc::new(Folding::new(fold, overlaps)));
        let store = if matches!(plan.kind, WindowKind::Sliding { .. }) { Store::sliding } else { Store::new };
        let held = Held {
            stores: schemas.iter().map(|schema| store(schema, folding.as_ref())).collect(),
            event_time: plan.event_time,
            latest: Timestamp(i64::MIN),
        };
        let is_out_of_order = schemas.len() > 1 || node.inputs.iter().any(has_union);
        let reorder = (plan.event_time && is_out_of_order).then(|| Reorder::new(schemas.iter()));
        let merge = Merge::new(schemas.len());
        let assigner = assigner(plan, &schemas, folding.clone());
        let beat = match plan.kind {
            WindowKind::Tumbling { length, .. } => Some((length, length)),
            WindowKind::Hopping { length, hop, .. } => Some((length, hop)),
            _ => None,
        };
        let (rows, behind, parts, common) = (Vec::new(), Vec::new(), None, None);
        Self { assigner, held, outputs, merge, reorder, rows, behind, folding, parts, common, beat }
    }

    fn take(&mut self, part: Part<'_>, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let Part { input, batch, rows } = part;
        let mut rows = &self.rows[rows];
        if rows.is_empty() {
            return;
        }
        if let Some(common) = &mut self.common {
            let Some(until) = common.open_until() else { return };
            let own = rows.iter().position(|row| batch.times[*row as usize] >= until);
            let (now, later) = rows.split_at(own.unwrap_or(rows.len()));
            if !later.is_empty() {
                if !now.is_empty() {
                    let incoming = Incoming { input, batch, rows: now };
                    self.assigner.rows(incoming, &mut self.held, out, &cx.with_behind(&self.behind));
                }
                return self.close_own(until, out, cx);
            }
            rows = now;
        }
        match &mut self.reorder {
            Some(reorder) => reorder.push(input, batch, rows),
            None => {
                let incoming = Incoming { input, batch, rows };
                self.assigner.rows(incoming, &mut self.held, out, &cx.with_behind(&self.behind));
            }
        }
    }

    /// The last window closes that is the rule's own.
    fn close_own(&mut self, until: Timestamp, out: &mut dyn Emit, cx: &OpCx<'_>) {
        self.assigner.advance(until, &mut self.held, out, &cx.with_behind(&self.behind));
        self.held.drop_before(Timestamp(i64::MAX));
        let (Some(common), Some(folding)) = (&mut self.common, &self.folding) else { return };
        common.close();
        let waiting = std::mem::take(&mut common.waiting);
        let mut parts = Box::new(Parts::new(folding, 1));
        waiting.iter().for_each(|partial| parts.take(0, partial, out, &cx.with_behind(&self.behind)));
        self.parts = Some(parts);
    }

    /// W-23: errors do not wait for a window, but what rows before them close comes first, and the windows that end
    /// by the error's own time: so far the watermark may have gone before it, and no row before that time follows.
    /// `next` is the time of the row behind it.
    fn pass(
        &mut self,
        input: usize,
        fault: &Fault,
        next: Option<Timestamp>,
        out: &mut dyn Emit,
        cx: &OpCx<'_>,
    ) {
        if let (Some(reorder), Some(time)) = (&mut self.reorder, fault.time) {
            return reorder.push_fault(input, time, fault);
        }
        // In processing time a payload that cannot be read came no later than what is behind it.
        let before = next.filter(|_| !self.held.event_time).map(|next| next.plus(-1));
        if let Some(to) = fault.time.or(before) {
            self.assigner.advance(to, &mut self.held, out, &cx.with_behind(&self.behind));
        }
        faults::send(vec![fault.clone()], input, &self.outputs[input], out);
    }

    fn watermark(&mut self, mark: Timestamp, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let Self { assigner, held, outputs, reorder, rows, behind, .. } = self;
        let cx = &cx.with_behind(behind);
        if let Some(reorder) = reorder {
            reorder.release(mark, |input, batch, selection| {
                for fault in &selection.faults {
                    assigner.advance(fault.time.unwrap_or(mark), held, out, cx);
                    faults::send(vec![fault.clone()], input, &outputs[input], out);
                }
                rows.clear();
                rows.extend(selection.iter().map(|row| row as u32));
                if !rows.is_empty() {
                    assigner.rows(Incoming { input, batch, rows }, held, out, cx);
                }
            });
        }
        assigner.advance(mark, held, out, cx);
        out.signal(Signal::Watermark(mark));
    }
}

/// Whether rows come from a UNION ALL, whose parts are each in order but not together.
fn has_union(node: &Node) -> bool {
    match node.kind {
        Kind::Union => true,
        Kind::Window(_) => false,
        _ => node.inputs.iter().any(has_union),
    }
}

fn assigner(plan: &Plan, schemas: &[Arc<Schema>], folding: Option<Arc<Folding>>) -> Box<dyn Assigner> {
    match &plan.kind {
        WindowKind::Tumbling { unit, length } => Box::new(tumbling::Tumbling::new(*unit, *length)),
        WindowKind::Hopping { unit, length, hop } => Box::new(hopping::Hopping::new(*unit, *length, *hop)),
        WindowKind::Sliding { length, delay, twice } => {
            Box::new(sliding::Sliding::new(*length, *delay, *twice, own_slots(&plan.trigger, schemas)))
        }
        WindowKind::Session { unit, max_duration, timeout } => {
            Box::new(session::Session::new(*unit, *max_duration, *timeout))
        }
        WindowKind::Count { length, step } => Box::new(count::Count::new(*length, *step)),
        WindowKind::State { begin, emit } => {
            let inputs = schemas.to_vec();
            let empty = move || inputs.iter().map(|schema| Store::new(schema, folding.as_ref())).collect();
            let conditions = state::Conditions {
                begin: own_slots(begin, schemas),
                emit: own_slots(emit, schemas),
                partition_by: own_slots(&plan.partition_by, schemas),
            };
            Box::new(state::State::new(conditions, Box::new(empty)))
        }
    }
}

/// What a window asks the rows of each input, bound to the input's own slots.
fn own_slots<T: OverSlots>(conditions: &[T], schemas: &[Arc<Schema>]) -> Vec<T> {
    let mut first = 0;
    let mut firsts = schemas.iter().map(|schema| {
        first += schema.len() as u32;
        first - schema.len() as u32
    });
    let own = |condition: &T| condition.down_by(firsts.next().unwrap_or_default());
    conditions.iter().map(own).collect()
}

/// What reads slots.
trait OverSlots {
    /// The same over slots whose numbers are so much smaller.
    fn down_by(&self, first: u32) -> Self;
}

impl OverSlots for Expr {
    fn down_by(&self, first: u32) -> Self {
        self.map_slots(&|slot| Slot(slot.0.saturating_sub(first)))
    }
}

impl OverSlots for Vec<Expr> {
    fn down_by(&self, first: u32) -> Self {
        self.iter().map(|expr| expr.down_by(first)).collect()
    }
}

impl Operator for Window {
    fn on_batch(
        &mut self,
        input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        self.rows.clear();
        match &rows.live {
            Live::All(n_rows) => self.rows.extend(0..*n_rows),
            Live::Rows(rows) => self.rows.extend_from_slice(rows),
            Live::Mask { .. } => self.rows.extend(rows.iter().map(|row| row as u32)),
        }
        let mut taken = 0;
        for fault in &rows.faults {
            let end = self.rows.partition_point(|row| *row < fault.row);
            self.take(Part { input, batch, rows: taken..end }, out, cx);
            taken = end;
            let next = batch.times.get(fault.row as usize).copied();
            self.pass(input, fault, next, out, cx);
        }
        self.take(Part { input, batch, rows: taken..self.rows.len() }, out, cx);
    }

    fn on_signal(&mut self, input: usize, signal: Signal, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
        match self.merge.take(input, signal) {
            Some(Signal::Watermark(mark)) if self.held.event_time => self.watermark(mark, out, cx),
            Some(signal) => out.signal(signal),
            None => {}
        }
    }

    fn next_timer(&self) -> Option<Timestamp> {
        if self.held.event_time || self.parts.is_some() { None } else { self.assigner.due() }
    }

    fn on_timer(&mut self, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
        if self.held.event_time || self.parts.is_some() {
            return;
        }
        match self.common.as_ref().and_then(|common| common.open_until()) {
            Some(until) if until <= cx.now => self.close_own(until, out, cx),
            _ => self.assigner.advance(cx.now, &mut self.held, out, &cx.with_behind(&self.behind)),
        }
    }

    fn start(&mut self, cx: &mut OpCx<'_>) {
        if !self.held.event_time && self.parts.is_none() {
            self.assigner.start(cx);
        }
        if let (Some(common), Some(end)) = (&mut self.common, self.assigner.due()) {
            common.start(cx.now, end);
        }
    }

    fn share_windows(&mut self) {
        self.common = self.beat.map(|(length, hop)| Box::new(Common::new(length, hop)));
    }

    fn gets_windows_later(&self) -> bool {
        self.common.is_some()
    }

    fn gets_windows(&self) -> bool {
        self.common.as_ref().is_some_and(|common| common.is_over())
    }

    fn become_part(&mut self) {
        self.held.stores.iter_mut().for_each(Store::become_part);
    }

    fn merge_parts(&mut self, n: usize) {
        self.parts = self.folding.as_ref().map(|folding| Box::new(Parts::new(folding, n)));
    }

    fn on_partial(&mut self, part: usize, partial: &Partial, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
        if let Some(common) = &mut self.common {
            if !common.wants(partial) {
                return;
            }
            if !common.is_over() {
                return common.waiting.push(partial.clone());
            }
        }
        if let Some(parts) = &mut self.parts {
            parts.take(part, partial, out, &cx.with_behind(&self.behind));
        }
    }

    fn adopt(&mut self, behind: Behind) {
        self.behind.push(behind);
    }

    fn memory(&self) -> usize {
        let stores = &self.held.stores;
        size_of_val(&*self.assigner)
            + self.assigner.memory()
            + stores.capacity() * size_of::<Store>()
            + stores.iter().map(Store::memory).sum::<usize>()
            + self.reorder.as_ref().map_or(0, Reorder::memory)
            + self.rows.capacity() * 4
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("window", 3);
        out.time(self.held.latest);
        self.held.stores.iter().for_each(|store| store.save(out));
        self.merge.save(out);
        if let Some(reorder) = &self.reorder {
            reorder.save(out);
        }
        self.assigner.save(out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("window", 3)?;
        self.held.latest = from.time()?;
        self.held.stores.iter_mut().try_for_each(|store| store.load(from))?;
        self.merge.load(from)?;
        if let Some(reorder) = &mut self.reorder {
            reorder.load(from)?;
        }
        self.assigner.load(from)
    }
}

/// Writes an instant that may be absent.
fn save_time(time: Option<Timestamp>, out: &mut StateWriter) {
    out.bool(time.is_some());
    out.time(time.unwrap_or_default());
}

/// Reads what [`save_time`] wrote.
fn load_time(from: &mut StateReader<'_>) -> Result<Option<Timestamp>, StateError> {
    let there = from.bool()?;
    let time = from.time()?;
    Ok(there.then_some(time))
}
