//! From the nodes of a graph to SELECTs: what leads to a sink becomes one statement, so that graphs have the operators,
//! the passes and the mistakes of SQL.
//!
//! A draft grows node by node from the source on. Where the next node would change what is there already, it is closed:
//! the SELECT so far becomes a sub-query of the next one, whose rows are events again. Collections are never closed.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::sync::Arc;

use thalweg_core::Diagnostic;
use thalweg_expr::function::FunctionKind;
use thalweg_sql::ast::{self, ExprKind};

use super::document::Node;
use super::operator::{Column, Fragment, Joined, Operator};
use super::wiring::Wired;
use crate::ast_walk;

/// A SELECT that grows.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    /// The name under which its rows are known.
    pub alias: Arc<str>,
    /// What it reads; several feed one window.
    pub feeds: Vec<Feed>,
    /// Added columns and values of groups, in order.
    pub columns: Vec<Added>,
    pub filters: Vec<Part>,
    pub window: Option<(Arc<str>, String)>,
    pub window_filters: Vec<Part>,
    /// Joins, with what they join if it is no table.
    pub joins: Vec<(Joined, Option<Feed>, Arc<str>)>,
    pub group_by: Vec<Part>,
    pub having: Vec<Part>,
    pub order_by: Vec<(Part, bool)>,
    pub pick: Option<(Arc<str>, Vec<Fragment>)>,
    /// The nodes in it, in order.
    pub steps: Vec<(Arc<str>, Step)>,
}

/// What a draft reads.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    pub alias: Arc<str>,
    /// Sub-queries, joined by UNION ALL; none: the stream of that name.
    pub queries: Vec<Draft>,
}

/// A piece of SQL with the node that it came from.
#[derive(Debug, Clone)]
pub(super) struct Part {
    pub node: Arc<str>,
    pub fragment: Fragment,
    /// What stands around it: of a switch, the cases before.
    pub unless: Vec<Fragment>,
}

/// A column that a node adds.
#[derive(Debug, Clone)]
pub(super) struct Added {
    pub node: Arc<str>,
    pub column: Column,
}

/// Which operator of a plan does a node's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Function,
    Analytic,
    Filter,
    Having,
    Window,
    Watermark,
    Join,
    GroupBy,
    Aggregate,
    Sort,
    Pick,
}

/// Drafts of what comes out of a node: of rows one for each stream.
pub(super) type Drafts = Vec<Draft>;

impl Draft {
    fn of_stream(alias: &Arc<str>) -> Self {
        Self::over(alias, vec![Feed { alias: Arc::clone(alias), queries: Vec::new() }])
    }

    fn over(alias: &Arc<str>, feeds: Vec<Feed>) -> Self {
        Self {
            alias: Arc::clone(alias),
            feeds,
            columns: Vec::new(),
            filters: Vec::new(),
            window: None,
            window_filters: Vec::new(),
            joins: Vec::new(),
            group_by: Vec::new(),
            having: Vec::new(),
            order_by: Vec::new(),
            pick: None,
            steps: Vec::new(),
        }
    }

    /// The next one reads the results of this one.
    fn closed(self) -> Self {
        let alias = Arc::clone(&self.alias);
        Self::over(&alias, vec![Feed { alias: Arc::clone(&alias), queries: vec![self] }])
    }

    /// What the next SELECT reads: itself if it has done something, else what it reads.
    fn into_feeds(self) -> Vec<Feed> {
        // Its watermark is that of the streams.
        if self.is_plain() && self.joins.is_empty() { self.feeds } else { self.closed().feeds }
    }

    /// Whether it hands on what it reads.
    fn is_plain(&self) -> bool {
        self.columns.is_empty() && self.filters.is_empty() && self.pick.is_none()
    }

    fn is_collection(&self) -> bool {
        self.window.is_some() || !self.joins.is_empty()
    }

    fn is_grouped(&self) -> bool {
        !self.group_by.is_empty() || self.steps.iter().any(|(_, step)| *step == Step::Aggregate)
    }

    fn step(&mut self, node: &Arc<str>, step: Step) {
        self.steps.push((Arc::clone(node), step));
    }

    /// Whether what is there already reads a column of this name.
    fn reads(&self, name: &str) -> bool {
        let filters = self.filters.iter().flat_map(|part| part.unless.iter().chain([&part.fragment]));
        let columns = self.columns.iter().map(|added| &added.column.expr);
        filters.chain(columns).flat_map(|fragment| &fragment.exprs).any(|expr| ast_walk::mentions(expr, name))
    }

    /// Whether a column of this name was added.
    fn adds(&self, name: &str) -> bool {
        self.columns.iter().any(|added| &*added.column.name == name)
    }
}

/// Makes drafts of a graph.
pub(super) struct Drafter<'g> {
    wired: Wired<'g>,
    /// Drafts made so far.
    n_made: Cell<usize>,
}

/// More ways through a graph are not followed: each fork that meets again doubles them.
const MAX_WAYS: usize = 10_000;

impl<'g> Drafter<'g> {
    pub(super) fn new(wired: Wired<'g>) -> Self {
        Self { wired, n_made: Cell::new(0) }
    }

    pub(super) fn wired(&self) -> &Wired<'g> {
        &self.wired
    }

    /// The name under which the rows of a source node are known.
    fn emitter(&self, node: &'g Arc<str>) -> &'g Arc<str> {
        match &self.wired.graph.nodes[node] {
            Node::Source(source) => source.emitter(node),
            _ => node,
        }
    }

    /// What leaves a node through an outlet.
    pub(super) fn draft(&self, node: &'g Arc<str>, port: usize) -> Result<Drafts, Diagnostic> {
        let operator = match &self.wired.graph.nodes[node] {
            Node::Source(_) => return Ok(vec![Draft::of_stream(self.emitter(node))]),
            Node::Operator(operator) => operator,
            Node::Sink { .. } => return Ok(Vec::new()),
        };
        let mut drafts = Vec::new();
        for (from, outlet) in &self.wired.inputs[&**node] {
            if !self.wired.lookups.contains(&***from) {
                drafts.extend(self.draft(from, *outlet)?);
            }
        }
        self.n_made.set(self.n_made.get() + drafts.len());
        if self.n_made.get() > MAX_WAYS {
            let text = format!("more than {MAX_WAYS} ways lead through the graph, at node {node}");
            return Err(Diagnostic::plain(text).help("let fewer forks meet again"));
        }
        match operator {
            Operator::Window(call) => return Ok(vec![window(node, &call.0, drafts)]),
            Operator::Watermark(emitters) => self.check_emitters(node, emitters)?,
            _ => {}
        }
        let one = |draft| self.apply(node, port, operator, draft);
        drafts.into_iter().map(one).collect()
    }

    fn apply(
        &self,
        node: &Arc<str>,
        port: usize,
        operator: &Operator,
        draft: Draft,
    ) -> Result<Draft, Diagnostic> {
        match operator {
            Operator::Function(column) => function(node, column, draft),
            Operator::Aggregate(column) => aggregate(node, column, draft),
            Operator::Filter(condition) => filter(node, condition, &[], draft),
            Operator::Switch { cases, stops } => {
                let before = if *stops { &cases[..port] } else { &[] };
                filter(node, &cases[port], before, draft)
            }
            Operator::Pick(fields) => pick(node, fields, draft),
            Operator::GroupBy(keys) => group_by(node, keys, draft),
            Operator::OrderBy(keys) => Ok(order_by(node, keys, draft)),
            Operator::Join { from, joins } => self.join(node, from, joins, draft),
            Operator::Watermark(_) => {
                let mut draft = draft;
                draft.step(node, Step::Watermark);
                Ok(draft)
            }
            Operator::Window(_) => Ok(draft),
        }
    }

    fn emitters(&self) -> BTreeSet<&str> {
        let sources = self.wired.graph.sources.iter();
        sources
            .filter(|source| !self.wired.lookups.contains(&***source))
            .map(|source| &**self.emitter(source))
            .collect()
    }

    fn check_emitters(&self, node: &str, emitters: &[Arc<str>]) -> Result<(), Diagnostic> {
        let known = self.emitters();
        match emitters.iter().find(|emitter| !known.contains(&***emitter)) {
            Some(emitter) => {
                let text = format!("parse watermark {node} error: emitter {emitter} does not exist");
                let known: Vec<&str> = known.into_iter().collect();
                Err(Diagnostic::plain(text)
                    .help(format!("the streams of the graph are {}", known.join(", "))))
            }
            None => Ok(()),
        }
    }

    fn join(
        &self,
        node: &Arc<str>,
        from: &Arc<str>,
        joins: &[Joined],
        draft: Draft,
    ) -> Result<Draft, Diagnostic> {
        let refuse = |text: String, help: &str| {
            Err(Diagnostic::plain(format!("parse join {node} error: {text}")).help(help.to_owned()))
        };
        if !self.emitters().contains(&**from) {
            return refuse(format!("join source {from} is not a stream"), "from names a stream of the graph");
        }
        let lookups: BTreeSet<&str> =
            self.wired.lookups.iter().map(|name| &**self.emitter_of(name)).collect();
        let tables = joins.iter().filter(|join| lookups.contains(&*join.name)).count();
        if tables > 1 || tables == 1 && joins.len() > 1 {
            let text = "only support to join one lookup table with one stream";
            return refuse(
                text.to_owned(),
                "make a join node for the streams of a window, and another rule for the table",
            );
        }
        if tables == 0 && !draft.is_collection() {
            let text = "input type mismatch, expect collection, got row".to_owned();
            return refuse(text, "put a window before it; only lookup tables are joined to single rows");
        }
        let mut draft = draft;
        if !draft.is_collection() && !draft.is_plain() {
            draft = draft.closed();
        }
        let mut feeds = std::mem::take(&mut draft.feeds);
        let mut take =
            |name: &str| feeds.iter().position(|feed| &*feed.alias == name).map(|at| feeds.remove(at));
        let Some(first) = take(from) else {
            return refuse(
                format!("stream {from} does not lead to it"),
                "lead it to the window before the join",
            );
        };
        for join in joins {
            let feed = take(&join.name);
            if feed.is_none() && !lookups.contains(&*join.name) {
                let text = format!("stream {} does not lead to it", join.name);
                return refuse(text, "lead it to the window before the join");
            }
            draft.joins.push((join.clone(), feed, Arc::clone(node)));
        }
        if let Some(left) = feeds.first() {
            let text = format!("stream {} leads to it, but is not joined", left.alias);
            return refuse(text, "name it in props/joins");
        }
        draft.feeds = vec![first];
        draft.step(node, Step::Join);
        Ok(draft)
    }

    fn emitter_of(&self, name: &str) -> &'g Arc<str> {
        let sources = self.wired.graph.sources.iter();
        let found = sources.clone().find(|source| &***source == name);
        found.map_or(&self.wired.graph.sources[0], |source| self.emitter(source))
    }
}

/// What collects the rows of drafts; those of one stream come together.
fn window(node: &Arc<str>, call: &str, drafts: Drafts) -> Draft {
    let mut watermarks: Vec<(Arc<str>, Step)> = Vec::new();
    let mut feeds: Vec<Feed> = Vec::new();
    let mut filters = Vec::new();
    let is_alone = drafts.len() == 1;
    for mut draft in drafts {
        if is_alone
            && draft.columns.is_empty()
            && draft.pick.is_none()
            && !draft.filters.iter().any(is_eventful)
        {
            filters = std::mem::take(&mut draft.filters);
            watermarks.append(&mut draft.steps);
        } else {
            watermarks.extend(draft.steps.iter().filter(|(_, step)| *step == Step::Watermark).cloned());
        }
        for feed in draft.into_feeds() {
            match feeds.iter_mut().find(|known| known.alias == feed.alias) {
                Some(known) => {
                    let first = std::mem::take(&mut known.queries);
                    known.queries = whole(&known.alias, first);
                    known.queries.extend(whole(&feed.alias, feed.queries));
                }
                None => feeds.push(feed),
            }
        }
    }
    watermarks.dedup();
    let alias = feeds.first().map_or_else(|| Arc::from(""), |feed| Arc::clone(&feed.alias));
    let mut draft = Draft::over(&alias, feeds);
    draft.steps = watermarks;
    draft.window = Some((Arc::clone(node), call.to_owned()));
    draft.window_filters = filters;
    draft.step(node, Step::Window);
    draft
}

/// The parts of a UNION ALL.
fn whole(stream: &Arc<str>, queries: Vec<Draft>) -> Vec<Draft> {
    if queries.is_empty() { vec![Draft::of_stream(stream)] } else { queries }
}

/// Whether a condition looks at the events before.
fn is_eventful(part: &Part) -> bool {
    part.unless.iter().chain([&part.fragment]).any(looks_back)
}

fn looks_back(fragment: &Fragment) -> bool {
    fragment.exprs.iter().any(|expr| {
        calls(expr, &|call| {
            thalweg_expr::registry::builtin(&call.name.text).is_some_and(|function| {
                matches!(function.kind, FunctionKind::Analytic(_)) || function.name == "changed_cols"
            })
        })
    })
}

/// Whether a call of an expression is such a one.
pub(super) fn calls(expr: &ast::Expr, is_such: &dyn Fn(&ast::Call) -> bool) -> bool {
    let mut is_found = false;
    ast_walk::walk(expr, &mut |expr| {
        if let ExprKind::Call(call) = &expr.kind {
            is_found |= is_such(call);
        }
    });
    is_found
}

/// Before a node that reads rows: closed, if it would read others than those that come to it.
fn opened(node: &Arc<str>, fragments: &[&Fragment], draft: Draft) -> Result<Draft, Diagnostic> {
    let back = fragments.iter().any(|fragment| looks_back(fragment));
    if draft.is_collection() {
        if back {
            let text = format!("node {node} looks at the events before, which a collection does not have");
            return Err(Diagnostic::plain(text).help("put it before the window"));
        }
        return Ok(draft);
    }
    let is_behind = back && !draft.filters.is_empty();
    Ok(if is_behind || draft.pick.is_some() { draft.closed() } else { draft })
}

fn function(node: &Arc<str>, column: &Column, draft: Draft) -> Result<Draft, Diagnostic> {
    let mut draft = opened(node, &[&column.expr], draft)?;
    let is_taken = draft.adds(&column.name) || draft.reads(&column.name);
    if draft.is_collection() {
        if let Some((pick, _)) = &draft.pick {
            return Err(behind_pick(node, pick));
        }
        if is_taken {
            let text =
                format!("node {node} adds column {}, which nodes before it have read or added", column.name);
            return Err(
                Diagnostic::plain(text).help("name it otherwise with AS, or put the node before the window")
            );
        }
    } else if is_taken {
        draft = draft.closed();
    }
    let step = if looks_back(&column.expr) { Step::Analytic } else { Step::Function };
    draft.columns.push(Added { node: Arc::clone(node), column: column.clone() });
    draft.step(node, step);
    Ok(draft)
}

fn behind_pick(node: &str, pick: &str) -> Diagnostic {
    let text = format!("node {node} stands behind {pick}, which picks the columns of a collection");
    Diagnostic::plain(text).help(format!("put {pick} behind it"))
}

fn aggregate(node: &Arc<str>, column: &Column, draft: Draft) -> Result<Draft, Diagnostic> {
    let mut draft = ungrouped_order(node, draft)?;
    if draft.adds(&column.name) {
        let text = format!("node {node} adds {}, which a node before it has added", column.name);
        return Err(Diagnostic::plain(text).help("name it otherwise with AS"));
    }
    draft.columns.push(Added { node: Arc::clone(node), column: column.clone() });
    draft.step(node, Step::Aggregate);
    Ok(draft)
}

/// What groups rows comes before what sorts and picks them.
fn ungrouped_order(node: &Arc<str>, draft: Draft) -> Result<Draft, Diagnostic> {
    if let Some((pick, _)) = &draft.pick {
        return Err(behind_pick(node, pick));
    }
    match draft.steps.iter().find(|(_, step)| *step == Step::Sort) {
        Some((sort, _)) if !draft.is_grouped() => {
            let text = format!("node {node} groups what {sort} has sorted");
            Err(Diagnostic::plain(text).help(format!("put {sort} behind it; groups are sorted then")))
        }
        _ => Ok(draft),
    }
}

fn filter(
    node: &Arc<str>,
    condition: &Fragment,
    unless: &[Fragment],
    draft: Draft,
) -> Result<Draft, Diagnostic> {
    let all: Vec<&Fragment> = unless.iter().chain([condition]).collect();
    let mut draft = opened(node, &all, draft)?;
    let part = Part { node: Arc::clone(node), fragment: condition.clone(), unless: unless.to_vec() };
    if draft.is_grouped() {
        draft.having.push(part);
        draft.step(node, Step::Having);
    } else {
        draft.filters.push(part);
        draft.step(node, Step::Filter);
    }
    Ok(draft)
}

fn pick(node: &Arc<str>, fields: &[Fragment], draft: Draft) -> Result<Draft, Diagnostic> {
    let all: Vec<&Fragment> = fields.iter().collect();
    let mut draft = opened(node, &all, draft)?;
    if let Some((pick, _)) = &draft.pick {
        return Err(behind_pick(node, pick));
    }
    draft.pick = Some((Arc::clone(node), fields.to_vec()));
    draft.step(node, Step::Pick);
    Ok(draft)
}

fn group_by(node: &Arc<str>, keys: &[Fragment], draft: Draft) -> Result<Draft, Diagnostic> {
    let mut draft = ungrouped_order(node, draft)?;
    let part = |key: &Fragment| Part { node: Arc::clone(node), fragment: key.clone(), unless: Vec::new() };
    draft.group_by.extend(keys.iter().map(part));
    draft.step(node, Step::GroupBy);
    Ok(draft)
}

/// A later sort goes first; what is equal to it stays as it was.
fn order_by(node: &Arc<str>, keys: &[(Fragment, bool)], draft: Draft) -> Draft {
    let mut draft = draft;
    let part = |key: &Fragment| Part { node: Arc::clone(node), fragment: key.clone(), unless: Vec::new() };
    let mut order: Vec<_> = keys.iter().map(|(key, descending)| (part(key), *descending)).collect();
    order.append(&mut draft.order_by);
    draft.order_by = order;
    draft.step(node, Step::Sort);
    draft
}
