//! From the bound clauses to the tree of nodes, in the order of X-1.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::projection::Want;
use thalweg_core::{Diagnostic, Field, Schema, Slot};
use thalweg_expr::Expr;
use thalweg_sql::ast;

use super::alias::{Stage, is_broken};
use super::call::AggregateSite;
use super::join::{BoundJoin, BoundLookup};
use super::scope::{Role, Source};
use super::select::Output;
use super::window::BoundWindow;
use super::{Binder, Clause, Place};
use crate::logical::{
    AggregateCall, AnalyticCall, Dedup, JoinStep, Kind, Lookup, Node, OutputColumn, Plan, Scan, SortKey,
    SubQuery, Window, WindowKind,
};
use crate::{rewrite, validate};

/// All clauses, bound.
struct Clauses {
    output: Output,
    filter: Option<Expr>,
    group_by: Vec<Expr>,
    having: Option<Expr>,
    order_by: Vec<SortKey>,
    window: Option<BoundWindow>,
    joins: Vec<BoundJoin>,
    lookups: Vec<BoundLookup>,
}

/// A node with the binder's slots that its output holds.
struct Branch {
    node: Node,
    layout: Vec<Slot>,
}

impl<'q> Binder<'q, '_> {
    /// Binds and assembles the SELECT; `None` when there are mistakes.
    pub(super) fn select(&mut self) -> Option<Plan> {
        self.open_sources()?;
        let clauses = self.clauses();
        if let (Some(written), Some(bound)) =
            (&self.select.filter, clauses.as_ref().and_then(|c| c.filter.as_ref()))
        {
            self.advise_on_where(written.span, bound);
        }
        if !self.errors.is_empty() || self.scope.is_recovered {
            return None;
        }
        let root = self.assemble(clauses?)?;
        Some(Plan {
            root,
            fingerprint: 0,
            is_collection: self.is_collection,
            hosts: self.hosts.iter().cloned().collect(),
            warnings: std::mem::take(&mut self.warnings),
            drawn: None,
        })
    }

    fn open_sources(&mut self) -> Option<()> {
        let from = std::iter::once(&self.select.from).chain(self.select.joins.iter().map(|join| &join.right));
        let found: Vec<Option<usize>> = from.map(|from| self.add_source(from)).collect();
        found.into_iter().collect::<Option<Vec<_>>>()?;
        self.order = self.name_order();
        let is_lost = |join: &ast::Join| matches!(join.right.source, ast::FromSource::Broken);
        self.is_collection = self.select.window.is_some() || !self.select.joins.iter().all(is_lost);
        self.is_partial |= self.select.has_gaps;
        let count = |role| self.sources.iter().filter(|source| source.role == role).count();
        let counts = validate::SourceCounts {
            n_streams: count(Role::Stream),
            is_from_lookup: self.sources.first().is_some_and(|source| source.role == Role::Lookup),
        };
        if !self.is_partial {
            validate::shape(self.select, counts).into_iter().for_each(|mistake| self.note(mistake));
        }
        if self.options.event_time && !self.is_partial {
            for source in 0..self.sources.len() {
                self.open_event_time(source);
            }
        }
        self.check_send_meta();
        Some(())
    }

    fn open_event_time(&mut self, source: usize) {
        let (stream, span) = (Arc::clone(&self.sources[source].stream), self.sources[source].span);
        if self.sources[source].role == Role::Lookup {
            return;
        }
        if self.sources[source].query.is_some() {
            // The streams below have their times; results have theirs.
            return;
        }
        match validate::event_time(&stream) {
            Ok(()) => {
                stream.timestamp.as_ref().and_then(|timestamp| self.column_slot(source, timestamp));
                if self.options.late_data && self.sources[source].role == Role::Stream {
                    self.want(source, Want::Everything, None);
                    let slots = &self.sources[source].projection.slots;
                    let slot = slots.iter().position(|wanted| wanted.want == Want::Everything);
                    self.sources[source].late = slot.map(|slot| Slot(slot as u32));
                }
            }
            Err(mistake) => self.note(mistake.at(span)),
        }
    }

    /// Binds every clause, so that all mistakes are found.
    fn clauses(&mut self) -> Option<Clauses> {
        let select = self.select;
        self.collect_aliases();
        let calls_aggregate =
            select.fields.iter().filter(|field| self.has_aggregate(&field.expr)).count() > 0;
        self.is_aggregate = calls_aggregate || !select.group_by.is_empty();
        let output = self.output();
        let filter = select.filter.as_ref().map(|filter| self.expr(filter, Place::of(Clause::Where)));
        let group_by = self.exprs(&select.group_by, Place::of(Clause::Group));
        let having = select.having.as_ref().map(|having| self.having(having));
        let order_by = self.sort_keys(&select.order_by, Place::of(Clause::Order));
        let window = self.window();
        let (joins, lookups) = self.joins();
        Some(Clauses {
            output,
            filter: filter.unwrap_or_default(),
            group_by: group_by?,
            having: having.unwrap_or_default(),
            order_by: order_by?,
            window,
            joins,
            lookups,
        })
    }

    ///
    fn having(&mut self, having: &'q ast::Expr) -> Option<Expr> {
        let bound = self.expr(having, Place::of(Clause::Having));
        if let Some(column) = self.having_column.filter(|_| !is_broken(having)) {
            let message =
                format!("Not allowed to call non-aggregate functions in HAVING clause: {}.", column.text);
            self.note(
                Diagnostic::plain(message).at(column.span).help("use WHERE, or an aggregate such as max"),
            );
        }
        bound
    }

    fn assemble(&mut self, clauses: Clauses) -> Option<Node> {
        let inlined = self.settle_computed();
        let mut builder = Builder { binder: self, inlined, is_lost: Cell::new(false) };
        let root = builder.build(clauses);
        if builder.is_lost.get() {
            return self.fail(Diagnostic::plain("internal error: the plan reads a column that is not there"));
        }
        Some(root)
    }
}

/// Lays nodes out and renumbers what was bound.
struct Builder<'b, 'q, 'w> {
    binder: &'b Binder<'q, 'w>,
    inlined: BTreeMap<Slot, Expr>,
    /// Set when an expression reads a slot that its input does not have, which would be a defect of the binder.
    is_lost: Cell<bool>,
}

impl Builder<'_, '_, '_> {
    fn build(&mut self, clauses: Clauses) -> Node {
        let Clauses { output, filter, group_by, having, order_by, window, joins, lookups } = clauses;
        let mut branch = self.sources(window, joins);
        if self.binder.streams().is_empty() {
            // J-11: tables alone never trigger.
            branch = self.on_top(branch, Kind::Limit(0), &[]);
        }
        for lookup in lookups {
            branch = self.lookup(branch, lookup);
        }
        branch = self.aggregate_rows(branch, &self.binder.where_aggregates);
        if !self.computes_early() {
            branch = self.compute(branch, Stage::Where, |_| true);
        }
        if let Some(filter) = filter {
            let condition = self.place(filter, &branch.layout);
            branch = self.on_top(branch, Kind::Filter(condition), &[]);
        }
        branch = self.compute(branch, Stage::Group, |_| true);
        let is_aggregate = self.binder.is_aggregate;
        branch = if is_aggregate {
            self.aggregate(branch, group_by)
        } else {
            self.aggregate_rows(branch, &self.binder.aggregates)
        };
        branch = self.compute(branch, Stage::Result, |_| true);
        if let Some(having) = having {
            let condition = self.place(having, &branch.layout);
            branch = self.on_top(branch, Kind::Having { condition, grouped: is_aggregate }, &[]);
        }
        for site in &self.binder.row_numbers {
            let partition_by = self.place_all(site.partition_by.clone(), &branch.layout);
            let order_by = self.place_keys(site.order_by.clone(), &branch.layout);
            branch = self.on_top(branch, Kind::RowNumber { partition_by, order_by }, &[site.slot]);
        }
        if self.binder.is_collection && !order_by.is_empty() {
            let keys = self.place_keys(order_by, &branch.layout);
            branch = self.on_top(branch, Kind::Sort(keys), &[]);
        }
        if let Some((_, slot, dedup)) = &self.binder.dedup {
            let place = |expr: &Expr| self.place(expr.clone(), &branch.layout);
            let (start, end, now) = (place(&dedup.start), place(&dedup.end), place(&dedup.now));
            let kind = Kind::DedupTrigger(Dedup { start, end, now, expire: dedup.expire });
            branch = self.on_top(branch, kind, &[*slot]);
        }
        self.project(branch, output)
    }

    /// ProjectSet cuts after its rows are taken apart; plain rows are only cut by LIMIT 0.
    fn project(&self, mut branch: Branch, output: Output) -> Node {
        let limit = self.binder.select.limit.and_then(|limit| u64::try_from(limit).ok());
        let Output { columns, set, .. } = output;
        if let Some(limit) = limit
            && set.is_none()
            && (self.binder.is_collection || limit == 0)
        {
            branch = self.on_top(branch, Kind::Limit(limit), &[]);
        }
        branch = self.late_analytic(branch);
        let columns: Vec<OutputColumn> =
            columns.into_iter().map(|column| self.place_output(column, &branch)).collect();
        let names = columns.iter().map(|column| match column {
            OutputColumn::One { name, .. } => &**name,
            OutputColumn::Spread { .. } | OutputColumn::Keyed { .. } => "*",
        });
        let schema = Arc::new(Schema::computed(names));
        let node = node(Kind::Project(columns), vec![branch.node], Arc::clone(&schema));
        match set {
            None => node,
            Some((index, function)) => {
                let kind = Kind::ProjectSet { set: Slot(index as u32), function, limit };
                self::node(kind, vec![node], schema)
            }
        }
    }

    /// State over the rows that are projected.
    fn late_analytic(&self, branch: Branch) -> Branch {
        let (slots, calls): (Vec<Slot>, Vec<AnalyticCall>) =
            self.binder.late_analytic.iter().cloned().unzip();
        if calls.is_empty() {
            return branch;
        }
        let calls = calls.iter().map(|call| self.place_analytic(call, &branch.layout)).collect();
        self.on_top(branch, Kind::Analytic(calls), &slots)
    }

    /// Scans and what looks at single events, the window, the joins of streams and scan tables.
    fn sources(&self, window: Option<BoundWindow>, joins: Vec<BoundJoin>) -> Branch {
        let filters = window.as_ref().map_or(&[][..], |window| &window.filters);
        let with_role =
            |role| (0..self.binder.sources.len()).filter(move |i| self.binder.sources[*i].role == role);
        let streams: Vec<usize> = with_role(Role::Stream).collect();
        let tables: Vec<usize> = with_role(Role::Table).collect();
        let n_lanes = streams.len();
        let events = streams.iter().enumerate();
        let events = events.map(|(lane, &source)| self.events(source, (lane, n_lanes), filters)).collect();
        let mut inputs = match window {
            Some(window) => vec![self.window(window.window, events)],
            None => events,
        };
        inputs.extend(tables.iter().map(|&source| self.scan(source)));
        if joins.is_empty() && inputs.len() == 1 {
            return inputs.remove(0);
        }
        let sides: Vec<usize> = streams.into_iter().chain(tables).collect();
        self.join(inputs, &sides, joins)
    }

    fn scan(&self, index: usize) -> Branch {
        let source = &self.binder.sources[index];
        if let Some(query) = &source.query {
            return sub_query(source, query.clone());
        }
        let event_time = self.binder.options.event_time.then(|| self.event_time(index)).flatten();
        let scan = Scan {
            stream: Arc::clone(&source.stream),
            alias: Arc::clone(&source.alias),
            projection: source.projection.clone(),
            event_time,
            retain: (source.role == Role::Table).then_some(source.stream.retain),
            late: source.late,
        };
        let schema = Arc::new(source.projection.schema());
        Branch { node: node(Kind::Scan(scan), Vec::new(), schema), layout: source.slots.clone() }
    }

    fn event_time(&self, index: usize) -> Option<(Slot, Option<Arc<str>>)> {
        let source = &self.binder.sources[index];
        let timestamp = source.stream.timestamp.as_ref()?;
        let is_it = |want: &Want| matches!(want, Want::Column { path, .. } if path.len() == 1 && path[0] == *timestamp);
        let slot = source.projection.slots.iter().position(|wanted| is_it(&wanted.want))?;
        Some((Slot(slot as u32), source.stream.timestamp_format.clone()))
    }

    /// A stream with everything that sees its single events.
    fn events(&self, source: usize, (lane, n_lanes): (usize, usize), filters: &[(usize, Expr)]) -> Branch {
        let mut branch = self.scan(source);
        let has_own_times = self.binder.sources[source].query.is_none();
        if self.binder.options.event_time && (has_own_times || n_lanes > 1) {
            let late_tolerance = self.binder.options.late_tolerance;
            branch = self.on_top(branch, Kind::Watermark { late_tolerance, lane, n_lanes }, &[]);
        }
        let is_single = self.binder.sources.len() == 1;
        if is_single {
            branch = self.compute(branch, Stage::Event, |computed| !computed.reads_analytic);
        }
        let sites: Vec<_> = self.binder.analytic.iter().filter(|site| site.source == source).collect();
        if !sites.is_empty() {
            let mut layout = branch.layout.clone();
            let mut calls = Vec::new();
            for site in &sites {
                calls.push(self.place_analytic(&site.call, &layout));
                layout.push(site.slot);
            }
            let slots: Vec<Slot> = sites.iter().map(|site| site.slot).collect();
            branch = self.on_top(branch, Kind::Analytic(calls), &slots);
        }
        if is_single {
            branch = self.compute(branch, Stage::Event, |computed| computed.reads_analytic);
            if self.computes_early() {
                branch = self.compute(branch, Stage::Where, |_| true);
            }
        }
        for (_, filter) in filters.iter().filter(|(stream, _)| *stream == source) {
            let condition = self.place(filter.clone(), &branch.layout);
            branch = self.on_top(branch, Kind::WindowFilter(condition), &[]);
        }
        branch
    }

    /// Whether what WHERE needs is computed before the window, so that WHERE itself may go there.
    fn computes_early(&self) -> bool {
        self.binder.sources.len() == 1 && self.binder.where_aggregates.is_empty()
    }

    fn window(&self, window: Window, inputs: Vec<Branch>) -> Branch {
        let layout: Vec<Slot> = inputs.iter().flat_map(|input| input.layout.iter().copied()).collect();
        let place = |exprs: Vec<Expr>| self.place_all(exprs, &layout);
        let kind = match window.kind {
            WindowKind::State { begin, emit } => WindowKind::State { begin: place(begin), emit: place(emit) },
            other => other,
        };
        let window = Window {
            kind,
            trigger: place(window.trigger),
            partition_by: window.partition_by.into_iter().map(place).collect(),
            event_time: window.event_time,
            fold: None,
        };
        let schema = self.schema(&layout);
        let inputs = inputs.into_iter().map(|input| input.node).collect();
        Branch { node: node(Kind::Window(window), inputs, schema), layout }
    }

    fn join(&self, inputs: Vec<Branch>, sides: &[usize], joins: Vec<BoundJoin>) -> Branch {
        let slots_of = |source: usize| -> Vec<Slot> {
            let own = self.binder.sources[source].slots.iter().copied();
            let sites = self.binder.analytic.iter().filter(move |site| site.source == source);
            own.chain(sites.map(|site| site.slot)).collect()
        };
        let mut layout = slots_of(0);
        let mut steps = Vec::new();
        for join in joins {
            let right = slots_of(join.source);
            let equi = join.equi.into_iter();
            let equi = equi.map(|(l, r)| (self.place(l, &layout), self.place(r, &right))).collect();
            layout.extend(right);
            let side = sides.iter().position(|side| *side == join.source).unwrap_or_default();
            let on = join.on.map(|on| self.place(on, &layout));
            steps.push(JoinStep { side, kind: join.kind, on, equi });
        }
        let schema = self.schema(&layout);
        let inputs = inputs.into_iter().map(|input| input.node).collect();
        Branch { node: node(Kind::Join(steps), inputs, schema), layout }
    }

    fn lookup(&self, branch: Branch, bound: BoundLookup) -> Branch {
        let source = &self.binder.sources[bound.source];
        let keys =
            bound.keys.into_iter().map(|(name, value)| (name, self.place(value, &branch.layout))).collect();
        let both: Vec<Slot> = branch.layout.iter().chain(&source.slots).copied().collect();
        let lookup = Lookup {
            table: Arc::clone(&source.stream),
            alias: Arc::clone(&source.alias),
            kind: bound.kind,
            keys,
            on: bound.on.map(|on| self.place(on, &both)),
            projection: source.projection.clone(),
            gives_rows: false,
        };
        self.on_top(branch, Kind::LookupJoin(lookup), &source.slots)
    }

    /// Aggregates over the whole collection, broadcast to its rows: those of WHERE, and those of HAVING and
    /// ORDER BY when nothing is grouped.
    fn aggregate_rows(&self, branch: Branch, sites: &[AggregateSite]) -> Branch {
        if sites.is_empty() {
            return branch;
        }
        let calls = self.place_calls(sites, &branch.layout);
        let slots: Vec<Slot> = sites.iter().map(|site| site.slot).collect();
        self.on_top(branch, Kind::AggFunc(calls), &slots)
    }

    fn aggregate(&self, branch: Branch, group_by: Vec<Expr>) -> Branch {
        let keys = self.place_all(group_by, &branch.layout);
        let calls = self.place_calls(&self.binder.aggregates, &branch.layout);
        let slots: Vec<Slot> = self.binder.aggregates.iter().map(|site| site.slot).collect();
        self.on_top(branch, Kind::Aggregate { keys, calls }, &slots)
    }

    /// Adds the computed aliases of a stage, each of which may read the ones before it.
    fn compute(&self, mut branch: Branch, stage: Stage, which: impl Fn(&super::Computed) -> bool) -> Branch {
        for computed in
            self.binder.computed.iter().filter(|computed| computed.stage == stage && which(computed))
        {
            let value = self.place(computed.expr.clone(), &branch.layout);
            branch = self.on_top(branch, Kind::Compute(vec![value]), &[computed.slot]);
        }
        branch
    }

    fn on_top(&self, branch: Branch, kind: Kind, appended: &[Slot]) -> Branch {
        let mut layout = branch.layout;
        layout.extend(appended);
        let schema = if appended.is_empty() { Arc::clone(&branch.node.schema) } else { self.schema(&layout) };
        Branch { node: node(kind, vec![branch.node], schema), layout }
    }

    fn schema(&self, layout: &[Slot]) -> Arc<Schema> {
        let field = |slot: &Slot| {
            let source = self.binder.slot_sources[slot.index()].map(|source| &self.binder.sources[source]);
            let own = source.and_then(|source| {
                let local = source.slots.iter().position(|own| own == slot)?;
                source.projection.schema().fields.get(local).cloned()
            });
            own.unwrap_or_else(|| {
                let name = self.binder.slot_names.get(slot);
                Field { name: name.map_or_else(|| Arc::from(""), Arc::clone), source: None }
            })
        };
        Arc::new(Schema { fields: layout.iter().map(field).collect() })
    }

    /// An expression for a node whose input has this layout.
    fn place(&self, expr: Expr, layout: &[Slot]) -> Expr {
        let expr = rewrite::substitute(expr, &self.inlined);
        expr.map_slots(&|slot| match layout.iter().position(|have| *have == slot) {
            Some(position) => Slot(position as u32),
            None => {
                self.is_lost.set(true);
                Slot(0)
            }
        })
    }

    fn place_all(&self, exprs: Vec<Expr>, layout: &[Slot]) -> Vec<Expr> {
        exprs.into_iter().map(|expr| self.place(expr, layout)).collect()
    }

    fn place_keys(&self, keys: Vec<SortKey>, layout: &[Slot]) -> Vec<SortKey> {
        let place = |key: SortKey| SortKey { expr: self.place(key.expr, layout), descending: key.descending };
        keys.into_iter().map(place).collect()
    }

    fn place_calls(&self, sites: &[AggregateSite], layout: &[Slot]) -> Vec<AggregateCall> {
        let place = |site: &AggregateSite| AggregateCall {
            args: self.place_all(site.call.args.clone(), layout),
            ..site.call.clone()
        };
        sites.iter().map(place).collect()
    }

    fn place_analytic(&self, call: &AnalyticCall, layout: &[Slot]) -> AnalyticCall {
        AnalyticCall {
            function: call.function.clone(),
            args: self.place_all(call.args.clone(), layout),
            partition_by: self.place_all(call.partition_by.clone(), layout),
            when: call.when.clone().map(|when| self.place(when, layout)),
        }
    }

    fn place_output(&self, column: OutputColumn, branch: &Branch) -> OutputColumn {
        match column {
            OutputColumn::One { name, expr, empty } => {
                OutputColumn::One { name, expr: self.place(expr, &branch.layout), empty }
            }
            OutputColumn::Keyed { expr } => OutputColumn::Keyed { expr: self.place(expr, &branch.layout) },
            OutputColumn::Spread { slots, except } => {
                let placed = match self.place(Expr::Object(slots), &branch.layout) {
                    Expr::Object(slots) => slots,
                    _ => Vec::new(),
                };
                OutputColumn::Spread { slots: placed, except }
            }
        }
    }
}

/// A node that has no name yet.
fn node(kind: Kind, inputs: Vec<Node>, schema: Arc<Schema>) -> Node {
    Node { name: Arc::from(""), kind, inputs, schema }
}

/// The results of a query as events.
fn sub_query(source: &Source, query: Node) -> Branch {
    let schema = Arc::new(source.projection.schema());
    let kind = Kind::SubQuery(SubQuery {
        alias: Arc::clone(&source.alias),
        projection: source.projection.clone(),
        back: window_length(&query),
    });
    Branch { node: node(kind, vec![query], schema), layout: source.slots.clone() }
}

/// The length of the longest window in a query, whose own sub-queries have moved watermarks back already.
fn window_length(node: &Node) -> i64 {
    let below = || node.inputs.iter().map(window_length).max().unwrap_or_default();
    match &node.kind {
        Kind::SubQuery(_) => 0,
        Kind::Window(window) => match window.kind {
            WindowKind::Tumbling { length, .. } | WindowKind::Hopping { length, .. } => length,
            WindowKind::Sliding { length, delay, .. } => length.saturating_add(delay),
            WindowKind::Session { max_duration, .. } => max_duration,
            WindowKind::Count { .. } | WindowKind::State { .. } => 0,
        },
        _ => below(),
    }
}
