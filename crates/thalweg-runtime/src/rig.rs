//! An in-process rig for tests and benches: the same shard, turned by hand, with a manual clock and no threads.
//!
//! ```text
//! let mut rig = Rig::new(registry, Timestamp(0)).batch_size(3);
//! let rule = rig.add(spec)?;                    // sources and sinks of the spec are not built
//! rig.feed("demo", br#"{"a":1}"#);              // arrives now
//! rig.advance_to(Timestamp(10_000));            // every timer fires at its own time, in order
//! rig.restart(rule)?;                           // checkpoint, stop, start again from it
//! for sent in rig.output(rule) { … sent.text() … }
//! ```
//!
//! Whatever is fed waits until a batch is full; everything that looks at the rule (output, clock, snapshot) hands
//! over what waits before. So results never depend on where the test looks.

use std::path::Path;
use std::sync::Arc;

use hashbrown::HashMap;
use thalweg_core::connector::{Payload, RawMessage, SinkPayload, SourcePort, Spawner, WhenFull};
use thalweg_core::polled::DirectSink;
use thalweg_core::registry::{Registry, Shared};
use thalweg_core::time::BoxFuture;
use thalweg_core::{Clock, Diagnostic, Fields, ManualClock, Timestamp, Value, json};
use tokio::sync::oneshot;

use crate::attach::Streams;
use crate::compile::{CompileCx, MakeOperator, assemble, swallow};
use crate::ingest::port::Inlet;
use crate::launch::{Ground, Launched, launch};
use crate::lookup::Waiter;
use crate::op;
use crate::rule::{NodeSnapshot, Outcome, RuleSpec, Topology};
use crate::runtime::rule_info;
use crate::shard::Shard;
use crate::shard::inbox::{Control, Inbox};
use crate::snapshot::Snapshot;

/// A shard in the hands of a test.
pub struct Rig {
    clock: Arc<ManualClock>,
    /// Where rules live; parts of split streams are spread over all.
    inbox: Arc<Inbox>,
    shards: Vec<(Arc<Inbox>, Shard)>,
    streams: Streams,
    registry: Arc<Registry>,
    rules: Vec<RigRule>,
    /// Those with a sink whose messages can be looked at.
    heard: Vec<usize>,
    /// Inlets by stream: one for all rules of a shared stream, one for each rule of another.
    inlets: HashMap<Arc<str>, Vec<Part>>,
    /// Messages fed so far, by which split streams are fed here and there.
    fed: u64,
    batch_size: usize,
    /// Messages that wait for a full batch, all of one stream.
    waiting: usize,
    last_stream: Arc<str>,
    operators: MakeOperator,
    shared: Arc<Shared>,
    /// Sinks that swallow everything are such, as in the engine; their messages cannot be looked at.
    swallows: bool,
    /// Takes what every sink is sent at QoS 0, as a socket does.
    direct: Option<Arc<dyn DirectSink>>,
}

/// The number of a part of a split stream, and its inlet.
type Part = (Option<u32>, Arc<Inlet>);

/// Names a rule of a rig.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RigId(usize);

struct RigRule {
    spec: RuleSpec,
    topology: Topology,
    launched: Launched,
    output: Vec<Sent>,
}

/// Runs no tasks: a rig has no threads.
struct NoTasks;

impl Spawner for NoTasks {
    fn spawn(&self, _task: BoxFuture<'static, ()>) {}
}

/// A message that reached a sink.
#[derive(Debug, Clone)]
pub struct Sent {
    /// The position of the action in the spec.
    pub action: usize,
    /// When.
    pub at: Timestamp,
    /// What.
    pub payload: SinkPayload,
}

impl Sent {
    /// The message as text; rows of structured sinks are printed as JSON.
    pub fn text(&self) -> String {
        match &self.payload {
            SinkPayload::Bytes { payload, .. } => String::from_utf8_lossy(payload).into_owned(),
            SinkPayload::Rows { rows, is_list, .. } => {
                let list = rows.iter().map(|row| Value::Map(Arc::clone(row))).collect::<Vec<_>>();
                let value = match (&list[..], is_list) {
                    ([row], false) => row.clone(),
                    _ => Value::list(list),
                };
                let mut out = Vec::new();
                match json::write_value(&mut out, &value, chrono_tz::Tz::UTC) {
                    Ok(()) => String::from_utf8_lossy(&out).into_owned(),
                    Err(error) => error.to_string(),
                }
            }
        }
    }
}

impl Rig {
    /// A rig whose clock stands at `start`. Formats and lookup tables come from `registry`; of sinks only their
    /// properties and whether they take rows are asked, and unknown ones are taken for sinks of bytes.
    pub fn new(registry: Arc<Registry>, start: Timestamp) -> Self {
        let clock = ManualClock::at(start);
        let (inbox, shard) = new_shard(&clock);
        Self {
            streams: Streams::new(Arc::clone(&clock) as Arc<dyn Clock>),
            clock,
            inbox: Arc::clone(&inbox),
            shards: vec![(inbox, shard)],
            registry,
            rules: Vec::new(),
            heard: Vec::new(),
            inlets: HashMap::new(),
            fed: 0,
            batch_size: 1,
            waiting: 0,
            last_stream: Arc::from(""),
            operators: op::build,
            shared: Arc::default(),
            swallows: false,
            direct: None,
        }
    }

    /// Lets sinks that swallow everything do so, as in the engine, instead of collecting what they are sent.
    pub fn swallowing(mut self) -> Self {
        self.swallows = true;
        self
    }

    /// Spreads the parts of split streams over so many shards, which are turned one after the other.
    pub fn shards(mut self, n: usize) -> Self {
        self.shards.resize_with(n.max(1), || new_shard(&self.clock));
        self
    }

    /// Has messages without properties of their own written to `sink` by the shard, as to a socket, instead of collecting
    /// them.
    pub fn writing_to(mut self, sink: Arc<dyn DirectSink>) -> Self {
        self.direct = Some(sink);
        self
    }

    /// Hands messages over in batches of `n` from now on.
    pub fn batch_size(mut self, n: usize) -> Self {
        self.batch_size = n.max(1);
        self
    }

    #[cfg(test)]
    pub(crate) fn operators(mut self, operators: MakeOperator) -> Self {
        self.operators = operators;
        self
    }

    /// The clock.
    pub fn clock(&self) -> &Arc<ManualClock> {
        &self.clock
    }

    /// What the connectors of this rig share: memory topics, say, through which rows reach a lookup table.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Now.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Compiles and starts a rule.
    ///
    /// # Errors
    /// As compiling and launching.
    pub fn add(&mut self, spec: RuleSpec) -> Result<RigId, Diagnostic> {
        self.add_from(spec, None)
    }

    /// The same, from a checkpoint.
    ///
    /// # Errors
    /// As compiling and launching.
    pub fn add_from(&mut self, spec: RuleSpec, restore: Option<Snapshot>) -> Result<RigId, Diagnostic> {
        self.flush();
        let (topology, launched) = self.launch(&spec, restore)?;
        if launched.sinks.iter().any(|sink| !sink.delivery.swallows()) {
            self.heard.push(self.rules.len());
        }
        self.rules.push(RigRule { spec, topology, launched, output: Vec::new() });
        Ok(RigId(self.rules.len() - 1))
    }

    fn launch(
        &mut self,
        spec: &RuleSpec,
        restore: Option<Snapshot>,
    ) -> Result<(Topology, Launched), Diagnostic> {
        let clock = Arc::clone(&self.clock) as Arc<dyn Clock>;
        let info = rule_info(spec, &clock)?;
        let cx = CompileCx {
            registry: &self.registry,
            shared: &self.shared,
            clock: &clock,
            home: Path::new("."),
            instance: "rig",
            spawner: Arc::new(NoTasks),
            waiter: Waiter::Here,
            operators: self.operators,
        };
        let mut rule = assemble(spec.clone(), info, &cx)?;
        if self.swallows {
            swallow(&mut rule, &cx)?;
        }
        let inboxes: Vec<Arc<Inbox>> = self.shards.iter().map(|(inbox, _)| Arc::clone(inbox)).collect();
        let ground = Ground {
            home: &self.inbox,
            shared_at: &self.inbox,
            streams: &self.streams,
            coordinator: None,
            now: self.clock.now(),
            shards: &inboxes,
        };
        let topology = rule.topology();
        let launched = launch(rule, restore.as_ref(), ground)?;
        if let Some(direct) = &self.direct {
            launched.sinks.iter().for_each(|sink| sink.delivery.direct(Arc::clone(direct)));
        }
        for source in &launched.sources {
            let inlets = self.inlets.entry(Arc::clone(&source.name)).or_default();
            inlets.push((source.part, Arc::clone(&source.inlet)));
        }
        self.turn();
        Ok((topology, launched))
    }

    /// A payload arrives on a stream.
    pub fn feed(&mut self, stream: &str, payload: &[u8]) {
        self.offer(stream, None, || Payload::Bytes(payload));
    }

    /// The same with metadata.
    pub fn feed_with_meta(&mut self, stream: &str, payload: &[u8], meta: &Arc<Fields>) {
        self.offer(stream, Some(meta), || Payload::Bytes(payload));
    }

    /// Rows of a structured source arrive as one message.
    pub fn feed_rows(&mut self, stream: &str, rows: &[Arc<Fields>]) {
        self.offer(stream, None, || Payload::Rows(rows.to_vec()));
    }

    fn offer<'a>(&mut self, stream: &str, meta: Option<&Arc<Fields>>, payload: impl Fn() -> Payload<'a>) {
        if *self.last_stream != *stream {
            // The order between streams is the order of feeding, whatever the batch size.
            self.flush();
            self.last_stream = Arc::from(stream);
        }
        let time = self.clock.now();
        self.fed += 1;
        let mixed = self.fed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let inlets = self.inlets.get(stream).map_or(&[][..], |inlets| inlets);
        let n_parts = inlets.iter().filter_map(|(part, _)| *part).max().map_or(1, |last| last + 1);
        let is_meant =
            |part: &Option<u32>| part.is_none_or(|part| u64::from(part) == mixed % u64::from(n_parts));
        for (_, inlet) in inlets.iter().filter(|(part, _)| is_meant(part)) {
            let message = RawMessage { payload: payload(), time, meta: meta.cloned(), offset: None };
            inlet.offer(message, WhenFull::DropOldest);
        }
        self.waiting += 1;
        if self.waiting >= self.batch_size {
            self.flush();
        }
    }

    /// The input of a stream ends (R4.6).
    pub fn end(&mut self, stream: &str) {
        self.flush();
        self.inlets.get(stream).into_iter().flatten().for_each(|(_, inlet)| inlet.queue.close());
        self.turn();
    }

    /// Hands over what waits for a full batch.
    pub fn flush(&mut self) {
        self.waiting = 0;
        self.turn();
    }

    /// Moves the clock; every timer on the way fires at its own time.
    pub fn advance_to(&mut self, when: Timestamp) {
        self.flush();
        while let Some(due) = self.next_timer().filter(|due| *due <= when) {
            self.clock.advance_to(due);
            self.turn();
        }
        self.clock.advance_to(when);
        self.turn();
    }

    fn next_timer(&self) -> Option<Timestamp> {
        self.shards.iter().filter_map(|(_, shard)| shard.next_timer()).min()
    }

    /// Moves the clock by so many milliseconds.
    pub fn advance(&mut self, millis: i64) {
        self.advance_to(self.clock.now().plus(millis));
    }

    /// The rule's state now; `None` when it does not run any more, or the state cannot be had.
    pub fn snapshot(&mut self, rule: RigId) -> Option<Snapshot> {
        self.flush();
        let (sender, mut answer) = oneshot::channel();
        let reply = Box::new(move |checkpoint| drop(sender.send(checkpoint)));
        self.inbox.send(Control::Checkpoint { rule: self.rules[rule.0].launched.key, reply });
        self.turn();
        let taken = answer.try_recv().ok().flatten().filter(|checkpoint| checkpoint.lacks.is_none());
        taken.map(|checkpoint| checkpoint.finish().0)
    }

    /// Kills a rule and starts it again from a checkpoint of this moment. A rule that has ended stays as it is.
    ///
    /// # Errors
    /// The checkpoint does not fit the rule.
    pub fn restart(&mut self, rule: RigId) -> Result<(), Diagnostic> {
        let Some(snapshot) = self.snapshot(rule) else { return Ok(()) };
        // A kill sends nothing more.
        let key = self.rules[rule.0].launched.key;
        self.shards.iter_mut().for_each(|(_, shard)| shard.forget_collected(key));
        self.stop(rule);
        let spec = self.rules[rule.0].spec.clone();
        let (topology, launched) = self.launch(&spec, Some(snapshot))?;
        (self.rules[rule.0].topology, self.rules[rule.0].launched) = (topology, launched);
        Ok(())
    }

    /// Stops a rule; its output can still be taken.
    pub fn stop(&mut self, rule: RigId) {
        self.flush();
        let launched = &mut self.rules[rule.0].launched;
        for part in &launched.parts {
            part.home.send(Control::StopRule { rule: part.key, save: false, done: oneshot::channel().0 });
        }
        let (done, _) = oneshot::channel();
        let shared = std::mem::take(&mut launched.shared);
        shared.iter().for_each(|(stream, reader)| self.streams.leave(stream, *reader));
        self.inbox.send(Control::StopRule { rule: launched.key, save: false, done });
        self.turn();
        self.inlets.values_mut().for_each(|inlets| inlets.retain(|(_, inlet)| !inlet.queue.is_stopped()));
    }

    /// Takes what the rule has sent so far, in order for each action.
    pub fn output(&mut self, rule: RigId) -> Vec<Sent> {
        self.flush();
        std::mem::take(&mut self.rules[rule.0].output)
    }

    /// Drops what all rules have sent so far; how many messages that were.
    pub fn drop_output(&mut self) -> u64 {
        self.flush();
        let sent = self.rules.iter_mut().map(|rule| std::mem::take(&mut rule.output).len() as u64);
        sent.sum()
    }

    /// The same as text.
    pub fn texts(&mut self, rule: RigId) -> Vec<String> {
        self.output(rule).iter().map(Sent::text).collect()
    }

    /// The metrics of the rule's nodes, in topology order.
    pub fn metrics(&mut self, rule: RigId) -> Vec<NodeSnapshot> {
        self.flush();
        let launched = &self.rules[rule.0].launched;
        launched.nodes.iter().map(|node| node.snapshot(&launched.beside)).collect()
    }

    /// How many rules, parts of rules and common windows read streams.
    pub fn readers(&mut self) -> usize {
        self.flush();
        self.shards.iter().map(|(_, shard)| shard.readers()).sum()
    }

    /// The rule's graph.
    pub fn topology(&self, rule: RigId) -> Topology {
        self.rules[rule.0].topology.clone()
    }

    /// Whether the rule still runs, and how it ended.
    pub fn outcome(&mut self, rule: RigId) -> Outcome {
        self.flush();
        self.rules[rule.0].launched.ending.outcome()
    }

    /// Turns the shard until there is nothing more to do, and collects what reached the sinks.
    fn turn(&mut self) {
        loop {
            for (_, shard) in &mut self.shards {
                shard.turn();
            }
            let now = self.clock.now();
            for at in &self.heard {
                let rule = &mut self.rules[*at];
                for (action, sink) in rule.launched.sinks.iter().enumerate() {
                    let sent = sink.delivery.drain(now).into_iter();
                    rule.output.extend(sent.map(|payload| Sent { action, at: now, payload }));
                }
            }
            if !self.shards.iter().any(|(inbox, _)| inbox.has_mail()) {
                return;
            }
        }
    }
}

fn new_shard(clock: &Arc<ManualClock>) -> (Arc<Inbox>, Shard) {
    let inbox = Arc::new(Inbox::default());
    let shard = Shard::new(Arc::clone(clock) as Arc<dyn Clock>, Arc::clone(&inbox));
    (inbox, shard)
}

#[cfg(test)]
mod remote_tests;
#[cfg(test)]
mod tests;
