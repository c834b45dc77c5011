//! Messages of one length, byte by byte: devices whose numbers keep their width send their keys in the same places.
//!
//! For each place of a message the template knows which bytes may stand there. In fixed text that is one byte; in a
//! number the digits, `-`, `.` and `/`; in `true`, `false` and `null` small letters; in a string everything but a quote
//! and a backslash. None of what may stand in a scalar is structural, so a message that fits has the learned message's
//! keys, brackets and scalars, each in its place: the same proof as the skeleton's, without looking for anything.
//!
//! Messages that do not fit say nothing: the shape reads them in its own way, and another template may be made of one.

use super::simd::Instructions;

/// Bytes looked at at once.
const WINDOW: usize = 64;
/// So many messages are kept of one shape.
const MOST: usize = 4;
/// Bytes of messages that are kept of one shape, unless a single one is longer.
const MOST_BYTES: usize = 1 << 14;
/// Longer messages have no templates.
const MAX_BYTES: usize = 1 << 16;
/// A template is made of a message after so many that had none; each time after twice as many.
const PATIENCE: u32 = 4;
const MOST_PATIENT: u32 = 1 << 16;

/// One message.
pub(super) struct Template {
    pub len: usize,
    /// For each whole window of the message; of the rest, if there is one, the message's last window.
    windows: Box<[Window]>,
    /// Where each scalar begins and ends.
    scalars: Box<[(u32, u32)]>,
    /// Messages that fitted since one was added.
    pub hits: u32,
}

/// What may stand in each place: a byte that is at most `more` above `least` (wrapping), and not `barred`.
#[repr(C, align(64))]
pub(super) struct Window {
    pub least: [u8; WINDOW],
    pub more: [u8; WINDOW],
    pub barred: [u8; WINDOW],
}

/// The templates of one shape.
pub(super) struct Templates {
    pub kept: Vec<Template>,
    /// Messages until another one is made.
    wait: u32,
    patience: u32,
}

impl Templates {
    /// The first one is the learned message.
    pub(super) fn new(payload: &[u8], scalars: &[(u32, u32)]) -> Self {
        let mut templates = Self { kept: Vec::new(), wait: PATIENCE, patience: PATIENCE };
        templates.add(payload, scalars);
        templates
    }

    /// The template that a message fits.
    #[inline]
    pub(super) fn find(&mut self, message: &[u8], instructions: Instructions) -> Option<&Template> {
        let fits = |kept: &&mut Template| kept.len == message.len() && kept.fits(message, instructions);
        let found = self.kept.iter_mut().find(fits)?;
        found.hits = found.hits.saturating_add(1);
        Some(found)
    }

    /// Whether it is time to make a template of a message that none fits.
    #[inline]
    pub(super) fn is_due(&mut self, message: &[u8]) -> bool {
        if !(WINDOW..=MAX_BYTES).contains(&message.len()) {
            return false;
        }
        self.wait -= 1;
        if self.wait > 0 {
            return false;
        }
        self.patience = (self.patience * 2).min(MOST_PATIENT);
        self.wait = self.patience;
        true
    }

    /// Takes a message of the shape in the place of the one that was met least.
    pub(super) fn add(&mut self, payload: &[u8], scalars: &[(u32, u32)]) {
        if !(WINDOW..=MAX_BYTES).contains(&payload.len()) {
            return;
        }
        let most = (MOST_BYTES / payload.len()).clamp(1, MOST);
        while self.kept.len() >= most {
            let hits = self.kept.iter().map(|template| template.hits).enumerate();
            let Some((least, _)) = hits.min_by_key(|(_, hits)| *hits) else { return };
            self.kept.swap_remove(least);
        }
        self.kept.iter_mut().for_each(|template| template.hits = 0);
        self.kept.push(Template::new(payload, scalars));
    }
}

impl Template {
    fn new(payload: &[u8], scalars: &[(u32, u32)]) -> Self {
        let mut least = payload.to_vec();
        let (mut more, mut barred) =
            (vec![0; payload.len()], payload.iter().map(|byte| !byte).collect::<Vec<_>>());
        for (from, to) in scalars.iter().map(|(from, to)| (*from as usize, *to as usize)) {
            let is_text = payload[from] == b'"';
            for at in from..to {
                (least[at], more[at], barred[at]) = match payload[at] {
                    b'"' if at == from || at + 1 == to => continue,
                    // Everything but a quote, which stands just before.
                    _ if is_text => (b'"' + 1, 0xfe, b'\\'),
                    b'-' | b'.' | b'0'..=b'9' => (b'-', b'9' - b'-', 0),
                    b'a'..=b'z' if !matches!(payload[from], b'-' | b'0'..=b'9') => (b'a', b'z' - b'a', 0),
                    _ => continue,
                };
            }
        }
        let window = |from: usize| {
            let part = |bytes: &[u8]| bytes[from..].first_chunk().copied().unwrap_or([0; WINDOW]);
            Window { least: part(&least), more: part(&more), barred: part(&barred) }
        };
        let whole = payload.len() / WINDOW * WINDOW;
        let last = (whole < payload.len()).then(|| payload.len() - WINDOW);
        Self {
            len: payload.len(),
            windows: (0..whole).step_by(WINDOW).chain(last).map(window).collect(),
            scalars: scalars.into(),
            hits: 0,
        }
    }

    /// Whether each byte of a message of this length is one that may stand there.
    #[inline]
    #[allow(unsafe_code)]
    fn fits(&self, message: &[u8], instructions: Instructions) -> bool {
        let windows = &self.windows[..];
        match instructions {
            // SAFETY: `Instructions::available` found the features of this set on this processor.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => unsafe { x86::avx512(message, windows) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => unsafe { x86::avx2(message, windows) },
            // SAFETY: as above.
            #[cfg(target_arch = "aarch64")]
            Instructions::Neon => unsafe { arm::neon(message, windows) },
            _ => portable::fits(message, windows),
        }
    }

    /// Where a scalar begins and ends.
    #[inline]
    pub(super) fn scalar(&self, index: usize) -> (usize, usize) {
        let (from, to) = self.scalars[index];
        (from as usize, to as usize)
    }

    /// Where the fixed text before a scalar, or behind the last one, begins.
    #[inline]
    pub(super) fn text(&self, index: usize) -> usize {
        index.checked_sub(1).map_or(0, |before| self.scalar(before).1)
    }
}

/// The loop over windows. `$differs` gives zero for a window that fits.
macro_rules! fitting {
    ($(#[$attribute:meta])* $name:ident, $differs:path) => {
        $(#[$attribute])*
        pub(super) fn $name(message: &[u8], windows: &[Window]) -> bool {
            let (parts, _) = message.as_chunks::<WINDOW>();
            for (parts, windows) in parts.chunks(4).zip(windows.chunks(4)) {
                let mut differs = 0;
                for (part, window) in parts.iter().zip(windows) {
                    differs |= $differs(part, window);
                }
                if differs != 0 {
                    return false;
                }
            }
            match (message.last_chunk(), windows.get(parts.len())) {
                (Some(part), Some(window)) => $differs(part, window) == 0,
                _ => windows.len() == parts.len(),
            }
        }
    };
}

mod portable {
    use super::{WINDOW, Window};

    fitting!(fits, differs);

    /// Written so that the compiler takes as many bytes at once as every processor of the architecture can.
    #[inline(always)]
    fn differs(part: &[u8; WINDOW], window: &Window) -> u8 {
        let bounds = window.least.iter().zip(&window.more).zip(&window.barred);
        let places = part.iter().zip(bounds);
        places.fold(0, |differs, (byte, ((least, more), barred))| {
            differs | u8::from(byte.wrapping_sub(*least) > *more) | u8::from(byte == barred)
        })
    }
}

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86 {
    use std::arch::x86_64::*;

    use super::{WINDOW, Window};

    fitting!(
        #[target_feature(enable = "avx512f,avx512bw")]
        avx512,
        differs_512
    );
    fitting!(
        #[target_feature(enable = "avx2")]
        avx2,
        differs_256
    );

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn differs_512(part: &[u8; WINDOW], window: &Window) -> u64 {
        // SAFETY: all four are 64 bytes long, and the loads need no alignment.
        let load = |bytes: &[u8; WINDOW]| unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) };
        let bytes = load(part);
        let above = _mm512_sub_epi8(bytes, load(&window.least));
        _mm512_cmpgt_epu8_mask(above, load(&window.more))
            | _mm512_cmpeq_epi8_mask(bytes, load(&window.barred))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn differs_256(part: &[u8; WINDOW], window: &Window) -> i32 {
        let half = |from: usize| {
            // SAFETY: `from` is 0 or 32 of 64 bytes, and the loads need no alignment.
            let load = |bytes: &[u8; WINDOW]| unsafe { _mm256_loadu_si256(bytes.as_ptr().add(from).cast()) };
            let bytes = load(part);
            let above = _mm256_sub_epi8(bytes, load(&window.least));
            let most = load(&window.more);
            let is_within = _mm256_cmpeq_epi8(_mm256_max_epu8(above, most), most);
            _mm256_andnot_si256(_mm256_cmpeq_epi8(bytes, load(&window.barred)), is_within)
        };
        !_mm256_movemask_epi8(_mm256_and_si256(half(0), half(WINDOW / 2)))
    }
}

#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)]
mod arm {
    use std::arch::aarch64::*;

    use super::{WINDOW, Window};

    fitting!(
        #[target_feature(enable = "neon")]
        neon,
        differs
    );

    #[inline]
    #[target_feature(enable = "neon")]
    fn differs(part: &[u8; WINDOW], window: &Window) -> u8 {
        let quarter = |from: usize| {
            // SAFETY: `from` is 0, 16, 32 or 48 of 64 bytes.
            let load = |bytes: &[u8; WINDOW]| unsafe { vld1q_u8(bytes.as_ptr().add(from)) };
            let bytes = load(part);
            let above = vsubq_u8(bytes, load(&window.least));
            vorrq_u8(vcgtq_u8(above, load(&window.more)), vceqq_u8(bytes, load(&window.barred)))
        };
        vmaxvq_u8(vorrq_u8(vorrq_u8(quarter(0), quarter(16)), vorrq_u8(quarter(32), quarter(48))))
    }
}
