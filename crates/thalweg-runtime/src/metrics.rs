//! The metrics of a rule's nodes as its status shows them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use thalweg_core::Timestamp;
use thalweg_core::metrics::NodeMetrics;

use crate::rule::NodeSnapshot;

/// A node as one rule sees it.
pub(crate) struct NodeView {
    name: Arc<str>,
    metrics: Arc<NodeMetrics>,
    /// What a shared node had counted when the rule joined.
    base: Base,
}

#[derive(Default)]
struct Base {
    records_in: u64,
    records_out: u64,
    processed: u64,
    exceptions: u64,
}

impl NodeView {
    /// A node with its prefixed name; a shared one counts from now on.
    pub(crate) fn new(name: Arc<str>, metrics: Arc<NodeMetrics>, is_shared: bool) -> Self {
        let base = if is_shared {
            Base {
                records_in: metrics.records_in.load(Relaxed),
                records_out: metrics.records_out.load(Relaxed),
                processed: metrics.processed.load(Relaxed),
                exceptions: metrics.exceptions.load(Relaxed),
            }
        } else {
            Base::default()
        };
        Self { name, metrics, base }
    }

    /// An operator of the rule.
    pub(crate) fn operator((name, metrics): (&Arc<str>, &Arc<NodeMetrics>)) -> Self {
        Self::new(Arc::from(format!("op_{name}")), Arc::clone(metrics), false)
    }

    /// Its metrics now.
    pub(crate) fn snapshot(&self) -> NodeSnapshot {
        let metrics = &self.metrics;
        let since = |counter: &AtomicU64, base: u64| counter.load(Relaxed).wrapping_sub(base);
        NodeSnapshot {
            name: Arc::clone(&self.name),
            records_in: since(&metrics.records_in, self.base.records_in),
            records_out: since(&metrics.records_out, self.base.records_out),
            processed: since(&metrics.processed, self.base.processed),
            latency_us: metrics.latency_us.load(Relaxed),
            buffer: metrics.buffer.load(Relaxed),
            buffer_capacity: metrics.buffer_capacity.load(Relaxed),
            last_invocation: Timestamp(metrics.last_invocation.load(Relaxed)),
            exceptions: since(&metrics.exceptions, self.base.exceptions),
            last_row: Timestamp(metrics.last_row.load(Relaxed)),
            rare: metrics.rare(),
        }
    }
}
