//! Bound expressions as text, with the names of their slots.

use std::fmt::Write as _;

use thalweg_core::{Schema, Slot, UnaryOp, Value};
use thalweg_expr::{Expr, FunctionRef, Step};

use super::sql;
use crate::logical::{AggregateCall, AnalyticCall, SortKey};

/// The text of an expression over slots of this schema.
pub(crate) fn expr(expr: &Expr, schema: &Schema) -> String {
    let list = |items: &[Expr]| exprs(items, schema);
    let text = |inner: &Expr| self::expr(inner, schema);
    let not = |negated: bool| if negated { "NOT " } else { "" };
    match expr {
        Expr::Column(slot) => column(*slot, schema),
        Expr::Literal(constant) => literal(constant.value()),
        Expr::Unary(UnaryOp::Minus, value) => format!("-{}", text(value)),
        Expr::Unary(UnaryOp::Not, value) => format!("NOT {}", text(value)),
        Expr::Binary(op, left, right) => format!("({} {} {})", text(left), op.symbol(), text(right)),
        Expr::Between { negated, parts } => {
            let [value, low, high] = &**parts;
            format!("({} {}BETWEEN {} AND {})", text(value), not(*negated), text(low), text(high))
        }
        Expr::InList { negated, value, list: items } => {
            format!("({} {}IN ({}))", text(value), not(*negated), list(items))
        }
        Expr::InArray { negated, value, array } => {
            format!("({} {}IN {})", text(value), not(*negated), text(array))
        }
        Expr::IsNull { negated, value } => format!("({} IS {}NULL)", text(value), not(*negated)),
        Expr::First(values) => format!("first({})", list(values)),
        Expr::Path(value, steps) => steps.iter().fold(text(value), |path, next| path + &step(next, schema)),
        Expr::Case { value, arms, otherwise } => {
            let mut case = "CASE".to_owned();
            value.iter().for_each(|value| append(&mut case, "", &text(value)));
            for (when, then) in arms {
                append(&mut case, "WHEN ", &text(when));
                append(&mut case, "THEN ", &text(then));
            }
            otherwise.iter().for_each(|value| append(&mut case, "ELSE ", &text(value)));
            case + " END"
        }
        Expr::Call { function, args, .. } => format!("{}({})", function.name(), list(args)),
        Expr::Context(context) => sql::context(*context).to_owned(),
        Expr::Object(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, slot)| member(name, *slot, schema)).collect();
            format!("{{{}}}", members.join(", "))
        }
        Expr::Once(once) => text(&once.expr),
    }
}

fn append(text: &mut String, word: &str, part: &str) {
    // Writing to a String cannot fail.
    let _ = write!(text, " {word}{part}");
}

/// Several expressions.
pub(crate) fn exprs(list: &[Expr], schema: &Schema) -> String {
    let texts: Vec<String> = list.iter().map(|item| expr(item, schema)).collect();
    texts.join(", ")
}

/// A member of an object or a spread: its name, and the slot if it is called otherwise.
pub(crate) fn member(name: &str, slot: Slot, schema: &Schema) -> String {
    let column = column(slot, schema);
    if column == name { column } else { format!("{name}: {column}") }
}

/// A slot by its name, with its source or number where the name alone does not tell.
fn column(slot: Slot, schema: &Schema) -> String {
    let Some(field) = schema.fields.get(slot.index()) else { return format!("@{}", slot.0) };
    let alike = schema.fields.iter().filter(|other| other.name == field.name);
    if alike.count() == 1 {
        return field.name.to_string();
    }
    let twins = schema.fields.iter().filter(|other| other.name == field.name && other.source == field.source);
    match (&field.source, twins.count()) {
        (Some(source), 1) => format!("{source}.{}", field.name),
        _ => format!("{}@{}", field.name, slot.0),
    }
}

fn literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(value) => value.to_string().to_uppercase(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => format!("{value:?}"),
        Value::Str(text) => format!("{text:?}"),
        other => format!("{other:?}"),
    }
}

fn step(step: &Step, schema: &Schema) -> String {
    let bound = |bound: &Option<Expr>| bound.as_ref().map_or_else(String::new, |bound| expr(bound, schema));
    match step {
        Step::Member(name) | Step::AnyCase(name) => format!("->{name}"),
        Step::Index(index) => format!("[{}]", expr(index, schema)),
        Step::Slice(start, end) => format!("[{}:{}]", bound(start), bound(end)),
    }
}

/// Sort keys.
pub(crate) fn keys(keys: &[SortKey], schema: &Schema) -> String {
    let direction = |key: &SortKey| if key.descending { " DESC" } else { "" };
    let texts: Vec<String> = keys.iter().map(|key| expr(&key.expr, schema) + direction(key)).collect();
    texts.join(", ")
}

/// A call of an aggregate.
pub(crate) fn aggregate(call: &AggregateCall, schema: &Schema) -> String {
    let filter = call.filter.as_ref().map(|filter| format!(" FILTER {}", expr(filter, schema)));
    format!("{}{}", called(&call.function, &call.args, schema), filter.unwrap_or_default())
}

/// A call of an analytic function.
pub(crate) fn analytic(call: &AnalyticCall, schema: &Schema) -> String {
    let mut text = called(&call.function, &call.args, schema);
    if !call.partition_by.is_empty() {
        append(&mut text, "PARTITION BY ", &exprs(&call.partition_by, schema));
    }
    call.when.iter().for_each(|when| append(&mut text, "WHEN ", &expr(when, schema)));
    text
}

fn called(function: &FunctionRef, args: &[Expr], schema: &Schema) -> String {
    format!("{}({})", function.name(), exprs(args, schema))
}
