//! What an action does to rows that are already fields: dataField, fields, excludeFields (C3.3, C3.4).

use std::sync::Arc;

use thalweg_core::{Fields, FormatError, Value};

use super::options::SinkOptions;

/// A message in the making.
pub(super) struct Shaped {
    pub rows: Vec<Arc<Fields>>,
    pub is_list: bool,
}

/// Applies dataField, then fields or excludeFields.
pub(super) fn shape(options: &SinkOptions, message: Shaped) -> Result<Shaped, FormatError> {
    let Shaped { mut rows, mut is_list } = message;
    if let Some(field) = &options.data_field {
        let mut dug = Vec::with_capacity(rows.len());
        for row in &rows {
            is_list |= dig(row, field, &mut dug)?;
        }
        rows = dug;
    }
    if !options.fields.is_empty() || !options.exclude.is_empty() {
        rows = rows.iter().map(|row| Arc::new(pick(options, row))).collect();
    }
    Ok(Shaped { rows, is_list })
}

/// Appends the rows that `field` holds; true when it holds a list. Every row counts (C3.4 F).
fn dig(row: &Fields, field: &str, into: &mut Vec<Arc<Fields>>) -> Result<bool, FormatError> {
    let wrong =
        |value: &Value| FormatError::new(format!("invalid transform result type {}", value.kind_name()));
    match row.get(field) {
        None | Some(Value::Null) => Err(FormatError::new("receive unsupported data <nil>")),
        Some(Value::Map(members)) => {
            into.push(Arc::clone(members));
            Ok(false)
        }
        Some(Value::List(items)) => {
            for item in items.iter() {
                let Value::Map(members) = item else { return Err(wrong(item)) };
                into.push(Arc::clone(members));
            }
            Ok(true)
        }
        Some(other) => Err(wrong(other)),
    }
}

fn pick(options: &SinkOptions, row: &Fields) -> Fields {
    if options.fields.is_empty() {
        let keep = |(name, _): &(&Arc<str>, &Value)| !options.exclude.contains(name);
        return row.iter().filter(keep).map(|(name, value)| (Arc::clone(name), value.clone())).collect();
    }
    // a listed column that is missing becomes null.
    let value = |name: &Arc<str>| (Arc::clone(name), row.get(name).cloned().unwrap_or_default());
    options.fields.iter().map(value).collect()
}
