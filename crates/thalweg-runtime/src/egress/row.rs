//! Result rows as JSON text, straight from the columns, and as [`Fields`].
//!
//! A column named `*` holds a map whose members are columns of the row; columns of their own override them (P-15).

use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::json::{Canonical, write_cell, write_fields, write_text};
use thalweg_core::{Batch, Cell, Column, Fields, FormatError, Schema, Tag, Value};

/// The columns of a result in the order in which they are printed, kept from batch to batch.
#[derive(Debug, Default)]
pub struct RowWriter {
    schema: Option<Arc<Schema>>,
    /// Ordered by name.
    columns: Vec<Member>,
    /// The column `*` and what prints it.
    spread: Option<(usize, Raw)>,
}

#[derive(Debug)]
struct Member {
    /// `"name":`
    key: Vec<u8>,
    column: usize,
    raw: Raw,
}

/// Prints the unparsed JSON of one column; made when there is some.
#[derive(Debug, Default)]
struct Raw(Option<Box<Canonical>>);

impl Raw {
    #[inline]
    fn write(
        &mut self,
        out: &mut Vec<u8>,
        (column, row): (&Column, usize),
        zone: Tz,
    ) -> Result<(), FormatError> {
        match column.json_ahead(row) {
            Some((ahead, len)) => self.0.get_or_insert_default().write(out, ahead, len),
            None => write_cell(out, column.cell(row), zone),
        }
    }
}

impl RowWriter {
    /// Prepares for the rows of `batch`.
    fn prepare(&mut self, batch: &Batch) {
        if self.schema.as_ref().is_some_and(|schema| Arc::ptr_eq(schema, &batch.schema)) {
            return;
        }
        let mut named: Vec<(&str, usize)> =
            batch.schema.fields.iter().enumerate().map(|(at, field)| (&*field.name, at)).collect();
        self.spread = named.iter().find(|(name, _)| *name == "*").map(|(_, at)| (*at, Raw::default()));
        named.retain(|(name, _)| *name != "*");
        named.sort_by(|a, b| a.0.as_bytes().cmp(b.0.as_bytes()));
        let member = |(name, column): (&str, usize)| {
            let mut key = Vec::with_capacity(name.len() + 3);
            write_text(&mut key, name);
            key.push(b':');
            Member { key, column, raw: Raw::default() }
        };
        self.columns = named.into_iter().map(member).collect();
        self.schema = Some(Arc::clone(&batch.schema));
    }

    /// Appends one row as a JSON object; true when it has no member.
    ///
    /// # Errors
    /// A value that JSON cannot hold.
    pub fn write(
        &mut self,
        out: &mut Vec<u8>,
        batch: &Batch,
        row: usize,
        zone: Tz,
    ) -> Result<bool, FormatError> {
        self.prepare(batch);
        if self.spread.is_some() {
            return self.write_spread(out, batch, row, zone);
        }
        out.push(b'{');
        let mut is_empty = true;
        for Member { key, column, raw } in &mut self.columns {
            let column = &*batch.columns[*column];
            if matches!(column.tag(row), Tag::Missing | Tag::Error) {
                continue;
            }
            if !is_empty {
                out.push(b',');
            }
            is_empty = false;
            out.extend_from_slice(key);
            raw.write(out, (column, row), zone)?;
        }
        out.push(b'}');
        Ok(is_empty)
    }

    fn write_spread(
        &mut self,
        out: &mut Vec<u8>,
        batch: &Batch,
        row: usize,
        zone: Tz,
    ) -> Result<bool, FormatError> {
        let is_alone = self.columns.iter().all(|own| batch.columns[own.column].tag(row) == Tag::Missing);
        if let Some((spread, raw)) = self.spread.as_mut().filter(|_| is_alone) {
            let column = &*batch.columns[*spread];
            if column.json_ahead(row).is_some_and(|(ahead, _)| ahead.first() == Some(&b'{')) {
                let before = out.len();
                raw.write(out, (column, row), zone)?;
                return Ok(out.len() - before == 2);
            }
        }
        let fields = fields(batch, row);
        write_fields(out, &fields, zone)?;
        Ok(fields.is_empty())
    }
}

/// A result row as fields.
pub(crate) fn fields(batch: &Batch, row: usize) -> Fields {
    let mut fields = Fields::new();
    for (field, column) in batch.schema.fields.iter().zip(&batch.columns) {
        if &*field.name != "*" {
            continue;
        }
        match column.cell(row) {
            Cell::Value(Value::Map(members)) => {
                fields.extend(members.iter().map(|(k, v)| (Arc::clone(k), v.clone())))
            }
            cell @ Cell::Json(_) => {
                if let Value::Map(members) = cell.to_value() {
                    fields.extend(members.iter().map(|(k, v)| (Arc::clone(k), v.clone())));
                }
            }
            _ => {}
        }
    }
    for (field, column) in batch.schema.fields.iter().zip(&batch.columns) {
        if &*field.name != "*" && !matches!(column.tag(row), Tag::Missing | Tag::Error) {
            fields.insert(Arc::clone(&field.name), column.value(row));
        }
    }
    fields
}

#[cfg(test)]
mod tests {
    use thalweg_core::{Column, Unit};

    use super::*;

    fn batch(columns: Vec<(&str, Column)>) -> Batch {
        let schema = Arc::new(Schema::computed(columns.iter().map(|(name, _)| *name)));
        let n_rows = columns[0].1.len();
        let columns = columns.into_iter().map(|(_, column)| Arc::new(column)).collect();
        Batch {
            schema,
            columns,
            n_rows,
            times: vec![Default::default(); n_rows],
            unit: Unit::Rows,
            window: None,
        }
    }

    fn print(batch: &Batch, row: usize) -> (String, bool) {
        let mut out = Vec::new();
        let is_empty = RowWriter::default().write(&mut out, batch, row, Tz::UTC).unwrap();
        let direct = String::from_utf8(out).unwrap();
        let mut plain = Vec::new();
        write_fields(&mut plain, &fields(batch, row), Tz::UTC).unwrap();
        assert_eq!(direct, String::from_utf8(plain).unwrap(), "both ways print the same");
        (direct, is_empty)
    }

    #[test]
    fn keys_are_sorted_missing_is_left_out_and_null_stays() {
        let mut b = Column::from_floats([1.0, 2.5]);
        b.push_missing();
        let a = Column::from_values([&Value::text("<x>"), &Value::Null, &Value::Int(3)]);
        let rows = batch(vec![("b", b), ("a", a)]);
        assert_eq!(print(&rows, 0).0, r#"{"a":"\u003cx\u003e","b":1}"#);
        assert_eq!(print(&rows, 1).0, r#"{"a":null,"b":2.5}"#);
        assert_eq!(print(&rows, 2).0, r#"{"a":3}"#);
    }

    #[test]
    fn members_of_a_star_are_columns_and_yield_to_named_ones() {
        let mut star = Column::new();
        star.push_json(br#"{"z":[1,{"b":2,"a":1}],"a":1}"#);
        star.push_json(b"{}");
        let mut a = Column::new();
        a.push_int(7);
        a.push_missing();
        let rows = batch(vec![("*", star.clone()), ("a", a)]);
        assert_eq!(print(&rows, 0), (r#"{"a":7,"z":[1,{"a":1,"b":2}]}"#.to_owned(), false));
        assert_eq!(print(&rows, 1), ("{}".to_owned(), true));
        assert_eq!(print(&batch(vec![("*", star)]), 0).0, r#"{"a":1,"z":[1,{"a":1,"b":2}]}"#);
    }

    #[test]
    fn what_json_cannot_hold_is_an_error() {
        let rows = batch(vec![("a", Column::from_floats([f64::NAN]))]);
        assert!(RowWriter::default().write(&mut Vec::new(), &rows, 0, Tz::UTC).is_err());
    }
}
