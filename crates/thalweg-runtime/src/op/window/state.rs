//! State windows: from the row on which one condition is true to the row on which another is (W-17), in each partition
//! (W-18). Open windows are never flushed.

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{ColumnRef, Selection, Timestamp, WindowRange};
use thalweg_expr::Expr;

use super::store::Store;
use super::{Assigner, Held, Incoming};
use crate::op::condition::{Nulls, Picked};
use crate::op::keys::Keys;
use crate::operator::{Emit, OpCx};

pub(super) struct State {
    begin: Expr,
    /// Absent in the one-condition form, where each further true closes the window and starts the next.
    emit: Option<Expr>,
    partition_by: Vec<Expr>,
    empty: Box<dyn Fn() -> Store + Send>,
    keys: Keys,
    partitions: Vec<Partition>,
    begins: Picked,
    emits: Picked,
}

struct Partition {
    store: Store,
    is_open: bool,
    /// Rows of the current batch that are not yet in the store.
    run: Vec<u32>,
}

impl Partition {
    fn take_run(&mut self, incoming: Incoming<'_>, cx: &OpCx<'_>) {
        if !self.run.is_empty() {
            self.store.push(incoming.batch, &self.run, Timestamp(i64::MIN), None, cx);
            self.run.clear();
        }
    }

    fn close(&mut self, incoming: Incoming<'_>, end: Timestamp, out: &mut dyn Emit, cx: &OpCx<'_>) {
        self.take_run(incoming, cx);
        let start = self.store.first_time().unwrap_or(end);
        let all = (self.store.first(), self.store.end());
        self.store.emit(0, all, WindowRange { start, end, trigger: end }, out, cx);
        self.store.drop_before(all.1);
    }
}

impl State {
    pub(super) fn new(
        begin: &Expr,
        emit: Option<&Expr>,
        partition_by: &[Expr],
        empty: Box<dyn Fn() -> Store + Send>,
    ) -> Self {
        Self {
            begin: begin.clone(),
            emit: emit.cloned(),
            partition_by: partition_by.to_vec(),
            empty,
            keys: Keys::default(),
            partitions: Vec::new(),
            begins: Picked::default(),
            emits: Picked::default(),
        }
    }

    fn partition(&mut self, keys: &[ColumnRef<'_>], row: usize) -> &mut Partition {
        let number = self.keys.number(keys, row) as usize;
        while self.partitions.len() <= number {
            self.partitions.push(self.fresh());
        }
        &mut self.partitions[number]
    }

    fn fresh(&self) -> Partition {
        Partition { store: (self.empty)(), is_open: false, run: Vec::new() }
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
        let emits = self.emit.is_some() && self.emits.has(row as usize);
        let has_emit = self.emit.is_some();
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
    let column = condition.eval(incoming.batch, rows, &mut cx.eval(None));
    into.pick(&column, rows, incoming.batch.n_rows, Nulls::False);
    for (_, message) in &into.bad {
        cx.metrics.exception(&format!("run state window error: {message}"), cx.now);
    }
}

impl Assigner for State {
    fn rows(&mut self, incoming: Incoming<'_>, _held: &mut Held, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let rows = Selection::rows(incoming.rows.to_vec());
        judge(&self.begin, incoming, &rows, &mut self.begins, cx);
        if let Some(emit) = &self.emit {
            judge(emit, incoming, &rows, &mut self.emits, cx);
        }
        let partition_by = self.partition_by.clone();
        let keys: Vec<_> =
            partition_by.iter().map(|key| key.eval(incoming.batch, &rows, &mut cx.eval(None))).collect();
        for row in incoming.rows {
            self.take(incoming, &keys, *row, out, cx);
        }
        self.partitions.iter_mut().for_each(|partition| partition.take_run(incoming, cx));
    }

    fn save(&self, out: &mut StateWriter) {
        out.section("state", 1);
        self.keys.save(out);
        for partition in &self.partitions {
            out.bool(partition.is_open);
            partition.store.save(out);
        }
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section("state", 1)?;
        self.keys.load(from)?;
        self.partitions.clear();
        for _ in 0..self.keys.len() {
            let mut partition = self.fresh();
            partition.is_open = from.bool()?;
            partition.store.load(from)?;
            self.partitions.push(partition);
        }
        Ok(())
    }
}
