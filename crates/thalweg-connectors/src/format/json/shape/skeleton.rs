//! The skeleton match: the structural characters outside of strings are found by masks, and the fixed text that ends
//! at each of them is compared.
//!
//! Nothing between fixed texts is structural when there are as many structural characters as in the learned message
//! and every fixed text stands at its own ones: then all of them are accounted for. So every key and bracket is proved
//! equal to the learned message's, but scalars that nobody wants are not looked into.
//!
//! Where a colon stands before every scalar (no lists of scalars), colons are the only marks, and the other structural
//! characters are counted: half as many places for a flat object.

use thalweg_core::BatchBuilder;
use thalweg_core::json::Scanner;

use super::super::walker::Reading;
use super::Place;
use super::learn::{Learned, Take};
use super::simd::{Anchors, Expected, Instructions, Marks, scan};

/// Bytes compared at once, as two words.
const WIDTH: usize = 16;

pub(super) struct Skeleton {
    expected: Expected,
    /// Before each scalar.
    texts: Vec<Fixed>,
    /// Behind the last scalar.
    tail: Fixed,
    /// Texts that are longer than what [`Fixed`] holds.
    long: Vec<(usize, Box<[u8]>)>,
    /// Scalars that are wanted, by the text before them.
    wanted: Vec<(usize, Take)>,
    /// Every text but the first ends at the mark behind that of the text before.
    is_regular: bool,
}

/// The end of a fixed text.
struct Fixed {
    /// Its last bytes, behind zeros when it is shorter.
    end: [u64; 2],
    /// The mark that it ends at.
    mark: u32,
    /// Bytes from there to its end.
    more: u32,
    len: u32,
    /// So many of them are in `end`.
    held: u32,
}

/// The last so many bytes of two words. More than there can be, so that no place needs to be checked.
const MASKS: [[u64; 2]; 2 * WIDTH] = {
    let mut masks = [[0; 2]; 2 * WIDTH];
    let mut len = 0;
    while len <= WIDTH {
        let ones = if len == 0 { 0 } else { u128::MAX << (8 * (WIDTH - len)) };
        masks[len] = [ones as u64, (ones >> 64) as u64];
        len += 1;
    }
    masks
};

/// The structural characters of a fixed text: how many colons and others, and the last of the marked ones.
struct Structure {
    colons: usize,
    others: usize,
    last: Option<usize>,
}

fn structure(text: &[u8], anchors: Anchors) -> Structure {
    let (mut is_key, mut found) = (false, Structure { colons: 0, others: 0, last: None });
    for (at, byte) in text.iter().enumerate() {
        match byte {
            b'"' => is_key = !is_key,
            b':' if !is_key => {
                found.colons += 1;
                found.last = Some(at);
            }
            b',' | b'{' | b'}' | b'[' | b']' if !is_key => {
                found.others += 1;
                if anchors == Anchors::All {
                    found.last = Some(at);
                }
            }
            _ => {}
        }
    }
    found
}

impl Skeleton {
    /// Takes what was learned apart; `None` for messages without scalars.
    pub(super) fn new(learned: &mut Learned) -> Option<Self> {
        let has_colons = learned.pieces.iter().all(|(text, _)| structure(text, Anchors::Colons).colons > 0);
        let anchors = if has_colons { Anchors::Colons } else { Anchors::All };
        let mut expected = Expected { anchors, count: 0, others: 0 };
        let mut count = |found: &Structure| match anchors {
            Anchors::Colons => {
                expected.count += found.colons;
                expected.others += found.others as u32;
                expected.count
            }
            Anchors::All => {
                expected.count += found.colons + found.others;
                expected.count
            }
        };
        let (mut texts, mut long) = (Vec::new(), Vec::new());
        for (index, (text, _)) in learned.pieces.iter().enumerate() {
            let found = structure(text, anchors);
            let marks = count(&found);
            texts.push(Fixed::new(text, marks.checked_sub(1)?, found.last?));
            if text.len() > WIDTH {
                long.push((index, text[..text.len() - WIDTH].into()));
            }
        }
        count(&structure(&learned.tail, anchors));
        if learned.tail.len() > WIDTH {
            long.push((learned.pieces.len(), learned.tail[..learned.tail.len() - WIDTH].into()));
        }
        let is_regular = texts.windows(2).all(|pair| pair[0].mark + 1 == pair[1].mark);
        let takes = learned.pieces.drain(..).map(|(_, take)| take).enumerate();
        let wanted = takes.filter(|(_, take)| !matches!(take, Take::Nothing)).collect();
        Some(Self { expected, texts, tail: Fixed::new(&learned.tail, 0, 0), long, wanted, is_regular })
    }

    /// What becomes of the scalars that somebody wants, by their number.
    #[inline]
    pub(super) fn takes(&self) -> impl Iterator<Item = (usize, &Take)> {
        self.wanted.iter().map(|(index, take)| (*index, take))
    }

    /// Reads the message. When it does not fit, some slots may have been filled.
    pub(super) fn run(
        &self,
        place: Place<'_>,
        (instructions, marks): (Instructions, &mut Marks),
        (reading, learned): (Reading, &Learned),
        into: &mut BatchBuilder,
    ) -> bool {
        let Place { arena, start, end } = place;
        // From before the message, so that every place in it has a whole window before it.
        let early;
        let view = match start.checked_sub(WIDTH) {
            Some(from) => &arena[from..end],
            None => {
                early = at_the_beginning(place);
                &early
            }
        };
        if !self.begins(view)
            || !scan(instructions, (arena, start, end), self.expected, marks)
            || !self.stands(view, marks.places())
        {
            return false;
        }
        let places = marks.places();
        for (index, take) in &self.wanted {
            let mut scanner = Scanner::resume(arena, start + self.texts[*index].end(places));
            let behind = self.start(*index + 1, place, places);
            if matches!(take, Take::Check) && scanner.skip_short_number(behind) {
                continue;
            }
            if !take.read(&mut scanner, reading, into) || scanner.position() != behind {
                return false;
            }
        }
        learned.end(place, reading, |text| self.start(text, place, places), into)
    }

    /// Whether the first text may stand at the beginning. Most messages of another shape are found out here.
    #[inline]
    fn begins(&self, view: &[u8]) -> bool {
        let Some(first) = self.texts.first() else { return false };
        let window = view.get(first.len as usize..).and_then(|view| view.first_chunk());
        window.is_some_and(|window| first.differs(words(window)) == [0; 2])
    }

    /// Where a text begins.
    #[inline]
    fn start(&self, index: usize, place: Place<'_>, places: &[u32]) -> usize {
        match self.texts.get(index) {
            Some(text) => place.start + text.end(places) - text.len as usize,
            None => place.end - self.tail.len as usize,
        }
    }

    /// Whether each text stands where its last mark says, with a scalar between any two.
    #[inline]
    fn stands(&self, view: &[u8], places: &[u32]) -> bool {
        let texts = &self.texts;
        let behind = match texts.first() {
            None => None,
            Some(first) if first.end(places) != first.len as usize => None,
            Some(first) if self.is_regular => {
                let places = places.get(first.mark as usize..).unwrap_or_default();
                compare(view, texts.iter().zip(places.iter().copied()))
            }
            Some(_) => compare(view, texts.iter().map(|text| (text, places[text.mark as usize]))),
        };
        let (end, tail) = (view.len() - WIDTH, self.tail.len as usize);
        behind.is_some_and(|behind| behind + tail < end)
            && view[..view.len() - tail].last().is_some_and(|last| *last > b' ')
            && view.last_chunk().is_some_and(|window| self.tail.differs(words(window)) == [0; 2])
            && self.long_ones_stand(view, places)
    }

    fn long_ones_stand(&self, view: &[u8], places: &[u32]) -> bool {
        self.long.iter().all(|(index, text)| {
            let end = self.texts.get(*index).map_or(view.len() - WIDTH, |text| text.end(places));
            view[..end].ends_with(text)
        })
    }
}

impl Fixed {
    fn new(text: &[u8], mark: usize, last: usize) -> Self {
        let mut end = [0; WIDTH];
        let len = text.len().min(WIDTH);
        end[WIDTH - len..].copy_from_slice(&text[text.len() - len..]);
        Self {
            end: words(&end),
            mark: mark as u32,
            more: (text.len() - last) as u32,
            len: text.len() as u32,
            held: len as u32,
        }
    }

    /// Zeros when these are its last bytes, as far as it holds them.
    #[inline(always)]
    fn differs(&self, window: [u64; 2]) -> [u64; 2] {
        let mask = &MASKS[self.held as usize % MASKS.len()];
        [(window[0] ^ self.end[0]) & mask[0], (window[1] ^ self.end[1]) & mask[1]]
    }

    /// Where it ends in the message, if that is as learned.
    #[inline(always)]
    fn end(&self, places: &[u32]) -> usize {
        places[self.mark as usize] as usize + self.more as usize
    }
}

/// The end of the last text, if each stands at the place of its mark, with a scalar before it that does not end in a
/// blank.
#[inline(always)]
fn compare<'t>(view: &[u8], mut texts: impl Iterator<Item = (&'t Fixed, u32)>) -> Option<usize> {
    let (first, at) = texts.next()?;
    let mut behind = at as usize + first.more as usize;
    let mut differs = first.differs(words(view.get(behind..)?.first_chunk()?));
    // Something stands between two texts when the sum of what is before is negative.
    let (mut ordered, mut last) = (usize::MAX, u8::MAX);
    for (text, at) in texts {
        let end = at as usize + text.more as usize;
        let here = text.differs(words(view.get(end..)?.first_chunk()?));
        last = last.min(*view.get((end + WIDTH - 1).wrapping_sub(text.len as usize))?);
        // Two words throughout: they stay in one wide register.
        differs = [differs[0] | here[0], differs[1] | here[1]];
        ordered &= behind.wrapping_add(text.len as usize).wrapping_sub(end);
        behind = end;
    }
    (differs == [0; 2] && (ordered as isize) < 0 && last > b' ').then_some(behind)
}

/// A message at the very beginning of the arena, with something before it.
#[cold]
fn at_the_beginning(place: Place<'_>) -> Vec<u8> {
    let mut view = vec![0; WIDTH];
    view.extend_from_slice(&place.arena[place.start..place.end]);
    view
}

#[inline(always)]
fn words(bytes: &[u8; WIDTH]) -> [u64; 2] {
    let [one, other] = bytes.as_chunks::<8>().0 else { return [0; 2] };
    [u64::from_le_bytes(*one), u64::from_le_bytes(*other)]
}
