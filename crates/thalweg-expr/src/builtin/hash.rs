//! Table: digests of text, in lower-case hexadecimal.

use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha384, Sha512};
use thalweg_core::Value;

use super::TEXT;
use super::args::text;
use crate::expr::EvalCx;

fn digest<D: Digest>(args: &[Value], cx: &EvalCx<'_>) -> Value {
    let digest = match &args[0] {
        // S29: upstream digests the printed form of bytes.
        Value::Bytes(bytes) => D::digest(bytes),
        other => D::digest(text(other, cx).as_bytes()),
    };
    Value::text(digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

fn crc32(value: &Value, cx: &EvalCx<'_>) -> u32 {
    match value {
        Value::Bytes(bytes) => crc32fast::hash(bytes),
        other => crc32fast::hash(text(other, cx).as_bytes()),
    }
}

functions! { Hash
    "md5" (TEXT) Null |args, cx| Ok(digest::<Md5>(args, cx)),
    "The MD5 digest.", &[("md5(\"thalweg\")", "\"1f691ec5093a02c345dd620edf5da018\""), ("md5(123)", "\"202cb962ac59075b964b07152d234b70\"")];
    "sha1" (TEXT) Null |args, cx| Ok(digest::<Sha1>(args, cx)),
    "The SHA-1 digest.", &[("sha1(\"thalweg\")", "\"6348a91d4437ffce182878d973abeb04383840cf\"")];
    "sha256" (TEXT) Null |args, cx| Ok(digest::<Sha256>(args, cx)),
    "The SHA-256 digest.", &[("sha256(\"thalweg\")", "\"d6a452b3fcc05eb1953fffc7b44cd379e6cdf76afbe3ee2c96da41f790caf8f6\"")];
    "sha384" (TEXT) Null |args, cx| Ok(digest::<Sha384>(args, cx)),
    "The SHA-384 digest.", &[("sha384(\"\")", "\"38b060a751ac96384cd9327eb1b1e36a21fdb71114be07434c0cc7bf63f6e1da274edebfe76f65fbd51ad2f14898b95b\"")];
    "sha512" (TEXT) Null |args, cx| Ok(digest::<Sha512>(args, cx)),
    "The SHA-512 digest.", &[("sha512(\"thalweg\")", "\"8b6c70b60760cec412b5b64fcadec661006bfa242cf0ad5c5d4037e78d3e50c1d09f90f1a356dbd75027cf6b2272a205b3f2c7bfa97ef6816a78ae246a344f9b\"")];
    "crc32" (TEXT) Null |args, cx| Ok(Value::text(format!("{:x}", crc32(&args[0], cx)))),
    "The CRC-32 checksum, without leading zeros.", &[("crc32(\"thalweg\")", "\"2eaca5fb\""), ("crc32(\"k25\")", "\"6d81\""), ("crc32(\"\")", "\"0\""), ("crc32(decode(\"/w==\", \"base64\"))", "\"ff000000\"")];
}
