//! Learned shapes: devices send the same keys in the same order (hot-path.md 7.2).
//!
//! A shape is a message seen before, cut into fixed text and the scalars between. A message that has the same fixed
//! text is decoded by the shape; every other one goes to the walker, which may teach a new shape. A hit proves every
//! key and bracket equal to the learned message's, so that a key moved, renamed, doubled or left out is always noticed
//! (T-10). What a shape does not know how to read as the walker does, it leaves to the walker.
//!
//! Of several shapes the fixed texts at the front choose one (`select.rs`). A message as long as one before is first
//! compared with that byte by byte (`template.rs`). Otherwise small messages, and those that somebody takes whole, are read from front to back (`program.rs`); of larger ones only
//! the wanted scalars are looked into (`skeleton.rs`).

mod learn;
mod program;
mod select;
mod simd;
mod skeleton;
mod template;

use std::cmp::Reverse;

use thalweg_core::BatchBuilder;
use thalweg_core::json::Scanner;
use thalweg_core::metrics::ShapeMetrics;

use super::typed;
use super::walker::{Reading, Walker};
use learn::{Fill, How, Learned, Take};
use program::Program;
use select::{Choices, Sample};
pub(super) use simd::Instructions;
use simd::Marks;
use skeleton::Skeleton;
use template::{Template, Templates};

/// So many shapes are kept for a stream.
const SHAPES: usize = 32;
/// While as many are kept, one message of so many that fit none is learned.
const RARELY: u64 = 16;
/// Hits are judged after so many messages.
const WINDOW: u32 = 10_000;
/// With fewer hits than this in a window, nothing more is learned for a while.
const WORTH: u32 = WINDOW * 7 / 10;
/// A shape with fewer hits in a window is forgotten when learning pauses.
const POOR: u32 = WINDOW / 200;
/// After so many windows without learning it is tried again: devices get new firmware.
const PAUSE: u32 = 100;

/// Messages with more bytes and more scalars than this are matched by their skeleton.
const SMALL: (usize, usize) = (128, 8);

/// The shapes of one stream, in the order of their hits in the last window.
pub(super) struct Shapes {
    shapes: Vec<Shape>,
    /// Between several shapes.
    choices: Choices,
    /// Messages that shapes have decoded and that they have not, since that was told.
    by_shape: u64,
    pub(super) by_walker: u64,
    /// Messages that fitted no shape.
    misses: u64,
    /// Messages and hits of the current window.
    seen: u32,
    hits: u32,
    /// Windows until learning begins again; 0 while it goes on.
    pause: u32,
    /// Shapes cannot do what is wanted, or must not.
    is_off: bool,
    /// Where the fixed texts of the current message begin.
    starts: Vec<usize>,
    pub(super) instructions: Instructions,
    marks: Marks,
    small: (usize, usize),
}

struct Shape {
    reader: Reader,
    learned: Learned,
    sample: Sample,
    templates: Templates,
    hits: u32,
}

enum Reader {
    Program(Program),
    Skeleton(Skeleton),
}

/// Where a message stands.
#[derive(Debug, Clone, Copy)]
struct Place<'a> {
    /// Everything that arrived with it.
    arena: &'a [u8],
    start: usize,
    end: usize,
}

impl Shapes {
    pub(super) fn new(walker: &Walker) -> Self {
        Self {
            shapes: Vec::new(),
            choices: Choices::default(),
            by_shape: 0,
            by_walker: 0,
            misses: 0,
            seen: 0,
            hits: 0,
            pause: 0,
            is_off: !learn::is_possible(walker),
            starts: Vec::new(),
            instructions: Instructions::available().first().copied().unwrap_or(Instructions::Portable),
            marks: Marks::default(),
            small: SMALL,
        }
    }

    /// Fills the slots of the current row from the message at `start..end`, if a shape fits it. Otherwise the row is
    /// as before. Slots that the message does not have stay empty, unless `to_the_end`.
    #[inline]
    pub(super) fn read(
        &mut self,
        arena: &[u8],
        (start, end): (usize, usize),
        (walker, to_the_end): (&Walker, bool),
        into: &mut BatchBuilder,
    ) -> bool {
        if self.is_off {
            return false;
        }
        self.seen += 1;
        if self.seen > WINDOW {
            self.judge();
        }
        let place = Place { arena, start, end };
        let at = if self.shapes.len() > 1 { self.choices.of(place) } else { Some(0) };
        let Some(shape) = at.and_then(|at| self.shapes.get_mut(at)) else { return false };
        let scratch = (self.instructions, &mut self.starts, &mut self.marks);
        if !shape.read(place, walker, scratch, into) {
            shape.learned.undo(into);
            return false;
        }
        self.hits += 1;
        self.by_shape += 1;
        shape.hits += 1;
        if to_the_end {
            shape.learned.missing.iter().for_each(|slot| into.column(*slot).push_missing());
        }
        true
    }

    /// What became of the messages since the last call.
    pub(super) fn told(&mut self) -> ShapeMetrics {
        ShapeMetrics {
            by_shape: std::mem::take(&mut self.by_shape),
            by_walker: std::mem::take(&mut self.by_walker),
            kept: self.shapes.len() as u64,
            is_paused: self.pause > 0,
        }
    }

    /// Takes the shape of a message that the walker has read.
    pub(super) fn learn(&mut self, payload: &[u8], walker: &Walker) {
        if self.is_off || self.pause > 0 {
            return;
        }
        self.misses += 1;
        if self.shapes.len() == SHAPES && !self.misses.is_multiple_of(RARELY) {
            return;
        }
        let Some(mut learned) = learn::learn(payload, walker) else { return };
        let is_small = payload.len() <= self.small.0 || learned.pieces.len() <= self.small.1;
        let is_read_through = is_small || !walker.everything.is_empty();
        let skeleton = if is_read_through { None } else { Skeleton::new(&mut learned) };
        let reader = match skeleton {
            Some(skeleton) => Reader::Skeleton(skeleton),
            None => Reader::Program(Program::new(&mut learned)),
        };
        let scalars = std::mem::take(&mut learned.scalars);
        let (sample, templates) = (Sample::new(payload, &scalars), Templates::new(payload, &scalars));
        self.keep(Shape { reader, learned, sample, templates, hits: 0 });
        self.choose();
    }

    /// Shapes have come, gone or changed places.
    fn choose(&mut self) {
        let samples: Vec<&Sample> = self.shapes.iter().map(|shape| &shape.sample).collect();
        self.choices = Choices::new(&samples);
    }

    /// Puts a new shape in its place.
    fn keep(&mut self, shape: Shape) {
        if self.shapes.len() < SHAPES {
            self.shapes.push(shape);
            return;
        }
        // Of those with the fewest hits the one behind: it had fewer in the last window.
        let places = self.shapes.iter_mut().rev();
        if let Some(worst) = places.min_by_key(|shape| shape.hits) {
            *worst = shape;
        }
    }

    /// The end of a window.
    #[cold]
    fn judge(&mut self) {
        let is_worth = self.hits >= WORTH;
        self.pause = match self.pause {
            0 if is_worth => 0,
            0 => PAUSE,
            pause => pause - 1,
        };
        let n_shapes = self.shapes.len();
        if self.pause > 0 {
            self.shapes.retain(|shape| shape.hits >= POOR);
        }
        let order = |shape: &Shape| Reverse(shape.hits);
        if self.shapes.len() < n_shapes || !self.shapes.is_sorted_by_key(order) {
            self.shapes.sort_by_key(order);
            self.choose();
        }
        self.shapes.iter_mut().for_each(|shape| shape.hits = 0);
        (self.seen, self.hits) = (1, 0);
    }
}

/// Space that is used again for each message.
type Scratch<'s> = (Instructions, &'s mut Vec<usize>, &'s mut Marks);

impl Shape {
    /// Reads a message of this shape. When it is of another one, some slots may have been filled.
    #[inline]
    fn read(
        &mut self,
        place: Place<'_>,
        walker: &Walker,
        (instructions, starts, marks): Scratch<'_>,
        into: &mut BatchBuilder,
    ) -> bool {
        let reading = Reading { base: 0, whole_numbers: walker.want.whole_numbers };
        let (learned, message) = (&self.learned, &place.arena[place.start..place.end]);
        if let Some(template) = self.templates.find(message, instructions) {
            let with = (place, reading, learned);
            return match &self.reader {
                Reader::Program(program) => in_place(template, program.takes(), with, into),
                Reader::Skeleton(skeleton) => in_place(template, skeleton.takes(), with, into),
            };
        }
        let is_read = match &self.reader {
            Reader::Program(program) => program.run(place, (reading, learned), starts, into),
            Reader::Skeleton(skeleton) => {
                skeleton.run(place, (instructions, marks), (reading, learned), into)
            }
        };
        if is_read && self.templates.is_due(message) {
            self.renew(message, walker);
        }
        is_read
    }

    /// Makes a template of a message of this shape.
    #[cold]
    fn renew(&mut self, message: &[u8], walker: &Walker) {
        if let Some(again) = learn::learn(message, walker) {
            self.templates.add(message, &again.scalars);
        }
    }
}

/// Reads a message that fits a template: each scalar has to end where the template's does.
#[inline(always)]
fn in_place<'t>(
    template: &Template,
    takes: impl Iterator<Item = (usize, &'t Take)>,
    (place, reading, learned): (Place<'_>, Reading, &Learned),
    into: &mut BatchBuilder,
) -> bool {
    for (index, take) in takes {
        let (from, to) = template.scalar(index);
        let mut scanner = Scanner::resume(place.arena, place.start + from);
        let is_read = match take {
            Take::Check | Take::Nothing if scanner.skip_short_number(place.start + to) => true,
            take => take.read(&mut scanner, reading, into),
        };
        if !is_read || scanner.position() != place.start + to {
            return false;
        }
    }
    learned.end(place, reading, |text| place.start + template.text(text), into)
}

impl Take {
    /// Reads the scalar at the scanner's place.
    #[inline(always)]
    fn read(&self, scanner: &mut Scanner<'_>, reading: Reading, into: &mut BatchBuilder) -> bool {
        match self {
            Self::Nothing | Self::Check => {
                scanner.quick_text().is_some()
                    || scanner.quick_float().is_some()
                    || scanner.skip_scalar().is_ok()
            }
            Self::One(slot) => reading.plain(scanner, into.column(*slot)),
            Self::Several(fills) => fill(fills, scanner, reading, into),
        }
    }
}

/// One scalar into several slots.
fn fill(fills: &[Fill], scanner: &mut Scanner<'_>, reading: Reading, into: &mut BatchBuilder) -> bool {
    let start = scanner.clone();
    for fill in fills {
        *scanner = start.clone();
        let is_filled = match &fill.how {
            How::Plain => reading.plain(scanner, into.column(fill.slot)),
            How::Null => {
                into.column(fill.slot).push_null();
                scanner.skip_scalar().is_ok()
            }
            How::Typed(name, data_type) => {
                !matches!(scanner.peek(), b'{' | b'[')
                    && typed::push(scanner, name, data_type, (reading.base, into.column(fill.slot))).is_ok()
            }
        };
        if !is_filled {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests;
