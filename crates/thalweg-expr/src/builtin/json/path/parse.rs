//! Reads the text of a path.

use thalweg_core::json::scan::unescape;
use thalweg_core::{BinaryOp, Value};

use super::{Key, Node, Op, Outcome, Start, Step};

/// Deeper nesting than this is refused.
const MAX_DEPTH: u32 = 64;

pub(super) fn parse(text: &str) -> Outcome<Node> {
    let mut parser = Parser { rest: text, depth: 0 };
    let node = parser.expression(0)?;
    match parser.next() {
        None => Ok(node),
        Some(_) => parser.fail("an operator"),
    }
}

struct Parser<'a> {
    rest: &'a str,
    depth: u32,
}

const OPERATORS: &[(&str, Op, u8)] = &[
    ("||", Op::Or, 1),
    ("&&", Op::And, 2),
    ("==", Op::Compare(BinaryOp::Eq), 3),
    ("!=", Op::Compare(BinaryOp::NotEq), 3),
    ("<=", Op::Compare(BinaryOp::LtEq), 3),
    (">=", Op::Compare(BinaryOp::GtEq), 3),
    ("=~", Op::Matches, 3),
    ("<", Op::Compare(BinaryOp::Lt), 3),
    (">", Op::Compare(BinaryOp::Gt), 3),
    ("in ", Op::In, 3),
    ("+", Op::Calculate(BinaryOp::Plus), 4),
    ("-", Op::Calculate(BinaryOp::Minus), 4),
    ("*", Op::Calculate(BinaryOp::Multiply), 5),
    ("/", Op::Calculate(BinaryOp::Divide), 5),
    ("%", Op::Calculate(BinaryOp::Modulo), 5),
];

impl Parser<'_> {
    /// The next character that is no blank.
    fn next(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn fail<T>(&self, expected: &str) -> Outcome<T> {
        let found = if self.rest.is_empty() { "the end" } else { self.rest };
        Err(format!("json path: expected {expected}, found {found}"))
    }

    fn eat(&mut self, wanted: &str) -> bool {
        self.rest = self.rest.trim_start();
        let found = self.rest.strip_prefix(wanted);
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn expect(&mut self, wanted: &str) -> Outcome<()> {
        if self.eat(wanted) { Ok(()) } else { self.fail(wanted) }
    }

    fn expression(&mut self, level: u8) -> Outcome<Node> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("fewer brackets");
        }
        let mut left = self.operand()?;
        'next: loop {
            for (symbol, op, strength) in OPERATORS {
                if *strength > level && self.eat(symbol) {
                    let right = self.expression(*strength)?;
                    left = Node::Binary(*op, Box::new(left), Box::new(right));
                    continue 'next;
                }
            }
            self.depth -= 1;
            return Ok(left);
        }
    }

    fn operand(&mut self) -> Outcome<Node> {
        match self.next() {
            Some('(') => {
                self.expect("(")?;
                let inner = self.expression(0)?;
                self.expect(")")?;
                Ok(inner)
            }
            Some('!') => {
                self.expect("!")?;
                Ok(Node::Not(Box::new(self.nested()?)))
            }
            Some('-') => {
                self.expect("-")?;
                Ok(Node::Minus(Box::new(self.nested()?)))
            }
            Some('$') => self.select("$", Start::Root),
            Some('@') => self.select("@", Start::Current),
            Some('[') => self.list(),
            Some('"' | '\'' | '`') => Ok(Node::Literal(Value::text(self.quoted()?))),
            Some(digit) if digit.is_ascii_digit() => self.number(),
            _ => self.named(),
        }
    }

    /// An operand below a prefix operator.
    fn nested(&mut self) -> Outcome<Node> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return self.fail("fewer operators");
        }
        let operand = self.operand();
        self.depth -= 1;
        operand
    }

    fn select(&mut self, sign: &str, start: Start) -> Outcome<Node> {
        self.expect(sign)?;
        Ok(Node::Select(start, self.steps()?))
    }

    fn list(&mut self) -> Outcome<Node> {
        self.expect("[")?;
        let mut items = Vec::new();
        while !self.eat("]") {
            items.push(self.expression(0)?);
            if !self.eat(",") && self.next() != Some(']') {
                return self.fail("]");
            }
        }
        Ok(Node::List(items))
    }

    fn number(&mut self) -> Outcome<Node> {
        let end = self.rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        let Ok(number) = digits.parse::<f64>() else { return self.fail("a number") };
        self.rest = rest;
        Ok(Node::Literal(Value::Float(number)))
    }

    fn named(&mut self) -> Outcome<Node> {
        let name = self.name()?;
        Ok(match name.as_str() {
            "true" => Node::Literal(Value::Bool(true)),
            "false" => Node::Literal(Value::Bool(false)),
            "null" => Node::Literal(Value::Null),
            _ => Node::Select(Start::Name(name), self.steps()?),
        })
    }

    fn name(&mut self) -> Outcome<String> {
        let end = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(self.rest.len());
        if end == 0 {
            return self.fail("a name");
        }
        let (name, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn quoted(&mut self) -> Outcome<String> {
        let mut chars = self.rest.char_indices();
        let Some((_, quote)) = chars.next() else { return self.fail("a text") };
        let mut escaped = false;
        for (at, char) in chars {
            match char {
                _ if escaped => escaped = false,
                '\\' if quote != '`' => escaped = true,
                _ if char == quote => {
                    let text = &self.rest[1..at];
                    let text = if quote == '`' { text.to_owned() } else { unescape(text.as_bytes()) };
                    self.rest = &self.rest[at + char.len_utf8()..];
                    return Ok(text);
                }
                _ => {}
            }
        }
        self.fail("a closing quote")
    }

    fn steps(&mut self) -> Outcome<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.rest.starts_with("..") {
                self.rest = &self.rest[2..];
                steps.push(Step::Descend(if self.eat("*") { None } else { Some(self.name()?) }));
            } else if self.rest.starts_with('.') {
                self.rest = &self.rest[1..];
                steps.push(if self.eat("*") { Step::All } else { Step::Keys(vec![Key::Name(self.name()?)]) });
            } else if self.rest.starts_with('[') {
                self.rest = &self.rest[1..];
                steps.push(self.bracket()?);
                self.expect("]")?;
            } else {
                return Ok(steps);
            }
        }
    }

    fn bracket(&mut self) -> Outcome<Step> {
        if self.eat("*") {
            return Ok(Step::All);
        }
        if self.eat("?") {
            return Ok(Step::Filter(Box::new(self.expression(0)?)));
        }
        let from = self.index()?;
        if self.eat(":") {
            let to = self.index()?;
            let step = if self.eat(":") { self.index()?.unwrap_or(1) } else { 1 };
            if step < 1 {
                return self.fail("a step above 0");
            }
            return Ok(Step::Slice { from, to, step });
        }
        let mut keys = vec![match from {
            Some(index) => Key::Index(index),
            None => self.key()?,
        }];
        while self.eat(",") {
            keys.push(self.key()?);
        }
        Ok(Step::Keys(keys))
    }

    fn key(&mut self) -> Outcome<Key> {
        match self.next() {
            Some('"' | '\'' | '`') => self.quoted().map(Key::Name),
            _ => match self.index()? {
                Some(index) => Ok(Key::Index(index)),
                None => self.fail("a key"),
            },
        }
    }

    fn index(&mut self) -> Outcome<Option<i64>> {
        let signed = self.next() == Some('-');
        let digits = &self.rest[usize::from(signed)..];
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        if end == 0 {
            return Ok(None);
        }
        let end = end + usize::from(signed);
        let Ok(index) = self.rest[..end].parse() else { return self.fail("a smaller number") };
        self.rest = &self.rest[end..];
        Ok(Some(index))
    }
}
