//! Common windows and event-time groups on a shard: who has them, and what they give.

use std::sync::Arc;

use thalweg_core::Timestamp;

use super::Shard;
use super::inbox::Key;
use super::rule::RuleRun;
use crate::parts::{CommonRun, Given};

impl Shard {
    /// How many rules, parts of rules and common windows read the streams here.
    pub(crate) fn readers(&self) -> usize {
        self.streams.values().map(|stream| stream.set.len()).sum()
    }

    /// The run of a common window, when it lives.
    pub(super) fn common_run(&mut self, key: Key) -> Option<&mut CommonRun> {
        self.rules.get_mut(&key)?.common.as_deref_mut()
    }

    /// Brings a rule that has not begun to its common window; to none when that has ended.
    pub(super) fn join_window(&mut self, rule: &mut RuleRun) {
        let Some(joined) = &rule.window else { return };
        match self.common_run(joined.window.key) {
            Some(common) => {
                common.rules.push(rule.key);
                if joined.ordered.is_none() {
                    rule.chain.share_windows(joined.cut);
                }
            }
            None => rule.window = None,
        }
    }

    /// A rule begins to read its stream: of its event-time group is noted what that has seen without it.
    pub(super) fn begin_order(&mut self, key: Key) {
        let Some(joined) = self.rules.get(&key).and_then(|rule| rule.window.as_ref()) else { return };
        let Some(group) = self.rules.get(&joined.window.key) else { return };
        let since = group.chain.progress().map_or(Timestamp(i64::MIN), |(_, newest)| newest);
        let rule = self.rules.get_mut(&key);
        if let Some(ordered) = rule.and_then(|rule| rule.window.as_mut()?.ordered.as_mut()) {
            ordered.since = Some(since);
        }
    }

    /// The rules of a common window, which have it no longer.
    pub(super) fn rules_of_window(&mut self, key: Key) -> Vec<Key> {
        self.common_run(key).map(|common| std::mem::take(&mut common.rules)).unwrap_or_default()
    }

    /// Those that read a stream by nothing but this.
    pub(super) fn rules_behind(&mut self, key: Key) -> Vec<Key> {
        let mut rules = self.common_run(key).map(|common| common.rules.clone()).unwrap_or_default();
        let has_parted = |rule: &RuleRun| rule.window.as_ref().is_some_and(|joined| joined.has_parted);
        rules.retain(|rule| self.rules.get(rule).is_some_and(|rule| has_parted(rule)));
        rules
    }

    /// After a call into a run: what comes of what rules have in common goes to them, and a rule that needs its stream no
    /// longer is noted.
    pub(super) fn share_windows(&mut self, key: Key) {
        let Some(rule) = self.rules.get_mut(&key) else { return };
        if let Some(joined) = rule.window.as_mut().filter(|joined| !joined.has_parted) {
            joined.has_parted = match &joined.ordered {
                Some(ordered) => ordered.may_part(rule.chain.progress()),
                None => rule.chain.gets_windows(),
            };
            if joined.has_parted {
                self.parted.push(key);
            }
        }
        let Some(common) = rule.common.as_mut().filter(|common| !common.given.is_empty()) else { return };
        let (given, rules) = (std::mem::take(&mut common.given), common.rules.clone());
        for given in &given {
            match given {
                Given::Groups(groups) => rules.iter().for_each(|rule| self.merge(*rule, (0, 0), groups)),
                ordered => rules.iter().for_each(|rule| self.hand_ordered(*rule, ordered)),
            }
        }
    }

    /// Rows of an event-time group, or its watermark, for one of its rules.
    fn hand_ordered(&mut self, key: Key, given: &Given) {
        let (now, clock) = (self.clock.now(), Arc::clone(&self.clock));
        let is_fed = |rule: &&mut Box<RuleRun>| rule.window.as_ref().is_some_and(|joined| joined.is_fed());
        let Some(rule) = self.rules.get_mut(&key).filter(is_fed) else { return };
        let began = clock.monotonic_micros();
        let taken = rule.take_ordered(given, now, clock.as_ref());
        rule.spent(clock.monotonic_micros().saturating_sub(began));
        self.settle(key, taken);
    }

    /// Between batches, when the rule and what it has in common with others have seen the same rows: the rule reads its
    /// stream no longer, and what is counted there from now on counts for it.
    pub(super) fn part(&mut self, key: Key) {
        let Some(group) = self.rules.get(&key).and_then(|rule| rule.window.as_ref()) else { return };
        let group = self.rules.get(&group.window.key).and_then(|group| group.chain.progress());
        let Some(rule) = self.rules.get_mut(&key) else { return };
        let Some(joined) = &mut rule.window else { return };
        if let Some(ordered) = &mut joined.ordered {
            joined.has_parted = group.is_some() && rule.chain.progress() == group;
            if !joined.has_parted {
                return;
            }
            ordered.is_fed = true;
            rule.chain.part(joined.cut);
        }
        joined.borrowed.begin();
        rule.cpu.join(&joined.window.common);
        self.streams.values_mut().for_each(|stream| stream.set.leave(key));
    }
}
