//! Text to tokens, by the lexical rules of `sql.md` chapter 1.
//!
//! Every [`Lexeme`] pairs the token that `sqlparser` sees with what upstream's error texts show for it. Nothing fails
//! here: a piece of text that is no token becomes [`Kind::Bad`], and the parser complains when it gets there.

use sqlparser::tokenizer::Token;
use thalweg_core::Span;

/// Words that are names only in backticks (L-9). The time units are not among them (L-10).
pub(crate) const RESERVED: &[&str] = &[
    "SELECT",
    "AS",
    "FROM",
    "WHERE",
    "AND",
    "OR",
    "GROUP",
    "HAVING",
    "ORDER",
    "BY",
    "DESC",
    "ASC",
    "FILTER",
    "INNER",
    "LEFT",
    "RIGHT",
    "FULL",
    "CROSS",
    "JOIN",
    "ON",
    "CASE",
    "WHEN",
    "THEN",
    "DEFAULT",
    "ELSE",
    "END",
    "IN",
    "NOT",
    "BETWEEN",
    "LIKE",
    "OVER",
    "PARTITION",
    "REPLACE",
    "EXCEPT",
    "INVISIBLE",
    "TRUE",
    "FALSE",
    "LIMIT",
];

/// What a lexeme is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A name without backticks that is not reserved.
    Word,
    /// A name in backticks.
    Quoted,
    /// A reserved word; `found` holds it in upper case.
    Keyword,
    /// A whole number.
    Int,
    /// A number with one dot.
    Number,
    /// A number with several dots (L-13).
    BadNumber,
    /// Text; `found` holds what it means.
    Text,
    /// An operator or a punctuation mark.
    Symbol,
    /// No token of the language.
    Bad,
    /// A text or a comment that does not end.
    Unclosed,
    /// The end of the text.
    End,
}

/// One token of the text.
#[derive(Debug, Clone)]
pub(crate) struct Lexeme {
    pub(crate) kind: Kind,
    /// For `sqlparser`.
    pub(crate) token: Token,
    /// Its meaning, and what upstream's errors show between quotes.
    pub(crate) found: String,
    pub(crate) span: Span,
}

impl Lexeme {
    fn new(kind: Kind, token: Token, found: impl Into<String>, span: Span) -> Self {
        Self { kind, token, found: found.into(), span }
    }

    /// The end of a text of this length.
    pub(crate) fn end(at: usize) -> Self {
        Self::new(Kind::End, Token::EOF, "EOF", Span::new(at, at))
    }

    /// Whether it is this reserved word.
    pub(crate) fn is_keyword(&self, word: &str) -> bool {
        self.kind == Kind::Keyword && self.found == word
    }

    /// Whether it is this word, which is not reserved.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.found.eq_ignore_ascii_case(word)
    }

    /// Whether it is this operator or mark.
    pub(crate) fn is_symbol(&self, symbol: &str) -> bool {
        self.kind == Kind::Symbol && self.found == symbol
    }

    /// What upstream's errors show for it, between quotes; shortened if it is very long.
    pub(crate) fn shown(&self) -> String {
        match self.found.char_indices().nth(200) {
            Some((end, _)) => quote(&format!("{}…", &self.found[..end])),
            None => quote(&self.found),
        }
    }

    /// Whether it can be a name.
    pub(crate) fn is_name(&self) -> bool {
        matches!(self.kind, Kind::Word | Kind::Quoted)
    }
}

/// Words and marks of a statement that are read. Who sends more has no statement in mind, and each takes memory.
pub(crate) const MAX_LEXEMES: usize = 250_000;

/// The tokens of a text, without blanks and comments. U+0000 ends the text (L-1). Of a text that is too long no more
/// than one token above [`MAX_LEXEMES`].
pub(crate) fn lex(text: &str) -> Vec<Lexeme> {
    let text = text.split('\0').next().unwrap_or_default();
    let mut lexer = Lexer { text, at: 0 };
    let mut lexemes = Vec::new();
    while lexemes.len() <= MAX_LEXEMES
        && let Some(lexeme) = lexer.next()
    {
        lexemes.push(lexeme);
    }
    lexemes
}

struct Lexer<'a> {
    text: &'a str,
    /// Always on a character boundary.
    at: usize,
}

impl Lexer<'_> {
    fn next(&mut self) -> Option<Lexeme> {
        loop {
            let rest = &self.text[self.at..];
            let first = rest.chars().next()?;
            match first {
                ' ' | '\t' | '\r' | '\n' => self.at += 1,
                '-' if rest.starts_with("--") => self.at += rest.find('\n').unwrap_or(rest.len()),
                '/' if rest.starts_with("/*") => match rest[2..].find("*/") {
                    Some(length) => self.at += length + 4,
                    None => return Some(self.take(rest.len(), Kind::Unclosed, Token::Char('\0'), "")),
                },
                _ => return Some(self.token(first)),
            }
        }
    }

    fn token(&mut self, first: char) -> Lexeme {
        match first {
            'a'..='z' | 'A'..='Z' => self.word(),
            '`' => self.quoted_name(),
            '"' | '\'' => self.string(first),
            '0'..='9' => self.number(),
            '.' if self.char_at(1).is_some_and(|next| next.is_ascii_digit()) => self.number(),
            _ => self.symbol(first),
        }
    }

    fn char_at(&self, offset: usize) -> Option<char> {
        self.text[self.at + offset..].chars().next()
    }

    fn take(&mut self, length: usize, kind: Kind, token: Token, found: impl Into<String>) -> Lexeme {
        let span = Span::new(self.at, self.at + length);
        self.at += length;
        Lexeme::new(kind, token, found, span)
    }

    /// The length of the longest prefix whose characters all hold.
    fn run(&self, holds: impl Fn(char) -> bool) -> usize {
        let rest = &self.text[self.at..];
        rest.find(|c| !holds(c)).unwrap_or(rest.len())
    }

    fn word(&mut self) -> Lexeme {
        let length = self.run(|c| c.is_ascii_alphanumeric() || c == '_');
        let word = &self.text[self.at..self.at + length];
        let upper = word.to_ascii_uppercase();
        if !RESERVED.contains(&upper.as_str()) {
            return self.take(length, Kind::Word, Token::make_word(word, Some('`')), word);
        }
        let token = Token::make_word(&upper, None);
        self.take(length, Kind::Keyword, token, upper)
    }

    /// L-7: no escape; an unterminated one runs to the end.
    fn quoted_name(&mut self) -> Lexeme {
        let rest = &self.text[self.at + 1..];
        let (name, length) = match rest.find('`') {
            Some(end) => (&rest[..end], end + 2),
            None => (rest, rest.len() + 1),
        };
        self.take(length, Kind::Quoted, Token::make_word(name, Some('`')), name)
    }

    fn number(&mut self) -> Lexeme {
        let length = self.run(|c| c.is_ascii_digit() || c == '.');
        let digits = &self.text[self.at..self.at + length];
        let kind = match digits.matches('.').count() {
            0 => Kind::Int,
            1 => Kind::Number,
            _ => Kind::BadNumber,
        };
        self.take(length, kind, Token::Number(digits.to_owned(), false), digits)
    }

    fn string(&mut self, quote: char) -> Lexeme {
        let rest = &self.text[self.at + 1..];
        let mut is_escaped = false;
        let end = rest.find(|c| {
            let ends = c == quote && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let bad = Token::Char('\0');
        let Some(end) = end else {
            return self.take(rest.len() + 1, Kind::Unclosed, bad, format!("\"{rest}"));
        };
        let raw = &rest[..end];
        match unescape(raw, quote) {
            Some(text) => self.take(end + 2, Kind::Text, Token::SingleQuotedString(text.clone()), text),
            None => self.take(end + 2, Kind::Bad, bad, format!("invalid string: \"{raw}\"")),
        }
    }

    /// L-4: blanks may stand inside `< =`, `> =`, `! =` and `- >`.
    fn symbol(&mut self, first: char) -> Lexeme {
        let rest = &self.text[self.at + first.len_utf8()..];
        let blanks = rest.find(|c| !matches!(c, ' ' | '\t' | '\r' | '\n')).unwrap_or(rest.len());
        let second = rest[blanks..].chars().next();
        let pair = match (first, second) {
            ('<', Some('=')) => Some((Token::LtEq, "<=")),
            ('<', Some('>')) | ('!', Some('=')) => Some((Token::Neq, "!=")),
            ('>', Some('=')) => Some((Token::GtEq, ">=")),
            ('-', Some('>')) => Some((Token::Arrow, "->")),
            ('|', Some('|')) if blanks == 0 => Some((Token::StringConcat, "||")),
            _ => None,
        };
        if let Some((token, found)) = pair {
            return self.take(blanks + 2, Kind::Symbol, token, found);
        }
        match single(first) {
            Some(token) => self.take(1, Kind::Symbol, token, first),
            None => self.illegal(first),
        }
    }

    /// A run of characters that start no token is one bad token; upstream shows it as empty text.
    fn illegal(&mut self, first: char) -> Lexeme {
        let length = match first {
            '!' => 1,
            _ => self.run(|c| c == '_' || c.is_alphanumeric()).max(first.len_utf8()),
        };
        let found = if first == '!' { "!" } else { "" };
        self.take(length, Kind::Bad, Token::Char('\0'), found)
    }
}

fn single(first: char) -> Option<Token> {
    Some(match first {
        '=' => Token::Eq,
        '<' => Token::Lt,
        '>' => Token::Gt,
        '+' => Token::Plus,
        '-' => Token::Minus,
        '*' => Token::Mul,
        '/' => Token::Div,
        '%' => Token::Mod,
        '&' => Token::Ampersand,
        '|' => Token::Pipe,
        '^' => Token::Caret,
        '(' => Token::LParen,
        ')' => Token::RParen,
        '[' => Token::LBracket,
        ']' => Token::RBracket,
        ',' => Token::Comma,
        '.' => Token::Period,
        ':' => Token::Colon,
        ';' => Token::SemiColon,
        '#' => Token::Sharp,
        _ => return None,
    })
}

/// The meaning of what stands between quotes (L-11), or `None` if an escape is unknown or a line ends.
fn unescape(raw: &str, quote: char) -> Option<String> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' => return None,
            '\\' => escape(&mut chars, quote, &mut bytes)?,
            _ => push(c, &mut bytes),
        }
    }
    Some(String::from_utf8(bytes).unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned()))
}

fn push(c: char, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn escape(chars: &mut std::str::Chars<'_>, quote: char, bytes: &mut Vec<u8>) -> Option<()> {
    let c = chars.next()?;
    let simple = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '"' => c as u8,
        '\'' if quote == '\'' => b'\'',
        'x' => u8::try_from(digits(chars, 2, 16)?).ok()?,
        'u' => return char::from_u32(digits(chars, 4, 16)?).map(|c| push(c, bytes)),
        'U' => return char::from_u32(digits(chars, 8, 16)?).map(|c| push(c, bytes)),
        '0'..='7' => u8::try_from((c as u32 - 48) * 64 + digits(chars, 2, 8)?).ok()?,
        _ => return None,
    };
    bytes.push(simple);
    Some(())
}

fn digits(chars: &mut std::str::Chars<'_>, count: usize, radix: u32) -> Option<u32> {
    (0..count).try_fold(0u32, |value, _| {
        let digit = chars.next()?.to_digit(radix)?;
        value.checked_mul(radix)?.checked_add(digit)
    })
}

/// Text between double quotes as Go's `%q` prints it, which upstream's errors use.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let shown: Vec<String> = lex(text).iter().map(|l| format!("{:?}:{}", l.kind, l.found)).collect();
        assert_eq!(shown.join(" "), expected, "{text}");
    }

    #[test]
    fn l_3_comments_end_at_the_line_or_at_star_slash() {
        check("a -- b\nc /* d\n -- */ e", "Word:a Word:c Word:e");
        check("a /* never", "Word:a Unclosed:");
    }

    #[test]
    fn l_4_blanks_may_stand_inside_two_character_operators_but_not_start_a_comment() {
        check("a < = b ! = c - > d", "Word:a Symbol:<= Word:b Symbol:!= Word:c Symbol:-> Word:d");
        check("5 - -3", "Int:5 Symbol:- Symbol:- Int:3");
    }

    #[test]
    fn l_5_a_lone_exclamation_mark_is_no_operator() {
        check("a ! b", "Word:a Bad:! Word:b");
    }

    #[test]
    fn l_6_and_l_7_names_are_ascii_or_in_backticks() {
        check("a_1 _a 温度 `温 度` `open", "Word:a_1 Bad: Bad: Quoted:温 度 Quoted:open");
    }

    #[test]
    fn l_9_and_l_10_reserved_words_are_upper_case_and_units_are_names() {
        check("select ss Null", "Keyword:SELECT Word:ss Word:Null");
    }

    #[test]
    fn l_11_strings_know_gos_escapes() {
        check(r#"'it\'s \"q\" \x41\u00e9\101'"#, "Text:it's \"q\" AéA");
        check(r#""it\'s""#, r#"Bad:invalid string: "it\'s""#);
        check("'a\nb'", "Bad:invalid string: \"a\nb\"");
        check("'a", "Unclosed:\"a");
        check(r"'\xff' '\400'", "Text:\u{fffd} Bad:invalid string: \"\\400\"");
    }

    #[test]
    fn l_13_a_number_has_at_most_one_dot() {
        check("1 1.5 .5 5. 1.2.3", "Int:1 Number:1.5 Number:.5 Number:5. BadNumber:1.2.3");
    }

    #[test]
    fn l_16_beyond_upstream_not_equal_and_concatenation() {
        check("a <> b || c | d", "Word:a Symbol:!= Word:b Symbol:|| Word:c Symbol:| Word:d");
    }

    #[test]
    fn a_zero_character_ends_the_text() {
        check("a\0b", "Word:a");
    }
}
