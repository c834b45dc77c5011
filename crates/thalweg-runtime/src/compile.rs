//! From a [`RuleSpec`] to everything that can fail, built but not started.

use std::path::Path;
use std::sync::Arc;

use thalweg_core::connector::{BuildCx, Part, Sink, SourceKind, Spawner};
use thalweg_core::diagnostic::nearest;
use thalweg_core::format::Format;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::registry::{Registry, Shared};
use thalweg_core::{Clock, Diagnostic, ErrorCode, Projection, Props, Want};
use thalweg_plan::logical::{Lookup, Scan};
use thalweg_plan::{Kind, Node};

use crate::chain::{Chain, scans};
use crate::egress::Output;
use crate::egress::options::SinkOptions;
use crate::egress::template::Templates;
use crate::ingest::Decode;
use crate::ingest::event_time::EventTime;
use crate::ingest::inner::InnerDecoder;
use crate::ingest::options::SourceOptions;
use crate::ingest::supervise::SourceFactory;
use crate::lookup::{BlockingLookup, Waiter};
use crate::op;
use crate::operator::{Operator, RuleInfo};
use crate::parts;
use crate::rule::{ActionSpec, RuleSpec, SourceSpec, Topology};
use crate::ruleset::conditions::Condition;
use crate::topology;

/// What compiling may look at.
pub(crate) struct CompileCx<'a> {
    pub registry: &'a Registry,
    pub shared: &'a Arc<Shared>,
    pub clock: &'a Arc<dyn Clock>,
    pub home: &'a Path,
    /// Tells this engine from others.
    pub instance: &'a str,
    pub spawner: Arc<dyn Spawner>,
    /// Where lookups are waited for.
    pub waiter: Waiter,
    /// Makes the operators, except lookup joins.
    pub operators: MakeOperator,
}

/// Makes the operator of a plan node.
pub(crate) type MakeOperator = fn(&Node, &RuleInfo) -> Box<dyn Operator>;

/// A rule that can be started.
pub struct CompiledRule {
    pub(crate) spec: RuleSpec,
    pub(crate) info: RuleInfo,
    pub(crate) chain: Chain,
    pub(crate) scans: Vec<CompiledScan>,
    pub(crate) actions: Vec<CompiledAction>,
    pub(crate) topology: Topology,
    /// Makes its operators, also those that it shares.
    pub(crate) operators: MakeOperator,
}

/// One scan of the plan with its source.
pub(crate) struct CompiledScan {
    pub scan: Scan,
    /// `source_demo`.
    pub node: Arc<str>,
    /// Decoder and preprocessor, with prefix.
    pub steps: Vec<Arc<str>>,
    pub format: Arc<FormatRef>,
    pub event_time: Option<EventTime>,
    /// What its rows are asked first and other rules of a shared stream may ask too.
    pub condition: Option<Condition>,
    /// Absent in the rig, which feeds streams by hand.
    pub source: Option<(SourceFactory, SourceKind)>,
    /// One for each connection, when the stream is split over several.
    pub parts: Vec<CompiledPart>,
}

impl CompiledScan {
    /// Whether the stream comes over several connections.
    pub(crate) fn is_split(&self) -> bool {
        self.scan.stream.split > 1 && self.scan.retain.is_none()
    }
}

/// What runs beside one connection of a split stream.
pub(crate) struct CompiledPart {
    pub chain: Chain,
    /// Absent in the rig.
    pub source: Option<(SourceFactory, SourceKind)>,
}

/// The format of a stream with its properties.
pub(crate) struct FormatRef {
    format: &'static dyn Format,
    props: Props,
    zone: chrono_tz::Tz,
    options: SourceOptions,
    /// The format of the payload inside the payload, and its properties.
    inner: Option<(&'static dyn Format, Props)>,
}

impl FormatRef {
    /// A decoder for `want`.
    pub(crate) fn decode(
        &self,
        want: &Arc<Projection>,
        metrics: Arc<NodeMetrics>,
        clock: Arc<dyn Clock>,
    ) -> Result<Decode, Diagnostic> {
        let decode = Decode::new(self.format.decoder(want, &self.props)?, (want, self.zone), metrics, clock);
        let inner = match (&self.options.inner, &self.inner) {
            (Some(options), Some((format, props))) => {
                Some(InnerDecoder::new(options, (self.format, &self.props), (*format, props), want)?)
            }
            _ => None,
        };
        Ok(decode.opening(self.options.decompression, inner))
    }
}

/// One action with its sink.
pub(crate) struct CompiledAction {
    /// `mqtt_0`.
    pub node: Arc<str>,
    /// It takes late rows (`lateData`), not results.
    pub is_late: bool,
    /// The results that it takes; none: all.
    pub results: Box<[usize]>,
    pub options: SinkOptions,
    pub output: Output,
    pub templates: Templates,
    /// Absent in the rig, which collects messages by hand.
    pub sink: Option<Box<dyn Sink>>,
}

impl CompiledRule {
    /// The printable graph.
    pub fn topology(&self) -> Topology {
        self.topology.clone()
    }

    /// Whether a slot of the plan asks for metadata.
    pub(crate) fn wants_meta(projection: &Projection) -> bool {
        projection.slots.iter().any(|wanted| wanted.want == Want::Meta)
    }

    /// Whether the rule calls things that block: plugins, lookups.
    pub(crate) fn is_blocking(&self) -> bool {
        !self.spec.plan.hosts.is_empty() || has_lookup(&self.spec.plan.root)
    }
}

fn has_lookup(node: &Node) -> bool {
    matches!(node.kind, Kind::LookupJoin(_)) || node.inputs.iter().any(has_lookup)
}

/// Builds a rule with its sources and sinks.
pub(crate) fn compile(
    spec: RuleSpec,
    info: RuleInfo,
    cx: &CompileCx<'_>,
) -> Result<CompiledRule, Diagnostic> {
    let mut rule = assemble(spec, info, cx)?;
    for (index, scan) in rule.scans.iter_mut().enumerate() {
        let source = source_spec(&rule.spec, &scan.scan)?;
        let count = scan.parts.len() as u32;
        for (part, number) in scan.parts.iter_mut().zip(0..) {
            let group = parts::group(&rule.spec, &scan.scan, (index, cx.instance));
            let part_of = Part { number, count, group };
            part.source = Some(build_source(&rule.info.id, source, (None, Some(part_of)), cx)?);
        }
        if count == 0 {
            let session = session(&rule.spec, &scan.scan, (index, cx.instance));
            scan.source = Some(build_source(&rule.info.id, source, (session, None), cx)?);
        }
    }
    for (action, spec) in rule.actions.iter_mut().zip(&rule.spec.actions) {
        action.sink = Some(build_sink(&rule.info.id, &action.node, spec, cx)?);
    }
    Ok(rule)
}

/// What the other side knows a source by that is to miss nothing while the engine is down. A shared stream has it for
/// any rule of `qos` 1 or 2 that may join.
fn session(spec: &RuleSpec, scan: &Scan, (index, instance): (usize, &str)) -> Option<Arc<str>> {
    let stream = &scan.stream.name;
    match (scan.stream.shared, spec.options.qos) {
        (true, _) => Some(Arc::from(format!("thalweg_{instance}_{stream}"))),
        (false, 0) => None,
        (false, _) => Some(Arc::from(format!("thalweg_{instance}_{}_{stream}_{index}", spec.id))),
    }
}

/// Builds those sinks of a rule that swallow everything.
pub(crate) fn swallow(rule: &mut CompiledRule, cx: &CompileCx<'_>) -> Result<(), Diagnostic> {
    for (action, spec) in rule.actions.iter_mut().zip(&rule.spec.actions) {
        action.sink = Some(build_sink(&rule.info.id, &action.node, spec, cx)?).filter(|sink| sink.swallows());
    }
    Ok(())
}

/// Builds everything of a rule but sources and sinks.
pub(crate) fn assemble(
    spec: RuleSpec,
    info: RuleInfo,
    cx: &CompileCx<'_>,
) -> Result<CompiledRule, Diagnostic> {
    let registry = cx.registry;
    let mut chain = Chain::new(&spec.plan.root, &|node| match &node.kind {
        Kind::LookupJoin(lookup) => lookup_join(node, lookup, &spec, cx),
        _ => Ok((cx.operators)(node, &info)),
    })?;
    let mut parts = parts::compile((&spec, &info), &mut chain, cx.operators)?;
    let mut compiled = Vec::new();
    for (node, index) in scans(&spec.plan.root).into_iter().zip(topology::scan_indices(&spec.plan.root)) {
        let Kind::Scan(scan) = &node.kind else { continue };
        let source = source_spec(&spec, scan)?;
        let format = Arc::new(format_ref(registry, source, info.zone)?);
        // What the format refuses is told now and not when the rule starts.
        format.decode(&Arc::new(scan.projection.clone()), Arc::default(), Arc::clone(cx.clock))?;
        let event_time = scan.event_time.clone().filter(|_| spec.options.event_time);
        let event_time = event_time.map(|(slot, pattern)| EventTime { slot, pattern, zone: info.zone });
        let may_share = scan.stream.shared && event_time.is_none();
        let parts = std::mem::take(&mut parts[compiled.len()]);
        // Beside a connection of a split stream the rule has it at its own first operator.
        let (chain, at) = parts.first().map_or((&chain, compiled.len()), |part| (&part.chain, 0));
        let condition = chain.condition(at).filter(|expr| may_share && expr.is_pure());
        let condition = condition.map(|expr| Condition { expr: expr.clone(), zone: info.zone });
        let node = Arc::from(format!("source_{}", node.name));
        let steps = topology::scan_steps(scan, index);
        let scan = scan.clone();
        let source = None;
        compiled.push(CompiledScan { scan, node, steps, format, event_time, condition, source, parts });
    }
    let actions =
        spec.actions.iter().map(|action| action_of(action, registry, info.zone)).collect::<Result<_, _>>()?;
    let mut rule = CompiledRule {
        spec,
        info,
        chain,
        scans: compiled,
        actions,
        topology: Topology::default(),
        operators: cx.operators,
    };
    rule.topology = topology::of(&rule);
    Ok(rule)
}

fn lookup_join(
    node: &Node,
    lookup: &Lookup,
    spec: &RuleSpec,
    cx: &CompileCx<'_>,
) -> Result<Box<dyn Operator>, Diagnostic> {
    let table = &lookup.table;
    let refuse = |why: String| Diagnostic::new(ErrorCode::Executor, why);
    let source = spec.sources.get(&table.name);
    let source = source.ok_or_else(|| refuse(format!("table {} has no source properties", table.name)))?;
    let connector = cx.registry.lookup(&table.source_type);
    let connector =
        connector.ok_or_else(|| refuse(format!("lookup type {} is not supported", table.source_type)))?;
    let connection = source.connection.as_ref().map(|(_, connection)| Arc::clone(connection));
    let props = source_props(source);
    let build = build_cx(Arc::clone(&table.name), Arc::clone(&table.name), props, connection, cx);
    let built = connector.lookup(&build);
    let built = built.unwrap_or_else(|| Err(refuse(format!("{} is no lookup source", table.source_type))))?;
    let rows = BlockingLookup::new(built, &source.props, cx.waiter.clone(), Arc::clone(cx.clock))?;
    Ok(op::build_lookup(node, lookup, Box::new(rows)))
}

fn source_spec<'a>(spec: &'a RuleSpec, scan: &Scan) -> Result<&'a SourceSpec, Diagnostic> {
    spec.sources.get(&scan.stream.name).ok_or_else(|| {
        Diagnostic::new(ErrorCode::Executor, format!("stream {} has no source properties", scan.stream.name))
    })
}

fn format(registry: &Registry, name: &str) -> Result<&'static dyn Format, Diagnostic> {
    let name = if name.is_empty() { "json" } else { name };
    registry.format(name).ok_or_else(|| {
        let mistake = Diagnostic::new(ErrorCode::Executor, format!("format {name} is not supported"));
        let names = registry.format_names();
        let near =
            nearest(name, names.iter().map(String::as_str)).map(|near| format!("did you mean {near}?"));
        mistake.help(near.unwrap_or_else(|| format!("known are {}", names.join(", "))))
    })
}

fn format_ref(
    registry: &Registry,
    source: &SourceSpec,
    zone: chrono_tz::Tz,
) -> Result<FormatRef, Diagnostic> {
    let options = SourceOptions::read(&source.props, &source.stream)?;
    let inner = options.inner.as_ref().map(|inner| {
        let mut props = source.props.clone();
        props.set("timezone", zone.name());
        for (name, from) in [("delimiter", "payloadDelimiter"), ("schemaId", "payloadSchemaId")] {
            props.set(name, source.props.get(from).cloned().unwrap_or_default());
        }
        Ok::<_, Diagnostic>((format(registry, &inner.format)?, props))
    });
    Ok(FormatRef {
        format: format(registry, &source.stream.format)?,
        props: format_props(source, zone),
        zone,
        inner: inner.transpose()?,
        options,
    })
}

/// What a decoder may look at: the source's properties, and the stream's options that belong to the format.
fn format_props(source: &SourceSpec, zone: chrono_tz::Tz) -> Props {
    let mut props = source.props.clone();
    props.set("timezone", zone.name());
    for (name, value) in &source.stream.options {
        if name.eq_ignore_ascii_case("DELIMITER") || name.eq_ignore_ascii_case("SCHEMAID") {
            props.set(name, value.to_string());
        }
    }
    props
}

fn action_of(
    action: &ActionSpec,
    registry: &Registry,
    zone: chrono_tz::Tz,
) -> Result<CompiledAction, Diagnostic> {
    let node: Arc<str> = Arc::from(action.node());
    let place = if action.is_late { "lateData: " } else { "" };
    let owned = |why: Diagnostic| Diagnostic {
        message: format!("{place}{} sink: {}", action.kind, why.message),
        ..why
    };
    let options = SinkOptions::read(&action.props).map_err(owned)?;
    let connector = registry.sink(&action.kind);
    let takes_rows = connector.as_ref().is_some_and(|connector| connector.takes_rows());
    let templates =
        Templates::read(options.template.as_ref(), &action.props, connector.as_deref()).map_err(owned)?;
    if takes_rows && options.compression.is_some() {
        let text = "compression is for sinks of bytes; this one takes rows";
        return Err(owned(Diagnostic::new(ErrorCode::Executor, text)));
    }
    let output = if takes_rows {
        Output::Rows
    } else if &*options.format == "json" {
        Output::Json
    } else {
        let mut props = action.props.clone();
        props.set("timezone", zone.name());
        if options.is_batching() && &*options.format == "delimited" {
            // C3.14: the messages of a batch always have a header.
            props.set("hasHeader", true);
        }
        Output::Encoder(format(registry, &options.format)?.encoder(&props)?)
    };
    let results = action.drawn.as_ref().map(|drawn| drawn.results.clone()).unwrap_or_default();
    Ok(CompiledAction { node, is_late: action.is_late, results, options, output, templates, sink: None })
}

fn build_source(
    rule: &Arc<str>,
    source: &SourceSpec,
    (session, part): (Option<Arc<str>>, Option<Part>),
    cx: &CompileCx<'_>,
) -> Result<(SourceFactory, SourceKind), Diagnostic> {
    let stream = &source.stream;
    let connector = cx.registry.source(&stream.source_type).ok_or_else(|| {
        Diagnostic::new(ErrorCode::Executor, format!("source type {} is not supported", stream.source_type))
    })?;
    let rule = if stream.shared { Arc::from(format!("$$subtopo_{}", stream.name)) } else { Arc::clone(rule) };
    let thinning = SourceOptions::read(&source.props, stream)?.thinning;
    let props = source_props(source);
    let connection = source.connection.as_ref().map(|(_, connection)| Arc::clone(connection));
    let cx = BuildCx { session, part, ..build_cx(rule, Arc::clone(&stream.name), props, connection, cx) };
    let factory = SourceFactory { connector, cx, thinning };
    let kind = factory.build()?;
    Ok((factory, kind))
}

/// The source's properties with DATASOURCE among them.
fn source_props(source: &SourceSpec) -> Props {
    let mut props = source.props.clone();
    if props.get("datasource").is_none() {
        props.set("datasource", source.stream.datasource.to_string());
    }
    props
}

fn build_sink(
    rule: &Arc<str>,
    node: &Arc<str>,
    action: &ActionSpec,
    cx: &CompileCx<'_>,
) -> Result<Box<dyn Sink>, Diagnostic> {
    let connector = cx.registry.sink(&action.kind).ok_or_else(|| {
        Diagnostic::new(ErrorCode::Executor, format!("sink type {} is not supported", action.kind))
    })?;
    let connection = action.connection.as_ref().map(|(_, connection)| Arc::clone(connection));
    let build = build_cx(Arc::clone(rule), Arc::clone(node), action.props.clone(), connection, cx);
    connector.sink(&build).unwrap_or_else(|| Err(Diagnostic::plain(format!("{} is no sink", action.kind))))
}

fn build_cx(
    rule: Arc<str>,
    node: Arc<str>,
    props: Props,
    connection: Option<Arc<dyn thalweg_core::connector::Connection>>,
    cx: &CompileCx<'_>,
) -> BuildCx {
    BuildCx {
        props,
        rule,
        node,
        connection,
        shared: Arc::clone(cx.shared),
        clock: Arc::clone(cx.clock),
        home: cx.home.to_path_buf(),
        session: None,
        part: None,
        spawner: Arc::clone(&cx.spawner),
    }
}
