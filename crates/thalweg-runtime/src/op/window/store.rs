//! What a window keeps of one input: its rows, or the groups that they belong to.
//!
//! Both forms number rows from the first ever, so an assigner speaks of ranges and does not know which it has.

use std::sync::Arc;

use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Schema, Timestamp, WindowRange};

use super::buffer::RowBuffer;
use super::panes::{Folding, Grid, Panes};
use super::queue::Queue;
use crate::operator::{Emit, OpCx};

/// Rows in order of their times.
pub(super) enum Store {
    Rows(RowBuffer),
    Groups(Panes),
    /// Rows that leave one by one: kept, with running groups.
    Queue(Box<Queue>),
}

impl Store {
    pub(super) fn new(schema: &Arc<Schema>, folding: Option<&Arc<Folding>>) -> Self {
        match folding {
            Some(folding) => Self::Groups(Panes::new(folding)),
            None => Self::Rows(RowBuffer::new(schema)),
        }
    }

    /// For windows that are ranges of rows.
    pub(super) fn sliding(schema: &Arc<Schema>, folding: Option<&Arc<Folding>>) -> Self {
        match folding {
            Some(folding) => Self::Queue(Box::new(Queue::new(schema, folding))),
            None => Self::new(schema, None),
        }
    }

    /// Takes rows, at least one, none of which counts as earlier than `not_before` or the one before it; gives the
    /// time of the last one. Windows may end at the times of the grid.
    pub(super) fn push(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        not_before: Timestamp,
        grid: Option<Grid>,
        cx: &OpCx<'_>,
    ) -> Timestamp {
        match self {
            Self::Rows(buffer) => {
                buffer.push(batch, rows, not_before);
                buffer.times().last().copied().unwrap_or(not_before)
            }
            Self::Groups(panes) => panes.push(batch, rows, not_before, grid, cx),
            Self::Queue(queue) => {
                queue.buffer_mut().push(batch, rows, not_before);
                queue.buffer().times().last().copied().unwrap_or(not_before)
            }
        }
    }

    /// It is that of one part of a split stream, and hands groups on.
    pub(super) fn become_part(&mut self) {
        if let Self::Groups(panes) = self {
            panes.become_part();
        }
    }

    /// A window may end here.
    pub(super) fn cut(&mut self) {
        if let Self::Groups(panes) = self {
            panes.cut();
        }
    }

    /// The position of the first row that is still there.
    pub(super) fn first(&self) -> u64 {
        match self {
            Self::Rows(buffer) => buffer.first(),
            Self::Groups(panes) => panes.first(),
            Self::Queue(queue) => queue.buffer().first(),
        }
    }

    /// The time of that row.
    pub(super) fn first_time(&self) -> Option<Timestamp> {
        match self {
            Self::Rows(buffer) => buffer.times().first().copied(),
            Self::Groups(panes) => panes.first_time(),
            Self::Queue(queue) => queue.buffer().times().first().copied(),
        }
    }

    /// The position of the next row to come.
    pub(super) fn end(&self) -> u64 {
        match self {
            Self::Rows(buffer) => buffer.end(),
            Self::Groups(panes) => panes.end(),
            Self::Queue(queue) => queue.buffer().end(),
        }
    }

    /// The position of the first row at or after a time.
    pub(super) fn at(&self, time: Timestamp) -> u64 {
        match self {
            Self::Rows(buffer) => buffer.at(time),
            Self::Groups(panes) => panes.at(time),
            Self::Queue(queue) => queue.buffer().at(time),
        }
    }

    /// The number of rows that are still there.
    pub(super) fn len(&self) -> usize {
        (self.end() - self.first()) as usize
    }

    /// Emits the rows between two positions, or their groups, as a window's collection.
    pub(super) fn emit(
        &mut self,
        port: usize,
        (from, to): (u64, u64),
        window: WindowRange,
        out: &mut dyn Emit,
        cx: &OpCx<'_>,
    ) {
        match self {
            Self::Rows(buffer) => {
                let (batch, rows) = buffer.range(from, to, window);
                out.batch(port, batch, &rows);
            }
            Self::Groups(panes) => panes.emit((from, to), window, out, cx),
            Self::Queue(queue) => queue.emit((from, to), window, out, cx),
        }
    }

    /// Forgets the rows before a position.
    pub(super) fn drop_before(&mut self, position: u64) {
        match self {
            Self::Rows(buffer) => buffer.drop_before(position),
            Self::Groups(panes) => panes.drop_before(position),
            Self::Queue(queue) => queue.buffer_mut().drop_before(position),
        }
    }

    /// The bytes that it has on the heap.
    pub(super) fn memory(&self) -> usize {
        match self {
            Self::Rows(buffer) => buffer.memory(),
            Self::Groups(panes) => panes.memory(),
            Self::Queue(queue) => size_of::<Queue>() + queue.memory(),
        }
    }

    /// Writes what is there.
    pub(super) fn save(&self, out: &mut StateWriter) {
        match self {
            Self::Rows(buffer) => buffer.save(out),
            Self::Groups(panes) => panes.save(out),
            Self::Queue(queue) => queue.save(out),
        }
    }

    /// Reads what [`Store::save`] wrote.
    pub(super) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        match self {
            Self::Rows(buffer) => buffer.load(from),
            Self::Groups(panes) => panes.load(from),
            Self::Queue(queue) => queue.load(from),
        }
    }
}
