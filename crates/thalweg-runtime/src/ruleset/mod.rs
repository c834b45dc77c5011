//! What the rules of one stream share (`contracts.md` 2, hot-path.md 7.6): one scan with the union of their
//! projections, decoded once per batch, their conditions, answered by an index, and the messages of rules that say the
//! same about different rows.
//!
//! A *quiet* rule is called only when rows pass its condition, and not even then when its messages can be made
//! together with those of others ([`sharing`]); what it would have counted is derived from the stream's count and its
//! own tally ([`tally`]). Joining and leaving touch the rule's own entries and no other rule.

pub(crate) mod conditions;
mod conjunct;
mod counted;
pub(crate) mod cpu;
mod filing;
mod hash_index;
mod lane;
mod mask;
pub(crate) mod sharing;
mod shelf;
pub(crate) mod tally;
mod threshold;
pub(crate) mod view;

use std::sync::Arc;

use chrono_tz::Tz;
use hashbrown::HashMap;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Batch, Clock, Live, Selection, Timestamp};

use crate::operator::Verdict;
use crate::shard::inbox::Key;
use crate::shard::stream::Reader;
use conditions::{Conditions, Said, surroundings};
use counted::{Bound, Cohorts};
use cpu::Common;
use sharing::{Groups, Member, Share};
use tally::{Shown, Tally};

/// The rules that read a stream.
#[derive(Default)]
pub(crate) struct RuleSet {
    readers: Vec<Option<Reader>>,
    free: Vec<u32>,
    by_rule: HashMap<Key, Places>,
    conditions: Conditions,
    /// The readers of each condition that are called only when it says something.
    quiet: Vec<Vec<u32>>,
    /// Readers that are called for every batch.
    always: Vec<u32>,
    /// Readers that want to know of faults.
    heeding: Vec<u32>,
    /// Readers that may ask the stream to pause.
    pausing: Vec<u32>,
    /// Quiet readers without condition.
    open: Vec<u32>,
    groups: Groups,
    /// Those whose results go nowhere and that ask for a bound.
    cohorts: Cohorts,
    /// Nobody's.
    metrics: NodeMetrics,
    /// Readers to be called for the batch at hand, with the hit of their condition if they have one.
    calls: Vec<(u32, Option<u32>)>,
    /// Every row of the batch at hand.
    all: Vec<u64>,
    shown: Arc<Shown>,
    common: Arc<Common>,
}

/// The readers of one rule: nearly always one.
enum Places {
    One(u32),
    Several(Box<[u32]>),
}

impl Places {
    fn with(self, at: u32) -> Self {
        let mut list = self.list().to_vec();
        list.push(at);
        Self::Several(list.into())
    }

    fn list(&self) -> &[u32] {
        match self {
            Self::One(at) => std::slice::from_ref(at),
            Self::Several(list) => list,
        }
    }
}

/// What a rule needs in order to be called only when rows pass.
pub(crate) struct Quiet {
    pub tally: Arc<Tally>,
    /// Its sinks are told of rows that fail (`sendError`), those of the decoder included.
    pub wants_faults: bool,
    /// How its messages may be made together with those of others; until it has joined them.
    pub share: Option<Box<Share>>,
    pub member: Option<Member>,
    /// Its place among those that are only counted.
    pub place: Option<counted::Place>,
}

impl Reader {
    /// Its tally and its place in a group, if it has one.
    fn member(&self) -> Option<(&Member, &Tally)> {
        let quiet = self.quiet.as_ref()?;
        Some((quiet.member.as_ref()?, &quiet.tally))
    }

    /// Whether the stream counts what its first operator is shown.
    pub(crate) fn is_counted(&self) -> bool {
        self.quiet.is_some() && (self.node.is_some() || self.place().is_some())
    }

    fn place(&self) -> Option<counted::Place> {
        self.quiet.as_ref()?.place
    }

    /// The bound that is all that it asks for, when nothing but counting is left to do for it.
    fn bound(&self) -> Option<Bound> {
        let quiet = self.quiet.as_ref().filter(|quiet| !quiet.wants_faults)?;
        Bound::of(self.condition.as_ref()?, quiet.share.as_ref()?)
    }

    fn wants_faults(&self) -> bool {
        self.quiet.as_ref().is_some_and(|quiet| quiet.wants_faults)
    }
}

/// A reader to be called, and what its condition says.
#[derive(Clone, Copy)]
pub(crate) struct Call<'a> {
    pub reader: &'a Reader,
    pub verdict: Option<&'a Verdict>,
}

impl RuleSet {
    pub(crate) fn new(shown: Arc<Shown>) -> Self {
        Self { shown, ..Self::default() }
    }

    /// Whether nobody reads the stream.
    pub(crate) fn is_empty(&self) -> bool {
        self.by_rule.is_empty()
    }

    /// How many read the stream.
    pub(crate) fn len(&self) -> usize {
        self.by_rule.len()
    }

    /// Takes a reader on and files its condition.
    pub(crate) fn join(&mut self, mut reader: Reader) {
        let bound = reader.bound();
        let condition = reader.condition.take().filter(|_| bound.is_none());
        reader.node = condition.map(|condition| self.conditions.join(*condition));
        let at = self.free.pop().unwrap_or(self.readers.len() as u32);
        if at as usize == self.readers.len() {
            self.readers.push(None);
        }
        if let Some(quiet) = &mut reader.quiet {
            quiet.tally.join();
            reader.cpu.tally(&quiet.tally);
            quiet.member = quiet.share.take().map(|share| self.groups.join(*share, &reader.view));
            if let Some((bound, member)) = bound.zip(quiet.member.as_ref()) {
                let (place, part) = self.cohorts.join(bound, member.group);
                quiet.tally.count_by(part);
                quiet.place = Some(place);
            }
        }
        reader.cpu.join(&self.common);
        if let Some(list) = self.list_of(&reader) {
            list.push(at);
        }
        if reader.wants_faults() {
            self.heeding.push(at);
        }
        if reader.pauses {
            self.pausing.push(at);
        }
        let places = self.by_rule.remove(&reader.rule);
        let places = places.map_or(Places::One(at), |places| places.with(at));
        self.by_rule.insert(reader.rule, places);
        self.readers[at as usize] = Some(reader);
    }

    /// Has a rule called for every batch: whoever looks at it wants to see what becomes of each.
    pub(crate) fn always_call(&mut self, rule: Key) {
        for reader in self.take_out(rule) {
            self.join(Reader { quiet: None, condition: None, ..reader });
        }
    }

    /// Lets the readers of a rule go.
    pub(crate) fn leave(&mut self, rule: Key) {
        self.take_out(rule);
    }

    fn take_out(&mut self, rule: Key) -> Vec<Reader> {
        let places = self.by_rule.remove(&rule);
        let mut gone = Vec::new();
        for at in places.iter().flat_map(Places::list).copied() {
            let Some(reader) = self.readers[at as usize].take() else { continue };
            let drop_from = |list: &mut Vec<u32>| list.retain(|other| *other != at);
            if let Some(list) = self.list_of(&reader) {
                drop_from(list);
            }
            reader.cpu.leave(&self.common);
            if reader.wants_faults() {
                drop_from(&mut self.heeding);
            }
            if let Some((member, tally)) = reader.member() {
                tally.leave();
                self.groups.leave(member);
                if let Some(place) = reader.place() {
                    self.cohorts.leave(place);
                }
            } else if let Some(quiet) = &reader.quiet {
                quiet.tally.leave();
            }
            if reader.pauses {
                drop_from(&mut self.pausing);
            }
            if let Some(node) = reader.node {
                self.conditions.leave(node);
            }
            self.free.push(at);
            gone.push(reader);
        }
        gone
    }

    /// Where a reader is found.
    fn list_of(&mut self, reader: &Reader) -> Option<&mut Vec<u32>> {
        if reader.place().is_some() {
            return None;
        }
        Some(match (reader.node, &reader.quiet) {
            (Some(node), Some(_)) => {
                let n_conditions = self.quiet.len().max(node as usize + 1);
                self.quiet.resize(n_conditions, Vec::new());
                &mut self.quiet[node as usize]
            }
            (None, Some(_)) => &mut self.open,
            _ => &mut self.always,
        })
    }

    /// Takes all readers out: the stream has ended.
    pub(crate) fn take(&mut self) -> Vec<Reader> {
        let (shown, common) = (Arc::clone(&self.shown), Arc::clone(&self.common));
        let readers: Vec<Reader> =
            std::mem::replace(self, Self::new(shown)).readers.into_iter().flatten().collect();
        readers.iter().filter_map(|reader| reader.quiet.as_ref()).for_each(|quiet| quiet.tally.leave());
        readers.iter().for_each(|reader| reader.cpu.leave(&common));
        readers
    }

    /// Readers that may ask the stream to pause.
    pub(crate) fn pausing(&self) -> impl Iterator<Item = &Reader> {
        self.pausing.iter().filter_map(|at| self.readers[*at as usize].as_ref())
    }

    /// Looks at the next batch, on which work began at `began`: asks all conditions, and counts what the quiet rules are
    /// shown.
    pub(crate) fn judge(
        &mut self,
        (batch, rows): (&Batch, &Selection),
        (now, began): (Timestamp, u64),
        clock: &dyn Clock,
    ) {
        let decoded = clock.monotonic_micros();
        self.calls.clear();
        self.conditions.judge(batch, rows, clock);
        let shown = rows.len();
        if shown > 0 {
            self.measure((batch, rows), clock);
        }
        let judged = clock.monotonic_micros();
        self.common.add(judged.saturating_sub(began), self.by_rule.len());
        if shown > 0 {
            self.shown.add(shown, now, judged.saturating_sub(decoded));
            self.part((batch, rows));
            self.share(batch, now, clock);
        }
    }

    /// Finds out which rules that are only counted rows pass. When a comparison may fail, all of them are called.
    fn measure(&mut self, (batch, rows): (&Batch, &Selection), clock: &dyn Clock) {
        let Self { readers, cohorts, groups, calls, metrics, .. } = self;
        let mut cx = surroundings(Tz::UTC, clock, metrics);
        if !cohorts.measure((batch, rows), &mut cx, |cohort, stake| groups.add_cohort(cohort, &stake)) {
            let place = |reader: &Option<Reader>| reader.as_ref().and_then(Reader::place);
            let counted = readers.iter().enumerate().filter(|(_, reader)| place(reader).is_some());
            calls.extend(counted.map(|(at, _)| (at as u32, None)));
        }
    }

    /// Parts the readers that the batch concerns into those that have their messages made in a group and those that
    /// are called.
    fn part(&mut self, (batch, rows): (&Batch, &Selection)) {
        let Self { readers, conditions, quiet, open, groups, calls, all, .. } = self;
        let has_faults = !rows.faults.is_empty();
        let reader =
            |at: u32| readers[at as usize].as_ref().filter(|reader| !(has_faults && reader.wants_faults()));
        for (place, hit) in conditions.hits().iter().enumerate().filter(|(_, hit)| !hit.verdict.is_void()) {
            let Live::Mask { bits, .. } = &hit.verdict.passed.live else { continue };
            for at in quiet.get(hit.condition as usize).into_iter().flatten() {
                let part = (*at, Some(place as u32));
                match reader(*at).map(Reader::member) {
                    Some(Some((member, _))) if hit.verdict.bad.is_empty() => groups.add(member, part, bits),
                    Some(_) => calls.push(part),
                    None => {}
                }
            }
        }
        for condition in conditions.private() {
            let asking = quiet.get(condition as usize).into_iter().flatten();
            calls.extend(asking.filter(|at| reader(**at).is_some()).map(|at| (*at, None)));
        }
        if !open.is_empty() {
            mask::fill(all, rows.iter(), batch.n_rows);
        }
        for at in open.iter() {
            if let Some((member, _)) = reader(*at).and_then(Reader::member) {
                groups.add(member, (*at, None), all);
            }
        }
    }

    /// Has messages made and delivered; who cannot be served that way is called.
    fn share(&mut self, batch: &Batch, now: Timestamp, clock: &dyn Clock) {
        let Self { readers, conditions, groups, cohorts, calls, .. } = self;
        let hits = conditions.hits();
        groups.run(batch, clock, &mut |done| {
            for (at, hit) in done.parts {
                let member = readers[*at as usize].as_ref().and_then(Reader::member);
                let found = hit.and_then(|hit| hits.get(hit as usize));
                if !member.is_some_and(|member| done.deliver(member, found, now)) {
                    calls.push((*at, *hit));
                }
            }
            for cohort in done.cohorts {
                if done.count(cohorts, *cohort, now) {
                    continue;
                }
                let place = |reader: &Option<Reader>| reader.as_ref().and_then(Reader::place);
                let is_met = |reader| place(reader).is_some_and(|place| cohorts.is_met(place, *cohort));
                let met = readers.iter().enumerate().filter(|(_, reader)| is_met(reader));
                calls.extend(met.map(|(at, _)| (at as u32, None)));
            }
        });
    }

    /// Calls whom the batch concerns.
    pub(crate) fn call(&self, has_faults: bool, mut call: impl FnMut(Call<'_>)) {
        let reader = |at: &u32| self.readers[*at as usize].as_ref();
        self.always.iter().filter_map(reader).for_each(|reader| call(self.heard(reader)));
        if has_faults {
            self.heeding.iter().filter_map(reader).for_each(|reader| call(self.heard(reader)));
        }
        for (at, hit) in &self.calls {
            let hit = hit.and_then(|hit| self.conditions.hits().get(hit as usize));
            if let Some(reader) = reader(at) {
                call(Call { reader, verdict: hit.map(|hit| &hit.verdict) });
            }
        }
    }

    fn heard<'a>(&'a self, reader: &'a Reader) -> Call<'a> {
        const NOTHING: &Verdict = &Verdict::NOTHING;
        let verdict = reader.node.and_then(|node| match self.conditions.said(node) {
            Said::Nothing => Some(NOTHING),
            Said::Verdict(verdict) => Some(verdict),
            Said::Private => None,
        });
        Call { reader, verdict }
    }
}

#[cfg(test)]
mod tests;
