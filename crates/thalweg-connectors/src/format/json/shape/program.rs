//! The shape program: fixed text is compared, scalars are read in place. Every byte of the message is looked at.

use thalweg_core::BatchBuilder;
use thalweg_core::json::Scanner;

use super::super::walker::Reading;
use super::Place;
use super::learn::Learned;

/// Bytes compared at once.
const WIDTH: usize = 16;

/// How a message's fixed texts are compared.
pub(super) struct Program {
    /// Before each scalar, and behind the last one.
    texts: Vec<Fixed>,
    /// The places of the texts are asked for.
    wants_starts: bool,
}

/// A fixed text: its first bytes, its last bytes when it is longer than these, the rest when both do not cover it.
struct Fixed {
    len: usize,
    head: u128,
    head_mask: u128,
    tail: Option<u128>,
    text: Box<[u8]>,
}

impl Fixed {
    fn new(text: &[u8]) -> Self {
        let mut head = [0; WIDTH];
        let first = text.len().min(WIDTH);
        head[..first].copy_from_slice(&text[..first]);
        let head_mask = if first == WIDTH { u128::MAX } else { (1 << (8 * first)) - 1 };
        let tail = text.last_chunk::<WIDTH>().filter(|_| (WIDTH + 1..=2 * WIDTH).contains(&text.len()));
        Self {
            len: text.len(),
            head: u128::from_le_bytes(head),
            head_mask,
            tail: tail.map(|tail| u128::from_le_bytes(*tail)),
            text: text.into(),
        }
    }

    /// Whether the text stands at `at`. The bytes behind the message may be looked at, and do not count.
    #[inline(always)]
    fn stands(&self, arena: &[u8], at: usize, end: usize) -> bool {
        if at + self.len > end {
            return false;
        }
        let Some(first) = window(arena, at) else { return arena[at..].starts_with(&self.text) };
        if (first ^ self.head) & self.head_mask != 0 {
            return false;
        }
        match self.tail {
            _ if self.len <= WIDTH => true,
            Some(tail) => window(arena, at + self.len - WIDTH) == Some(tail),
            None => arena[at + WIDTH..at + self.len] == self.text[WIDTH..],
        }
    }
}

#[inline(always)]
fn window(arena: &[u8], at: usize) -> Option<u128> {
    Some(u128::from_le_bytes(*arena.get(at..)?.first_chunk::<WIDTH>()?))
}

impl Program {
    pub(super) fn new(learned: &Learned) -> Self {
        let texts = learned.pieces.iter().map(|(text, _)| &**text).chain([&*learned.tail]);
        Self { texts: texts.map(Fixed::new).collect(), wants_starts: learned.wants_starts() }
    }

    /// Reads the message. When it does not fit, some slots may have been filled.
    #[inline]
    pub(super) fn run(
        &self,
        place: Place<'_>,
        (reading, learned): (Reading, &Learned),
        starts: &mut Vec<usize>,
        into: &mut BatchBuilder,
    ) -> bool {
        let Place { arena, start, end } = place;
        let message = &arena[..end];
        let mut at = start;
        if self.wants_starts {
            starts.clear();
        }
        for (text, (_, take)) in self.texts.iter().zip(&learned.pieces) {
            if !text.stands(arena, at, end) {
                return false;
            }
            if self.wants_starts {
                starts.push(at);
            }
            let mut scanner = Scanner::resume(message, at + text.len);
            if !take.read(&mut scanner, reading, into) {
                return false;
            }
            at = scanner.position();
        }
        if self.wants_starts {
            starts.push(at);
        }
        self.texts.last().is_some_and(|tail| tail.stands(arena, at, end) && at + tail.len == end)
    }
}
