//! The conditions of one column that ask for a constant (`=`, IN), by that constant.

use hashbrown::HashMap;
use std::sync::Arc;

/// Conditions by a number.
#[derive(Default)]
pub(super) struct Numbers(HashMap<u64, Vec<u32>>);

/// Conditions by a text.
#[derive(Default)]
pub(super) struct Texts(HashMap<Arc<str>, Vec<u32>>);

/// Equal numbers have equal bits here.
#[inline]
fn bits(number: f64) -> u64 {
    (number + 0.0).to_bits()
}

impl Numbers {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, number: f64, condition: u32) {
        self.0.entry(bits(number)).or_default().push(condition);
    }

    pub(super) fn remove(&mut self, number: f64, condition: u32) {
        if let Some(list) = self.0.get_mut(&bits(number)) {
            list.retain(|other| *other != condition);
            if list.is_empty() {
                self.0.remove(&bits(number));
            }
        }
    }

    /// The conditions that ask for a number.
    pub(super) fn get(&self, number: f64) -> &[u32] {
        self.0.get(&bits(number)).map_or(&[], Vec::as_slice)
    }
}

impl Texts {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn insert(&mut self, text: &Arc<str>, condition: u32) {
        self.0.entry(Arc::clone(text)).or_default().push(condition);
    }

    pub(super) fn remove(&mut self, text: &str, condition: u32) {
        if let Some(list) = self.0.get_mut(text) {
            list.retain(|other| *other != condition);
            if list.is_empty() {
                self.0.remove(text);
            }
        }
    }

    /// The conditions that ask for a text.
    pub(super) fn get(&self, text: &str) -> &[u32] {
        self.0.get(text).map_or(&[], Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_find_their_conditions_until_they_leave() {
        let (mut numbers, mut texts) = (Numbers::default(), Texts::default());
        numbers.insert(0.0, 1);
        numbers.insert(-0.0, 2);
        assert_eq!(numbers.get(-0.0), [1, 2], "0 = -0");
        assert!(numbers.get(f64::NAN).is_empty());
        let text = Arc::from("a");
        texts.insert(&text, 3);
        assert_eq!(texts.get("a"), [3]);
        texts.remove("a", 3);
        numbers.remove(0.0, 1);
        numbers.remove(0.0, 2);
        assert!(texts.is_empty() && numbers.is_empty());
    }
}
