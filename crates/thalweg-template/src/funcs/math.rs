//! Numbers (T4.9): integer arithmetic truncates, the `…f` variants are decimal.

use thalweg_core::Value;

use super::{ANY, Answer, Function, MAX_ITEMS, count};

pub(super) const TABLE: &[Function] = &[
    Function::pure("add", 0, ANY, |a| fold(a, i64::wrapping_add)),
    Function::pure("add1", 1, 1, |a| Ok(Value::Int(int(&a[0]).wrapping_add(1)))),
    Function::pure("sub", 2, 2, |a| fold(a, i64::wrapping_sub)),
    Function::pure("mul", 1, ANY, |a| fold(a, i64::wrapping_mul)),
    Function::pure("div", 2, 2, |a| divide(a, i64::wrapping_div)),
    Function::pure("mod", 2, 2, |a| divide(a, i64::wrapping_rem)),
    Function::pure("max", 1, ANY, |a| fold(a, i64::max)),
    Function::pure("biggest", 1, ANY, |a| fold(a, i64::max)),
    Function::pure("min", 1, ANY, |a| fold(a, i64::min)),
    Function::pure("addf", 0, ANY, |a| {
        fold_decimal(a, |a, b| decimal(a, b, i128::checked_add).unwrap_or(a + b))
    }),
    Function::pure("add1f", 1, 1, |a| Ok(Value::Float(float(&a[0]) + 1.0))),
    Function::pure("subf", 1, ANY, |a| {
        fold_decimal(a, |a, b| decimal(a, b, i128::checked_sub).unwrap_or(a - b))
    }),
    Function::pure("mulf", 1, ANY, |a| fold_decimal(a, product)),
    Function::pure("divf", 1, ANY, divf),
    Function::pure("maxf", 1, ANY, |a| fold_decimal(a, f64::max)),
    Function::pure("minf", 1, ANY, |a| fold_decimal(a, f64::min)),
    Function::pure("floor", 1, 1, |a| Ok(Value::Float(float(&a[0]).floor()))),
    Function::pure("ceil", 1, 1, |a| Ok(Value::Float(float(&a[0]).ceil()))),
    Function::pure("round", 2, 3, round),
    Function::pure("int", 1, 1, |a| Ok(Value::Int(int(&a[0])))),
    Function::pure("int64", 1, 1, |a| Ok(Value::Int(int(&a[0])))),
    Function::pure("float64", 1, 1, |a| Ok(Value::Float(float(&a[0])))),
    Function::pure("atoi", 1, 1, |a| Ok(Value::Int(super::text(&a[0])?.parse().unwrap_or(0)))),
    Function::pure("until", 1, 1, |a| {
        let stop = count(&a[0])?;
        steps(0, stop, if stop < 0 { -1 } else { 1 })
    }),
    Function::pure("untilStep", 3, 3, |a| steps(count(&a[0])?, count(&a[1])?, count(&a[2])?)),
];

/// As sprig casts: text that is no number is 0, a fraction is cut.
pub(super) fn int(value: &Value) -> i64 {
    match value {
        Value::Int(value) => *value,
        Value::Float(value) => *value as i64,
        Value::Bool(value) => i64::from(*value),
        Value::Str(text) => text.trim_start_matches('0').parse().unwrap_or(0),
        _ => 0,
    }
}

fn float(value: &Value) -> f64 {
    match value {
        Value::Float(value) => *value,
        Value::Str(text) => text.parse().unwrap_or(0.0),
        other => int(other) as f64,
    }
}

fn fold(args: &[Value], step: fn(i64, i64) -> i64) -> Answer {
    Ok(Value::Int(args.iter().map(int).reduce(step).unwrap_or(0)))
}

fn divide(args: &[Value], step: fn(i64, i64) -> i64) -> Answer {
    match int(&args[1]) {
        0 => Err("runtime error: integer divide by zero".to_owned()),
        divisor => Ok(Value::Int(step(int(&args[0]), divisor))),
    }
}

fn fold_decimal(args: &[Value], step: fn(f64, f64) -> f64) -> Answer {
    Ok(Value::Float(args.iter().map(float).reduce(step).unwrap_or(0.0)))
}

fn divf(args: &[Value]) -> Answer {
    if args[1..].iter().any(|value| float(value) == 0.0) {
        return Err("decimal division by 0".to_owned());
    }
    fold_decimal(args, |a, b| a / b)
}

/// A number as digits and the count of its decimals.
fn parts(value: f64) -> Option<(i128, u32)> {
    if value.abs() > 1e18 {
        return None;
    }
    let text = value.to_string();
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    if decimals.len() > 17 {
        return None;
    }
    Some((format!("{whole}{decimals}").parse().ok()?, decimals.len() as u32))
}

/// Exact in decimal digits: 0.1 + 0.2 is 0.3. `None` where the digits do not fit.
fn decimal(a: f64, b: f64, step: fn(i128, i128) -> Option<i128>) -> Option<f64> {
    let ((a, a_decimals), (b, b_decimals)) = (parts(a)?, parts(b)?);
    let decimals = a_decimals.max(b_decimals);
    let scaled = |digits: i128, own: u32| digits.checked_mul(10i128.checked_pow(decimals - own)?);
    text_to_float(step(scaled(a, a_decimals)?, scaled(b, b_decimals)?)?, decimals)
}

fn product(a: f64, b: f64) -> f64 {
    let exact = || {
        let ((x, x_decimals), (y, y_decimals)) = (parts(a)?, parts(b)?);
        text_to_float(x.checked_mul(y)?, x_decimals + y_decimals)
    };
    exact().unwrap_or(a * b)
}

fn text_to_float(digits: i128, decimals: u32) -> Option<f64> {
    format!("{digits}e-{decimals}").parse().ok()
}

/// Sprig's rounding: the third argument is the fraction from which on it rounds up.
fn round(args: &[Value]) -> Answer {
    let scale = 10f64.powi(int(&args[1]).clamp(-300, 300) as i32);
    let limit = args.get(2).map_or(0.5, float);
    let digit = float(&args[0]) * scale;
    let rounded = if digit.fract() >= limit { digit.ceil() } else { digit.floor() };
    Ok(Value::Float(rounded / scale))
}

fn steps(start: i64, stop: i64, step: i64) -> Answer {
    if step == 0 || (stop < start) != (step < 0) {
        return Ok(Value::list(Vec::new()));
    }
    let length =
        (i128::from(stop) - i128::from(start)).unsigned_abs().div_ceil(u128::from(step.unsigned_abs()));
    if length > MAX_ITEMS as u128 {
        return Err(format!("more than {MAX_ITEMS} numbers"));
    }
    Ok(Value::list((0..length as i64).map(|i| Value::Int(start + i * step)).collect()))
}
