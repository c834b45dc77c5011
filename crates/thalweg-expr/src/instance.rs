//! What functions may ask of the instance that runs them: its properties, and state that others have stored.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thalweg_core::Value;

use crate::patterns::Patterns;

/// The instance around a rule.
#[derive(Debug, Clone, Default)]
pub struct Instance {
    /// What `props(name)` answers: values by name in lower case.
    pub props: BTreeMap<String, String>,
    /// What `get_keyed_state` reads; absent: nothing is stored.
    pub keyed_state: Option<Arc<dyn KeyedState>>,
    /// Patterns of `regexp_*` that were compiled already.
    pub patterns: Patterns,
}

/// State by key, which rules read and never write (functions.md 17).
pub trait KeyedState: Send + Sync + fmt::Debug {
    /// The value of a key. A key that is not there and one that cannot be read are both `None`: the rule then takes
    /// its default.
    fn get(&self, key: &str) -> Option<Value>;
}
