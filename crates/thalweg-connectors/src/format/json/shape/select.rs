//! Which of several shapes a message may have: its fixed texts are followed from the front until they belong to one
//! shape only.
//!
//! What is chosen is only tried, so a wrong choice costs a walk and nothing else. A message whose texts belong to no
//! shape is found out without trying any.

use thalweg_core::json::Scanner;

use super::Place;
use super::program::Fixed;

/// The texts that may stand behind what was met so far.
#[derive(Default)]
pub(super) struct Choices(Vec<(Fixed, Next)>);

enum Next {
    /// The place of the only shape.
    Shape(usize),
    /// Behind a scalar.
    Choices(Choices),
}

/// A learned message: its bytes, and where each scalar begins and ends.
pub(super) struct Sample {
    bytes: Box<[u8]>,
    scalars: Box<[(u32, u32)]>,
}

impl Sample {
    pub(super) fn new(bytes: &[u8], scalars: &[(u32, u32)]) -> Self {
        Self { bytes: bytes.into(), scalars: scalars.into() }
    }

    /// The fixed text before a scalar, or behind the last one.
    fn text(&self, index: usize) -> Option<&[u8]> {
        let before = index.checked_sub(1).map_or(Some(0), |before| Some(self.scalars.get(before)?.1))?;
        let behind = self.scalars.get(index).map_or(self.bytes.len(), |(from, _)| *from as usize);
        self.bytes.get(before as usize..behind)
    }
}

impl Choices {
    /// The choices between these shapes.
    pub(super) fn new(samples: &[&Sample]) -> Self {
        Self::between(samples, (0..samples.len()).collect(), 0)
    }

    /// Between those that have the same texts before this one.
    fn between(samples: &[&Sample], mut left: Vec<usize>, index: usize) -> Self {
        let mut choices = Vec::new();
        while let Some(&one) = left.last() {
            let text = samples[one].text(index);
            let (same, others): (Vec<_>, Vec<_>) =
                left.iter().partition(|other| samples[**other].text(index) == text);
            left = others;
            let next = match same[..] {
                [_] => Next::Shape(one),
                // Shapes that are equal to the end: the newest stands for them.
                _ if text.is_none() => Next::Shape(one),
                _ => Next::Choices(Self::between(samples, same, index + 1)),
            };
            choices.push((Fixed::new(text.unwrap_or_default()), next));
        }
        // Of texts that begin alike the longer one is looked for first.
        choices.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
        Self(choices)
    }

    /// The place of the shape that a message may have.
    #[inline]
    pub(super) fn of(&self, Place { arena, start, end }: Place<'_>) -> Option<usize> {
        let (mut choices, mut at) = (self, start);
        loop {
            let found = choices.0.iter().find(|(text, _)| text.stands(arena, at, end));
            let (text, next) = found?;
            match next {
                Next::Shape(shape) => return Some(*shape),
                Next::Choices(more) => choices = more,
            }
            let mut scanner = Scanner::resume(arena, at + text.len());
            if scanner.quick_text().is_none() {
                scanner.skip_scalar().ok()?;
            }
            at = scanner.position();
        }
    }
}
