//! Puts a compiled rule together on its shard: operators restored, actions with queues, scans attached to streams.
//!
//! Used by the runtime, which adds tasks for sources and sinks, and by the rig, which does their work by hand.

use std::cell::OnceCell;
use std::sync::Arc;

use thalweg_core::connector::{Sink, SourceKind};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Diagnostic, Timestamp};
use tokio::sync::Notify;

use crate::attach::{Attached, Home, SharedStream, Streams};
use crate::chain::Chain;
use crate::checkpoint::Coordinator;
use crate::compile::{CompiledAction, CompiledRule, CompiledScan, MakeOperator};
use crate::egress::Egress;
use crate::egress::delivery::Delivery;
use crate::ending::Ending;
use crate::event_groups;
use crate::ingest::port::Inlet;
use crate::ingest::supervise::SourceFactory;
use crate::metrics::{Beside, NodeView, Part};
use crate::operator::RuleInfo;
use crate::parts::{self, NewPart, RunningPart};
use crate::remote::RemoteCalls;
use crate::rule::{Outcome, RuleSpec};
use crate::ruleset::Quiet;
use crate::ruleset::cpu::Cpu;
use crate::ruleset::sharing::Share;
use crate::ruleset::tally::Tally;
use crate::shard::inbox::{Control, Inbox, Key};
use crate::shard::rule::{Input, RuleRun, resume};
use crate::shard::stream::RuleInlet;
use crate::shard::twins::{Twins, first_of};
use crate::snapshot::{Snapshot, checksum};
use crate::topology;
use crate::windows;

/// A rule that is on its shard.
pub(crate) struct Launched {
    pub key: Key,
    pub home: Arc<Inbox>,
    pub nodes: Vec<NodeView>,
    pub beside: Beside,
    pub ending: Arc<Ending>,
    pub cpu: Arc<Cpu>,
    /// New streams whose sources are to be started.
    pub sources: Vec<NewSource>,
    pub sinks: Vec<NewSink>,
    /// Inlets that only this rule reads.
    pub own: Vec<Arc<Inlet>>,
    /// With the rule, or the part of one, that reads it.
    pub shared: Vec<(Arc<SharedStream>, Key)>,
    /// The inlet of each input, but for split streams.
    pub inlets: Vec<Arc<Inlet>>,
    /// Those of the rule that run beside the connections of split streams.
    pub parts: Box<[RunningPart]>,
}

/// Where and over what a rule is put together.
pub(crate) struct Ground<'a> {
    /// The rule's shard.
    pub home: &'a Arc<Inbox>,
    /// Where shared streams are made that do not run yet.
    pub shared_at: &'a Arc<Inbox>,
    pub streams: &'a Streams,
    /// For rules with checkpoints.
    pub coordinator: Option<&'a Coordinator>,
    pub now: Timestamp,
    /// Among which the parts of split streams are spread.
    pub shards: &'a [Arc<Inbox>],
}

/// A source to be started.
pub(crate) struct NewSource {
    pub stream: Key,
    pub name: Arc<str>,
    /// Of a split stream.
    pub part: Option<u32>,
    pub inbox: Arc<Inbox>,
    pub inlet: Arc<Inlet>,
    pub is_shared: bool,
    pub source: Option<(SourceFactory, SourceKind)>,
}

/// A sink to be started.
pub(crate) struct NewSink {
    pub delivery: Arc<Delivery>,
    pub sink: Option<Box<dyn Sink>>,
}

/// Puts `rule` on its shard. A snapshot of another plan is ignored.
///
/// # Errors
/// The snapshot does not fit the operators (R5.12), or the union of a shared stream cannot be decoded.
pub(crate) fn launch(
    mut rule: CompiledRule,
    restore: Option<&Snapshot>,
    ground: Ground<'_>,
) -> Result<Launched, Diagnostic> {
    let Ground { home, shared_at, streams, coordinator, now, .. } = ground;
    let key = streams.key();
    let restore = restore.filter(|snapshot| fits(snapshot, &rule));
    let inputs = identities(&rule, streams);
    let settled = coordinator.map(Coordinator::settled);
    let may_drop = may_drop(&rule);
    let first = rule.chain.metrics().next().map(|(_, metrics)| Arc::clone(metrics)).unwrap_or_default();
    let cpu = Arc::<Cpu>::default();
    let place = Home {
        rule: key,
        inbox: home,
        shared_at,
        inlet: OnceCell::new(),
        first,
        capacity: rule.spec.options.buffer_length,
        pauses: !may_drop,
        cpu: Arc::clone(&cpu),
        part: None,
    };
    let (mut attached, parts) = attach_all(&mut rule, (&inputs, restore), &place, &ground)?;
    let preprocessors: Vec<_> = rule.scans.iter().map(|_| Arc::default()).collect();
    let mut nodes = source_views(&rule, (&attached, &parts), &preprocessors, streams);
    rule.chain.share(streams.names(), streams.lists());
    let mut of_rule = operator_views(&rule, &parts, streams);
    let n_results = rule.actions.iter().filter(|action| !action.is_late).count();
    rule.info.started = now;
    let info = Arc::new(rule.info);
    let (egress, sinks) = actions((&mut rule.actions, &info), (may_drop, settled), streams, &mut of_rule);
    let tally =
        quiet((&rule.spec, &rule.scans, rule.operators), (&info, &egress), &mut attached, &mut of_rule);
    let of_spec = (&rule.spec, &rule.chain, rule.operators);
    let of_scans = (&rule.scans[..], &preprocessors[..]);
    let window = in_common(of_spec, of_scans, (&mut attached, &info), (&place, streams));
    let borrowed = window.as_ref().map(|joined| Arc::clone(&joined.borrowed));
    let beside = Beside { tally, started: now, window: borrowed };
    nodes.extend(of_rule);
    nodes.shrink_to_fit();
    let ending = Ending::new(Outcome::Running);
    let into_rule = (!parts.is_empty()).then(|| Arc::clone(place.inlet()));
    let mut run = RuleRun {
        key,
        info,
        chain: rule.chain,
        egress,
        n_results,
        twins: Twins::of(&rule.scans),
        remote: RemoteCalls::of(&rule.spec.id, &rule.spec.plan.root),
        inputs: rule.scans.iter().zip(preprocessors).zip(inputs).map(input_of).collect(),
        own: unshared(&attached),
        inlet: place.inlet.into_inner(),
        fingerprint: rule.spec.plan.fingerprint,
        ending: Arc::clone(&ending),
        cpu: Arc::clone(&cpu),
        timer: None,
        forward: None,
        parts: parts.iter().map(NewPart::address).collect(),
        window,
        common: None,
        tracing: None,
    };
    let inlets: Vec<Arc<Inlet>> = attached.iter().map(|scan| Arc::clone(&scan.inlet)).collect();
    if let Err(error) = restore.map_or(Ok(()), |snapshot| run.restore(snapshot, now)) {
        leave_all(streams, attached, parts);
        return Err(Diagnostic::plain(error.to_string()));
    }
    let info = Arc::clone(&run.info);
    if let Some(coordinator) = coordinator {
        inlets.iter().for_each(|inlet| inlet.join(coordinator.urge(key)));
    }
    home.send(Control::AddRule(Box::new(run)));
    let (joined, parts) = join(rule.scans, attached, (parts, into_rule.as_ref()), &info);
    let Joined { sources, own, shared } = joined;
    let home = Arc::clone(home);
    Ok(Launched { key, home, nodes, beside, ending, cpu, sources, sinks, own, shared, inlets, parts })
}

/// The streams that nobody else reads.
fn unshared(attached: &[Attached]) -> Box<[(Key, Arc<Inlet>)]> {
    let own = attached.iter().filter(|scan| scan.shared.is_none() && scan.is_new);
    own.map(|scan| (scan.key, Arc::clone(&scan.inlet))).collect()
}

/// The window or the event-time group that the rule has in common with others.
fn in_common(
    of_spec: (&RuleSpec, &Chain, MakeOperator),
    of_scans: (&[CompiledScan], &[Arc<NodeMetrics>]),
    (attached, info): (&mut [Attached], &Arc<RuleInfo>),
    (place, streams): (&Home<'_>, &Streams),
) -> Option<Box<windows::Joined>> {
    let window = windows::join(of_spec, (attached, info), place, streams);
    window.or_else(|| event_groups::join(of_spec, (attached, info), of_scans, place, streams))
}

/// Sends the parts of the rule, which its shard has taken over by now, to their shards, and lets all read their streams.
fn join(
    mut scans: Vec<CompiledScan>,
    attached: Vec<Attached>,
    (parts, into_rule): (Vec<NewPart>, Option<&Arc<RuleInlet>>),
    info: &Arc<RuleInfo>,
) -> (Joined, Box<[RunningPart]>) {
    let mut joined = Joined::default();
    let mut running = Vec::with_capacity(parts.len());
    for (part, inlet) in parts.into_iter().zip(into_rule.into_iter().cycle()) {
        let number = part.number;
        let (part, attached, source) = part.start(info, inlet);
        let name = Arc::clone(&scans[attached.input].scan.stream.name);
        joined.add((name, Some(number)), attached, source);
        running.push(part);
    }
    for attached in attached {
        let scan = &mut scans[attached.input];
        joined.add((Arc::clone(&scan.scan.stream.name), None), attached, scan.source.take());
    }
    (joined, running.into())
}

/// What is made of the scans once they have joined: new sources, inlets of the rule's own, shared streams.
#[derive(Default)]
struct Joined {
    sources: Vec<NewSource>,
    own: Vec<Arc<Inlet>>,
    shared: Vec<(Arc<SharedStream>, Key)>,
}

impl Joined {
    /// Lets a rule or a part of it, which its shard has taken over by now, read a stream.
    fn add(
        &mut self,
        (name, part): (Arc<str>, Option<u32>),
        attached: Attached,
        source: Option<(SourceFactory, SourceKind)>,
    ) {
        let (stream, rule) = (attached.key, attached.rule());
        let (inbox, is_new) = (Arc::clone(&attached.inbox), attached.is_new);
        let (inlet, sharing) = attached.join();
        if is_new {
            let (inlet, is_shared) = (Arc::clone(&inlet), sharing.is_some());
            self.sources.push(NewSource { stream, name, part, inbox, inlet, is_shared, source });
        }
        match sharing {
            Some(sharing) => {
                self.shared.reserve_exact(1);
                self.shared.push((sharing, rule));
            }
            None if is_new => self.own.push(inlet),
            None => {}
        }
    }
}

/// Whether the rule drops rows when it cannot follow: when it reads a shared stream, and does not promise at least once,
/// so that the stream has been allowed to forget them.
fn may_drop(rule: &CompiledRule) -> bool {
    let is_shared = rule.scans.iter().any(|scan| scan.scan.stream.shared);
    let options = &rule.spec.options;
    options.disable_discard.map_or(is_shared && options.qos == 0, |disabled| !disabled)
}

/// Brings all scans to their streams, and those of split streams part by part, or none.
fn attach_all(
    rule: &mut CompiledRule,
    from: (&[Identity], Option<&Snapshot>),
    place: &Home<'_>,
    ground: &Ground<'_>,
) -> Result<(Vec<Attached>, Vec<NewPart>), Diagnostic> {
    let attached = attach(rule, from, ground.streams, place)?;
    match parts::attach(&mut rule.scans, place, ground) {
        Ok(parts) => Ok((attached, parts)),
        Err(why) => {
            leave_all(ground.streams, attached, Vec::new());
            Err(why)
        }
    }
}

/// Brings all scans to their streams, or none.
fn attach(
    rule: &CompiledRule,
    (inputs, restore): (&[Identity], Option<&Snapshot>),
    streams: &Streams,
    place: &Home<'_>,
) -> Result<Vec<Attached>, Diagnostic> {
    let mut attached: Vec<Attached> = Vec::new();
    for (input, scan) in rule.scans.iter().enumerate().filter(|(_, scan)| !scan.is_split()) {
        let (name, source) = &inputs[input];
        let offset = restore.and_then(|snapshot| resume(snapshot, name, *source));
        let first = first_of(&rule.scans, input);
        let brought = attached.iter().find(|attached| attached.input == first && first != input);
        let found = match brought.filter(|_| !scan.scan.stream.shared) {
            Some(first) => Ok(streams.beside(first, &rule.scans, input, place)),
            None => streams.attach(&rule.scans, input, offset, place),
        };
        match found {
            Ok(scan) => attached.push(scan),
            Err(diagnostic) => {
                leave_all(streams, attached, Vec::new());
                return Err(diagnostic);
            }
        }
    }
    for scan in &mut attached {
        let input = scan.input;
        if (0..rule.scans.len()).any(|other| other != input && is_twin(&rule.scans, input, other)) {
            scan.ask_nothing();
        }
    }
    Ok(attached)
}

fn is_twin(scans: &[CompiledScan], one: usize, other: usize) -> bool {
    first_of(scans, one) == first_of(scans, other)
}

/// Has a rule called only for rows that pass its condition, or not even for those, if it misses nothing by that: it
/// reads one stream, whose position no checkpoint of its own depends on.
fn quiet(
    (spec, scans, operators): (&RuleSpec, &[CompiledScan], MakeOperator),
    (info, egress): (&Arc<RuleInfo>, &[Egress]),
    attached: &mut [Attached],
    nodes: &mut [NodeView],
) -> Option<Arc<Tally>> {
    let ([scan], [attached]) = (scans, attached) else { return None };
    let is_plain = scan.event_time.is_none() && scan.scan.retain.is_none();
    if spec.options.qos > 0 || !is_plain || !attached.is_here() {
        return None;
    }
    let asks = attached.asks();
    let outputs = egress.iter().map(|egress| Some((egress.shape()?, Arc::clone(egress.delivery()))));
    let outputs = outputs.collect::<Option<Vec<_>>>().filter(|outputs| !outputs.is_empty());
    let may_share = Share::fits(&spec.plan.root, asks) && spec.actions.iter().all(|action| !action.is_late);
    let outputs = outputs.filter(|_| may_share);
    if !asks && outputs.is_none() {
        return None;
    }
    let tally = Tally::new(Arc::clone(&attached.shown));
    if asks {
        nodes[0].tally(Part::Filter);
    }
    let share = outputs.map(|outputs| {
        let behind = &mut nodes[usize::from(asks)..];
        behind[0].tally(Part::Project);
        let queues = outputs.iter().map(|(_, delivery)| delivery).filter(|delivery| !delivery.swallows());
        let queues: Vec<_> = queues.map(|delivery| delivery.metrics()).collect();
        let steps = behind[1..].iter_mut().filter(|node| !queues.iter().any(|queue| node.shows(queue)));
        steps.for_each(|node| node.tally(Part::Action));
        Box::new(Share { node: spec.plan.root.clone(), info: Arc::clone(info), operators, outputs })
    });
    let quiet = Quiet {
        tally: Arc::clone(&tally),
        wants_faults: spec.options.send_error,
        share,
        member: None,
        place: None,
    };
    attached.quiet(quiet);
    Some(tally)
}

/// R7.6: a snapshot of another plan is not used.
pub(crate) fn fits(snapshot: &Snapshot, rule: &CompiledRule) -> bool {
    snapshot.fingerprint == rule.spec.plan.fingerprint
}

/// How an input is called in snapshots, and which source it is.
type Identity = (Arc<str>, u64);

/// Those of all inputs.
fn identities(rule: &CompiledRule, streams: &Streams) -> Vec<Identity> {
    let mut names: Vec<Identity> = Vec::with_capacity(rule.scans.len());
    for (index, scan) in rule.scans.iter().enumerate() {
        let is_taken = names.iter().any(|(name, _)| *name == scan.node);
        let name = if is_taken {
            Arc::from(format!("{}#{index}", scan.node))
        } else {
            streams.names().same(&scan.node)
        };
        let stream = &scan.scan.stream;
        names.push((name, checksum(format!("{} {}", stream.source_type, stream.datasource).as_bytes())));
    }
    names
}

fn leave_all(streams: &Streams, attached: Vec<Attached>, parts: Vec<NewPart>) {
    attached.into_iter().for_each(|scan| scan.leave(streams));
    parts.into_iter().for_each(|part| part.leave(streams));
}

fn input_of(((scan, preprocessor), (key, source)): ((&CompiledScan, Arc<NodeMetrics>), Identity)) -> Input {
    Input {
        key,
        source,
        event_time: scan.event_time.clone().map(Arc::new),
        preprocessor,
        is_table: scan.scan.retain.is_some(),
        has_ended: false,
        parts_left: if scan.is_split() { scan.scan.stream.split as usize - 1 } else { 0 },
        offset: None,
        upto: 0,
        seen: None,
    }
}

/// Sources with their decoders and preprocessors. Shared ones count from now on for this rule (`contracts.md` 10); those of
/// a split stream are one.
fn source_views(
    rule: &CompiledRule,
    (attached, parts): (&[Attached], &[NewPart]),
    preprocessors: &[Arc<NodeMetrics>],
    streams: &Streams,
) -> Vec<NodeView> {
    let mut nodes: Vec<NodeView> = Vec::new();
    for (input, (scan, preprocessor)) in rule.scans.iter().zip(preprocessors).enumerate() {
        let all = attached.iter().chain(parts.iter().map(|part| &part.attached));
        let all: Vec<&Attached> = all.filter(|attached| attached.input == input).collect();
        let Some((first, others)) = all.split_first() else { continue };
        if rule.scans[..input].iter().any(|earlier| earlier.node == scan.node) {
            // Branches of a graph rule read one source.
            continue;
        }
        let is_shared = first.shared.is_some();
        let view = |name: &Arc<str>, of: fn(&Attached) -> &Arc<NodeMetrics>| {
            let view = NodeView::new(streams.names().same(name), Arc::clone(of(first)), is_shared);
            view.with(others.iter().map(|other| Arc::clone(of(other))).collect(), is_shared)
        };
        nodes.push(view(&scan.node, |attached| &attached.inlet.metrics));
        for step in &scan.steps {
            nodes.push(match step.rsplit('_').next() {
                Some("ratelimit") => view(step, |attached| &attached.inlet.metrics),
                Some("preprocessor") => {
                    NodeView::new(streams.names().same(step), Arc::clone(preprocessor), false)
                }
                _ => view(step, |attached| &attached.decoder),
            });
        }
    }
    nodes
}

/// The operators of the rule, each with its counterparts beside the connections of split streams.
fn operator_views(rule: &CompiledRule, parts: &[NewPart], streams: &Streams) -> Vec<NodeView> {
    let view = |(at, (name, metrics)): (usize, (&Arc<str>, &Arc<NodeMetrics>))| {
        let same = parts.iter().filter_map(|part| part.chain().metrics().nth(at));
        let others = same.map(|(_, metrics)| Arc::clone(metrics)).collect();
        let name = (!name.is_empty()).then(|| streams.name(format!("op_{name}")));
        name.map(|name| NodeView::new(name, Arc::clone(metrics), false).with(others, false))
    };
    rule.chain.metrics().enumerate().filter_map(view).collect()
}

fn actions(
    (actions, rule): (&mut Vec<CompiledAction>, &Arc<RuleInfo>),
    (may_drop, settled): (bool, Option<&Arc<Notify>>),
    streams: &Streams,
    nodes: &mut Vec<NodeView>,
) -> (Vec<Egress>, Vec<NewSink>) {
    let actions = std::mem::take(actions);
    // Room for no more than there is: a rule among thousands costs a record.
    let (mut egress, mut sinks) = (Vec::with_capacity(actions.len()), Vec::with_capacity(actions.len()));
    for action in actions {
        let (batch, steps) = topology::action_steps(&action);
        let swallows = action.sink.as_ref().is_some_and(|sink| sink.swallows());
        let delivery = Delivery::new(&action.options, (may_drop, swallows), settled);
        let sink_name = streams.name(format!("sink_{}", action.node));
        let output = (action.output, action.templates);
        let made = Egress::new(
            streams.names().same(&action.node),
            streams.options().same(action.options),
            output,
            Arc::clone(rule),
            Arc::clone(&delivery),
        )
        .taking(action.results);
        let metrics = batch.iter().flat_map(|_| made.metrics().take(1)).chain(made.metrics());
        for (name, metrics) in batch.iter().chain(&steps).zip(metrics) {
            nodes.push(NodeView::new(streams.names().same(name), Arc::clone(metrics), false));
        }
        let metrics = Arc::clone(delivery.metrics());
        nodes.push(match swallows {
            true => NodeView::swallowing(sink_name, metrics),
            false => NodeView::new(sink_name, metrics, false),
        });
        egress.push(made);
        sinks.push(NewSink { delivery, sink: action.sink.filter(|_| !swallows) });
    }
    (egress, sinks)
}
