//! The rule document: what was posted, checked but not planned (R1.1 to R1.3).

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_core::{Diagnostic, Props};
use thalweg_plan::graph::Graph;
use thalweg_sql::ast::{FromSource, Query, Statement};

use super::graph::{self, Drawing};
use super::options::RuleOptions;
use super::schedule::Wrong;
use crate::error::EngineError;
use crate::id::check_id;

/// A rule as written.
#[derive(Debug, Clone)]
pub struct RuleDefinition {
    /// Its id.
    pub id: Arc<str>,
    /// Its display name; empty: the id.
    pub name: String,
    /// Its version; empty: none.
    pub version: String,
    /// The document byte for byte as posted, or as re-written by start and stop (`rest-api.md` 5.3).
    pub text: String,
    /// The SELECT as text.
    pub sql: String,
    /// The SELECT as it was read; empty for a graph rule.
    pub query: Arc<Query>,
    /// Of a graph rule: the graph.
    pub graph: Option<Arc<Drawing>>,
    /// The sinks.
    pub actions: Vec<Action>,
    /// The options.
    pub options: RuleOptions,
    /// Whether it is to run.
    pub triggered: bool,
    /// Never stored.
    pub temp: bool,
    /// Its tags; `None`: never set.
    pub tags: Option<Vec<String>>,
    /// Of a trial: what a simulator plays in place of the source of a stream or table, by name.
    pub mocks: BTreeMap<Arc<str>, Props>,
}

/// One sink of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Action {
    /// The sink type.
    pub kind: String,
    /// The position of its object in `actions` (R1.2).
    pub index: usize,
    /// Its properties.
    pub props: Props,
    /// Of a graph rule: the name of the sink's node.
    pub node: Option<Arc<str>>,
}

impl Action {
    /// Where it stands in the rule document.
    pub(super) fn place(&self, is_late: bool) -> String {
        let list = if is_late { "/options/lateData" } else { "/actions" };
        match &self.node {
            Some(node) => format!("/graph/nodes/{node}/props"),
            None => format!("{list}/{}/{}", self.index, self.kind),
        }
    }
}

/// Finds mistakes of names and types in what could be read of a SELECT: given what was read, its mistakes of grammar,
/// and the rule's options if they can be read, all mistakes in the order in which they are told.
pub(super) type Search<'a> = &'a dyn Fn(&Query, Vec<Diagnostic>, Option<RuleOptions>) -> Vec<Diagnostic>;

impl RuleDefinition {
    /// Reads a document. `path_id` is the id of the REST path, when there is one.
    ///
    /// # Errors
    /// The first mistake in the order of R1.3, with upstream's text.
    pub fn parse(text: &str, path_id: Option<&str>, instance: &Props) -> Result<Self, EngineError> {
        Self::read(text, path_id, instance, &|_, mistakes, _| mistakes)
    }

    /// The same; more mistakes are searched in a SELECT that does not parse.
    pub(super) fn read(
        text: &str,
        path_id: Option<&str>,
        instance: &Props,
        search: Search<'_>,
    ) -> Result<Self, EngineError> {
        let document = object(text).map_err(|why| unreadable(text, &why))?;
        let at = |why: Diagnostic| located(why, &document.to_json(), "");
        let mistyped = |why: Diagnostic| unreadable(text, &at(why).to_string());
        let field =
            |name| document.text(name).map(|text| text.unwrap_or_default().to_owned()).map_err(mistyped);
        let (written_id, sql) = (field("id")?, field("sql")?);
        let graph = document.get("graph").filter(|graph| !graph.is_null()).map(Graph::read);
        let has_graph = graph.is_some();
        let written = all_actions(&document).map_err(mistyped)?;
        let options = own_options(&document).and_then(|own| RuleOptions::new(instance, &own)).map_err(at);
        let mut mistakes = Mistakes::default();
        let id = mistakes.keep(rule_id(&written_id, path_id));
        let name = id.as_deref().unwrap_or("(without id)");
        let query = check_form(name, sql.is_empty(), has_graph).and_then(|()| match has_graph {
            true => Ok(Query { with: Vec::new(), selects: Vec::new() }),
            false => read_sql(&sql, &|query, found| search(query, found, options.clone().ok())),
        });
        let query = mistakes.keep(query);
        if written.is_empty() && !has_graph {
            mistakes.texts.push(format!("Missing rule actions. ({ACTIONS})"));
        }
        if let Err(why) = &options {
            let why = why.to_string();
            let is_first = mistakes.texts.is_empty();
            mistakes.texts.push(if is_first { unreadable(text, &why).message } else { why });
        }
        let broken = options.as_ref().map(RuleOptions::mistakes).unwrap_or_default();
        if !broken.is_empty() {
            let (texts, places): (Vec<&str>, Vec<&str>) = broken.into_iter().unzip();
            let (texts, places) = (texts.join("\n"), places.join(" and /options/"));
            let advice = format!("at /options/{places}; 0 or more belongs there");
            mistakes.texts.push(format!("Rule {name} has invalid options: {texts}. ({advice})"));
        }
        if let Some(Err(wrong)) = options.as_ref().ok().map(|options| &options.schedule) {
            let Wrong { text, option, advice } = wrong;
            mistakes
                .texts
                .push(format!("Rule {name} has invalid options: {text}. (at /options/{option}; {advice})"));
        }
        let (Some(id), Some(query), Ok(options), []) = (id, query, options, &mistakes.texts[..]) else {
            return Err(EngineError::plain(mistakes.texts.join("\nalso: ")));
        };
        Ok(Self {
            name: field("name")?,
            version: field("version")?,
            text: text.to_owned(),
            query: Arc::new(query),
            actions: match &graph {
                Some(graph) => graph.as_ref().map(graph::actions).unwrap_or_default(),
                None => written,
            },
            graph: graph.map(Arc::new),
            options,
            triggered: document.bool("triggered").map_err(mistyped)?.unwrap_or(true),
            temp: document.bool("temp").map_err(mistyped)?.unwrap_or_default(),
            tags: tags(&document).map_err(mistyped)?,
            mocks: BTreeMap::new(),
            id: Arc::from(id),
            sql,
        })
    }

    /// The streams and tables that the rule reads, in the order written, each once.
    pub fn sources(&self) -> Vec<Arc<str>> {
        let mut names = Vec::new();
        if let Some(Ok(graph)) = self.graph.as_deref() {
            return graph.source_nodes().map(|(node, source)| Arc::clone(source.emitter(node))).collect();
        }
        collect(&self.query, &mut Vec::new(), &mut names);
        names
    }
}

/// What a rule looks like, for those who have sent something else.
const RULE: &str = r#"a rule is an object: {"id": "r1", "sql": "SELECT …", "actions": [{"log": {}}]}"#;
const ACTIONS: &str = r#"they say where results go: "actions": [{"log": {}}]"#;

/// The mistakes of a document in the order in which they are told (R1.3).
#[derive(Default)]
struct Mistakes {
    texts: Vec<String>,
}

impl Mistakes {
    fn keep<T>(&mut self, part: Result<T, EngineError>) -> Option<T> {
        part.map_err(|why| self.texts.push(why.message)).ok()
    }
}

fn unreadable(text: &str, why: &str) -> EngineError {
    EngineError::plain(format!("Parse rule {text} error : {why}."))
}

fn object(text: &str) -> Result<Props, String> {
    match serde_json::from_str(text) {
        Ok(Json::Object(document)) => Ok(Props::from(document)),
        Ok(_) => Err(RULE.to_owned()),
        Err(why) => Err(why.to_string()),
    }
}

/// A mistake with the place of the property that it names first, as a JSON pointer below `base`.
pub(super) fn located(mut why: Diagnostic, document: &Json, base: &str) -> Diagnostic {
    let named = why.message.split('"').nth(1).and_then(|name| name.rsplit('.').next());
    let place = named.and_then(|name| pointer(document, name));
    let is_told = why.help.as_deref().is_some_and(|help| help.starts_with("at /"));
    if let Some(place) = place.filter(|_| !is_told) {
        let place = format!("at {base}{place}");
        why.help = Some(why.help.map_or(place.clone(), |help| format!("{place}; {help}")));
    }
    why
}

/// The JSON pointer of the member of this name, outer ones first.
fn pointer(document: &Json, name: &str) -> Option<String> {
    let members = document.as_object()?;
    let own = members.keys().find(|key| key.eq_ignore_ascii_case(name)).map(|key| format!("/{key}"));
    own.or_else(|| members.iter().find_map(|(key, value)| Some(format!("/{key}{}", pointer(value, name)?))))
}

/// R1.3: the id of the document must be that of the path; in a PUT it may be absent.
fn rule_id(written: &str, path_id: Option<&str>) -> Result<String, EngineError> {
    let id = match (written, path_id) {
        ("", Some(path)) => path,
        ("", None) => {
            let advice = r#"it is its name in /rules/…: "id": "r1""#;
            return Err(EngineError::plain(format!("Missing rule id. ({advice})")));
        }
        (written, Some(path)) if written != path => {
            let text = "RuleId is not consistent with rule id.";
            let places = format!("the path says {path}, /id says {written}; leave /id out");
            return Err(EngineError::plain(format!("{text} ({places})")));
        }
        (written, _) => written,
    };
    check_id(id)?;
    Ok(id.to_owned())
}

fn own_options(document: &Props) -> Result<Props, Diagnostic> {
    match document.get("options") {
        None | Some(Json::Null) => Ok(Props::new()),
        Some(Json::Object(options)) => Ok(Props::from(options.clone())),
        Some(other) => {
            let mistake = Diagnostic::plain(format!("property \"options\" must be an object, not {other}"));
            Err(mistake.help("such as \"options\": {\"qos\": 1}"))
        }
    }
}

/// A rule is written as SQL or as a graph.
fn check_form(id: &str, no_sql: bool, has_graph: bool) -> Result<(), EngineError> {
    match (no_sql, has_graph) {
        (false, true) => {
            Err(EngineError::plain(format!("Rule {id} has both sql and graph. (leave /graph out)")))
        }
        (true, false) => Err(EngineError::plain(format!(
            "Rule {id} has neither sql nor graph. (write \"sql\": \"SELECT … FROM …\")"
        ))),
        (true, true) | (false, false) => Ok(()),
    }
}

fn read_sql(
    sql: &str,
    search: &dyn Fn(&Query, Vec<Diagnostic>) -> Vec<Diagnostic>,
) -> Result<Query, EngineError> {
    let statement = thalweg_sql::parse(sql).map_err(|mistakes| {
        let mistakes = match thalweg_sql::recover_query(sql) {
            (Some(query), mistakes) => search(&query, mistakes),
            (None, _) => mistakes,
        };
        EngineError::plain(thalweg_sql::parse_error(sql, &mistakes))
    })?;
    let Statement::Query(query) = statement else {
        let advice =
            "a rule is a SELECT; statements about streams and tables are posted to /streams and /tables";
        return Err(EngineError::plain(format!("SQL {sql} is not a select statement. ({advice})")));
    };
    Ok(*query)
}

fn all_actions(document: &Props) -> Result<Vec<Action>, Diagnostic> {
    match document.get("actions") {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Array(items)) => actions(items, "/actions"),
        Some(other) => {
            let mistake = Diagnostic::plain(format!("property \"actions\" must be a list, not {other}"));
            Err(mistake.help(ACTIONS))
        }
    }
}

/// Actions as written at a JSON pointer; an object with several keys gives several (R1.2).
pub(super) fn actions(items: &[Json], at: &str) -> Result<Vec<Action>, Diagnostic> {
    let mut actions = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let Json::Object(sinks) = item else {
            return Err(Diagnostic::plain(format!(
                "an action must be an object such as {{\"log\":{{}}}}, not {item}"
            ))
            .help(format!("at {at}/{index}")));
        };
        for (kind, props) in sinks {
            let props = match props {
                Json::Null => Props::new(),
                Json::Object(props) => Props::from(props.clone()),
                other => {
                    return Err(Diagnostic::plain(format!(
                        "action \"{kind}\" must be an object, not {other}"
                    ))
                    .help(format!("at {at}/{index}/{kind}; its properties stand in it")));
                }
            };
            actions.push(Action { kind: kind.clone(), index, props, node: None });
        }
    }
    Ok(actions)
}

fn tags(document: &Props) -> Result<Option<Vec<String>>, Diagnostic> {
    let wrong =
        || Diagnostic::plain("property \"tags\" must be a list of texts").help("such as \"tags\": [\"a\"]");
    match document.get("tags") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::Array(items)) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<_>>()
            .map(Some)
            .ok_or_else(wrong),
        Some(_) => Err(wrong()),
    }
}

fn collect(query: &Query, hidden: &mut Vec<Arc<str>>, names: &mut Vec<Arc<str>>) {
    let n_hidden = hidden.len();
    for (name, part) in &query.with {
        collect(part, hidden, names);
        hidden.push(Arc::clone(&name.text));
    }
    for select in &query.selects {
        for from in std::iter::once(&select.from).chain(select.joins.iter().map(|join| &join.right)) {
            match &from.source {
                FromSource::Query(inner) => collect(inner, hidden, names),
                FromSource::Named(name) if !hidden.contains(&name.text) && !names.contains(&name.text) => {
                    names.push(Arc::clone(&name.text));
                }
                FromSource::Named(_) | FromSource::Broken => {}
            }
        }
    }
    hidden.truncate(n_hidden);
}
