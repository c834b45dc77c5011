//! Places on the data port where results go out to whoever listens: server-sent events, or a web socket.
//!
//! The server owns the port and the protocols; sinks only know the path. A place exists as long as somebody holds it.
//! Nothing is kept for those who come later, and nobody waits for those who are slow (D9).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::{Notify, broadcast};

/// Events that may wait for a slow listener; then it loses the oldest.
const WAITING: usize = 1_024;

/// All places of an engine, by path.
#[derive(Default)]
pub struct Outlets {
    places: Mutex<HashMap<String, Weak<Outlet>>>,
    wanted: Notify,
}

/// One place.
pub struct Outlet {
    events: broadcast::Sender<Bytes>,
}

impl Outlets {
    /// The place at a path, made if there is none.
    pub fn open(&self, path: &str) -> Arc<Outlet> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.get(path).and_then(Weak::upgrade) {
            return place;
        }
        places.retain(|_, place| place.strong_count() > 0);
        let place = Arc::new(Outlet { events: broadcast::Sender::new(WAITING) });
        places.insert(path.to_owned(), Arc::downgrade(&place));
        self.wanted.notify_one();
        place
    }

    /// The events of a place from now on; `None`: there is no such place. They end with the place.
    pub fn listen(&self, path: &str) -> Option<broadcast::Receiver<Bytes>> {
        let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        Some(places.get(path)?.upgrade()?.events.subscribe())
    }

    /// Resolves when a place was made since the last call.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Outlet {
    /// Whether somebody listens now.
    pub fn is_heard(&self) -> bool {
        self.events.receiver_count() > 0
    }

    /// Hands an event to all who listen now.
    pub fn send(&self, event: Bytes) {
        // An error says that nobody listens.
        let _ = self.events.send(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_ends_with_the_last_who_holds_it_and_so_do_its_events() {
        let outlets = Outlets::default();
        assert!(outlets.listen("/a").is_none());
        let (first, second) = (outlets.open("/a"), outlets.open("/a"));
        first.send(Bytes::from_static(b"nobody listens"));
        let mut events = outlets.listen("/a").expect("it is there");
        second.send(Bytes::from_static(b"x"));
        drop((first, second));
        assert_eq!(events.try_recv().expect("it was sent"), "x");
        assert_eq!(events.try_recv(), Err(broadcast::error::TryRecvError::Closed));
        assert!(outlets.listen("/a").is_none());
    }
}
