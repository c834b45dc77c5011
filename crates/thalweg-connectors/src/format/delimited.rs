//! Delimited text: columns split by a delimiter, no quoting, always strings (F3.2 to F3.4).
//!
//! With `hasHeader` every message begins with a line of names, single rows too: upstream puts a private prefix
//! there that only its file sink understands (F3.4). Our file sink takes that line as the header of a file.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono_tz::Tz;
use memchr::memmem;
use thalweg_core::cast::plain_text;
use thalweg_core::format::{Decoder, Encoder, Format, Message, RawBatch};
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::value::Fields;
use thalweg_core::{BatchBuilder, Diagnostic, FormatError, Projection, Props, Value, Want};

use super::row::push_row;
use crate::property::{flag, text, texts};

/// The format's row.
pub static FORMAT: Delimited = Delimited;

/// FORMAT="delimited".
#[derive(Debug)]
pub struct Delimited;

impl Format for Delimited {
    fn name(&self) -> &'static str {
        "delimited"
    }

    fn decoder(&self, want: &Arc<Projection>, props: &Props) -> Result<Box<dyn Decoder>, Diagnostic> {
        let names = texts("delimited format", props, "fields")?;
        Ok(Box::new(DelimitedDecoder {
            places: places(want, &names),
            names: names.iter().map(|name| Arc::from(name.as_str())).collect(),
            want: Arc::clone(want),
            delimiter: delimiter(props)?,
            zone: super::zone(props)?,
        }))
    }

    fn encoder(&self, props: &Props) -> Result<Box<dyn Encoder>, Diagnostic> {
        let fields = texts("delimited format", props, "fields")?;
        Ok(Box::new(DelimitedEncoder {
            fields: fields.iter().map(|name| Arc::from(name.as_str())).collect(),
            first: None,
            delimiter: delimiter(props)?,
            has_header: flag(props, "hasHeader")?,
            zone: super::zone(props)?,
        }))
    }
}

fn delimiter(props: &Props) -> Result<String, Diagnostic> {
    Ok(match text(props, "delimiter")? {
        "" => ",".to_owned(),
        delimiter => delimiter.to_owned(),
    })
}

/// Which slots take the column at a place; `None` when the row is needed as a whole.
fn places(want: &Projection, names: &[String]) -> Option<BTreeMap<usize, Vec<usize>>> {
    let mut places: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (slot, wanted) in want.slots.iter().enumerate() {
        let Want::Column { path, .. } = &wanted.want else { return None };
        if wanted.strict.is_some() || want.ignore_case {
            return None;
        }
        let [name] = path.as_slice() else { continue };
        let place = match names.is_empty() {
            true => name.strip_prefix("col").and_then(|number| number.parse().ok()),
            false => names.iter().position(|have| have.as_str() == &**name),
        };
        if let Some(place) = place {
            places.entry(place).or_default().push(slot);
        }
    }
    Some(places)
}

struct DelimitedDecoder {
    want: Arc<Projection>,
    places: Option<BTreeMap<usize, Vec<usize>>>,
    names: Vec<Arc<str>>,
    delimiter: String,
    zone: Tz,
}

impl DelimitedDecoder {
    /// Start and end of each column of the payload.
    fn split<'a>(&'a self, payload: &'a [u8]) -> impl Iterator<Item = (usize, usize)> + 'a {
        let ends = memmem::find_iter(payload, self.delimiter.as_bytes()).chain([payload.len()]);
        let mut start = 0;
        ends.map(move |end| {
            let column = (start, end);
            start = end + self.delimiter.len();
            column
        })
    }

    /// Straight into the columns, as spans of the arena.
    fn direct(
        &self,
        places: &BTreeMap<usize, Vec<usize>>,
        raw: &RawBatch,
        index: usize,
        into: &mut BatchBuilder,
    ) {
        let base = raw.spans[index].0 as usize;
        let last = places.last_key_value().map_or(0, |(place, _)| place + 1);
        for (place, (start, end)) in self.split(raw.payload(index)).enumerate().take(last) {
            for slot in places.get(&place).into_iter().flatten() {
                into.column(*slot).push_text_span(base + start, end - start);
            }
        }
        into.end_row(raw.times[index]);
    }

    /// By way of a row of its own: for `*`, metadata and strict columns.
    fn whole(&self, raw: &RawBatch, index: usize, into: &mut BatchBuilder) {
        let payload = raw.payload(index);
        let named = self.split(payload).enumerate().filter_map(|(place, (start, end))| {
            let name = match self.names.is_empty() {
                true => Arc::from(format!("col{place}")),
                false => Arc::clone(self.names.get(place)?),
            };
            Some((name, Value::text(String::from_utf8_lossy(&payload[start..end]))))
        });
        push_row(&self.want, &named.collect::<Fields>(), (raw, index, self.zone), into);
    }
}

impl Decoder for DelimitedDecoder {
    fn decode(&mut self, raw: &RawBatch, into: &mut BatchBuilder) {
        for index in 0..raw.spans.len() {
            match &self.places {
                Some(places) => self.direct(places, raw, index, into),
                None => self.whole(raw, index, into),
            }
        }
    }
}

struct DelimitedEncoder {
    /// The columns asked for; empty: those of the data.
    fields: Vec<Arc<str>>,
    /// The columns of the first single row, kept for ever (F3.3).
    first: Option<Vec<Arc<str>>>,
    delimiter: String,
    has_header: bool,
    zone: Tz,
}

impl DelimitedEncoder {
    fn line(&self, columns: &[Arc<str>], row: &Fields, out: &mut Vec<u8>) {
        for (index, column) in columns.iter().enumerate() {
            if index > 0 {
                out.extend_from_slice(self.delimiter.as_bytes());
            }
            if let Some(value) = row.get(column) {
                out.extend_from_slice(plain_text(value, self.zone).as_bytes());
            }
        }
    }

    fn header(&self, columns: &[Arc<str>], out: &mut Vec<u8>) {
        if self.has_header {
            out.extend_from_slice(columns.join(self.delimiter.as_str()).as_bytes());
            out.push(b'\n');
        }
    }
}

impl Encoder for DelimitedEncoder {
    fn encode(&mut self, message: Message<'_>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let keys = |row: &Fields| row.keys().cloned().collect::<Vec<_>>();
        match message {
            Message::Row(row) => {
                if self.first.is_none() {
                    self.first = Some(if self.fields.is_empty() { keys(row) } else { self.fields.clone() });
                }
                let columns = self.first.as_deref().unwrap_or_default();
                self.header(columns, out);
                self.line(columns, row, out);
            }
            Message::List(rows) => {
                let own = rows.first().filter(|_| self.fields.is_empty()).map(|row| keys(row));
                let columns = own.as_deref().unwrap_or(&self.fields);
                self.header(columns, out);
                for (index, row) in rows.iter().enumerate() {
                    if index > 0 {
                        out.push(b'\n');
                    }
                    self.line(columns, row, out);
                }
            }
        }
        Ok(())
    }

    fn save(&self, writer: &mut StateWriter) {
        if let Some(columns) = &self.first {
            writer.section("delimited", 1);
            writer.value(&Value::list(columns.iter().map(|name| Value::Str(Arc::clone(name))).collect()));
        }
    }

    fn load(&mut self, reader: &mut StateReader<'_>) -> Result<(), StateError> {
        reader.section("delimited", 1)?;
        let wrong = || StateError("columns of delimited text are no list of names".to_owned());
        let Value::List(names) = reader.value()? else { return Err(wrong()) };
        let name = |name: &Value| match name {
            Value::Str(name) => Ok(Arc::clone(name)),
            _ => Err(wrong()),
        };
        self.first = Some(names.iter().map(name).collect::<Result<_, _>>()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::row::testing::{decode, encode, projection, props, row};
    use super::*;

    fn texts(values: &[&str]) -> Vec<Value> {
        values.iter().map(Value::text).collect()
    }

    #[test]
    fn columns_are_split_without_quoting_and_are_always_strings() {
        // F3.2.
        let payloads: [&[u8]; 3] = [b"1,\"a\", b", b"2", b""];
        let (rows, faults) = decode(&FORMAT, projection(&["col2", "col0"]), "{}", &payloads);
        let expected =
            [texts(&[" b", "1"]), vec![Value::Null, Value::text("2")], vec![Value::Null, Value::text("")]];
        assert_eq!(rows, expected);
        assert!(faults.is_empty());
    }

    #[test]
    fn fields_name_the_columns_and_everything_is_a_map_of_them() {
        let config = r#"{"fields":["id","name"],"delimiter":"::"}"#;
        let want = || projection(&["name", "*"]);
        let (rows, _) = decode(&FORMAT, want(), config, &[b"7::x::ignored"]);
        assert_eq!(rows[0][0], Value::text("x"));
        assert_eq!(rows[0][1], Value::Map(row(r#"{"id":"7","name":"x"}"#)));
        let (rows, _) = decode(&FORMAT, projection(&["name"]), config, &[b"7::x"]);
        assert_eq!(rows, [texts(&["x"])]);
    }

    #[test]
    fn single_rows_keep_the_columns_of_the_first_one() {
        // F3.3.
        let mut encoder = FORMAT.encoder(&props("{}")).unwrap();
        for (fields, expected) in [
            (r#"{"b":1000000,"a":"x"}"#, "x,1000000"),
            (r#"{"a":null,"c":1}"#, ","),
            (r#"{"b":0.5}"#, ",0.5"),
        ] {
            assert_eq!(encode(encoder.as_mut(), Message::Row(&row(fields))), Ok(expected.to_owned()));
        }
    }

    #[test]
    fn lists_have_a_line_a_row_and_fields_set_the_order() {
        let rows = [row(r#"{"a":1,"b":2}"#), row(r#"{"b":3,"c":4}"#)];
        let list = Message::List(&rows);
        for (config, expected) in [
            ("{}", "1,2\n,3"),
            (r#"{"hasHeader":true,"delimiter":";"}"#, "a;b\n1;2\n;3"),
            (r#"{"fields":["b","a"]}"#, "2,1\n3,"),
        ] {
            let mut encoder = FORMAT.encoder(&props(config)).unwrap();
            assert_eq!(encode(encoder.as_mut(), list), Ok(expected.to_owned()), "{config}");
        }
    }
}
