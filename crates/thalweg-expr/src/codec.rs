//! Compression by name, of whole texts and messages (F5.1): for the functions and for payloads on their way in and out.

use std::io::{Error, Read, Result, Write};

use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

/// A way to compress. Each message is a stream of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// Deflate with zlib's frame.
    Zlib,
    /// Deflate with gzip's frame.
    Gzip,
    /// Deflate alone.
    Flate,
    /// Zstandard.
    Zstd,
}

/// A few bytes can claim to be many: more than this is refused.
const MAX_BYTES: u64 = 64 << 20;

impl Codec {
    /// The codec of a name.
    ///
    /// # Errors
    /// The names that are known.
    pub fn named(name: &str) -> std::result::Result<Self, String> {
        match name {
            "zlib" => Ok(Self::Zlib),
            "gzip" => Ok(Self::Gzip),
            "flate" => Ok(Self::Flate),
            "zstd" => Ok(Self::Zstd),
            other => {
                Err(format!("unsupported compression method {other}; zlib, gzip, flate and zstd are known"))
            }
        }
    }

    /// The bytes compressed.
    ///
    /// # Errors
    /// None in practice: memory is written.
    pub fn compress(self, bytes: &[u8]) -> Result<Vec<u8>> {
        let level = Compression::default();
        match self {
            Self::Zlib => ZlibEncoder::new(Vec::new(), level).and_all(bytes, ZlibEncoder::finish),
            Self::Gzip => GzEncoder::new(Vec::new(), level).and_all(bytes, GzEncoder::finish),
            Self::Flate => DeflateEncoder::new(Vec::new(), level).and_all(bytes, DeflateEncoder::finish),
            Self::Zstd => Ok(compress_to_vec(bytes, CompressionLevel::Fastest)),
        }
    }

    /// The bytes that were compressed.
    ///
    /// # Errors
    /// They are not compressed so, or are too many.
    pub fn decompress(self, bytes: &[u8]) -> Result<Vec<u8>> {
        match self {
            Self::Zlib => all(ZlibDecoder::new(bytes)),
            Self::Gzip => all(GzDecoder::new(bytes)),
            Self::Flate => all(DeflateDecoder::new(bytes)),
            Self::Zstd => all(StreamingDecoder::new(bytes).map_err(Error::other)?),
        }
    }
}

/// Writes everything and ends the stream.
trait AndAll: Write + Sized {
    fn and_all(mut self, bytes: &[u8], finish: fn(Self) -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        self.write_all(bytes)?;
        finish(self)
    }
}

impl<W: Write> AndAll for W {}

fn all(reader: impl Read) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.take(MAX_BYTES + 1).read_to_end(&mut out)?;
    if out.len() as u64 > MAX_BYTES {
        return Err(Error::other(format!("more than {MAX_BYTES} bytes")));
    }
    Ok(out)
}
