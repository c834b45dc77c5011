//! What is wanted below one value: members and items, picked while the value is walked over once.
//!
//! The slots get what the path expressions would give over the whole value (O-12, O-14): null where a path ends in
//! nothing, an error cell where a member is asked of a list or an item of what is none. A declared value is checked
//! against its type as if it were built (T-4).

use std::sync::Arc;

use thalweg_core::json::{self, Number, Scanner, Token};
use thalweg_core::path::{no_list, no_object};
use thalweg_core::{BatchBuilder, DataType, FormatError, PathStep, RowError};

use super::typed;
use super::walker::{Reading, key_bytes};

/// The slots of one value and of what lies below it.
#[derive(Debug, Default)]
pub(super) struct Below {
    /// Take the value itself.
    pub slots: Vec<usize>,
    pub members: Vec<(Vec<u8>, Below)>,
    pub items: Vec<(usize, Below)>,
    /// All slots from here downwards.
    all: Vec<usize>,
}

/// What a value turned out to be.
enum Shape {
    Object,
    List,
    Null,
    /// Its Go name.
    Scalar(&'static str),
}

impl Below {
    /// Adds a slot at the end of a path.
    pub(super) fn add(&mut self, steps: &[PathStep], slot: usize) {
        self.all.push(slot);
        match steps.split_first() {
            None => self.slots.push(slot),
            Some((PathStep::Member(name), rest)) => {
                let at = self.members.iter().position(|(known, _)| known == name.as_bytes());
                let at = at.unwrap_or_else(|| {
                    self.members.push((name.as_bytes().to_vec(), Below::default()));
                    self.members.len() - 1
                });
                self.members[at].1.add(rest, slot);
            }
            Some((PathStep::Index(index), rest)) => {
                let at = self.items.iter().position(|(known, _)| known == index);
                let at = at.unwrap_or_else(|| {
                    self.items.push((*index, Below::default()));
                    self.items.len() - 1
                });
                self.items[at].1.add(rest, slot);
            }
        }
    }

    /// Every slot.
    pub(super) fn all(&self) -> &[usize] {
        &self.all
    }

    /// The member of this name; `hint` is where the search begins, and stands behind the match afterwards.
    #[inline]
    pub(super) fn member(&self, name: &[u8], hint: &mut usize) -> Option<&Below> {
        let n = self.members.len();
        for step in 0..n {
            let at = if *hint + step < n { *hint + step } else { *hint + step - n };
            if self.members[at].0 == name {
                *hint = if at + 1 == n { 0 } else { at + 1 };
                return Some(&self.members[at].1);
            }
        }
        None
    }

    pub(super) fn item(&self, index: usize) -> Option<&Below> {
        self.items.iter().find(|(wanted, _)| *wanted == index).map(|(_, item)| item)
    }

    /// The last of equal keys wins (T-10), with all that is below it.
    fn forget(&self, into: &mut BatchBuilder) {
        self.all.iter().for_each(|slot| into.reset_slot(*slot));
    }

    pub(super) fn is_filled(&self, into: &mut BatchBuilder) -> bool {
        let row = into.n_rows();
        self.all.first().is_some_and(|slot| into.column(*slot).len() > row)
    }

    pub(super) fn fill_null(&self, into: &mut BatchBuilder) {
        self.all.iter().for_each(|slot| into.column(*slot).push_null());
    }

    fn fill_error(&self, error: &RowError, into: &mut BatchBuilder) {
        self.all.iter().for_each(|slot| into.column(*slot).push_error(error.clone()));
    }

    /// Fills the slots from the schemaless value at the scanner's place.
    pub(super) fn dynamic(
        &self,
        scanner: &mut Scanner<'_>,
        reading: Reading,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        let (first, start) = (scanner.peek(), scanner.position());
        let shape = match first {
            b'{' if self.members.is_empty() => scanner.skip().map(|_| Shape::Object)?,
            b'{' => self.object(scanner, reading, into).map(|()| Shape::Object)?,
            b'[' if self.items.is_empty() => scanner.skip().map(|_| Shape::List)?,
            b'[' => self.list(scanner, reading, into).map(|()| Shape::List)?,
            _ => {
                let token = scanner.token()?;
                for slot in &self.slots {
                    reading.scalar(token, scanner.bytes(), into.column(*slot));
                }
                shape(token, reading)
            }
        };
        if matches!(shape, Shape::Object | Shape::List) {
            for slot in &self.slots {
                reading.nested(scanner.bytes(), (start, scanner.position()), into.column(*slot))?;
            }
        }
        self.refuse(&shape, &scanner.bytes()[start..scanner.position()], reading, into)
    }

    /// What asks for members or items of a value that has none.
    fn refuse(
        &self,
        shape: &Shape,
        bytes: &[u8],
        reading: Reading,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        if !self.members.is_empty() && !matches!(shape, Shape::Object) {
            let error = match shape {
                Shape::List => Some(no_object(&json::parse(bytes, reading.numbers())?)),
                _ => None,
            };
            for (_, member) in &self.members {
                match &error {
                    Some(error) => member.fill_error(error, into),
                    None => member.fill_null(into),
                }
            }
        }
        let kind = match shape {
            Shape::List => return Ok(()),
            Shape::Null => None,
            Shape::Object => Some("map[string]interface {}"),
            Shape::Scalar(kind) => Some(*kind),
        };
        for (_, item) in &self.items {
            match kind {
                Some(kind) => item.fill_error(&no_list(kind), into),
                None => item.fill_null(into),
            }
        }
        Ok(())
    }

    fn object(
        &self,
        scanner: &mut Scanner<'_>,
        reading: Reading,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        scanner.token()?;
        let (mut first, mut hint) = (true, 0);
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            match self.member(&key_bytes(key, scanner.bytes()), &mut hint) {
                None => drop(scanner.skip()?),
                Some(member) => {
                    member.forget(into);
                    member.dynamic(scanner, reading, into)?;
                }
            }
        }
        self.fill_missing_members(into);
        Ok(())
    }

    fn fill_missing_members(&self, into: &mut BatchBuilder) {
        for (_, member) in &self.members {
            if !member.is_filled(into) {
                member.fill_null(into);
            }
        }
    }

    fn list(
        &self,
        scanner: &mut Scanner<'_>,
        reading: Reading,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        scanner.token()?;
        let mut len = 0;
        while scanner.next_item(len == 0)? {
            match self.item(len) {
                None => drop(scanner.skip()?),
                Some(item) => item.dynamic(scanner, reading, into)?,
            }
            len += 1;
        }
        self.refuse_far_items(len, into);
        Ok(())
    }

    fn refuse_far_items(&self, len: usize, into: &mut BatchBuilder) {
        for (index, item) in self.items.iter().filter(|(index, _)| *index >= len) {
            item.fill_error(&RowError::OutOfIndex { index: *index as i64, len }, into);
        }
    }

    /// Fills the slots from a value of a declared type; `name` is for the error text. Every path fits the type.
    pub(super) fn declared(
        &self,
        scanner: &mut Scanner<'_>,
        (name, data_type): (&str, &DataType),
        reading: Reading,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        let (first, start) = (scanner.peek(), scanner.position());
        match (first, data_type) {
            (b'{', DataType::Struct(columns)) if !self.members.is_empty() => {
                self.declared_object(scanner, columns, reading, into)?;
            }
            (b'[', DataType::Array(element)) if !self.items.is_empty() => {
                self.declared_list(scanner, (name, element), reading, into)?;
            }
            _ => {
                if let ([slot], [], []) = (&self.slots[..], &self.members[..], &self.items[..]) {
                    return typed::push(scanner, name, data_type, (reading.base, into.column(*slot)));
                }
                typed::check(scanner, name, data_type)?;
                self.members.iter().for_each(|(_, member)| member.fill_null(into));
                self.items.iter().for_each(|(_, item)| item.fill_null(into));
            }
        }
        for slot in &self.slots {
            let mut again = Scanner::new(&scanner.bytes()[start..scanner.position()]);
            typed::push(&mut again, name, data_type, (reading.base + start, into.column(*slot)))?;
        }
        Ok(())
    }

    fn declared_object(
        &self,
        scanner: &mut Scanner<'_>,
        columns: &[(Arc<str>, DataType)],
        reading: Reading,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        scanner.token()?;
        let (mut first, mut hint) = (true, 0);
        while let Some(key) = scanner.next_key(first)? {
            first = false;
            let Some((column, data_type)) = typed::declared(columns, key, scanner.bytes()) else {
                scanner.skip()?;
                continue;
            };
            match self.member(column.as_bytes(), &mut hint) {
                None => typed::check(scanner, column, data_type)?,
                Some(member) => {
                    member.forget(into);
                    member.declared(scanner, (column, data_type), reading, into)?;
                }
            }
        }
        self.fill_missing_members(into);
        Ok(())
    }

    fn declared_list(
        &self,
        scanner: &mut Scanner<'_>,
        (name, element): (&str, &DataType),
        reading: Reading,
        into: &mut BatchBuilder,
    ) -> Result<(), FormatError> {
        scanner.token()?;
        let mut len = 0;
        while scanner.next_item(len == 0)? {
            match self.item(len) {
                None => typed::check(scanner, name, element)?,
                Some(item) => item.declared(scanner, (name, element), reading, into)?,
            }
            len += 1;
        }
        self.refuse_far_items(len, into);
        Ok(())
    }
}

fn shape(token: Token, reading: Reading) -> Shape {
    match token {
        Token::Null => Shape::Null,
        Token::Bool(_) => Shape::Scalar("bool"),
        Token::Number(Number::Int(_)) if reading.whole_numbers => Shape::Scalar("int64"),
        Token::Number(_) => Shape::Scalar("float64"),
        Token::Text(_) => Shape::Scalar("string"),
        Token::OpenArray => Shape::List,
        Token::OpenObject => Shape::Object,
    }
}
