//! What thousands of rules have alike, each kept once: the names of nodes, the options of actions, views of a stream.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashSet;

/// Texts that are kept once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: Mutex<HashSet<Arc<str>>>,
}

impl Names {
    /// So many are kept without asking whether anybody still has them.
    const FEW: usize = 256;

    /// The name with this text.
    pub(crate) fn same(&self, name: &Arc<str>) -> Arc<str> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(name) {
            return Arc::clone(same);
        }
        if known.len() >= Self::FEW && known.len() == known.capacity() {
            known.retain(|name| Arc::strong_count(name) > 1);
        }
        known.insert(Arc::clone(name));
        Arc::clone(name)
    }
}

/// Values of which the same few come again and again, each kept once.
#[derive(Debug)]
pub struct Alike<T>(Mutex<Vec<Arc<T>>>);

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: PartialEq> Alike<T> {
    /// So many are known; of more, those that were asked for last.
    const FEW: usize = 16;

    /// The known value that equals this one.
    pub(crate) fn same(&self, value: T) -> Arc<T> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = match known.iter().position(|same| **same == value) {
            Some(at) => known.remove(at),
            None => Arc::new(value),
        };
        if known.len() == Self::FEW {
            known.remove(0);
        }
        known.push(Arc::clone(&same));
        same
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_are_kept_once_as_long_as_they_come_again() {
        let alike = Alike::default();
        let first = alike.same(0);
        for number in 1..1_000 {
            alike.same(number);
            assert!(Arc::ptr_eq(&first, &alike.same(0)));
        }
        assert_eq!(alike.0.lock().expect("nobody has panicked").len(), 16);
    }

    #[test]
    fn a_name_is_kept_once_and_forgotten_when_nobody_has_it() {
        let names = Names::default();
        let first = names.same(&Arc::from("op_1_filter"));
        assert!(Arc::ptr_eq(&first, &names.same(&Arc::from("op_1_filter"))));
        for number in 0..100_000 {
            names.same(&Arc::from(number.to_string()));
        }
        let known = names.known.lock().expect("nobody has panicked");
        assert!(known.contains(&first) && known.len() < 10_000);
    }
}
