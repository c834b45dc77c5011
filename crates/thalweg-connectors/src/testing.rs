//! Ports, contexts and a spawner for the tests of this crate.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use thalweg_core::connector::{
    BuildCx, ConnectionStatus, Offer, Payload, RawMessage, SinkPort, SourcePort, Spawner, WhenFull,
};
use thalweg_core::props::Props;
use thalweg_core::time::{BoxFuture, SystemClock};
use thalweg_core::value::{Fields, Value};
use tokio::sync::Notify;

/// What a source handed over.
#[derive(Debug, Clone)]
pub(crate) struct Got {
    pub(crate) bytes: Vec<u8>,
    pub(crate) rows: Vec<Arc<Fields>>,
    pub(crate) meta: Option<Arc<Fields>>,
    pub(crate) offset: Option<Value>,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Got>,
    stopped: bool,
    drops: Vec<(&'static str, u64)>,
    faults: Vec<String>,
    status: Vec<ConnectionStatus>,
}

/// A port with a queue of its own.
pub(crate) struct TestPort {
    state: Mutex<State>,
    capacity: usize,
    changed: Notify,
    resume: Option<Value>,
}

impl TestPort {
    pub(crate) fn with_capacity(capacity: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), capacity, changed: Notify::new(), resume: None })
    }

    pub(crate) fn new() -> Arc<Self> {
        Self::with_capacity(100_000)
    }

    /// A port of a rule that was restored.
    pub(crate) fn resuming(resume: Option<Value>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), capacity: 100_000, changed: Notify::new(), resume })
    }

    /// Waits until `check` gives something.
    async fn until<T>(&self, mut check: impl FnMut(&mut State) -> Option<T>) -> T {
        let limit = std::time::Duration::from_secs(30);
        tokio::time::timeout(limit, async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if let Some(found) = check(&mut self.state.lock().unwrap()) {
                    self.changed.notify_waiters();
                    return found;
                }
                changed.await;
            }
        })
        .await
        .expect("nothing came within 30 s")
    }

    pub(crate) async fn next(&self) -> Got {
        self.until(|state| state.queue.pop_front()).await
    }

    pub(crate) async fn next_text(&self) -> String {
        String::from_utf8(self.next().await.bytes).unwrap()
    }

    pub(crate) async fn status_is(&self, wanted: impl Fn(&ConnectionStatus) -> bool) -> ConnectionStatus {
        self.until(|state| state.status.last().filter(|status| wanted(status)).cloned()).await
    }

    pub(crate) fn stop(&self) {
        self.state.lock().unwrap().stopped = true;
        self.changed.notify_waiters();
    }

    pub(crate) fn drops(&self) -> Vec<(&'static str, u64)> {
        self.state.lock().unwrap().drops.clone()
    }

    pub(crate) fn faults(&self) -> Vec<String> {
        self.state.lock().unwrap().faults.clone()
    }

    pub(crate) fn queued(&self) -> usize {
        self.state.lock().unwrap().queue.len()
    }
}

impl SourcePort for TestPort {
    fn offer(&self, message: RawMessage<'_>, when_full: WhenFull) -> Offer {
        let mut state = self.state.lock().unwrap();
        if state.stopped {
            return Offer::Stopped;
        }
        if state.queue.len() >= self.capacity {
            if when_full == WhenFull::Refuse {
                return Offer::Full;
            }
            state.queue.pop_front();
            state.drops.push(("queue_full", 1));
        }
        let (bytes, rows) = match message.payload {
            Payload::Bytes(bytes) => (bytes.to_vec(), Vec::new()),
            Payload::Rows(rows) => (Vec::new(), rows),
        };
        state.queue.push_back(Got { bytes, rows, meta: message.meta, offset: message.offset });
        drop(state);
        self.changed.notify_waiters();
        Offer::Accepted
    }

    fn room(&self) -> BoxFuture<'_, bool> {
        let capacity = self.capacity;
        Box::pin(self.until(move |state| match state.stopped {
            true => Some(false),
            false => (state.queue.len() < capacity).then_some(true),
        }))
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.state.lock().unwrap().stopped {
                    return;
                }
                changed.await;
            }
        })
    }

    fn wants_meta(&self) -> bool {
        true
    }

    fn status(&self, status: ConnectionStatus) {
        self.state.lock().unwrap().status.push(status);
        self.changed.notify_waiters();
    }

    fn fault(&self, message: &str) {
        self.state.lock().unwrap().faults.push(message.to_owned());
        self.changed.notify_waiters();
    }

    fn dropped(&self, cause: &'static str, count: u64) {
        self.state.lock().unwrap().drops.push((cause, count));
    }

    fn resume_from(&self) -> Option<Value> {
        self.resume.clone()
    }

    fn committed(&self) -> Option<Value> {
        None
    }
}

/// A sink's port that nobody looks at.
pub(crate) struct NoPort;

impl SinkPort for NoPort {
    fn status(&self, _status: ConnectionStatus) {}
}

struct TokioSpawner;

impl Spawner for TokioSpawner {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
}

/// A context with these properties (JSON text).
pub(crate) fn cx(props: &str) -> BuildCx {
    let props: serde_json::Map<String, serde_json::Value> = serde_json::from_str(props).unwrap();
    BuildCx {
        props: Props::from(props),
        rule: Arc::from("rule1"),
        node: Arc::from("node1"),
        connection: None,
        shared: Arc::default(),
        clock: Arc::new(SystemClock::default()),
        home: PathBuf::from("."),
        session: None,
        spawner: Arc::new(TokioSpawner),
    }
}

/// A row from JSON text.
pub(crate) fn row(text: &str) -> Arc<Fields> {
    match thalweg_core::json::parse(text.as_bytes(), thalweg_core::json::Numbers::Float).unwrap() {
        Value::Map(fields) => fields,
        other => panic!("{other:?} is no object"),
    }
}
