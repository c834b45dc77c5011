//! The contract with the outside world: sources, sinks, lookups and connections.
//!
//! A source pushes into a [`SourcePort`]; a sink takes finished payloads and says how many are safely out. Neither
//! retries a broken *rule* and neither logs per message: they report [`IoError`]s, and the runtime builds them anew
//! or stops the rule. A [`Connection`] (a live client) reconnects by itself for ever and reports its status.

use std::any::Any;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::diagnostic::Diagnostic;
use crate::error::IoError;
use crate::polled::{Arrivals, DirectSink, Poller};
use crate::props::Props;
use crate::registry::Shared;
use crate::spec::PropSpec;
use crate::time::{BoxFuture, Clock, Timestamp};
use crate::value::{Fields, Value};

/// What a source hands over.
#[derive(Debug)]
pub enum Payload<'a> {
    /// Bytes to be decoded by the stream's FORMAT. They are copied into the queue's arena.
    Bytes(&'a [u8]),
    /// Rows that need no decoding (memory, simulator, portable plugins); one event each, in order.
    Rows(Vec<Arc<Fields>>),
}

/// One message on its way in.
#[derive(Debug)]
pub struct RawMessage<'a> {
    /// What arrived.
    pub payload: Payload<'a>,
    /// When it arrived.
    pub time: Timestamp,
    /// What `meta()` shows; leave it out unless [`SourcePort::wants_meta`].
    pub meta: Option<Arc<Fields>>,
    /// Where a rewindable source would resume *after* this message.
    pub offset: Option<Value>,
}

/// Rows that arrived together, one message each.
#[derive(Debug, Default)]
pub struct RowArrivals {
    /// The rows, which need no decoding.
    pub rows: Vec<Arc<Fields>>,
    /// What `meta()` shows of each row; shorter when the rest has none.
    pub meta: Vec<Option<Arc<Fields>>>,
    /// When they arrived.
    pub time: Timestamp,
    /// Where a rewindable source would resume after the last of them. No checkpoint stands between them.
    pub offset: Option<Value>,
}

impl RowArrivals {
    /// Forgets the first rows.
    pub fn forget(&mut self, count: usize) {
        self.rows.drain(..count.min(self.rows.len()));
        self.meta.drain(..count.min(self.meta.len()));
    }
}

/// What to do with a message when the inlet is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Make room by dropping the oldest one, counted (`queue_full`): MQTT QoS 0, whose client must be polled on.
    DropOldest,
    /// Refuse, so that the source waits in [`SourcePort::room`]: everything that can push back.
    Refuse,
}

/// What became of an offered message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// It is in the queue.
    Accepted,
    /// No room: wait in [`SourcePort::room`] and offer it again.
    Full,
    /// The rule or stream has ended; stop.
    Stopped,
}

/// Somebody asks for metadata, and there was none: nothing was taken, and the messages are to be offered again with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantsMeta;

/// Told when a message is safe.
pub trait Receipt: Send + Sync {
    /// One receiver has it for good.
    fn accepted(&self);
}

/// What a message whose other side waits for an answer brings along.
#[derive(Clone)]
pub struct Due {
    /// Gives the answer.
    pub receipt: Arc<dyn Receipt>,
    /// A number by which the message is known again after a restart, equal in every process.
    pub identity: u64,
    /// Whether the other side says that it has sent the message before.
    pub again: bool,
}

/// The state of a connection as upstream numbers it (R8.6).
#[derive(Debug, Clone, PartialEq, Default)]
pub enum ConnectionStatus {
    /// 0.
    #[default]
    Connecting,
    /// 1.
    Connected,
    /// -1, with the reason.
    Disconnected(Arc<str>),
}

/// The runtime's side of a source.
pub trait SourcePort: Send + Sync {
    /// Offers a message. Never waits.
    fn offer(&self, message: RawMessage<'_>, when_full: WhenFull) -> Offer;

    /// Offers what one read brought and tells how many were accepted, from the front. They are one batch: with room for
    /// the first they are taken whole, and when the oldest have to go, as many go as come.
    ///
    /// # Errors
    /// They have no metadata, without which they are not wanted, or not any more.
    fn offer_all(&self, arrivals: &Arrivals<'_>, when_full: WhenFull) -> Result<(Offer, usize), WantsMeta> {
        if arrivals.meta.is_empty() && !self.takes_bare() {
            return Err(WantsMeta);
        }
        for index in 0..arrivals.spans.len() {
            let payload = Payload::Bytes(arrivals.payload(index));
            let meta = arrivals.meta.get(index).map(Arc::clone);
            let message = RawMessage { payload, time: arrivals.time, meta, offset: None };
            let offer = self.offer(message, when_full);
            if offer != Offer::Accepted {
                return Ok((offer, index));
            }
        }
        Ok((Offer::Accepted, arrivals.spans.len()))
    }

    /// Offers rows that arrived together and tells how many were accepted, from the front. With room for the first they
    /// are taken whole, where the port can do that.
    fn offer_rows(&self, arrivals: &RowArrivals, when_full: WhenFull) -> (Offer, usize) {
        let last = arrivals.rows.len().saturating_sub(1);
        for (index, row) in arrivals.rows.iter().enumerate() {
            let payload = Payload::Rows(vec![Arc::clone(row)]);
            let meta = arrivals.meta.get(index).cloned().flatten();
            let offset = arrivals.offset.clone().filter(|_| index == last);
            let offer = self.offer(RawMessage { payload, time: arrivals.time, meta, offset }, when_full);
            if offer != Offer::Accepted {
                return (offer, index);
            }
        }
        (Offer::Accepted, arrivals.rows.len())
    }

    /// Whether a message is safe as soon as it is accepted, so that [`SourcePort::offer_all`] may be used for messages
    /// whose other side waits for an answer.
    fn answers_at_once(&self) -> bool {
        true
    }

    /// The thread that takes from this port, if it waits for sockets.
    fn poller(&self) -> Option<Arc<dyn Poller>> {
        None
    }

    /// Offers a message whose other side waits for an answer, refused when there is no room. The receipt is told once
    /// the message is safe: when it is accepted, or, with rules of `qos` 1 and 2, when its effects are durable.
    fn offer_due(&self, message: RawMessage<'_>, due: &Due) -> Offer {
        let offer = self.offer(message, WhenFull::Refuse);
        if offer == Offer::Accepted {
            due.receipt.accepted();
        }
        offer
    }

    /// Resolves when no accepted message waits for its answer, or those that do will get none.
    fn answered(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }

    /// Messages that were accepted and wait for their answers.
    fn n_unanswered(&self) -> usize {
        0
    }

    /// Answers everything that still waits, though it is not safe: others go on with the connection.
    fn release(&self) {}

    /// Whether nothing is to be kept for the stream once it has stopped: its rule was deleted, or never wanted that.
    fn is_parting(&self) -> bool {
        false
    }

    /// Waits until there is room again; false when the source is to stop.
    fn room(&self) -> BoxFuture<'_, bool>;

    /// Resolves when the source is to stop.
    fn stopped(&self) -> BoxFuture<'_, ()>;

    /// Whether anybody asks for metadata, or may come to ask for that of this message; otherwise building it is wasted.
    fn wants_meta(&self) -> bool;

    /// Whether messages may come without metadata at the moment.
    fn takes_bare(&self) -> bool {
        !self.wants_meta()
    }

    /// Reports the connection's state. Repeats are harmless.
    fn status(&self, status: ConnectionStatus);

    /// Counts an error on the source's node.
    fn fault(&self, message: &str);

    /// Counts lost messages with their cause, one of the causes of `decisions.md` ("status").
    fn dropped(&self, cause: &'static str, count: u64);

    /// The offset to resume from: behind the newest message that was accepted with one, else that of the checkpoint
    /// from which the rule was restored.
    fn resume_from(&self) -> Option<Value>;

    /// The newest offset whose effects are durable; what is older may be acknowledged to the outside.
    fn committed(&self) -> Option<Value>;
}

/// A source that pushes.
#[async_trait]
pub trait Source: Send {
    /// Runs until the port says stop (`Ok`), the input ends (`Ok`, R4.6), or it breaks.
    ///
    /// # Errors
    /// Transient errors: the runtime calls again on a new instance after a back-off. Permanent: the rule stops.
    async fn run(self: Box<Self>, port: Arc<dyn SourcePort>) -> Result<(), IoError>;
}

/// A source that is asked every `interval` (C2.2): the runtime brings interval, first pull and stop.
#[async_trait]
pub trait PullSource: Send {
    /// Fetches what is there now and offers it.
    ///
    /// # Errors
    /// Counted; the next interval tries again (R5.13).
    async fn pull(&mut self, port: &Arc<dyn SourcePort>) -> Result<Pulled, IoError>;
}

/// Whether a pull source has more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pulled {
    /// Ask again after the interval.
    More,
    /// The input has ended.
    End,
}

/// A built source.
pub enum SourceKind {
    /// Owns its loop.
    Push(Box<dyn Source>),
    /// Is asked every `interval_ms`; at most once when that is 0 or less.
    Pull {
        /// The source.
        source: Box<dyn PullSource>,
        /// Milliseconds between pulls.
        interval_ms: i64,
    },
}

/// What a sink gets.
#[derive(Debug, Clone)]
pub enum SinkPayload {
    /// An encoded message.
    Bytes {
        /// The message.
        payload: Bytes,
        /// The dynamic properties as evaluated for this message, by name (`topic`, `path` …); only those that
        /// hold a template.
        props: Option<Arc<Props>>,
    },
    /// A result for structured sinks: one row with `sendSingle`, else the rows of one message.
    Rows {
        /// The rows.
        rows: Vec<Arc<Fields>>,
        /// Whether the rows are one list (sendSingle=false) or stand alone.
        is_list: bool,
        /// As for bytes.
        props: Option<Arc<Props>>,
    },
}

/// How many payloads are safely out, and why not all.
#[derive(Debug)]
pub struct Written {
    /// Payloads accepted, from the front.
    pub accepted: usize,
    /// Why the next one was not. Transient: it is offered again; permanent: it is dropped and counted.
    pub error: Option<IoError>,
}

impl Written {
    /// All of them.
    pub fn all(payloads: &[SinkPayload]) -> Self {
        Self { accepted: payloads.len(), error: None }
    }
}

/// Where a sink reports its connection.
pub trait SinkPort: Send + Sync {
    /// Reports the connection's state.
    fn status(&self, status: ConnectionStatus);

    /// A thread near the one that makes the payloads, if it waits for sockets.
    fn poller(&self) -> Option<Arc<dyn Poller>> {
        None
    }
}

/// A sink.
#[async_trait]
pub trait Sink: Send {
    /// Connects, or starts connecting.
    ///
    /// # Errors
    /// Permanent errors stop the rule (R5.12).
    async fn open(&mut self, port: Arc<dyn SinkPort>) -> Result<(), IoError>;

    /// The way round the queue, for a sink that is open and has one for payloads without properties of their own.
    fn direct(&self) -> Option<Arc<dyn DirectSink>> {
        None
    }

    /// Whether it swallows everything from the beginning. Then it is neither opened nor written to: messages for it
    /// are counted and no more.
    fn swallows(&self) -> bool {
        false
    }

    /// Takes payloads in order.
    async fn write(&mut self, payloads: &[SinkPayload]) -> Written;

    /// Flushes and disconnects.
    ///
    /// # Errors
    /// Only logged.
    async fn close(&mut self) -> Result<(), IoError> {
        Ok(())
    }
}

/// Rows from elsewhere, by key.
#[async_trait]
pub trait LookupSource: Send + Sync {
    /// The rows whose `keys` equal `values`; `fields` names the columns wanted (empty: all). Values are never null.
    ///
    /// # Errors
    /// Counted on the join's node; the row finds no match.
    async fn lookup(
        &self,
        fields: &[Arc<str>],
        keys: &[Arc<str>],
        values: &[Value],
    ) -> Result<Vec<Arc<Fields>>, IoError>;
}

/// A live client. Named ones are shared by many sources and sinks and owned by the engine; anonymous ones belong to
/// one node. It reconnects by itself, for ever.
#[async_trait]
pub trait Connection: Any + Send + Sync {
    /// Tries the other side.
    ///
    /// # Errors
    /// Why it cannot be reached.
    async fn ping(&self) -> Result<(), IoError>;

    /// The state now.
    fn status(&self) -> ConnectionStatus;

    /// Disconnects.
    async fn close(&self);

    /// For the connector's own source and sink to find their client again.
    fn as_any(&self) -> &dyn Any;
}

/// Everything a connector may look at when it builds a source, sink, lookup or connection.
#[derive(Clone)]
pub struct BuildCx {
    /// The resolved properties: files, CONF_KEY, connection, EXTRA, WITH options, or the action's (P1.1, P1.3).
    pub props: Props,
    /// The rule, or `$$subtopo_<stream>` for a shared stream, or a lookup table's name.
    pub rule: Arc<str>,
    /// The node: the stream's name, `<type>_<i>` of an action.
    pub node: Arc<str>,
    /// The named connection that `connectionSelector` asks for.
    pub connection: Option<Arc<dyn Connection>>,
    /// What connectors of one engine share (memory topics, say).
    pub shared: Arc<Shared>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Relative paths start here (P1.6).
    pub home: PathBuf,
    /// The name under which the other side shall keep what a source has not answered, also while the engine is down:
    /// for sources of rules with `qos` 1 or 2, and for shared streams.
    pub session: Option<Arc<str>>,
    /// For a source of a stream that is split: which of its connections this is.
    pub part: Option<Part>,
    /// Where the async part of a connector may spawn tasks.
    pub spawner: Arc<dyn Spawner>,
}

/// One of the connections over which a stream is split. Together they receive each message once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// From 0.
    pub number: u32,
    /// How many there are.
    pub count: u32,
    /// What all of them have in common and nobody else has: a name for the other side, without `/`, `+` and `#`.
    pub group: Arc<str>,
}

/// Starts background tasks without naming the runtime behind it.
pub trait Spawner: Send + Sync {
    /// Runs a future to its end in the background.
    fn spawn(&self, task: BoxFuture<'static, ()>);

    /// A thread that waits for sockets, if there is one.
    fn poller(&self) -> Option<Arc<dyn Poller>> {
        None
    }
}

/// A built part, or why the properties do not allow it.
pub type Built<T> = Result<T, Diagnostic>;

/// Builds one part of a connector.
pub type Build<T> = fn(&BuildCx) -> Built<T>;

/// A row of the connector table: everything anybody needs to know about one connector.
pub struct Connector {
    /// The name in TYPE and actions.
    pub name: &'static str,
    /// One sentence for people.
    pub summary: &'static str,
    /// Its properties.
    pub props: &'static [PropSpec],
    /// Whether its sink takes rows ([`SinkPayload::Rows`]) instead of bytes.
    pub takes_rows: bool,
    /// Makes a named connection.
    pub connect: Option<Build<Arc<dyn Connection>>>,
    /// Makes a source.
    pub source: Option<Build<SourceKind>>,
    /// Makes a sink.
    pub sink: Option<Build<Box<dyn Sink>>>,
    /// Makes a lookup.
    pub lookup: Option<Build<Arc<dyn LookupSource>>>,
}

/// A connector from the static table or from a plugin.
pub trait ConnectorKind: Send + Sync {
    /// The name in TYPE and actions.
    fn name(&self) -> &str;
    /// Its properties; empty when unknown (plugins).
    fn props(&self) -> &[PropSpec];
    /// Whether its sink takes rows.
    fn takes_rows(&self) -> bool;
    /// Makes a named connection; `None` when it has none.
    fn connect(&self, cx: &BuildCx) -> Option<Built<Arc<dyn Connection>>>;
    /// Makes a source; `None` when it has none.
    fn source(&self, cx: &BuildCx) -> Option<Built<SourceKind>>;
    /// Makes a sink; `None` when it has none.
    fn sink(&self, cx: &BuildCx) -> Option<Built<Box<dyn Sink>>>;
    /// Makes a lookup; `None` when it has none.
    fn lookup(&self, cx: &BuildCx) -> Option<Built<Arc<dyn LookupSource>>>;
    /// Whether there are named connections of it.
    fn has_connection(&self) -> bool {
        false
    }
    /// Whether there is a source.
    fn has_source(&self) -> bool;
    /// Whether there is a sink.
    fn has_sink(&self) -> bool;
    /// Whether there is a lookup.
    fn has_lookup(&self) -> bool;
}

impl ConnectorKind for Connector {
    fn name(&self) -> &str {
        self.name
    }

    fn props(&self) -> &[PropSpec] {
        self.props
    }

    fn takes_rows(&self) -> bool {
        self.takes_rows
    }

    fn connect(&self, cx: &BuildCx) -> Option<Built<Arc<dyn Connection>>> {
        self.connect.map(|build| build(cx))
    }

    fn source(&self, cx: &BuildCx) -> Option<Built<SourceKind>> {
        self.source.map(|build| build(cx))
    }

    fn sink(&self, cx: &BuildCx) -> Option<Built<Box<dyn Sink>>> {
        self.sink.map(|build| build(cx))
    }

    fn lookup(&self, cx: &BuildCx) -> Option<Built<Arc<dyn LookupSource>>> {
        self.lookup.map(|build| build(cx))
    }

    fn has_connection(&self) -> bool {
        self.connect.is_some()
    }

    fn has_source(&self) -> bool {
        self.source.is_some()
    }

    fn has_sink(&self) -> bool {
        self.sink.is_some()
    }

    fn has_lookup(&self) -> bool {
        self.lookup.is_some()
    }
}
