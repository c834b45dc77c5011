//! Template text to tokens, by Go's rules.

use thalweg_core::{Span, Value};

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Kind {
    /// Text outside actions, trimmed.
    Text(String),
    /// `{{`.
    Open,
    /// `}}`.
    Close,
    /// `.name`, without the dot.
    Field(String),
    /// `.` alone.
    Dot,
    /// `$` or `$name`.
    Variable(String),
    /// A word: a function, a keyword, `true` …
    Word(String),
    Literal(Value),
    /// `|`, `(`, `)`, `,`, `=`, `:=`.
    Mark(&'static str),
    /// The text is wrong from here on.
    Wrong(String),
    /// The end of the text.
    End,
}

#[derive(Debug, Clone)]
pub(crate) struct Token {
    pub(crate) kind: Kind,
    pub(crate) span: Span,
    /// Whether blanks stand before it: `.a .b` are two operands, `.a.b` is one.
    pub(crate) spaced: bool,
}

const BLANKS: [char; 4] = [' ', '\t', '\r', '\n'];

/// All tokens; a mistake is the last one before [`Kind::End`].
pub(crate) fn lex(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { text, at: 0, tokens: Vec::new(), parens: 0 };
    if let Err(wrong) = lexer.run() {
        lexer.push(lexer.at, Kind::Wrong(wrong), false);
    }
    lexer.push(text.len(), Kind::End, false);
    lexer.tokens
}

struct Lexer<'a> {
    text: &'a str,
    /// Always on a character boundary.
    at: usize,
    tokens: Vec<Token>,
    parens: usize,
}

impl<'a> Lexer<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn push(&mut self, start: usize, kind: Kind, spaced: bool) {
        self.tokens.push(Token { kind, span: Span::new(start, self.at.max(start)), spaced });
    }

    fn run(&mut self) -> Result<(), String> {
        let mut trims = false;
        loop {
            let start = self.at;
            let rest = self.rest();
            let length = rest.find("{{").unwrap_or(rest.len());
            let mut text = &rest[..length];
            self.at += length;
            if trims {
                text = text.trim_start_matches(BLANKS);
            }
            let opens = self.rest();
            let trims_before = opens.starts_with("{{-") && opens[3..].starts_with(BLANKS);
            if trims_before {
                text = text.trim_end_matches(BLANKS);
            }
            if !text.is_empty() {
                self.push(start, Kind::Text(text.to_owned()), false);
            }
            if opens.is_empty() {
                return Ok(());
            }
            let open = self.at;
            self.at += if trims_before { 3 } else { 2 };
            trims = match self.comment()? {
                Some(trims) => trims,
                None => {
                    self.push(open, Kind::Open, false);
                    self.action()?
                }
            };
        }
    }

    /// Passes over `/* … */}}`, if it stands here, and says whether it trims the text behind.
    fn comment(&mut self) -> Result<Option<bool>, String> {
        let inner = self.rest().trim_start_matches(BLANKS);
        let is_comment =
            self.rest().starts_with("/*") || (inner.starts_with("/*") && self.text[..self.at].ends_with('-'));
        if !is_comment {
            return Ok(None);
        }
        let from = self.text.len() - inner.len();
        let end = inner.find("*/").ok_or("unclosed comment")?;
        self.at = from + end + 2;
        let trims =
            self.rest().starts_with(BLANKS) && self.rest().trim_start_matches(BLANKS).starts_with("-}}");
        let behind = if trims { &self.rest().trim_start_matches(BLANKS)[1..] } else { self.rest() };
        if !behind.starts_with("}}") {
            return Err("comment ends before closing delimiter".to_owned());
        }
        self.at = self.text.len() - behind.len() + 2;
        Ok(Some(trims))
    }

    /// Tokens up to `}}`; says whether it trims the text behind.
    fn action(&mut self) -> Result<bool, String> {
        loop {
            let inner = self.rest().trim_start_matches(BLANKS);
            let spaced = inner.len() < self.rest().len();
            self.at = self.text.len() - inner.len();
            let trims = spaced && inner.starts_with("-}}");
            if trims || inner.starts_with("}}") {
                if self.parens > 0 {
                    return Err("unclosed left paren".to_owned());
                }
                let start = self.at;
                self.at += if trims { 3 } else { 2 };
                self.push(start, Kind::Close, spaced);
                return Ok(trims);
            }
            let start = self.at;
            let kind = self.token()?;
            self.push(start, kind, spaced);
        }
    }

    fn token(&mut self) -> Result<Kind, String> {
        let rest = self.rest();
        let first = rest.chars().next().ok_or("unclosed action")?;
        let second = rest[first.len_utf8()..].chars().next();
        match first {
            '"' => self.quoted(),
            '`' => {
                let end = rest[1..].find('`').ok_or("unterminated raw quoted string")?;
                self.at += end + 2;
                Ok(Kind::Literal(Value::text(&rest[1..=end])))
            }
            '\'' => self.character(),
            '$' => Ok(Kind::Variable(format!("${}", self.word(1)))),
            '.' if second.is_some_and(|c| c.is_ascii_digit()) => self.number(),
            '.' => match self.word(1) {
                "" => Ok(Kind::Dot),
                name => Ok(Kind::Field(name.to_owned())),
            },
            '0'..='9' | '+' | '-' => self.number(),
            ':' if second == Some('=') => self.mark(":="),
            ':' => Err("expected :=".to_owned()),
            '=' => self.mark("="),
            '|' => self.mark("|"),
            ',' => self.mark(","),
            '(' => {
                self.parens += 1;
                self.mark("(")
            }
            ')' => {
                self.parens = self.parens.checked_sub(1).ok_or("unexpected right paren U+0029 ')'")?;
                self.mark(")")
            }
            c if c == '_' || c.is_alphanumeric() => Ok(Kind::Word(self.word(0).to_owned())),
            c => Err(format!("unrecognized character in action: U+{:04X} '{c}'", c as u32)),
        }
    }

    fn mark(&mut self, mark: &'static str) -> Result<Kind, String> {
        self.at += mark.len();
        Ok(Kind::Mark(mark))
    }

    /// The letters and digits behind the next `skip` bytes.
    fn word(&mut self, skip: usize) -> &'a str {
        let rest = &self.rest()[skip..];
        let length = rest.find(|c: char| c != '_' && !c.is_alphanumeric()).unwrap_or(rest.len());
        self.at += skip + length;
        &rest[..length]
    }

    fn number(&mut self) -> Result<Kind, String> {
        let rest = self.rest();
        let mut previous = ' ';
        let belongs = |c: char| {
            let sign = (c == '+' || c == '-') && matches!(previous, ' ' | 'e' | 'E');
            previous = c;
            sign || c == '.' || c == '_' || c.is_alphanumeric()
        };
        let mut belongs = belongs;
        let length = rest.find(|c| !belongs(c)).unwrap_or(rest.len());
        let digits = &rest[..length];
        self.at += length;
        parse_number(digits).map(Kind::Literal).ok_or_else(|| format!("bad number syntax: {digits:?}"))
    }

    fn quoted(&mut self) -> Result<Kind, String> {
        let (raw, length) = self.until_quote('"')?;
        let text = unquote(raw).ok_or("invalid syntax")?;
        self.at += length;
        Ok(Kind::Literal(Value::text(text)))
    }

    fn character(&mut self) -> Result<Kind, String> {
        let (raw, length) = self.until_quote('\'')?;
        let text = unquote(raw).ok_or("malformed character constant")?;
        let mut chars = text.chars();
        let (Some(c), None) = (chars.next(), chars.next()) else {
            return Err(format!("malformed character constant: '{raw}'"));
        };
        self.at += length;
        Ok(Kind::Literal(Value::Int(i64::from(u32::from(c)))))
    }

    /// What stands between the quotes, and the length with them.
    fn until_quote(&self, quote: char) -> Result<(&'a str, usize), String> {
        let rest = &self.rest()[1..];
        let mut is_escaped = false;
        let end = rest.find(|c| {
            let ends = (c == quote || c == '\n') && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        match end {
            Some(end) if !rest[end..].starts_with('\n') => Ok((&rest[..end], end + 2)),
            _ if quote == '"' => Err("unterminated quoted string".to_owned()),
            _ => Err("unterminated character constant".to_owned()),
        }
    }
}

fn parse_number(digits: &str) -> Option<Value> {
    let plain = digits.replace('_', "");
    let (sign, size) = match plain.strip_prefix(['+', '-']) {
        Some(size) => (if plain.starts_with('-') { "-" } else { "" }, size),
        None => ("", plain.as_str()),
    };
    for (prefix, radix) in [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)] {
        if let Some(digits) = size.strip_prefix(prefix) {
            return i64::from_str_radix(&format!("{sign}{digits}"), radix).ok().map(Value::Int);
        }
    }
    if let Ok(whole) = plain.parse() {
        return Some(Value::Int(whole));
    }
    // Rust also reads `inf` and `nan`, which are no numbers of Go.
    let is_number = size.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    plain.parse().ok().filter(|_| is_number).map(Value::Float)
}

/// Go's escapes in quoted text.
fn unquote(raw: &str) -> Option<String> {
    let mut out = Vec::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        let c = chars.next()?;
        let byte = match c {
            'a' => 7,
            'b' => 8,
            'f' => 12,
            'n' => b'\n',
            'r' => b'\r',
            't' => b'\t',
            'v' => 11,
            '\\' | '"' | '\'' => c as u8,
            'x' => u8::try_from(digits(&mut chars, 2, 16)?).ok()?,
            '0'..='7' => u8::try_from(u32::from(c as u8 - b'0') * 64 + digits(&mut chars, 2, 8)?).ok()?,
            'u' | 'U' => {
                let c = char::from_u32(digits(&mut chars, if c == 'u' { 4 } else { 8 }, 16)?)?;
                out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
                continue;
            }
            _ => return None,
        };
        out.push(byte);
    }
    Some(String::from_utf8_lossy(&out).into_owned())
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Option<u32> {
    (0..count)
        .try_fold(0u32, |value, _| value.checked_mul(radix)?.checked_add(chars.next()?.to_digit(radix)?))
}
