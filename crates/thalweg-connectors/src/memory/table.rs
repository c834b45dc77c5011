//! Memory tables: rows by key, kept up to date by memory sinks from the moment the table exists (9.1).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};

use async_trait::async_trait;
use thalweg_core::connector::{BuildCx, Built, LookupSource};
use thalweg_core::error::IoError;
use thalweg_core::spec::{Roles, check};
use thalweg_core::value::{Fields, Value};

use super::hub::{Change, Hub, Item, Listener};
use super::source::check_filter;
use crate::property::required;

pub(crate) fn build(cx: &BuildCx) -> Built<Arc<dyn LookupSource>> {
    check("memory lookup", super::PROPS, Roles::LOOKUP, &cx.props)?;
    let filter = required("memory lookup", &cx.props, "datasource")?;
    check_filter(filter)?;
    let key = Arc::from(required("memory lookup", &cx.props, "key")?);
    let table = Arc::new(Table {
        name: Arc::clone(&cx.rule),
        key,
        rows: RwLock::default(),
        told: AtomicBool::new(false),
    });
    let weak: Weak<dyn Listener> = Arc::downgrade(&table) as Weak<dyn Listener>;
    cx.shared.get::<Hub>().subscribe(filter, weak);
    Ok(table)
}

/// A value as a key: numbers are equal by value (decision S1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    Nothing,
    Bool(bool),
    Int(i64),
    Float(u64),
    Text(Arc<str>),
    Other(String),
}

impl Key {
    /// The key that equal values share.
    pub(crate) fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Nothing,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            // Whole floats within the exact range are the integer; -0.0 becomes 0.
            Value::Float(value) if value.fract() == 0.0 && value.abs() < 9.2e18 => Self::Int(*value as i64),
            Value::Float(value) => Self::Float(value.to_bits()),
            Value::Str(text) => Self::Text(Arc::clone(text)),
            other => Self::Other(format!("{other:?}")),
        }
    }
}

/// Whether the row has all these values, numbers compared by value.
pub(crate) fn row_matches(row: &Fields, keys: &[Arc<str>], values: &[Value]) -> bool {
    keys.iter()
        .zip(values)
        .all(|(key, wanted)| row.get(key).is_some_and(|value| Key::of(value) == Key::of(wanted)))
}

struct Table {
    name: Arc<str>,
    key: Arc<str>,
    rows: RwLock<HashMap<Key, Arc<Fields>>>,
    /// Whether a row without key was already reported.
    told: AtomicBool,
}

impl Table {
    fn key_in(&self, row: &Fields, change: Option<&Change>) -> Option<Key> {
        let field = change.map_or(&self.key, |change| &change.key_field);
        row.get(field).filter(|value| !value.is_null()).map(Key::of)
    }
}

impl Listener for Table {
    fn take(&self, item: &Item<'_>) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for row in item.rows {
            let Some(key) = self.key_in(row, item.change) else {
                if !self.told.swap(true, Ordering::Relaxed) {
                    tracing::warn!(table = %self.name, key = %self.key, "row without key is not in the table");
                }
                continue;
            };
            let kind = item.change.and_then(|change| row.get(&change.rowkind_field));
            match kind {
                Some(Value::Str(kind)) if kind.eq_ignore_ascii_case("delete") => drop(rows.remove(&key)),
                _ => drop(rows.insert(key, Arc::clone(row))),
            }
        }
    }
}

#[async_trait]
impl LookupSource for Table {
    /// Whole rows are returned whatever `fields` says: they are shared, not copied.
    async fn lookup(
        &self,
        _fields: &[Arc<str>],
        keys: &[Arc<str>],
        values: &[Value],
    ) -> Result<Vec<Arc<Fields>>, IoError> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let by_key = keys.iter().position(|key| *key == self.key).and_then(|index| values.get(index));
        let found = match by_key {
            Some(value) => rows
                .get(&Key::of(value))
                .filter(|row| row_matches(row, keys, values))
                .into_iter()
                .cloned()
                .collect(),
            None => rows.values().filter(|row| row_matches(row, keys, values)).cloned().collect(),
        };
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink;
    use super::*;
    use crate::testing::{cx, row};
    use thalweg_core::connector::SinkPayload;

    fn payload(text: &str) -> SinkPayload {
        SinkPayload::Rows { rows: vec![row(text)], is_list: false, props: None }
    }

    #[tokio::test]
    async fn plain_rows_are_upserted_by_key_and_keys_are_equal_by_value() {
        let cx = cx(r#"{"datasource":"t/+","key":"id","topic":"t/a"}"#);
        let table = build(&cx).unwrap();
        let mut sink = sink::build(&cx).unwrap();
        let rows = [r#"{"id":1,"n":"a"}"#, r#"{"id":1,"n":"b"}"#, r#"{"id":2,"n":"b"}"#, r#"{"n":"none"}"#];
        sink.write(&rows.map(payload)).await;
        let by_id = table.lookup(&[], &[Arc::from("id")], &[Value::Int(1)]).await.unwrap();
        assert_eq!(by_id, [row(r#"{"id":1,"n":"b"}"#)]);
        let by_name = table.lookup(&[], &[Arc::from("n")], &[Value::text("b")]).await.unwrap();
        assert_eq!(by_name.len(), 2);
        let none = table.lookup(&[], &[Arc::from("id")], &[Value::text("1")]).await.unwrap();
        assert!(none.is_empty());
    }

    #[tokio::test]
    async fn row_kinds_change_the_table() {
        let cx = cx(r#"{"datasource":"t","key":"id","topic":"t","rowkindField":"op","keyField":"id"}"#);
        let table = build(&cx).unwrap();
        let mut sink = sink::build(&cx).unwrap();
        let rows = [r#"{"id":1,"op":"insert"}"#, r#"{"id":2}"#, r#"{"id":1,"op":"delete"}"#];
        sink.write(&rows.map(payload)).await;
        for (id, n_found) in [(1, 0), (2, 1)] {
            let found = table.lookup(&[], &[Arc::from("id")], &[Value::Int(id)]).await.unwrap();
            assert_eq!(found.len(), n_found, "{id}");
        }
    }
}
