//! What sources send beyond single rows: batches as JSON (`portable-plugins.md` 12.7), read without a document in
//! between.

use std::sync::Arc;

use thalweg_core::connector::RowArrivals;
use thalweg_core::json::{Number, Scanner, Text, Token};
use thalweg_core::{Fields, FormatError, Value};

use crate::wire;

/// Integers beyond this cannot be floats without loss.
const EXACT: i64 = 1 << 53;

/// What one message of a source says.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// Rows with their metadata.
    pub(crate) arrivals: RowArrivals,
    /// What it reports, and what could not be read.
    pub(crate) faults: Vec<String>,
    /// What the source remembers behind these rows, as JSON text.
    pub(crate) saved: Option<Arc<str>>,
    /// It has no more rows.
    pub(crate) is_end: bool,
}

/// So many names are kept.
const MOST_NAMES: usize = 1_024;

/// The names of rows: those of one row are mostly those of the next.
#[derive(Debug, Default)]
pub(crate) struct Names {
    known: Vec<Arc<str>>,
}

impl Names {
    fn get(&mut self, place: usize, key: Text, bytes: &[u8]) -> Arc<str> {
        if !key.escaped
            && let Some(known) = self.known.get(place)
            && known.as_bytes() == key.raw(bytes)
        {
            return Arc::clone(known);
        }
        let name: Arc<str> = Arc::from(&*key.decode(bytes));
        if let Some(known) = self.known.get_mut(place) {
            known.clone_from(&name);
        } else if place == self.known.len() && place < MOST_NAMES {
            self.known.push(Arc::clone(&name));
        }
        name
    }
}

/// Reads a message of any kind.
pub(crate) fn read(message: &[u8], names: &mut Names) -> Result<Said, String> {
    let invalid = |error: FormatError| format!("invalid source message: {}", error.message);
    let error = match Reader::of(message, names).message() {
        Ok(said) => return Ok(said),
        Err(error) => error,
    };
    // Python writes three words that JSON does not know (trap 8).
    match wire::without_nan(message) {
        Some(message) => Reader::of(&message, names).message().map_err(invalid),
        None => Err(invalid(error)),
    }
}

struct Reader<'a> {
    scanner: Scanner<'a>,
    names: &'a mut Names,
}

impl<'a> Reader<'a> {
    fn of(message: &'a [u8], names: &'a mut Names) -> Self {
        Self { scanner: Scanner::new(message), names }
    }
    fn message(&mut self) -> Result<Said, FormatError> {
        let mut said = Said::default();
        match self.scanner.token()? {
            Token::OpenObject => {}
            // The Go SDK sends an error as JSON text inside a string.
            Token::Text(text) => {
                let text = text.decode(self.scanner.bytes()).into_owned();
                self.scanner.end()?;
                return Reader::of(text.as_bytes(), self.names).inside_text();
            }
            _ => return Err(FormatError::new("it is no object")),
        }
        let (mut first, mut is_known) = (true, false);
        let mut meta = Metas::default();
        while let Some(key) = self.scanner.next_key(first)? {
            first = false;
            is_known |= self.member(key, &mut said, &mut meta)?;
        }
        self.scanner.end()?;
        if !is_known {
            said.faults
                .push("invalid source message: it has no message, messages, error, eof or saved".to_owned());
        }
        said.arrivals.meta = meta.for_rows(said.arrivals.rows.len(), &mut said.faults);
        Ok(said)
    }

    fn inside_text(mut self) -> Result<Said, FormatError> {
        match self.scanner.peek() {
            b'{' => self.message(),
            _ => Err(FormatError::new("it is text")),
        }
    }

    /// One member; whether it is one of ours.
    fn member(&mut self, key: Text, said: &mut Said, meta: &mut Metas) -> Result<bool, FormatError> {
        match key.raw(self.scanner.bytes()) {
            b"messages" => self.rows(said)?,
            b"message" => self.row(said, 0)?,
            b"metas" => meta.each = self.objects()?,
            b"meta" => {
                meta.all = self.object()?;
                return Ok(false);
            }
            b"saved" => said.saved = self.saved()?,
            b"eof" => said.is_end = self.value()? == Value::Bool(true),
            b"error" => match self.value()? {
                Value::Null => return Ok(false),
                Value::Str(text) => said.faults.push(text.as_ref().to_owned()),
                other => said.faults.push(wire::text_of(&other)),
            },
            _ => {
                self.scanner.skip()?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn rows(&mut self, said: &mut Said) -> Result<(), FormatError> {
        if self.scanner.peek() != b'[' {
            self.scanner.skip()?;
            said.faults.push("invalid source message: messages must be a list".to_owned());
            return Ok(());
        }
        self.scanner.token()?;
        let mut index = 0;
        while self.scanner.next_item(index == 0)? {
            self.row(said, index)?;
            index += 1;
        }
        Ok(())
    }

    fn row(&mut self, said: &mut Said, index: usize) -> Result<(), FormatError> {
        match self.object()? {
            Some(row) => said.arrivals.rows.push(row),
            None => {
                let text =
                    format!("invalid source message: message must be an object, number {index} is not");
                said.faults.push(text);
            }
        }
        Ok(())
    }

    /// A list of objects, with `None` for what is none.
    fn objects(&mut self) -> Result<Vec<Option<Arc<Fields>>>, FormatError> {
        let mut all = Vec::new();
        if self.scanner.peek() != b'[' {
            self.scanner.skip()?;
            return Ok(all);
        }
        self.scanner.token()?;
        while self.scanner.next_item(all.is_empty())? {
            all.push(self.object()?);
        }
        Ok(all)
    }

    /// The object that stands here; `None` when it is something else.
    fn object(&mut self) -> Result<Option<Arc<Fields>>, FormatError> {
        if self.scanner.peek() != b'{' {
            self.scanner.skip()?;
            return Ok(None);
        }
        self.scanner.token()?;
        let (mut fields, mut place) = (Fields::new(), 0);
        while let Some(key) = self.scanner.next_key(place == 0)? {
            let name = self.names.get(place, key, self.scanner.bytes());
            fields.insert(name, self.value()?);
            place += 1;
        }
        Ok(Some(Arc::new(fields)))
    }

    /// As it stands there.
    fn saved(&mut self) -> Result<Option<Arc<str>>, FormatError> {
        let is_null = self.scanner.peek() == b'n';
        let (start, end) = self.scanner.skip()?;
        let text = std::str::from_utf8(&self.scanner.bytes()[start..end]);
        let text =
            text.map_err(|error| FormatError::new(format!("what it remembers is no UTF-8: {error}")))?;
        Ok((!is_null).then(|| Arc::from(text)))
    }

    /// Numbers are floats, as in answers of functions.
    fn value(&mut self) -> Result<Value, FormatError> {
        Ok(match self.scanner.token()? {
            Token::Null => Value::Null,
            Token::Bool(value) => Value::Bool(value),
            Token::Number(Number::Int(whole)) if !(-EXACT..=EXACT).contains(&whole) => Value::Int(whole),
            Token::Number(number) => Value::Float(number.as_f64()),
            Token::Text(text) => Value::Str(Arc::from(&*text.decode(self.scanner.bytes()))),
            Token::OpenArray => {
                let mut items = Vec::new();
                while self.scanner.next_item(items.is_empty())? {
                    items.push(self.value()?);
                }
                Value::list(items)
            }
            Token::OpenObject => {
                let (mut fields, mut first) = (Fields::new(), true);
                while let Some(key) = self.scanner.next_key(first)? {
                    first = false;
                    let name: Arc<str> = Arc::from(&*key.decode(self.scanner.bytes()));
                    fields.insert(name, self.value()?);
                }
                Value::map(fields)
            }
        })
    }
}

/// Metadata: one for all rows, or one for each.
#[derive(Default)]
struct Metas {
    all: Option<Arc<Fields>>,
    each: Vec<Option<Arc<Fields>>>,
}

impl Metas {
    fn for_rows(self, n_rows: usize, faults: &mut Vec<String>) -> Vec<Option<Arc<Fields>>> {
        match self.all {
            _ if !self.each.is_empty() => {
                if self.each.len() != n_rows {
                    faults
                        .push(format!("invalid source message: {} metas for {n_rows} rows", self.each.len()));
                    return Vec::new();
                }
                self.each
            }
            Some(all) => vec![Some(all); n_rows],
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(message: &str) -> Said {
        read(message.as_bytes(), &mut Names::default()).unwrap()
    }

    #[test]
    fn batches_are_read_with_their_metadata_whatever_the_order_of_keys() {
        let all = said(r#"{"meta":{"t":"x"},"messages":[{"a":1},{"a":2.5,"b":[true,{"c":null}]}]}"#);
        assert_eq!(all.arrivals.rows[0]["a"], Value::Float(1.0));
        assert_eq!(all.arrivals.rows[1]["b"], wire::value(&serde_json::json!([true, {"c": null}])));
        assert!(Arc::ptr_eq(
            all.arrivals.rows[0].keys().next().unwrap(),
            all.arrivals.rows[1].keys().next().unwrap()
        ));
        assert_eq!(all.arrivals.meta.len(), 2);
        assert_eq!(all.arrivals.meta[1].as_ref().unwrap()["t"], Value::text("x"));
        let each = said(r#"{"messages":[{"a":1},{"a":2}],"metas":[null,{"t":1}]}"#);
        assert_eq!((each.arrivals.meta[0].is_none(), each.arrivals.meta[1].is_some()), (true, true));
        assert!(said(r#"{"messages":[]}"#).arrivals.rows.is_empty());
        let single = said(r#"{"message":{"id":9007199254740993},"meta":null}"#);
        assert_eq!(single.arrivals.rows[0]["id"], Value::Int(9_007_199_254_740_993));
    }

    #[test]
    fn ends_errors_and_what_is_remembered_are_told_apart() {
        assert!(said(r#"{"eof":true}"#).is_end && !said(r#"{"eof":false}"#).is_end);
        assert_eq!(said(r#"{"error":"broken"}"#).faults, ["broken"]);
        assert_eq!(said(r#""{\"error\":\"from Go\"}""#).faults, ["from Go"]);
        let saved = said(r#"{"messages":[{"a":1}],"saved": {"state":{"n":7}} }"#);
        assert_eq!(saved.saved.as_deref(), Some(r#"{"state":{"n":7}}"#));
        let alone = said(r#"{"epoch":7,"saved":null}"#);
        assert_eq!((alone.saved, alone.faults.len()), (None, 0));
    }

    #[test]
    fn what_is_no_row_is_a_fault_and_the_others_are_kept() {
        let some = said(r#"{"messages":[{"a":1},5,{"a":NaN}]}"#);
        assert_eq!((some.arrivals.rows.len(), some.faults.len()), (2, 1));
        assert_eq!(some.faults[0], "invalid source message: message must be an object, number 1 is not");
        assert_eq!(some.arrivals.rows[1]["a"], Value::Null);
        assert_eq!(said(r#"{"messages":{"a":1}}"#).faults.len(), 1);
        assert_eq!(said(r#"{"messages":[{"a":1}],"metas":[{},{}]}"#).faults.len(), 1);
        assert_eq!(said(r#"{"other":1}"#).faults.len(), 1);
        let deep = format!(r#"{{"messages":[{{"a":{}"#, "[".repeat(100_000));
        for message in
            ["", "[]", "{", r#"{"messages":[{"a":1}"#, "\"x\"", "\"\\\"\\\"\"", &deep, "{\"message\":{}}x"]
        {
            let error = read(message.as_bytes(), &mut Names::default()).unwrap_err();
            assert!(error.starts_with("invalid source message: "), "{message:.30}: {error}");
        }
    }
}
