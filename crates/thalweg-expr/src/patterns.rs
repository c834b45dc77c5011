//! Compiled patterns, kept from batch to batch: compiling one takes longer than matching thousands of rows.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use regex::Regex;
use thalweg_core::go_regex;

/// More patterns than this are those of somebody who makes them up; then it starts anew.
const LIMIT: usize = 1_024;

/// What became of a pattern: the regular expression, or the text that is none.
pub(crate) type Pattern = Result<Regex, String>;

/// The patterns that statements hold as literals, shared by all rules of an instance.
#[derive(Debug, Clone, Default)]
pub struct Patterns(Arc<RwLock<HashMap<String, Arc<Pattern>>>>);

impl Patterns {
    /// The compiled form of a text, compiled at the first call.
    pub(crate) fn get(&self, text: &str) -> Arc<Pattern> {
        if let Some(known) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(text) {
            return Arc::clone(known);
        }
        let compiled = Arc::new(go_regex::compile(text));
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= LIMIT {
            all.clear();
        }
        all.insert(text.to_owned(), Arc::clone(&compiled));
        compiled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_compiled_once_and_their_number_is_bounded() {
        let patterns = Patterns::default();
        let first = patterns.get("a+");
        assert!(Arc::ptr_eq(&first, &patterns.get("a+")));
        assert!(patterns.get("(").is_err());
        for number in 0..2 * LIMIT {
            patterns.get(&number.to_string());
        }
        assert!(patterns.0.read().expect("no thread panicked").len() <= LIMIT);
    }
}
