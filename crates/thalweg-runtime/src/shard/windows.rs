//! Common windows on a shard: who has them, and what they give.

use super::Shard;
use super::inbox::Key;
use super::rule::RuleRun;
use crate::parts::CommonRun;

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
                rule.chain.share_windows(joined.cut);
            }
            None => rule.window = None,
        }
    }

    /// The rules of a common window, which have it no longer.
    pub(super) fn rules_of_window(&mut self, key: Key) -> Vec<Key> {
        self.common_run(key).map(|common| std::mem::take(&mut common.rules)).unwrap_or_default()
    }

    /// After a call into a run: the groups of windows that have closed go to the rules that have them, and a rule whose
    /// own window has closed is noted.
    pub(super) fn share_windows(&mut self, key: Key) {
        let Some(rule) = self.rules.get_mut(&key) else { return };
        if let Some(joined) = &mut rule.window
            && !joined.has_parted
            && rule.chain.gets_windows()
        {
            joined.has_parted = true;
            self.parted.push(key);
        }
        let Some(common) = rule.common.as_mut().filter(|common| !common.groups.is_empty()) else { return };
        let (groups, rules) = (std::mem::take(&mut common.groups), common.rules.clone());
        for groups in &groups {
            rules.iter().for_each(|rule| self.merge(*rule, (0, 0), groups));
        }
    }

    /// Between batches, when the rule and its window have seen the same rows: the rule reads its stream no longer, and
    /// what the window counts from now on counts for it.
    pub(super) fn part(&mut self, key: Key) {
        let Some(rule) = self.rules.get_mut(&key) else { return };
        let Some(joined) = &rule.window else { return };
        joined.borrowed.begin();
        rule.cpu.join(&joined.window.common);
        self.streams.values_mut().for_each(|stream| stream.set.leave(key));
    }
}
