//! Members, indices and slices (O-12 to O-14). Raw JSON is walked, not parsed: only what the path ends at is built.

use std::borrow::Cow;
use std::sync::Arc;

use thalweg_core::cast::go_text;
use thalweg_core::json::{self, Numbers, Scanner, Token};
use thalweg_core::path::{self, no_list, no_object};
use thalweg_core::{Batch, Cell, Column, ColumnRef, Fields, FormatError, RowError, Selection, Value};

use crate::expr::{EvalCx, Expr, Step};
use crate::kernel;

/// A path over a column.
pub(crate) fn path(
    base: &ColumnRef<'_>,
    steps: &[Step],
    batch: &Batch,
    rows: &Selection,
    cx: &mut EvalCx<'_>,
) -> ColumnRef<'static> {
    let mut index = |expr: &Expr| -> Index {
        match expr.as_literal() {
            Some(Value::Int(index)) => Index::Literal(*index),
            _ => Index::Column(Box::new(expr.eval(batch, rows, cx).into_column(batch.n_rows))),
        }
    };
    let steps: Vec<Bound> = steps
        .iter()
        .map(|step| match step {
            Step::Member(name) => Bound::Member(Arc::clone(name)),
            Step::AnyCase(name) => Bound::AnyCase(Arc::clone(name)),
            Step::Index(at) => Bound::Index(index(at)),
            Step::Slice(start, end) => {
                Bound::Slice(start.as_ref().map(&mut index), end.as_ref().map(&mut index))
            }
        })
        .collect();
    kernel::per_row(false, rows, batch.n_rows, |row, out| {
        let mut node = Node::of(base.cell(row));
        for step in &steps {
            node = match node.step(step, row) {
                Ok(next) => next,
                Err(error) => return out.push_error(error),
            };
        }
        node.push(out);
    })
}

enum Bound {
    Member(Arc<str>),
    AnyCase(Arc<str>),
    Index(Index),
    Slice(Option<Index>, Option<Index>),
}

/// An index that is written as a number, or computed.
enum Index {
    Literal(i64),
    Column(Box<Column>),
}

impl Index {
    /// A float is cut off (O-12).
    fn at(&self, row: usize) -> Result<i64, RowError> {
        match self {
            Self::Literal(index) => Ok(*index),
            Self::Column(column) => match column.cell(row) {
                Cell::Int(index) => Ok(index),
                Cell::Float(index) => Ok(index as i64),
                Cell::Error(error) => Err(error.clone()),
                other => Err(RowError::text(format!("index {} is not int", go_text(&other.to_value())))),
            },
        }
    }
}

/// Where a path has come to.
enum Node<'a> {
    Cell(Cell<'a>),
    Owned(Value),
}

impl<'a> Node<'a> {
    fn of(cell: Cell<'a>) -> Self {
        Self::Cell(cell)
    }

    fn push(&self, out: &mut Column) {
        match self {
            Self::Cell(cell) => out.push_cell(*cell),
            Self::Owned(value) => out.push_value(value),
        }
    }

    fn step(self, step: &Bound, row: usize) -> Result<Node<'a>, RowError> {
        if let Node::Cell(Cell::Error(error)) = self {
            return Err(error.clone());
        }
        match step {
            Bound::Member(name) => self.member(name, false),
            Bound::AnyCase(name) => self.member(name, true),
            Bound::Index(index) => self.index(index, row),
            Bound::Slice(start, end) => self.slice(start.as_ref(), end.as_ref(), row),
        }
    }

    /// O-14: null of null and of scalars, an error of lists. In any case: C-1.
    fn member(self, name: &str, in_any_case: bool) -> Result<Node<'a>, RowError> {
        match self {
            Node::Cell(Cell::Json(raw)) if raw.first() == Some(&b'{') => {
                let exact = raw_member(raw, name).map_err(malformed)?;
                let found = match exact {
                    None if in_any_case => raw_in_any_case(raw, name).map_err(malformed)?,
                    exact => exact,
                };
                Ok(Node::raw(found))
            }
            Node::Cell(Cell::Value(Value::Map(fields))) => {
                Ok(member_of(fields, name, in_any_case).map_or(NOTHING, Node::borrowed))
            }
            Node::Owned(Value::Map(fields)) => {
                Ok(member_of(&fields, name, in_any_case).cloned().map_or(NOTHING, Node::Owned))
            }
            Node::Cell(Cell::Json(_) | Cell::Value(_)) | Node::Owned(Value::List(_)) => {
                Err(no_object(&self.to_value()))
            }
            _ => Ok(NOTHING),
        }
    }

    fn index(self, index: &Index, row: usize) -> Result<Node<'a>, RowError> {
        match self {
            Node::Cell(cell) if cell.is_nothing() => Ok(NOTHING),
            Node::Owned(Value::Null) => Ok(NOTHING),
            Node::Cell(Cell::Json(raw)) if raw.first() == Some(&b'[') => {
                let index = index.at(row)?;
                let items = raw_items(raw).map_err(malformed)?;
                Ok(Node::raw(Some(items[position(index, items.len())?])))
            }
            Node::Cell(Cell::Value(Value::List(items))) => {
                let at = position(index.at(row)?, items.len())?;
                Ok(Node::borrowed(&items[at]))
            }
            Node::Owned(Value::List(items)) => {
                let at = position(index.at(row)?, items.len())?;
                Ok(Node::Owned(items[at].clone()))
            }
            other => Err(other.no_list()),
        }
    }

    /// O-13: an empty list when start is not before end.
    fn slice(self, start: Option<&Index>, end: Option<&Index>, row: usize) -> Result<Node<'a>, RowError> {
        let items = match self.to_value() {
            Value::Null => return Ok(NOTHING),
            Value::List(items) => items,
            _ => return Err(self.no_list()),
        };
        let len = items.len();
        let start = match start.map(|index| index.at(row)).transpose()?.unwrap_or(0) {
            start if start >= 0 && start as usize >= len => {
                return Err(RowError::text(format!("start value is out of index: {start} of {len}")));
            }
            start => position(start, len)?,
        };
        let end = match end.map(|index| index.at(row)).transpose()?.unwrap_or(len as i64) {
            end if end >= 0 && end as usize <= len => end as usize,
            end if end >= 0 => {
                return Err(RowError::text(format!("end value is out of index: {end} of {len}")));
            }
            end => position(end, len)?,
        };
        Ok(Node::Owned(Value::list(items.get(start..end).unwrap_or_default().to_vec())))
    }

    fn no_list(&self) -> RowError {
        no_list(match self {
            Node::Cell(cell) => thalweg_core::cast::kind_name(cell),
            Node::Owned(value) => value.kind_name(),
        })
    }

    fn to_value(&self) -> Value {
        match self {
            Node::Cell(Cell::Json(raw)) => json::parse(raw, Numbers::Float).unwrap_or_default(),
            Node::Cell(cell) => cell.to_value(),
            Node::Owned(value) => value.clone(),
        }
    }

    fn borrowed(value: &'a Value) -> Self {
        Node::Cell(Cell::of(value))
    }

    /// JSON text of any kind; scalars are read at once.
    fn raw(raw: Option<&'a [u8]>) -> Self {
        match raw {
            None => NOTHING,
            Some(raw) if matches!(raw.first(), Some(b'{' | b'[')) => Node::Cell(Cell::Json(raw)),
            Some(raw) => Node::Owned(json::parse(raw, Numbers::Float).unwrap_or_default()),
        }
    }
}

const NOTHING: Node<'static> = Node::Cell(Cell::Null);

/// O-12: negative indices count from the end.
fn position(index: i64, len: usize) -> Result<usize, RowError> {
    let at = if index < 0 { index.checked_add(len as i64) } else { Some(index) };
    match at.and_then(|at| usize::try_from(at).ok()) {
        Some(at) if at < len => Ok(at),
        _ => Err(RowError::OutOfIndex { index, len }),
    }
}

/// The text of a member; the last of equal keys (T-10).
fn raw_member<'a>(raw: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, FormatError> {
    let mut scanner = Scanner::new(raw);
    let Token::OpenObject = scanner.token()? else {
        return Ok(None);
    };
    let (mut first, mut found) = (true, None);
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        let wanted = if key.escaped { key.decode(raw) == name } else { key.raw(raw) == name.as_bytes() };
        let (start, end) = scanner.skip()?;
        if wanted {
            found = Some(&raw[start..end]);
        }
    }
    Ok(found)
}

/// The text of a member in another case: as [`path::in_any_case`] takes it from a built object.
fn raw_in_any_case<'a>(raw: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, FormatError> {
    let mut scanner = Scanner::new(raw);
    let Token::OpenObject = scanner.token()? else {
        return Ok(None);
    };
    let (mut first, mut found) = (true, None::<(Cow<'a, str>, &'a [u8])>);
    while let Some(key) = scanner.next_key(first)? {
        first = false;
        let key = key.decode(raw);
        let (start, end) = scanner.skip()?;
        if path::is_same(&key, name) && found.as_ref().is_none_or(|(least, _)| key <= *least) {
            found = Some((key, &raw[start..end]));
        }
    }
    Ok(found.map(|(_, value)| value))
}

fn member_of<'v>(fields: &'v Fields, name: &str, in_any_case: bool) -> Option<&'v Value> {
    if in_any_case { path::in_any_case(fields, name) } else { fields.get(name) }
}

/// The texts of an array's items.
fn raw_items(raw: &[u8]) -> Result<Vec<&[u8]>, FormatError> {
    let mut scanner = Scanner::new(raw);
    let mut items = Vec::new();
    if let Token::OpenArray = scanner.token()? {
        while scanner.next_item(items.is_empty())? {
            let (start, end) = scanner.skip()?;
            items.push(&raw[start..end]);
        }
    }
    Ok(items)
}

fn malformed(error: FormatError) -> RowError {
    RowError::Text(error.message)
}
