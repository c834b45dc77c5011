//! Counters of one node, written by one thread and read by anybody.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::connector::ConnectionStatus;
use crate::time::Timestamp;

/// The metrics of one node. They take room from the first time that anything is counted: most nodes of thousands of
/// rules never count, because their stream does so for them.
#[derive(Debug, Default)]
pub struct NodeMetrics {
    counters: OnceLock<Box<Counters>>,
}

/// What a node counts (R8.6), and ours: drops by cause, the time of the last row.
#[derive(Debug, Default)]
pub struct Counters {
    /// `records_in_total`.
    pub records_in: AtomicU64,
    /// `records_out_total`.
    pub records_out: AtomicU64,
    /// `messages_processed_total`.
    pub processed: AtomicU64,
    /// `process_latency_us` of the last batch.
    pub latency_us: AtomicU64,
    /// `buffer_length`: what waits in front of the node.
    pub buffer: AtomicU64,
    /// The room of that buffer; 0 when it has none. `_queue_fill_pct` is derived.
    pub buffer_capacity: AtomicU64,
    /// `last_invocation`, epoch ms.
    pub last_invocation: AtomicI64,
    /// `exceptions_total`.
    pub exceptions: AtomicU64,
    /// Epoch ms of the last row that left the node.
    pub last_row: AtomicI64,
    /// Made with the first batch.
    latencies: OnceLock<Box<LatencyCounters>>,
    /// Made when something rare happens: most nodes never need the room.
    rare: Mutex<Option<Box<Rare>>>,
}

/// The upper ends of `process_latency_us_hist`: 10·2ⁿ microseconds, n from 0; one more bucket holds the rest.
pub const N_LATENCIES: usize = 20;

#[derive(Debug, Default)]
struct LatencyCounters {
    batches: [AtomicU64; N_LATENCIES + 1],
    sum: AtomicU64,
}

/// How long the batches of a node have taken.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    /// Batches that took up to 10·2ⁿ microseconds and longer than the bucket before; the last: all that took longer.
    pub batches: [u64; N_LATENCIES + 1],
    /// All times together, in microseconds.
    pub sum: u64,
}

impl Latencies {
    /// Those of a further node.
    pub fn add(&mut self, other: &Self) {
        self.batches.iter_mut().zip(other.batches).for_each(|(own, other)| *own += other);
        self.sum += other.sum;
    }
}

/// The bucket of a time: the smallest n with 10·2ⁿ not below it.
fn bucket(micros: u64) -> usize {
    let tens = micros.saturating_sub(1) / 10;
    ((u64::BITS - tens.leading_zeros()) as usize).min(N_LATENCIES)
}

/// What changes rarely enough for a lock.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rare {
    /// `last_exception`.
    pub last_exception: Arc<str>,
    /// `last_exception_time`, epoch ms.
    pub last_exception_time: i64,
    /// Lost rows by cause: `queue_full decode late too_large cache_full encode eval`.
    pub dropped: BTreeMap<&'static str, u64>,
    /// `None` for nodes without connection.
    pub connection: Option<ConnectionMetrics>,
    /// `None` for nodes that learn no shapes.
    pub shapes: Option<ShapeMetrics>,
}

/// How a decoder got on with learned shapes (hot-path.md 7.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ShapeMetrics {
    /// Messages that a learned shape decoded.
    pub by_shape: u64,
    /// Messages that fitted none.
    pub by_walker: u64,
    /// Shapes that are kept now.
    pub kept: u64,
    /// Nothing is learned for a while, since too few messages fitted.
    pub is_paused: bool,
}

/// The connection of a source or sink.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ConnectionMetrics {
    /// `connection_status`.
    pub status: ConnectionStatus,
    /// `connection_last_connected_time`, epoch ms.
    pub last_connected: i64,
    /// `connection_last_disconnected_time`, epoch ms.
    pub last_disconnected: i64,
    /// `connection_last_disconnected_message`.
    pub last_message: Arc<str>,
    /// `connection_last_try_time`, epoch ms.
    pub last_try: i64,
}

impl ShapeMetrics {
    /// Whether there were messages at all.
    pub fn has_counted(&self) -> bool {
        self.by_shape + self.by_walker > 0
    }

    /// Those of a further decoder of the same stream.
    pub fn add(&mut self, other: Self) {
        self.by_shape += other.by_shape;
        self.by_walker += other.by_walker;
        self.kept += other.kept;
        self.is_paused |= other.is_paused;
    }
}

impl NodeMetrics {
    /// Adds to a counter that only the calling thread writes.
    #[inline]
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
    }

    /// The bytes that they take, without what is rare.
    pub fn memory(&self) -> usize {
        let latencies =
            |counters: &Counters| counters.latencies.get().map_or(0, |_| size_of::<LatencyCounters>());
        size_of::<Self>() + self.counters().map_or(0, |counters| size_of::<Counters>() + latencies(counters))
    }

    /// The counters, if anything was ever counted.
    pub fn counters(&self) -> Option<&Counters> {
        self.counters.get().map(|counters| &**counters)
    }
}

impl Deref for NodeMetrics {
    type Target = Counters;

    #[inline]
    fn deref(&self) -> &Counters {
        self.counters.get_or_init(Box::default)
    }
}

impl Counters {
    /// Notes how long a batch has taken. Only the thread that runs the node calls it.
    pub fn took(&self, micros: u64) {
        self.latency_us.store(micros, Relaxed);
        let latencies = self.latencies.get_or_init(Box::default);
        NodeMetrics::add(&latencies.batches[bucket(micros)], 1);
        NodeMetrics::add(&latencies.sum, micros);
    }

    /// How long batches have taken; `None` before the first one.
    pub fn latencies(&self) -> Option<Box<Latencies>> {
        let counted = self.latencies.get()?;
        let mut batches = [0; N_LATENCIES + 1];
        batches.iter_mut().zip(&counted.batches).for_each(|(own, count)| *own = count.load(Relaxed));
        Some(Box::new(Latencies { batches, sum: counted.sum.load(Relaxed) }))
    }

    /// Counts an error.
    pub fn exception(&self, message: &str, now: Timestamp) {
        self.exceptions.fetch_add(1, Relaxed);
        self.with_rare(|rare| {
            rare.last_exception = Arc::from(message);
            rare.last_exception_time = now.0;
        });
    }

    /// Counts lost rows.
    pub fn dropped(&self, cause: &'static str, count: u64) {
        self.with_rare(|rare| *rare.dropped.entry(cause).or_default() += count);
    }

    /// Adds a decoder's messages, and notes its shapes.
    pub fn shapes(&self, fresh: ShapeMetrics) {
        self.with_rare(|rare| {
            let shapes = rare.shapes.get_or_insert_default();
            let (by_shape, by_walker) =
                (shapes.by_shape + fresh.by_shape, shapes.by_walker + fresh.by_walker);
            *shapes = ShapeMetrics { by_shape, by_walker, ..fresh };
        });
    }

    /// Notes the connection's state.
    pub fn connection(&self, status: ConnectionStatus, now: Timestamp) {
        self.with_rare(|rare| {
            let metrics = rare.connection.get_or_insert_default();
            match &status {
                ConnectionStatus::Connecting => metrics.last_try = now.0,
                ConnectionStatus::Connected => metrics.last_connected = now.0,
                ConnectionStatus::Disconnected(why) => {
                    metrics.last_disconnected = now.0;
                    metrics.last_message = Arc::clone(why);
                }
            }
            metrics.status = status;
        });
    }

    fn with_rare(&self, change: impl FnOnce(&mut Rare)) {
        change(self.rare.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default());
    }

    /// The rare part.
    pub fn rare(&self) -> Rare {
        let rare = self.rare.lock().unwrap_or_else(PoisonError::into_inner);
        rare.as_deref().cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_counted_in_the_smallest_bucket_that_holds_it() {
        // rest-api.md 17: buckets 10·2ⁿ, n from 0 to 19.
        for (micros, n) in [(0, 0), (10, 0), (11, 1), (20, 1), (21, 2), (40, 2), (41, 3)] {
            assert_eq!(bucket(micros), n, "{micros}");
        }
        assert_eq!([10 << 19, (10 << 19) + 1, u64::MAX].map(bucket), [19, 20, 20]);
        let counters = Counters::default();
        assert_eq!(counters.latencies(), None);
        [7, 15, 18].into_iter().for_each(|micros| counters.took(micros));
        let latencies = counters.latencies().expect("there were batches");
        assert_eq!((&latencies.batches[..3], latencies.sum), (&[1, 2, 0][..], 40));
    }
}
