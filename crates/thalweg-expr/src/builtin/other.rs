//! Table: what belongs to no family.

use thalweg_core::{RowError, Timestamp, Value};

use super::{ANY, NONE, math};
use crate::expr::EvalCx;
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
    "props" (super::TEXT) Null |args, cx| props(args, cx),
    "A property of the instance: the environment's KUIPER_PROPS_<NAME>; et is the time, snowflake a new id.", &[];
    "newuuid" (NONE) Own |_, cx| Ok(Value::text(uuid(cx.now))),
    "A new universally unique id.", &[];
}

/// S58: an unknown name is an error that names it.
fn props(args: &[Value], cx: &EvalCx<'_>) -> Result<Value, RowError> {
    let Value::Str(name) = &args[0] else {
        return Err(RowError::text("the name of a property must be a text"));
    };
    let name = name.to_lowercase();
    match name.as_str() {
        "et" => Ok(Value::text(cx.now.0.to_string())),
        "snowflake" => {
            // Milliseconds, then 22 bits that tell ids of one millisecond apart.
            let random = (math::random() * f64::from(1 << 22)) as i64;
            Ok(Value::text((cx.now.0.wrapping_shl(22) | random).to_string()))
        }
        _ => match cx.props.and_then(|props| props.get(&name)) {
            Some(value) => Ok(Value::text(value.as_str())),
            None => Err(RowError::text(format!("property {name} is not set"))),
        },
    }
}

/// An id of version 1, as upstream's: the time in steps of 100 ns since 1582, and random bits where upstream has the
/// clock's sequence and the node, so that ids of one millisecond differ.
fn uuid(now: Timestamp) -> String {
    const SINCE_1582: i64 = 122_192_928_000_000_000;
    let random = |below: f64| (math::random() * below) as u64;
    let steps = now.0.wrapping_mul(10_000).wrapping_add(SINCE_1582) as u64;
    let steps = steps.wrapping_add(random(10_000.0));
    let (low, middle, high) = (steps as u32, (steps >> 32) as u16, (steps >> 48) as u16 & 0x0fff | 0x1000);
    let (sequence, node) = (random(16_384.0) | 0x8000, random(281_474_976_710_656.0));
    format!("{low:08x}-{middle:04x}-{high:04x}-{sequence:04x}-{node:012x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s58_properties_come_from_the_instance_and_an_unknown_one_is_named() {
        let known = crate::expr::InstanceProps::from([("site".to_owned(), "north".to_owned())]);
        let cx = EvalCx { props: Some(&known), ..crate::testing::cx() };
        assert_eq!(props(&[Value::text("Site")], &cx), Ok(Value::text("north")));
        assert_eq!(props(&[Value::text("et")], &cx), Ok(Value::text("1709212455678")));
        let unknown = props(&[Value::text("nope")], &cx).expect_err("it is not set");
        assert_eq!(unknown.to_string(), "property nope is not set");
    }

    #[test]
    fn ids_are_of_version_1_and_differ_within_a_millisecond() {
        let ids: std::collections::HashSet<String> =
            (0..100).map(|_| uuid(Timestamp(1_709_212_455_678))).collect();
        assert_eq!(ids.len(), 100);
        let sound = |id: &String| {
            id.len() == 36 && &id[14..15] == "1" && matches!(&id[19..20], "8" | "9" | "a" | "b")
        };
        assert!(ids.iter().all(sound), "{ids:?}");
        assert_eq!(uuid(Timestamp(i64::MIN)).len(), 36);
    }
}
