//! Column frames (`portable-plugins.md` 12.3): typed columns between the engine and a plugin, as bytes.

mod arrow;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod rows;
pub(crate) mod sink;
pub(crate) mod source;
mod survey;

const MAGIC: u8 = b'C';
const VERSION: u8 = 1;
const ROWS: u8 = 1;
const GROUPS: u8 = 2;
const SOURCE: u8 = 3;
const SINK: u8 = 4;
const ANSWER: u8 = 128;
const IN_REGION: u8 = 1;
const ARROW: u8 = 4;
/// Magic, version, op, flags, length of the header, sequence number.
const HEAD: usize = 16;
/// Buffers begin at multiples of this.
const ALIGN: usize = 64;
/// What a frame may hold at most; a constant column alone could claim any number.
pub(crate) const MAX_ROWS: usize = 1 << 24;

/// The last 64-byte boundary at or behind `at`.
fn aligned(at: usize) -> usize {
    at.div_ceil(ALIGN) * ALIGN
}

/// Where the buffers of frames lie that do not travel in the message (12.4): a part of the shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// From the start of the region, a multiple of 64.
    pub(crate) offset: usize,
    pub(crate) size: usize,
}
