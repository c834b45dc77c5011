//! A message cut into fixed text and scalars, with what each scalar fills.
//!
//! It goes the walker's way through what is wanted. Whatever the walker would answer with anything but the value
//! itself (errors in cells, one key twice, types of whole objects) is not learned.

use thalweg_core::json::{Scanner, Text};
use thalweg_core::{BatchBuilder, DataType};

use super::super::below::Below;
use super::super::walker::{Reading, Walker, Wants};
use super::Place;

/// Longer messages and messages of more values are not learned.
const MAX_BYTES: usize = 1 << 20;
const MAX_VALUES: usize = 1 << 13;

/// What a message taught.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// The fixed text before each scalar, and what becomes of the scalar.
    pub pieces: Vec<(Box<[u8]>, Take)>,
    /// The fixed text behind the last scalar.
    pub tail: Box<[u8]>,
    /// Where each scalar begins and ends in this message.
    pub scalars: Vec<(u32, u32)>,
    /// Objects and lists that are taken whole.
    nested: Vec<Nested>,
    /// Slots of paths that end in nothing.
    nulls: Vec<usize>,
    /// Slots of columns that are not there.
    pub missing: Vec<usize>,
    /// Every slot.
    slots: Vec<usize>,
}

/// What becomes of a scalar.
#[derive(Debug)]
pub(super) enum Take {
    /// Nobody wants it.
    Nothing,
    /// It stands in an object or list that is taken whole.
    Check,
    /// It goes into a slot without a type.
    One(usize),
    Several(Box<[Fill]>),
}

#[derive(Debug)]
pub(super) struct Fill {
    pub slot: usize,
    pub how: How,
}

#[derive(Debug)]
pub(super) enum How {
    Plain,
    /// A path asks for a member of the scalar.
    Null,
    /// By the declared type; with the column's name.
    Typed(Box<str>, DataType),
}

/// An object or list that goes into a slot; its ends count from the beginning of a fixed text.
#[derive(Debug)]
struct Nested {
    slot: usize,
    from: (usize, usize),
    to: (usize, usize),
}

/// Whether shapes can do what is wanted just as the walker does it. Declared objects are checked member by member,
/// and what is taken whole by type is built; that is left to the walker.
pub(super) fn is_possible(walker: &Walker) -> bool {
    let want = &walker.want;
    let is_raw = want.declared.is_none() && !want.whole_numbers;
    let is_typed_below =
        walker.columns.iter().any(|column| column.below.iter().any(|(data_type, _)| data_type.is_some()));
    !want.strict_json && !is_typed_below && (walker.everything.is_empty() || is_raw)
}

/// Cuts a message that the walker has read; `None` when it is not to be learned.
pub(super) fn learn(payload: &[u8], walker: &Walker) -> Option<Learned> {
    if payload.len() > MAX_BYTES {
        return None;
    }
    let mut cutter = Cutter {
        scanner: Scanner::new(payload),
        behind: 0,
        filled: vec![false; walker.want.slots.len()],
        learned: Learned::default(),
    };
    cutter.event(walker)?;
    cutter.learned.tail = payload[cutter.behind..].into();
    Some(cutter.learned)
}

/// Of a key that stands twice in an object the last one counts, also for what only the first one has: not learned.
fn once<'w, T>(known: &mut Vec<&'w T>, wanted: &'w T) -> Option<()> {
    let is_new = !known.iter().any(|known| std::ptr::eq(*known, wanted));
    known.push(wanted);
    is_new.then_some(())
}

struct Cutter<'a> {
    scanner: Scanner<'a>,
    /// Where the last scalar ended.
    behind: usize,
    filled: Vec<bool>,
    learned: Learned,
}

/// What is wanted of a value.
#[derive(Default)]
struct Wanted<'w> {
    name: &'w str,
    whole: Vec<(usize, Option<&'w DataType>)>,
    below: Vec<&'w Below>,
    /// It stands in something that is taken whole.
    inside: bool,
}

impl Cutter<'_> {
    fn event(&mut self, walker: &Walker) -> Option<()> {
        if self.scanner.peek() != b'{' {
            return None;
        }
        let from = self.place();
        self.scanner.token().ok()?;
        let inside = !walker.everything.is_empty();
        let (mut first, mut hint, mut known) = (true, 0, Vec::new());
        while let Some(key) = self.scanner.next_key(first).ok()? {
            first = false;
            let name = self.key(key)?;
            let column = walker.find(name, &mut hint);
            column.map_or(Some(()), |column| once(&mut known, column))?;
            let wanted = column.map(|column| wanted(column, inside));
            self.value(&wanted.unwrap_or(Wanted { inside, ..Wanted::default() }))?;
        }
        for &slot in &walker.everything {
            self.nested(slot, from)?;
        }
        self.scanner.end().ok()?;
        self.fill_the_rest(walker)
    }

    /// A key's bytes; those with escapes are not learned.
    fn key(&self, key: Text) -> Option<&[u8]> {
        (!key.escaped).then(|| key.raw(self.scanner.bytes()))
    }

    /// The scanner's place, from the beginning of the fixed text that it stands in.
    fn place(&self) -> (usize, usize) {
        (self.learned.pieces.len(), self.scanner.position() - self.behind)
    }

    /// A slot is filled once.
    fn claim(&mut self, slot: usize) -> Option<usize> {
        let is_new = !std::mem::replace(&mut self.filled[slot], true);
        self.learned.slots.push(slot);
        is_new.then_some(slot)
    }

    fn nested(&mut self, slot: usize, from: (usize, usize)) -> Option<()> {
        let (slot, to) = (self.claim(slot)?, self.place());
        self.learned.nested.push(Nested { slot, from, to });
        Some(())
    }

    fn value(&mut self, wanted: &Wanted<'_>) -> Option<()> {
        let first = self.scanner.peek();
        if !matches!(first, b'{' | b'[') {
            return self.scalar(wanted);
        }
        let from = self.place();
        self.scanner.token().ok()?;
        let whole = wanted.whole.iter().map(|(slot, data_type)| data_type.is_none().then_some(*slot));
        let own = wanted.below.iter().flat_map(|below| below.slots.iter().map(|slot| Some(*slot)));
        let taken: Vec<usize> = whole.chain(own).collect::<Option<_>>()?;
        let inside = wanted.inside || !taken.is_empty();
        if first == b'{' {
            self.members(wanted, inside)?
        } else {
            self.items(wanted, inside)?
        }
        taken.into_iter().try_for_each(|slot| self.nested(slot, from))
    }

    fn members(&mut self, wanted: &Wanted<'_>, inside: bool) -> Option<()> {
        let has_members: Vec<&Below> =
            wanted.below.iter().copied().filter(|below| !below.members.is_empty()).collect();
        if wanted.below.iter().any(|below| !below.items.is_empty()) {
            return None;
        }
        let (mut first, mut known) = (true, Vec::new());
        let mut hints = vec![0; has_members.len()];
        while let Some(key) = self.scanner.next_key(first).ok()? {
            first = false;
            let name = self.key(key)?;
            let found = has_members.iter().zip(&mut hints);
            let below: Vec<&Below> = found.filter_map(|(below, hint)| below.member(name, hint)).collect();
            below.iter().try_for_each(|below| once(&mut known, *below))?;
            self.value(&Wanted { below, inside, ..Wanted::default() })?;
        }
        let absent: Vec<&Below> =
            has_members.iter().flat_map(|below| below.members.iter().map(|(_, member)| member)).collect();
        self.fill_nulls(&absent);
        Some(())
    }

    fn items(&mut self, wanted: &Wanted<'_>, inside: bool) -> Option<()> {
        if wanted.below.iter().any(|below| !below.members.is_empty()) {
            return None;
        }
        let mut len = 0;
        while self.scanner.next_item(len == 0).ok()? {
            let below = wanted.below.iter().filter_map(|below| below.item(len)).collect();
            self.value(&Wanted { below, inside, ..Wanted::default() })?;
            len += 1;
        }
        let is_far = |below: &&Below| below.items.iter().any(|(index, _)| *index >= len);
        (!wanted.below.iter().any(is_far)).then_some(())
    }

    fn scalar(&mut self, wanted: &Wanted<'_>) -> Option<()> {
        let mut fills = Vec::new();
        for (slot, data_type) in &wanted.whole {
            let how = match data_type {
                None => How::Plain,
                Some(data_type) => How::Typed(wanted.name.into(), DataType::clone(data_type)),
            };
            fills.push(Fill { slot: self.claim(*slot)?, how });
        }
        for below in &wanted.below {
            // An item of a scalar is an error, of null it is null.
            if !below.items.is_empty() {
                return None;
            }
            for slot in &below.slots {
                fills.push(Fill { slot: self.claim(*slot)?, how: How::Plain });
            }
            for slot in below.members.iter().flat_map(|(_, member)| member.all()) {
                fills.push(Fill { slot: self.claim(*slot)?, how: How::Null });
            }
        }
        let start = self.scanner.position();
        self.scanner.token().ok()?;
        let take = match &fills[..] {
            [] if wanted.inside => Take::Check,
            [] => Take::Nothing,
            [Fill { slot, how: How::Plain }] => Take::One(*slot),
            _ => Take::Several(fills.into()),
        };
        let text = &self.scanner.bytes()[self.behind..start];
        self.learned.pieces.push((text.into(), take));
        self.behind = self.scanner.position();
        self.learned.scalars.push((start as u32, self.behind as u32));
        (self.learned.pieces.len() <= MAX_VALUES).then_some(())
    }

    fn fill_nulls(&mut self, absent: &[&Below]) {
        for slot in absent.iter().flat_map(|below| below.all()) {
            if !self.filled[*slot] {
                self.claim(*slot);
                self.learned.nulls.push(*slot);
            }
        }
    }

    /// Columns that are not there are missing, paths below them null.
    fn fill_the_rest(&mut self, walker: &Walker) -> Option<()> {
        let below: Vec<&Below> =
            walker.columns.iter().flat_map(|column| &column.below).map(|(_, below)| below).collect();
        self.fill_nulls(&below);
        for slot in 0..self.filled.len() {
            if !self.filled[slot] && !walker.meta.contains(&slot) {
                self.learned.missing.push(slot);
            }
        }
        Some(())
    }
}

fn wanted(column: &Wants, inside: bool) -> Wanted<'_> {
    Wanted {
        name: &column.name,
        whole: column.whole.iter().map(|(slot, data_type)| (*slot, data_type.as_ref())).collect(),
        below: column.below.iter().map(|(_, below)| below).collect(),
        inside,
    }
}

impl Learned {
    /// Fills what scalars do not fill; `start` gives where a fixed text begins.
    #[inline]
    pub(super) fn end(
        &self,
        place: Place<'_>,
        reading: Reading,
        start: impl Fn(usize) -> usize,
        into: &mut BatchBuilder,
    ) -> bool {
        self.nulls.iter().for_each(|slot| into.column(*slot).push_null());
        self.nested.iter().all(|nested| {
            let at = |(text, offset): (usize, usize)| start(text) + offset;
            let span = (at(nested.from), at(nested.to));
            reading.nested(place.arena, span, into.column(nested.slot)).is_ok()
        })
    }

    /// Whether the places of the fixed texts are asked for.
    pub(super) fn wants_starts(&self) -> bool {
        !self.nested.is_empty()
    }

    /// Takes back what a message has filled that did not fit after all.
    #[inline]
    pub(super) fn undo(&self, into: &mut BatchBuilder) {
        self.slots.iter().for_each(|slot| into.reset_slot(*slot));
    }
}
