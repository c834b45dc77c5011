//! The language as a dialect of `sqlparser`: cursor, operators and their precedence.
//!
//! `sqlparser` climbs the precedences, keeps the position and limits the depth; the dialect hooks below tell it what
//! an operand is (`operand.rs`), which operators exist and how tightly they bind (G-1). Its trees hold operators
//! over numbered operands, and `lower.rs` turns them into ours; no type of the library leaves this crate. Clauses are
//! read by plain descent on the same cursor (`query.rs`, `window.rs`, `ddl.rs`), because upstream's clause order,
//! source names and error texts are its own.

use std::cell::{Cell, RefCell};

use sqlparser::ast::{self as sql, ValueWithSpan};
use sqlparser::dialect::Dialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span as SqlSpan, TokenWithSpan};
use thalweg_core::{BinaryOp, Diagnostic, ErrorCode, Span, UnaryOp};

use crate::ast::{Expr, ExprKind, Name};
use crate::lex::{Kind, Lexeme, MAX_LEXEMES, lex};

/// What a production returns: the first mistake ends the parse.
pub(crate) type Parsed<T> = Result<T, Diagnostic>;

/// Nested parentheses and calls. Deep enough for people, shallow enough for half of a 2 MiB stack.
const MAX_DEPTH: usize = 50;
/// Nested sub-queries.
const MAX_QUERIES: usize = 20;
/// The height of an expression's tree. A chain of operators is a deep tree without being nested.
const MAX_HEIGHT: usize = 1_000;
/// Binds tighter than every binary operator.
pub(crate) const PREFIX_LEVEL: u8 = 60;
const NOT_LEVEL: u8 = 25;
const COMPARE_LEVEL: u8 = 30;

/// A text in parsing. The cells exist because the hooks of a dialect are called with `&self`.
#[derive(Debug)]
pub(crate) struct Grammar {
    /// The text.
    pub(crate) text: String,
    lexemes: Vec<Lexeme>,
    end: Lexeme,
    /// Operands that `sqlparser`'s tree names by index.
    pub(crate) operands: RefCell<Vec<Option<Expr>>>,
    /// Why a hook failed; `ParserError` carries nothing but text.
    failure: RefCell<Option<Diagnostic>>,
    /// Operators so far on the expression's own level.
    chain: Cell<usize>,
    /// The highest tree among the parts of the expression.
    height: Cell<usize>,
    /// Sub-queries around the current position.
    depth: Cell<usize>,
    /// The ranges of lexemes that broken parts took with them.
    pub(crate) skipped: RefCell<Vec<std::ops::Range<usize>>>,
    /// What was wrong so far (`recover.rs`).
    pub(crate) mistakes: RefCell<Vec<Diagnostic>>,
}

impl Grammar {
    pub(crate) fn new(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            lexemes: lex(text),
            end: Lexeme::end(text.find('\0').unwrap_or(text.len())),
            operands: RefCell::default(),
            failure: RefCell::default(),
            chain: Cell::default(),
            height: Cell::default(),
            depth: Cell::default(),
            skipped: RefCell::default(),
            mistakes: RefCell::default(),
        }
    }

    /// All lexemes.
    pub(crate) fn lexemes(&self) -> &[Lexeme] {
        &self.lexemes
    }

    /// Whether the cursor is inside the parentheses of a sub-query.
    pub(crate) fn is_nested(&self) -> bool {
        self.depth.get() > 0
    }

    /// A statement that is too long to be looked at.
    pub(crate) fn check_length(&self) -> Parsed<()> {
        let Some(first) = self.lexemes.get(MAX_LEXEMES) else { return Ok(()) };
        let help =
            format!("at most {MAX_LEXEMES} words and marks; rows of values belong into a table to join");
        Err(syntax("the statement is too long").at(first.span).help(help))
    }

    /// A cursor over the text. One token of `sqlparser` per lexeme, so that indices agree.
    pub(crate) fn cursor(&self) -> Parser<'_> {
        let token = |lexeme: &Lexeme| {
            let place = |offset: u32| Location { line: 1, column: u64::from(offset) + 1 };
            let span = SqlSpan::new(place(lexeme.span.start), place(lexeme.span.end));
            TokenWithSpan::new(lexeme.token.clone(), span)
        };
        let tokens = self.lexemes.iter().map(token).collect();
        Parser::new(self).with_recursion_limit(MAX_DEPTH).with_tokens_with_locations(tokens)
    }

    /// The lexeme at the cursor.
    pub(crate) fn at(&self, p: &Parser<'_>) -> &Lexeme {
        self.ahead(p, 0)
    }

    /// The lexeme `n` places ahead.
    pub(crate) fn ahead(&self, p: &Parser<'_>, n: usize) -> &Lexeme {
        self.lexemes.get(p.index() + n).unwrap_or(&self.end)
    }

    /// The lexeme before the cursor.
    pub(crate) fn behind(&self, p: &Parser<'_>) -> Option<&Lexeme> {
        p.index().checked_sub(1).and_then(|index| self.lexemes.get(index))
    }

    /// The lexeme at the cursor, which moves on.
    pub(crate) fn take(&self, p: &mut Parser<'_>) -> &Lexeme {
        let lexeme = self.lexemes.get(p.index()).unwrap_or(&self.end);
        p.advance_token();
        lexeme
    }

    /// From `start` to the end of the lexeme before the cursor.
    pub(crate) fn span_from(&self, start: Span, p: &Parser<'_>) -> Span {
        Span {
            start: start.start,
            end: self.behind(p).map_or(start.end, |last| last.span.end.max(start.end)),
        }
    }

    /// Moves over this keyword, if it is there.
    pub(crate) fn accept_keyword(&self, p: &mut Parser<'_>, word: &str) -> bool {
        let is_there = self.at(p).is_keyword(word);
        if is_there {
            p.advance_token();
        }
        is_there
    }

    /// Moves over this unreserved word, if it is there.
    pub(crate) fn accept_word(&self, p: &mut Parser<'_>, word: &str) -> bool {
        let is_there = self.at(p).is_word(word);
        if is_there {
            p.advance_token();
        }
        is_there
    }

    /// Moves over this symbol, if it is there.
    pub(crate) fn accept(&self, p: &mut Parser<'_>, symbol: &str) -> bool {
        let is_there = self.at(p).is_symbol(symbol);
        if is_there {
            p.advance_token();
        }
        is_there
    }

    /// Moves over this symbol or fails with `found "…", expected <what>.`
    pub(crate) fn expect(&self, p: &mut Parser<'_>, symbol: &str, what: &str) -> Parsed<()> {
        if self.accept(p, symbol) { Ok(()) } else { Err(self.found(p, what)) }
    }

    /// A name, or `found "…", expected <what>.`
    pub(crate) fn name(&self, p: &mut Parser<'_>, what: &str) -> Parsed<Name> {
        if !self.at(p).is_name() {
            return Err(self.found(p, what));
        }
        let lexeme = self.take(p);
        Ok(Name { text: lexeme.found.as_str().into(), span: lexeme.span })
    }

    /// An expression.
    pub(crate) fn expr(&self, p: &mut Parser<'_>) -> Parsed<Expr> {
        self.subexpr(p, 0)
    }

    /// One operand with its postfix forms, without binary operators (G-2).
    pub(crate) fn operand(&self, p: &mut Parser<'_>) -> Parsed<Expr> {
        self.subexpr(p, PREFIX_LEVEL)
    }

    /// Operators that bind tighter than `level`.
    pub(crate) fn subexpr(&self, p: &mut Parser<'_>, level: u8) -> Parsed<Expr> {
        let (chain, height) = (self.chain.replace(0), self.height.replace(0));
        let first = self.at(p).span;
        let tree = p.parse_subexpr(level);
        let own_height = self.chain.replace(chain) + self.height.get() + 1;
        self.height.set(height.max(own_height));
        match tree {
            Ok(tree) => self.lower(tree).map_err(|why| if why.span.is_none() { why.at(first) } else { why }),
            Err(ParserError::RecursionLimitExceeded) => Err(self.too_deep(p)),
            Err(_) => Err(self.failure.borrow_mut().take().unwrap_or_else(|| self.found(p, "expression"))),
        }
    }

    fn too_deep(&self, p: &Parser<'_>) -> Diagnostic {
        syntax("the statement is nested too deeply").at(self.at(p).span).help(format!(
            "at most {MAX_DEPTH} levels of parentheses and calls, {MAX_QUERIES} of sub-queries"
        ))
    }

    /// Runs a production one level deeper.
    pub(crate) fn nested<T>(
        &self,
        p: &mut Parser<'_>,
        part: impl FnOnce(&mut Parser<'_>) -> Parsed<T>,
    ) -> Parsed<T> {
        if self.depth.get() >= MAX_QUERIES {
            return Err(self.too_deep(p));
        }
        self.depth.set(self.depth.get() + 1);
        let result = part(p);
        self.depth.set(self.depth.get() - 1);
        result
    }

    /// What a hook found, as `sqlparser` wants it: a finished part is an operand named by number.
    fn hand_over(&self, part: Parsed<Expr>) -> Result<sql::Expr, ParserError> {
        match part {
            Ok(part) => {
                let mut operands = self.operands.borrow_mut();
                operands.push(Some(part));
                let value = sql::Value::Placeholder((operands.len() - 1).to_string());
                Ok(sql::Expr::Value(ValueWithSpan { value, span: SqlSpan::empty() }))
            }
            Err(diagnostic) => {
                *self.failure.borrow_mut() = Some(diagnostic);
                Err(ParserError::ParserError(String::new()))
            }
        }
    }

    /// The part behind a number of [`Grammar::hand_over`]. Each is taken once.
    pub(crate) fn part(&self, number: &str) -> Option<Expr> {
        let index: usize = number.parse().ok()?;
        self.operands.borrow_mut().get_mut(index)?.take()
    }

    /// `-x`, `+x`, `NOT x` (L-14, L-16) or an operand.
    fn prefix(&self, p: &mut Parser<'_>) -> Parsed<Expr> {
        let (op, level) = match self.at(p) {
            lexeme if lexeme.is_keyword("NOT") => (Some(UnaryOp::Not), NOT_LEVEL),
            lexeme if lexeme.is_symbol("-") => (Some(UnaryOp::Minus), PREFIX_LEVEL),
            lexeme if lexeme.is_symbol("+") => (None, PREFIX_LEVEL),
            _ => return self.postfixed_operand(p),
        };
        let start = self.take(p).span;
        if op == Some(UnaryOp::Minus) && matches!(self.at(p).kind, Kind::Int | Kind::Number) {
            return self.number(p, start, "-");
        }
        let value = self.subexpr(p, level)?;
        let Some(op) = op else { return Ok(value) };
        let span = start.to(value.span);
        Ok(Expr::new(ExprKind::Unary(op, Box::new(value)), span))
    }

    /// `IN`, `BETWEEN`, `LIKE`, their negations, and `IS NULL`.
    fn word_operator(&self, p: &mut Parser<'_>, left: Expr) -> Parsed<Expr> {
        let start = left.span;
        let value = Box::new(left);
        let is_test = self.accept_word(p, "IS");
        let negated = self.accept_keyword(p, "NOT");
        let lexeme = self.at(p);
        let kind = match lexeme.found.as_str() {
            _ if is_test => {
                p.advance_token();
                ExprKind::IsNull { negated, value }
            }
            "IN" => self.in_set(p, value, negated)?,
            "BETWEEN" => self.between(p, value, negated)?,
            "LIKE" => {
                p.advance_token();
                let pattern = Box::new(self.subexpr(p, COMPARE_LEVEL)?);
                ExprKind::Binary(if negated { BinaryOp::NotLike } else { BinaryOp::Like }, value, pattern)
            }
            _ => {
                let mistake = self.mistake(lexeme, format!("found {}, expected expression", lexeme.shown()));
                return Err(mistake.help("NOT stands before IN, BETWEEN and LIKE; different from is !="));
            }
        };
        Ok(Expr::new(kind, self.span_from(start, p)))
    }

    fn between(&self, p: &mut Parser<'_>, value: Box<Expr>, negated: bool) -> Parsed<ExprKind> {
        p.advance_token();
        let low = Box::new(self.operand(p)?);
        if !self.accept_keyword(p, "AND") {
            let message = format!("expect AND expression after between but found {}", self.at(p).found);
            let help = match self.level(p) > COMPARE_LEVEL {
                true => "put a bound that is more than one value in parentheses",
                false => "write BETWEEN low AND high",
            };
            return Err(syntax(message).at(self.at(p).span).help(help));
        }
        let high = Box::new(self.operand(p)?);
        Ok(ExprKind::Between { negated, value, low, high })
    }

    fn in_set(&self, p: &mut Parser<'_>, value: Box<Expr>, negated: bool) -> Parsed<ExprKind> {
        p.advance_token();
        let (open, open_is_not) = (self.at(p).span, self.at(p).is_keyword("NOT"));
        if !self.accept(p, "(") {
            if open_is_not {
                // What NOT makes is no array, and in parentheses it would be a list.
                let message = "expect expression after IN, but got NOT";
                return Err(syntax(message).at(open).help("write x IN (a, b), or NOT x IN (a, b)"));
            }
            let array =
                self.operand(p).map_err(|it| within("expect expression after IN, but got error", it))?;
            return Ok(ExprKind::InArray { negated, value, array: Box::new(array) });
        }
        let mut list = Vec::new();
        loop {
            list.push(self.expr(p).map_err(|it| within("expect elements for IN expression, but", it))?);
            if !self.accept(p, ",") {
                break;
            }
        }
        if !self.accept(p, ")") {
            let message = format!("expect ) for IN expression, but got {}", self.at(p).shown());
            return Err(self.unclosed(p, open, self.mistake(self.at(p), message)));
        }
        Ok(ExprKind::InList { negated, value, list })
    }

    /// Adds an operator to the expression's chain, unless its tree is then too high.
    pub(crate) fn count_operator(&self, p: &Parser<'_>) -> Parsed<()> {
        self.chain.set(self.chain.get() + 1);
        if self.chain.get() + self.height.get() <= MAX_HEIGHT {
            return Ok(());
        }
        let help = format!("at most {MAX_HEIGHT} operators in a row; a list of values fits into IN (…)");
        Err(syntax("the expression is too long").at(self.at(p).span).help(help))
    }

    /// How tightly the operator at the cursor binds (G-1); 0: no operator.
    fn level(&self, p: &Parser<'_>) -> u8 {
        let lexeme = self.at(p);
        match (lexeme.kind, lexeme.found.as_str()) {
            (Kind::Keyword, "OR") => 10,
            (Kind::Keyword, "AND") => 20,
            (Kind::Keyword, "IN" | "BETWEEN" | "LIKE" | "NOT") => COMPARE_LEVEL,
            (Kind::Symbol, "=" | "!=" | "<" | "<=" | ">" | ">=") => COMPARE_LEVEL,
            (Kind::Word, _) if self.is_null_test(p) => COMPARE_LEVEL,
            (Kind::Symbol, "+" | "-" | "|" | "^" | "||") => 40,
            (Kind::Symbol, "*" | "/" | "%" | "&") => 50,
            _ => 0,
        }
    }

    /// `IS` is a keyword only before NULL and NOT NULL (L-9, L-16).
    fn is_null_test(&self, p: &Parser<'_>) -> bool {
        let after = usize::from(self.ahead(p, 1).is_keyword("NOT"));
        self.at(p).is_word("IS") && self.ahead(p, 1 + after).is_word("NULL")
    }
}

impl Dialect for Grammar {
    fn is_identifier_start(&self, _: char) -> bool {
        false
    }

    fn is_identifier_part(&self, _: char) -> bool {
        false
    }

    fn parse_prefix(&self, p: &mut Parser<'_>) -> Option<Result<sql::Expr, ParserError>> {
        let part = self.prefix(p);
        Some(self.hand_over(part))
    }

    fn parse_infix(
        &self,
        p: &mut Parser<'_>,
        left: &sql::Expr,
        _: u8,
    ) -> Option<Result<sql::Expr, ParserError>> {
        if let Err(diagnostic) = self.count_operator(p) {
            return Some(self.hand_over(Err(diagnostic)));
        }
        let lexeme = self.at(p);
        let is_word = matches!(lexeme.kind, Kind::Keyword | Kind::Word)
            && !lexeme.is_keyword("AND")
            && !lexeme.is_keyword("OR");
        is_word.then(|| {
            let part = self.lower(left.clone()).and_then(|left| self.word_operator(p, left));
            self.hand_over(part)
        })
    }

    fn get_next_precedence(&self, p: &Parser<'_>) -> Option<Result<u8, ParserError>> {
        Some(Ok(self.level(p)))
    }
}

/// A syntax error, which rules report behind `Parse SQL <sql> error: ` (Z-4).
pub(crate) fn syntax(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(ErrorCode::SqlParse, message)
}

/// The same mistake with the words of the production around it before it.
fn within(before: &str, inner: Diagnostic) -> Diagnostic {
    Diagnostic { message: format!("{before} {}", inner.message), ..inner }
}
