//! Where the structural characters of JSON text stand: 64 bytes at a time, with the best instructions that the
//! processor has (hot-path.md 7.2).
//!
//! Each set of instructions has two functions of its own, which say where a block has quotes and the like and which
//! bytes stand in strings; [`scanning`] makes the loop around them. The portable set needs no instructions, and is what
//! the tests compare the others with.

/// A set of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::format::json) enum Instructions {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Sse2,
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Instructions {
    /// What it is called.
    pub(in crate::format::json) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Sse2 => "sse2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// Every set that this processor has, the best first.
    pub(in crate::format::json) fn available() -> Vec<Self> {
        let mut found = Vec::new();
        #[cfg(target_arch = "x86_64")]
        {
            let has_words = is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("popcnt")
                && is_x86_feature_detected!("pclmulqdq");
            let has_512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vbmi2");
            if has_words && has_512 {
                found.push(Self::Avx512);
            }
            if has_words && is_x86_feature_detected!("avx2") {
                found.push(Self::Avx2);
            }
            found.push(Self::Sse2);
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            found.push(Self::Neon);
        }
        found.push(Self::Portable);
        found
    }
}

/// Bytes looked at at once.
const BLOCK: usize = 64;

/// Which characters are marked one by one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Anchors {
    /// `:`; the others are only counted.
    Colons,
    /// `{`, `}`, `[`, `]`, `:` and `,`.
    All,
}

/// Structural characters outside of strings.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// Their places from the beginning of the text; a block's worth of space behind the last one.
    at: Vec<u32>,
    count: usize,
    /// Characters that were only counted.
    others: u32,
}

impl Marks {
    /// The places, in order.
    #[inline]
    pub(super) fn places(&self) -> &[u32] {
        &self.at[..self.count]
    }

    fn begin(&mut self, most: usize) {
        if self.at.len() < most + BLOCK {
            self.at.resize(most + BLOCK, 0);
        }
        (self.count, self.others) = (0, 0);
    }

    /// Space for a block's places, unless there are too many already.
    #[inline(always)]
    fn space(&mut self) -> Option<&mut [u32; BLOCK]> {
        self.at.get_mut(self.count..)?.first_chunk_mut()
    }
}

/// Writes the places of a block's bits, and perhaps something behind them.
#[inline(always)]
fn spread(mut bits: u64, base: u32, space: &mut [u32; BLOCK]) {
    // A multiple of four, so that the processor can guess how often.
    let count = (bits.count_ones() as usize).next_multiple_of(4);
    for place in space.iter_mut().take(count) {
        *place = base.wrapping_add(bits.trailing_zeros());
        bits &= bits.wrapping_sub(1);
    }
}

/// What must be found.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    pub anchors: Anchors,
    pub count: usize,
    pub others: u32,
}

/// Marks the structural characters of `arena[start..end]`. False when there are more or fewer of them than expected,
/// or a string does not end.
#[allow(unsafe_code)]
pub(super) fn scan(
    instructions: Instructions,
    (arena, start, end): (&[u8], usize, usize),
    expected: Expected,
    marks: &mut Marks,
) -> bool {
    let text = Text { arena, start, end };
    marks.begin(expected.count);
    let is_closed = match instructions {
        // SAFETY: `available` found the features of this set on this processor.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx512 => unsafe { x86::avx512(text, expected.anchors, marks) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Instructions::Avx2 => unsafe { x86::avx2(text, expected.anchors, marks) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: every processor of this architecture has SSE2.
        Instructions::Sse2 => unsafe { x86::sse2(text, expected.anchors, marks) },
        // SAFETY: as for the widest.
        #[cfg(target_arch = "aarch64")]
        Instructions::Neon => unsafe { arm::neon(text, expected.anchors, marks) },
        Instructions::Portable => portable::scan(text, expected.anchors, marks),
    };
    is_closed && marks.count == expected.count && marks.others == expected.others
}

#[derive(Debug, Clone, Copy)]
struct Text<'a> {
    arena: &'a [u8],
    start: usize,
    end: usize,
}

/// A bit for each byte of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Masks {
    quote: u64,
    backslash: u64,
    colon: u64,
    /// `{`, `}`, `[`, `]` and `,`.
    other: u64,
}

/// The bytes that a backslash stands before. `carry`: the first one is such; becomes so for the next block.
#[cold]
fn escaped(backslash: u64, carry: &mut u64) -> u64 {
    let mut escaped = *carry;
    let mut open = backslash & !*carry;
    *carry = 0;
    while open != 0 {
        let bit = open & open.wrapping_neg();
        let next = bit << 1;
        *carry = u64::from(next == 0);
        escaped |= next;
        open &= !(bit | next);
    }
    escaped
}

/// The loop over blocks: `$masks` finds the characters of a block, `$strings` turns the bits of quotes into the bits
/// from each opening quote to before its closing one, `$spread` writes the places of bits.
macro_rules! scanning {
    ($(#[$attribute:meta])* $name:ident, $masks:path, $strings:path, $spread:path) => {
        $(#[$attribute])*
        pub(super) fn $name(text: Text<'_>, anchors: Anchors, marks: &mut Marks) -> bool {
            let (mut at, mut inside, mut carry) = (text.start, 0u64, 0u64);
            while at < text.end {
                let left = text.end - at;
                let keep = if left < BLOCK { (1 << left) - 1 } else { u64::MAX };
                let mut last = [0; BLOCK];
                let block = match text.arena[at..].first_chunk::<BLOCK>() {
                    Some(block) => block,
                    None => {
                        last[..left].copy_from_slice(&text.arena[at..text.end]);
                        &last
                    }
                };
                let masks = $masks(block);
                let mut quote = masks.quote & keep;
                if masks.backslash | carry != 0 {
                    quote &= !escaped(masks.backslash, &mut carry);
                }
                let strings = $strings(quote) ^ inside;
                inside = ((strings as i64) >> 63) as u64;
                let outside = !strings & keep;
                let mut bits = masks.colon & outside;
                match anchors {
                    Anchors::Colons => marks.others += (masks.other & outside).count_ones(),
                    Anchors::All => bits |= masks.other & outside,
                }
                let Some(space) = marks.space() else { return false };
                $spread(bits, (at - text.start) as u32, space);
                marks.count += bits.count_ones() as usize;
                at += BLOCK;
            }
            inside == 0
        }
    };
}

/// Each bit becomes the parity of all bits up to it.
#[inline(always)]
fn parity(mut bits: u64) -> u64 {
    for shift in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << shift;
    }
    bits
}

/// Without any special instructions: eight bytes at a time.
mod portable {
    use super::{Anchors, BLOCK, Marks, Masks, Text, escaped, parity, spread};

    scanning!(scan, masks, parity, spread);

    const LOW_BITS: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    const CASE: u64 = 0x2020_2020_2020_2020;

    #[inline]
    pub(super) fn masks(block: &[u8; BLOCK]) -> Masks {
        let mut masks = Masks { quote: 0, backslash: 0, colon: 0, other: 0 };
        for (index, word) in block.as_chunks::<8>().0.iter().enumerate() {
            let (word, shift) = (u64::from_le_bytes(*word), index * 8);
            // Square brackets differ from curly ones by this bit alone.
            let cased = word | CASE;
            masks.quote |= equal(word, b'"') << shift;
            masks.backslash |= equal(word, b'\\') << shift;
            masks.colon |= equal(word, b':') << shift;
            masks.other |= (equal(word, b',') | equal(cased, b'{') | equal(cased, b'}')) << shift;
        }
        masks
    }

    /// A bit for each of a word's bytes.
    #[inline(always)]
    fn equal(word: u64, byte: u8) -> u64 {
        let differs = word ^ u64::from_le_bytes([byte; 8]);
        let equal = !(((differs & LOW_BITS) + LOW_BITS) | differs | LOW_BITS);
        // The bit of byte i moves from place 8 i + 7 to place 56 + i.
        (equal >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Anchors, BLOCK, Marks, Masks, Text, escaped, parity, spread};

    scanning!(
        #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,bmi1,bmi2,popcnt,pclmulqdq")]
        avx512,
        masks_512,
        parity_by_product,
        spread_512
    );
    scanning!(
        #[target_feature(enable = "avx2,bmi1,bmi2,popcnt,pclmulqdq")]
        avx2,
        masks_256,
        parity_by_product,
        spread
    );
    scanning!(
        #[target_feature(enable = "sse2")]
        sse2,
        masks_128,
        parity,
        spread
    );

    /// A product without carries with all ones.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn parity_by_product(bits: u64) -> u64 {
        let ones = _mm_set1_epi8(-1);
        _mm_cvtsi128_si64(_mm_clmulepi64_si128::<0>(_mm_cvtsi64_si128(bits as i64), ones)) as u64
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn masks_512(block: &[u8; BLOCK]) -> Masks {
        // SAFETY: the block is 64 bytes long, and the load needs no alignment.
        let bytes = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
        let cased = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
        let equal = |bytes, byte: u8| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte as i8));
        Masks {
            quote: equal(bytes, b'"'),
            backslash: equal(bytes, b'\\'),
            colon: equal(bytes, b':'),
            other: equal(bytes, b',') | equal(cased, b'{') | equal(cased, b'}'),
        }
    }

    /// As [`spread`]: the numbers of the bits are pressed together, sixteen of them become places at once.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,bmi1,popcnt")]
    fn spread_512(bits: u64, base: u32, space: &mut [u32; BLOCK]) {
        // SAFETY: the numbers are 64 bytes long, and the load needs no alignment.
        let all = unsafe { _mm512_loadu_si512(NUMBERS.as_ptr().cast()) };
        let numbers = _mm512_maskz_compress_epi8(bits, all);
        let first = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(numbers));
        let places = _mm512_add_epi32(first, _mm512_set1_epi32(base as i32));
        // SAFETY: the space holds 64 numbers of 32 bits, of which 16 are written; the store needs no alignment.
        unsafe { _mm512_storeu_si512(space.as_mut_ptr().cast(), places) };
        if bits.count_ones() > 16 {
            spread(bits, base, space);
        }
    }

    const NUMBERS: [u8; BLOCK] = {
        let mut numbers = [0; BLOCK];
        let mut at = 0;
        while at < BLOCK {
            numbers[at] = at as u8;
            at += 1;
        }
        numbers
    };

    #[inline]
    #[target_feature(enable = "avx2")]
    fn masks_256(block: &[u8; BLOCK]) -> Masks {
        // SAFETY: each load takes one half of the 64 bytes, and needs no alignment.
        let halves = unsafe {
            [
                _mm256_loadu_si256(block.as_ptr().cast()),
                _mm256_loadu_si256(block.as_ptr().add(BLOCK / 2).cast()),
            ]
        };
        let cased = halves.map(|bytes| _mm256_or_si256(bytes, _mm256_set1_epi8(0x20)));
        let equal = |[low, high]: [__m256i; 2], byte: u8| {
            let bits =
                |bytes| _mm256_movemask_epi8(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte as i8))) as u32;
            u64::from(bits(low)) | u64::from(bits(high)) << 32
        };
        Masks {
            quote: equal(halves, b'"'),
            backslash: equal(halves, b'\\'),
            colon: equal(halves, b':'),
            other: equal(halves, b',') | equal(cased, b'{') | equal(cased, b'}'),
        }
    }

    #[inline]
    #[target_feature(enable = "sse2")]
    fn masks_128(block: &[u8; BLOCK]) -> Masks {
        let mut masks = Masks { quote: 0, backslash: 0, colon: 0, other: 0 };
        for (index, part) in block.as_chunks::<16>().0.iter().enumerate() {
            // SAFETY: the part is 16 bytes long, and the load needs no alignment.
            let bytes = unsafe { _mm_loadu_si128(part.as_ptr().cast()) };
            let cased = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
            let equal = |bytes, byte: u8| {
                let bits = _mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte as i8)));
                u64::from(bits as u16) << (index * 16)
            };
            masks.quote |= equal(bytes, b'"');
            masks.backslash |= equal(bytes, b'\\');
            masks.colon |= equal(bytes, b':');
            masks.other |= equal(bytes, b',') | equal(cased, b'{') | equal(cased, b'}');
        }
        masks
    }
}

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)]
mod arm {
    use std::arch::aarch64::*;

    use super::{Anchors, BLOCK, Marks, Masks, Text, escaped, parity, spread};

    scanning!(
        #[target_feature(enable = "neon")]
        neon,
        masks,
        parity,
        spread
    );

    #[inline]
    #[target_feature(enable = "neon")]
    fn masks(block: &[u8; BLOCK]) -> Masks {
        // SAFETY: the four loads take the 64 bytes of the block.
        let parts = unsafe { [0, 16, 32, 48].map(|from| vld1q_u8(block.as_ptr().add(from))) };
        let cased = parts.map(|bytes| vorrq_u8(bytes, vdupq_n_u8(0x20)));
        let equal =
            |parts: [uint8x16_t; 4], byte: u8| together(parts.map(|bytes| vceqq_u8(bytes, vdupq_n_u8(byte))));
        Masks {
            quote: equal(parts, b'"'),
            backslash: equal(parts, b'\\'),
            colon: equal(parts, b':'),
            other: equal(parts, b',') | equal(cased, b'{') | equal(cased, b'}'),
        }
    }

    /// A bit for each byte that is all ones: neighbours are added until eight of them are one byte.
    #[inline]
    #[target_feature(enable = "neon")]
    fn together(parts: [uint8x16_t; 4]) -> u64 {
        // SAFETY: the load takes the 16 bytes of the weights.
        let weights = unsafe { vld1q_u8(WEIGHTS.as_ptr()) };
        let [one, two, three, four] = parts.map(|bytes| vandq_u8(bytes, weights));
        let pairs = vpaddq_u8(vpaddq_u8(one, two), vpaddq_u8(three, four));
        vgetq_lane_u64::<0>(vreinterpretq_u64_u8(vpaddq_u8(pairs, pairs)))
    }

    const WEIGHTS: [u8; 16] = [1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128];
}
