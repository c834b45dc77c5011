//! Plugin sources (`portable-plugins.md` 7): a reader that never waits for the rule, and the life of the symbol.

use std::sync::Arc;

use crate::channel::{Pull, PullEvent};
use async_trait::async_trait;
use thalweg_core::connector::{
    BuildCx, Built, Connection, ConnectionStatus, ConnectorKind, LookupSource, Offer, RowArrivals, Sink,
    Source, SourceKind, SourcePort, WhenFull,
};
use thalweg_core::spec::PropSpec;
use thalweg_core::{Clock, IoError, Props};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::blocking::offload;
use crate::feed::{Arrived, Feed};
use crate::manifest::Kind;
use crate::messages::Names;
use crate::plugin::Plugin;
use crate::sockets::{check_names, data_file};
use crate::symbol::Symbol;
use crate::wire;

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
        check_names(&self.plugin.socket_folder(), &cx.rule, &cx.node)?;
        let control =
            wire::control(Kind::Source, &self.symbol, &cx.rule, &cx.node, &configuration(&cx.props));
        Ok(SourceKind::Push(Box::new(PluginSource {
            plugin: Arc::clone(&self.plugin),
            symbol: self.symbol.clone(),
            control,
            rule: Arc::clone(&cx.rule),
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
    symbol: String,
    control: String,
    rule: Arc<str>,
    node: Arc<str>,
    clock: Arc<dyn Clock>,
}

/// A source that is being run.
struct Running {
    plugin: Arc<Plugin>,
    symbol: Arc<Symbol>,
    feed: Arc<Feed>,
}

/// A started source.
struct Started {
    life: u64,
    data: Pull,
}

#[async_trait]
impl Source for PluginSource {
    async fn run(self: Box<Self>, port: Arc<dyn SourcePort>) -> Result<(), IoError> {
        let (arrivals, mut incoming) = unbounded_channel();
        let running = Arc::new(self.prepare(&port, arrivals));
        port.status(ConnectionStatus::Connecting);
        let (starter, node) = (Arc::clone(&running), self.node);
        let started = offload("plugin-source", move || starter.start(&node)).await;
        let started = match started {
            Some(Ok(started)) => started,
            Some(Err(error)) => {
                port.status(ConnectionStatus::Disconnected(Arc::clone(&error.message)));
                return Err(error);
            }
            None => return Err(IoError::transient("cannot start a thread")),
        };
        let Started { life, data } = started;
        let result = running.read(life, &port, &mut incoming).await;
        running.feed.end();
        // First `stop`, then the channel: the other way round `emit` fails in the plugin.
        offload("plugin-source", move || {
            running.plugin.stop_symbol(&running.symbol);
            drop(data);
        })
        .await;
        result
    }
}

impl PluginSource {
    fn prepare(&self, port: &Arc<dyn SourcePort>, arrivals: UnboundedSender<Arrived>) -> Running {
        let feed = Feed::new(port, &self.clock, arrivals);
        let starting = Arc::clone(&feed);
        let symbol = Symbol::new(Kind::Source, &self.symbol, &self.rule, self.control.clone());
        let symbol = symbol.at(&self.node).saying(Box::new(move |caps| starting.starting(caps)));
        Running { plugin: Arc::clone(&self.plugin), symbol: Arc::new(symbol), feed }
    }
}

impl Running {
    fn start(self: &Arc<Self>, node: &str) -> Result<Started, IoError> {
        let life = self.plugin.wait_ready(true).map_err(IoError::transient)?;
        let (feed, mut names) = (Arc::clone(&self.feed), Names::default());
        let handler = move |event: PullEvent<'_>| feed.take(event, &mut names);
        let path = self.plugin.socket(&data_file(&self.symbol.rule, node));
        let data = Pull::listen(&path, self.plugin.socket_options(), handler);
        let data = data.map_err(|error| IoError::permanent(error.to_string()))?;
        let granter = Arc::clone(self);
        let thread = std::thread::Builder::new().name("plugin-credit".to_owned());
        thread
            .spawn(move || {
                while let Some(grant) = granter.feed.next_grant() {
                    if !granter.plugin.grant(&granter.symbol, grant.rows) {
                        granter.feed.take_back(&grant);
                    }
                }
            })
            .map_err(|error| IoError::transient(format!("cannot start a thread: {error}")))?;
        let started = self.plugin.start_symbol(&self.symbol, life);
        if started.is_err() {
            self.feed.end();
            self.plugin.stop_symbol(&self.symbol);
        }
        started.map_err(IoError::transient)?;
        Ok(Started { life, data })
    }

    /// Hands over what arrives until the rule stops, the input ends, or nobody brings the source back.
    async fn read(
        self: &Arc<Self>,
        mut life: u64,
        port: &Arc<dyn SourcePort>,
        incoming: &mut UnboundedReceiver<Arrived>,
    ) -> Result<(), IoError> {
        loop {
            let arrived = tokio::select! {
                () = port.stopped() => return Ok(()),
                arrived = incoming.recv() => arrived,
            };
            match arrived {
                Some(Arrived::Rows(rows)) => {
                    if !self.hand_over(rows, &**port).await {
                        return Ok(());
                    }
                }
                Some(Arrived::Fault(text)) => port.fault(&text),
                Some(Arrived::End) => return Ok(()),
                Some(Arrived::Disconnected) => {
                    let watcher = Arc::clone(self);
                    let next = offload("plugin-source", move || watcher.after_disconnect(life)).await;
                    match next.unwrap_or_else(|| Err("cannot start a thread".to_owned())) {
                        Ok((next, reason)) => {
                            life = next;
                            port.fault(&reason);
                        }
                        Err(reason) => {
                            // What a process has sent that came and went meanwhile.
                            while let Ok(arrived) = incoming.try_recv() {
                                if let Arrived::Rows(rows) = arrived
                                    && !self.hand_over(rows, &**port).await
                                {
                                    return Ok(());
                                }
                            }
                            port.status(ConnectionStatus::Disconnected(Arc::from(reason.as_str())));
                            return Err(IoError::transient(reason));
                        }
                    }
                }
                None => return Err(IoError::transient("the reader has ended")),
            }
        }
    }

    /// Waits until the rows are in the inlet; false when the rule stops.
    async fn hand_over(&self, mut rows: RowArrivals, port: &dyn SourcePort) -> bool {
        loop {
            let (offer, accepted) = port.offer_rows(&rows, WhenFull::Refuse);
            self.feed.consumed(accepted);
            match offer {
                Offer::Accepted => return true,
                Offer::Stopped => return false,
                Offer::Full => {
                    rows.forget(accepted);
                    if !port.room().await {
                        return false;
                    }
                }
            }
        }
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
