//! Rows for a sink as columns (`portable-plugins.md` 12.7): a frame that says what the JSON batch says, and from which
//! Python makes its rows faster.
//!
//! Only of rows that have the same scalar members in the same order, and of which JSON and columns give Python equal
//! values; everything else stays JSON.

use std::borrow::Cow;

use thalweg_core::json::{Number, Scanner, Text, Token};
use thalweg_core::{Column, ColumnRef};

use super::encode::{Arg, FrameWriter, Numbers};
use super::survey::is_whole;

/// Fewer rows are as quick as JSON.
const WORTH_IT: usize = 16;
/// Wider rows stay JSON.
const MOST_COLUMNS: usize = 256;

/// The rows of a batch by their members.
struct Rows<'a> {
    names: Vec<Cow<'a, str>>,
    columns: Vec<Column>,
    n: usize,
}

/// Writes the rows of a JSON batch (`{"batch":[…],"seq":n}`) as a frame; false, and nothing to be sent, if they stay
/// JSON.
pub(crate) fn write(frames: &mut FrameWriter, seq: u64, batch: &[u8]) -> bool {
    let Some(rows) = read(batch) else { return false };
    let values: Vec<ColumnRef<'_>> = rows.columns.iter().map(ColumnRef::borrowed).collect();
    let args: Vec<Arg<'_>> = values.iter().map(|values| Arg::new(values, Numbers::Json)).collect();
    frames.write_rows(seq, &rows.names, &args, rows.n).is_ok()
}

fn read(batch: &[u8]) -> Option<Rows<'_>> {
    let mut scanner = Scanner::new(batch);
    let (Ok(Token::OpenObject), Ok(Some(_)), Ok(Token::OpenArray)) =
        (scanner.token(), scanner.next_key(true), scanner.token())
    else {
        return None;
    };
    let mut rows = Rows { names: Vec::new(), columns: Vec::new(), n: 0 };
    while scanner.next_item(rows.n == 0).ok()? {
        rows.take(&mut scanner)?;
    }
    (rows.n >= WORTH_IT && !rows.names.is_empty()).then_some(rows)
}

impl<'a> Rows<'a> {
    /// One row; nothing if it is not like the others.
    fn take(&mut self, scanner: &mut Scanner<'a>) -> Option<()> {
        let Token::OpenObject = scanner.token().ok()? else { return None };
        let (bytes, mut place) = (scanner.bytes(), 0);
        while let Some(key) = scanner.next_key(place == 0).ok()? {
            if self.n == 0 {
                self.add(plain(key, bytes)?)?;
            } else if self.names.get(place).is_none_or(|name| *name != key.decode(bytes)) {
                return None;
            }
            let column = self.columns.get_mut(place)?;
            match scanner.token().ok()? {
                Token::Null => column.push_null(),
                Token::Bool(value) => column.push_bool(value),
                Token::Number(Number::Int(value)) => column.push_int(value),
                // `1.0` is a float to Python, and a whole column would make it an integer.
                Token::Number(Number::Float(value)) if is_whole(value) => return None,
                Token::Number(Number::Float(value)) => column.push_float(value),
                Token::Text(text) => column.push_str(&plain(text, bytes)?),
                Token::OpenArray | Token::OpenObject => return None,
            }
            place += 1;
        }
        self.n += 1;
        (place == self.names.len()).then_some(())
    }

    fn add(&mut self, name: Cow<'a, str>) -> Option<()> {
        if self.names.len() >= MOST_COLUMNS || self.names.contains(&name) {
            return None;
        }
        self.names.push(name);
        self.columns.push(Column::new());
        Some(())
    }
}

/// A text; nothing if it holds escapes of code points, half ones of which Python keeps.
fn plain(text: Text, bytes: &[u8]) -> Option<Cow<'_, str>> {
    let has_points = text.escaped && text.raw(bytes).windows(2).any(|two| two == b"\\u");
    (!has_points).then(|| text.decode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(row: impl Fn(usize) -> String, n: usize) -> Vec<u8> {
        let rows: Vec<String> = (0..n).map(row).collect();
        format!("{{\"batch\":[{}],\"seq\":7}}", rows.join(",")).into_bytes()
    }

    #[test]
    fn rows_of_one_kind_become_a_frame_with_their_names() {
        let mut frames = FrameWriter::default();
        let text = batch(|row| format!(r#"{{"i":{row},"\"":{}.5,"s":"\n{row}","none":null}}"#, row), 16);
        assert!(write(&mut frames, 7, &text));
        let message = frames.message();
        assert_eq!((&message[..4], message[8]), (&[b'C', 1, 4, 0][..], 7));
        let header = String::from_utf8_lossy(&message[16..400]).into_owned();
        for part in [
            r#""n":16"#,
            r#"{"name":"i","t":"i64""#,
            r#"{"name":"\"","t":"f64""#,
            r#"{"name":"s","t":"str""#,
            r#"{"name":"none","t":"const","v":null}"#,
        ] {
            assert!(header.contains(part), "{part}: {header}");
        }
        assert!(
            write(&mut frames, 8, &batch(|row| format!(r#"{{"i":{row}}}"#), 20)),
            "the writer is used again"
        );
    }

    #[test]
    fn what_columns_would_change_stays_json() {
        let mut frames = FrameWriter::default();
        let mixed = |odd: &'static str| {
            batch(move |row| if row == 9 { odd.to_owned() } else { r#"{"a":1}"#.to_owned() }, 20)
        };
        for odd in [
            r#"{"b":1}"#,
            r#"{"a":1,"b":1}"#,
            "{}",
            r#""text""#,
            r#"{"a":1.0}"#,
            r#"{"a":1e3}"#,
            r#"{"a":[1]}"#,
            r#"{"a":{}}"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":1,"a":2}"#,
            r#"{"b64":"x"}"#,
            "[",
            "",
        ] {
            assert!(!write(&mut frames, 1, &mixed(odd)), "{odd}");
        }
        assert!(write(&mut frames, 1, &mixed(r#"{"a":"other"}"#)), "mixed scalars are JSON by value");
        assert!(!write(&mut frames, 1, &batch(|_| r#"{"a":1}"#.to_owned(), WORTH_IT - 1)));
        assert!(!write(&mut frames, 1, &batch(|_| "{}".to_owned(), 20)));
        assert!(!write(&mut frames, 1, b""));
    }
}
