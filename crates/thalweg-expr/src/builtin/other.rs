//! Table: what belongs to no family.

use thalweg_core::cast::go_text;
use thalweg_core::{RowError, Timestamp, Value};

use super::args::{fail, int, only_text};
use super::{ANY, NONE, convert, math};
use crate::expr::EvalCx;
use crate::function::{Arg, ArgKind};
use crate::instance::Instance;

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
    "delay" (DELAY) Null delay,
    "The value, after so many milliseconds have passed. The rule waits for it, others do not.", &[];
    "get_keyed_state" (KEYED) Own keyed_state,
    "What is stored under the key, cast to the type; the default where nothing is.", &[];
    "newuuid" (NONE) Own |_, cx| Ok(Value::text(uuid(cx.now))),
    "A new universally unique id.", &[];
}

const DELAY: &[Arg] = &[Arg::new("ms", ArgKind::Number), Arg::new("x", ArgKind::Any)];
const KEYED: &[Arg] =
    &[Arg::new("key", ArgKind::Any), Arg::new("type", ArgKind::Text), Arg::new("default", ArgKind::Any)];

fn delay(args: &[Value], cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
    if let (Ok(millis @ 1..), Some(clock)) = (u64::try_from(int(&args[0])?), cx.clock) {
        clock.pass(millis);
    }
    Ok(args[1].clone())
}

fn keyed_state(args: &[Value], cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
    let Value::Str(key) = &args[0] else { return fail(format!("key {} is not a string", go_text(&args[0]))) };
    let store = cx.instance.and_then(|instance| instance.keyed_state.as_ref());
    match store.and_then(|store| store.get(key)) {
        Some(value) => convert::cast(&value, only_text(&args[1])?, cx),
        None => Ok(args[2].clone()),
    }
}

/// S58: an unknown name is an error that names it.
fn props(args: &[Value], cx: &EvalCx<'_>) -> Result<Value, RowError> {
    let Value::Str(name) = &args[0] else {
        return Err(RowError::text("the name of a property must be a text"));
    };
    match property(name, cx.instance, cx.now) {
        Some(value) => Ok(Value::text(value)),
        None => Err(RowError::text(format!("property {} is not set", name.to_lowercase()))),
    }
}

/// A property of the instance by its name in any case, also for `prop` in data templates (T4.4): et is the time,
/// snowflake a new id.
pub fn property(name: &str, instance: Option<&Instance>, now: Timestamp) -> Option<String> {
    let name = name.to_lowercase();
    match name.as_str() {
        "et" => Some(now.0.to_string()),
        "snowflake" => {
            // Milliseconds, then 22 bits that tell ids of one millisecond apart.
            let random = (math::random() * f64::from(1 << 22)) as i64;
            Some((now.0.wrapping_shl(22) | random).to_string())
        }
        _ => instance?.props.get(&name).cloned(),
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
    use thalweg_core::{Clock, ManualClock};

    use super::*;
    use crate::instance::{Instance, KeyedState};

    #[test]
    fn a_delay_lets_the_given_time_pass_and_no_other() {
        let clock = ManualClock::at(Timestamp(1_000));
        for (millis, now) in [(5, 1_005), (0, 1_005), (-7, 1_005), (1, 1_006)] {
            let mut cx = EvalCx { clock: Some(&*clock), ..crate::testing::cx() };
            assert_eq!(delay(&[Value::Int(millis), Value::text("x")], &mut cx), Ok(Value::text("x")));
            assert_eq!(clock.now(), Timestamp(now));
        }
        assert!(delay(&[Value::text("5"), Value::Null], &mut crate::testing::cx()).is_err());
    }

    #[derive(Debug)]
    struct Limits;

    impl KeyedState for Limits {
        fn get(&self, key: &str) -> Option<Value> {
            (key == "high").then(|| Value::text("80"))
        }
    }

    #[test]
    fn keyed_state_is_cast_and_a_default_is_not() {
        let instance = Instance { keyed_state: Some(std::sync::Arc::new(Limits)), ..Instance::default() };
        let mut cx = EvalCx { instance: Some(&instance), ..crate::testing::cx() };
        let mut get =
            |key: Value, kind: &str| keyed_state(&[key, Value::text(kind), Value::text("d")], &mut cx);
        assert_eq!(get(Value::text("high"), "bigint"), Ok(Value::Int(80)));
        assert_eq!(get(Value::text("low"), "bigint"), Ok(Value::text("d")));
        let why = get(Value::Int(1), "bigint").expect_err("a key is a text");
        assert_eq!(why.to_string(), "key 1 is not a string");
    }

    #[test]
    fn s58_properties_come_from_the_instance_and_an_unknown_one_is_named() {
        let known = [("site".to_owned(), "north".to_owned())].into();
        let instance = Instance { props: known, ..Instance::default() };
        let cx = EvalCx { instance: Some(&instance), ..crate::testing::cx() };
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
