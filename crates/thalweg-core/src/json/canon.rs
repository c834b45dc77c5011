//! Raw JSON in the printed form (R-4), without building it: what `SELECT *` passes through.
//!
//! Objects that were seen before are printed by their [`Form`]: fixed text is compared, numbers and texts that already
//! stand as they are printed are copied. Every other one is printed member by member, and may teach a form. The result
//! is byte for byte what [`write_value`] makes of the parsed text, so nothing has to be known of the payload but that
//! it is JSON.

use super::form::Form;
use super::{Numbers, Scanner, Token, parse, write_float, write_text, write_value};
use crate::error::FormatError;

/// So many forms are kept.
const FORMS: usize = 4;
/// A form is paid for by so many messages that fit one.
const WORTH: u32 = 64;
/// Forms that may be learned in advance.
const CREDIT: u32 = 8 * WORTH;

/// Prints raw JSON of one origin.
#[derive(Debug)]
pub struct Canonical {
    /// Those with more hits stand first, nearly.
    forms: Vec<(Form, u32)>,
    /// How much learning has been paid for.
    credit: u32,
    /// Where the scalars of the message at hand stand.
    spans: Vec<(u32, u32)>,
    printer: Printer,
}

impl Default for Canonical {
    fn default() -> Self {
        let (forms, spans, printer) = (Vec::new(), Vec::new(), Printer::default());
        Self { forms, credit: CREDIT, spans, printer }
    }
}

impl Canonical {
    /// Appends the JSON text that is the first `len` bytes of `ahead`. What follows these is looked at and means
    /// nothing: with eight bytes more a scalar at the end is no exception.
    ///
    /// # Errors
    /// It is no JSON; `out` then holds a part, which the caller cuts off.
    #[inline]
    pub fn write(&mut self, out: &mut Vec<u8>, ahead: &[u8], len: usize) -> Result<(), FormatError> {
        for at in 0..self.forms.len() {
            let (form, hits) = &mut self.forms[at];
            if form.print((ahead, len), &mut self.spans, out) {
                *hits = hits.saturating_add(1);
                self.credit = CREDIT.min(self.credit + 1);
                if at > 0 && self.forms[at].1 > self.forms[at - 1].1 {
                    self.forms.swap(at, at - 1);
                }
                return Ok(());
            }
        }
        self.write_unknown(out, &ahead[..len])
    }

    #[cold]
    fn write_unknown(&mut self, out: &mut Vec<u8>, raw: &[u8]) -> Result<(), FormatError> {
        if self.credit >= WORTH {
            self.credit -= WORTH;
            if let Some(form) = Form::learn(raw, &mut self.printer) {
                // The last one has the fewest hits.
                self.forms.truncate(FORMS - 1);
                self.forms.push((form, 0));
            }
        }
        let before = out.len();
        match self.printer.print(raw, out) {
            Ok(()) => Ok(()),
            Err(Odd) => {
                out.truncate(before);
                write_value(out, &parse(raw, Numbers::Float)?, chrono_tz::Tz::UTC)
            }
        }
    }
}

/// Something that is left to the parser: keys with escapes, mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Odd;

impl From<FormatError> for Odd {
    fn from(_: FormatError) -> Self {
        Self
    }
}

/// Prints member by member.
#[derive(Debug, Default)]
pub(super) struct Printer {
    /// Of the objects that are open, the outermost first.
    members: Vec<Member>,
    /// Set while a form is learned: where in the output a scalar would stand, and where in the input it does.
    pub(super) marks: Option<Vec<(usize, usize)>>,
}

#[derive(Debug, Clone, Copy)]
struct Member {
    /// Start and length of the key.
    key: (usize, usize),
    /// Where the value begins.
    value: usize,
}

impl Member {
    fn key<'a>(&self, raw: &'a [u8]) -> &'a [u8] {
        &raw[self.key.0..self.key.0 + self.key.1]
    }
}

impl Printer {
    /// Appends a JSON text.
    pub(super) fn print(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Result<(), Odd> {
        self.members.clear();
        let mut scanner = Scanner::new(raw);
        self.value(&mut scanner, out)?;
        Ok(scanner.end()?)
    }

    fn value(&mut self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), Odd> {
        match scanner.peek() {
            b'{' => self.object(scanner, out),
            b'[' => {
                scanner.token()?;
                out.push(b'[');
                let mut first = true;
                while scanner.next_item(first)? {
                    if !first {
                        out.push(b',');
                    }
                    first = false;
                    self.value(scanner, out)?;
                }
                out.push(b']');
                Ok(())
            }
            _ => match &mut self.marks {
                None => write_scalar(scanner, out),
                Some(marks) => {
                    marks.push((out.len(), scanner.position()));
                    Ok(scanner.skip_scalar()?)
                }
            },
        }
    }

    /// Members are noted, sorted, and printed; of equal keys the last one counts (T-10).
    fn object(&mut self, scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), Odd> {
        let (raw, base) = (scanner.bytes(), self.members.len());
        scanner.token()?;
        while let Some(key) = scanner.next_key(self.members.len() == base)? {
            if key.escaped {
                return Err(Odd);
            }
            let (value, _) = scanner.skip()?;
            self.members.push(Member { key: (key.start, key.len), value });
        }
        let end = self.members.len();
        self.members[base..].sort_unstable_by(|a, b| (a.key(raw), a.value).cmp(&(b.key(raw), b.value)));
        out.push(b'{');
        let mut is_first = true;
        for at in base..end {
            let member = self.members[at];
            let key = member.key(raw);
            if self.members[at + 1..end].first().is_some_and(|next| next.key(raw) == key) {
                continue;
            }
            if !std::mem::replace(&mut is_first, false) {
                out.push(b',');
            }
            write_text(out, std::str::from_utf8(key).map_err(|_| Odd)?);
            out.push(b':');
            self.value(&mut Scanner::resume(raw, member.value), out)?;
        }
        self.members.truncate(base);
        out.push(b'}');
        Ok(())
    }
}

/// Appends the scalar at the scanner's place, every number as a float (T-2).
pub(super) fn write_scalar(scanner: &mut Scanner<'_>, out: &mut Vec<u8>) -> Result<(), Odd> {
    match scanner.token()? {
        Token::Null => out.extend_from_slice(b"null"),
        Token::Bool(true) => out.extend_from_slice(b"true"),
        Token::Bool(false) => out.extend_from_slice(b"false"),
        Token::Number(number) => write_float(out, number.as_f64())?,
        Token::Text(text) => write_text(out, &text.decode(scanner.bytes())),
        Token::OpenArray | Token::OpenObject => return Err(Odd),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn plain(raw: &[u8]) -> Result<String, FormatError> {
        let mut out = Vec::new();
        write_value(&mut out, &parse(raw, Numbers::Float)?, chrono_tz::Tz::UTC)?;
        Ok(String::from_utf8(out).unwrap())
    }

    /// By a printer that has seen `before`, with and without bytes behind the text.
    fn check(before: &[&str], raw: &[u8]) {
        for behind in [&b""[..], b"}  \"1e", b"0123456789012345678901234567890123456789"] {
            let mut canonical = Canonical::default();
            for text in before {
                canonical.write(&mut Vec::new(), text.as_bytes(), text.len()).unwrap();
            }
            for _ in 0..3 {
                let (ahead, mut out) = ([raw, behind].concat(), b"kept".to_vec());
                let result = canonical.write(&mut out, &ahead, raw.len());
                let got = result.map(|()| String::from_utf8(out[4..].to_vec()).unwrap());
                assert_eq!(got, plain(raw), "{} after {before:?}", String::from_utf8_lossy(raw));
            }
        }
    }

    #[test]
    fn r_4_passed_through_is_printed_as_if_it_were_built() {
        for text in [
            r#"{"temperature": 57, "humidity": 72}"#,
            r#"{"b":1.50,"a":[1e3,-0,-0.0,0.0000001,12345678901234567890],"c":{"z":null,"y":true}}"#,
            r#"{"a":1,"b":2,"a":3}"#,
            r#"{"o":{"x":1,"y":{"x":2,"x":[{"q":false,"p":1}]}},"e":{},"l":[]}"#,
            r#"{"t":"<a&b>","u":"\u00e9\n","v":"é","w":" \u2028 ","k\u0061":1}"#,
            r#"{"long text":"0123456789012345678901234567890123456789","n":123456789012345,"m":1234567890123456}"#,
            "{\"s\":\"a\u{2028}b\",\"é\":0.000001,\"f\":48.1371543,\"g\":0.1234567890123}",
            "{}",
            "[]",
            "[3,\"x\"]",
            " { } ",
        ] {
            check(&[], text.as_bytes());
            check(&[text], text.as_bytes());
        }
        check(&[], b"{\"bad\":\"a\xff\"}");
        check(&[r#"{"bad":"a"}"#], b"{\"bad\":\"a\xff\xe2\x80\xa8\"}");
    }

    #[test]
    fn a_form_prints_other_values_and_nothing_else() {
        let known = r#"{"b": 1, "a": "x"}"#;
        for text in [
            r#"{"b": -12.25, "a": "y z"}"#,
            r#"{"b": 01, "a": "y"}"#,
            r#"{"b": 1.10, "a": ""}"#,
            r#"{"b": 100000000000000000000, "a": "\\"}"#,
            r#"{"b": null, "a": true}"#,
            r#"{"b": nul, "a": true}"#,
            r#"{"b": {}, "a": [1]}"#,
            r#"{"b": 1, "b": 2}"#,
            r#"{"b": 1, "a": "x", "c": 2}"#,
            r#"{"b": 1, "a": "x"#,
            r#"{"b": 1, "a": "x"}}"#,
            r#"{"b": 1}"#,
            "",
        ] {
            check(&[known], text.as_bytes());
        }
    }

    #[test]
    fn forms_come_and_go_without_end() {
        let mut canonical = Canonical::default();
        for turn in 0..2_000 {
            let text = format!(r#"{{"k{}":{turn}.5,"a":"x"}}"#, turn % 7);
            let mut out = Vec::new();
            canonical.write(&mut out, text.as_bytes(), text.len()).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), plain(text.as_bytes()).unwrap());
        }
        assert!(canonical.forms.len() <= FORMS);
    }

    fn json_text() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|value| value.to_string()),
            "-?(0|[1-9][0-9]{0,17})(\\.[0-9]{1,10})?([eE][+-]?[0-9]{1,2})?",
            "[a-c\\\\<>&\u{e9}\u{2028} ]{0,12}".prop_map(|text| serde_json::Value::from(text).to_string()),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4)
                    .prop_map(|items| format!("[{}]", items.join(", "))),
                proptest::collection::vec(("[a-c\u{e9}]", inner), 0..4).prop_map(|members| {
                    let members: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\" :{v}")).collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn r_4_any_json_is_printed_as_if_it_were_built(text in json_text(), other in json_text()) {
            check(&[], text.as_bytes());
            check(&[&text], other.as_bytes());
            check(&[&other, &text], text.as_bytes());
        }

        #[test]
        fn a_damaged_message_is_what_the_parser_says(text in json_text(), at in 0usize..48, junk in any::<u8>()) {
            let mut bytes = text.clone().into_bytes();
            let at = at.min(bytes.len() - 1);
            bytes[at] = junk;
            check(&[&text], &bytes);
            bytes.truncate(at);
            check(&[&text], &bytes);
        }
    }
}
