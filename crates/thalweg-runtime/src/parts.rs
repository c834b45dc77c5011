//! A rule on a stream that is split over several connections (`contracts.md` 8).
//!
//! Beside each connection, on the shard that reads it, runs a *part* of the rule: the operators that
//! [`thalweg_plan::split`] says, or none. What comes out of the parts goes to the rule itself, over its inlet: rows, or
//! the groups of windows, which it merges. To its shard a part is a rule like others; it has no actions.

use std::cell::OnceCell;
use std::sync::Arc;

use thalweg_core::format::Mark;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Batch, Diagnostic, ErrorCode, Selection, Timestamp};
use thalweg_plan::logical::Scan;
use thalweg_plan::{Kind, Node, split};

use crate::attach::{Attached, Home, Streams, known_as};
use crate::chain::Chain;
use crate::compile::{CompiledPart, CompiledScan, MakeOperator};
use crate::ending::Ending;
use crate::ingest::event_time::EventTime;
use crate::launch::Ground;
use crate::operator::{Partial, RuleInfo, Signal};
use crate::queue::Wake;
use crate::rule::{Outcome, RuleSpec};
use crate::ruleset::cpu::{Common, Cpu};
use crate::shard::inbox::{Control, Inbox, Key};
use crate::shard::rule::{Input, RuleRun};
use crate::shard::stream::{Content, Parcel, RuleInlet};
use crate::shard::twins::Twins;
use crate::windows::CommonWindow;

/// The chains of the parts above each scan, none above streams that are not split. Of `chain`, which is the whole rule's,
/// is left what stands behind them.
///
/// # Errors
/// The rule wants of a split stream what it cannot have.
pub(crate) fn compile(
    (spec, info): (&RuleSpec, &RuleInfo),
    chain: &mut Chain,
    operators: MakeOperator,
) -> Result<Vec<Vec<CompiledPart>>, Diagnostic> {
    let cuts = split::cuts(&spec.plan.root)?;
    let scans = crate::chain::scans(&spec.plan.root);
    let mut all = Vec::with_capacity(cuts.len());
    for (scan, cut) in cuts.into_iter().enumerate() {
        let Some(cut) = cut else {
            all.push(Vec::new());
            continue;
        };
        refuse(spec, &scans, scan)?;
        let part = |_| {
            let mut chain = Chain::new(&spec.plan.root, &|node| Ok(operators(node, info)))?;
            chain.head(scan, cut);
            Ok(CompiledPart { chain, source: None })
        };
        all.push((0..cut.parts).map(part).collect::<Result<_, Diagnostic>>()?);
        chain.tail(scan, cut);
    }
    Ok(all)
}

/// What nobody has built yet.
fn refuse(spec: &RuleSpec, scans: &[&Node], scan: usize) -> Result<(), Diagnostic> {
    let name = |node: &Node| match &node.kind {
        Kind::Scan(scan) => Arc::clone(&scan.stream.name),
        _ => Arc::from(""),
    };
    let stream = name(scans[scan]);
    let refused = |why: String| Err(Diagnostic::new(ErrorCode::Executor, why));
    if spec.options.qos > 0 {
        return refused(format!(
            "stream {stream} is split, so that no checkpoint can say how far a rule has read it: use qos 0, or a stream without \"split\""
        ));
    }
    if scans.iter().filter(|other| name(other) == stream).count() > 1 {
        return refused(format!(
            "stream {stream} is split, so that its rows have no common order, and the rule reads it twice: use a stream without \"split\""
        ));
    }
    Ok(())
}

/// The name that the connections of a stream have in common, and no others: that of the engine, of the rule unless the
/// stream is shared, and of the stream.
pub(crate) fn group(spec: &RuleSpec, scan: &Scan, (index, instance): (usize, &str)) -> Arc<str> {
    let stream = &scan.stream.name;
    let name = match scan.stream.shared {
        true => format!("thalweg_{instance}_{stream}"),
        false => format!("thalweg_{instance}_{}_{stream}_{index}", spec.id),
    };
    Arc::from(name.replace('%', "%25").replace('/', "%2F").replace('+', "%2B").replace('#', "%23"))
}

/// A part on its way to its shard.
pub(crate) struct NewPart {
    pub attached: Attached,
    pub number: u32,
    inbox: Arc<Inbox>,
    cpu: Arc<Cpu>,
    compiled: CompiledPart,
}

/// A part that runs.
pub(crate) struct RunningPart {
    pub key: Key,
    pub home: Arc<Inbox>,
    pub cpu: Arc<Cpu>,
}

/// Brings the parts of a rule to their streams, or none.
pub(crate) fn attach(
    scans: &mut [CompiledScan],
    place: &Home<'_>,
    ground: &Ground<'_>,
) -> Result<Vec<NewPart>, Diagnostic> {
    let mut parts: Vec<NewPart> = Vec::new();
    for input in 0..scans.len() {
        for (number, compiled) in (0u32..).zip(std::mem::take(&mut scans[input].parts)) {
            let inbox = ground.shard_of(&scans[input].scan, number);
            let cpu = Arc::<Cpu>::default();
            let first = compiled.chain.metrics().next().map(|(_, metrics)| Arc::clone(metrics));
            let home = Home {
                rule: ground.streams.key(),
                inbox: &inbox,
                shared_at: &inbox,
                inlet: OnceCell::new(),
                first: first.unwrap_or_default(),
                cpu: Arc::clone(&cpu),
                part: Some(number),
                capacity: place.capacity,
                pauses: place.pauses,
            };
            match ground.streams.attach(scans, input, None, &home) {
                Ok(attached) => {
                    parts.push(NewPart { attached, number, inbox: Arc::clone(&inbox), cpu, compiled })
                }
                Err(why) => {
                    parts.into_iter().for_each(|part| part.leave(ground.streams));
                    return Err(why);
                }
            }
        }
    }
    Ok(parts)
}

impl NewPart {
    /// The rule does not come up.
    pub(crate) fn leave(self, streams: &Streams) {
        self.attached.leave(streams);
    }

    /// By which name its shard knows it, and the shard.
    pub(crate) fn address(&self) -> (Key, Arc<Inbox>) {
        (self.attached.rule(), Arc::clone(&self.inbox))
    }

    /// Its operators, in the same places as in the rule's own chain.
    pub(crate) fn chain(&self) -> &Chain {
        &self.compiled.chain
    }

    /// Sends it to its shard, from where it feeds `inlet`. What is left is the stream, which it does not read yet, with
    /// the source that is to be started when the stream is new.
    pub(crate) fn start(
        self,
        info: &Arc<RuleInfo>,
        inlet: &Arc<RuleInlet>,
    ) -> (RunningPart, Attached, Source) {
        let Self { attached, number, inbox, cpu, compiled: CompiledPart { chain, source } } = self;
        let key = attached.rule();
        let own = attached.shared.is_none().then(|| (attached.key, Arc::clone(&attached.inlet)));
        let run = RuleRun {
            key,
            info: Arc::clone(info),
            chain,
            egress: Vec::new(),
            n_results: 0,
            inputs: Box::new([input()]),
            twins: Twins::default(),
            remote: None,
            own: own.into_iter().collect(),
            inlet: None,
            fingerprint: 0,
            ending: Ending::new(Outcome::Running),
            cpu: Arc::clone(&cpu),
            timer: None,
            forward: Some(Box::new(Forward {
                inlet: Arc::clone(inlet),
                input: attached.input,
                part: number as usize,
            })),
            parts: Box::default(),
            window: None,
            common: None,
            tracing: None,
        };
        inbox.send(Control::AddRule(Box::new(run)));
        (RunningPart { key, home: inbox, cpu }, attached, source)
    }
}

/// The run of a common window (`windows.rs`).
pub(crate) fn common(window: &CommonWindow, chain: Chain, info: &RuleInfo) -> RuleRun {
    RuleRun {
        key: window.key,
        info: Arc::new(info.clone()),
        chain,
        egress: Vec::new(),
        n_results: 0,
        inputs: Box::new([input()]),
        twins: Twins::default(),
        remote: None,
        own: Default::default(),
        inlet: None,
        fingerprint: 0,
        ending: Ending::new(Outcome::Running),
        cpu: Arc::default(),
        timer: None,
        forward: None,
        parts: Default::default(),
        window: None,
        common: Some(Box::new(CommonRun {
            window: Arc::clone(&window.common),
            rules: Vec::new(),
            given: Vec::new(),
        })),
        tracing: None,
    }
}

/// The run of an event-time group (`event_groups.rs`).
pub(crate) fn event_group(
    window: &CommonWindow,
    chain: Chain,
    (info, times): (&RuleInfo, (EventTime, Arc<NodeMetrics>)),
) -> RuleRun {
    let (event_time, preprocessor) = times;
    let inputs = Box::new([Input { event_time: Some(Arc::new(event_time)), preprocessor, ..input() }]);
    RuleRun { inputs, ..common(window, chain, info) }
}

/// What only the run of a common window, or of an event-time group, has.
pub(crate) struct CommonRun {
    /// The time that it takes, for all rules.
    pub window: Arc<Common>,
    /// The rules that have it.
    pub rules: Vec<Key>,
    /// On its way to the rules.
    pub given: Vec<Given>,
}

/// What rules get of the run that they have in common.
pub(crate) enum Given {
    /// The groups of a window that has closed.
    Groups(Partial),
    /// Rows came in, the first of them at this time: what was due by then comes first.
    Arrived(Timestamp),
    /// Rows that a watermark has passed, in order.
    Rows(Batch, Selection),
    /// The watermark.
    Signal(Signal),
}

/// A source to be started.
type Source = Option<(crate::ingest::supervise::SourceFactory, thalweg_core::connector::SourceKind)>;

fn input() -> Input {
    Input {
        key: Arc::from(""),
        source: 0,
        event_time: None,
        preprocessor: Arc::default(),
        is_table: false,
        has_ended: false,
        parts_left: 0,
        offset: None,
        upto: 0,
        seen: None,
    }
}

impl Ground<'_> {
    /// The shard of a part: where it runs for other rules, else the next one after the rule's own for each.
    fn shard_of(&self, scan: &Scan, number: u32) -> Arc<Inbox> {
        let known = Some(scan).filter(|scan| scan.stream.shared);
        let known = known.and_then(|scan| self.streams.home_of(&known_as(&scan.stream.name, Some(number))));
        known.unwrap_or_else(|| {
            let first = self.shards.iter().position(|shard| Arc::ptr_eq(shard, self.shared_at));
            Arc::clone(&self.shards[(first.unwrap_or_default() + number as usize) % self.shards.len()])
        })
    }
}

/// Where what comes out of a part goes.
pub(crate) struct Forward {
    inlet: Arc<RuleInlet>,
    input: usize,
    pub part: usize,
}

impl Forward {
    /// Rows, to which the rule does the rest.
    pub(crate) fn rows(&self, batch: &Batch, rows: &Selection, now: Timestamp) {
        let (batch, rows, mark) = (Arc::new(batch.clone()), rows.clone(), Mark::default());
        self.send(Content::Rows { batch, rows, mark }, now);
    }

    pub(crate) fn send(&self, content: Content, now: Timestamp) {
        self.inlet.push(Parcel { input: self.input, content }, now);
    }

    /// The part is over.
    pub(crate) fn end(&self, outcome: &Outcome, now: Timestamp) {
        match outcome {
            Outcome::Done => self.send(Content::End, now),
            Outcome::Failed(why) => self.send(Content::Failed(Arc::clone(why)), now),
            Outcome::Running | Outcome::Stopped => {}
        }
    }

    /// Whether the rule cannot follow; `producer` is woken when it can.
    pub(crate) fn pushes_back(&self, producer: &Arc<dyn Wake>) -> bool {
        self.inlet.pushes_back && self.inlet.queue.is_full_for(producer)
    }
}
