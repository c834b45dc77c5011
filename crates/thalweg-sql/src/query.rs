//! Queries: the clauses in upstream's fixed order (G-6), and what goes beyond it (sub-queries, WITH, UNION ALL).

use sqlparser::parser::Parser;
use thalweg_core::diagnostic::nearest;
use thalweg_core::{Diagnostic, ErrorCode, Span, Value};

use crate::ast::{
    Expr, ExprKind, From, FromSource, Join, JoinKind, Name, OrderKey, Query, Select, SelectField, Window,
};
use crate::grammar::{Grammar, Parsed, syntax};
use crate::lex::Kind;
use crate::recover::{Clause, Stop};

/// What GROUP BY holds: the keys, and the first window.
type Grouping = (Vec<Expr>, Option<Window>);

impl Grammar {
    /// A query that is the whole text. What follows `;` is ignored (L-17).
    pub(crate) fn whole_query(&self, p: &mut Parser<'_>) -> Parsed<Query> {
        let query = self.query(p)?;
        let next = self.at(p);
        if next.kind != Kind::End && !next.is_symbol(";") {
            self.note(self.found(p, "EOF"));
        }
        Ok(query)
    }

    fn query(&self, p: &mut Parser<'_>) -> Parsed<Query> {
        let mut with = Vec::new();
        if self.accept_word(p, "WITH") {
            loop {
                let name = self
                    .name(p, "a name after WITH")
                    .map_err(|it| it.help("write WITH name AS (SELECT …)"))?;
                if !self.accept_keyword(p, "AS") {
                    return Err(self.found(p, "AS").help(format!("write WITH {} AS (SELECT …)", name.text)));
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
        let open = self.at(p).span;
        if !self.accept(p, "(") {
            return Err(self.found(p, "left paren").help("a query stands in parentheses here: (SELECT …)"));
        }
        let query = self.nested(p, |p| self.query(p))?;
        if !self.accept(p, ")") {
            return Err(self.unclosed(p, open, self.found(p, "right paren")));
        }
        Ok(query)
    }

    fn select(&self, p: &mut Parser<'_>) -> Parsed<Select> {
        let start = self.at(p).span;
        if !self.accept_keyword(p, "SELECT") {
            let message = format!("Found {}, Expected SELECT.\n", self.at(p).shown());
            let help = match self.at(p).is_name() && self.is_nested() {
                true => "parentheses hold a sub-query here: (SELECT … FROM …)",
                false => "a SELECT is missing here",
            };
            return Err(self.mistake(self.at(p), message).help(help));
        }
        let mut fields = self.fields(p);
        fields.shrink_to_fit();
        let (n_told, n_skipped) = (self.mistakes.borrow().len(), self.skipped.borrow().len());
        let from = if self.from(p) { self.recovered(p, Stop::Clause, |p| self.source(p)).ok() } else { None };
        let mut select = Select {
            fields,
            from: from.unwrap_or_else(no_source),
            joins: Vec::new(),
            filter: None,
            group_by: Vec::new(),
            window: None,
            having: None,
            order_by: Vec::new(),
            limit: None,
            has_gaps: false,
            span: start,
        };
        self.clauses(p, &mut select);
        select.has_gaps = self.mistakes.borrow().len() > n_told;
        if self.skipped.borrow()[n_skipped..].iter().any(|range| self.loses_source(range.clone())) {
            lose_source(&mut select);
        }
        select.span = self.span_from(start, p);
        Ok(select)
    }

    fn fields(&self, p: &mut Parser<'_>) -> Vec<SelectField> {
        let mut fields = Vec::new();
        loop {
            let start = p.index();
            match self.recovered(p, Stop::Comma, |p| self.field(p)) {
                Ok(field) => fields.push(field),
                Err(broken) => {
                    fields.push(SelectField { expr: *broken, alias: None, invisible: false });
                    fields.extend(self.lost_aliases(start, p.index()));
                }
            }
            if self.accept(p, ",") {
                continue;
            }
            let next = self.at(p);
            let is_from = next.is_keyword("FROM") && self.begins_clause(p.index());
            if is_from || self.is_noted(next) || self.ends_select(p) || self.clause_at(p).is_some() {
                return fields;
            }
            // Another field may follow, or what was meant to be FROM.
            self.note(self.no_from(p));
            if next.kind == Kind::Word && nearest(&next.found, ["FROM"]).is_some() {
                return fields;
            }
            let behind = p.index();
            self.skip(p, behind, Stop::Comma);
            if let Some(last) = fields.pop() {
                fields.push(SelectField { expr: Self::doubtful(last.expr), ..last });
            }
            fields.extend(self.lost_aliases(behind, p.index()));
            if !self.accept(p, ",") {
                return fields;
            }
        }
    }

    /// Moves over FROM, or what was meant to be it; else notes that it is missing.
    fn from(&self, p: &mut Parser<'_>) -> bool {
        if self.accept_keyword(p, "FROM") {
            return true;
        }
        let next = self.at(p);
        if !self.is_noted(next) {
            if self.mistakes.borrow().is_empty() || self.clause_at(p).is_none() && !self.ends_select(p) {
                self.note(self.no_from(p));
            }
            return false;
        }
        let is_meant = next.kind == Kind::Word && nearest(&next.found, ["FROM"]).is_some();
        if is_meant {
            p.advance_token();
        } else {
            self.skip(p, p.index(), Stop::Clause);
        }
        is_meant || self.accept_keyword(p, "FROM")
    }

    /// Whether a SELECT can end here.
    fn ends_select(&self, p: &Parser<'_>) -> bool {
        let next = self.at(p);
        let is_union = next.is_word("UNION") && self.ahead(p, 1).found.eq_ignore_ascii_case("ALL");
        next.kind == Kind::End || next.is_symbol(";") || is_union || self.is_nested() && next.is_symbol(")")
    }

    /// The clauses behind FROM, in their order. What stands in between is a mistake, but what follows it is read.
    fn clauses(&self, p: &mut Parser<'_>, select: &mut Select) {
        let mut last: Option<Clause> = None;
        while !self.ends_select(p) && !self.has_given_up() {
            let start = p.index();
            let mut clause = self.clause_at(p);
            if let (Some(clause), Some(last)) = (clause, last)
                && (clause < last || clause == last && clause != Clause::Join)
            {
                self.note(self.misplaced(p, clause, last));
            } else if clause.is_none() {
                if self.at(p).is_word("UNION") {
                    return;
                }
                if !self.is_noted(self.at(p)) {
                    self.note(self.no_end(p, last));
                }
                clause = self.clause_meant(p).map(|(_, clause)| clause);
            }
            match clause {
                Some(clause) => {
                    last = last.max(Some(clause));
                    if let Err(broken) = self.recovered(p, Stop::Clause, |p| self.clause(p, clause, select)) {
                        lose(select, clause, *broken);
                    }
                }
                None => {
                    doubt(select, last);
                    self.skip(p, start, Stop::Clause);
                    if self.accept_keyword(p, "FROM") {
                        let _ = self.recovered(p, Stop::Clause, |p| self.source(p));
                    }
                }
            }
            if p.index() == start {
                p.advance_token();
            }
        }
    }

    /// One clause; its first word, which may be misspelled, is at the cursor.
    fn clause(&self, p: &mut Parser<'_>, clause: Clause, select: &mut Select) -> Parsed<()> {
        if clause == Clause::Join {
            select.joins.push(self.join(p)?);
            return Ok(());
        }
        p.advance_token();
        match clause {
            Clause::Where => select.filter = Some(self.expr(p)?),
            Clause::Group => (select.group_by, select.window) = self.group_by(p)?,
            Clause::Having => select.having = Some(self.expr(p)?),
            Clause::Order => select.order_by = self.order_keys(p)?,
            Clause::Limit | Clause::Join => select.limit = Some(self.limit(p)?),
        }
        Ok(())
    }

    /// `expr [AS name] [INVISIBLE]`.
    pub(crate) fn field(&self, p: &mut Parser<'_>) -> Parsed<SelectField> {
        let expr = self.expr(p)?;
        let mut alias = None;
        if self.at(p).is_keyword("AS") {
            if let ExprKind::Wildcard { .. } = expr.kind {
                let mistake = syntax("alias is not supported for *").at(self.at(p).span);
                return Err(mistake.help("* keeps the names of the columns; leave AS out"));
            }
            p.advance_token();
            match self.name(p, "as alias") {
                Ok(name) => alias = Some(name),
                Err(mistake) => {
                    self.note(mistake);
                    self.skip(p, p.index(), Stop::Comma);
                }
            }
        }
        let invisible = self.accept_keyword(p, "INVISIBLE");
        Ok(SelectField { expr, alias, invisible })
    }

    fn source(&self, p: &mut Parser<'_>) -> Parsed<From> {
        let start = self.at(p).span;
        if !self.at(p).is_symbol("(") {
            let source = FromSource::Named(self.source_name(p)?);
            if self.at(p).is_name() && self.is_noted(self.at(p)) {
                // What should have been behind AS.
                let alias = self.name(p, "an alias")?;
                if !self.at(p).is_keyword("ON") {
                    self.skip(p, p.index(), Stop::Clause);
                }
                return Ok(From { source, alias: Some(alias) });
            }
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
                return Ok(self.second_name(p, &text, start));
            }
            ends_in_name = next.is_name();
            text.push_str(&next.found);
            p.advance_token();
        }
        if text.is_empty() {
            let next = self.at(p);
            let help = match next.kind {
                Kind::Text => format!("a name is written plain or in backticks: `{}`", next.found),
                Kind::Keyword if !self.begins_clause(p.index()) && !next.is_keyword("ON") => {
                    let name = self.written(next);
                    format!("{} is a reserved word; as a name quote it with backticks: `{name}`", next.found)
                }
                _ => "the name of a stream or table belongs here".to_owned(),
            };
            return Err(no_stream("", start).help(help));
        }
        Ok(Name { text: text.into(), span: self.span_from(start, p) })
    }

    /// G-8: a name behind the name of a source is an alias without AS, unless it was meant to be the next keyword.
    /// Notes it; the alias is still to be read.
    fn second_name(&self, p: &mut Parser<'_>, first: &str, start: Span) -> Name {
        let name = Name { text: first.into(), span: self.span_from(start, p) };
        let next = self.at(p);
        let is_condition = self.ahead(p, 1).is_symbol(".") || self.ahead(p, 1).is_symbol("=");
        let ends = ["USING", "OFFSET", "INTERSECT", "MINUS"].iter().any(|word| next.is_word(word));
        if self.clause_meant(p).is_some() || ends {
            return name;
        }
        let help = match is_condition {
            true => format!("ON or WHERE is missing before {}", next.found),
            false => format!("write {first} AS {}", next.found),
        };
        self.note(no_stream(&format!("{first}{}", next.found), next.span).help(help));
        if is_condition {
            self.skip(p, p.index(), Stop::Clause);
        }
        name
    }

    fn join(&self, p: &mut Parser<'_>) -> Parsed<Join> {
        let first = self.at(p);
        let kind = match first.found.to_uppercase().as_str() {
            "LEFT" => JoinKind::Left,
            "RIGHT" => JoinKind::Right,
            "FULL" => JoinKind::Full,
            "CROSS" => JoinKind::Cross,
            _ => JoinKind::Inner,
        };
        if !first.is_keyword("JOIN") {
            p.advance_token();
            if matches!(kind, JoinKind::Left | JoinKind::Right | JoinKind::Full) {
                self.accept_word(p, "OUTER");
            }
        }
        if !self.accept_keyword(p, "JOIN") {
            let message = format!("found {}, expected JOIN key word.", first.shown());
            let mistake = syntax(message).at(self.at(p).span);
            return Err(mistake.help(format!("JOIN belongs behind {}", first.found)));
        }
        let right = self.source(p)?;
        let on_span = self.at(p).span;
        let on = self.accept_keyword(p, "ON");
        let on =
            on.then(|| self.recovered(p, Stop::Clause, |p| self.expr(p)).unwrap_or_else(|broken| *broken));
        if kind == JoinKind::Cross && on.is_some() {
            let mistake = syntax("On expression is not required for cross join type.\n").at(on_span);
            self.note(mistake.help("CROSS JOIN pairs all rows; for a condition write INNER JOIN"));
        }
        Ok(Join { kind, right, on, span: self.span_from(first.span, p) })
    }

    fn group_by(&self, p: &mut Parser<'_>) -> Parsed<Grouping> {
        let (mut keys, mut window) = (Vec::new(), None);
        if !self.accept_keyword(p, "BY") {
            return Err(self.found(p, "BY statement").help("write GROUP BY"));
        }
        loop {
            let part = self.recovered(p, Stop::Comma, |p| match self.window(p)? {
                Some(window) => Ok((Some(window), None)),
                None => Ok((None, Some(self.expr(p)?))),
            });
            let (found, key) = part.unwrap_or_else(|broken| (None, Some(*broken)));
            window = window.or(found);
            keys.extend(key);
            if !self.accept(p, ",") {
                return Ok((keys, window));
            }
        }
    }

    /// `ORDER BY` keys, if there are any.
    pub(crate) fn order_by(&self, p: &mut Parser<'_>) -> Parsed<Vec<OrderKey>> {
        if self.accept_keyword(p, "ORDER") { self.order_keys(p) } else { Ok(Vec::new()) }
    }

    /// Keys behind ORDER; commas between them are optional (G-5), and each starts with a name.
    fn order_keys(&self, p: &mut Parser<'_>) -> Parsed<Vec<OrderKey>> {
        let mut keys = Vec::new();
        if !self.accept_keyword(p, "BY") {
            return Err(self.found(p, "BY keyword").help("write ORDER BY"));
        }
        loop {
            if self.accept(p, ",") {
                continue;
            }
            let is_union = self.at(p).is_word("UNION") && self.ahead(p, 1).is_word("ALL");
            let is_misspelled = !keys.is_empty() && self.clause_meant(p).is_some();
            if !self.at(p).is_name() || is_union || is_misspelled {
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

    fn limit(&self, p: &mut Parser<'_>) -> Parsed<i64> {
        match self.expr(p)? {
            Expr { kind: ExprKind::Literal(Value::Int(rows)), .. } => Ok(rows),
            other => Err(syntax("limit should be integer")
                .at(other.span)
                .help("LIMIT takes one whole number, how many rows to keep")),
        }
    }
}

/// Stands for a source that could not be read.
fn no_source() -> From {
    From { source: FromSource::Broken, alias: None }
}

/// Marks a source as lost, which may have any columns.
fn lose_source(select: &mut Select) {
    let span = select.span;
    select.joins.push(Join { kind: JoinKind::Inner, right: no_source(), on: None, span });
}

/// Marks a clause as lost.
fn lose(select: &mut Select, clause: Clause, broken: Expr) {
    match clause {
        Clause::Join => lose_source(select),
        Clause::Where => select.filter = Some(broken),
        Clause::Having => select.having = Some(broken),
        Clause::Group => select.group_by.push(broken),
        Clause::Order => select.order_by.push(OrderKey { expr: broken, descending: false }),
        Clause::Limit => {}
    }
}

/// Marks the end of a clause as doubtful, because what follows does not fit.
fn doubt(select: &mut Select, clause: Option<Clause>) {
    let doubted = |expr: &mut Expr| {
        let whole = std::mem::replace(expr, Expr::new(ExprKind::Broken(Vec::new()), expr.span));
        *expr = Grammar::doubtful(whole);
    };
    match clause {
        None => lose_source(select),
        Some(Clause::Join) => {
            select.joins.last_mut().and_then(|join| join.on.as_mut()).map(doubted);
            lose_source(select);
        }
        Some(Clause::Where) => select.filter.iter_mut().for_each(doubted),
        Some(Clause::Having) => select.having.iter_mut().for_each(doubted),
        Some(Clause::Group) => select.group_by.last_mut().into_iter().for_each(doubted),
        Some(Clause::Order) => {
            select.order_by.last_mut().map(|key| &mut key.expr).into_iter().for_each(doubted)
        }
        Some(Clause::Limit) => {}
    }
}

/// Upstream's text for a source that does not exist, complete as it is: not behind `Parse SQL … error`.
fn no_stream(name: &str, span: Span) -> Diagnostic {
    let message = format!("fail to get stream {name}, please check if stream is created");
    Diagnostic::new(ErrorCode::Undefined, message).at(span)
}
