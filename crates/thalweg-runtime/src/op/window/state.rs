//! State windows: from the row on which one condition is true to the row on which another is (W-17), in each partition
//! (W-18). Open windows are never flushed. A partition whose window has closed is as one never seen, so it is
//! forgotten: memory grows with the windows that are open, not with the keys that ever came.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{ColumnRef, Selection, Timestamp, WindowRange};
use thalweg_expr::Expr;

use super::store::Store;
use super::{Assigner, Held, Incoming};
use crate::op::condition::{Nulls, Picked};
use crate::op::keys::Keys;
use crate::operator::{Emit, OpCx};

/// What rows are asked, of each input.
pub(super) struct Conditions {
    pub(super) begin: Vec<Expr>,
    /// None in the one-condition form, where each further true closes the window and starts the next.
    pub(super) emit: Vec<Expr>,
    pub(super) partition_by: Vec<Vec<Expr>>,
}

/// So many partitions are kept without asking which of them are open.
const FEW: usize = 64;

/// Makes what a partition holds, one an input.
type Empty = dyn Fn() -> Vec<Store> + Send;

pub(super) struct State {
    conditions: Arc<Conditions>,
    empty: Box<Empty>,
    keys: Keys,
    partitions: Vec<Partition>,
    /// With so many partitions those without an open window are forgotten.
    most: usize,
    begins: Picked,
    emits: Picked,
}

struct Partition {
    stores: Vec<Store>,
    is_open: bool,
    /// Rows of the current batch that are not yet in the store.
    run: Vec<u32>,
}

impl Partition {
    fn take_run(&mut self, incoming: Incoming<'_>, cx: &OpCx<'_>) {
        if !self.run.is_empty() {
            let store = &mut self.stores[incoming.input];
            store.push(incoming.batch, &self.run, Timestamp(i64::MIN), None, cx);
            self.run.clear();
        }
    }

    fn close(&mut self, incoming: Incoming<'_>, end: Timestamp, out: &mut dyn Emit, cx: &OpCx<'_>) {
        self.take_run(incoming, cx);
        let start = self.stores.iter().filter_map(Store::first_time).min().unwrap_or(end);
        for (port, store) in self.stores.iter_mut().enumerate() {
            let all = (store.first(), store.end());
            store.emit(port, all, WindowRange { start, end, trigger: end }, out, cx);
            store.drop_before(all.1);
        }
    }
}

impl State {
    pub(super) fn new(conditions: Conditions, empty: Box<Empty>) -> Self {
        Self {
            conditions: Arc::new(conditions),
            empty,
            keys: Keys::default(),
            partitions: Vec::new(),
            most: FEW,
            begins: Picked::default(),
            emits: Picked::default(),
        }
    }

    fn partition(&mut self, keys: &[ColumnRef<'_>], row: usize) -> &mut Partition {
        // Without keys there is but one.
        let number =
            if keys.is_empty() && self.keys.len() == 1 { 0 } else { self.keys.number(keys, row) as usize };
        while self.partitions.len() <= number {
            self.partitions.push(self.fresh());
        }
        &mut self.partitions[number]
    }

    /// Forgets partitions without an open window. What remains may double before the next look, so a row pays for
    /// one look at most.
    fn forget_closed(&mut self) {
        if self.partitions.len() < self.most {
            return;
        }
        let keys = std::mem::take(&mut self.keys);
        let partitions = std::mem::take(&mut self.partitions);
        for (id, partition) in (0..).zip(partitions) {
            if partition.is_open {
                self.keys.number_of(&keys, id);
                self.partitions.push(partition);
            }
        }
        self.most = FEW.max(2 * self.partitions.len());
    }

    fn fresh(&self) -> Partition {
        Partition { stores: (self.empty)(), is_open: false, run: Vec::new() }
    }

    /// Takes one row; conditions that fail or are no boolean are false (W-18).
    fn take(
        &mut self,
        incoming: Incoming<'_>,
        keys: &[ColumnRef<'_>],
        row: u32,
        out: &mut dyn Emit,
        cx: &OpCx<'_>,
    ) {
        let begins = self.begins.has(row as usize);
        let has_emit = !self.conditions.emit.is_empty();
        let emits = has_emit && self.emits.has(row as usize);
        let time = incoming.batch.times[row as usize];
        let partition = self.partition(keys, row as usize);
        if !partition.is_open {
            partition.is_open = begins;
            if begins {
                partition.run.push(row);
            }
        } else if has_emit {
            partition.run.push(row);
            if emits {
                partition.close(incoming, time, out, cx);
                partition.is_open = false;
            }
        } else {
            if begins {
                partition.close(incoming, time, out, cx);
            }
            partition.run.push(row);
        }
    }
}

fn judge(condition: &Expr, incoming: Incoming<'_>, rows: &Selection, into: &mut Picked, cx: &OpCx<'_>) {
    into.ask(condition, (incoming.batch, rows), Nulls::False, &mut cx.eval(None));
    for (_, message) in &into.bad {
        cx.metrics.exception(&format!("run state window error: {message}"), cx.now);
    }
}

impl Assigner for State {
    fn rows(&mut self, incoming: Incoming<'_>, _held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let rows = incoming.selection();
        let conditions = Arc::clone(&self.conditions);
        judge(&conditions.begin[incoming.input], incoming, &rows, &mut self.begins, cx);
        if let Some(emit) = conditions.emit.get(incoming.input) {
            judge(emit, incoming, &rows, &mut self.emits, cx);
        }
        let partition_by = &conditions.partition_by[incoming.input];
        let keys: Vec<_> =
            partition_by.iter().map(|key| key.eval(incoming.batch, &rows, &mut cx.eval(None))).collect();
        for row in incoming.rows {
            self.take(incoming, &keys, *row, out, cx);
        }
        self.partitions.iter_mut().for_each(|partition| partition.take_run(incoming, cx));
        self.forget_closed();
    }

    fn memory(&self) -> usize {
        let partition = |partition: &Partition| {
            partition.stores.iter().map(|store| size_of::<Store>() + store.memory()).sum::<usize>()
                + partition.run.capacity() * 4
        };
        self.keys.memory()
            + self.partitions.capacity() * size_of::<Partition>()
            + self.partitions.iter().map(partition).sum::<usize>()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("state", 1);
        self.keys.save(out);
        for partition in &self.partitions {
            out.bool(partition.is_open);
            partition.stores.iter().for_each(|store| store.save(out));
        }
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("state", 1)?;
        self.keys.load(from)?;
        self.partitions.clear();
        for _ in 0..self.keys.len() {
            let mut partition = self.fresh();
            partition.is_open = from.bool()?;
            partition.stores.iter_mut().try_for_each(|store| store.load(from))?;
            self.partitions.push(partition);
        }
        Ok(())
    }
}
