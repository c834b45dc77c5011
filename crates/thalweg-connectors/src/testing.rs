//! Ports, contexts and a spawner for the tests of this crate.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use thalweg_core::connector::{
    BuildCx, ConnectionStatus, Due, Offer, Payload, RawMessage, SinkPort, SourcePort, Spawner, WantsMeta,
    WhenFull,
};
use thalweg_core::polled::{Arrivals, Next, Polled, Poller, Readiness, Wakers};
use thalweg_core::props::Props;
use thalweg_core::time::{BoxFuture, SystemClock};
use thalweg_core::value::{Fields, Value};
use tokio::io::unix::AsyncFd;
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
    dues: Vec<Due>,
    reads: Vec<usize>,
}

/// A port with a queue of its own.
pub(crate) struct TestPort {
    state: Mutex<State>,
    capacity: usize,
    changed: Notify,
    resume: Option<Value>,
    wants_meta: AtomicBool,
    /// Whether answers wait for [`TestPort::answer`].
    withholds: bool,
}

impl TestPort {
    pub(crate) fn with_capacity(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, ..Self::made() })
    }

    fn made() -> Self {
        Self {
            state: Mutex::default(),
            capacity: 100_000,
            changed: Notify::new(),
            resume: None,
            wants_meta: AtomicBool::new(true),
            withholds: false,
        }
    }

    /// A port that asks for no metadata, so that messages may come many at once.
    pub(crate) fn plain(capacity: usize) -> Arc<Self> {
        Arc::new(Self { capacity, wants_meta: AtomicBool::new(false), ..Self::made() })
    }

    /// From now on it asks for metadata.
    pub(crate) fn ask_for_meta(&self) {
        self.wants_meta.store(true, Ordering::Relaxed);
    }

    /// A port that answers when it is told to.
    pub(crate) fn withholding() -> Arc<Self> {
        Arc::new(Self { withholds: true, wants_meta: AtomicBool::new(false), ..Self::made() })
    }

    /// Answers everything that waits for it.
    pub(crate) fn answer(&self) -> usize {
        let dues = std::mem::take(&mut self.state.lock().unwrap().dues);
        dues.iter().for_each(|due| due.receipt.accepted());
        dues.len()
    }

    /// The identities of messages that wait, and whether they came again.
    pub(crate) fn waiting(&self) -> Vec<(u64, bool)> {
        self.state.lock().unwrap().dues.iter().map(|due| (due.identity, due.again)).collect()
    }

    pub(crate) fn new() -> Arc<Self> {
        Self::with_capacity(100_000)
    }

    /// A port of a rule that was restored.
    pub(crate) fn resuming(resume: Option<Value>) -> Arc<Self> {
        Arc::new(Self { resume, ..Self::made() })
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

    /// How many messages came at once, each time.
    pub(crate) fn reads(&self) -> Vec<usize> {
        self.state.lock().unwrap().reads.clone()
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

    fn offer_all(&self, arrivals: &Arrivals<'_>, when_full: WhenFull) -> Result<(Offer, usize), WantsMeta> {
        if arrivals.meta.is_empty() && self.wants_meta() {
            return Err(WantsMeta);
        }
        self.state.lock().unwrap().reads.push(arrivals.spans.len());
        for index in 0..arrivals.spans.len() {
            let (payload, meta) =
                (Payload::Bytes(arrivals.payload(index)), arrivals.meta.get(index).cloned());
            let offer =
                self.offer(RawMessage { payload, time: arrivals.time, meta, offset: None }, when_full);
            if offer != Offer::Accepted {
                return Ok((offer, index));
            }
        }
        Ok((Offer::Accepted, arrivals.spans.len()))
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
        self.wants_meta.load(Ordering::Relaxed)
    }

    fn offer_due(&self, message: RawMessage<'_>, due: &Due) -> Offer {
        let offer = self.offer(message, WhenFull::Refuse);
        match offer {
            Offer::Accepted if self.withholds => self.state.lock().unwrap().dues.push(due.clone()),
            Offer::Accepted => due.receipt.accepted(),
            Offer::Full | Offer::Stopped => {}
        }
        self.changed.notify_waiters();
        offer
    }

    fn answers_at_once(&self) -> bool {
        !self.withholds
    }

    fn n_unanswered(&self) -> usize {
        self.state.lock().unwrap().dues.len()
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

/// Tasks on the test's runtime; with `true` sockets too.
struct TokioSpawner(bool);

impl Spawner for TokioSpawner {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.0.then(|| Arc::new(TokioPoller) as Arc<dyn Poller>)
    }
}

/// Gives connections their turns as a shard does.
pub(crate) struct TokioPoller;

struct Rung(Notify);

impl std::task::Wake for Rung {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }
}

impl Poller for TokioPoller {
    fn adopt(&self, polled: Box<dyn Polled>) {
        tokio::spawn(poll(polled));
    }
}

async fn poll(mut polled: Box<dyn Polled>) {
    let rung = Arc::new(Rung(Notify::new()));
    let wakers = Wakers { turn: Arc::clone(&rung).into(), flush: Arc::clone(&rung).into() };
    polled.begin(wakers);
    #[allow(
        deprecated,
        reason = "its successor is unsafe for types of which it cannot know that they keep their socket"
    )]
    let socket = AsyncFd::new(polled.socket().try_clone_to_owned().unwrap()).unwrap();
    let mut ready = Readiness { readable: true, writable: true, ended: false };
    loop {
        polled.flush();
        match polled.turn(std::mem::take(&mut ready)).next {
            Next::End => return,
            Next::Again => tokio::task::yield_now().await,
            Next::Wait => tokio::select! {
                found = socket.readable() => {
                    let mut found = found.unwrap();
                    ready.readable = true;
                    ready.ended = found.ready().is_read_closed();
                    found.clear_ready();
                }
                found = socket.writable() => {
                    found.unwrap().clear_ready();
                    ready.writable = true;
                }
                () = rung.0.notified() => {}
            },
        }
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
        part: None,
        spawner: Arc::new(TokioSpawner(true)),
    }
}

/// The same without a thread that waits for sockets.
pub(crate) fn cx_without_poller(props: &str) -> BuildCx {
    BuildCx { spawner: Arc::new(TokioSpawner(false)), ..cx(props) }
}

/// A row from JSON text.
pub(crate) fn row(text: &str) -> Arc<Fields> {
    match thalweg_core::json::parse(text.as_bytes(), thalweg_core::json::Numbers::Float).unwrap() {
        Value::Map(fields) => fields,
        other => panic!("{other:?} is no object"),
    }
}
