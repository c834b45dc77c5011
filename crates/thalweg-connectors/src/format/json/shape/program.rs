//! The shape program: fixed text is compared, scalars are read in place. Every byte of the message is looked at.

use thalweg_core::BatchBuilder;
use thalweg_core::json::Scanner;

use super::super::walker::Reading;
use super::Place;
use super::learn::{Learned, Take};

/// Bytes compared at once, as two words.
const WIDTH: usize = 16;

type Words = [u64; 2];

/// How a message's fixed texts are compared.
pub(super) struct Program {
    /// The text before each scalar, and what becomes of that.
    steps: Vec<(Fixed, Take)>,
    /// Behind the last one.
    tail: Fixed,
    /// The places of the texts are asked for.
    wants_starts: bool,
}

/// A fixed text: its first bytes, its last bytes when it is longer than these, the rest when both do not cover it.
pub(super) struct Fixed {
    len: usize,
    head: Words,
    head_mask: Words,
    tail: Option<Words>,
    text: Box<[u8]>,
}

impl Fixed {
    pub(super) fn new(text: &[u8]) -> Self {
        let (mut head, mut head_mask) = ([0; WIDTH], [0; WIDTH]);
        let first = text.len().min(WIDTH);
        head[..first].copy_from_slice(&text[..first]);
        head_mask[..first].fill(0xff);
        let tail = text.last_chunk::<WIDTH>().filter(|_| (WIDTH + 1..=2 * WIDTH).contains(&text.len()));
        Self {
            len: text.len(),
            head: words(&head),
            head_mask: words(&head_mask),
            tail: tail.map(words),
            text: text.into(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether the text stands at `at`. The bytes behind the message may be looked at, and do not count.
    #[inline(always)]
    pub(super) fn stands(&self, arena: &[u8], at: usize, end: usize) -> bool {
        if at + self.len > end {
            return false;
        }
        let Some(first) = window(arena, at) else { return arena[at..].starts_with(&self.text) };
        let differs = |place: usize| (first[place] ^ self.head[place]) & self.head_mask[place];
        if differs(0) | differs(1) != 0 {
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
fn window(arena: &[u8], at: usize) -> Option<Words> {
    arena.get(at..)?.first_chunk().map(words)
}

#[inline(always)]
fn words(bytes: &[u8; WIDTH]) -> Words {
    let [one, other] = bytes.as_chunks::<8>().0 else { return [0; 2] };
    [u64::from_le_bytes(*one), u64::from_le_bytes(*other)]
}

impl Program {
    /// Takes what was learned apart.
    pub(super) fn new(learned: &mut Learned) -> Self {
        Self {
            steps: learned.pieces.drain(..).map(|(text, take)| (Fixed::new(&text), take)).collect(),
            tail: Fixed::new(&learned.tail),
            wants_starts: learned.wants_starts(),
        }
    }

    /// What becomes of each scalar.
    #[inline]
    pub(super) fn takes(&self) -> impl Iterator<Item = (usize, &Take)> {
        self.steps.iter().map(|(_, take)| take).enumerate()
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
        if !self.wants_starts {
            return self.read(place, reading, |_| {}, into) && learned.end(place, reading, |_| 0, into);
        }
        starts.clear();
        self.read(place, reading, |start| starts.push(start), into)
            && learned.end(place, reading, |text| starts[text], into)
    }

    /// Reads the scalars. `note` is told where each text begins.
    #[inline(always)]
    fn read(
        &self,
        Place { arena, start, end }: Place<'_>,
        reading: Reading,
        mut note: impl FnMut(usize),
        into: &mut BatchBuilder,
    ) -> bool {
        let mut at = start;
        for (text, take) in &self.steps {
            if !text.stands(arena, at, end) {
                return false;
            }
            note(at);
            // What is read past the end of the message does not stand before the last text.
            let mut scanner = Scanner::resume(arena, at + text.len);
            if !take.read(&mut scanner, reading, into) {
                return false;
            }
            at = scanner.position();
        }
        note(at);
        at + self.tail.len == end && self.tail.stands(arena, at, end)
    }
}
