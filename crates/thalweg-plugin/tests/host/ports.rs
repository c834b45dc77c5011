//! The runtime's side of sources and sinks, made by hand.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use thalweg_core::connector::{
    BuildCx, ConnectionStatus, Offer, Payload, RawMessage, Sink, SinkPayload, SinkPort, SourceKind,
    SourcePort, Spawner, WhenFull,
};
use thalweg_core::time::BoxFuture;
use thalweg_core::{Fields, IoError, Props, SystemClock, Value};

use crate::subject::{Bench, LONG};

/// What a source has done so far.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) rows: Vec<Arc<Fields>>,
    pub(crate) meta: Vec<Option<Arc<Fields>>>,
    pub(crate) faults: Vec<String>,
    pub(crate) statuses: Vec<ConnectionStatus>,
    stopped: bool,
    wakers: Vec<Waker>,
    /// Beyond this the oldest rows go (and are counted), or rows are refused.
    room: Option<usize>,
    pub(crate) dropped: u64,
    /// The offset behind the newest rows, and whether any were offered by who can wait.
    pub(crate) offset: Option<Value>,
    pub(crate) waits: bool,
    /// Rows that were taken out.
    pub(crate) n_taken: usize,
}

/// A port that keeps everything.
#[derive(Default)]
pub(crate) struct Port {
    seen: Mutex<Seen>,
    changed: Condvar,
}

impl Port {
    pub(crate) fn with_room(rows: usize) -> Arc<Self> {
        let port = Self::default();
        port.seen.lock().unwrap().room = Some(rows);
        Arc::new(port)
    }

    /// A port of a rule that was restored.
    pub(crate) fn resuming(offset: Option<Value>) -> Arc<Self> {
        let port = Self::default();
        port.seen.lock().unwrap().offset = offset;
        Arc::new(port)
    }

    /// Takes everything out, which makes room.
    pub(crate) fn take(&self) -> Vec<Arc<Fields>> {
        let mut seen = self.seen.lock().unwrap();
        seen.wakers.drain(..).for_each(Waker::wake);
        seen.meta.clear();
        let rows = std::mem::take(&mut seen.rows);
        seen.n_taken += rows.len();
        rows
    }

    pub(crate) fn stop(&self) {
        let mut seen = self.seen.lock().unwrap();
        seen.stopped = true;
        seen.wakers.drain(..).for_each(Waker::wake);
    }

    /// Waits until something was seen, and looks at it.
    pub(crate) fn wait<T>(&self, what: &str, look: impl Fn(&Seen) -> Option<T>) -> T {
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(found) = look(&seen) {
                return found;
            }
            let (next, timeout) = self.changed.wait_timeout(seen, LONG).unwrap();
            assert!(
                !timeout.timed_out(),
                "not seen: {what}; {} rows, {:?}, {:?}",
                next.rows.len(),
                next.faults,
                next.statuses
            );
            seen = next;
        }
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }
}

impl SourcePort for Port {
    fn offer(&self, message: RawMessage<'_>, when_full: WhenFull) -> Offer {
        let Payload::Rows(rows) = message.payload else { panic!("rows are decoded already") };
        let mut offer = Offer::Accepted;
        self.note(|seen| {
            seen.waits |= when_full == WhenFull::Refuse;
            if seen.stopped {
                offer = Offer::Stopped;
                return;
            }
            if seen.room.is_some_and(|room| seen.rows.len() >= room) {
                if when_full == WhenFull::Refuse {
                    offer = Offer::Full;
                    return;
                }
                seen.rows.remove(0);
                seen.meta.remove(0);
                seen.dropped += 1;
            }
            seen.rows.extend(rows);
            seen.meta.push(message.meta);
            if message.offset.is_some() {
                seen.offset = message.offset;
            }
        });
        offer
    }

    fn room(&self) -> BoxFuture<'_, bool> {
        Box::pin(std::future::poll_fn(|cx| {
            let mut seen = self.seen.lock().unwrap();
            if seen.stopped || seen.room.is_none_or(|room| seen.rows.len() < room) {
                return Poll::Ready(!seen.stopped);
            }
            seen.wakers.push(cx.waker().clone());
            Poll::Pending
        }))
    }

    fn stopped(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::poll_fn(|cx| {
            let mut seen = self.seen.lock().unwrap();
            if seen.stopped {
                return Poll::Ready(());
            }
            seen.wakers.push(cx.waker().clone());
            Poll::Pending
        }))
    }

    fn wants_meta(&self) -> bool {
        true
    }

    fn status(&self, status: ConnectionStatus) {
        self.note(|seen| seen.statuses.push(status));
    }

    fn fault(&self, message: &str) {
        self.note(|seen| seen.faults.push(message.to_owned()));
    }

    fn dropped(&self, _: &'static str, count: u64) {
        self.note(|seen| seen.dropped += count);
    }

    fn resume_from(&self) -> Option<Value> {
        self.seen.lock().unwrap().offset.clone()
    }

    fn committed(&self) -> Option<Value> {
        None
    }
}

impl SinkPort for Port {
    fn status(&self, status: ConnectionStatus) {
        self.note(|seen| seen.statuses.push(status));
    }
}

struct NoTasks;

impl Spawner for NoTasks {
    fn spawn(&self, _: BoxFuture<'static, ()>) {
        panic!("plugins spawn no tasks");
    }
}

/// What a source or sink of a rule is built with.
pub(crate) fn build_cx(
    bench: &Bench,
    rule: &str,
    node: &str,
    props: &[(&str, serde_json::Value)],
) -> BuildCx {
    let mut all = Props::new();
    props.iter().for_each(|(name, value)| all.set(name, value.clone()));
    BuildCx {
        props: all,
        rule: Arc::from(rule),
        node: Arc::from(node),
        connection: None,
        shared: Arc::default(),
        clock: Arc::new(SystemClock::default()),
        home: bench.home.path().to_owned(),
        session: None,
        part: None,
        spawner: Arc::new(NoTasks),
    }
}

/// Runs a source of a rule on a thread; joining gives its result.
pub(crate) fn run_source(
    bench: &Bench,
    name: &str,
    cx: &BuildCx,
    port: &Arc<Port>,
) -> std::thread::JoinHandle<Result<(), IoError>> {
    let connector = bench.registry.source(name).expect("the source is there");
    let Some(Ok(SourceKind::Push(source))) = connector.source(cx) else { panic!("no push source") };
    let port: Arc<dyn SourcePort> = Arc::clone(port) as _;
    std::thread::spawn(move || block_on(source.run(port)))
}

/// The same, built anew while it breaks for a while, as the runtime does.
pub(crate) fn keep_source_running(
    bench: &Bench,
    name: &str,
    cx: &BuildCx,
    port: &Arc<Port>,
) -> std::thread::JoinHandle<Result<(), IoError>> {
    let connector = bench.registry.source(name).expect("the source is there");
    let (cx, port) = (cx.clone(), Arc::clone(port));
    std::thread::spawn(move || {
        loop {
            let Some(Ok(SourceKind::Push(source))) = connector.source(&cx) else { panic!("no push source") };
            match block_on(source.run(Arc::clone(&port) as Arc<dyn SourcePort>)) {
                Err(error) if error.retry == thalweg_core::Retry::Transient => {
                    port.note(|seen| seen.faults.push(error.message.to_string()));
                    std::thread::park_timeout(std::time::Duration::from_millis(50));
                }
                ended => return ended,
            }
        }
    })
}

/// A sink of a rule.
pub(crate) fn build_sink(bench: &Bench, name: &str, cx: &BuildCx) -> Box<dyn Sink> {
    bench.registry.sink(name).expect("the sink is there").sink(cx).unwrap().unwrap()
}

/// Messages for a sink.
pub(crate) fn messages(texts: impl IntoIterator<Item = String>) -> Vec<SinkPayload> {
    texts
        .into_iter()
        .map(|text| SinkPayload::Bytes { payload: text.into_bytes().into(), props: None })
        .collect()
}

/// Runs a future to its end on this thread.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(result) => return result,
            Poll::Pending => std::thread::park_timeout(LONG),
        }
    }
}
