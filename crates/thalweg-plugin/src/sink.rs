//! Plugin sinks (`portable-plugins.md` 8). A worker thread of each sink sends and waits for acknowledgements.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use crate::channel::{Deadline, Pull, PullEvent, Push};
use async_trait::async_trait;
use thalweg_core::connector::{
    BuildCx, Built, Connection, ConnectionStatus, ConnectorKind, LookupSource, Sink, SinkPayload, SinkPort,
    SourceKind, Written,
};
use thalweg_core::spec::PropSpec;
use thalweg_core::{IoError, Props};
use tokio::sync::oneshot;

use crate::consignment::{Consignment, Form, Memory, Receipt};
use crate::frame::encode::FrameWriter;
use crate::frame::sink as rows_frame;
use crate::greeting::Cap;
use crate::manifest::Kind;
use crate::plugin::Plugin;
use crate::sockets::{ack_file, check_names, data_file};
use crate::symbol::Symbol;
use crate::wire;

/// How often the plugin's listener is tried after `start` has answered.
const DIALS: u32 = 20;
const BETWEEN_DIALS: Duration = Duration::from_millis(25);
const STOPS: &str = "the rule stops";

/// A sink symbol in the table of connectors.
pub(crate) struct SinkConnector {
    plugin: Arc<Plugin>,
    symbol: String,
}

impl SinkConnector {
    pub(crate) fn new(plugin: &Arc<Plugin>, symbol: &str) -> Self {
        Self { plugin: Arc::clone(plugin), symbol: symbol.to_owned() }
    }

    fn build(&self, cx: &BuildCx) -> Built<Box<dyn Sink>> {
        check_names(&self.plugin.socket_folder(), &cx.rule, &cx.node)?;
        let control = wire::control(Kind::Sink, &self.symbol, &cx.rule, &cx.node, &cx.props.to_json());
        Ok(Box::new(PluginSink {
            start: Some(Start {
                plugin: Arc::clone(&self.plugin),
                symbol: Arc::new(Symbol::new(Kind::Sink, &self.symbol, &cx.rule, control).at(&cx.node)),
                node: Arc::clone(&cx.node),
                requires_ack: cx.props.bool("requireAck")?.unwrap_or(false),
                is_json: is_json(&cx.props),
            }),
            worker: None,
            port: None,
        }))
    }
}

/// Whether the messages are JSON as the engine writes it.
fn is_json(props: &Props) -> bool {
    let says = |name: &str| props.get(name).filter(|value| !value.is_null() && *value != "");
    says("format").is_none_or(|format| format.as_str().is_some_and(|name| name.eq_ignore_ascii_case("json")))
        && says("compression").is_none()
        && says("encryption").is_none()
}

impl ConnectorKind for SinkConnector {
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

    fn source(&self, _: &BuildCx) -> Option<Built<SourceKind>> {
        None
    }

    fn sink(&self, cx: &BuildCx) -> Option<Built<Box<dyn Sink>>> {
        Some(self.build(cx))
    }

    fn lookup(&self, _: &BuildCx) -> Option<Built<Arc<dyn LookupSource>>> {
        None
    }

    fn has_source(&self) -> bool {
        false
    }

    fn has_sink(&self) -> bool {
        true
    }

    fn has_lookup(&self) -> bool {
        false
    }
}

/// What a worker needs to begin.
struct Start {
    plugin: Arc<Plugin>,
    symbol: Arc<Symbol>,
    node: Arc<str>,
    requires_ack: bool,
    is_json: bool,
}

struct PluginSink {
    start: Option<Start>,
    worker: Option<Handle>,
    port: Option<Arc<dyn SinkPort>>,
}

/// The async side's hold on the worker.
struct Handle {
    jobs: Sender<Job>,
    acks: Sender<Ack>,
    ended: Option<oneshot::Receiver<()>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        // The worker ends when there are no jobs any more; an acknowledgement it must not wait for. If it has ended
        // already, nobody hears this.
        let _ = self.acks.send(Ack::Stop);
    }
}

enum Job {
    Open(Arc<dyn SinkPort>, oneshot::Sender<Result<(), String>>),
    Write(Vec<SinkPayload>, oneshot::Sender<Written>),
}

/// What may come while an acknowledgement is awaited.
enum Ack {
    Message(Receipt),
    Gone,
    /// The rule stops.
    Stop,
}

#[async_trait]
impl Sink for PluginSink {
    async fn open(&mut self, port: Arc<dyn SinkPort>) -> Result<(), IoError> {
        port.status(ConnectionStatus::Connecting);
        self.port = Some(Arc::clone(&port));
        if let Some(start) = self.start.take() {
            self.worker = Some(spawn(start).map_err(IoError::permanent)?);
        }
        let (done, opened) = oneshot::channel();
        let result = self
            .ask(Job::Open(port.clone(), done), opened)
            .await
            .unwrap_or_else(|| Err("its worker has ended".to_owned()));
        match result {
            Ok(()) => {
                port.status(ConnectionStatus::Connected);
                Ok(())
            }
            Err(error) => {
                port.status(ConnectionStatus::Disconnected(Arc::from(error.as_str())));
                Err(IoError::transient(error))
            }
        }
    }

    async fn write(&mut self, payloads: &[SinkPayload]) -> Written {
        let (done, written) = oneshot::channel();
        let job = Job::Write(payloads.to_vec(), done);
        let written = self.ask(job, written).await.unwrap_or_else(|| Written {
            accepted: 0,
            error: Some(IoError::transient("the sink is closed")),
        });
        if let Some(port) = &self.port {
            port.status(match &written.error {
                None => ConnectionStatus::Connected,
                Some(error) => ConnectionStatus::Disconnected(Arc::clone(&error.message)),
            });
        }
        written
    }

    async fn close(&mut self) -> Result<(), IoError> {
        if let Some(mut handle) = self.worker.take()
            && let Some(ended) = handle.ended.take()
        {
            drop(handle);
            // The sender is dropped, not used, when the worker has ended.
            let _ = ended.await;
        }
        Ok(())
    }
}

impl PluginSink {
    async fn ask<T>(&self, job: Job, answer: oneshot::Receiver<T>) -> Option<T> {
        self.worker.as_ref()?.jobs.send(job).ok()?;
        answer.await.ok()
    }
}

fn spawn(start: Start) -> Result<Handle, String> {
    let (jobs, incoming) = channel();
    let (acks, ack_events) = channel();
    let (ending, ended) = oneshot::channel();
    let worker = Worker {
        start,
        to_acks: acks.clone(),
        acks: ack_events,
        ack_channel: None,
        data: None,
        dialed_life: 0,
        form: None,
        takes_frames: false,
        frames: FrameWriter::default(),
        seq: 0,
        memory: Memory::default(),
        port: None,
    };
    std::thread::Builder::new()
        .name("plugin-sink".to_owned())
        .spawn(move || {
            worker.run(&incoming);
            drop(ending);
        })
        .map_err(|error| format!("cannot start a thread: {error}"))?;
    Ok(Handle { jobs, acks, ended: Some(ended) })
}

/// Owns the channels of one sink.
struct Worker {
    start: Start,
    to_acks: Sender<Ack>,
    acks: Receiver<Ack>,
    /// Always open, whether acknowledgements are required or not (trap 3).
    ack_channel: Option<Pull>,
    data: Option<Push>,
    /// The life of the plugin in which the data channel was dialed.
    dialed_life: u64,
    /// How the sink wants its messages in batches; `None` when it does not know them.
    form: Option<Form>,
    /// Whether rows may travel as columns.
    takes_frames: bool,
    frames: FrameWriter,
    /// Counts batches.
    seq: u64,
    memory: Memory,
    port: Option<Arc<dyn SinkPort>>,
}

impl Worker {
    fn run(mut self, jobs: &Receiver<Job>) {
        for job in jobs {
            // Whoever asked may have gone.
            match job {
                Job::Open(port, done) => {
                    self.port = Some(port);
                    drop(done.send(self.start.plugin.wait_ready(true).and_then(|life| self.connect(life))))
                }
                Job::Write(payloads, done) => drop(done.send(self.write(&payloads))),
            }
        }
        self.data = None;
        self.start.plugin.stop_symbol(&self.start.symbol);
        self.ack_channel = None;
    }

    /// Sees to it that the sink runs in this life and that its data channel is connected.
    fn connect(&mut self, life: u64) -> Result<(), String> {
        let Start { plugin, symbol, node, .. } = &self.start;
        if self.ack_channel.is_none() {
            let acks = self.to_acks.clone();
            let handler = move |event: PullEvent<'_>| {
                // The worker may have ended.
                let _ = match event {
                    PullEvent::Connected => Ok(()),
                    PullEvent::Message(message) => acks.send(Ack::Message(Receipt::read(message))),
                    PullEvent::Disconnected => acks.send(Ack::Gone),
                };
            };
            let opened =
                Pull::listen(&plugin.socket(&ack_file(&symbol.rule, node)), plugin.socket_options(), handler);
            self.ack_channel = Some(opened.map_err(|error| error.to_string())?);
        }
        if self.dialed_life == life && self.data.as_mut().is_some_and(|data| !data.is_gone()) {
            return Ok(());
        }
        self.data = None;
        if self.dialed_life == life {
            if let Some(reason) = plugin.end_of(life) {
                return Err(format!("plugin {} ended ({reason})", plugin.name));
            }
            // Only the sink has ended, `collect` has raised say.
            plugin.restart_symbol(symbol, life)?;
        } else {
            plugin.start_symbol(symbol, life)?;
        }
        self.form = self.form_of(life);
        let has_rows = self.form.is_some_and(|form| form.rows);
        self.takes_frames = has_rows && self.start.plugin.peer(life).caps.has(Cap::Cols);
        self.data = Some(self.dial()?);
        self.dialed_life = life;
        Ok(())
    }

    fn form_of(&self, life: u64) -> Option<Form> {
        let Start { plugin, symbol, is_json, .. } = &self.start;
        let peer = plugin.peer(life);
        let sink = peer.greeting.symbols.sinks.get(&symbol.name).copied().unwrap_or_default();
        peer.caps.has(Cap::Batch).then_some(Form { rows: sink.rows, is_json: *is_json })
    }

    fn dial(&self) -> Result<Push, String> {
        let Start { plugin, symbol, node, .. } = &self.start;
        let path = plugin.socket(&data_file(&symbol.rule, node));
        let options = plugin.socket_options();
        let mut tries = 0;
        loop {
            match Push::dial(&path, &options, Deadline::after(plugin.config.send_timeout)) {
                Ok(data) => return Ok(data),
                Err(error) if tries == DIALS => {
                    return Err(format!(
                        "cannot reach sink {} of plugin {}: {error}",
                        symbol.name, plugin.name
                    ));
                }
                // Whatever comes meanwhile is left over from before, but for the end of the rule.
                Err(_) if matches!(self.acks.recv_timeout(BETWEEN_DIALS), Ok(Ack::Stop)) => {
                    return Err(STOPS.to_owned());
                }
                Err(_) => {}
            }
            tries += 1;
        }
    }

    /// Sees to it that messages can be sent, and forgets acknowledgements nobody has waited for.
    fn prepare(&mut self) -> Result<(), String> {
        let life = self.start.plugin.next_life(self.start.plugin.config.send_timeout)?;
        self.connect(life)?;
        while let Ok(ack) = self.acks.try_recv() {
            if matches!(ack, Ack::Stop) {
                return Err(STOPS.to_owned());
            }
        }
        Ok(())
    }

    fn write(&mut self, payloads: &[SinkPayload]) -> Written {
        self.memory.keep_only(payloads);
        let (mut accepted, mut is_again) = (0, false);
        while accepted < payloads.len() {
            let rest = &payloads[accepted..];
            let (more, error) = match (self.prepare(), self.form) {
                (Err(error), _) => (0, Some(IoError::transient(error))),
                (Ok(()), Some(form)) => self.write_batch(rest, form),
                (Ok(()), None) => match self.write_one(&rest[0]) {
                    Ok(()) => (1, None),
                    Err(error) => (0, Some(IoError::transient(error))),
                },
            };
            accepted += more;
            let is_first = !std::mem::replace(&mut is_again, error.is_some() && more == 0);
            match error {
                // The process is about to be started again: meanwhile the rule is pushed back. The second time in a
                // row the sink is down.
                Some(error) if is_first && self.has_lost_its_process() => self.tell(&error.message),
                Some(error) => return Written { accepted, error: Some(error) },
                None => {}
            }
        }
        Written { accepted, error: None }
    }

    /// Whether the connection is gone, and the process with it.
    fn has_lost_its_process(&mut self) -> bool {
        let is_gone = self.data.as_mut().is_none_or(|data| data.is_gone());
        is_gone && self.start.plugin.end_of(self.dialed_life).is_some()
    }

    fn tell(&self, why: &Arc<str>) {
        if let Some(port) = &self.port {
            port.status(ConnectionStatus::Disconnected(Arc::clone(why)));
        }
    }

    /// Sends a message to a sink of old.
    fn write_one(&mut self, payload: &SinkPayload) -> Result<(), String> {
        match payload {
            SinkPayload::Bytes { payload, .. } => self.send(payload)?,
            // The connector asks for bytes; whoever hands over rows all the same gets their JSON.
            SinkPayload::Rows { rows, .. } => self.send(wire::rows(rows).as_bytes())?,
        }
        if !self.start.requires_ack {
            return Ok(());
        }
        self.receive()?.error.map_or(Ok(()), |error| Err(self.refusal(&error)))
    }

    /// Sends as many messages as go into one batch, and waits for the acknowledgement. How many are out, and why not
    /// the next one.
    fn write_batch(&mut self, payloads: &[SinkPayload], form: Form) -> (usize, Option<IoError>) {
        if let Some(error) = payloads.first().and_then(|payload| self.memory.take_refusal(payload)) {
            return (0, Some(IoError::permanent(self.refusal(&error))));
        }
        let batch = Consignment::pack(self.seq, payloads, form, &self.memory);
        self.seq += 1;
        let receipt = match batch.is_empty() {
            true => Receipt::default(),
            false => match self.deliver(&batch) {
                Ok(receipt) => receipt,
                Err(error) => return (0, Some(IoError::transient(error))),
            },
        };
        // Without requireAck what was refused is lost, and counted.
        let is_final = !self.start.requires_ack;
        let outcome = batch.settle(payloads, receipt, &mut self.memory, is_final);
        let error = outcome.error.map(|error| self.refusal(&error));
        (outcome.accepted, error.map(if is_final { IoError::permanent } else { IoError::transient }))
    }

    fn deliver(&mut self, batch: &Consignment) -> Result<Receipt, String> {
        if self.takes_frames && rows_frame::write(&mut self.frames, batch.seq(), batch.text()) {
            let frames = std::mem::take(&mut self.frames);
            let sent = self.send(frames.message());
            self.frames = frames;
            sent?;
        } else {
            self.send(batch.text())?;
        }
        loop {
            // One that comes late belongs to a batch that was given up.
            let receipt = self.receive()?;
            if batch.is_for(&receipt) {
                return Ok(receipt);
            }
        }
    }

    fn send(&mut self, message: &[u8]) -> Result<(), String> {
        let deadline = Deadline::after(self.start.plugin.config.send_timeout);
        let sent = self.data.as_mut().map_or(Ok(()), |data| data.send(message, deadline));
        sent.map_err(|error| {
            // Half a message may have left: the connection is of no use any more.
            self.data = None;
            let (plugin, name) = (&self.start.plugin.name, &self.start.symbol.name);
            format!("cannot send to sink {name} of plugin {plugin}: {error}")
        })
    }

    /// The next acknowledgement.
    fn receive(&mut self) -> Result<Receipt, String> {
        match self.acks.recv() {
            Ok(Ack::Message(receipt)) => Ok(receipt),
            Ok(Ack::Gone) => {
                self.data = None;
                let (plugin, name) = (&self.start.plugin.name, &self.start.symbol.name);
                Err(format!("sink {name} of plugin {plugin} ended before it acknowledged a message"))
            }
            Ok(Ack::Stop) | Err(_) => Err(STOPS.to_owned()),
        }
    }

    fn refusal(&self, error: &str) -> String {
        format!("sink {} of plugin {}: {error}", self.start.symbol.name, self.start.plugin.name)
    }
}
