//! Connection tests (`rest-api.md` 8.4): tries the other side of a source, sink or lookup that need not exist.

use std::sync::Arc;

use thalweg_core::connector::{Connection, Spawner};
use thalweg_core::diagnostic::nearest;
use thalweg_core::polled::Poller;
use thalweg_core::registry::{ConnectorRef, Shared};
use thalweg_core::time::BoxFuture;
use thalweg_core::{ErrorCode, Props};

use crate::connection::Connections;
use crate::error::EngineError;

/// What is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PingOf {
    /// A source of a stream.
    Source,
    /// A sink.
    Sink,
    /// A source of a lookup table.
    Lookup,
}

impl PingOf {
    fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Lookup => "lookup source",
        }
    }
}

/// Types of upstream that have no test there either (N6.5), also where they are not part of this build.
const WITHOUT: [&str; 8] =
    ["httppull", "httppush", "neuron", "file", "memory", "websocket", "simulator", "video"];

/// A test runs no tasks: the connection that it builds never begins, so that it disturbs none of the same name.
struct NoTasks(Option<Arc<dyn Poller>>);

impl Spawner for NoTasks {
    fn spawn(&self, _: BoxFuture<'static, ()>) {}

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        self.0.clone()
    }
}

impl Connections {
    /// Tries the other side with these properties, or that of the named connection that they select.
    ///
    /// # Errors
    /// There is no such type, it has no test, the properties are wrong, or the other side cannot be reached (1003).
    pub async fn ping(&self, of: PingOf, kind: &str, props: Props) -> Result<(), EngineError> {
        let connector = self.pinged(of, kind)?;
        let server = props.text("server").ok().flatten().unwrap_or(kind).to_owned();
        let selected = props.text("connectionSelector").map_err(EngineError::from)?;
        if let Some(id) = selected.filter(|id| !id.is_empty()) {
            let (connection, def) =
                self.open(id).ok_or_else(|| EngineError::plain(format!("connection {id} not existed")))?;
            let server = def.props.text("server").ok().flatten().unwrap_or(kind).to_owned();
            return attempt(connection.as_ref(), &server).await;
        }
        let without = || EngineError::plain(format!("{} {kind} doesn't support ping connection", of.word()));
        let mut cx = self.around.for_connection("ping", props);
        cx.spawner = Arc::new(NoTasks(self.around.spawner.poller()));
        // Nobody else shall meet it.
        cx.shared = Arc::new(Shared::default());
        let built = connector.connect(&cx).ok_or_else(without)?;
        let connection = built.map_err(|why| EngineError::from(why).with_code(ErrorCode::Undefined))?;
        let answer = attempt(connection.as_ref(), &server).await;
        connection.close().await;
        answer
    }

    fn pinged(&self, of: PingOf, kind: &str) -> Result<ConnectorRef, EngineError> {
        let registry = &self.around.registry;
        let (found, names) = match of {
            PingOf::Source => (registry.source(kind), registry.names(|connector| connector.has_source())),
            PingOf::Sink => (registry.sink(kind), registry.names(|connector| connector.has_sink())),
            PingOf::Lookup => (registry.lookup(kind), registry.names(|connector| connector.has_lookup())),
        };
        found.ok_or_else(|| {
            let word = of.word();
            if WITHOUT.iter().any(|known| known.eq_ignore_ascii_case(kind)) {
                return EngineError::plain(format!("{word} {kind} doesn't support ping connection"));
            }
            let hint = nearest(kind, names.iter().map(String::as_str));
            let hint = hint.map_or_else(
                || format!("known are {}", names.join(", ")),
                |hint| format!("did you mean {hint}?"),
            );
            EngineError::plain(format!("{word} {kind} not found ({hint})"))
        })
    }
}

async fn attempt(connection: &dyn Connection, server: &str) -> Result<(), EngineError> {
    connection.ping().await.map_err(|why| {
        let why = why.to_string();
        let ours = format!("cannot connect to {server}: ");
        let reason = why.strip_prefix(&ours).unwrap_or(&why);
        let text = format!("found error when connecting for {server}: {reason}");
        EngineError::new(ErrorCode::Io, text)
    })
}
