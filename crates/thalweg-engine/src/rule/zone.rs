//! The configured zone, which may be changed while rules run: it holds for those that are started from then on, and for
//! schedules at once.

use std::sync::Arc;

use arc_swap::ArcSwap;
use chrono_tz::Tz;

/// A zone.
#[derive(Clone)]
pub struct Zone(Arc<ArcSwap<Tz>>);

impl Zone {
    /// Of an IANA name; UTC if there is none of this name.
    pub fn new(name: &str) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(name.parse().unwrap_or(Tz::UTC))))
    }

    /// The zone now.
    pub fn get(&self) -> Tz {
        **self.0.load()
    }

    /// Changes it. Whether there is a zone of this name.
    pub fn set(&self, name: &str) -> bool {
        let zone = name.parse();
        zone.map(|zone| self.0.store(Arc::new(zone))).is_ok()
    }
}
