//! Going on after a mistake, at the next comma or clause, so that one reading finds all mistakes.
//!
//! A mistake is noted and the cursor moves to where the list or the clause around it can go on. A tree with mistakes
//! never runs, it is only searched for more of them, so nothing here has to be right, only not misleading: brackets
//! opened by the broken part are skipped with it, a clause's keyword counts only where what follows fits, and what was
//! lost is marked as such (`ExprKind::Broken`, `FromSource::Broken`, `Select::has_gaps`). Operands read before the
//! mistake are kept in the mark.

use sqlparser::parser::Parser;
use thalweg_core::diagnostic::line_and_column;
use thalweg_core::{Diagnostic, Span};

use crate::ast::{Expr, ExprKind, Name, SelectField};
use crate::grammar::{Grammar, Parsed};
use crate::lex::{Kind, Lexeme};

/// Mistakes after which reading ends.
const MAX_MISTAKES: usize = 100;

/// The clauses behind FROM in the order in which they may stand (G-6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Clause {
    Join,
    Where,
    Group,
    Having,
    Order,
    Limit,
}

/// The words that begin clauses.
const CLAUSES: &[(&str, Clause)] = &[
    ("INNER", Clause::Join),
    ("LEFT", Clause::Join),
    ("RIGHT", Clause::Join),
    ("FULL", Clause::Join),
    ("CROSS", Clause::Join),
    ("JOIN", Clause::Join),
    ("WHERE", Clause::Where),
    ("GROUP", Clause::Group),
    ("HAVING", Clause::Having),
    ("ORDER", Clause::Order),
    ("LIMIT", Clause::Limit),
];

/// Where reading can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// At the next clause.
    Clause,
    /// At the next comma of the list, too.
    Comma,
    /// At the next comma or closing parenthesis of a list of CREATE, or before `name =`.
    Definition,
}

impl Grammar {
    /// Notes a mistake. What follows a text or a comment that is not closed is not worth telling.
    pub(crate) fn note(&self, mistake: Diagnostic) {
        let mut noted = self.mistakes.borrow_mut();
        let unclosed = self.lexemes().last().filter(|last| last.kind == Kind::Unclosed);
        let swallowed = |earlier: &Diagnostic| unclosed.is_some_and(|last| earlier.span == Some(last.span));
        if noted.len() < MAX_MISTAKES && !noted.iter().any(swallowed) {
            noted.push(mistake);
        }
    }

    /// The mistakes so far, in the order in which they are told.
    pub(crate) fn noted(&self) -> Vec<Diagnostic> {
        let mut mistakes = self.mistakes.take();
        thalweg_core::diagnostic::sort(&mut mistakes);
        mistakes
    }

    /// Whether there are so many mistakes that reading on is pointless.
    pub(crate) fn has_given_up(&self) -> bool {
        self.mistakes.borrow().len() >= MAX_MISTAKES
    }

    /// Whether a mistake has been noted at this lexeme.
    pub(crate) fn is_noted(&self, lexeme: &Lexeme) -> bool {
        let noted = self.mistakes.borrow();
        noted.iter().any(|mistake| mistake.span.is_some_and(|span| span.start == lexeme.span.start))
    }

    /// What a production gives; a mistake is noted, and the cursor moves to where reading can go on. The error is what
    /// stands for the broken part.
    pub(crate) fn recovered<T>(
        &self,
        p: &mut Parser<'_>,
        stop: Stop,
        part: impl FnOnce(&mut Parser<'_>) -> Parsed<T>,
    ) -> Result<T, Box<Expr>> {
        let (start, n_operands) = (p.index(), self.operands.borrow().len());
        part(p).map_err(|mistake| {
            self.note(mistake);
            let span = self.ahead(p, 0).span;
            self.skip(p, start, stop);
            let operands = self.operands.borrow_mut().split_off(n_operands);
            Box::new(Expr::new(ExprKind::Broken(operands.into_iter().flatten().collect()), span))
        })
    }

    /// The names that a broken part of a SELECT list may have defined: behind AS, or behind a value without one.
    pub(crate) fn lost_aliases(&self, start: usize, end: usize) -> Vec<SelectField> {
        let lexemes = self.lexemes();
        let ends_value = |lexeme: &Lexeme| {
            let is_bracket = lexeme.is_symbol(")") || lexeme.is_symbol("]");
            is_bracket
                || matches!(lexeme.kind, Kind::Word | Kind::Quoted | Kind::Int | Kind::Number | Kind::Text)
        };
        let defines = |index: &usize| {
            let before = index.checked_sub(1).and_then(|before| lexemes.get(before));
            let is_behind = before.is_some_and(|before| before.is_keyword("AS") || ends_value(before));
            is_behind && lexemes[*index].is_name()
        };
        let lost = |index: usize| {
            let (found, span) = (&lexemes[index].found, lexemes[index].span);
            let name = Name { text: found.as_str().into(), span };
            SelectField {
                expr: Expr::new(ExprKind::Broken(Vec::new()), span),
                alias: Some(name),
                invisible: false,
            }
        };
        (start..end.min(lexemes.len())).filter(defines).map(lost).collect()
    }

    /// Whether lexemes that were skipped hold what may have been a source.
    pub(crate) fn loses_source(&self, range: std::ops::Range<usize>) -> bool {
        let skipped = self.lexemes().get(range).unwrap_or_default();
        let is_quoted = |lexeme: &Lexeme| matches!(lexeme.kind, Kind::Unclosed | Kind::Bad);
        skipped
            .iter()
            .any(|lexeme| lexeme.is_keyword("JOIN") || lexeme.is_keyword("FROM") || is_quoted(lexeme))
    }

    /// Moves on to the next place where reading can go on. The broken part began at lexeme `start`.
    pub(crate) fn skip(&self, p: &mut Parser<'_>, start: usize, stop: Stop) {
        let (cursor, mut index) = (p.index(), start);
        // For each open bracket: whether a sub-query began behind it.
        let mut open: Vec<bool> = Vec::new();
        while let Some(lexeme) = self.lexemes().get(index) {
            if index >= cursor && self.stops(index, &open, stop) {
                break;
            }
            match lexeme.found.as_str() {
                "(" | "[" if lexeme.kind == Kind::Symbol => {
                    open.push(self.lexemes().get(index + 1).is_some_and(|next| next.is_keyword("SELECT")));
                }
                ")" | "]" if lexeme.kind == Kind::Symbol => {
                    open.pop();
                }
                _ => {}
            }
            index += 1;
        }
        if self.has_given_up() {
            index = self.lexemes().len();
        }
        while p.index() < index {
            p.advance_token();
        }
        self.skipped.borrow_mut().push(start..index);
    }

    fn stops(&self, index: usize, open: &[bool], stop: Stop) -> bool {
        let lexeme = &self.lexemes()[index];
        if stop == Stop::Definition {
            let next_is = |symbol| self.lexemes().get(index + 1).is_some_and(|next| next.is_symbol(symbol));
            let is_end = lexeme.is_symbol(";") || lexeme.is_word("WITH") && next_is("(");
            let is_item = lexeme.is_symbol(",") || lexeme.is_symbol(")");
            return is_end || open.is_empty() && (is_item || lexeme.is_name() && next_is("="));
        }
        if open.is_empty() {
            return self.is_nested() && lexeme.is_symbol(")")
                || lexeme.is_symbol(";")
                || stop == Stop::Comma && lexeme.is_symbol(",")
                || lexeme.is_word("UNION")
                || self.begins_clause(index)
                || self.is_misspelled_clause(index);
        }
        // Only sub-queries have these in parentheses, so a parenthesis was not closed before.
        let is_outer = ["FROM", "GROUP", "HAVING", "LIMIT"].iter().any(|word| lexeme.is_keyword(word));
        is_outer && !open.contains(&true) && self.begins_clause(index)
    }

    /// Whether a clause begins here, rather than a reserved word misused as a name.
    pub(crate) fn begins_clause(&self, index: usize) -> bool {
        let next = self.lexemes().get(index + 1);
        let next_is = |words: &[&str]| {
            next.is_some_and(|next| words.iter().any(|word| next.found.eq_ignore_ascii_case(word)))
        };
        let lexeme = &self.lexemes()[index];
        if lexeme.kind != Kind::Keyword {
            return false;
        }
        match lexeme.found.as_str() {
            "FROM" | "WHERE" | "HAVING" => {
                !next_is(&[",", ")", "AS", "FROM", "=", "<", ">", "+", "/", "%", ".", ";"])
            }
            "GROUP" | "ORDER" => next_is(&["BY"]),
            "LIMIT" => next.is_some_and(|next| next.kind == Kind::Int || next.is_symbol("-")),
            "INNER" | "LEFT" | "RIGHT" | "FULL" | "CROSS" => next_is(&["JOIN", "OUTER"]),
            "JOIN" => next.is_some_and(|next| next.is_name() || next.is_symbol("(")),
            _ => false,
        }
    }

    /// Whether what follows a word shows that a clause's keyword was meant.
    fn is_misspelled_clause(&self, index: usize) -> bool {
        let (lexeme, Some(next)) = (&self.lexemes()[index], self.lexemes().get(index + 1)) else {
            return false;
        };
        let meant: &[&str] = match next.kind {
            _ if lexeme.kind != Kind::Word => return false,
            Kind::Keyword if next.found == "BY" => &["GROUP", "ORDER"],
            Kind::Keyword if next.found == "JOIN" => &["INNER", "LEFT", "RIGHT", "FULL", "CROSS"],
            Kind::Int => &["LIMIT"],
            _ => return false,
        };
        thalweg_core::diagnostic::nearest(&lexeme.found, meant.iter().copied()).is_some()
    }

    /// The clause that begins at the cursor.
    pub(crate) fn clause_at(&self, p: &Parser<'_>) -> Option<Clause> {
        let lexeme = self.at(p);
        CLAUSES.iter().find(|(word, _)| lexeme.is_keyword(word)).map(|(_, clause)| *clause)
    }

    /// The clause that is meant by a misspelled word at the cursor.
    pub(crate) fn clause_meant(&self, p: &Parser<'_>) -> Option<(&'static str, Clause)> {
        let lexeme = self.at(p);
        if lexeme.kind != Kind::Word {
            return None;
        }
        let words = CLAUSES.iter().map(|(word, _)| *word);
        let meant = thalweg_core::diagnostic::nearest(&lexeme.found, words)?;
        let is_one = meant.len() >= 4 && lexeme.found.len() >= 4;
        CLAUSES.iter().find(|(word, _)| is_one && *word == meant).map(|(word, clause)| (*word, *clause))
    }

    /// An expression behind which something does not fit: its last word may have been meant otherwise
    /// (`DATE '2020-01-01'`), the rest is sound.
    pub(crate) fn doubtful(expr: Expr) -> Expr {
        let span = expr.span;
        let (mut sound, mut last) = (Vec::new(), expr);
        loop {
            match last.kind {
                ExprKind::Binary(_, left, right) if !last.is_parenthesized => {
                    sound.push(*left);
                    last = *right;
                }
                ExprKind::Unary(_, value) if !last.is_parenthesized => last = *value,
                ExprKind::Name(_) => break,
                _ => {
                    sound.push(last);
                    break;
                }
            }
        }
        Expr::new(ExprKind::Broken(sound), span)
    }

    /// `line L, column C` of a place.
    pub(crate) fn place(&self, span: Span) -> String {
        let (line, column) = line_and_column(&self.text, span.start as usize);
        format!("line {line}, column {column}")
    }

    /// The mistake of a bracket that is not closed where the cursor stands, with where it was opened; or of what is
    /// missing between two values.
    pub(crate) fn unclosed(&self, p: &Parser<'_>, open: Span, mistake: Diagnostic) -> Diagnostic {
        let next = self.at(p);
        let bracket = self.text.get(open.start as usize..open.end as usize).unwrap_or("(");
        let is_value = matches!(next.kind, Kind::Word | Kind::Quoted | Kind::Int | Kind::Number | Kind::Text);
        if matches!(next.kind, Kind::Bad | Kind::Unclosed) {
            return mistake;
        }
        match is_value {
            true => mistake.help(format!("a comma or an operator is missing before {}", self.written(next))),
            false => mistake.help(format!("the {bracket} of {} is not closed", self.place(open))),
        }
    }

    /// A lexeme as it was written; the beginning of a long one.
    pub(crate) fn written(&self, lexeme: &Lexeme) -> &str {
        let (start, end) = (lexeme.span.start as usize, lexeme.span.end as usize);
        let short = (end.min(start + 64)..=end).find(|end| self.text.is_char_boundary(*end));
        self.text.get(start..short.unwrap_or(end)).unwrap_or_default()
    }
}
