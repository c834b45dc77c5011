//! Publishing at QoS 0 by the thread that made the messages.

use std::sync::Arc;

use thalweg_core::polled::DirectSink;

use super::outlet::Outlet;

/// A topic of one connection.
pub(in crate::mqtt) struct DirectTopic {
    outlet: Arc<Outlet>,
    topic: String,
    retain: bool,
}

impl DirectTopic {
    pub(in crate::mqtt) fn new(outlet: Arc<Outlet>, topic: &str, retain: bool) -> Arc<Self> {
        Arc::new(Self { outlet, topic: topic.to_owned(), retain })
    }
}

impl DirectSink for DirectTopic {
    fn write(&self, bytes: &[u8], spans: &[(u32, u32)], at_once: bool) -> usize {
        self.outlet.write_direct((&self.topic, self.retain), (bytes, spans), at_once)
    }
}
