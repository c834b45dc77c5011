//! Frames that sources send (op 3), read into rows. As little is believed as of answers.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value as Json;
use thalweg_core::connector::RowArrivals;
use thalweg_core::{Column, Fields, RowError, Value};

use super::decode::{Errors, Memory, Spec, Values};
use super::{HEAD, MAGIC, MAX_ROWS, SOURCE, VERSION, decode};
use crate::messages::Said;
use crate::wire;

#[derive(Deserialize)]
struct Header {
    n: usize,
    cols: Vec<Named>,
    #[serde(default)]
    meta: Json,
    #[serde(default)]
    saved: Json,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    #[serde(flatten)]
    spec: Spec,
}

/// Reads a frame of rows.
pub(crate) fn read(message: &[u8]) -> Result<Said, String> {
    let header = header(message)?;
    // A row has at least a byte, if it has any column; only constants could claim more.
    if header.n > MAX_ROWS.min(message.len()) {
        return Err(format!("invalid source frame: {} rows in {} bytes", header.n, message.len()));
    }
    let mut rows = vec![Fields::new(); header.n];
    for column in &header.cols {
        let name: Arc<str> = Arc::from(column.name.as_str());
        for (row, value) in rows.iter_mut().zip(values(column, message, header.n)?) {
            row.insert(Arc::clone(&name), value);
        }
    }
    let meta = match wire::value(&header.meta) {
        Value::Map(meta) => vec![Some(meta); header.n],
        _ => Vec::new(),
    };
    let rows = rows.into_iter().map(Arc::new).collect();
    let saved = (!header.saved.is_null()).then(|| Arc::from(header.saved.to_string()));
    Ok(Said { arrivals: RowArrivals { rows, meta, ..RowArrivals::default() }, saved, ..Said::default() })
}

fn header(message: &[u8]) -> Result<Header, String> {
    let Some((head, rest)) = message.split_first_chunk::<HEAD>() else {
        return Err(format!("invalid source frame: it has {} bytes", message.len()));
    };
    let [magic, version, op, flags, length @ .., _, _, _, _, _, _, _, _] = head;
    if (*magic, *version, *op, *flags) != (MAGIC, VERSION, SOURCE, 0) {
        return Err(format!("invalid source frame: version {version}, kind {op} and flags {flags}"));
    }
    let length = u32::from_le_bytes(*length) as usize;
    let Some(text) = rest.get(..length) else {
        return Err(format!("invalid source frame: a header of {length} bytes in {}", message.len()));
    };
    // Zeros or blanks may follow.
    let mut reader = serde_json::Deserializer::from_slice(text);
    Header::deserialize(&mut reader).map_err(|error| format!("invalid source frame: its header: {error}"))
}

fn values(named: &Named, message: &[u8], n: usize) -> Result<impl Iterator<Item = Value>, String> {
    let mut column = Column::new();
    let (mut said, failed) = (decode::Said::default(), |text: &str| RowError::text(text));
    let values = Values::of(&named.spec, Memory { bytes: message, from: 0 }, n);
    values
        .and_then(|values| values.push_all(Errors::none(), &failed, &mut column, &mut said))
        .map_err(|error| format!("column {}: {error}", named.name))?;
    Ok((0..n).map(move |row| column.cell(row).to_value()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(header: &str, buffers: &[u8]) -> Vec<u8> {
        let mut frame = vec![MAGIC, VERSION, SOURCE, 0];
        let header = format!("{header:<112}");
        frame.extend((header.len() as u32).to_le_bytes());
        frame.extend([0; 8]);
        frame.extend(header.as_bytes());
        frame.extend(buffers);
        frame
    }

    #[test]
    fn columns_become_rows_with_their_metadata_and_what_is_remembered() {
        let header =
            r#"{"n":2,"meta":{"t":1},"saved":{"a":[1]},"cols":[{"name":"x","t":"f64","data":[128,16]}]}"#;
        let buffers: Vec<u8> = [1.5f64, 7.0].iter().flat_map(|value| value.to_le_bytes()).collect();
        let said = read(&frame(header, &buffers)).unwrap();
        let rows = &said.arrivals.rows;
        assert_eq!((&rows[0]["x"], &rows[1]["x"]), (&Value::Float(1.5), &Value::Float(7.0)));
        assert_eq!(said.arrivals.meta[1].as_ref().unwrap()["t"], Value::Float(1.0));
        assert_eq!(said.saved.as_deref(), Some(r#"{"a":[1]}"#));
    }

    #[test]
    fn frames_that_make_no_sense_are_refused() {
        for (message, why) in [
            (vec![b'C'; 3], "it has 3 bytes"),
            (frame(r#"{"n":9999999,"cols":[{"name":"x","t":"const","v":1}]}"#, &[]), "9999999 rows in"),
            (frame(r#"{"n":2,"cols":[{"name":"x","t":"f64","data":[128,16]}]}"#, &[0; 8]), "column x: "),
            (frame(r#"{"n":2,"cols":[{"t":"f64"}]}"#, &[]), "its header: missing field `name`"),
            (frame(r#"{"n":-1,"cols":[]}"#, &[]), "its header: "),
            (frame("{", &[]), "its header: "),
        ] {
            let error = read(&message).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
        let mut answer = frame(r#"{"n":0,"cols":[]}"#, &[]);
        answer[2] = 131;
        assert!(read(&answer).unwrap_err().contains("kind 131"));
        assert!(read(&frame(r#"{"n":0,"cols":[]}"#, &[])).unwrap().arrivals.rows.is_empty());
    }
}
