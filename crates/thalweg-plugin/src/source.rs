//! Plugin sources (`portable-plugins.md` 7): a reader that never waits for the rule, and the life of the symbol.

use std::sync::Arc;

use crate::channel::{Pull, PullEvent};
use async_trait::async_trait;
use thalweg_core::connector::{
    BuildCx, Built, Connection, ConnectionStatus, ConnectorKind, LookupSource, Payload, RawMessage, Sink,
    Source, SourceKind, SourcePort, WhenFull,
};
use thalweg_core::spec::PropSpec;
use thalweg_core::{Clock, IoError, Props};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::blocking::offload;
use crate::manifest::Kind;
use crate::plugin::Plugin;
use crate::symbol::{Symbol, check_names, data_path};
use crate::wire::{self, SourceMessage};

/// Keys that a source always finds in its configuration, with their defaults.
const ALWAYS: [(&str, &str); 9] = [
    ("format", "\"json\""),
    ("key", "\"\""),
    ("datasource", "\"\""),
    ("schemaId", "\"\""),
    ("delimiter", "\"\""),
    ("retainSize", "0"),
    ("strictValidation", "false"),
    ("timestamp", "\"\""),
    ("timestampFormat", "\"\""),
];

/// A source symbol in the table of connectors.
pub(crate) struct SourceConnector {
    plugin: Arc<Plugin>,
    symbol: String,
}

impl SourceConnector {
    pub(crate) fn new(plugin: &Arc<Plugin>, symbol: &str) -> Self {
        Self { plugin: Arc::clone(plugin), symbol: symbol.to_owned() }
    }

    fn build(&self, cx: &BuildCx) -> Built<SourceKind> {
        check_names(&cx.rule, &cx.node)?;
        let control =
            wire::control(Kind::Source, &self.symbol, &cx.rule, &cx.node, &configuration(&cx.props));
        Ok(SourceKind::Push(Box::new(PluginSource {
            plugin: Arc::clone(&self.plugin),
            symbol: Arc::new(Symbol::new(Kind::Source, &self.symbol, &cx.rule, control).at(&cx.node)),
            node: Arc::clone(&cx.node),
            clock: Arc::clone(&cx.clock),
        })))
    }
}

fn configuration(props: &Props) -> serde_json::Value {
    let mut props = props.clone();
    for (name, default) in ALWAYS {
        if props.get(name).is_none_or(serde_json::Value::is_null) {
            props.set(name, serde_json::from_str::<serde_json::Value>(default).unwrap_or_default());
        }
    }
    // Under these spellings, whatever the case in the SQL was.
    let mut document = serde_json::Map::new();
    for (name, value) in props.iter() {
        let known = ALWAYS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        document.insert(known.map_or(name, |(known, _)| known).to_owned(), value.clone());
    }
    if let Some(format) = document.get_mut("format")
        && let Some(text) = format.as_str()
    {
        *format = text.to_lowercase().into();
    }
    document.into()
}

impl ConnectorKind for SourceConnector {
    fn name(&self) -> &str {
        &self.symbol
    }

    fn props(&self) -> &[PropSpec] {
        &[]
    }

    fn takes_rows(&self) -> bool {
        false
    }

    fn connect(&self, _: &BuildCx) -> Option<Built<Arc<dyn Connection>>> {
        None
    }

    fn source(&self, cx: &BuildCx) -> Option<Built<SourceKind>> {
        Some(self.build(cx))
    }

    fn sink(&self, _: &BuildCx) -> Option<Built<Box<dyn Sink>>> {
        None
    }

    fn lookup(&self, _: &BuildCx) -> Option<Built<Arc<dyn LookupSource>>> {
        None
    }

    fn has_source(&self) -> bool {
        true
    }

    fn has_sink(&self) -> bool {
        false
    }

    fn has_lookup(&self) -> bool {
        false
    }
}

struct PluginSource {
    plugin: Arc<Plugin>,
    symbol: Arc<Symbol>,
    node: Arc<str>,
    clock: Arc<dyn Clock>,
}

/// What the reader reports besides rows.
struct Disconnected;

/// A started source.
struct Started {
    life: u64,
    data: Pull,
}

#[async_trait]
impl Source for PluginSource {
    async fn run(self: Box<Self>, port: Arc<dyn SourcePort>) -> Result<(), IoError> {
        let (events, mut incoming) = unbounded_channel();
        let this = Arc::new(*self);
        port.status(ConnectionStatus::Connecting);
        let starter = (Arc::clone(&this), Arc::clone(&port));
        let started = offload("plugin-source", move || starter.0.start(&starter.1, events)).await;
        let mut started = match started {
            Some(Ok(started)) => started,
            Some(Err(error)) => {
                port.status(ConnectionStatus::Disconnected(Arc::clone(&error.message)));
                return Err(error);
            }
            None => return Err(IoError::transient("cannot start a thread")),
        };
        let result = loop {
            let event = tokio::select! {
                () = port.stopped() => break Ok(()),
                event = incoming.recv() => event,
            };
            match event {
                Some(Disconnected) => {
                    let (watcher, life) = (Arc::clone(&this), started.life);
                    let next = offload("plugin-source", move || watcher.after_disconnect(life)).await;
                    match next.unwrap_or_else(|| Err("cannot start a thread".to_owned())) {
                        Ok((life, reason)) => {
                            started.life = life;
                            port.fault(&reason);
                        }
                        Err(reason) => {
                            port.status(ConnectionStatus::Disconnected(Arc::from(reason.as_str())));
                            break Err(IoError::transient(reason));
                        }
                    }
                }
                None => break Err(IoError::transient("the reader has ended")),
            }
        };
        // First `stop`, then the channel: the other way round `emit` fails in the plugin.
        let stopper = Arc::clone(&this);
        offload("plugin-source", move || {
            stopper.plugin.stop_symbol(&stopper.symbol);
            drop(started.data);
        })
        .await;
        result
    }
}

impl PluginSource {
    fn start(
        &self,
        port: &Arc<dyn SourcePort>,
        events: UnboundedSender<Disconnected>,
    ) -> Result<Started, IoError> {
        let life = self.plugin.wait_ready(true).map_err(IoError::transient)?;
        let (port, clock) = (Arc::clone(port), Arc::clone(&self.clock));
        let handler = move |event: PullEvent<'_>| {
            match event {
                PullEvent::Message(message) => take(message, &*port, &*clock),
                PullEvent::Connected => port.status(ConnectionStatus::Connected),
                // Nobody listens after the end.
                PullEvent::Disconnected => drop(events.send(Disconnected)),
            }
        };
        let path = data_path(&self.symbol.rule, &self.node);
        let data = Pull::listen(&path, self.plugin.socket_options(), handler);
        let data = data.map_err(|error| IoError::permanent(error.to_string()))?;
        let started = self.plugin.start_symbol(&self.symbol, life);
        if started.is_err() {
            self.plugin.stop_symbol(&self.symbol);
        }
        started.map_err(IoError::transient)?;
        Ok(Started { life, data })
    }

    /// After the end of a connection: the process has ended and will be back with this source in it (its new life
    /// and the reason), or only the source has, or nobody will bring it back.
    fn after_disconnect(&self, life: u64) -> Result<(u64, String), String> {
        let (plugin, symbol) = (&self.plugin.name, &self.symbol.name);
        let Some(reason) = self.plugin.end_of(life) else {
            self.plugin.forget_start(&self.symbol, life);
            return Err(format!("source {symbol} of plugin {plugin} has ended by itself"));
        };
        let life = self.plugin.wait_ready(false).or_else(|_| self.plugin.wait_ready(true))?;
        // The restart has started it; if that failed, this tries once more and says why.
        self.plugin.start_symbol(&self.symbol, life)?;
        Ok((life, format!("plugin {plugin} ended ({reason}) and was started again")))
    }
}

/// Hands one message over. Never waits: a source that is not read for a second dies (trap 4).
fn take(message: &[u8], port: &dyn SourcePort, clock: &dyn Clock) {
    match wire::source_message(message) {
        Ok(SourceMessage::Row { row, meta }) => {
            let meta = meta.filter(|_| port.wants_meta());
            let message =
                RawMessage { payload: Payload::Rows(vec![row]), time: clock.now(), meta, offset: None };
            // It either fits, or an older row was dropped and counted, or the rule has ended.
            let _ = port.offer(message, WhenFull::DropOldest);
        }
        Ok(SourceMessage::Error(text)) => port.fault(&text),
        Err(text) => port.fault(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_has_its_fixed_keys_in_their_spelling() {
        let mut props = Props::new();
        props.set("FORMAT", "JSON");
        props.set("datasource", "topic");
        props.set("a", 1);
        let document = configuration(&props);
        assert_eq!(document["format"], "json");
        assert_eq!(document["datasource"], "topic");
        assert_eq!(document["retainSize"], 0);
        assert_eq!(document["a"], 1);
        assert!(document.get("FORMAT").is_none());
    }
}
