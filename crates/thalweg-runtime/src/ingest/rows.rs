//! Rows of structured sources (memory, simulator, plugins) into columns.
//!
//! They need no decoding, so declared types do little: whole floats become integers in BIGINT columns and integers
//! floats in FLOAT columns, everything else is kept as the source gave it. `strict.rs` does what T-8 says.

use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::format::RawBatch;
use thalweg_core::path::follow;
use thalweg_core::projection::Wanted;
use thalweg_core::value::Fields;
use thalweg_core::{BatchBuilder, DataType, FormatError, Projection, Timestamp, Value, Want, cast};

use super::strict::{Times, strict};

/// Fills the slots of one projection.
pub(crate) struct RowDecoder {
    want: Arc<Projection>,
    /// In which times without zone are meant.
    zone: Tz,
}

impl RowDecoder {
    pub(crate) fn new(want: Arc<Projection>, zone: Tz) -> Self {
        Self { want, zone }
    }

    /// Appends every row of every message; a message with a bad row becomes one fault.
    pub(crate) fn decode(&mut self, raw: &RawBatch, into: &mut BatchBuilder) {
        for (index, message) in raw.rows.iter().enumerate() {
            let meta = raw.meta.get(index).and_then(Option::as_ref);
            self.message(message, (meta, raw.times[index]), into);
        }
    }

    /// Appends the rows of one message, or one fault.
    pub(crate) fn message(
        &mut self,
        rows: &[Arc<Fields>],
        (meta, time): (Option<&Arc<Fields>>, Timestamp),
        into: &mut BatchBuilder,
    ) {
        let before = into.n_rows();
        for row in rows {
            if let Err(error) = self.fill(row, (meta, time), into) {
                return into.fail(before, &error);
            }
            into.end_row(time);
        }
    }

    fn fill(
        &self,
        row: &Arc<Fields>,
        (meta, time): (Option<&Arc<Fields>>, Timestamp),
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        for (slot, wanted) in self.want.slots.iter().enumerate() {
            match &wanted.want {
                Want::Everything => into.column(slot).push_value(&self.everything(row)),
                Want::Meta => {
                    if let Some(meta) = meta {
                        into.column(slot).push_value(&Value::Map(Arc::clone(meta)));
                    }
                }
                Want::Path { column, steps, data_type } => {
                    let found = self.member(row, column);
                    let name = std::slice::from_ref(column);
                    let value =
                        self.typed(found, (data_type.as_ref(), wanted), name, time)?.unwrap_or_default();
                    match follow(&value, steps) {
                        Ok(value) => into.column(slot).push_value(&value),
                        Err(error) => into.column(slot).push_error(error),
                    }
                }
                Want::Column { path, data_type } => {
                    let found = self.find(row, path);
                    if let Some(value) = self.typed(found, (data_type.as_ref(), wanted), path, time)? {
                        into.column(slot).push_value(&value);
                    }
                }
            }
        }
        Ok(())
    }

    fn everything(&self, row: &Arc<Fields>) -> Value {
        let Some(declared) = &self.want.declared else { return Value::Map(Arc::clone(row)) };
        let member = |(name, data_type): &(Arc<str>, DataType)| {
            let value = row.get(name)?;
            Some((Arc::clone(name), convert(value, data_type)))
        };
        Value::map(declared.iter().filter_map(member).collect())
    }

    fn find<'a>(&self, row: &'a Fields, path: &[Arc<str>]) -> Option<&'a Value> {
        let mut found = self.member(row, path.first()?)?;
        for name in &path[1..] {
            let Value::Map(members) = found else { return None };
            found = self.member(members, name)?;
        }
        Some(found)
    }

    fn member<'a>(&self, row: &'a Fields, name: &str) -> Option<&'a Value> {
        row.get(name).or_else(|| {
            let other = || row.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value);
            if self.want.ignore_case { other() } else { None }
        })
    }

    /// The value of a column, `None` when it is missing.
    fn typed(
        &self,
        found: Option<&Value>,
        (data_type, wanted): (Option<&DataType>, &Wanted),
        path: &[Arc<str>],
        now: Timestamp,
    ) -> Result<Option<Value>, FormatError> {
        let fail = |why: String| FormatError::new(format!("error in preprocessor: {why}"));
        let Some(data_type) = data_type else { return Ok(found.cloned()) };
        match (found, &wanted.strict) {
            (None, None) => Ok(None),
            (None, Some(strict)) => match &strict.default {
                Some(value) => Ok(Some(value.clone())),
                None => Err(fail(format!("field {} is not found", path.join(".")))),
            },
            (Some(value), Some(rules)) => {
                let times = Times { pattern: rules.time_format.as_deref(), zone: self.zone, now };
                strict(value, data_type, times).map(Some).map_err(fail)
            }
            (Some(value), None) => Ok(Some(convert(value, data_type))),
        }
    }
}

fn convert(value: &Value, data_type: &DataType) -> Value {
    match (value, data_type) {
        (Value::Float(float), DataType::BigInt) => {
            cast::whole(*float).map_or_else(|| value.clone(), Value::Int)
        }
        (Value::Int(int), DataType::Float) => Value::Float(*int as f64),
        _ => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::Cell;
    use thalweg_core::projection::Strict;

    use super::*;

    fn column(name: &str, data_type: Option<DataType>) -> Want {
        Want::Column { path: name.split('.').map(Arc::from).collect(), data_type }
    }

    fn raw(rows: &[&[(&str, Value)]]) -> RawBatch {
        let row = |row: &&[(&str, Value)]| {
            vec![Arc::new(row.iter().map(|(k, v)| (Arc::from(*k), v.clone())).collect::<Fields>())]
        };
        let times = vec![Timestamp(5); rows.len()];
        RawBatch { rows: rows.iter().map(row).collect(), times, ..RawBatch::default() }
    }

    #[test]
    fn rows_fill_slots_by_path_and_what_is_not_there_is_missing() {
        let mut want = Projection::default();
        want.slot(column("a", None), None);
        want.slot(column("o.x", None), None);
        want.slot(Want::Everything, None);
        let want = Arc::new(want);
        let mut builder = BatchBuilder::new(Arc::new(want.schema()));
        builder.begin(None);
        let object = Value::map(Fields::from([(Arc::from("x"), Value::Int(7))]));
        RowDecoder::new(want, Tz::UTC)
            .decode(&raw(&[&[("a", Value::Null), ("o", object)], &[("b", Value::Int(1))]]), &mut builder);
        let (batch, _) = builder.finish();
        assert_eq!((batch.columns[0].cell(0), batch.columns[0].cell(1)), (Cell::Null, Cell::Missing));
        assert_eq!(batch.columns[1].cell(0), Cell::Int(7));
        assert_eq!(batch.columns[2].value(1), Value::map(Fields::from([(Arc::from("b"), Value::Int(1))])));
        assert_eq!(batch.times, [Timestamp(5), Timestamp(5)]);
    }

    #[test]
    fn strict_columns_must_be_there_and_not_null() {
        let mut want = Projection::default();
        want.slot(column("a", Some(DataType::BigInt)), Some(Strict::default()));
        let want = Arc::new(want);
        let mut builder = BatchBuilder::new(Arc::new(want.schema()));
        builder.begin(None);
        let rows = raw(&[&[("a", Value::Float(2.0))], &[("b", Value::Int(1))], &[("a", Value::Null)]]);
        RowDecoder::new(want, Tz::UTC).decode(&rows, &mut builder);
        let (batch, rows) = builder.finish();
        assert_eq!((batch.n_rows, batch.columns[0].cell(0)), (1, Cell::Int(2)));
        let texts: Vec<&str> = rows.faults.iter().map(|fault| &*fault.message).collect();
        assert_eq!(
            texts,
            [
                "error in preprocessor: field a is not found",
                "error in preprocessor: cannot convert <nil>(<nil>) to int64"
            ]
        );
    }
}
