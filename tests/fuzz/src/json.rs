//! JSON: our decoder and encoder beside `serde_json`; three inputs in ten are streams of messages (`traffic.rs`).

use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_connectors::format::json::FORMAT;
use thalweg_core::format::{Format, Message, RawBatch};
use thalweg_core::{
    Batch, BatchBuilder, Cell, DataType, Fields, Projection, Props, Selection, Timestamp, Value, Want,
};

use crate::rows::value;
use crate::{Choices, Input, Target, traffic};

/// The row of the table.
pub(crate) const TARGET: Target = Target {
    name: "json",
    claim: "reads what serde_json reads, in whole, by path and by type, whatever it learned from messages before; \
            writes what serde_json reads back",
    draw,
};

const PATHS: &[&[&str]] =
    &[&["p"], &["q"], &["x", "p"], &["a"], &["x"], &["é"], &["p", "q", "x"], &["nothing"]];

struct Payload {
    bytes: Vec<u8>,
    paths: Vec<&'static [&'static str]>,
    whole_numbers: bool,
    typed: Option<DataType>,
}

fn draw(c: &mut Choices) -> Box<dyn Input> {
    if c.chance(30) {
        return traffic::draw(c);
    }
    let mut bytes = document(c).into_bytes();
    if c.chance(35) {
        damage(c, &mut bytes);
    }
    let mut paths: Vec<_> = PATHS.iter().copied().filter(|_| c.chance(40)).collect();
    paths.dedup();
    let typed = match c.below(10) {
        6 => Some(DataType::BigInt),
        7 => Some(DataType::Float),
        8 => Some(DataType::Boolean),
        9 => Some(DataType::Array(Box::new(DataType::Float))),
        _ => None,
    };
    Box::new(Payload { bytes, paths, whole_numbers: c.chance(25), typed })
}

fn document(c: &mut Choices) -> String {
    let object = |c: &mut Choices| {
        let member = |c: &mut Choices| {
            let name = c.pick(&["p", "q", "x", "a", "é", "\\u0070", "long name", ""]).to_owned();
            let blank = c.pick(&["", " ", "\n\t"]).to_owned();
            format!("{blank}\"{name}\"{blank}:{blank}{}{blank}", value(c, 3))
        };
        format!("{{{}}}", c.many(0, 5, member).join(","))
    };
    match c.below(10) {
        0..7 => object(c),
        7 | 8 => format!("[{}]", c.many(0, 3, object).join(",")),
        _ => value(c, 2),
    }
}

/// Cut short, a byte changed, doubled or put in.
pub(crate) fn damage(c: &mut Choices, bytes: &mut Vec<u8>) {
    const BYTES: &[u8] = b"{}[]\",:\\ 0-+.eEtfnu\0\x1f\x7f\xff\xc3\xed\xa0";
    for _ in 0..=c.below(3) {
        let at = c.index(bytes.len());
        match c.below(4) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = BYTES[c.index(BYTES.len())],
            2 => bytes.insert(at, BYTES[c.index(BYTES.len())]),
            _ if at < bytes.len() => drop(bytes.remove(at)),
            _ => {}
        }
    }
}

impl Payload {
    fn projection(&self) -> Projection {
        let mut want = Projection { whole_numbers: self.whole_numbers, ..Projection::default() };
        want.slot(Want::Everything, None);
        for path in &self.paths {
            let path = path.iter().map(|name| Arc::from(*name)).collect();
            want.slot(Want::Column { path, data_type: None }, None);
        }
        if let Some(data_type) = &self.typed {
            let path = vec![Arc::from("q")];
            want.slot(Want::Column { path, data_type: Some(data_type.clone()) }, None);
        }
        want
    }

    fn decode(&self) -> Result<(Batch, Selection), String> {
        let want = Arc::new(self.projection());
        let mut decoder = FORMAT.decoder(&want, &Props::new()).map_err(|why| why.to_string())?;
        let mut builder = BatchBuilder::new(Arc::new(want.schema()));
        // Something stands before and behind the payload, as in a batch of many.
        let mut arena = b"{\"p\":".to_vec();
        let start = arena.len() as u32;
        arena.extend_from_slice(&self.bytes);
        arena.extend_from_slice(b"\"}]}");
        let raw = RawBatch {
            arena: Arc::new(arena),
            spans: vec![(start, self.bytes.len() as u32)],
            times: vec![Timestamp(0)],
            ..RawBatch::default()
        };
        builder.begin(Some(Arc::clone(&raw.arena)));
        decoder.decode(&raw, &mut builder);
        Ok(builder.finish())
    }
}

impl Input for Payload {
    fn text(&self) -> String {
        format!(
            "{:?}\npaths {:?}, whole numbers {}, q as {:?}",
            String::from_utf8_lossy(&self.bytes),
            self.paths,
            self.whole_numbers,
            self.typed
        )
    }

    fn check(&self) -> Result<(), String> {
        let (batch, selection) = self.decode()?;
        let rows: Vec<Value> = (0..batch.n_rows).map(|row| batch.columns[0].value(row)).collect();
        written(&rows)?;
        let Ok(text) = std::str::from_utf8(&self.bytes) else { return Ok(()) };
        let fault = selection.faults.first().map(|fault| &*fault.message);
        let expected = match serde_json::from_str::<Json>(text) {
            Err(error) if is_our_own(&error.to_string()) => return Ok(()),
            Err(error) => Err(error.to_string()),
            Ok(Json::Array(items)) if items.iter().all(Json::is_object) => Ok(items),
            Ok(row @ Json::Object(_)) => Ok(vec![row]),
            Ok(_) => Err("no rows".to_owned()),
        };
        let expected = expected.and_then(|rows| self.convertible(rows));
        match (expected, fault) {
            (Ok(expected), None) => self.compare(&expected, &batch),
            (Err(_), Some(_)) => Ok(()),
            (Err(error), None) => Err(format!("accepted, serde_json says: {error}")),
            // T-4: of equal keys every one must fit.
            (Ok(_), Some(fault)) if fault.contains("wrong type") && text.matches("\"q\"").count() > 1 => {
                Ok(())
            }
            (Ok(_), Some(fault)) => Err(format!("refused: {fault}")),
        }
    }
}

/// Where serde_json is not the measure: limits of its own, and what Go reads as U+FFFD.
fn is_our_own(error: &str) -> bool {
    ["surrogate", "hex escape", "out of range", "recursion limit", "invalid unicode"]
        .iter()
        .any(|text| error.contains(text))
}

impl Payload {
    /// T-4: one value that does not fit its type refuses the payload.
    fn convertible(&self, rows: Vec<Json>) -> Result<Vec<Json>, String> {
        let Some(data_type) = &self.typed else { return Ok(rows) };
        let misfit = rows.iter().filter_map(|row| row.get("q")).find(|value| !fits(value, data_type));
        misfit.map_or(Ok(()), |value| Err(format!("{value} is no {}", data_type.name()))).map(|()| rows)
    }

    fn compare(&self, expected: &[Json], batch: &Batch) -> Result<(), String> {
        if expected.len() != batch.n_rows {
            return Err(format!("{} rows instead of {}", batch.n_rows, expected.len()));
        }
        for (row, json) in expected.iter().enumerate() {
            equal("the row", Some(json), &batch.columns[0].cell(row))?;
            for (slot, path) in self.paths.iter().enumerate() {
                let found = path.iter().try_fold(json, |json, name| json.get(name));
                let cell = batch.columns[slot + 1].cell(row);
                // O-4: a member of nothing is null; O-14: a member of a list is an error of the row.
                let is_null = path.len() > 1 && found.is_none() && cell.is_nothing();
                let is_refused = matches!(cell, Cell::Error(_)) && passes_a_list(json, path);
                if !is_null && !is_refused {
                    equal(&path.join("."), found, &cell)?;
                }
            }
            if matches!(self.typed, Some(DataType::BigInt | DataType::Float | DataType::Array(_))) {
                equal("q by type", json.get("q"), &batch.columns[self.paths.len() + 1].cell(row))?;
            }
        }
        Ok(())
    }
}

/// Whether a path asks a list for a member.
fn passes_a_list(json: &Json, path: &[&str]) -> bool {
    match path {
        [] => false,
        [name, rest @ ..] => json.is_array() || json.get(name).is_some_and(|json| passes_a_list(json, rest)),
    }
}

fn fits(value: &Json, data_type: &DataType) -> bool {
    match (value, data_type) {
        (Json::Null, _) | (Json::Number(_), DataType::Float | DataType::Boolean) => true,
        (Json::Number(number), DataType::BigInt) => number.is_i64(),
        (Json::Bool(_), DataType::Boolean) => true,
        (Json::String(text), DataType::Boolean) => {
            let known = ["1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"];
            known.contains(&text.as_str())
        }
        (Json::Array(items), DataType::Array(item)) => items.iter().all(|value| fits(value, item)),
        _ => false,
    }
}

fn equal(what: &str, expected: Option<&Json>, found: &Cell<'_>) -> Result<(), String> {
    let is_equal = match (expected, found) {
        (None, Cell::Missing) => true,
        (None, _) | (Some(_), Cell::Missing) => false,
        (Some(json), cell) => is_same(json, &cell.to_value()),
    };
    if is_equal { Ok(()) } else { Err(format!("{what}: expected {expected:?}, found {found:?}")) }
}

/// Equal up to the last bit of a float, which serde_json may round the other way.
fn is_same(json: &Json, value: &Value) -> bool {
    match (json, value) {
        (Json::Null, Value::Null) => true,
        (Json::Bool(left), Value::Bool(right)) => left == right,
        (Json::String(left), Value::Str(right)) => **left == **right,
        (Json::Number(left), Value::Int(right)) => left.as_i64() == Some(*right),
        (Json::Number(left), Value::Float(right)) => left.as_f64().is_some_and(|left| {
            left == *right || ((left - right) / right).abs() < 1e-15 || (left - right).abs() < 1e-322
        }),
        (Json::Array(left), Value::List(right)) => {
            left.len() == right.len()
                && left.iter().zip(right.iter()).all(|(left, right)| is_same(left, right))
        }
        (Json::Object(left), Value::Map(right)) => {
            let same = |(name, value): (&String, &Json)| {
                right.get(name.as_str()).is_some_and(|found| is_same(value, found))
            };
            left.len() == right.len() && left.iter().all(same)
        }
        _ => false,
    }
}

/// Rows that were read are written so that they read back, one by one and as a list.
fn written(rows: &[Value]) -> Result<(), String> {
    let maps: Vec<Arc<Fields>> = rows
        .iter()
        .filter_map(|row| match row {
            Value::Map(fields) => Some(Arc::clone(fields)),
            _ => None,
        })
        .collect();
    let mut encoder = FORMAT.encoder(&Props::new()).map_err(|why| why.to_string())?;
    let mut out = b"before".to_vec();
    encoder.encode(Message::List(&maps), &mut out).map_err(|why| format!("cannot be written: {why}"))?;
    let list: Json = serde_json::from_slice(&out[6..]).map_err(|why| format!("written as no JSON: {why}"))?;
    if !is_same(&list, &Value::list(maps.iter().map(|map| Value::Map(Arc::clone(map))).collect())) {
        return Err(format!("written as something else: {list}"));
    }
    for map in &maps {
        out.clear();
        encoder.encode(Message::Row(map), &mut out).map_err(|why| format!("cannot be written: {why}"))?;
        let row: Json = serde_json::from_slice(&out).map_err(|why| format!("written as no JSON: {why}"))?;
        if !is_same(&row, &Value::Map(Arc::clone(map))) {
            return Err(format!("written as something else: {row}"));
        }
    }
    Ok(())
}
