//! Operands: literals, names, calls, CASE, wildcards, and the postfix forms behind them.

use sqlparser::parser::Parser;
use thalweg_core::{Diagnostic, Span, Value};

use crate::ast::{Call, Expr, ExprKind, Name};
use crate::grammar::{Grammar, Parsed, syntax};
use crate::lex::{Kind, Lexeme, quote};

const OVER: &str = "write OVER (PARTITION BY …) or OVER (WHEN …)";
const CASE: &str = "a CASE is written CASE WHEN condition THEN value ELSE value END";

impl Grammar {
    /// An operand and its `[]`, `->` and `.` (G-1: tighter than every operator).
    pub(crate) fn postfixed_operand(&self, p: &mut Parser<'_>) -> Parsed<Expr> {
        let mut value = self.bare_operand(p)?;
        while ["[", "->", "."].iter().any(|symbol| self.at(p).is_symbol(symbol)) {
            self.count_operator(p)?;
            let start = value.span;
            let kind = if self.accept(p, "[") {
                self.bracket(p, value)?
            } else {
                p.advance_token();
                ExprKind::Arrow(Box::new(value), self.name(p, "expression")?)
            };
            value = Expr::new(kind, self.span_from(start, p));
        }
        Ok(value)
    }

    fn bare_operand(&self, p: &mut Parser<'_>) -> Parsed<Expr> {
        let lexeme = self.at(p);
        let start = lexeme.span;
        let literal = |p: &mut Parser<'_>, value| {
            p.advance_token();
            Ok(Expr::new(ExprKind::Literal(value), start))
        };
        match (lexeme.kind, lexeme.found.as_str()) {
            (Kind::Int | Kind::Number, _) => self.number(p, start, ""),
            (Kind::BadNumber, found) => {
                let help = format!("a number has one point; as a text write '{found}'");
                Err(syntax(format!("found {}, invalid number value.", lexeme.shown())).at(start).help(help))
            }
            (Kind::Text, found) => literal(p, Value::text(found)),
            (Kind::Keyword, "TRUE") => literal(p, Value::Bool(true)),
            (Kind::Keyword, "FALSE") => literal(p, Value::Bool(false)),
            (Kind::Word, _) if lexeme.is_word("NULL") && !self.ahead(p, 1).is_symbol("(") => {
                literal(p, Value::Null)
            }
            (Kind::Word | Kind::Quoted, _) => self.name_or_call(p),
            (Kind::Keyword, "CASE") => self.case(p),
            (Kind::Symbol, "(") => self.parenthesized(p),
            (Kind::Symbol, "*") => {
                p.advance_token();
                self.wildcard(p, None, start)
            }
            _ => Err(self.found(p, "expression")),
        }
    }

    /// A number behind `sign` (L-12: whole numbers saturate). `start` is the sign's or the number's place.
    pub(crate) fn number(&self, p: &mut Parser<'_>, start: Span, sign: &str) -> Parsed<Expr> {
        let lexeme = self.take(p);
        let digits = format!("{sign}{}", lexeme.found);
        let value = match lexeme.kind {
            Kind::Int => {
                Value::Int(digits.parse().unwrap_or(if sign.is_empty() { i64::MAX } else { i64::MIN }))
            }
            _ => Value::Float(digits.parse().unwrap_or(f64::INFINITY)),
        };
        Ok(Expr::new(ExprKind::Literal(value), start.to(lexeme.span)))
    }

    fn parenthesized(&self, p: &mut Parser<'_>) -> Parsed<Expr> {
        let start = self.take(p).span;
        let inner = self.expr(p)?;
        if !self.accept(p, ")") {
            return Err(self.unclosed(p, start, self.found(p, "right paren")));
        }
        Ok(Expr { kind: inner.kind, span: self.span_from(start, p), is_parenthesized: true })
    }

    fn name_or_call(&self, p: &mut Parser<'_>) -> Parsed<Expr> {
        let first = self.name(p, "expression")?;
        let start = first.span;
        if self.at(p).is_symbol("(") {
            return self.call(p, first);
        }
        let mut names = vec![first];
        while self.accept(p, ".") {
            if names.len() == 1 && self.accept(p, "*") {
                return self.wildcard(p, names.pop(), start);
            }
            names.push(self.name(p, "expression")?);
        }
        Ok(Expr::new(ExprKind::Name(names), self.span_from(start, p)))
    }

    /// What follows `*`: EXCEPT and REPLACE, once each or more often, in any order (P-13, P-14).
    fn wildcard(&self, p: &mut Parser<'_>, qualifier: Option<Name>, start: Span) -> Parsed<Expr> {
        let (mut except, mut replace) = (Vec::new(), Vec::new());
        loop {
            let word = self.at(p).found.clone();
            if !self.at(p).is_keyword("EXCEPT") && !self.at(p).is_keyword("REPLACE") {
                break;
            }
            p.advance_token();
            if !self.accept(p, "(") {
                let message = format!("Found {} after {word}, expect left parentheses.", self.at(p).shown());
                let part = if word == "EXCEPT" { "name" } else { "value AS name" };
                return Err(syntax(message).at(self.at(p).span).help(format!("write * {word}({part}, …)")));
            }
            if word == "EXCEPT" { except = self.except(p)? } else { replace = self.replace(p)? }
        }
        let kind = ExprKind::Wildcard { qualifier, except, replace };
        Ok(Expr::new(kind, self.span_from(start, p)))
    }

    fn except(&self, p: &mut Parser<'_>) -> Parsed<Vec<Name>> {
        let open = self.behind(p).map_or(self.at(p).span, |open| open.span);
        let mut names = Vec::new();
        while !self.accept(p, ")") {
            if self.accept(p, ",") {
                continue;
            }
            if !self.at(p).is_name() {
                let mistake = self.mistake(self.at(p), format!("Found {} in EXCEPT", self.at(p).shown()));
                return Err(match self.at(p).kind {
                    Kind::Keyword | Kind::End => self.unclosed(p, open, mistake),
                    _ => mistake.help("EXCEPT takes names of columns: * EXCEPT(name, …)"),
                });
            }
            names.push(self.name(p, "name")?);
        }
        Ok(names)
    }

    fn replace(&self, p: &mut Parser<'_>) -> Parsed<Vec<crate::ast::SelectField>> {
        let open = self.behind(p).map_or(self.at(p).span, |open| open.span);
        let mut fields = Vec::new();
        loop {
            fields.push(self.field(p)?);
            if self.accept(p, ")") {
                return Ok(fields);
            }
            if !self.accept(p, ",") {
                let message = format!("Found {} in REPLACE", self.at(p).shown());
                return Err(self.unclosed(p, open, self.mistake(self.at(p), message)));
            }
        }
    }

    /// What follows `[`: an index or a slice (O-12, O-13).
    fn bracket(&self, p: &mut Parser<'_>, value: Expr) -> Parsed<ExprKind> {
        let open = self.behind(p).map_or(value.span, |open| open.span);
        let value = Box::new(value);
        if self.accept(p, "]") {
            return Ok(ExprKind::Slice { value, start: None, end: None });
        }
        if self.accept(p, ":") {
            let end = self.slice_end(p, open)?;
            return Ok(ExprKind::Slice { value, start: None, end });
        }
        let first = self.at(p);
        let invalid = |inner| self.bad_index(inner, "start", first, open);
        let start = Box::new(self.expr(p).map_err(invalid)?);
        if self.accept(p, "]") {
            return Ok(ExprKind::Index(value, start));
        }
        if !self.accept(p, ":") {
            let message = format!("Unexpected token {}. when parsing bracket expressions.", first.shown());
            return Err(self.unclosed(p, open, self.mistake(self.at(p), message)));
        }
        let end = self.slice_end(p, open)?;
        Ok(ExprKind::Slice { value, start: Some(start), end })
    }

    fn bad_index(&self, inner: Diagnostic, which: &str, first: &Lexeme, open: Span) -> Diagnostic {
        let message = format!("The {which} index {} is invalid in bracket expression.", self.written(first));
        let help = match first.kind {
            Kind::Keyword | Kind::End => format!("the [ of {} is not closed", self.place(open)),
            _ => inner
                .help
                .unwrap_or_else(|| "write x[0] for an element, x[1:3] for a part of a list".to_owned()),
        };
        syntax(message).at(first.span).help(help)
    }

    fn slice_end(&self, p: &mut Parser<'_>, open: Span) -> Parsed<Option<Box<Expr>>> {
        if self.accept(p, "]") {
            return Ok(None);
        }
        let first = self.at(p);
        let invalid = |inner| self.bad_index(inner, "end", first, open);
        let end = self.expr(p).map_err(invalid)?;
        if !self.accept(p, "]") {
            let message = format!("Found {}, expected right bracket.", self.at(p).shown());
            return Err(self.unclosed(p, open, self.mistake(self.at(p), message)));
        }
        Ok(Some(Box::new(end)))
    }

    fn call(&self, p: &mut Parser<'_>, name: Name) -> Parsed<Expr> {
        let start = name.span;
        if self.ahead(p, 1).is_keyword("SELECT") {
            let help = "sub-queries may stand in FROM only";
            return Err(syntax(format!("function {} not found", name.text)).at(start).help(help));
        }
        let args = self.arguments(p, &name)?;
        let mut call =
            Call { name, args, partition_by: vec![], when: None, order_by: vec![], has_over: false };
        if self.accept_keyword(p, "OVER") {
            self.over(p, &mut call)?;
        }
        Ok(Expr::new(ExprKind::Call(call), self.span_from(start, p)))
    }

    /// `(a, b,)`: a last comma is allowed (G-5).
    pub(crate) fn arguments(&self, p: &mut Parser<'_>, name: &Name) -> Parsed<Vec<Expr>> {
        let open = self.at(p).span;
        self.expect(p, "(", "left paren")?;
        let mut args = Vec::new();
        loop {
            if self.accept(p, ")") {
                return Ok(args);
            }
            args.push(self.expr(p)?);
            if self.accept(p, ",") || self.at(p).is_symbol(")") {
                continue;
            }
            let name = quote(&name.text.to_lowercase());
            let message = format!("found function call {name}, expected ), but with {}.", self.at(p).shown());
            let mistake = self.unclosed(p, open, self.mistake(self.at(p), message));
            return Err(match self.behind(p) {
                _ if self.at(p).is_keyword("AS") => {
                    mistake.help("write cast(value, 'bigint'), with the type as a text")
                }
                Some(before) if before.is_word("DISTINCT") => {
                    mistake.help("DISTINCT is not in the language; GROUP BY or deduplicate() may serve")
                }
                _ => mistake,
            });
        }
    }

    /// `([PARTITION BY …] [ORDER BY …] [WHEN …])`, at least one of them (A-4, F-4).
    fn over(&self, p: &mut Parser<'_>, call: &mut Call) -> Parsed<()> {
        call.has_over = true;
        if !self.accept(p, "(") {
            let message = format!("Found {} after OVER, expect parentheses.", self.at(p).shown());
            return Err(self.mistake(self.at(p), message).help(OVER));
        }
        let open = self.behind(p).map_or(call.name.span, |open| open.span);
        let first = self.at(p);
        call.partition_by = self.partition_by(p)?;
        call.order_by = self.order_by(p)?;
        if self.accept_keyword(p, "WHEN") {
            call.when = Some(Box::new(self.expr(p)?));
        }
        if call.partition_by.is_empty() && call.order_by.is_empty() && call.when.is_none() {
            let message = format!("Found {} after OVER (, expect partition by or when.", first.shown());
            return Err(syntax(message).at(first.span).help(OVER));
        }
        if !self.accept(p, ")") {
            let next = self.at(p);
            let mistake =
                syntax(format!("Found {}, expect right parentheses after OVER ", next.shown())).at(next.span);
            let is_part = ["PARTITION", "ORDER", "WHEN"].iter().any(|word| next.is_keyword(word));
            return Err(match is_part {
                true => mistake.help("the order is PARTITION BY, ORDER BY, WHEN"),
                false => self.unclosed(p, open, mistake),
            });
        }
        Ok(())
    }

    /// `PARTITION BY a, b`, if it is there.
    pub(crate) fn partition_by(&self, p: &mut Parser<'_>) -> Parsed<Vec<Expr>> {
        if !self.accept_keyword(p, "PARTITION") {
            return Ok(Vec::new());
        }
        if !self.accept_keyword(p, "BY") {
            return Err(self.found(p, "by after partition").help("write PARTITION BY"));
        }
        let mut keys = vec![self.expr(p)?];
        while self.accept(p, ",") {
            keys.push(self.expr(p)?);
        }
        Ok(keys)
    }

    fn case(&self, p: &mut Parser<'_>) -> Parsed<Expr> {
        let start = self.take(p).span;
        if self.at(p).is_keyword("ELSE") || self.at(p).is_keyword("END") {
            return Err(self.found(p, "expression").help(CASE));
        }
        let value = if self.at(p).is_keyword("WHEN") { None } else { Some(Box::new(self.expr(p)?)) };
        let (mut arms, mut otherwise) = (Vec::new(), None);
        loop {
            let invalid = |what: &str| {
                let mistake = self.mistake(self.at(p), format!("invalid CASE expression, {what}"));
                mistake.help(format!("{CASE}; this one began at {}", self.place(start)))
            };
            match self.at(p).found.as_str() {
                _ if self.at(p).kind != Kind::Keyword => return Err(invalid("END expected")),
                "END" if arms.is_empty() => return Err(invalid("WHEN expected before END")),
                "ELSE" if arms.is_empty() => return Err(invalid("WHEN expected before ELSE")),
                "WHEN" if otherwise.is_none() => arms.push(self.arm(p)?),
                "ELSE" if otherwise.is_none() => {
                    p.advance_token();
                    otherwise = Some(Box::new(self.expr(p)?));
                }
                "END" => break,
                _ => return Err(invalid("END expected")),
            }
        }
        p.advance_token();
        Ok(Expr::new(ExprKind::Case { value, arms, otherwise }, self.span_from(start, p)))
    }

    fn arm(&self, p: &mut Parser<'_>) -> Parsed<(Expr, Expr)> {
        p.advance_token();
        let condition = self.expr(p)?;
        if !self.accept_keyword(p, "THEN") {
            let mistake = self.mistake(self.at(p), "invalid CASE expression, THEN expected after WHEN");
            return Err(mistake.help(CASE));
        }
        Ok((condition, self.expr(p)?))
    }
}
