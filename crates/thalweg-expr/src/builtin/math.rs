//! Table: functions of numbers. Outside their domain they are null (S7, S22).

use std::hash::{BuildHasher, Hasher, RandomState};

use thalweg_core::{RowError, Value};

use super::args::{defined, fail, float, get, int, text};
use super::{NONE, NUMBER};
use crate::expr::EvalCx;
use crate::function::{Arg, ArgKind};

const TWO: &[Arg] = &[Arg::new("x", ArgKind::Number), Arg::new("y", ArgKind::Number)];
const LOG: &[Arg] = &[Arg::new("base_or_x", ArgKind::Number), Arg::new("x", ArgKind::Any).optional()];
const ROUND: &[Arg] = &[Arg::new("x", ArgKind::Number), Arg::new("places", ArgKind::Number).optional()];
const BITS: &[Arg] = &[Arg::new("a", ArgKind::Int), Arg::new("b", ArgKind::Int)];
const BIT: &[Arg] = &[Arg::new("a", ArgKind::Int)];
const CONV: &[Arg] = &[
    Arg::new("number", ArgKind::Any),
    Arg::new("from_base", ArgKind::Int),
    Arg::new("to_base", ArgKind::Int),
];

type Answer = Result<Value, RowError>;

/// Lifts a function of one float.
fn one(args: &[Value], f: impl Fn(f64) -> f64) -> Answer {
    float(&args[0]).map(|x| defined(f(x)))
}

functions! { Math
    "abs" (NUMBER) Null |args, _| abs(&args[0]),
    "The absolute value.", &[("abs(-3)", "3"), ("abs(-3.5)", "3.5"), ("abs(null)", "-"), ("abs(-9007199254740993)", "9007199254740993")];
    "acos" (NUMBER) Null |args, _| one(args, f64::acos),
    "The arc cosine in radians.", &[("acos(0.5)", "1.0471975511965979"), ("acos(2)", "-")];
    "asin" (NUMBER) Null |args, _| one(args, f64::asin),
    "The arc sine in radians.", &[("asin(1)", "1.5707963267948966")];
    "atan" (NUMBER) Null |args, _| one(args, f64::atan),
    "The arc tangent in radians.", &[("atan(1)", "0.7853981633974483")];
    "atan2" (TWO) Null |args, _| Ok(defined(float(&args[0])?.atan2(float(&args[1])?))),
    "The angle of the point (y first).", &[("atan2(1, -1)", "2.356194490192345"), ("atan2(0, 0)", "0")];
    "sin" (NUMBER) Null |args, _| one(args, f64::sin),
    "The sine of radians.", &[("sin(1)", "0.8414709848078965")];
    "cos" (NUMBER) Null |args, _| one(args, f64::cos),
    "The cosine of radians.", &[("cos(0)", "1")];
    "tan" (NUMBER) Null |args, _| one(args, f64::tan),
    "The tangent of radians.", &[("tan(0)", "0")];
    "sinh" (NUMBER) Null |args, _| one(args, f64::sinh),
    "The hyperbolic sine.", &[("sinh(0)", "0")];
    "cosh" (NUMBER) Null |args, _| one(args, f64::cosh),
    "The hyperbolic cosine.", &[("cosh(0)", "1")];
    "tanh" (NUMBER) Null |args, _| one(args, f64::tanh),
    "The hyperbolic tangent.", &[("tanh(0)", "0")];
    "cot" (NUMBER) Null |args, _| one(args, |x| if x == 0.0 { f64::NAN } else { 1.0 / x.tan() }),
    "The cotangent of radians.", &[("cot(1)", "0.6420926159343306"), ("cot(0)", "-")];
    "exp" (NUMBER) Null |args, _| one(args, f64::exp),
    "e to the power of x.", &[("exp(1)", "2.718281828459045"), ("exp(-1000)", "0")];
    "ln" (NUMBER) Null |args, _| one(args, |x| if x > 0.0 { x.ln() } else { f64::NAN }),
    "The natural logarithm.", &[("ln(10)", "2.302585092994046"), ("ln(-1)", "-"), ("ln(0)", "-")];
    "log" (LOG) Null |args, _| log(args),
    "The logarithm to base 10, or to a base given first.", &[("log(1000)", "3"), ("log(2, 8)", "3"), ("log(10, 1000)", "2.9999999999999996"), ("log(-1)", "-"), ("log(1, 8)", "-")];
    "sqrt" (NUMBER) Null |args, _| one(args, f64::sqrt),
    "The square root.", &[("sqrt(16)", "4"), ("sqrt(-1)", "-")];
    "power" ["pow"] (TWO) Null |args, _| Ok(defined(float(&args[0])?.powf(float(&args[1])?))),
    "x to the power of y.", &[("power(2, 10)", "1024"), ("pow(0, 0)", "1"), ("power(-8, 0.5)", "-")];
    "mod" (TWO) Own |args, _| Ok(modulo(&args[0], &args[1])),
    "The remainder of x / y with the sign of x, as a float.", &[("mod(7, 3)", "1"), ("mod(-7, 3)", "-1"), ("mod(7.5, 2)", "1.5"), ("mod(7, 0)", "-"), ("mod(7, \"x\")", "-")];
    "ceiling" ["ceil"] (NUMBER) Null |args, _| one(args, f64::ceil),
    "The next whole number above.", &[("ceil(3.2)", "4"), ("ceiling(3)", "3")];
    "floor" (NUMBER) Null |args, _| one(args, f64::floor),
    "The next whole number below.", &[("floor(-3.2)", "-4")];
    "round" (ROUND) Null |args, _| round(args),
    "Rounds half away from zero, to some places.", &[("round(2.5)", "3"), ("round(-2.5)", "-3"), ("round(3.14159, 2)", "3.14"), ("round(1.005, 2)", "1"), ("round(1234.5, -2)", "1200")];
    "sign" (NUMBER) Null |args, _| sign(&args[0]),
    "-1, 0 or 1.", &[("sign(-4.2)", "-1"), ("sign(0)", "0"), ("sign(7)", "1")];
    "bitand" (BITS) Null |args, _| Ok(Value::Int(int(&args[0])? & int(&args[1])?)),
    "Bits in both.", &[("bitand(12, 10)", "8"), ("bitand(12.0, 10)", "8"), ("bitand(12.5, 10)", "ERR")];
    "bitor" (BITS) Null |args, _| Ok(Value::Int(int(&args[0])? | int(&args[1])?)),
    "Bits in either.", &[("bitor(12, 10)", "14")];
    "bitxor" (BITS) Null |args, _| Ok(Value::Int(int(&args[0])? ^ int(&args[1])?)),
    "Bits in one of them.", &[("bitxor(12, 10)", "6")];
    "bitnot" (BIT) Null |args, _| Ok(Value::Int(!int(&args[0])?)),
    "All bits turned over.", &[("bitnot(12)", "-13")];
    "radians" (NUMBER) Null |args, _| one(args, |x| x * std::f64::consts::PI / 180.0),
    "Degrees as radians.", &[("radians(180)", "3.141592653589793")];
    "degrees" (NUMBER) Null |args, _| one(args, |x| x * 180.0 / std::f64::consts::PI),
    "Radians as degrees.", &[("degrees(1)", "57.29577951308232")];
    "conv" (CONV) Null conv,
    "A number from one base to another, as text.", &[("conv(\"b\", 16, 2)", "\"1011\""), ("conv(\"2F\", 16, 8)", "\"57\""), ("conv(\"-20\", 10, -16)", "\"-14\""), ("conv(\"-1\", 10, 16)", "\"FFFFFFFFFFFFFFFF\""), ("conv(\"12zz\", 10, 16)", "\"C\""), ("conv(\"10\", 1, 10)", "-")];
    "pi" (NONE) Own |_, _| Ok(Value::Float(std::f64::consts::PI)),
    "The number pi.", &[("pi()", "3.141592653589793")];
    "rand" (NONE) Own |_, _| Ok(Value::Float(random())),
    "A random number from 0 to below 1.", &[];
}

fn abs(value: &Value) -> Answer {
    match value {
        Value::Int(value) => Ok(Value::Int(value.wrapping_abs())),
        Value::Float(value) => Ok(Value::Float(value.abs())),
        _ => fail("only float64 & int type are supported"),
    }
}

fn log(args: &[Value]) -> Answer {
    let first = float(&args[0])?;
    let result = match args.get(1) {
        None if first > 0.0 => first.log10(),
        Some(x) => match float(x)? {
            x if x > 0.0 && first > 0.0 && first != 1.0 => x.ln() / first.ln(),
            _ => f64::NAN,
        },
        None => f64::NAN,
    };
    Ok(defined(result))
}

/// S22: null by zero, and of what is no number.
fn modulo(x: &Value, y: &Value) -> Value {
    match (float(x), float(y)) {
        (Ok(x), Ok(y)) => defined(x % y),
        _ => Value::Null,
    }
}

fn round(args: &[Value]) -> Answer {
    let x = float(&args[0])?;
    let places = match args.get(1) {
        Some(places) => float(places)?.clamp(-400.0, 400.0).trunc() as i32,
        None => 0,
    };
    let scale = 10f64.powi(places.abs());
    let rounded = if places >= 0 { (x * scale).round() / scale } else { (x / scale).round() * scale };
    // A scale beyond all floats leaves nothing to round, or nothing at all.
    let rounded = match rounded.is_finite() {
        true => rounded,
        false if places >= 0 => x,
        false => 0.0,
    };
    Ok(defined(rounded))
}

fn sign(value: &Value) -> Answer {
    let x = float(value)?;
    Ok(Value::Int(if x > 0.0 {
        1
    } else if x < 0.0 {
        -1
    } else {
        0
    }))
}

/// The upper bits of a hash under fresh random keys.
pub(super) fn random() -> f64 {
    let bits = RandomState::new().build_hasher().finish() >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// Reads the longest valid prefix; a negative base means signed numbers.
fn conv(args: &[Value], cx: &mut EvalCx<'_>) -> Answer {
    let (from, to) = (int(get(args, 1))?, int(get(args, 2))?);
    let valid = |base: i64| (2..=36).contains(&base.unsigned_abs());
    if !valid(from) || !valid(to) {
        return Ok(Value::Null);
    }
    let source = text(&args[0], cx);
    let (negative, digits) = match source.trim().strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, source.trim()),
    };
    let (from_base, to_base) = (from.unsigned_abs() as u32, to.unsigned_abs());
    let mut number = 0u64;
    for digit in digits.chars().map_while(|digit| digit.to_digit(from_base)) {
        let next =
            number.checked_mul(u64::from(from_base)).and_then(|number| number.checked_add(u64::from(digit)));
        let Some(next) = next else { return fail(format!("{source} does not fit into 64 bits")) };
        number = next;
    }
    if from < 0 {
        number = number.min(if negative { 1 << 63 } else { i64::MAX as u64 });
    }
    if negative {
        number = number.wrapping_neg();
    }
    let minus = to < 0 && (number as i64) < 0;
    let printed = radix(if minus { number.wrapping_neg() } else { number }, to_base);
    Ok(Value::text(if minus { format!("-{printed}") } else { printed }))
}

fn radix(mut number: u64, base: u64) -> String {
    let mut digits = Vec::new();
    loop {
        let digit = char::from_digit((number % base) as u32, base as u32).unwrap_or('0');
        digits.push(digit.to_ascii_uppercase());
        number /= base;
        if number == 0 {
            return digits.iter().rev().collect();
        }
    }
}
