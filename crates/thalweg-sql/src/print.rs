//! Trees back to text: explain, and `<expr>` in run-time errors (Z-3).
//!
//! The text parses to the same tree again (positions apart). Parentheses stand where precedence needs them.

use thalweg_core::{BinaryOp, UnaryOp, Value};

use crate::ast::{
    Call, Expr, ExprKind, From, FromSource, JoinKind, Name, OrderKey, Query, Select, SelectField, TimeUnit,
    Window, WindowKind,
};
use crate::lex::{Kind, lex, quote};
use crate::window::is_window;

/// An expression.
pub fn expr(expr: &Expr) -> String {
    let mut out = String::new();
    write_expr(expr, 0, &mut out);
    out
}

/// A whole query.
pub fn query(query: &Query) -> String {
    let with: Vec<String> = query
        .with
        .iter()
        .map(|(name, query)| format!("{} AS ({})", name_text(name), self::query(query)))
        .collect();
    let selects: Vec<String> = query.selects.iter().map(select).collect();
    let with = if with.is_empty() { String::new() } else { format!("WITH {} ", with.join(", ")) };
    with + &selects.join(" UNION ALL ")
}

fn select(select: &Select) -> String {
    let mut out = format!("SELECT {} FROM {}", list(&select.fields, field), source(&select.from));
    for join in &select.joins {
        let kind = match join.kind {
            JoinKind::Inner => "INNER",
            JoinKind::Left => "LEFT",
            JoinKind::Right => "RIGHT",
            JoinKind::Full => "FULL",
            JoinKind::Cross => "CROSS",
        };
        out += &format!(" {kind} JOIN {}", source(&join.right));
        clause(" ON ", &join.on, &mut out);
    }
    clause(" WHERE ", &select.filter, &mut out);
    let mut groups: Vec<String> = select.group_by.iter().map(key).collect();
    groups.extend(select.window.as_ref().map(window));
    if !groups.is_empty() {
        out += &format!(" GROUP BY {}", groups.join(", "));
    }
    clause(" HAVING ", &select.having, &mut out);
    if !select.order_by.is_empty() {
        out += &format!(" ORDER BY {}", list(&select.order_by, order_key));
    }
    if let Some(limit) = select.limit {
        out += &format!(" LIMIT {limit}");
    }
    out
}

fn clause(before: &str, condition: &Option<Expr>, out: &mut String) {
    if let Some(condition) = condition {
        out.push_str(before);
        write_expr(condition, 0, out);
    }
}

fn list<T>(items: &[T], one: impl Fn(&T) -> String) -> String {
    items.iter().map(one).collect::<Vec<_>>().join(", ")
}

fn field(field: &SelectField) -> String {
    let mut out = expr(&field.expr);
    if let Some(alias) = &field.alias {
        out += &format!(" AS {}", name_text(alias));
    }
    if field.invisible {
        out += " INVISIBLE";
    }
    out
}

fn source(from: &From) -> String {
    let mut out = match &from.source {
        FromSource::Named(name) => source_name(name),
        FromSource::Query(inner) => format!("({})", query(inner)),
        FromSource::Broken => "…".to_owned(),
    };
    if let Some(alias) = &from.alias {
        out += &format!(" AS {}", name_text(alias));
    }
    out
}

/// G-8: a topic-like name is written without backticks.
fn source_name(name: &Name) -> String {
    let is_topic = name.text.contains(['/', '#', '+'])
        && name.text.chars().all(|c| c.is_ascii_alphanumeric() || "/#+_".contains(c));
    if is_topic && !name.text.contains("//") { name.text.to_string() } else { name_text(name) }
}

fn order_key(key: &OrderKey) -> String {
    format!("{}{}", expr(&key.expr), if key.descending { " DESC" } else { "" })
}

/// A key of GROUP BY. One that begins like a window was written in parentheses, and is a call of a function: without
/// them it would be read as the window.
fn key(key: &Expr) -> String {
    let text = expr(key);
    let is_window = text.split_once('(').is_some_and(|(name, _)| is_window(name));
    if is_window { format!("({text})") } else { text }
}

fn window(window: &Window) -> String {
    let timed = |name: &str, unit: TimeUnit, numbers: &[i64]| {
        let unit = match unit {
            TimeUnit::Day => "dd",
            TimeUnit::Hour => "hh",
            TimeUnit::Minute => "mi",
            TimeUnit::Second => "ss",
            TimeUnit::Millisecond => "ms",
        };
        format!("{name}({unit}, {})", list(numbers, i64::to_string))
    };
    let mut out = match &window.kind {
        WindowKind::Tumbling { unit, length } => timed("TUMBLINGWINDOW", *unit, &[*length]),
        WindowKind::Hopping { unit, length, hop } => timed("HOPPINGWINDOW", *unit, &[*length, *hop]),
        WindowKind::Sliding { unit, length, delay: None } => timed("SLIDINGWINDOW", *unit, &[*length]),
        WindowKind::Sliding { unit, length, delay: Some(delay) } => {
            timed("SLIDINGWINDOW", *unit, &[*length, *delay])
        }
        WindowKind::Session { unit, max_duration, timeout } => {
            timed("SESSIONWINDOW", *unit, &[*max_duration, *timeout])
        }
        WindowKind::Count { length, step: None } => format!("COUNTWINDOW({length})"),
        WindowKind::Count { length, step: Some(step) } => format!("COUNTWINDOW({length}, {step})"),
        WindowKind::State { begin, emit: None } => format!("STATEWINDOW({})", expr(begin)),
        WindowKind::State { begin, emit: Some(emit) } => {
            format!("STATEWINDOW({}, {})", expr(begin), expr(emit))
        }
    };
    if let Some(filter) = &window.filter {
        out += &format!(" FILTER(WHERE {})", expr(filter));
    }
    let mut over: Vec<String> = window.when.iter().map(|when| format!("WHEN {}", expr(when))).collect();
    if !window.partition_by.is_empty() {
        over.push(format!("PARTITION BY {}", list(&window.partition_by, expr)));
    }
    if !over.is_empty() {
        out += &format!(" OVER({})", over.join(" "));
    }
    out
}

/// A name, in backticks unless it reads as one without.
fn name_text(name: &Name) -> String {
    let lexemes = lex(&name.text);
    let is_plain = matches!(lexemes.as_slice(), [one] if one.kind == Kind::Word && one.found == *name.text)
        && !["NULL", "WITH", "UNION", "IS"].iter().any(|word| name.text.eq_ignore_ascii_case(word));
    if is_plain { name.text.to_string() } else { format!("`{}`", name.text) }
}

/// How tightly an expression binds, as `grammar.rs` reads it; operands are 9.
fn level(expr: &Expr) -> u8 {
    match &expr.kind {
        ExprKind::Binary(op, ..) => match op {
            BinaryOp::Or => 1,
            BinaryOp::And => 2,
            BinaryOp::Plus | BinaryOp::Minus | BinaryOp::BitOr | BinaryOp::BitXor | BinaryOp::Concat => 5,
            BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Modulo | BinaryOp::BitAnd => 6,
            _ => 4,
        },
        ExprKind::Unary(UnaryOp::Not, _) => 3,
        ExprKind::Between { .. }
        | ExprKind::InList { .. }
        | ExprKind::InArray { .. }
        | ExprKind::IsNull { .. } => 4,
        ExprKind::Unary(UnaryOp::Minus, _) => 7,
        ExprKind::Literal(Value::Int(i64::MIN..=-1)) => 7,
        ExprKind::Literal(Value::Float(value)) if value.is_sign_negative() => 7,
        _ => 9,
    }
}

/// Writes `expr`, in parentheses if it binds less tightly than `least`.
fn write_expr(expr: &Expr, least: u8, out: &mut String) {
    let own = level(expr);
    if own < least {
        out.push('(');
        write_kind(expr, own, out);
        out.push(')');
    } else {
        write_kind(expr, own, out);
    }
}

fn write_kind(expr: &Expr, own: u8, out: &mut String) {
    let not = |negated: bool| if negated { " NOT" } else { "" };
    match &expr.kind {
        ExprKind::Literal(value) => literal(value, out),
        ExprKind::Name(names) => out.push_str(&names.iter().map(name_text).collect::<Vec<_>>().join(".")),
        ExprKind::Wildcard { qualifier, except, replace } => {
            wildcard(qualifier.as_ref(), except, replace, out)
        }
        ExprKind::Unary(UnaryOp::Not, value) => {
            out.push_str("NOT ");
            write_expr(value, own, out);
        }
        ExprKind::Unary(UnaryOp::Minus, value) => {
            out.push('-');
            // `-1` is a literal and `--` a comment, so numbers and signs stand in parentheses.
            let is_number = matches!(value.kind, ExprKind::Literal(Value::Int(_) | Value::Float(_)));
            write_expr(value, if is_number { 10 } else { 8 }, out);
        }
        ExprKind::Binary(..) => write_chain(expr, own, out),
        ExprKind::Between { negated, value, low, high } => {
            write_expr(value, own, out);
            out.push_str(&format!("{} BETWEEN ", not(*negated)));
            write_expr(low, 7, out);
            out.push_str(" AND ");
            write_expr(high, 7, out);
        }
        ExprKind::InList { negated, value, list: items } => {
            write_expr(value, own, out);
            out.push_str(&format!("{} IN ({})", not(*negated), list(items, self::expr)));
        }
        ExprKind::InArray { negated, value, array } => {
            write_expr(value, own, out);
            out.push_str(&format!("{} IN ", not(*negated)));
            // A parenthesis after IN starts a list, so what is no plain operand becomes a list of lists otherwise.
            write_expr(array, 7, out);
        }
        ExprKind::IsNull { negated, value } => {
            write_expr(value, own, out);
            out.push_str(&format!(" IS{} NULL", not(*negated)));
        }
        ExprKind::Arrow(..) | ExprKind::Index(..) | ExprKind::Slice { .. } => write_postfix(expr, out),
        ExprKind::Case { value, arms, otherwise } => case(value.as_deref(), arms, otherwise.as_deref(), out),
        ExprKind::Call(call) => write_call(call, out),
        ExprKind::Broken(_) => out.push('…'),
    }
}

/// Binary operators of one level, in a loop: chains of them are long.
fn write_chain(expr: &Expr, own: u8, out: &mut String) {
    let mut links = Vec::new();
    let mut first = expr;
    while let ExprKind::Binary(op, left, right) = &first.kind
        && level(first) == own
    {
        links.push((op, right));
        first = left;
    }
    write_expr(first, own, out);
    for (op, right) in links.into_iter().rev() {
        out.push_str(&format!(" {} ", op.symbol()));
        write_expr(right, own + 1, out);
    }
}

/// `[]` and `->`, in a loop: they too may be many.
fn write_postfix(expr: &Expr, out: &mut String) {
    let bound = |bound: &Option<Box<Expr>>| bound.as_ref().map_or_else(String::new, |it| self::expr(it));
    let mut links = Vec::new();
    let mut first = expr;
    loop {
        let (inner, link) = match &first.kind {
            ExprKind::Arrow(inner, name) => (inner, format!("->{}", name_text(name))),
            ExprKind::Index(inner, index) => (inner, format!("[{}]", self::expr(index))),
            ExprKind::Slice { value, start, end } => (value, format!("[{}:{}]", bound(start), bound(end))),
            _ => break,
        };
        links.push(link);
        first = inner;
    }
    write_expr(first, 9, out);
    out.extend(links.into_iter().rev());
}

fn literal(value: &Value, out: &mut String) {
    match value {
        Value::Null => out.push_str("NULL"),
        Value::Bool(value) => out.push_str(if *value { "TRUE" } else { "FALSE" }),
        Value::Int(value) => out.push_str(&value.to_string()),
        // The language knows no exponent (L-12); `f64` prints without one.
        Value::Float(value) if value.fract() == 0.0 => out.push_str(&format!("{value:.1}")),
        Value::Float(value) => out.push_str(&value.to_string()),
        Value::Str(text) => out.push_str(&quote(text)),
        other => out.push_str(&format!("{other:?}")),
    }
}

fn wildcard(qualifier: Option<&Name>, except: &[Name], replace: &[SelectField], out: &mut String) {
    if let Some(qualifier) = qualifier {
        out.push_str(&format!("{}.", name_text(qualifier)));
    }
    out.push('*');
    if !except.is_empty() {
        out.push_str(&format!(" EXCEPT({})", list(except, name_text)));
    }
    if !replace.is_empty() {
        out.push_str(&format!(" REPLACE({})", list(replace, field)));
    }
}

fn case(value: Option<&Expr>, arms: &[(Expr, Expr)], otherwise: Option<&Expr>, out: &mut String) {
    out.push_str("CASE");
    if let Some(value) = value {
        out.push_str(&format!(" {}", expr(value)));
    }
    for (condition, result) in arms {
        out.push_str(&format!(" WHEN {} THEN {}", expr(condition), expr(result)));
    }
    if let Some(otherwise) = otherwise {
        out.push_str(&format!(" ELSE {}", expr(otherwise)));
    }
    out.push_str(" END");
}

fn write_call(call: &Call, out: &mut String) {
    out.push_str(&format!("{}({})", name_text(&call.name), list(&call.args, expr)));
    if !call.has_over {
        return;
    }
    let mut parts = Vec::new();
    if !call.partition_by.is_empty() {
        parts.push(format!("PARTITION BY {}", list(&call.partition_by, expr)));
    }
    if !call.order_by.is_empty() {
        parts.push(format!("ORDER BY {}", list(&call.order_by, order_key)));
    }
    parts.extend(call.when.iter().map(|when| format!("WHEN {}", expr(when))));
    out.push_str(&format!(" OVER ({})", parts.join(" ")));
}
