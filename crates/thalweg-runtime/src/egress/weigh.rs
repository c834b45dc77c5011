//! The memory of an action.

use super::{Egress, Pending};
use crate::queue::Entry;
use crate::rule::Memory;

impl Egress {
    /// Its part of the rule's memory.
    pub(crate) fn memory(&self) -> Memory {
        let held = self.batching.iter().flat_map(|batching| &batching.held);
        let held = held.map(|payload| size_of_val(payload) + payload.bytes());
        let waiting = self.delivery.waiting_bytes() + held.sum::<usize>();
        let room = self.room.0.as_ref().map_or(0, |work| {
            let lists = work.plain.capacity() * size_of::<(u32, u32)>()
                + work.pending.capacity() * size_of::<Pending>();
            size_of_val(&**work) + work.buffer.capacity() + lists
        });
        let metrics = self.metrics().map(|metrics| metrics.memory()).sum::<usize>();
        let record = size_of::<Self>() + self.delivery.memory() + metrics;
        Memory { state: room as u64, queues: waiting as u64, record: record as u64 }
    }
}
