//! JSON messages of a few forms one after the other: what the decoder learned from the first ones must not change what
//! it makes of the others, which are damaged, or differ by a key, a scalar or a blank.

use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_connectors::format::json::FORMAT;
use thalweg_core::format::{Format, RawBatch};
use thalweg_core::{BatchBuilder, PathStep, Projection, Props, Timestamp, Want};

use crate::json::damage;
use crate::rows::value;
use crate::{Choices, Input};

/// A message's form: text, and places for scalars.
type Form = Vec<Option<String>>;

struct Traffic {
    want: Projection,
    messages: Vec<Vec<u8>>,
}

const NAMES: &[&str] = &["p", "q", "x", "a", "é", "long name of a measured value", "", "b0"];

pub(crate) fn draw(c: &mut Choices) -> Box<dyn Input> {
    let forms: Vec<Form> = (0..=c.below(3)).map(|_| form(c)).collect();
    let message = |c: &mut Choices| {
        let form = &forms[c.index(forms.len())];
        let scalar = |part: &Option<String>, c: &mut Choices| part.clone().unwrap_or_else(|| value(c, 0));
        let mut parts: Vec<String> = form.iter().map(|part| scalar(part, c)).collect();
        if c.chance(25) {
            let (one, other) = (c.index(parts.len()), c.index(parts.len()));
            match c.below(4) {
                0 => drop(parts.remove(one)),
                1 => parts.insert(other, parts[one].clone()),
                2 => parts.swap(one, other),
                _ => parts[one] = c.pick(NAMES).to_owned(),
            }
        }
        let mut bytes = parts.concat().into_bytes();
        if c.chance(25) {
            damage(c, &mut bytes);
        }
        bytes
    };
    let messages = c.many(2, 24, message);
    Box::new(Traffic { want: projection(c), messages })
}

fn form(c: &mut Choices) -> Form {
    let mut form = vec![Some("{".to_owned())];
    // Above eight scalars and 128 bytes another decoder is at work.
    let members = if c.chance(50) { c.below(6) } else { 12 + c.below(20) };
    for index in 0..members {
        let name = match c.chance(70) {
            true => c.pick(NAMES).to_owned(),
            false => format!("member{index}"),
        };
        let comma = if index == 0 { "" } else { "," };
        let blank = c.pick(&["", "", "", " ", "\n\t"]);
        form.push(Some(format!("{comma}{blank}\"{name}\":{blank}")));
        nested(c, 2, &mut form);
    }
    form.push(Some("}".to_owned()));
    form
}

fn nested(c: &mut Choices, depth: u32, form: &mut Form) {
    let (open, close, is_object) = match c.below(if depth == 0 { 1 } else { 8 }) {
        6 => ("[", "]", false),
        7 => ("{", "}", true),
        _ => return form.push(None),
    };
    form.push(Some(open.to_owned()));
    for index in 0..c.below(4) {
        let comma = if index == 0 { "" } else { "," };
        let name = if is_object { format!("\"{}\":", c.pick(NAMES)) } else { String::new() };
        form.push(Some(format!("{comma}{name}")));
        nested(c, depth - 1, form);
    }
    form.push(Some(close.to_owned()));
}

fn projection(c: &mut Choices) -> Projection {
    let mut want =
        Projection { whole_numbers: c.chance(20), ignore_case: c.chance(20), ..Projection::default() };
    for name in NAMES.iter().filter(|_| c.chance(40)) {
        let path = vec![Arc::from(*name)];
        want.slot(Want::Column { path, data_type: None }, None);
    }
    for _ in 0..c.below(3) {
        let step = |c: &mut Choices| match c.chance(60) {
            true => PathStep::Member(Arc::from(c.pick(NAMES))),
            false => PathStep::Index(c.index(3)),
        };
        let steps = vec![step(c); 1 + c.index(2)];
        want.slot(Want::Path { column: Arc::from(c.pick(NAMES)), steps, data_type: None }, None);
    }
    if c.chance(30) {
        want.slot(Want::Everything, None);
    }
    want
}

/// What a decoder makes of each message: its rows and its fault.
fn decoded(want: Projection, messages: &[Vec<u8>]) -> Result<Vec<String>, String> {
    let want = Arc::new(want);
    let mut decoder = FORMAT.decoder(&want, &Props::new()).map_err(|why| why.to_string())?;
    let mut builder = BatchBuilder::new(Arc::new(want.schema()));
    let (mut arena, mut spans) = (Vec::new(), Vec::new());
    for message in messages {
        spans.push((arena.len() as u32, message.len() as u32));
        arena.extend_from_slice(message);
    }
    let arena = Arc::new(arena);
    let one = |span| {
        let raw = RawBatch {
            arena: Arc::clone(&arena),
            spans: vec![span],
            times: vec![Timestamp(0)],
            ..RawBatch::default()
        };
        builder.begin(Some(Arc::clone(&arena)));
        decoder.decode(&raw, &mut builder);
        let (batch, rows) = builder.finish();
        let cells = |row| batch.columns.iter().map(move |column| format!("{:?}", column.cell(row)));
        let rows_of = (0..batch.n_rows).map(|row| cells(row).collect::<Vec<_>>().join(" "));
        let faults = rows.faults.iter().map(|fault| fault.message.to_string());
        rows_of.chain(faults).collect::<Vec<_>>().join("\n")
    };
    Ok(spans.into_iter().map(one).collect())
}

impl Input for Traffic {
    fn text(&self) -> String {
        let message = |message: &Vec<u8>| format!("{:?}", String::from_utf8_lossy(message));
        let messages: Vec<String> = self.messages.iter().map(message).collect();
        format!("{}\n{:?}", messages.join("\n"), self.want.slots)
    }

    fn check(&self) -> Result<(), String> {
        let strict = Projection { strict_json: true, ..self.want.clone() };
        let walked = decoded(strict.clone(), &self.messages)?;
        let right: Vec<Vec<u8>> = self.messages.iter().map(|message| put_right(message)).collect();
        let lenient = decoded(strict, &right)?;
        for (index, found) in decoded(self.want.clone(), &self.messages)?.iter().enumerate() {
            // Large messages are not looked into where nobody wants anything.
            if *found != walked[index] && *found != lenient[index] {
                let message = String::from_utf8_lossy(&self.messages[index]);
                return Err(format!(
                    "message {index} {message:?}\nwalked:  {}\ndecoded: {found}",
                    walked[index]
                ));
            }
        }
        Ok(())
    }
}

/// The same text with a zero in place of every scalar that is none. One that is wanted and wrong then shows as zero.
fn put_right(message: &[u8]) -> Vec<u8> {
    let (mut out, mut from, mut is_text, mut is_escaped) = (Vec::new(), 0, false, false);
    for (at, &byte) in message.iter().enumerate() {
        if is_text || !b"{}[]:,".contains(&byte) {
            is_text ^= byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            continue;
        }
        let part = String::from_utf8_lossy(&message[from..at]);
        let is_kept = byte == b':' || part.trim_ascii().is_empty() || is_scalar(&part);
        out.extend_from_slice(if is_kept { &message[from..at] } else { b"0" });
        out.push(byte);
        (from, is_escaped) = (at + 1, false);
    }
    out.extend_from_slice(&message[from..]);
    out
}

/// Go reads lone surrogates, which serde_json refuses.
fn is_scalar(text: &str) -> bool {
    serde_json::from_str::<Json>(text).is_ok()
        || serde_json::from_str::<Json>(&text.replace("\\ud", "\\u0")).is_ok()
}
