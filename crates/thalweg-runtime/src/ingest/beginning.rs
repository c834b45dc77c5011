//! When sources begin: those of shared streams wait while an engine boots, and who lets messages in waits for all.
//!
//! A source subscribes in its first turn. What a device or broker sends before that finds nobody, so whoever opens a
//! way for messages first awaits [`Beginnings::all`].

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::sync::watch;

/// The sources of a runtime that have not begun.
pub(crate) struct Beginnings {
    /// Whether the sources of shared streams wait.
    held: watch::Sender<bool>,
    /// Sources that have not had their first turn.
    outstanding: Arc<watch::Sender<usize>>,
}

impl Beginnings {
    /// None, and nothing waits.
    pub(crate) fn new() -> Self {
        Self { held: watch::Sender::new(false), outstanding: Arc::new(watch::Sender::new(0)) }
    }

    /// Lets the sources of shared streams wait, or go.
    pub(crate) fn hold(&self, waits: bool) {
        self.held.send_replace(waits);
    }

    /// Counts a source in; it is out after its first turn, or when it is dropped.
    pub(crate) fn enter(&self, is_shared: bool) -> Beginning {
        self.outstanding.send_modify(|n| *n += 1);
        let held = is_shared.then(|| self.held.subscribe());
        Beginning { held, _place: Place(Arc::clone(&self.outstanding)) }
    }

    /// Resolves when every source that was counted in has had its first turn.
    pub(crate) async fn all(&self) {
        // It fails only when the counter is gone, which is ours.
        let mut outstanding = self.outstanding.subscribe();
        let _none_left = outstanding.wait_for(|n| *n == 0).await;
    }
}

/// A source that has not begun.
pub(crate) struct Beginning {
    held: Option<watch::Receiver<bool>>,
    _place: Place,
}

struct Place(Arc<watch::Sender<usize>>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

impl Beginning {
    /// Waits until it may begin, gives it its first turn, and runs it to its end.
    pub(crate) async fn run<T>(mut self, source: impl Future<Output = T>) -> T {
        if let Some(held) = &mut self.held {
            // It fails only when the runtime is gone.
            let _may_go = held.wait_for(|waits| !waits).await;
        }
        let mut source = pin!(source);
        let first = poll_fn(|cx| Poll::Ready(source.as_mut().poll(cx))).await;
        drop(self);
        match first {
            Poll::Ready(ended) => ended,
            Poll::Pending => source.await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

    use super::*;

    #[tokio::test]
    async fn all_have_begun_when_each_has_had_its_first_turn_and_a_held_one_has_not() {
        let beginnings = Beginnings::new();
        beginnings.all().await;
        beginnings.hold(true);
        let subscribed = Arc::new(AtomicBool::new(false));
        let source = |subscribed: Arc<AtomicBool>| async move {
            subscribed.store(true, SeqCst);
            std::future::pending::<()>().await;
        };
        let shared = tokio::spawn(beginnings.enter(true).run(source(Arc::clone(&subscribed))));
        let own = tokio::spawn(beginnings.enter(false).run(async {}));
        own.await.unwrap();
        assert!(!subscribed.load(SeqCst) && *beginnings.outstanding.borrow() == 1);
        beginnings.hold(false);
        beginnings.all().await;
        assert!(subscribed.load(SeqCst));
        drop(beginnings.enter(false));
        beginnings.all().await;
        shared.abort();
    }
}
