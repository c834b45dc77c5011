//! Table: compression of text and bytes.

use bytes::Bytes;
use thalweg_core::{RowError, Value};

use super::args::{cannot, fail, only_text};
use crate::codec::Codec;
use crate::function::{Arg, ArgKind};

const METHOD: &[Arg] = &[Arg::new("x", ArgKind::Text), Arg::new("method", ArgKind::Text)];

type Answer = Result<Value, RowError>;

functions! { Convert
    "compress" (METHOD) Own |args, _| with(args, Codec::compress),
    "The bytes compressed by zlib, gzip, flate or zstd.", &[("decompress(compress(\"xyz\", \"gzip\"), \"gzip\")", "\"eHl6\""), ("compress(\"x\", \"lz4\")", "ERR"), ("compress(null, \"gzip\")", "-"), ("compress(5, \"gzip\")", "ERR")];
    "decompress" (METHOD) Own |args, _| with(args, Codec::decompress),
    "The bytes that were compressed by zlib, gzip, flate or zstd.", &[("decompress(compress(\"xyz\", \"zlib\"), \"zlib\")", "\"eHl6\""), ("decompress(compress(\"xyz\", \"flate\"), \"flate\")", "\"eHl6\""), ("decompress(compress(\"xyz\", \"zstd\"), \"zstd\")", "\"eHl6\""), ("decompress(\"xyz\", \"gzip\")", "ERR")];
}

fn with(args: &[Value], call: fn(Codec, &[u8]) -> std::io::Result<Vec<u8>>) -> Answer {
    let bytes: &[u8] = match &args[0] {
        Value::Null => return Ok(Value::Null),
        Value::Str(text) => text.as_bytes(),
        Value::Bytes(bytes) => bytes,
        other => return Err(cannot(other, "bytes")),
    };
    let codec = Codec::named(only_text(&args[1])?).map_err(RowError::text)?;
    match call(codec, bytes) {
        Ok(bytes) => Ok(Value::Bytes(Bytes::from(bytes))),
        Err(error) => fail(error.to_string()),
    }
}
