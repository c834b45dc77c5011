//! Table: what belongs to no family.

use thalweg_core::Value;

use super::{ANY, NONE, math};
use crate::function::{Arg, ArgKind};

const ANYTHING: &[Arg] = &[Arg::new("x", ArgKind::Any).repeated()];

functions! { Other
    "isnull" (ANY) Own |args, _| Ok(Value::Bool(args[0].is_null())),
    "Whether the value is null or missing.", &[("isnull(null)", "true"), ("isnull([])", "false"), ("isnull(\"\")", "false")];
    "coalesce" (ANYTHING) Own |args, _| Ok(args.iter().find(|arg| !arg.is_null()).cloned().unwrap_or_default()),
    "The first value that is not null.", &[("coalesce(null, null, 3)", "3"), ("coalesce(null)", "-"), ("coalesce([], 1)", "[]")];
    "bypass" (ANY) Own |args, _| Ok(args[0].clone()),
    "The value as it is.", &[("bypass(7)", "7")];
    "tstamp" (NONE) Own |_, cx| Ok(Value::Int(cx.now.0)),
    "The current time, epoch ms.", &[];
    "newuuid" (NONE) Own |_, _| Ok(Value::text(uuid())),
    "A new universally unique id.", &[];
}

/// A random (version 4) id; upstream's are of version 1, which nothing can depend on.
fn uuid() -> String {
    let mut bytes = [0u8; 16];
    bytes.iter_mut().for_each(|byte| *byte = (math::random() * 256.0) as u8);
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
