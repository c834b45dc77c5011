//! What is kept of a rule while it stands: its document, and what is asked of many rules at once.
//!
//! The rest is read from the document again when it is needed, which is when the rule is started or explained: a rule
//! among thousands costs a record.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Map, Value as Json};
use thalweg_core::Props;
use thalweg_runtime::Topology;

use super::definition::RuleDefinition;
use super::schedule::Schedule;
use crate::error::EngineError;

/// A rule as it is kept.
#[derive(Debug, Clone)]
pub struct Record {
    /// Its id.
    pub id: Arc<str>,
    /// The document byte for byte as posted, or as re-written by start and stop (`rest-api.md` 5.3).
    pub text: Box<str>,
    /// Its display name; empty: the id.
    pub name: Box<str>,
    /// Its version; empty: none.
    pub version: Box<str>,
    /// Its tags; `None`: never set.
    pub tags: Option<Box<[String]>>,
    /// Whether it is to run.
    pub triggered: bool,
    /// Never stored.
    pub temp: bool,
    /// qos.
    pub qos: u8,
    /// Whether it is started again when it has failed.
    pub restarts: bool,
    /// When it is to run, if not always.
    pub(super) schedule: Option<Box<Schedule>>,
}

impl From<&RuleDefinition> for Record {
    fn from(definition: &RuleDefinition) -> Self {
        Self {
            id: Arc::clone(&definition.id),
            text: definition.text.as_str().into(),
            name: definition.name.as_str().into(),
            version: definition.version.as_str().into(),
            tags: definition.tags.clone().map(Vec::into_boxed_slice),
            triggered: definition.triggered,
            temp: definition.temp,
            qos: definition.options.qos,
            restarts: definition.options.restart_attempts > 0,
            schedule: definition.options.schedule.clone().ok().flatten().map(Box::new),
        }
    }
}

impl Record {
    /// Everything that the document says.
    ///
    /// # Errors
    /// It was read before, so that there is none.
    pub fn definition(&self, instance: &Props) -> Result<RuleDefinition, EngineError> {
        RuleDefinition::parse(&self.text, Some(&self.id), instance)
    }

    /// The same with another desired state; its text becomes compact, with sorted keys.
    pub fn with_triggered(&self, triggered: bool) -> Self {
        let text = edit(&self.text, "triggered", Json::Bool(triggered));
        Self { triggered, text, ..self.clone() }
    }

    /// The same with other tags.
    pub fn with_tags(&self, tags: Vec<String>) -> Self {
        let text = edit(&self.text, "tags", Json::from(tags.clone()));
        Self { tags: Some(tags.into()), text, ..self.clone() }
    }

    /// Its bytes.
    pub(super) fn memory(&self) -> usize {
        let tags = self.tags.iter().flatten().map(|tag| size_of::<String>() + tag.len());
        let texts = self.text.len() + self.name.len() + self.version.len();
        let schedule = self.schedule.as_ref().map_or(0, |schedule| schedule.memory());
        size_of::<Self>() + texts + tags.sum::<usize>() + schedule
    }

    /// The name to show.
    pub fn display_name(&self) -> &str {
        if self.name.is_empty() { &self.id } else { &self.name }
    }
}

/// Sets one member of a document and prints it compactly with sorted keys.
fn edit(text: &str, name: &str, value: Json) -> Box<str> {
    // The text was read before, so it is an object.
    let document: Map<String, Json> = serde_json::from_str(text).unwrap_or_default();
    let kept = document.into_iter().filter(|(key, _)| !key.eq_ignore_ascii_case(name));
    let mut document = Json::Object(kept.chain([(name.to_owned(), value)]).collect());
    sort(&mut document);
    document.to_string().into()
}

/// Sorts the keys of every object, whether or not `serde_json` was built to keep their order.
fn sort(document: &mut Json) {
    match document {
        Json::Object(members) => {
            let mut sorted: BTreeMap<String, Json> = std::mem::take(members).into_iter().collect();
            sorted.values_mut().for_each(sort);
            members.extend(sorted);
        }
        Json::Array(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}

/// What a built rule reads and uses.
#[derive(Debug, Clone, Default)]
pub struct Needs {
    /// What it has in common with most rules beside it.
    pub shape: Arc<Shape>,
    /// Connection ids, with the node that uses each (`r1_demo_0`).
    pub connections: Box<[(Arc<str>, String)]>,
    /// The shared streams among the sources, with what the rule asks first of their rows.
    pub asks: Box<[Asks]>,
}

impl Needs {
    /// The bytes beside itself, without what other rules have too.
    pub(super) fn memory(&self) -> usize {
        let connections =
            self.connections.iter().map(|(_, node)| size_of::<(Arc<str>, String)>() + node.len());
        let asks = self.asks.iter().map(|asks| size_of::<Asks>() + size_of_val(&*asks.parts));
        connections.chain(asks).sum()
    }
}

/// What is the same for all rules that differ in nothing but the values that they compare with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Shape {
    /// The graph.
    pub topology: Topology,
    /// Streams and tables.
    pub sources: Vec<Arc<str>>,
    /// Lookup tables among them.
    pub lookups: Vec<Arc<str>>,
    /// Named output columns in SELECT order.
    pub columns: Vec<Arc<str>>,
    /// What is written and has no effect, and what may not be meant as it is written.
    pub notes: Vec<String>,
}

/// What a rule asks first of the rows of a shared stream, by the hashes of the texts of its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asks {
    /// The stream.
    pub stream: Arc<str>,
    parts: Box<[u64]>,
}

impl Asks {
    /// Of the texts of the parts.
    pub fn new(stream: &str, parts: &[String]) -> Self {
        Self { stream: stream.into(), parts: parts.iter().map(|part| hash(part)).collect() }
    }

    /// Whether this part is among them.
    pub fn asks(&self, part: &str) -> bool {
        self.parts.contains(&hash(part))
    }
}

fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The shapes that rules have, each kept once.
#[derive(Debug, Default)]
pub struct Shapes {
    known: Mutex<HashSet<Arc<Shape>>>,
}

impl Shapes {
    /// So many are kept without asking whether any rule still has them.
    const FEW: usize = 64;

    /// The shape that is equal to this one.
    pub fn same(&self, shape: Shape) -> Arc<Shape> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.get(&shape) {
            return Arc::clone(same);
        }
        if known.len() >= Self::FEW && known.len() == known.capacity() {
            known.retain(|shape| Arc::strong_count(shape) > 1);
        }
        let shape = Arc::new(shape);
        known.insert(Arc::clone(&shape));
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_of_one_shape_keep_it_once_and_shapes_that_no_rule_has_are_forgotten() {
        let shapes = Shapes::default();
        let named = |name: usize| Shape { notes: vec![name.to_string()], ..Shape::default() };
        let first = shapes.same(named(0));
        assert!(Arc::ptr_eq(&first, &shapes.same(named(0))));
        for name in 1..10_000 {
            shapes.same(named(name));
        }
        let known = shapes.known.lock().expect("nobody has panicked");
        assert!(known.contains(&first) && known.len() <= known.capacity() && known.len() < 1_000);
    }
}
