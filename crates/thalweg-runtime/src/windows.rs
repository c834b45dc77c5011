//! Windows that several rules of a shared stream have in common (`contracts.md` 7).
//!
//! Rules whose plans are equal from the stream up to the groups of a window have one *common window*: a run of its own on
//! the stream's shard that folds rows once for all of them, and gives each the groups of every window that began after
//! the rule did. HAVING, ORDER BY, SELECT list and sinks are each rule's own. A rule begins with its own window, as if it
//! were alone, and stops reading the stream when that has closed. The common window goes with its last rule.

use std::sync::Arc;

use thalweg_core::metrics::NodeMetrics;
use thalweg_plan::split::{Cut, common_window};

use crate::attach::{Attached, Home, Streams};
use crate::chain::Chain;
use crate::compile::MakeOperator;
use crate::event_groups::{Order, Ordered};
use crate::metrics::Borrowed;
use crate::operator::RuleInfo;
use crate::parts;
use crate::rule::RuleSpec;
use crate::ruleset::cpu::Common;
use crate::shard::inbox::{Control, Key};

/// A common window.
pub(crate) struct CommonWindow {
    /// By which its shard knows its run.
    pub key: Key,
    /// One rule's part of the time that it takes.
    pub common: Arc<Common>,
    /// Of its operators, in the same places as in the chains of its rules.
    pub metrics: Vec<Arc<NodeMetrics>>,
    /// Set when it is no window but an event-time group.
    pub order: Option<Order>,
}

/// A rule's part in one.
pub(crate) struct Joined {
    pub window: Arc<CommonWindow>,
    pub cut: Cut,
    /// What the window counts for the rule.
    pub borrowed: Arc<Borrowed>,
    /// Whether the rule reads the stream no longer, or is about to.
    pub has_parted: bool,
    /// Set when it is an event-time group.
    pub ordered: Option<Ordered>,
}

impl Joined {
    /// Whether an event-time group orders the rule's rows by now.
    pub(crate) fn is_fed(&self) -> bool {
        self.ordered.as_ref().is_some_and(|ordered| ordered.is_fed)
    }
}

/// Brings a rule, which reads its stream from now on, to the common window of rules like it, if it may have one.
pub(crate) fn join(
    (spec, chain, operators): (&RuleSpec, &Chain, MakeOperator),
    (attached, info): (&mut [Attached], &Arc<RuleInfo>),
    place: &Home<'_>,
    streams: &Streams,
) -> Option<Box<Joined>> {
    let [attached] = attached else { return None };
    let options = &spec.options;
    // What keeps state of its own, tells of single rows, or holds up the stream, stays alone.
    let may_share = options.qos == 0 && !options.send_error && !place.pauses && spec.plan.hosts.is_empty();
    if !may_share || !attached.is_here() {
        return None;
    }
    let (cut, node) = common_window(&spec.plan.root)?;
    let key = format!("{} {node:?}", info.zone);
    let make = || {
        let chain = Chain::new(&spec.plan.root, &|node| Ok(operators(node, info)));
        chain.ok().map(|mut chain| {
            chain.head(0, cut);
            chain
        })
    };
    let (window, common) = streams.common_window(attached.shared.as_ref()?, (&key, place.rule), make)?;
    if let Some(common) = common {
        place.inbox.send(Control::AddRule(Box::new(parts::common(&window, common, info))));
        // Before the rule itself, so that no row is the rule's that is not the window's.
        attached.join_before(window.key);
    }
    let own = chain.metrics().map(|(_, metrics)| Arc::clone(metrics));
    let borrowed = Arc::new(Borrowed::new(own.zip(window.metrics.iter().map(Arc::clone)).collect()));
    Some(Box::new(Joined { window, cut, borrowed, has_parted: false, ordered: None }))
}
