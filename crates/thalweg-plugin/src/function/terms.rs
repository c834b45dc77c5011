//! What was agreed with the process behind a function channel, and the calls that it knows by number
//! (`portable-plugins.md` 12.1, 12.8).

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use thalweg_expr::Accumulators;
use thalweg_expr::function::CallSite;

use super::region::Region;
use crate::greeting::{Cap, Caps, FunctionTraits};

/// What we can do on function channels.
pub(crate) const OFFERED: Caps =
    Caps::of(&[Cap::Batch, Cap::Cols, Cap::Arrow, Cap::Ping, Cap::State, Cap::Acc]);
/// The same where memory can be shared.
pub(crate) const OFFERED_WITH_MEMORY: Caps =
    Caps::of(&[Cap::Batch, Cap::Cols, Cap::Shm, Cap::Arrow, Cap::Ping, Cap::State, Cap::Acc]);

/// What is in force with one connection. Another connection has terms of its own.
#[derive(Debug)]
pub(crate) struct Terms {
    /// The number of the connection.
    pub(crate) connection: u64,
    pub(crate) caps: Caps,
    pub(crate) function: FunctionTraits,
    /// Memory that the process has opened, too.
    pub(crate) region: Option<Region>,
    /// The calls that the process has been told of.
    bound: Mutex<HashSet<u32>>,
}

impl Terms {
    pub(crate) fn new(connection: u64, caps: Caps, function: FunctionTraits, region: Option<Region>) -> Self {
        let region = region.filter(|_| caps.has(Cap::Shm) && caps.has(Cap::Cols));
        Self { connection, caps, function, region, bound: Mutex::default() }
    }

    /// Whether many calls go in one message.
    pub(crate) fn is_batched(&self) -> bool {
        self.caps.has(Cap::Cols) || self.caps.has(Cap::Batch)
    }

    /// Whether its arguments are Arrow streams, which it must ask for: column frames are faster (12.5).
    pub(crate) fn takes_arrow(&self) -> bool {
        let asks = self.function.vector.as_deref() == Some("arrow");
        asks && self.caps.has(Cap::Cols) && self.caps.has(Cap::Arrow)
    }

    /// Whether a checkpoint has something to ask.
    pub(crate) fn is_stateful(&self) -> bool {
        self.function.is_stateful && self.caps.has(Cap::State)
    }

    /// What the accumulators of the function can do, if they may outlive a message.
    pub(crate) fn accumulators(&self) -> Option<Accumulators> {
        let acc = self.function.acc;
        let may_outlive = acc.add && self.caps.has(Cap::Acc) && self.is_stateful() && self.is_batched();
        may_outlive.then_some(Accumulators { merge: acc.merge, retract: acc.retract })
    }

    /// The calls that the process has been told of.
    pub(crate) fn bound(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.bound.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calls of a function in all rules, each with a number that is never given again.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    /// By rule.
    known: HashMap<String, Vec<Site>>,
    next: u32,
    /// Numbers of calls whose rule has ended.
    pub(crate) gone: Vec<u32>,
}

#[derive(Debug)]
struct Site {
    node: String,
    call_id: u32,
    number: u32,
    /// What the process was last told to remember, in case there will be another process.
    saved: Option<Vec<u8>>,
    /// Whether some process was told of it.
    is_known: bool,
    /// How often what it remembered was lost with a process.
    n_lost: u64,
}

impl Site {
    fn is(&self, site: &CallSite<'_>) -> bool {
        self.call_id == site.call_id && self.node == site.node
    }
}

impl Sites {
    /// The number of a call.
    pub(crate) fn number(&mut self, site: &CallSite<'_>) -> u32 {
        if let Some(known) = self.find(site) {
            return known.number;
        }
        self.next += 1;
        let fresh = Site {
            node: site.node.to_owned(),
            call_id: site.call_id,
            number: self.next,
            saved: None,
            is_known: false,
            n_lost: 0,
        };
        self.known.entry(site.rule.to_owned()).or_default().push(fresh);
        self.next
    }

    fn find(&mut self, site: &CallSite<'_>) -> Option<&mut Site> {
        self.known.get_mut(site.rule)?.iter_mut().find(|known| known.is(site))
    }

    /// What a checkpoint holds of a call.
    pub(crate) fn saved(&mut self, site: &CallSite<'_>) -> Option<Vec<u8>> {
        self.find(site)?.saved.clone()
    }

    /// Notes what a checkpoint holds of a call.
    pub(crate) fn set_saved(&mut self, site: &CallSite<'_>, saved: Option<Vec<u8>>) {
        if let Some(known) = self.find(site) {
            known.saved = saved;
        }
    }

    /// Notes what a call remembers when its process is about to be replaced: nothing is lost by that.
    pub(crate) fn hand_down(&mut self, number: u32, saved: Option<Vec<u8>>) {
        if let Some(known) = self.known.values_mut().flatten().find(|known| known.number == number) {
            (known.saved, known.is_known) = (saved, false);
        }
    }

    /// A process has been told of a call. True when an earlier one was, too.
    pub(crate) fn note_bound(&mut self, site: &CallSite<'_>) -> bool {
        let Some(known) = self.find(site) else { return false };
        let is_lost = std::mem::replace(&mut known.is_known, true);
        known.n_lost += u64::from(is_lost);
        is_lost
    }

    /// How often what a call remembered was lost with a process.
    pub(crate) fn n_lost(&mut self, site: &CallSite<'_>) -> u64 {
        self.find(site).map_or(0, |known| known.n_lost)
    }

    /// Forgets a call whose rule has ended; the process is told with the next message.
    pub(crate) fn forget(&mut self, site: &CallSite<'_>) {
        let Some(calls) = self.known.get_mut(site.rule) else { return };
        if let Some(place) = calls.iter().position(|known| known.is(site)) {
            self.gone.push(calls.swap_remove(place).number);
        }
        if calls.is_empty() {
            self.known.remove(site.rule);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_function_that_asks_for_arrow_gets_it() {
        let takes = |vector: Option<&str>, caps: &[Cap]| {
            let function = FunctionTraits { vector: vector.map(str::to_owned), ..FunctionTraits::default() };
            Terms::new(1, Caps::of(caps), function, None).takes_arrow()
        };
        let all = [Cap::Batch, Cap::Cols, Cap::Arrow];
        assert!(takes(Some("arrow"), &all));
        assert!(!takes(Some("numpy"), &all) && !takes(None, &all));
        assert!(!takes(Some("arrow"), &all[..2]) && !takes(Some("arrow"), &[Cap::Arrow]));
    }

    #[test]
    fn a_call_keeps_its_number_until_its_rule_ends_and_then_gets_another() {
        let site = |rule, call_id| CallSite { rule, node: "2_project", call_id };
        let mut sites = Sites::default();
        let first = sites.number(&site("a", 0));
        assert_ne!(sites.number(&site("a", 1)), first);
        assert_ne!(sites.number(&site("b", 0)), first);
        assert_eq!(sites.number(&site("a", 0)), first);
        sites.set_saved(&site("a", 0), Some(vec![1]));
        assert_eq!(sites.saved(&site("a", 0)), Some(vec![1]));
        sites.forget(&site("a", 0));
        sites.forget(&site("nobody", 0));
        assert_eq!((sites.gone.clone(), sites.saved(&site("a", 0))), (vec![first], None));
        assert_ne!(sites.number(&site("a", 0)), first);
    }
}
