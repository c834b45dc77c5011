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
    /// Made when something rare happens: most nodes never need the room.
    rare: Mutex<Option<Box<Rare>>>,
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
        size_of::<Self>() + self.counters().map_or(0, |_| size_of::<Counters>())
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
