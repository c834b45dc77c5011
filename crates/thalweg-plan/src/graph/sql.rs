//! Drafts as SQL text, in which every piece knows the node that it came from.

use std::ops::Range;
use std::sync::Arc;

use thalweg_core::{Diagnostic, ErrorCode};
use thalweg_sql::ast::ExprKind;

use super::draft::{Draft, Feed, Part};
use super::operator::Fragment;

/// A statement with the origins of its pieces.
#[derive(Debug, Default)]
pub(super) struct Text {
    pub sql: String,
    pieces: Vec<Piece>,
}

#[derive(Debug)]
struct Piece {
    range: Range<usize>,
    node: Arc<str>,
    place: String,
    text: String,
}

impl Text {
    /// The statement of a draft.
    pub(super) fn of(draft: &Draft) -> Self {
        let mut text = Self::default();
        text.select(draft);
        text
    }

    /// A mistake of the statement as one of its node.
    pub(super) fn told(&self, why: Diagnostic) -> Diagnostic {
        let code = match why.code {
            // Upstream has a text around it that shows the statement; nobody has written this one.
            ErrorCode::SqlParse => ErrorCode::Undefined,
            code => code,
        };
        let start = why.span.map(|span| span.start as usize);
        let piece = start.and_then(|start| self.pieces.iter().find(|piece| piece.range.contains(&start)));
        match (piece, why.span) {
            (Some(piece), Some(span)) => {
                let base = piece.range.start;
                let of = |at: u32| (at as usize).saturating_sub(base).min(piece.text.len());
                let span = Some(thalweg_core::Span::new(of(span.start), of(span.end)));
                let place =
                    format!("at /graph/nodes/{}/{}", piece.node, piece.place.trim_start_matches("at "));
                let message = format!("node {}: {}", piece.node, why.message.trim_end());
                Diagnostic { code, message, span, help: why.help }.inside(&place, &piece.text)
            }
            _ => Diagnostic { code, span: None, ..why },
        }
    }

    fn push(&mut self, text: &str) {
        self.sql.push_str(text);
    }

    fn name(&mut self, name: &str) {
        self.push("`");
        self.push(name);
        self.push("`");
    }

    /// What a user has written. A comment in it ends with its line.
    fn piece(&mut self, node: &Arc<str>, fragment: &Fragment) {
        let start = self.sql.len();
        self.push(&fragment.text);
        let range = start..self.sql.len() + 1;
        self.push("\n");
        let (place, text) = (fragment.place.clone(), fragment.text.clone());
        self.pieces.push(Piece { range, node: Arc::clone(node), place, text });
    }

    fn list<T>(&mut self, items: &[T], between: &str, mut write: impl FnMut(&mut Self, &T)) {
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.push(between);
            }
            write(self, item);
        }
    }

    fn select(&mut self, draft: &Draft) {
        self.push("SELECT ");
        self.fields(draft);
        self.push(" FROM ");
        match &draft.feeds[..] {
            [feed] => self.feed(feed),
            // Streams of a window that nobody joins.
            feeds => self.union(&draft.alias, feeds),
        }
        for (join, feed, node) in &draft.joins {
            self.push(&format!(" {} JOIN ", join.kind));
            match feed {
                Some(feed) => self.feed(feed),
                None => self.name(&join.name),
            }
            if let Some(on) = &join.on {
                self.push(" ON ");
                self.piece(node, on);
            }
        }
        self.conditions(" WHERE ", &draft.filters);
        self.grouping(draft);
        self.conditions(" HAVING ", &draft.having);
        if !draft.order_by.is_empty() {
            self.push(" ORDER BY ");
            self.list(&draft.order_by, ", ", |text, (key, descending)| {
                text.piece(&key.node, &key.fragment);
                text.push(if *descending { " DESC" } else { " ASC" });
            });
        }
    }

    fn grouping(&mut self, draft: &Draft) {
        let window = draft.window.as_ref().map(|(_, call)| call.as_str());
        if window.is_none() && draft.group_by.is_empty() {
            return;
        }
        self.push(" GROUP BY ");
        if let Some(call) = window {
            self.push(call);
            if !draft.window_filters.is_empty() {
                self.push(" FILTER(");
                self.conditions("WHERE ", &draft.window_filters);
                self.push(")");
            }
        }
        if window.is_some() && !draft.group_by.is_empty() {
            self.push(", ");
        }
        self.list(&draft.group_by, ", ", |text, key| text.piece(&key.node, &key.fragment));
    }

    fn fields(&mut self, draft: &Draft) {
        let picked = draft.pick.as_ref().map(|(_, fields)| fields);
        let exprs = || picked.into_iter().flatten().flat_map(|field| &field.exprs);
        let is_star = |kind: &ExprKind| matches!(kind, ExprKind::Wildcard { qualifier: None, .. });
        let takes_all = picked.is_none() || exprs().any(|expr| is_star(&expr.kind));
        let names = |name: &str| {
            exprs().any(|expr| matches!(&expr.kind, ExprKind::Name(parts) if parts.len() == 1 && &*parts[0].text == name))
        };
        if picked.is_none() {
            self.push("*");
        }
        for (at, added) in draft.columns.iter().enumerate() {
            if at > 0 || picked.is_none() {
                self.push(", ");
            }
            self.piece(&added.node, &added.column.expr);
            if !added.column.is_named {
                self.push(" AS ");
                self.name(&added.column.name);
            }
            if !takes_all || names(&added.column.name) {
                self.push(" INVISIBLE");
            }
        }
        let Some((node, fields)) = &draft.pick else { return };
        for (at, field) in fields.iter().enumerate() {
            if at > 0 || !draft.columns.is_empty() {
                self.push(", ");
            }
            self.piece(node, field);
        }
    }

    fn feed(&mut self, feed: &Feed) {
        if feed.queries.is_empty() {
            return self.name(&feed.alias);
        }
        self.push("(");
        self.list(&feed.queries, " UNION ALL ", |text, query| text.select(query));
        self.push(") AS ");
        self.name(&feed.alias);
    }

    fn union(&mut self, alias: &str, feeds: &[Feed]) {
        self.push("(");
        self.list(feeds, " UNION ALL ", |text, feed| {
            text.push("SELECT * FROM ");
            text.feed(feed);
        });
        self.push(") AS ");
        self.name(alias);
    }

    fn conditions(&mut self, clause: &str, parts: &[Part]) {
        if parts.is_empty() {
            return;
        }
        self.push(clause);
        self.list(parts, " AND ", |text, part| {
            if part.unless.is_empty() {
                text.push("(");
                text.piece(&part.node, &part.fragment);
                text.push(")");
                return;
            }
            // The first case that is true takes the row.
            text.push("(CASE");
            for case in &part.unless {
                text.push(" WHEN ");
                text.piece(&part.node, case);
                text.push(" THEN FALSE");
            }
            text.push(" WHEN ");
            text.piece(&part.node, &part.fragment);
            text.push(" THEN TRUE ELSE FALSE END)");
        });
    }
}
