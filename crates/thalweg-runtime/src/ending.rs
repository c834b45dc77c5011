//! How a rule's run ends: told once, heard by whoever waits for it. Small, because every rule has one.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::rule::Outcome;

/// The end of one run.
pub struct Ending {
    told: Mutex<Told>,
}

struct Told {
    outcome: Outcome,
    waiting: Vec<Waker>,
    tell: Option<Tell>,
}

/// What is called when a run has ended, on the thread that ends it.
pub type Tell = Box<dyn FnOnce(Outcome) + Send>;

impl Ending {
    /// Of a run that stands here.
    pub(crate) fn new(outcome: Outcome) -> Arc<Self> {
        Arc::new(Self { told: Mutex::new(Told { outcome, waiting: Vec::new(), tell: None }) })
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How it stands.
    pub fn outcome(&self) -> Outcome {
        self.lock().outcome.clone()
    }

    /// It has ended, whatever was told before.
    pub(crate) fn end(&self, outcome: Outcome) {
        self.change(|_| Some(outcome));
    }

    /// It was stopped, unless it has ended before.
    pub(crate) fn stop(&self) {
        self.change(|outcome| (*outcome == Outcome::Running).then_some(Outcome::Stopped));
    }

    fn change(&self, to: impl FnOnce(&Outcome) -> Option<Outcome>) {
        let mut told = self.lock();
        let Some(outcome) = to(&told.outcome) else { return };
        told.outcome = outcome.clone();
        let (waiting, tell) = (std::mem::take(&mut told.waiting), told.tell.take());
        drop(told);
        if let Some(tell) = tell {
            tell(outcome);
        }
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Has `tell` called when it no longer runs, at once if that is so already. One can be told in this way, and it takes
    /// less room than to wait.
    pub fn tell(&self, tell: Tell) {
        let mut told = self.lock();
        if told.outcome == Outcome::Running {
            told.tell = Some(tell);
            return;
        }
        let outcome = told.outcome.clone();
        drop(told);
        tell(outcome);
    }

    /// Resolves when it no longer runs.
    pub fn ended(self: &Arc<Self>) -> Ended {
        Ended(Arc::clone(self))
    }
}

/// Waits for the end of a run.
pub struct Ended(Arc<Ending>);

impl Future for Ended {
    type Output = Outcome;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        let mut told = self.0.lock();
        if told.outcome != Outcome::Running {
            return Poll::Ready(told.outcome.clone());
        }
        if !told.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            told.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_to_be_told_hears_of_the_end_once_and_at_once_when_it_is_over() {
        let (sender, heard) = std::sync::mpsc::channel();
        let tell = |name: &'static str| -> Tell {
            let sender = sender.clone();
            Box::new(move |outcome| drop(sender.send((name, outcome))))
        };
        let ending = Ending::new(Outcome::Running);
        ending.tell(tell("before"));
        assert!(heard.try_recv().is_err());
        ending.end(Outcome::Done);
        ending.stop();
        ending.tell(tell("after"));
        let all: Vec<_> = heard.try_iter().collect();
        assert_eq!(all, [("before", Outcome::Done), ("after", Outcome::Done)]);
    }

    #[tokio::test]
    async fn everybody_who_waits_hears_of_the_end_and_a_stop_comes_too_late_after_it() {
        let ending = Ending::new(Outcome::Running);
        let (one, other) = (tokio::spawn(ending.ended()), ending.ended());
        ending.end(Outcome::Done);
        ending.stop();
        assert_eq!(
            (one.await.unwrap(), other.await, ending.outcome()),
            (Outcome::Done, Outcome::Done, Outcome::Done)
        );
    }
}
