//! SQL text to a tree with positions, and back to text (`sql.md` chapters 1, 2 and 5).
//!
//! Nothing here knows which streams, functions or columns exist. Error texts are upstream's where it has one. A
//! diagnostic with [`ErrorCode::SqlParse`] is the cause that rules report behind `Parse SQL <sql> error: `
//! ([`parse_error`] does that); every other code marks a text that is complete as it is.

mod advice;
mod ddl;
mod grammar;
mod lex;
mod lower;
mod operand;
mod query;
mod recover;
mod window;

pub mod ast;
pub mod print;

use thalweg_core::{Diagnostic, ErrorCode, diagnostic};

pub use ast::{Query, Select, Statement};

use grammar::{Grammar, Parsed, syntax};
use lex::Kind;

/// Parses one statement. Text after `;` is ignored (L-17, D-9).
///
/// # Errors
/// The mistakes found, each with its place in `text`.
pub fn parse(text: &str) -> Result<Statement, Vec<Diagnostic>> {
    read(text, statement)
}

/// Reads a text that has no mistakes.
fn read<T>(text: &str, part: impl FnOnce(&Grammar) -> Parsed<T>) -> Result<T, Vec<Diagnostic>> {
    match recover(text, part) {
        (Some(part), mistakes) if mistakes.is_empty() => Ok(part),
        (_, mistakes) => Err(mistakes),
    }
}

/// Reads a text as far as it goes. What a production could go on after is told together with what ended it.
fn recover<T>(text: &str, part: impl FnOnce(&Grammar) -> Parsed<T>) -> (Option<T>, Vec<Diagnostic>) {
    let grammar = Grammar::new(text);
    let part = grammar.check_length().and_then(|()| part(&grammar)).map_err(|mistake| grammar.note(mistake));
    (part.ok(), grammar.noted())
}

fn statement(grammar: &Grammar) -> Parsed<Statement> {
    let mut p = grammar.cursor();
    if starts_query(grammar) {
        return grammar.whole_query(&mut p).map(|query| Statement::Query(Box::new(query)));
    }
    match grammar.definition(&mut p)? {
        Some(statement) => Ok(statement),
        None => {
            let lexeme = grammar.at(&p);
            let known = ["SELECT", "CREATE", "SHOW", "DESCRIBE", "EXPLAIN", "DROP"];
            let message = format!("found {}, expected a statement.", lexeme.shown());
            let diagnostic = syntax(message).at(lexeme.span);
            Err(match thalweg_core::diagnostic::nearest(&lexeme.found, known) {
                Some(word) => diagnostic.help(format!("did you mean {word}?")),
                None => {
                    diagnostic.help("a statement begins with SELECT, CREATE, SHOW, DESCRIBE, EXPLAIN or DROP")
                }
            })
        }
    }
}

/// WITH begins a query; as a keyword it exists only here.
fn starts_query(grammar: &Grammar) -> bool {
    let first = grammar.at(&grammar.cursor());
    first.is_keyword("SELECT") || first.is_word("WITH")
}

/// Parses the query of a rule.
///
/// # Errors
/// The mistakes found. A statement that is no query has upstream's whole text and [`ErrorCode::Undefined`].
pub fn parse_query(text: &str) -> Result<Query, Vec<Diagnostic>> {
    read(text, |grammar| {
        if starts_query(grammar) {
            return grammar.whole_query(&mut grammar.cursor());
        }
        let span = grammar.at(&grammar.cursor()).span;
        let message = format!("SQL {} is not a select statement.", shortened(text));
        Err(Diagnostic::new(ErrorCode::Undefined, message).at(span))
    })
}

/// What could be read of a query, in spite of its mistakes. What was lost is marked in the tree: `Broken` expressions
/// and sources, and `has_gaps`. So the rest can be bound without telling what only follows from a mistake.
pub fn recover_query(text: &str) -> (Option<Query>, Vec<Diagnostic>) {
    recover(text, |grammar| match starts_query(grammar) {
        true => grammar.whole_query(&mut grammar.cursor()),
        false => statement(grammar).and_then(|_| Err(syntax("no query"))),
    })
}

/// Parses an expression that is the whole text, as the nodes of graph rules hold them.
///
/// # Errors
/// The mistakes found.
pub fn parse_expr(text: &str) -> Result<ast::Expr, Vec<Diagnostic>> {
    read(text, |grammar| {
        let mut p = grammar.cursor();
        let expr = grammar.expr(&mut p)?;
        if grammar.at(&p).kind == Kind::End { Ok(expr) } else { Err(grammar.found(&p, "EOF")) }
    })
}

/// What a client reads about a query that does not parse (Z-4): upstream's text, then place and advice; further
/// mistakes on lines of their own.
pub fn parse_error(text: &str, mistakes: &[Diagnostic]) -> String {
    let mut mistakes = mistakes.to_vec();
    let mut report = String::new();
    if let Some(first) = mistakes.first_mut().filter(|first| first.code == ErrorCode::SqlParse) {
        report = format!("Parse SQL {} error: ", shortened(text));
        first.message = format!("{}.", first.message.trim_end());
    }
    report + &diagnostic::report(text, &mistakes)
}

/// The text, or the beginning of one that nobody would read in an error.
fn shortened(text: &str) -> std::borrow::Cow<'_, str> {
    match text.char_indices().nth(2_000) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
