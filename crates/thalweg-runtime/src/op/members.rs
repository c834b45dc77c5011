//! The elements that unnest makes rows of, as columns: an object's members each go to the column of their name.
//!
//! Raw JSON is read straight into the columns. Objects with very many different names would make a sparse table; what
//! has no column any more is kept beside them, and the rows are then handed on as whole objects.

use std::sync::Arc;

use thalweg_core::json::{Number, Numbers, Scanner, Text, Token, read_value};
use thalweg_core::{Column, FormatError, Value};

/// Columns made at most.
const COLUMNS: usize = 256;

/// Elements of lists, one a row.
#[derive(Debug)]
pub(crate) struct Members {
    /// The first is the set's own: elements that are no objects.
    names: Vec<Arc<str>>,
    /// Each name as it stands before a value, with the comma that parts it from the member before; empty where a name
    /// needs escapes.
    keys: Vec<Box<[u8]>>,
    /// May be shorter than there are rows; then the rest is missing.
    columns: Vec<Column>,
    /// Members without a column: their row, name and value.
    more: Vec<(usize, Arc<str>, Value)>,
    n_rows: usize,
    has_objects: bool,
    /// Whether names are kept that the last batch had not.
    is_stale: bool,
}

impl Members {
    /// No elements of a set with this name.
    pub(crate) fn new(set: &Arc<str>) -> Self {
        Self {
            names: vec![Arc::clone(set)],
            keys: vec![Box::default()],
            columns: vec![Column::new()],
            more: Vec::new(),
            n_rows: 0,
            has_objects: false,
            is_stale: false,
        }
    }

    /// The number of elements.
    pub(crate) fn len(&self) -> usize {
        self.n_rows
    }

    /// Whether an element is an object.
    pub(crate) fn has_objects(&self) -> bool {
        self.has_objects
    }

    /// Whether all members have a column.
    pub(crate) fn is_tabular(&self) -> bool {
        self.more.is_empty()
    }

    /// The names of the columns; the first is the set's own.
    pub(crate) fn names(&self) -> &[Arc<str>] {
        &self.names
    }

    /// Forgets the elements; names that are in use stay, so that batches alike have the same columns.
    pub(crate) fn clear(&mut self) {
        if self.is_stale || !self.more.is_empty() {
            self.names.truncate(1);
            self.keys.truncate(1);
            self.columns.truncate(1);
        }
        self.columns.iter_mut().for_each(|column| column.clear(None));
        self.more.clear();
        (self.n_rows, self.has_objects, self.is_stale) = (0, false, false);
    }

    /// Takes the columns out, all of the same length.
    pub(crate) fn take_columns(&mut self) -> Vec<Column> {
        let n_rows = self.n_rows;
        self.is_stale = self.columns.iter().skip(1).any(Column::is_empty);
        let take = |column: &mut Column| {
            pad(column, n_rows);
            std::mem::take(column)
        };
        self.columns.iter_mut().map(take).collect()
    }

    /// Takes the room of columns back that were taken out.
    pub(crate) fn give_back(&mut self, columns: impl Iterator<Item = (usize, Column)>) {
        for (at, mut column) in columns {
            if let Some(place) = self.columns.get_mut(at).filter(|place| place.is_empty()) {
                column.clear(None);
                *place = column;
            }
        }
    }

    /// Adds an element.
    pub(crate) fn push(&mut self, element: &Value) {
        match element {
            Value::Map(members) => {
                let mut next = 1;
                for (name, value) in members.iter() {
                    match self.column(name, &mut next) {
                        Some(column) => column.push_value(value),
                        None => self.more.push((self.n_rows, Arc::clone(name), value.clone())),
                    }
                }
                self.has_objects = true;
            }
            other => {
                pad(&mut self.columns[0], self.n_rows);
                self.columns[0].push_value(other);
            }
        }
        self.n_rows += 1;
    }

    /// Adds the elements of an array in JSON, up to `limit`. Malformed JSON has none (a decoder has excluded it).
    pub(crate) fn push_array(&mut self, raw: &[u8], limit: usize) {
        let (first, had_objects) = (self.n_rows, self.has_objects);
        if self.read(&mut Scanner::new(raw), limit).is_err() {
            self.columns.iter_mut().for_each(|column| column.truncate(first.min(column.len())));
            self.more.retain(|(row, ..)| *row < first);
            (self.n_rows, self.has_objects) = (first, had_objects);
        }
    }

    fn read(&mut self, scanner: &mut Scanner<'_>, limit: usize) -> Result<(), FormatError> {
        scanner.token()?;
        let first = self.n_rows;
        while scanner.next_item(self.n_rows == first)? {
            let is_wanted = self.n_rows - first < limit;
            if !is_wanted {
                return Ok(());
            }
            if scanner.peek() == b'{' {
                scanner.token()?;
                self.read_object(scanner)?;
                self.has_objects = true;
            } else {
                pad(&mut self.columns[0], self.n_rows);
                read_cell(scanner, &mut self.columns[0])?;
            }
            self.n_rows += 1;
        }
        Ok(())
    }

    /// Duplicate names: the last wins (T-10).
    fn read_object(&mut self, scanner: &mut Scanner<'_>) -> Result<(), FormatError> {
        let mut next = self.read_expected(scanner)?;
        let mut first = next == 1;
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            if self.is_next(&key, scanner.bytes(), next) {
                read_cell(scanner, &mut self.columns[next])?;
                next += 1;
                continue;
            }
            let name = key.decode(scanner.bytes());
            match self.column(&name, &mut next) {
                Some(column) => read_cell(scanner, column)?,
                None => {
                    let value = read_value(scanner, Numbers::Float)?;
                    self.more.push((self.n_rows, Arc::from(&*name), value));
                }
            }
        }
        Ok(())
    }

    /// Reads the members of an object as long as they are those of the object before, in that order and without blanks;
    /// gives the column that is next.
    fn read_expected(&mut self, scanner: &mut Scanner<'_>) -> Result<usize, FormatError> {
        let mut next = 1;
        for (key, column) in self.keys.iter().zip(&mut self.columns).skip(1) {
            // The first has no comma.
            let key = if next == 1 { key.get(1..).unwrap_or(&[]) } else { &key[..] };
            if key.is_empty() || column.len() != self.n_rows || !scanner.take(key) {
                break;
            }
            read_cell(scanner, column)?;
            next += 1;
        }
        Ok(next)
    }

    /// Whether a key is that of a column that waits for the row at hand: as in the object before.
    fn is_next(&self, key: &Text, bytes: &[u8], next: usize) -> bool {
        let is_it = self.names.get(next).is_some_and(|name| name.as_bytes() == key.raw(bytes));
        is_it && !key.escaped && self.columns[next].len() == self.n_rows
    }

    /// The column of a name, ready for the row at hand. `next` is where it is likely to be: behind the member before.
    fn column(&mut self, name: &str, next: &mut usize) -> Option<&mut Column> {
        let is_next = self.names.get(*next).is_some_and(|next| &**next == name);
        let found = if is_next { Some(*next) } else { self.names.iter().position(|have| &**have == name) };
        let at = match found {
            Some(at) => at,
            None if self.names.len() < COLUMNS => {
                self.names.push(Arc::from(name));
                self.keys.push(as_key(name));
                self.columns.push(Column::new());
                self.names.len() - 1
            }
            None => return None,
        };
        *next = at + 1;
        let column = &mut self.columns[at];
        pad(column, self.n_rows);
        column.truncate(self.n_rows);
        Some(column)
    }

    /// The members of an element, for rows that are handed on as objects.
    pub(crate) fn of(&self, row: usize) -> impl Iterator<Item = (Arc<str>, Value)> {
        let cells =
            self.names.iter().zip(&self.columns).filter(move |(_, column)| {
                row < column.len() && column.tag(row) != thalweg_core::Tag::Missing
            });
        let start = self.more.partition_point(|(of, ..)| *of < row);
        let more = self.more[start..].iter().take_while(move |(of, ..)| *of == row);
        cells
            .map(move |(name, column)| (Arc::clone(name), column.value(row)))
            .chain(more.map(|(_, name, value)| (Arc::clone(name), value.clone())))
    }
}

fn as_key(name: &str) -> Box<[u8]> {
    let is_plain = name.bytes().all(|byte| byte >= b' ' && !matches!(byte, b'"' | b'\\'));
    if is_plain { format!(",\"{name}\":").into_bytes().into_boxed_slice() } else { Box::default() }
}

#[inline]
fn pad(column: &mut Column, n_rows: usize) {
    (column.len()..n_rows).for_each(|_| column.push_missing());
}

/// The value at the scanner's place as a cell; lists and objects are values, as those of parsed JSON are.
#[inline]
fn read_cell(scanner: &mut Scanner<'_>, column: &mut Column) -> Result<(), FormatError> {
    if let Some(number) = scanner.quick_float() {
        column.push_float(number);
        return Ok(());
    }
    if let Some(text) = scanner.quick_text() {
        match std::str::from_utf8(text.raw(scanner.bytes())) {
            Ok(plain) => column.push_str(plain),
            Err(_) => column.push_str(&text.decode(scanner.bytes())),
        }
        return Ok(());
    }
    read_other(scanner, column)
}

fn read_other(scanner: &mut Scanner<'_>, column: &mut Column) -> Result<(), FormatError> {
    if matches!(scanner.peek(), b'[' | b'{') {
        column.push_value(&read_value(scanner, Numbers::Float)?);
        return Ok(());
    }
    match scanner.token()? {
        Token::Bool(value) => column.push_bool(value),
        Token::Number(Number::Float(value)) => column.push_float(value),
        Token::Number(number) => column.push_float(number.as_f64()),
        Token::Text(text) => match std::str::from_utf8(text.raw(scanner.bytes())) {
            Ok(plain) if !text.escaped => column.push_str(plain),
            _ => column.push_str(&text.decode(scanner.bytes())),
        },
        Token::Null | Token::OpenArray | Token::OpenObject => column.push_null(),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use thalweg_core::json::parse;
    use thalweg_core::{Cell, Fields};

    use super::*;

    fn read(raws: &[&str]) -> Members {
        let mut members = Members::new(&Arc::from("e"));
        raws.iter().for_each(|raw| members.push_array(raw.as_bytes(), usize::MAX));
        members
    }

    #[test]
    fn json_and_its_values_give_the_same_rows() {
        let raws = [
            r#"[{"a":1,"b":"x\u0041"},{"b":null,"a":[1,{"c":2}]},{}]"#,
            "[]",
            r#"[3,"t",{"c":true,"c":1.5}]"#,
        ];
        let direct = read(&raws);
        let mut parsed = Members::new(&Arc::from("e"));
        for raw in raws {
            if let Ok(Value::List(items)) = parse(raw.as_bytes(), Numbers::Float) {
                items.iter().for_each(|item| parsed.push(item));
            }
        }
        let rows = |members: &Members| (0..members.len()).map(|row| members.of(row).collect()).collect();
        let (direct, parsed): (Vec<Fields>, Vec<Fields>) = (rows(&direct), rows(&parsed));
        assert_eq!(direct, parsed);
        assert_eq!(direct.len(), 6);
        assert_eq!(direct[5].get("c"), Some(&Value::Float(1.5)), "T-10");
    }

    #[test]
    fn malformed_json_leaves_no_row_behind() {
        let mut members = read(&[r#"[{"a":1}]"#, r#"[{"a":2},{"b":3},"#, r#"[{"b":4}]"#]);
        assert_eq!(members.len(), 2);
        let columns = members.take_columns();
        assert_eq!((columns[1].cell(0), columns[1].cell(1)), (Cell::Float(1.0), Cell::Missing));
        assert_eq!((columns[2].cell(0), columns[2].cell(1)), (Cell::Missing, Cell::Float(4.0)));
    }

    #[test]
    fn more_names_than_columns_lose_no_member() {
        let items: Vec<String> = (0..COLUMNS + 9).map(|k| format!("{{\"m{k}\":{k}}}")).collect();
        let members = read(&[&format!("[{}]", items.join(","))]);
        assert!(!members.is_tabular());
        for row in 0..members.len() {
            let expected = (Arc::from(format!("m{row}")), Value::Float(row as f64));
            assert_eq!(members.of(row).collect::<Vec<_>>(), [expected]);
        }
    }
}
