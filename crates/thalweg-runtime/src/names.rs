//! The names of nodes, each kept once: thousands of rules have the same.

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

#[cfg(test)]
mod tests {
    use super::*;

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
