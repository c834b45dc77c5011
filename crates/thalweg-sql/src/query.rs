//! Queries: the clauses in upstream's fixed order (G-6), and what goes beyond it (sub-queries, WITH, UNION ALL).

use sqlparser::parser::Parser;
use thalweg_core::{Diagnostic, ErrorCode, Span, Value};

use crate::ast::{
    Expr, ExprKind, From, FromSource, Join, JoinKind, Name, OrderKey, Query, Select, SelectField, Window,
};
use crate::grammar::{Grammar, Parsed, syntax};
use crate::lex::{Kind, quote};

/// What GROUP BY holds: the keys, and the first window.
type Grouping = (Vec<Expr>, Option<Window>);

impl Grammar {
    /// A query that is the whole text. What follows `;` is ignored (L-17).
    pub(crate) fn whole_query(&self, p: &mut Parser<'_>) -> Parsed<Query> {
        let query = self.query(p)?;
        let next = self.at(p);
        if next.kind == Kind::End || next.is_symbol(";") {
            return Ok(query);
        }
        let diagnostic = self.found(p, "EOF");
        Err(match self.trailing_hint(p) {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        })
    }

    fn trailing_hint(&self, p: &Parser<'_>) -> Option<String> {
        let next = self.at(p);
        match (next.kind, next.found.as_str()) {
            (Kind::Keyword, "WHERE" | "GROUP" | "HAVING" | "ORDER" | "LIMIT" | "JOIN") => Some(
                "the order of clauses is FROM, JOIN, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT".to_owned(),
            ),
            (Kind::Symbol, ",") => Some("join sources with INNER JOIN … ON …".to_owned()),
            _ => None,
        }
    }

    fn query(&self, p: &mut Parser<'_>) -> Parsed<Query> {
        let mut with = Vec::new();
        if self.accept_word(p, "WITH") {
            loop {
                let name = self.name(p, "a name after WITH")?;
                if !self.accept_keyword(p, "AS") {
                    return Err(self.found(p, "AS"));
                }
                with.push((name, self.query_in_parentheses(p)?));
                if !self.accept(p, ",") {
                    break;
                }
            }
        }
        let mut selects = vec![self.select(p)?];
        while self.at(p).is_word("UNION") {
            p.advance_token();
            if !self.accept_word(p, "ALL") {
                return Err(self.found(p, "EOF").help("only UNION ALL joins queries"));
            }
            selects.push(self.select(p)?);
        }
        Ok(Query { with, selects })
    }

    fn query_in_parentheses(&self, p: &mut Parser<'_>) -> Parsed<Query> {
        self.expect(p, "(", "left paren")?;
        let query = self.nested(p, |p| self.query(p))?;
        self.expect(p, ")", "right paren")?;
        Ok(query)
    }

    fn select(&self, p: &mut Parser<'_>) -> Parsed<Select> {
        let start = self.at(p).span;
        if !self.accept_keyword(p, "SELECT") {
            let message = format!("Found {}, Expected SELECT.\n", quote(&self.at(p).found));
            return Err(self.mistake(self.at(p), message));
        }
        let fields = self.fields(p)?;
        if !self.accept_keyword(p, "FROM") {
            return Err(self.not_from(p));
        }
        let from = self.source(p)?;
        let joins = self.joins(p)?;
        let filter = self.clause(p, "WHERE")?;
        let (group_by, window) = self.group_by(p)?;
        let having = self.clause(p, "HAVING")?;
        let order_by = self.order_by(p)?;
        let limit = self.limit(p)?;
        let span = self.span_from(start, p);
        Ok(Select { fields, from, joins, filter, group_by, window, having, order_by, limit, span })
    }

    /// G-7: an alias needs AS, so a stray name is either that or a misspelled FROM.
    fn not_from(&self, p: &Parser<'_>) -> Diagnostic {
        let diagnostic = self.found(p, "FROM");
        let is_alias =
            self.at(p).is_name() && (self.ahead(p, 1).is_keyword("FROM") || self.ahead(p, 1).is_symbol(","));
        if self.behind(p).is_some_and(|before| before.is_word("DISTINCT")) {
            return diagnostic.help("DISTINCT is not in the language; GROUP BY or deduplicate() may serve");
        }
        if is_alias { diagnostic.help("an alias needs AS before it") } else { diagnostic }
    }

    fn clause(&self, p: &mut Parser<'_>, keyword: &str) -> Parsed<Option<Expr>> {
        if self.accept_keyword(p, keyword) { self.expr(p).map(Some) } else { Ok(None) }
    }

    fn fields(&self, p: &mut Parser<'_>) -> Parsed<Vec<SelectField>> {
        let mut fields = vec![self.field(p)?];
        while self.accept(p, ",") {
            fields.push(self.field(p)?);
        }
        Ok(fields)
    }

    /// `expr [AS name] [INVISIBLE]`.
    pub(crate) fn field(&self, p: &mut Parser<'_>) -> Parsed<SelectField> {
        let expr = self.expr(p)?;
        let mut alias = None;
        if self.at(p).is_keyword("AS") {
            if let ExprKind::Wildcard { .. } = expr.kind {
                return Err(syntax("alias is not supported for *").at(self.at(p).span));
            }
            p.advance_token();
            alias = Some(self.name(p, "as alias")?);
        }
        let invisible = self.accept_keyword(p, "INVISIBLE");
        Ok(SelectField { expr, alias, invisible })
    }

    fn source(&self, p: &mut Parser<'_>) -> Parsed<From> {
        let start = self.at(p).span;
        if !self.at(p).is_symbol("(") {
            let source = FromSource::Named(self.source_name(p)?);
            return Ok(From { source, alias: self.source_alias(p)? });
        }
        let without_alias = self.found(p, "EOF").help("a sub-query needs an alias: (SELECT …) AS name");
        let query = self.query_in_parentheses(p)?;
        let alias = self.source_alias(p)?;
        if alias.is_none() {
            return Err(without_alias.at(start));
        }
        Ok(From { source: FromSource::Query(Box::new(query)), alias })
    }

    fn source_alias(&self, p: &mut Parser<'_>) -> Parsed<Option<Name>> {
        if self.accept_keyword(p, "AS") { self.name(p, "an alias").map(Some) } else { Ok(None) }
    }

    /// G-8: `a/b/#` is one name; two bare names side by side are a forgotten AS.
    fn source_name(&self, p: &mut Parser<'_>) -> Parsed<Name> {
        let start = self.at(p).span;
        let mut text = String::new();
        let mut ends_in_name = false;
        loop {
            let next = self.at(p);
            let is_union = next.is_word("UNION") && !text.is_empty();
            let is_mark = ["/", "#", "+"].iter().any(|mark| next.is_symbol(mark));
            if is_union || !(next.is_name() || is_mark) {
                break;
            }
            if next.is_name() && ends_in_name {
                let stream = format!("{text}{}", next.found);
                return Err(no_stream(&stream, next.span).help(format!("write {text} AS {}", next.found)));
            }
            ends_in_name = next.is_name();
            text.push_str(&next.found);
            p.advance_token();
        }
        if text.is_empty() {
            return Err(no_stream("", start).help("the name of a stream or table belongs here"));
        }
        Ok(Name { text: text.into(), span: self.span_from(start, p) })
    }

    fn joins(&self, p: &mut Parser<'_>) -> Parsed<Vec<Join>> {
        let mut joins = Vec::new();
        loop {
            let first = self.at(p);
            let kind = match (first.kind, first.found.as_str()) {
                (Kind::Keyword, "INNER" | "JOIN") => JoinKind::Inner,
                (Kind::Keyword, "LEFT") => JoinKind::Left,
                (Kind::Keyword, "RIGHT") => JoinKind::Right,
                (Kind::Keyword, "FULL") => JoinKind::Full,
                (Kind::Keyword, "CROSS") => JoinKind::Cross,
                _ => return Ok(joins),
            };
            joins.push(self.join(p, kind)?);
        }
    }

    fn join(&self, p: &mut Parser<'_>, kind: JoinKind) -> Parsed<Join> {
        let first = self.at(p);
        if !first.is_keyword("JOIN") {
            p.advance_token();
            if matches!(kind, JoinKind::Left | JoinKind::Right | JoinKind::Full) {
                self.accept_word(p, "OUTER");
            }
        }
        if !self.accept_keyword(p, "JOIN") {
            let message = format!("found {}, expected JOIN key word.", quote(&first.found));
            return Err(syntax(message).at(self.at(p).span));
        }
        let right = self.source(p)?;
        let on_span = self.at(p).span;
        let on = self.clause(p, "ON")?;
        if kind == JoinKind::Cross && on.is_some() {
            return Err(syntax("On expression is not required for cross join type.\n").at(on_span));
        }
        Ok(Join { kind, right, on, span: self.span_from(first.span, p) })
    }

    fn group_by(&self, p: &mut Parser<'_>) -> Parsed<Grouping> {
        let (mut keys, mut window) = (Vec::new(), None);
        if !self.accept_keyword(p, "GROUP") {
            return Ok((keys, window));
        }
        if !self.accept_keyword(p, "BY") {
            return Err(self.found(p, "BY statement"));
        }
        loop {
            match self.window(p)? {
                Some(found) => window = window.or(Some(found)),
                None => keys.push(self.expr(p)?),
            }
            if !self.accept(p, ",") {
                return Ok((keys, window));
            }
        }
    }

    /// `ORDER BY` keys; commas between them are optional (G-5), and each starts with a name.
    pub(crate) fn order_by(&self, p: &mut Parser<'_>) -> Parsed<Vec<OrderKey>> {
        let mut keys = Vec::new();
        if !self.accept_keyword(p, "ORDER") {
            return Ok(keys);
        }
        if !self.accept_keyword(p, "BY") {
            return Err(self.found(p, "BY keyword"));
        }
        loop {
            if self.accept(p, ",") {
                continue;
            }
            let is_union = self.at(p).is_word("UNION") && self.ahead(p, 1).is_word("ALL");
            if !self.at(p).is_name() || is_union {
                return Ok(keys);
            }
            let expr = self.expr(p)?;
            let descending = self.accept_keyword(p, "DESC");
            if !descending {
                self.accept_keyword(p, "ASC");
            }
            keys.push(OrderKey { expr, descending });
        }
    }

    fn limit(&self, p: &mut Parser<'_>) -> Parsed<Option<i64>> {
        match self.clause(p, "LIMIT")? {
            None => Ok(None),
            Some(Expr { kind: ExprKind::Literal(Value::Int(rows)), .. }) => Ok(Some(rows)),
            Some(other) => Err(syntax("limit should be integer").at(other.span)),
        }
    }
}

/// Upstream's text for a source that does not exist, complete as it is: not behind `Parse SQL … error`.
fn no_stream(name: &str, span: Span) -> Diagnostic {
    let message = format!("fail to get stream {name}, please check if stream is created");
    Diagnostic::new(ErrorCode::Undefined, message).at(span)
}
