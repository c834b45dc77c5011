//! The nodes of a plan get the names of the graph's nodes whose work they do (`rest-api.md` 5.6).
//!
//! Of nodes that the plan does elsewhere a place is kept where what passes them is counted (R3.6): below the operator
//! that does their work. A node that several branches repeat is shown once.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::draft::{Draft, Feed, Step};
use crate::logical::{Kind, Node};

/// Names that are shown already.
pub(super) type Shown = BTreeSet<Arc<str>>;

/// Names the nodes of one statement.
pub(super) fn name(root: &mut Node, draft: &Draft, shown: &mut Shown) {
    let mut naming = Naming { shown, before: BTreeSet::new(), lanes: BTreeSet::new() };
    naming.before = naming.shown.clone();
    naming.select(root, draft);
}

struct Naming<'s> {
    shown: &'s mut Shown,
    /// Those of the statements before.
    before: Shown,
    /// Watermarks are one node of several lanes.
    lanes: Shown,
}

impl Naming<'_> {
    fn claim(&mut self, name: &Arc<str>) -> Arc<str> {
        if self.shown.insert(Arc::clone(name)) { Arc::clone(name) } else { Arc::from("") }
    }

    fn select(&mut self, root: &mut Node, draft: &Draft) {
        let mut left: Vec<(Arc<str>, Step)> = draft.steps.clone();
        self.visit(root, draft, &mut left);
        let filter = draft.steps.iter().position(|(_, step)| *step == Step::Filter);
        let is_early = |name: &Arc<str>| {
            let at = draft.steps.iter().position(|(other, _)| other == name);
            !draft.steps.iter().any(|(_, step)| *step == Step::Window) && at < filter && filter.is_some()
        };
        let (early, late): (Vec<_>, Vec<_>) = left.into_iter().map(|(name, _)| name).partition(is_early);
        let below_filter = find(root, &|kind| matches!(kind, Kind::Filter(_))).is_some() && !early.is_empty();
        let (early, late) = if below_filter { (early, late) } else { (Vec::new(), [early, late].concat()) };
        self.keep(find(root, &|kind| matches!(kind, Kind::Filter(_))), early);
        self.keep(find(root, &|kind| matches!(kind, Kind::Project(_))), late);
    }

    /// Keeps places below a node.
    fn keep(&mut self, node: Option<&mut Node>, names: Vec<Arc<str>>) {
        let Some(input) = node.and_then(|node| node.inputs.first_mut()) else { return };
        for name in names {
            let name = self.claim(&name);
            if name.is_empty() {
                continue;
            }
            let schema = Arc::clone(&input.schema);
            let empty = Node {
                name: Arc::from(""),
                kind: Kind::Union,
                inputs: Vec::new(),
                schema: Arc::clone(&schema),
            };
            let below = std::mem::replace(input, empty);
            *input = Node { name, kind: Kind::Compute(Vec::new()), inputs: vec![below], schema };
        }
    }

    fn visit(&mut self, node: &mut Node, draft: &Draft, left: &mut Vec<(Arc<str>, Step)>) {
        match &node.kind {
            Kind::Scan(scan) => node.name = Arc::clone(&scan.stream.name),
            Kind::SubQuery(query) => {
                let alias = Arc::clone(&query.alias);
                self.sub_query(node, draft, &alias, left);
                return;
            }
            Kind::Watermark { .. } => {
                let found = left.iter().position(|(_, step)| *step == Step::Watermark);
                let name =
                    found.map(|at| Arc::clone(&left[at].0)).or_else(|| self.lanes.iter().next().cloned());
                if let Some(name) = name.filter(|name| !self.before.contains(name)) {
                    left.retain(|(other, _)| *other != name);
                    self.lanes.insert(Arc::clone(&name));
                    self.shown.insert(Arc::clone(&name));
                    node.name = name;
                }
            }
            kind => {
                let step =
                    steps(kind).iter().find_map(|step| left.iter().position(|(_, other)| other == step));
                if let Some(at) = step {
                    let (name, _) = left.remove(at);
                    node.name = self.claim(&name);
                }
            }
        }
        node.inputs.iter_mut().for_each(|input| self.visit(input, draft, left));
    }

    /// What is below a sub-query: the feed of that name, whose parts are drafts of their own.
    fn sub_query(&mut self, node: &mut Node, draft: &Draft, alias: &str, left: &mut Vec<(Arc<str>, Step)>) {
        let feeds: Vec<&Feed> =
            draft.feeds.iter().chain(draft.joins.iter().filter_map(|(_, feed, _)| feed.as_ref())).collect();
        let Some(root) = node.inputs.first_mut() else { return };
        let many = draft.feeds.len() > 1;
        let parts: Vec<Option<&Draft>> = match feeds.iter().find(|feed| &*feed.alias == alias) {
            _ if many => feeds.iter().map(|_| None).collect(),
            Some(feed) => feed.queries.iter().map(Some).collect(),
            None => Vec::new(),
        };
        if many {
            // The streams of a window that nobody joins, each behind a SELECT of its own.
            let mut whole = Draft::clone(draft);
            for (input, feed) in root.inputs.iter_mut().zip(&draft.feeds) {
                whole.feeds = vec![Feed::clone(feed)];
                whole.joins.clear();
                self.visit(input, &whole, left);
            }
            return;
        }
        match (&root.kind, &parts[..]) {
            (Kind::Union, parts) => {
                for (input, part) in root.inputs.iter_mut().zip(parts) {
                    if let Some(part) = part {
                        self.select(input, part);
                    }
                }
            }
            (_, [Some(part)]) => self.select(root, part),
            _ => {}
        }
    }
}

/// The steps whose work a node may do, best first.
fn steps(kind: &Kind) -> &'static [Step] {
    match kind {
        Kind::Filter(_) | Kind::WindowFilter(_) => &[Step::Filter],
        Kind::Having { .. } => &[Step::Having],
        Kind::Window(_) => &[Step::Window],
        Kind::Join(_) | Kind::LookupJoin(_) => &[Step::Join],
        Kind::Aggregate { .. } => &[Step::GroupBy, Step::Aggregate],
        Kind::Sort(_) => &[Step::Sort],
        Kind::Project(_) => &[Step::Pick],
        Kind::Analytic(_) => &[Step::Analytic],
        _ => &[],
    }
}

/// The first node of a statement, from its results down, that is of such a kind.
fn find<'n>(node: &'n mut Node, is_such: &dyn Fn(&Kind) -> bool) -> Option<&'n mut Node> {
    if is_such(&node.kind) {
        return Some(node);
    }
    if matches!(node.kind, Kind::SubQuery(_) | Kind::Scan(_)) {
        return None;
    }
    node.inputs.iter_mut().find_map(|input| find(input, is_such))
}
