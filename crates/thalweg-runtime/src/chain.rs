//! A rule's operators in a row: handing a batch on is a function call.
//!
//! The chain counts what goes through each node (R8.7: the result of a window is one item), times each batch once
//! per node, and asks every operator for its next timer after each call. It knows neither queues nor threads.
//!
//! With one row, looking at the clock costs more than a comparison. So it is read where rows pass from one node to the
//! next, behind the sinks, and behind a node that hands nothing on; each reading ends one node's time and begins
//! another's. What a node does after it has handed on its last rows is not part of its latency.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Batch, Clock, Diagnostic, Selection, Timestamp, Unit};
use thalweg_expr::Expr;
use thalweg_plan::split::Cut;
use thalweg_plan::{Kind, Node};

use crate::names::{Alike, Names};
use crate::operator::{Behind, Emit, List, OpCx, Operator, Partial, RuleInfo, Signal, Verdict};
use crate::trace::Recording;

/// Builds the operator of a plan node; [`Kind::Scan`] never comes here.
pub(crate) type Build<'a> = dyn Fn(&Node) -> Result<Box<dyn Operator>, Diagnostic> + 'a;

/// Operators in topological order: every node stands behind its inputs.
pub(crate) struct Chain {
    nodes: Vec<ChainNode>,
    /// Where the rows of each scan enter, in the order of the scans.
    inlets: Vec<Link>,
}

/// One operator and where its results go.
pub(crate) struct ChainNode {
    operator: Box<dyn Operator>,
    name: Arc<str>,
    metrics: Arc<NodeMetrics>,
    next: Next,
    timer: Option<Timestamp>,
    /// Not in a part of a split stream that ends before it.
    is_used: bool,
}

/// Where the results of a node go.
enum Next {
    /// One way for all ports.
    All(Link),
    /// One way for each (the lanes of a Watermark).
    Lanes(Box<[Link]>),
}

impl Next {
    fn links(&self) -> &[Link] {
        match self {
            Self::All(link) => std::slice::from_ref(link),
            Self::Lanes(links) => links,
        }
    }
}

/// Where rows go next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    /// To an operator: its position and the input.
    Node { at: usize, input: usize },
    /// To the operator with one input that tells ports apart (a join behind a window): the port is the input.
    Ports { at: usize },
    /// To the sinks.
    Out,
}

impl Link {
    /// The operator.
    fn at(self) -> Option<usize> {
        match self {
            Self::Node { at, .. } | Self::Ports { at } => Some(at),
            Self::Out => None,
        }
    }
}

/// Where an input of a node comes from.
enum Source {
    Operator(usize),
    Inlet(usize),
    /// A lane of an operator that is there already.
    Lane {
        at: usize,
        lane: usize,
    },
}

/// What a chain needs while it runs.
pub(crate) struct Drive<'a> {
    /// The rule.
    pub rule: &'a RuleInfo,
    /// Now.
    pub now: Timestamp,
    /// For latencies.
    pub lap: Lap<'a>,
    /// What the condition of the first operator says of the rows, when it has been asked already.
    pub verdict: Option<&'a Verdict>,
    /// Whether the first operator's rows have been counted for it already.
    pub is_counted: bool,
    /// Behind the last operator.
    pub out: &'a mut dyn Emit,
    /// Where spans are noted, if the rule is traced.
    pub recording: Option<&'a RefCell<Recording>>,
}

impl Drive<'_> {
    /// A node begins.
    fn open(&self, name: &Arc<str>) -> Option<usize> {
        self.recording?.borrow_mut().open(name, self.lap.clock)
    }

    /// A node that was given rows has ended.
    fn close(&self, span: Option<usize>) {
        if let Some(recording) = self.recording {
            recording.borrow_mut().close(span, self.lap.clock);
        }
    }

    /// A node that was given something else has ended.
    fn close_unless_idle(&self, span: Option<usize>, emitted: u64) {
        if let Some(recording) = self.recording {
            recording.borrow_mut().close_unless_idle(span, emitted, self.lap.clock);
        }
    }
}

/// Tells how much time has passed since it was asked last.
pub(crate) struct Lap<'a> {
    clock: &'a dyn Clock,
    /// Microseconds; absent until a batch comes.
    last: Option<u64>,
}

impl<'a> Lap<'a> {
    pub(crate) fn new(clock: &'a dyn Clock) -> Self {
        Self { clock, last: None }
    }

    fn micros(&mut self) -> u64 {
        let now = self.clock.monotonic_micros();
        now.saturating_sub(self.last.replace(now).unwrap_or(now))
    }

    /// Begins a lap, if none has been begun.
    fn begin(&mut self) {
        if self.last.is_none() {
            self.micros();
        }
    }
}

/// The scans of a plan in the order in which they feed the chain.
pub(crate) fn scans(root: &Node) -> Vec<&Node> {
    match root.kind {
        Kind::Scan(_) => vec![root],
        _ => root.inputs.iter().flat_map(scans).collect(),
    }
}

impl Chain {
    /// Lays the operators of a plan in a row.
    ///
    /// # Errors
    /// The first operator that cannot be built.
    pub(crate) fn new(root: &Node, build: &Build<'_>) -> Result<Self, Diagnostic> {
        let mut chain = Self { nodes: Vec::new(), inlets: Vec::new() };
        let last = chain.add(root, None, build)?;
        chain.connect(&last, Link::Out);
        chain.nodes.shrink_to_fit();
        chain.inlets.shrink_to_fit();
        Ok(chain)
    }

    fn connect(&mut self, from: &Source, to: Link) {
        match *from {
            Source::Operator(at) => self.nodes[at].next = Next::All(to),
            Source::Lane { at, lane } => {
                if let Next::Lanes(links) = &mut self.nodes[at].next {
                    links[lane] = to;
                }
            }
            Source::Inlet(inlet) => self.inlets[inlet] = to,
        }
    }

    fn push(&mut self, node: &Node, build: &Build<'_>) -> Result<usize, Diagnostic> {
        let at = self.nodes.len();
        let metrics = Arc::new(NodeMetrics::default());
        if let Some(n_between) = node.folded_by() {
            self.nodes[at - 1 - n_between]
                .operator
                .adopt(Behind { name: Arc::clone(&node.name), metrics: Arc::clone(&metrics) });
        }
        self.nodes.push(ChainNode {
            operator: build(node)?,
            name: Arc::clone(&node.name),
            metrics,
            next: Next::All(Link::Out),
            timer: None,
            is_used: true,
        });
        Ok(at)
    }

    /// The operator of all lanes below a window, if there is one, behind its inputs.
    fn add_lanes(&mut self, window: &Node, build: &Build<'_>) -> Result<Option<usize>, Diagnostic> {
        let Some(node) = window.common_watermark() else { return Ok(None) };
        let sources = node.inputs.iter().map(|input| self.add(input, None, build));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        let at = self.push(&node, build)?;
        self.nodes[at].next = Next::Lanes(vec![Link::Out; sources.len()].into());
        for (input, source) in sources.iter().enumerate() {
            self.connect(source, Link::Node { at, input });
        }
        Ok(Some(at))
    }

    /// Adds a node behind its inputs; where its rows come from. `lane`: the operator and the lane that the Watermark
    /// below is.
    fn add(
        &mut self,
        node: &Node,
        lane: Option<(usize, usize)>,
        build: &Build<'_>,
    ) -> Result<Source, Diagnostic> {
        match (&node.kind, lane) {
            (Kind::Scan(_), _) => {
                self.inlets.push(Link::Out);
                return Ok(Source::Inlet(self.inlets.len() - 1));
            }
            (Kind::Watermark { .. }, Some((at, lane))) => return Ok(Source::Lane { at, lane }),
            _ => {}
        }
        let lanes = self.add_lanes(node, build)?;
        let mut sources = Vec::with_capacity(node.inputs.len());
        for (index, input) in node.inputs.iter().enumerate() {
            sources.push(self.add(input, lanes.map(|at| (at, index)).or(lane), build)?);
        }
        let at = self.push(node, build)?;
        // The ports of a window are the first sides of the join behind it; its scan tables follow (`Kind::Join`).
        let ports = match &node.inputs[..] {
            [first, ..] if matches!(first.kind, Kind::Window(_)) => first.inputs.len(),
            [_] => 1,
            _ => 0,
        };
        for (input, source) in sources.iter().enumerate() {
            let link = match (input, ports) {
                (0, 1..) => Link::Ports { at },
                (_, 0) => Link::Node { at, input },
                _ => Link::Node { at, input: ports + input - 1 },
            };
            self.connect(source, link);
        }
        Ok(Source::Operator(at))
    }

    /// The condition that the rows of a scan meet first, if they meet one.
    pub(crate) fn condition(&self, scan: usize) -> Option<&Expr> {
        self.nodes[self.inlets.get(scan)?.at()?].operator.condition()
    }

    /// Leaves of it what runs beside one connection of a split stream, with the scan as its only inlet.
    pub(crate) fn head(&mut self, scan: usize, cut: Cut) {
        self.nodes.iter_mut().for_each(|node| node.is_used = false);
        let mut link = self.inlets[scan];
        self.inlets = vec![if cut.steps == 0 { Link::Out } else { link }];
        for step in 1..=cut.steps {
            let Some(node) = link.at().map(|at| &mut self.nodes[at]) else { return };
            node.is_used = true;
            link = node.next.links()[0];
            if step == cut.steps {
                node.next = Next::All(Link::Out);
                if cut.merges {
                    node.operator.become_part();
                }
            }
        }
    }

    /// Its window, the one above so many operators of the only scan, gets the groups of a common one.
    pub(crate) fn share_windows(&mut self, cut: Cut) {
        let mut link = self.inlets[0];
        for _ in 1..cut.steps {
            let Some(at) = link.at() else { return };
            link = self.nodes[at].next.links()[0];
        }
        if let Some(at) = link.at() {
            self.nodes[at].operator.share_windows();
        }
    }

    /// Whether it needs rows no longer, because a common window has them.
    pub(crate) fn gets_windows(&self) -> bool {
        self.nodes.iter().any(|node| node.operator.gets_windows())
    }

    /// Of the reorder buffer above the only scan ([`Operator::progress`]).
    pub(crate) fn progress(&self) -> Option<(Timestamp, Timestamp)> {
        self.nodes[self.inlets.first()?.at()?].operator.progress()
    }

    /// The operator above the only scan is done elsewhere from now on, and the rows of the scan are what comes out of it.
    pub(crate) fn part(&mut self, cut: Cut) {
        if let Some(at) = self.inlets.first().and_then(|link| link.at()) {
            self.nodes[at].operator.let_go();
        }
        self.tail(0, cut);
    }

    /// Leaves of it what stands behind those: the scan's rows enter above them, or groups of windows do.
    pub(crate) fn tail(&mut self, scan: usize, cut: Cut) {
        let mut link = self.inlets[scan];
        for _ in 0..cut.steps - usize::from(cut.merges) {
            let Some(at) = link.at() else { break };
            link = self.nodes[at].next.links()[0];
        }
        self.inlets[scan] = link;
        if let Some(at) = link.at().filter(|_| cut.merges) {
            self.nodes[at].operator.merge_parts(cut.parts as usize);
        }
    }

    /// Gives every operator names and SELECT lists that are known already instead of equal ones of its own.
    pub(crate) fn share(&mut self, names: &Names, lists: &Alike<List>) {
        for node in &mut self.nodes {
            node.name = names.same(&node.name);
            node.operator.share(lists);
        }
    }

    /// Name and metrics of every operator, in order.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<NodeMetrics>)> {
        self.nodes.iter().map(|node| (&node.name, &node.metrics))
    }

    /// The bytes of the operators' states, and those of the operators themselves with their nodes.
    pub(crate) fn memory(&self) -> (usize, usize) {
        let own =
            |node: &ChainNode| size_of::<ChainNode>() + size_of_val(&*node.operator) + node.metrics.memory();
        let states = self.nodes.iter().map(|node| node.operator.memory()).sum();
        (states, self.nodes.iter().map(own).sum())
    }

    /// Every operator with a name for its state, in order. Nodes that upstream does not have are numbered.
    pub(crate) fn operators(&mut self) -> impl Iterator<Item = (String, &mut Box<dyn Operator>)> {
        self.nodes.iter_mut().enumerate().map(|(at, node)| {
            let name = if node.name.is_empty() { format!("#{at}") } else { node.name.to_string() };
            (name, &mut node.operator)
        })
    }

    /// Tells every operator that the rule starts.
    pub(crate) fn start(&mut self, drive: &mut Drive<'_>) {
        for node in self.nodes.iter_mut().filter(|node| node.is_used) {
            let mut cx = OpCx {
                now: drive.now,
                rule: drive.rule,
                metrics: &node.metrics,
                node: &node.name,
                behind: &[],
            };
            node.operator.start(&mut cx);
            node.timer = node.operator.next_timer();
        }
    }

    /// Rows of a scan.
    pub(crate) fn batch(&mut self, scan: usize, batch: &Batch, rows: &Selection, drive: &mut Drive<'_>) {
        drive.lap.begin();
        let traced = drive.recording.filter(|_| !rows.is_void());
        let span = traced.and_then(|recording| {
            recording.borrow_mut().enter(scan, (batch, rows), drive.rule.zone, drive.lap.clock)
        });
        hand_on(Rest { nodes: &mut self.nodes, base: 0 }, self.inlets[scan], 0, batch, rows, drive);
        drive.close(span);
    }

    /// The groups of a window from one part of a split stream.
    pub(crate) fn partial(&mut self, scan: usize, (part, partial): (usize, &Partial), drive: &mut Drive<'_>) {
        // Of a common window, which stands further up.
        let shared = self.nodes.iter().position(|node| node.operator.gets_windows_later());
        let Some(at) = shared.or(self.inlets[scan].at()) else { return };
        let (node, rest) = Rest { nodes: &mut self.nodes, base: 0 }.split(at);
        turn(node, rest, drive, |operator, outlet, cx| operator.on_partial(part, partial, outlet, cx));
    }

    /// A signal of a scan.
    pub(crate) fn signal(&mut self, scan: usize, signal: Signal, drive: &mut Drive<'_>) {
        pass_on(Rest { nodes: &mut self.nodes, base: 0 }, self.inlets[scan], signal, drive);
    }

    /// The earliest moment that an operator waits for.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.nodes.iter().filter_map(|node| node.timer).min()
    }

    /// Calls the operators whose moment has come, the earliest first and, of one moment, the one nearest to the
    /// sources first.
    pub(crate) fn fire(&mut self, drive: &mut Drive<'_>) {
        while let Some(due) = self.next_timer().filter(|due| *due <= drive.now) {
            let Some(at) = self.nodes.iter().position(|node| node.timer == Some(due)) else { return };
            let (node, rest) = Rest { nodes: &mut self.nodes, base: 0 }.split(at);
            node.timer = None;
            let emitted = turn(node, rest, drive, |operator, outlet, cx| operator.on_timer(outlet, cx));
            // An operator that asks again for a moment that was just given would keep the shard for ever.
            node.timer = node.timer.filter(|again| *again > due || emitted > 0);
        }
    }
}

/// The nodes from position `base` on.
struct Rest<'a> {
    nodes: &'a mut [ChainNode],
    base: usize,
}

impl<'a> Rest<'a> {
    /// The node at position `at` and those behind it.
    fn split(self, at: usize) -> (&'a mut ChainNode, Rest<'a>) {
        let (head, nodes) = self.nodes[at - self.base..].split_at_mut(1);
        (&mut head[0], Rest { nodes, base: at + 1 })
    }

    fn reborrow(&mut self) -> Rest<'_> {
        Rest { nodes: self.nodes, base: self.base }
    }
}

/// The behind-end of one operator while it is called.
struct Outlet<'a, 'd> {
    rest: Rest<'a>,
    next: &'a [Link],
    drive: &'a mut Drive<'d>,
    emitted: u64,
    /// Microseconds until it handed on what it did; absent until it hands something on.
    spent: Option<u64>,
}

impl Emit for Outlet<'_, '_> {
    fn batch(&mut self, port: usize, batch: &Batch, rows: &Selection) {
        *self.spent.get_or_insert(0) += self.drive.lap.micros();
        self.emitted += weight(port, batch, rows);
        let (link, port) = match self.next {
            [all] => (*all, port),
            lanes => (lanes[port], 0),
        };
        hand_on(self.rest.reborrow(), link, port, batch, rows, self.drive);
    }

    fn signal(&mut self, signal: Signal) {
        for link in self.next {
            pass_on(self.rest.reborrow(), *link, signal, self.drive);
        }
    }

    fn late(&mut self, batch: &Batch, rows: &Selection) {
        self.drive.out.late(batch, rows);
    }

    fn partial(&mut self, partial: Partial) {
        self.drive.out.partial(partial);
    }
}

/// Items that a batch counts for: its rows, or one for a collection (R8.7), of which every port has a part.
fn weight(port: usize, batch: &Batch, rows: &Selection) -> u64 {
    match batch.unit {
        Unit::Rows => rows.len() as u64,
        Unit::Collection => u64::from(port == 0),
    }
}

fn hand_on(rest: Rest<'_>, link: Link, port: usize, batch: &Batch, rows: &Selection, drive: &mut Drive<'_>) {
    if batch.unit == Unit::Rows && rows.is_void() {
        return;
    }
    let (at, input) = match link {
        Link::Node { at, input } => (at, input),
        Link::Ports { at } => (at, port),
        Link::Out => {
            drive.out.batch(port, batch, rows);
            // The sinks' time is nobody's here.
            drive.lap.micros();
            return;
        }
    };
    let (node, rest) = rest.split(at);
    let verdict = drive.verdict.take();
    let is_counted = std::mem::take(&mut drive.is_counted);
    let span = drive.open(&node.name);
    let mut outlet = Outlet { rest, next: node.next.links(), drive, emitted: 0, spent: None };
    let mut cx = OpCx {
        now: outlet.drive.now,
        rule: outlet.drive.rule,
        metrics: &node.metrics,
        node: &node.name,
        behind: &[],
    };
    match verdict {
        Some(verdict) => node.operator.on_judged(batch, rows, verdict, &mut outlet, &mut cx),
        None => node.operator.on_batch(input, batch, rows, &mut outlet, &mut cx),
    }
    let (emitted, spent) = (outlet.emitted, outlet.spent);
    let judged = verdict.map_or(0, |verdict| verdict.micros);
    let spent = spent.unwrap_or_else(|| drive.lap.micros()) + judged;
    drive.close(span);
    let taken = if is_counted { 0 } else { weight(port, batch, rows) };
    count(node, taken, emitted, drive.now, spent);
    node.timer = node.operator.next_timer();
}

fn pass_on(rest: Rest<'_>, link: Link, signal: Signal, drive: &mut Drive<'_>) {
    let (at, input) = match link {
        Link::Node { at, input } => (at, input),
        Link::Ports { at } => (at, 0),
        Link::Out => return drive.out.signal(signal),
    };
    let (node, rest) = rest.split(at);
    turn(node, rest, drive, |operator, outlet, cx| operator.on_signal(input, signal, outlet, cx));
}

/// Something that an operator is told other than rows: its timer is asked for anew, and how much it emitted is counted
/// and told.
fn turn(
    node: &mut ChainNode,
    rest: Rest<'_>,
    drive: &mut Drive<'_>,
    tell: impl FnOnce(&mut dyn Operator, &mut Outlet<'_, '_>, &mut OpCx<'_>),
) -> u64 {
    let span = drive.open(&node.name);
    let mut outlet = Outlet { rest, next: node.next.links(), drive, emitted: 0, spent: None };
    let mut cx = OpCx {
        now: outlet.drive.now,
        rule: outlet.drive.rule,
        metrics: &node.metrics,
        node: &node.name,
        behind: &[],
    };
    tell(node.operator.as_mut(), &mut outlet, &mut cx);
    let emitted = outlet.emitted;
    drive.close_unless_idle(span, emitted);
    count(node, 0, emitted, drive.now, 0);
    node.timer = node.operator.next_timer();
    emitted
}

fn count(node: &ChainNode, taken: u64, emitted: u64, now: Timestamp, micros: u64) {
    let metrics = &node.metrics;
    if taken > 0 {
        NodeMetrics::add(&metrics.records_in, taken);
        NodeMetrics::add(&metrics.processed, taken);
        metrics.last_invocation.store(now.0, Relaxed);
        metrics.took(micros);
    }
    if emitted > 0 {
        NodeMetrics::add(&metrics.records_out, emitted);
        metrics.last_row.store(now.0, Relaxed);
    }
}
