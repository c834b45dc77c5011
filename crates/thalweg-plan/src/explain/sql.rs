//! Bound expressions as SQL text again, for error texts (Z-3) and for the names of what is computed.

use std::fmt::Write;

use thalweg_core::cast::go_text;
use thalweg_core::{Schema, Slot, UnaryOp, Value};
use thalweg_expr::{Context, Expr, Step};

/// The text of an expression whose slots have these names.
pub fn sql(expr: &Expr, schema: &Schema) -> String {
    let mut out = String::new();
    write(expr, schema, &mut out);
    out
}

/// The text as a part of another expression: in brackets where they are needed.
pub(crate) fn part(expr: &Expr, schema: &Schema) -> String {
    let mut out = String::new();
    nested(expr, schema, &mut out);
    out
}

fn write(expr: &Expr, schema: &Schema, out: &mut String) {
    match expr {
        Expr::Column(slot) => out.push_str(name(*slot, schema)),
        Expr::Literal(constant) => out.push_str(&literal(constant.value())),
        Expr::Unary(op, operand) => {
            out.push_str(if *op == UnaryOp::Minus { "-" } else { "NOT " });
            nested(operand, schema, out);
        }
        Expr::Binary(op, left, right) => {
            nested(left, schema, out);
            let _ = write!(out, " {} ", op.symbol());
            nested(right, schema, out);
        }
        Expr::Between { negated, parts } => {
            let [value, low, high] = &**parts;
            nested(value, schema, out);
            out.push_str(if *negated { " NOT BETWEEN " } else { " BETWEEN " });
            nested(low, schema, out);
            out.push_str(" AND ");
            nested(high, schema, out);
        }
        Expr::InList { negated, value, list: members } => {
            nested(value, schema, out);
            out.push_str(if *negated { " NOT IN (" } else { " IN (" });
            list(members, schema, out);
            out.push(')');
        }
        Expr::InArray { negated, value, array } => {
            nested(value, schema, out);
            out.push_str(if *negated { " NOT IN " } else { " IN " });
            nested(array, schema, out);
        }
        Expr::IsNull { negated, value } => {
            nested(value, schema, out);
            out.push_str(if *negated { " IS NOT NULL" } else { " IS NULL" });
        }
        // As written: without qualifier.
        Expr::First(values) => values.first().into_iter().for_each(|value| nested(value, schema, out)),
        Expr::Path(value, steps) => {
            nested(value, schema, out);
            steps.iter().for_each(|one| step(one, schema, out));
        }
        Expr::Case { value, arms, otherwise } => {
            case(value.as_deref(), arms, otherwise.as_deref(), schema, out)
        }
        Expr::Call { function, args, .. } => {
            let _ = write!(out, "{}(", function.name());
            list(args, schema, out);
            out.push(')');
        }
        Expr::Context(context) => out.push_str(self::context(*context)),
        Expr::Object(_) => out.push('*'),
        Expr::Once(once) => write(&once.expr, schema, out),
    }
}

fn name(slot: Slot, schema: &Schema) -> &str {
    schema.fields.get(slot.index()).map_or("?", |field| &field.name)
}

fn nested(expr: &Expr, schema: &Schema, out: &mut String) {
    let plain = matches!(
        expr.as_written(),
        Expr::Column(_)
            | Expr::Literal(_)
            | Expr::Path(..)
            | Expr::Call { .. }
            | Expr::Context(_)
            | Expr::Object(_)
    );
    if plain {
        return write(expr, schema, out);
    }
    out.push('(');
    write(expr, schema, out);
    out.push(')');
}

fn list(items: &[Expr], schema: &Schema, out: &mut String) {
    for (index, item) in items.iter().enumerate() {
        out.push_str(if index == 0 { "" } else { ", " });
        write(item, schema, out);
    }
}

fn step(step: &Step, schema: &Schema, out: &mut String) {
    match step {
        Step::Member(name) | Step::AnyCase(name) => {
            let _ = write!(out, "->{name}");
        }
        Step::Index(index) => {
            out.push('[');
            write(index, schema, out);
            out.push(']');
        }
        Step::Slice(from, to) => {
            out.push('[');
            from.iter().for_each(|bound| write(bound, schema, out));
            out.push(':');
            to.iter().for_each(|bound| write(bound, schema, out));
            out.push(']');
        }
    }
}

fn case(
    value: Option<&Expr>,
    arms: &[(Expr, Expr)],
    otherwise: Option<&Expr>,
    schema: &Schema,
    out: &mut String,
) {
    out.push_str("CASE");
    if let Some(value) = value {
        out.push(' ');
        write(value, schema, out);
    }
    for (when, then) in arms {
        out.push_str(" WHEN ");
        write(when, schema, out);
        out.push_str(" THEN ");
        write(then, schema, out);
    }
    if let Some(otherwise) = otherwise {
        out.push_str(" ELSE ");
        write(otherwise, schema, out);
    }
    out.push_str(" END");
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Str(text) => format!("\"{text}\""),
        other => go_text(other),
    }
}

/// A function of the row's surroundings as it is written.
pub(super) fn context(context: Context) -> &'static str {
    match context {
        Context::WindowStart => "window_start()",
        Context::WindowEnd => "window_end()",
        Context::WindowTrigger => "window_trigger()",
        Context::HitCount => "last_hit_count()",
        Context::HitTime => "last_hit_time()",
        Context::EventTime { .. } => "event_time()",
        Context::RuleId => "rule_id()",
        Context::RuleStart => "rule_start()",
    }
}
