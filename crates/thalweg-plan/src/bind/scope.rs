//! What names mean: sources, their columns, qualifiers (P-19), ambiguity (J-6).

use std::sync::Arc;

use thalweg_core::diagnostic::nearest;
use thalweg_core::path::is_same;
use thalweg_core::projection::{Strict, Want, Wanted};
use thalweg_core::{Diagnostic, Projection, Slot, Span, Value};
use thalweg_expr::Expr;
use thalweg_expr::expr::Step;
use thalweg_sql::ast;

use super::Binder;
use super::query;
use crate::logical::{Node, Plan, StreamDef};

/// How a source takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Its events drive the rule.
    Stream,
    /// Keeps its last rows, never triggers (J-10).
    Table,
    /// Asked row by row (J-12).
    Lookup,
}

/// A stream or table of FROM or JOIN.
#[derive(Debug)]
pub(super) struct Source {
    pub alias: Arc<str>,
    pub stream: Arc<StreamDef>,
    pub role: Role,
    pub projection: Projection,
    /// What a sub-query or a WITH name is made of.
    pub query: Option<Node>,
    /// The binder's slot of each projection slot.
    pub slots: Vec<Slot>,
    /// lateData: the projection slot with whole rows.
    pub late: Option<Slot>,
    pub span: Span,
}

/// Names that are listed where none is near.
const MAX_LISTED: usize = 12;

impl Source {
    fn new(alias: Arc<str>, stream: Arc<StreamDef>, ignore_case: bool, span: Span) -> Self {
        let role = match (stream.kind, stream.is_lookup) {
            (ast::SourceKind::Stream, _) => Role::Stream,
            (ast::SourceKind::Table, false) => Role::Table,
            (ast::SourceKind::Table, true) => Role::Lookup,
        };
        let declared = stream.columns.as_ref();
        let declared = declared
            .map(|columns| columns.iter().map(|c| (Arc::clone(&c.name), c.data_type.clone())).collect());
        let projection = Projection {
            source: Arc::clone(&stream.name),
            slots: Vec::new(),
            whole_numbers: stream.whole_numbers,
            ignore_case,
            strict_json: stream.strict_json,
            declared,
        };
        Self { alias, stream, role, projection, query: None, slots: Vec::new(), late: None, span }
    }

    /// Whether the source may have the column: `None` when it has no schema and may have any.
    fn declares(&self, name: &str, ignore_case: bool) -> Option<bool> {
        let columns = self.stream.columns.as_ref()?;
        Some(columns.iter().any(|column| same(&column.name, name, ignore_case)))
    }
}

/// Name equality (C-1).
pub(super) fn same(a: &str, b: &str, ignore_case: bool) -> bool {
    a == b || ignore_case && is_same(a, b)
}

impl<'q> Binder<'q, '_> {
    /// Adds the source of FROM or of a JOIN.
    pub(super) fn add_source(&mut self, from: &'q ast::From) -> Option<usize> {
        let name = match &from.source {
            ast::FromSource::Named(name) => name,
            ast::FromSource::Broken => return self.add_lost(),
            ast::FromSource::Query(query) => {
                let span = query.selects.first().map_or(Span::default(), |select| select.span);
                let Some(alias) = &from.alias else {
                    return self.fail(Diagnostic::plain("a sub-query needs an alias").at(span));
                };
                return match query::bind(query, &query::inner(self.options), self.world, &self.scope) {
                    Ok(plan) => self.add_query(alias, plan),
                    Err(mistakes) => {
                        mistakes.into_iter().for_each(|mistake| self.note(mistake));
                        self.add_unknown(alias)
                    }
                };
            }
        };
        let alias = from.alias.as_ref().unwrap_or(name);
        match self.scope.plan(&name.text) {
            Some(Some(plan)) => return self.add_query(alias, plan),
            Some(None) => return self.add_unknown(alias),
            None => {}
        }
        let Some(stream) = self.world.stream(&name.text) else {
            let mut names = self.world.stream_names();
            names.extend(self.scope.names().map(str::to_owned));
            let mut mistake = Diagnostic::plain(format!(
                "fail to get stream {}, please check if stream is created",
                name.text
            ));
            let near = nearest(&name.text, names.iter().map(String::as_str));
            mistake = mistake.help(match near {
                Some(near) => format!("did you mean {near}?"),
                None if name.text.contains(['/', '#', '+']) => {
                    "FROM names a stream; a topic is its option DATASOURCE".to_owned()
                }
                None if names.is_empty() => "there is none yet; CREATE STREAM defines one".to_owned(),
                None if names.len() <= MAX_LISTED => format!("known are {}", names.join(", ")),
                None => "SHOW STREAMS lists those that are".to_owned(),
            });
            self.note(mistake.at(name.span));
            return self.add_unknown(alias);
        };
        self.open(alias, stream, name.span)
    }

    /// A source that is missing or wrong: any column may be in it, so that no further mistake follows from it.
    fn add_unknown(&mut self, alias: &ast::Name) -> Option<usize> {
        self.is_partial = true;
        self.open(alias, Arc::new(StreamDef::schemaless(&alias.text)), alias.span)
    }

    /// A source whose name and alias are not known, either.
    fn add_lost(&mut self) -> Option<usize> {
        self.is_partial = true;
        let name = Arc::from("");
        let stream = Arc::new(StreamDef::schemaless(&name));
        self.sources.push(Source::new(name, stream, self.options.ignore_case, Span::default()));
        Some(self.sources.len() - 1)
    }

    /// Whether a name may be that of a source that could not be read.
    pub(super) fn may_name_lost(&self) -> bool {
        self.sources.iter().any(|source| source.alias.is_empty())
    }

    /// Adds a planned query as a stream without schema.
    fn add_query(&mut self, alias: &ast::Name, plan: Plan) -> Option<usize> {
        self.hosts.extend(plan.hosts);
        self.warnings.extend(plan.warnings);
        let source = self.open(alias, Arc::new(StreamDef::schemaless(&alias.text)), alias.span)?;
        self.sources[source].query = Some(plan.root);
        Some(source)
    }

    fn open(&mut self, alias: &ast::Name, stream: Arc<StreamDef>, span: Span) -> Option<usize> {
        if self.sources.iter().any(|source| source.alias == alias.text) {
            let mistake = Diagnostic::plain(format!("source {} occurs twice", alias.text)).at(alias.span);
            return self.fail(mistake.help("give one of them another name with AS"));
        }
        let source = Source::new(Arc::clone(&alias.text), stream, self.options.ignore_case, span);
        self.sources.push(source);
        Some(self.sources.len() - 1)
    }

    /// The source that a qualifier names: by alias, else by the stream's own name if only one source has it.
    pub(super) fn source_named(&self, name: &str) -> Option<usize> {
        let by_alias = self.sources.iter().position(|source| &*source.alias == name);
        by_alias.or_else(|| {
            let mut by_name = (0..self.sources.len()).filter(|&i| &*self.sources[i].stream.name == name);
            by_name.next().filter(|_| by_name.next().is_none())
        })
    }

    /// The binder's slot for what a source shall deliver.
    pub(super) fn want(&mut self, source: usize, want: Want, strict: Option<Strict>) -> Slot {
        let local = self.sources[source].projection.slot(want, strict).index();
        if local == self.sources[source].slots.len() {
            let slot = self.new_slot();
            self.slot_sources[slot.index()] = Some(source);
            self.sources[source].slots.push(slot);
        }
        self.sources[source].slots[local]
    }

    /// The slot of a top-level column; `None` if the source's schema does not have it.
    pub(super) fn column_slot(&mut self, source: usize, name: &Arc<str>) -> Option<Slot> {
        let stream = Arc::clone(&self.sources[source].stream);
        let Some(columns) = &stream.columns else {
            let path = vec![self.first_spelling(source, name)];
            return Some(self.want(source, Want::Column { path, data_type: None }, None));
        };
        let ignore_case = self.options.ignore_case;
        let exact = columns.iter().rfind(|column| column.name == *name);
        let column =
            exact.or_else(|| columns.iter().rfind(|column| same(&column.name, name, ignore_case)))?;
        let strict = stream.strict.then(|| Strict {
            default: column.default.clone(),
            time_format: stream.timestamp_format.clone(),
        });
        let path = vec![Arc::clone(&column.name)];
        Some(self.want(source, Want::Column { path, data_type: Some(column.data_type.clone()) }, strict))
    }

    /// How the rule wrote the name first: a column that is named in two cases is one column (C-1).
    fn first_spelling(&self, source: usize, name: &Arc<str>) -> Arc<str> {
        let known = |wanted: &Wanted| match &wanted.want {
            Want::Column { path, .. } => path.first().filter(|known| is_same(known, name)).cloned(),
            _ => None,
        };
        let slots = &self.sources[source].projection.slots;
        let first = self.options.ignore_case.then(|| slots.iter().find_map(known)).flatten();
        first.unwrap_or_else(|| Arc::clone(name))
    }

    /// All columns of a source: the declared ones, or one slot named `*` with the whole object.
    pub(super) fn all_columns(&mut self, source: usize) -> Vec<(Arc<str>, Slot)> {
        let stream = Arc::clone(&self.sources[source].stream);
        match &stream.columns {
            None => vec![(Arc::from("*"), self.want(source, Want::Everything, None))],
            Some(columns) => {
                let names = columns.iter().map(|column| Arc::clone(&column.name));
                names.filter_map(|name| Some((Arc::clone(&name), self.column_slot(source, &name)?))).collect()
            }
        }
    }

    /// Whether some source is known to have, or (without schema) may have, a column of this name.
    pub(super) fn declared_anywhere(&self, name: &str) -> bool {
        self.sources.iter().any(|source| source.declares(name, self.options.ignore_case) == Some(true))
    }

    /// Whether any source has no schema.
    pub(super) fn any_schemaless(&self) -> bool {
        self.sources.iter().any(|source| source.stream.columns.is_none())
    }

    /// A written name as source column and path, without looking at aliases. `only` binds for the events of one
    /// source: the columns of the others are null there.
    pub(super) fn column(&mut self, parts: &[ast::Name], only: Option<usize>) -> Option<Expr> {
        let first = parts.first()?;
        let qualifier = if parts.len() > 1 { self.source_named(&first.text) } else { None };
        let (column, path) = match qualifier {
            Some(source) => {
                let column = &parts[1];
                let value = if only.is_some_and(|only| only != source) {
                    Expr::literal(Value::Null)
                } else {
                    match self.column_slot(source, &column.text) {
                        Some(slot) => Expr::Column(slot),
                        None => return self.unknown_column(column, Some(source)),
                    }
                };
                (value, &parts[2..])
            }
            None => (self.unqualified(first, parts.len() > 1, only)?, &parts[1..]),
        };
        Some(self.members(column, path))
    }

    /// A name without source. `is_qualifier`: a point follows it.
    fn unqualified(&mut self, name: &ast::Name, is_qualifier: bool, only: Option<usize>) -> Option<Expr> {
        let ignore_case = self.options.ignore_case;
        let all = |binder: &Self, has: Option<bool>| -> Vec<usize> {
            let order = binder.order.iter().copied();
            order.filter(|&i| binder.sources[i].declares(&name.text, ignore_case) == has).collect()
        };
        let declaring = all(self, Some(true));
        if declaring.len() > 1 && only.is_none() {
            let mistake = Diagnostic::plain(format!("ambiguous field {}", name.text)).at(name.span);
            let (a, b) = (&self.sources[declaring[0]].alias, &self.sources[declaring[1]].alias);
            let help = format!("write {a}.{0} or {b}.{0}", name.text);
            return self.fail(mistake.help(help));
        }
        let mut candidates = if declaring.is_empty() { all(self, None) } else { declaring };
        if candidates.is_empty() {
            return if is_qualifier { self.unknown_qualifier(name) } else { self.unknown_column(name, None) };
        }
        if let Some(only) = only {
            candidates.retain(|&source| source == only);
            if candidates.is_empty() {
                return Some(Expr::literal(Value::Null));
            }
        }
        let slots: Vec<Slot> =
            candidates.into_iter().filter_map(|i| self.column_slot(i, &name.text)).collect();
        // J-6: a null that is there is the value; only a missing one is looked for further on.
        Some(match slots[..] {
            [slot] => Expr::Column(slot),
            _ => Expr::First(slots.into_iter().map(Expr::Column).collect()),
        })
    }

    /// `x.y` where x is neither a source nor a column.
    fn unknown_qualifier<T>(&mut self, name: &ast::Name) -> Option<T> {
        let mistake = Diagnostic::plain(format!("unknown field {}", name.text)).at(name.span);
        let sources: Vec<&str> = self.sources.iter().map(|source| &*source.alias).collect();
        let help = match nearest(&name.text, sources.iter().copied()) {
            Some(near) => format!("did you mean {near}?"),
            None => format!("it is neither a source nor a column; the sources are {}", sources.join(", ")),
        };
        self.fail(mistake.help(help))
    }

    /// A column that no source, or not the source named before it, has.
    fn unknown_column<T>(&mut self, name: &ast::Name, source: Option<usize>) -> Option<T> {
        let mut mistake = Diagnostic::plain(format!("unknown field {}", name.text)).at(name.span);
        let sources = (0..self.sources.len()).filter(|index| source.is_none_or(|source| source == *index));
        let columns = sources.flat_map(|index| self.sources[index].stream.columns.iter().flatten());
        let aliases = self.alias_names().filter(|_| source.is_none());
        let mut known: Vec<&str> = Vec::new();
        for name in columns.map(|column| &*column.name).chain(aliases) {
            if !known.contains(&name) {
                known.push(name);
            }
        }
        if let Some(near) = nearest(&name.text, known.iter().copied()) {
            mistake = mistake.help(format!("did you mean {near}?"));
        } else if known.len() <= MAX_LISTED && !known.is_empty() {
            mistake = mistake.help(format!("known are {}", known.join(", ")));
        }
        self.fail(mistake)
    }

    /// The step to a member (C-1).
    pub(super) fn member(&self, name: &Arc<str>) -> Step {
        match self.options.ignore_case {
            true => Step::AnyCase(Arc::clone(name)),
            false => Step::Member(Arc::clone(name)),
        }
    }

    /// Appends member steps to an expression.
    pub(super) fn members(&self, value: Expr, names: &[ast::Name]) -> Expr {
        names.iter().fold(value, |value, name| step(value, self.member(&name.text)))
    }

    /// The metadata of a source, or of the first source that has the key (P-21).
    pub(super) fn metadata(&mut self, source: Option<usize>, path: &[Arc<str>]) -> Expr {
        let steps: Vec<Step> = path.iter().map(|name| self.member(name)).collect();
        let sources = source.map_or_else(|| self.order.clone(), |source| vec![source]);
        let mut values = Vec::new();
        for source in sources {
            let whole = Expr::Column(self.want(source, Want::Meta, None));
            values.push(if steps.is_empty() { whole } else { Expr::Path(Box::new(whole), steps.clone()) });
        }
        first_value(values)
    }
}

/// The first of the values that is not null: a member of metadata that is missing reads as null.
fn first_value(values: Vec<Expr>) -> Expr {
    let mut reversed = values.into_iter().rev();
    let last = reversed.next().unwrap_or(Expr::literal(Value::Null));
    reversed.fold(last, |otherwise, value| {
        let there = Expr::IsNull { negated: true, value: Box::new(value.clone()) };
        Expr::Case { value: None, arms: vec![(there, value)], otherwise: Some(Box::new(otherwise)) }
    })
}

/// Appends one step, joining paths.
pub(super) fn step(value: Expr, step: Step) -> Expr {
    match value {
        Expr::Path(base, mut steps) => {
            steps.push(step);
            Expr::Path(base, steps)
        }
        other => Expr::Path(Box::new(other), vec![step]),
    }
}
