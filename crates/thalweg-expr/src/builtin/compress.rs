//! Table: compression of text and bytes.

use std::io::{Read, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::read::{DeflateDecoder, GzDecoder, ZlibDecoder};
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use thalweg_core::{RowError, Value};

use super::args::{cannot, fail, only_text};
use crate::function::{Arg, ArgKind};

const METHOD: &[Arg] = &[Arg::new("x", ArgKind::Text), Arg::new("method", ArgKind::Text)];

type Answer = Result<Value, RowError>;

functions! { Convert
    "compress" (METHOD) Own |args, _| with(args, compress),
    "The bytes compressed by zlib, gzip, flate or zstd.", &[("decompress(compress(\"xyz\", \"gzip\"), \"gzip\")", "\"eHl6\""), ("compress(\"x\", \"lz4\")", "ERR"), ("compress(null, \"gzip\")", "-"), ("compress(5, \"gzip\")", "ERR")];
    "decompress" (METHOD) Own |args, _| with(args, decompress),
    "The bytes that were compressed by zlib, gzip, flate or zstd.", &[("decompress(compress(\"xyz\", \"zlib\"), \"zlib\")", "\"eHl6\""), ("decompress(compress(\"xyz\", \"flate\"), \"flate\")", "\"eHl6\""), ("decompress(compress(\"xyz\", \"zstd\"), \"zstd\")", "\"eHl6\""), ("decompress(\"xyz\", \"gzip\")", "ERR")];
}

fn with(args: &[Value], call: fn(&[u8], &str) -> std::io::Result<Vec<u8>>) -> Answer {
    let bytes: &[u8] = match &args[0] {
        Value::Null => return Ok(Value::Null),
        Value::Str(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        other => return Err(cannot(other, "bytes")),
    };
    match call(bytes, only_text(&args[1])?) {
        Ok(bytes) => Ok(Value::Bytes(Bytes::from(bytes))),
        Err(error) => fail(error.to_string()),
    }
}

fn unknown(method: &str) -> std::io::Error {
    std::io::Error::other(format!(
        "unsupported compression method {method}; zlib, gzip, flate and zstd are known"
    ))
}

fn compress(bytes: &[u8], method: &str) -> std::io::Result<Vec<u8>> {
    let level = Compression::default();
    match method {
        "zlib" => ZlibEncoder::new(Vec::new(), level).and_all(bytes, ZlibEncoder::finish),
        "gzip" => GzEncoder::new(Vec::new(), level).and_all(bytes, GzEncoder::finish),
        "flate" => DeflateEncoder::new(Vec::new(), level).and_all(bytes, DeflateEncoder::finish),
        "zstd" => Ok(compress_to_vec(bytes, CompressionLevel::Fastest)),
        other => Err(unknown(other)),
    }
}

/// Writes everything and ends the stream.
trait AndAll: Write + Sized {
    fn and_all(
        mut self,
        bytes: &[u8],
        finish: fn(Self) -> std::io::Result<Vec<u8>>,
    ) -> std::io::Result<Vec<u8>> {
        self.write_all(bytes)?;
        finish(self)
    }
}

impl<W: Write> AndAll for W {}

/// A few bytes can claim to be many: more than this is refused.
const MAX_BYTES: u64 = 64 << 20;

fn decompress(bytes: &[u8], method: &str) -> std::io::Result<Vec<u8>> {
    match method {
        "zlib" => all(ZlibDecoder::new(bytes)),
        "gzip" => all(GzDecoder::new(bytes)),
        "flate" => all(DeflateDecoder::new(bytes)),
        "zstd" => all(StreamingDecoder::new(bytes).map_err(std::io::Error::other)?),
        other => Err(unknown(other)),
    }
}

fn all(reader: impl Read) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::new();
    reader.take(MAX_BYTES + 1).read_to_end(&mut out)?;
    if out.len() as u64 > MAX_BYTES {
        return Err(std::io::Error::other(format!("more than {MAX_BYTES} bytes")));
    }
    Ok(out)
}
