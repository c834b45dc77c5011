//! Event-time groups: rules of a shared stream whose rows wait for the same watermark (`contracts.md` 6).
//!
//! Rules with the same TIMESTAMP column, format and tolerance of a stream have one reorder buffer: a run of its own on the
//! stream's shard. A rule begins with its own, because rows of before it must not reach it and what is late for the group
//! may not be late for it. Once its watermark has passed every row that the group had seen when the rule came, both have
//! sent the same watermark and have the same rows waiting; from then on the group's rows go to the rule, and it reads the
//! stream no longer. A group has the columns of its first rule; a rule that wants others has another group.

use std::sync::Arc;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Projection, Timestamp};
use thalweg_plan::split::{Cut, event_group};

use crate::attach::{Attached, Home, Streams};
use crate::chain::Chain;
use crate::compile::{CompiledScan, MakeOperator};
use crate::metrics::Borrowed;
use crate::operator::RuleInfo;
use crate::parts;
use crate::rule::RuleSpec;
use crate::ruleset::view::View;
use crate::shard::inbox::Control;
use crate::windows::Joined;

/// What rows a group orders, and how.
#[derive(Debug)]
pub(crate) struct Order {
    /// TIMESTAMP column, format, zone and tolerance.
    by: String,
    projection: Projection,
}

impl Order {
    /// Whether a rule that wants `other` may have the rows of this group.
    pub(crate) fn serves(&self, other: &Self) -> bool {
        self.by == other.by && self.view(&other.projection).is_some()
    }

    /// These columns among those of the group, when it has them all.
    fn view(&self, own: &Projection) -> Option<View> {
        let mut all = self.projection.clone();
        let view = View::join(&mut all, own);
        (all.slots.len() == self.projection.slots.len()).then_some(view)
    }
}

/// A rule's part in a group.
pub(crate) struct Ordered {
    /// Its columns.
    pub view: View,
    /// The latest time that the group had seen when the rule began to read.
    pub since: Option<Timestamp>,
    /// Whether the rule has its rows from the group.
    pub is_fed: bool,
}

impl Ordered {
    /// Whether a rule with this watermark has nothing waiting that the group has not, and the other way round.
    pub(crate) fn may_part(&self, progress: Option<(Timestamp, Timestamp)>) -> bool {
        // A row as late as the watermark may have come behind it and wait.
        matches!((self.since, progress), (Some(since), Some((mark, _))) if mark > since)
    }
}

/// Brings a rule, which reads its stream from now on, to the group of rules like it, if it may have one.
pub(crate) fn join(
    (spec, chain, operators): (&RuleSpec, &Chain, MakeOperator),
    (attached, info): (&mut [Attached], &Arc<RuleInfo>),
    (scans, preprocessors): (&[CompiledScan], &[Arc<NodeMetrics>]),
    place: &Home<'_>,
    streams: &Streams,
) -> Option<Box<Joined>> {
    let ([attached], [scan], [preprocessor]) = (attached, scans, preprocessors) else { return None };
    let options = &spec.options;
    let may_share = options.qos == 0 && !options.send_error && !place.pauses && spec.plan.hosts.is_empty();
    if !may_share || !attached.is_here() || scan.scan.late.is_some() {
        return None;
    }
    let tolerance = event_group(&spec.plan.root)?;
    let event_time = scan.event_time.clone()?;
    let projection = scan.scan.projection.clone();
    let column = &projection.slots[event_time.slot.index()];
    let by = format!("{} {:?} {column:?} {tolerance}", event_time.zone, event_time.pattern);
    let cut = Cut { parts: 1, steps: 1, merges: false };
    let make = || {
        let chain = Chain::new(&spec.plan.root, &|node| Ok(operators(node, info)));
        chain.ok().map(|mut chain| {
            chain.head(0, cut);
            chain
        })
    };
    let order = Order { by, projection };
    let (group, made) = streams.event_group(attached.shared.as_ref()?, (order, place.rule), make)?;
    let [buffer, times] = &group.metrics[..] else { return None };
    if let Some(made) = made {
        let run = parts::event_group(&group, made, (info, (event_time, Arc::clone(times))));
        place.inbox.send(Control::AddRule(Box::new(run)));
        attached.join_before(group.key);
    }
    let view = group.order.as_ref()?.view(&scan.scan.projection)?;
    let own = chain.metrics().next().map(|(_, metrics)| Arc::clone(metrics))?;
    let pairs = vec![(own, Arc::clone(buffer)), (Arc::clone(preprocessor), Arc::clone(times))];
    let borrowed = Arc::new(Borrowed::new(pairs));
    let ordered = Some(Ordered { view, since: None, is_fed: false });
    Some(Box::new(Joined { window: group, cut, borrowed, has_parted: false, ordered }))
}
