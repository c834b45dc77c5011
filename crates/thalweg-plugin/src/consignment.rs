//! Batches for sinks that understand them, and what has become of each message in them (`portable-plugins.md` 12.7,
//! 12.8).
//!
//! A batch is a list of elements: a message is one element, or for sinks of rows as many as it has rows. What was
//! acknowledged behind a refused message is remembered, so that it does not go out again with that.

use std::collections::{BTreeSet, HashMap};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use thalweg_core::connector::SinkPayload;
use thalweg_core::json::Scanner;

use crate::wire;

/// A batch that has so many bytes takes no further message.
const ENOUGH_BYTES: usize = 1 << 20;
/// Nor one of so many messages.
const ENOUGH_MESSAGES: usize = 4_096;

/// How a sink wants its messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Form {
    /// It takes rows.
    pub(crate) rows: bool,
    /// The messages are JSON, as the engine writes it.
    pub(crate) is_json: bool,
}

/// A message by which it is known again while it is kept.
type Identity = (usize, usize);

fn identity(payload: &SinkPayload) -> Option<Identity> {
    match payload {
        SinkPayload::Bytes { payload, .. } if payload.is_empty() => None,
        SinkPayload::Bytes { payload, .. } => Some((payload.as_ptr() as usize, payload.len())),
        SinkPayload::Rows { rows, .. } => {
            rows.first().map(|row| (std::ptr::from_ref(&**row) as usize, rows.len()))
        }
    }
}

/// What is known of a message that was sent before.
#[derive(Debug, Clone, PartialEq)]
enum Known {
    Done,
    /// It was refused, and is not to be sent again.
    Refused(String),
    /// Only these of its elements are to be sent again.
    Left(BTreeSet<usize>),
}

/// What has become of the messages of one writing.
#[derive(Debug, PartialEq)]
pub(crate) struct Outcome {
    /// So many from the front are out.
    pub(crate) accepted: usize,
    /// Why the next one is not.
    pub(crate) error: Option<String>,
}

/// What became of earlier messages, as long as they may be offered again.
#[derive(Default)]
pub(crate) struct Memory {
    known: HashMap<Identity, (Known, SinkPayload)>,
}

/// A batch to be sent.
#[derive(Debug)]
pub(crate) struct Consignment {
    seq: u64,
    text: Vec<u8>,
    /// For each message: the positions of its elements in the batch, and which elements of the message they are.
    places: Vec<Vec<(usize, usize)>>,
    n_elements: usize,
}

/// What a sink says to a batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Receipt {
    pub(crate) seq: Option<u64>,
    pub(crate) error: Option<String>,
    /// Which elements; all when it does not say.
    pub(crate) failed: Option<BTreeSet<usize>>,
}

impl Receipt {
    /// Reads an acknowledgement of any kind; what makes no sense acknowledges nothing in particular.
    pub(crate) fn read(message: &[u8]) -> Self {
        let document: Json = serde_json::from_slice(message).unwrap_or_default();
        let error = document.get("error").filter(|error| !error.is_null());
        let error = error.map(|error| error.as_str().map_or_else(|| error.to_string(), str::to_owned));
        let positions = document.get("failed").and_then(Json::as_array);
        let position = |json: &Json| json.as_u64().and_then(|position| usize::try_from(position).ok());
        Self {
            seq: document.get("seq").and_then(Json::as_u64),
            error: error.filter(|error| !error.is_empty()),
            failed: positions.map(|positions| positions.iter().filter_map(position).collect()),
        }
    }
}

impl Consignment {
    /// Puts as many messages from the front together as go into one batch. Those that are known to be out go into it
    /// with nothing.
    pub(crate) fn pack(seq: u64, payloads: &[SinkPayload], form: Form, memory: &Memory) -> Self {
        let mut this = Self { seq, text: b"{\"batch\":[".to_vec(), places: Vec::new(), n_elements: 0 };
        for payload in payloads.iter().take(ENOUGH_MESSAGES) {
            if this.text.len() >= ENOUGH_BYTES {
                break;
            }
            let left = match memory.get(payload) {
                Some(Known::Refused(_)) => break,
                Some(Known::Done) => Some(BTreeSet::new()),
                Some(Known::Left(left)) => Some(left.clone()),
                None => None,
            };
            this.places.push(Vec::new());
            let mut index = 0;
            let mut add = |element: &[u8]| {
                if left.as_ref().is_none_or(|left| left.contains(&index)) {
                    this.add(index, element);
                }
                index += 1;
            };
            match payload {
                SinkPayload::Bytes { payload, .. } => elements(payload, form, &mut add),
                SinkPayload::Rows { rows, .. } if form.rows => {
                    rows.iter().for_each(|row| add(wire::row(row).as_bytes()));
                }
                SinkPayload::Rows { rows, .. } => add(&encoded(wire::rows(rows).as_bytes())),
            }
        }
        this.text.extend_from_slice(format!("],\"seq\":{seq}}}").as_bytes());
        this
    }

    fn add(&mut self, index: usize, element: &[u8]) {
        if self.n_elements > 0 {
            self.text.push(b',');
        }
        self.text.extend_from_slice(element);
        if let Some(places) = self.places.last_mut() {
            places.push((self.n_elements, index));
        }
        self.n_elements += 1;
    }

    /// The number by which it is acknowledged.
    pub(crate) fn seq(&self) -> u64 {
        self.seq
    }

    /// As it is sent, unless as a frame.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text
    }

    /// Whether nothing in it needs to be sent.
    pub(crate) fn is_empty(&self) -> bool {
        self.n_elements == 0
    }

    /// How many messages are in it.
    pub(crate) fn n_messages(&self) -> usize {
        self.places.len()
    }

    /// Whether this acknowledges it.
    pub(crate) fn is_for(&self, receipt: &Receipt) -> bool {
        receipt.seq.is_none_or(|seq| seq == self.seq)
    }

    /// What has become of its messages. `is_final`: what was refused is not sent again.
    pub(crate) fn settle(
        &self,
        payloads: &[SinkPayload],
        receipt: Receipt,
        memory: &mut Memory,
        is_final: bool,
    ) -> Outcome {
        let Some(error) = receipt.error else {
            payloads[..self.n_messages()].iter().for_each(|payload| memory.forget(payload));
            return Outcome { accepted: self.n_messages(), error: None };
        };
        let has_failed =
            |position: usize| receipt.failed.as_ref().is_none_or(|failed| failed.contains(&position));
        let mut first = None;
        for (number, (payload, places)) in payloads.iter().zip(&self.places).enumerate() {
            let left: BTreeSet<usize> = places
                .iter()
                .filter(|(position, _)| has_failed(*position))
                .map(|(_, index)| *index)
                .collect();
            let is_out = left.is_empty();
            first = first.or((!is_out).then_some(number));
            match (is_out, is_final) {
                (true, _) if first.is_none() => memory.forget(payload),
                (true, _) => memory.note(payload, Known::Done),
                (false, true) => memory.note(payload, Known::Refused(error.clone())),
                (false, false) => memory.note(payload, Known::Left(left)),
            }
        }
        match first {
            // It refuses something that is not there.
            None => Outcome { accepted: self.n_messages(), error: None },
            Some(accepted) => {
                if is_final && let Some(payload) = payloads.get(accepted) {
                    memory.forget(payload);
                }
                Outcome { accepted, error: Some(error) }
            }
        }
    }
}

impl Memory {
    fn get(&self, payload: &SinkPayload) -> Option<&Known> {
        // Nothing was refused, nearly always.
        if self.known.is_empty() {
            return None;
        }
        self.known.get(&identity(payload)?).map(|(known, _)| known)
    }

    /// The payload is kept, so that nothing else gets its place.
    fn note(&mut self, payload: &SinkPayload, known: Known) {
        if let Some(identity) = identity(payload) {
            self.known.insert(identity, (known, payload.clone()));
        }
    }

    fn forget(&mut self, payload: &SinkPayload) {
        if !self.known.is_empty()
            && let Some(identity) = identity(payload)
        {
            self.known.remove(&identity);
        }
    }

    /// Why a message that is not to be sent again was refused; it is forgotten.
    pub(crate) fn take_refusal(&mut self, payload: &SinkPayload) -> Option<String> {
        let Some(Known::Refused(error)) = self.get(payload).cloned() else { return None };
        self.forget(payload);
        Some(error)
    }

    /// Forgets what is not offered any more.
    pub(crate) fn keep_only(&mut self, payloads: &[SinkPayload]) {
        if !self.known.is_empty() {
            let offered: BTreeSet<Identity> = payloads.iter().filter_map(identity).collect();
            self.known.retain(|identity, _| offered.contains(identity));
        }
    }
}

/// The elements that a message of bytes becomes.
fn elements(payload: &[u8], form: Form, add: &mut dyn FnMut(&[u8])) {
    match rows_of(payload, form) {
        Some(spans) => spans.into_iter().for_each(|(start, end)| add(&payload[start..end])),
        None => add(&encoded(payload)),
    }
}

/// Where the rows of a message stand, if it is JSON and the sink wants rows. A row with the member `b64` could be taken
/// for bytes, so it travels as text.
fn rows_of(payload: &[u8], form: Form) -> Option<Vec<(usize, usize)>> {
    const BYTES: &[u8] = b"\"b64\"";
    if !form.rows || !form.is_json || payload.windows(BYTES.len()).any(|window| window == BYTES) {
        return None;
    }
    let mut scanner = Scanner::new(payload);
    let mut spans = Vec::new();
    let mut take = |scanner: &mut Scanner<'_>| match scanner.peek() {
        b'{' => scanner.skip().ok().map(|span| spans.push(span)),
        _ => None,
    };
    match scanner.peek() {
        b'[' => {
            scanner.token().ok()?;
            let mut first = true;
            while scanner.next_item(first).ok()? {
                first = false;
                take(&mut scanner)?;
            }
        }
        _ => take(&mut scanner)?,
    }
    scanner.end().ok()?;
    std::str::from_utf8(payload).is_ok().then_some(spans)
}

/// A message as one element.
fn encoded(payload: &[u8]) -> Vec<u8> {
    let mut out = String::new();
    match std::str::from_utf8(payload) {
        Ok(text) => wire::write_text(&mut out, text),
        Err(_) => {
            out.push_str("{\"b64\":\"");
            STANDARD.encode_string(payload, &mut out);
            out.push_str("\"}");
        }
    }
    out.into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(texts: &[&str]) -> Vec<SinkPayload> {
        let message =
            |text: &&str| SinkPayload::Bytes { payload: text.as_bytes().to_vec().into(), props: None };
        texts.iter().map(message).collect()
    }

    fn receipt(text: &str) -> Receipt {
        Receipt::read(text.as_bytes())
    }

    const ROWS: Form = Form { rows: true, is_json: true };

    #[test]
    fn messages_travel_as_text_and_as_rows_where_the_sink_wants_them() {
        let all =
            messages(&[r#"[{"a":1},{"a":2}]"#, r#"{"b":"ü"}"#, "no json", r#"{"b64":"x"}"#, "[1]", "[]"]);
        let plain = Consignment::pack(3, &all[..2], Form::default(), &Memory::default());
        assert_eq!(
            std::str::from_utf8(plain.text()).unwrap(),
            r#"{"batch":["[{\"a\":1},{\"a\":2}]","{\"b\":\"ü\"}"],"seq":3}"#
        );
        let rows = Consignment::pack(4, &all, ROWS, &Memory::default());
        assert_eq!(
            std::str::from_utf8(rows.text()).unwrap(),
            r#"{"batch":[{"a":1},{"a":2},{"b":"ü"},"no json","{\"b64\":\"x\"}","[1]"],"seq":4}"#
        );
        assert_eq!((rows.n_messages(), rows.is_empty()), (6, false));
        let bytes = [SinkPayload::Bytes { payload: vec![0xff, 0].into(), props: None }];
        let bytes = Consignment::pack(5, &bytes, ROWS, &Memory::default());
        assert_eq!(bytes.text(), br#"{"batch":[{"b64":"/wA="}],"seq":5}"#);
    }

    #[test]
    fn a_batch_takes_so_much_and_the_rest_waits_for_the_next() {
        let large = "x".repeat(ENOUGH_BYTES);
        let all = messages(&[&large, "a", "b"]);
        assert_eq!(Consignment::pack(0, &all, ROWS, &Memory::default()).n_messages(), 1);
    }

    #[test]
    fn only_what_was_refused_goes_out_again() {
        let all = messages(&[r#"{"a":1}"#, r#"[{"a":2},{"a":3}]"#, r#"{"a":4}"#]);
        let mut memory = Memory::default();
        let first = Consignment::pack(0, &all, ROWS, &memory);
        assert!(first.is_for(&receipt(r#"{"seq":0}"#)) && !first.is_for(&receipt(r#"{"seq":1}"#)));
        let some = receipt(r#"{"seq":0,"error":"no","failed":[2]}"#);
        let outcome = first.settle(&all, some, &mut memory, false);
        assert_eq!(outcome, Outcome { accepted: 1, error: Some("no".to_owned()) });
        memory.keep_only(&all[1..]);
        let again = Consignment::pack(1, &all[1..], ROWS, &memory);
        assert_eq!(again.text(), br#"{"batch":[{"a":3}],"seq":1}"#);
        let outcome = again.settle(&all[1..], receipt(r#"{"seq":1}"#), &mut memory, false);
        assert_eq!(outcome, Outcome { accepted: 2, error: None });
        assert!(memory.known.is_empty());
    }

    #[test]
    fn what_is_not_sent_again_is_told_one_by_one() {
        let all = messages(&["a", "b", "c", "d"]);
        let mut memory = Memory::default();
        let batch = Consignment::pack(0, &all, Form::default(), &memory);
        let outcome = batch.settle(&all, receipt(r#"{"error":"no","failed":[0,2,9]}"#), &mut memory, true);
        assert_eq!(outcome, Outcome { accepted: 0, error: Some("no".to_owned()) });
        // The runtime drops "a".
        let rest = &all[1..];
        let next = Consignment::pack(1, rest, Form::default(), &memory);
        assert_eq!((next.n_messages(), next.is_empty()), (1, true));
        assert_eq!(next.settle(rest, Receipt::default(), &mut memory, true).accepted, 1);
        assert_eq!(memory.take_refusal(&all[2]).as_deref(), Some("no"));
        let last = Consignment::pack(2, &all[3..], Form::default(), &memory);
        assert_eq!((last.n_messages(), last.is_empty()), (1, true));
    }

    #[test]
    fn without_positions_all_of_it_has_failed_and_positions_beyond_it_mean_nothing() {
        let all = messages(&["a", "b"]);
        let mut memory = Memory::default();
        let batch = Consignment::pack(0, &all, Form::default(), &memory);
        assert_eq!(batch.settle(&all, receipt(r#"{"error":"no"}"#), &mut memory, false).accepted, 0);
        let again = Consignment::pack(1, &all, Form::default(), &memory);
        assert_eq!(again.text(), br#"{"batch":["a","b"],"seq":1}"#);
        let beyond = receipt(r#"{"error":"no","failed":[7,-1,"x"]}"#);
        assert_eq!(again.settle(&all, beyond, &mut memory, false), Outcome { accepted: 2, error: None });
    }

    #[test]
    fn acknowledgements_that_make_no_sense_acknowledge_nothing_in_particular() {
        for text in ["", "x", "[]", "{}", r#"{"error":""}"#, r#"{"error":null,"seq":-1}"#] {
            assert_eq!(receipt(text), Receipt::default(), "{text}");
        }
        assert_eq!(receipt(r#"{"error":{"a":1}}"#).error.as_deref(), Some(r#"{"a":1}"#));
    }
}
