//! Test support: expressions as text (a subset of the language, enough for tables of cases), and a batch to run on.

use std::sync::Arc;

use thalweg_core::json::{self, Numbers};
use thalweg_core::{Batch, BinaryOp, Column, Schema, Selection, Slot, Timestamp, UnaryOp, Unit, Value};

use crate::expr::{EvalCx, Expr, Step};
use crate::function::FunctionRef;
use crate::registry::{builtin, shipped};

/// A context at a fixed time, in UTC.
pub(crate) fn cx() -> EvalCx<'static> {
    EvalCx {
        now: Timestamp(1_709_212_455_678),
        zone: chrono_tz::Tz::UTC,
        rule: "rule1",
        node: "2_project",
        rule_start: Timestamp(1_000),
        window: None,
        instance: None,
        clock: None,
        hits: crate::expr::Hits::default(),
        metrics: Box::leak(Box::default()),
    }
}

/// A batch of these columns.
pub(crate) fn batch(columns: Vec<(&str, Column)>) -> Batch {
    let n_rows = columns.first().map_or(1, |(_, column)| column.len());
    Batch {
        schema: Arc::new(Schema::computed(columns.iter().map(|(name, _)| *name))),
        columns: columns.into_iter().map(|(_, column)| Arc::new(column)).collect(),
        n_rows,
        times: (0..n_rows as i64).map(|row| Timestamp(row * 10)).collect(),
        unit: Unit::Rows,
        window: None,
    }
}

/// The expression's values for all rows as JSON text; `-` for null and missing, `ERR text` for errors.
pub(crate) fn run(text: &str, batch: &Batch) -> Vec<String> {
    let expr = parse(text, &batch.schema);
    let column = expr.eval(batch, &Selection::all(batch.n_rows), &mut cx());
    (0..batch.n_rows).map(|row| show(column.cell(row))).collect()
}

pub(crate) fn show(cell: thalweg_core::Cell<'_>) -> String {
    match cell {
        thalweg_core::Cell::Error(error) => format!("ERR {error}"),
        cell if cell.is_nothing() => "-".to_owned(),
        cell => {
            let mut out = Vec::new();
            match json::write_value(&mut out, &cell.to_value(), chrono_tz::Tz::UTC) {
                Ok(()) => String::from_utf8_lossy(&out).into_owned(),
                Err(error) => format!("UNPRINTABLE {error}"),
            }
        }
    }
}

/// Reads an expression; panics where the test's text is wrong.
pub(crate) fn parse(text: &str, schema: &Schema) -> Expr {
    let mut parser = Parser { rest: text, schema };
    let expr = parser.binary(0);
    parser.blanks();
    assert!(parser.rest.is_empty(), "not understood: {}", parser.rest);
    expr
}

struct Parser<'a> {
    rest: &'a str,
    schema: &'a Schema,
}

/// Longer ones first.
const OPERATORS: &[(&str, BinaryOp, u8)] = &[
    ("or", BinaryOp::Or, 1),
    ("and", BinaryOp::And, 2),
    ("!=", BinaryOp::NotEq, 3),
    ("<=", BinaryOp::LtEq, 3),
    (">=", BinaryOp::GtEq, 3),
    ("=", BinaryOp::Eq, 3),
    ("<", BinaryOp::Lt, 3),
    (">", BinaryOp::Gt, 3),
    ("like", BinaryOp::Like, 3),
    ("not like", BinaryOp::NotLike, 3),
    ("||", BinaryOp::Concat, 4),
    ("|", BinaryOp::BitOr, 4),
    ("^", BinaryOp::BitXor, 4),
    ("+", BinaryOp::Plus, 4),
    ("-", BinaryOp::Minus, 4),
    ("*", BinaryOp::Multiply, 5),
    ("/", BinaryOp::Divide, 5),
    ("%", BinaryOp::Modulo, 5),
    ("&", BinaryOp::BitAnd, 5),
];

impl Parser<'_> {
    fn blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, wanted: &str) -> bool {
        self.blanks();
        let Some(rest) = self.rest.strip_prefix(wanted) else {
            return false;
        };
        let is_word = wanted.ends_with(|c: char| c.is_ascii_alphabetic());
        if is_word && rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_' || c == '(') {
            return false;
        }
        self.rest = rest;
        true
    }

    fn expect(&mut self, wanted: &str) {
        assert!(self.eat(wanted), "expected {wanted} at {}", self.rest);
    }

    fn binary(&mut self, level: u8) -> Expr {
        let mut left = self.postfix();
        'next: loop {
            if level <= 3 && !self.rest.trim_start().starts_with("not like") {
                let negated = self.eat("not");
                if self.eat("between") {
                    let low = self.binary(4);
                    self.expect("and");
                    let high = self.binary(4);
                    left = Expr::Between { negated, parts: Box::new([left, low, high]) };
                    continue;
                }
                if self.eat("in") {
                    left = self.membership(negated, left);
                    continue;
                }
                if self.eat("is") {
                    let negated = self.eat("not");
                    self.expect("null");
                    left = Expr::IsNull { negated, value: Box::new(left) };
                    continue;
                }
            }
            for (symbol, op, strength) in OPERATORS {
                if *strength > level && !self.rest.trim_start().starts_with("->") && self.eat(symbol) {
                    let right = self.binary(*strength);
                    left = Expr::Binary(*op, Box::new(left), Box::new(right));
                    continue 'next;
                }
            }
            return left;
        }
    }

    fn membership(&mut self, negated: bool, value: Expr) -> Expr {
        let value = Box::new(value);
        if self.eat("(") {
            return Expr::InList { negated, value, list: self.list(")") };
        }
        Expr::InArray { negated, value, array: Box::new(self.postfix()) }
    }

    fn list(&mut self, close: &str) -> Vec<Expr> {
        let mut list = Vec::new();
        while !self.eat(close) {
            list.push(self.binary(0));
            self.eat(",");
        }
        list
    }

    fn postfix(&mut self) -> Expr {
        let base = self.primary();
        let mut steps = Vec::new();
        loop {
            if self.eat("->") || self.rest.starts_with('.') && self.eat(".") {
                steps.push(Step::Member(Arc::from(self.word())));
            } else if self.rest.starts_with('[') && self.eat("[") {
                let start = (!self.rest.starts_with([':', ']'])).then(|| self.binary(0));
                if self.eat(":") {
                    let end = (!self.rest.starts_with(']')).then(|| self.binary(0));
                    steps.push(Step::Slice(start, end));
                } else {
                    steps.push(start.map_or(Step::Slice(None, None), Step::Index));
                }
                self.expect("]");
            } else {
                return if steps.is_empty() { base } else { Expr::Path(Box::new(base), steps) };
            }
        }
    }

    fn word(&mut self) -> &str {
        self.blanks();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn primary(&mut self) -> Expr {
        self.blanks();
        match self.rest.as_bytes().first() {
            Some(b'(') => {
                self.expect("(");
                let inner = self.binary(0);
                self.expect(")");
                inner
            }
            Some(b'\'') => {
                let end = self.rest[1..].find('\'').expect("the text is closed") + 1;
                let text = Value::text(&self.rest[1..end]);
                self.rest = &self.rest[end + 1..];
                Expr::literal(text)
            }
            Some(b'-') if !self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => {
                self.expect("-");
                Expr::Unary(UnaryOp::Minus, Box::new(self.postfix()))
            }
            Some(b'[' | b'{' | b'"' | b'-' | b'0'..=b'9') => self.json(),
            _ => self.named(),
        }
    }

    /// A JSON literal; numbers without point are integers.
    fn json(&mut self) -> Expr {
        let mut scanner = json::Scanner::new(self.rest.as_bytes());
        let (_, end) = scanner.skip().expect("a literal");
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        Expr::literal(json::parse(text.as_bytes(), Numbers::Whole).expect("a literal"))
    }

    fn named(&mut self) -> Expr {
        let name = self.word().to_owned();
        match name.as_str() {
            "true" => return Expr::literal(Value::Bool(true)),
            "false" => return Expr::literal(Value::Bool(false)),
            "null" => return Expr::literal(Value::Null),
            "not" => return Expr::Unary(UnaryOp::Not, Box::new(self.binary(3))),
            "case" => return self.case(),
            _ => {}
        }
        if self.eat("(") {
            let found = builtin(&name).or_else(|| shipped(&name));
            let function = FunctionRef::Builtin(found.unwrap_or_else(|| panic!("no function {name}")));
            return Expr::Call { function, args: self.list(")"), call_id: 0 };
        }
        let slot = self.schema.fields.iter().position(|field| *field.name == *name);
        Expr::Column(Slot(slot.unwrap_or_else(|| panic!("no column {name} at {}", self.rest)) as u32))
    }

    fn case(&mut self) -> Expr {
        let value = (!self.rest.trim_start().starts_with("when")).then(|| Box::new(self.binary(0)));
        let mut arms = Vec::new();
        while self.eat("when") {
            let when = self.binary(0);
            self.expect("then");
            arms.push((when, self.binary(0)));
        }
        let otherwise = self.eat("else").then(|| Box::new(self.binary(0)));
        self.expect("end");
        Expr::Case { value, arms, otherwise }
    }
}
