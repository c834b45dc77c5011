//! The operators of a graph and their properties (R6.3). Their expressions are SQL, and are read here for the first
//! time, each by itself, so that a mistake is told at its own place.

use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_core::diagnostic::nearest;
use thalweg_core::{Diagnostic, Props};
use thalweg_sql::ast::{self, ExprKind, FromSource};

/// An operator.
#[derive(Debug, Clone, PartialEq)]
pub enum Operator {
    /// Adds a column to each row.
    Function(Column),
    /// Adds a value to each group.
    Aggregate(Column),
    /// Lets rows through, or groups.
    Filter(Fragment),
    /// The columns of the result.
    Pick(Vec<Fragment>),
    /// Collects rows.
    Window(WindowCall),
    /// Event time: the streams whose times it follows.
    Watermark(Vec<Arc<str>>),
    /// Joins streams of a window, or rows with a lookup table.
    Join {
        /// The first stream.
        from: Arc<str>,
        /// The others, in order.
        joins: Vec<Joined>,
    },
    /// Groups a collection.
    GroupBy(Vec<Fragment>),
    /// Sorts a collection.
    OrderBy(Vec<(Fragment, bool)>),
    /// Has one outlet for each condition.
    Switch {
        /// The conditions.
        cases: Vec<Fragment>,
        /// Whether a row leaves through the first outlet only.
        stops: bool,
    },
}

/// A piece of SQL in a property.
#[derive(Debug, Clone, PartialEq)]
pub struct Fragment {
    /// As written.
    pub text: String,
    /// Where in the node: `at props/expr`.
    pub place: String,
    /// The expressions in it.
    pub exprs: Vec<ast::Expr>,
}

/// A named expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    /// Its text, with the name where one was written.
    pub expr: Fragment,
    /// Its name.
    pub name: Arc<str>,
    /// Whether the text holds the name.
    pub is_named: bool,
}

/// The call that a window is in SQL.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowCall(pub String);

/// One join.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// `INNER` …
    pub kind: &'static str,
    /// The stream or table.
    pub name: Arc<str>,
    /// The condition; a cross join has none.
    pub on: Option<Fragment>,
}

/// The operators by name.
pub const NAMES: [&str; 11] = [
    "function",
    "aggfunc",
    "filter",
    "pick",
    "window",
    "watermark",
    "join",
    "groupby",
    "orderby",
    "switch",
    "script",
];

impl Operator {
    /// Its name in `nodeType`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Function(_) => "function",
            Self::Aggregate(_) => "aggfunc",
            Self::Filter(_) => "filter",
            Self::Pick(_) => "pick",
            Self::Window(_) => "window",
            Self::Watermark(_) => "watermark",
            Self::Join { .. } => "join",
            Self::GroupBy(_) => "groupby",
            Self::OrderBy(_) => "orderby",
            Self::Switch { .. } => "switch",
        }
    }

    pub(super) fn read(node: &str, kind: &str, props: &Props) -> Result<Self, Vec<Diagnostic>> {
        let name = kind.to_lowercase();
        let read = match name.as_str() {
            "function" => column(props).map(Self::Function),
            "aggfunc" => column(props).map(Self::Aggregate),
            "filter" => condition(props).map(Self::Filter),
            "pick" => fields(props).map(Self::Pick),
            "window" => window(props).map(Self::Window).map_err(|why| vec![why]),
            "watermark" => watermark(props).map(Self::Watermark).map_err(|why| vec![why]),
            "join" => join(props),
            "groupby" => dimensions(props).map(Self::GroupBy),
            "orderby" => sorts(props).map(Self::OrderBy),
            "switch" => switch(props),
            "script" => {
                let text = format!("operator {node} is a script, which this version does not run");
                let help = "use function, filter and pick nodes, or a function of a plugin";
                return Err(vec![Diagnostic::plain(text).help(help)]);
            }
            _ => {
                let mistake = Diagnostic::plain(format!("unknown operator type {kind}"));
                return Err(vec![mistake.help(match nearest(&name, NAMES) {
                    Some(near) => format!("did you mean {near}?"),
                    None => format!("known are {}", NAMES.join(", ")),
                })]);
            }
        };
        let told = |why: Diagnostic| Diagnostic {
            code: thalweg_core::ErrorCode::Undefined,
            message: format!("parse {name} {node} error: {}", why.message.trim_end().trim_end_matches('.')),
            ..why
        };
        read.map_err(|all| all.into_iter().map(told).collect())
    }
}

type Read<T> = Result<T, Vec<Diagnostic>>;

fn refuse<T>(text: impl Into<String>, help: impl Into<String>) -> Read<T> {
    Err(vec![Diagnostic::plain(text).help(help)])
}

/// The text of a property that must be there.
fn written(props: &Props, name: &str) -> Read<String> {
    match props.get(name) {
        None | Some(Json::Null) => {
            refuse(format!("no {name}"), format!("write it into props: \"{name}\": \"…\""))
        }
        Some(Json::String(text)) => Ok(text.clone()),
        Some(other) => refuse(format!("{name} {other} is not string"), format!("at props/{name}")),
    }
}

/// The texts of a list.
fn texts<'a>(props: &'a Props, name: &str) -> Read<Vec<&'a str>> {
    let items = match props.get(name) {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(items)) => items,
        Some(other) => {
            return refuse(
                format!("{name} must be a list of texts, not {other}"),
                format!("at props/{name}"),
            );
        }
    };
    let text = |item: &'a Json| match item.as_str() {
        Some(text) => Ok(text),
        None => refuse(format!("{name} must be a list of texts, not of {item}"), format!("at props/{name}")),
    };
    items.iter().map(text).collect()
}

/// An expression by itself.
fn expr(text: &str, place: String) -> Read<Fragment> {
    match thalweg_sql::parse_expr(text) {
        Ok(expr) => Ok(Fragment { text: text.to_owned(), place, exprs: vec![expr] }),
        Err(mistakes) => Err(mistakes.into_iter().map(|why| why.inside(&place, text)).collect()),
    }
}

/// What stands before the fields when they are read by themselves.
const BEFORE: &str = "SELECT ";

/// Fields of a SELECT by themselves.
fn select_fields(text: &str, place: &str) -> Read<(Fragment, Vec<ast::SelectField>)> {
    let sql = format!("{BEFORE}{text}\nFROM graph");
    let back = |why: Diagnostic| {
        let span = why.span.map(|span| {
            let of = |at: u32| (at as usize).saturating_sub(BEFORE.len()).min(text.len());
            thalweg_core::Span::new(of(span.start), of(span.end))
        });
        let is_behind = why.span.is_some_and(|span| span.start as usize >= BEFORE.len() + text.len());
        let message =
            if is_behind { why.message.replace("found \"FROM\"", "found \"EOF\"") } else { why.message };
        Diagnostic { span, message, ..why }.inside(place, text)
    };
    let query =
        thalweg_sql::parse_query(&sql).map_err(|all| all.into_iter().map(back).collect::<Vec<_>>())?;
    let is_list = |select: &ast::Select| {
        let is_whole = matches!(&select.from.source, FromSource::Named(name) if &*name.text == "graph");
        let clauses = select.filter.is_some() || select.having.is_some() || select.window.is_some();
        let lists = select.joins.len() + select.group_by.len() + select.order_by.len();
        is_whole && select.from.alias.is_none() && !clauses && lists == 0 && select.limit.is_none()
    };
    let mut selects = query.selects;
    match (selects.pop(), selects.is_empty()) {
        (Some(select), true) if query.with.is_empty() && is_list(&select) => {
            let exprs = select.fields.iter().map(|field| field.expr.clone()).collect();
            Ok((Fragment { text: text.to_owned(), place: place.to_owned(), exprs }, select.fields))
        }
        _ => refuse(format!("{text} is no expression"), place),
    }
}

fn column(props: &Props) -> Read<Column> {
    let text = written(props, "expr")?;
    let (expr, fields) = select_fields(&text, "at props/expr")?;
    let [field] = &fields[..] else {
        return refuse("expr holds several expressions", "at props/expr; make a node for each");
    };
    let name = match (&field.alias, &field.expr.kind) {
        (Some(alias), _) => Arc::clone(&alias.text),
        (None, ExprKind::Call(call)) => match thalweg_expr::registry::builtin(&call.name.text) {
            Some(_) => Arc::from(call.name.text.to_lowercase()),
            None => Arc::clone(&call.name.text),
        },
        (None, _) => {
            return refuse(
                format!("expr {text} is no call of a function"),
                "at props/expr; name the column with AS",
            );
        }
    };
    Ok(Column { expr, name, is_named: field.alias.is_some() })
}

fn condition(props: &Props) -> Read<Fragment> {
    expr(&written(props, "expr")?, "at props/expr".to_owned())
}

fn fields(props: &Props) -> Read<Vec<Fragment>> {
    let texts = texts(props, "fields")?;
    if texts.is_empty() {
        return refuse("pick must have at least one field", "write \"fields\": [\"a\", \"b AS c\"]");
    }
    let field = |(at, text): (usize, &&str)| Ok(select_fields(text, &format!("at props/fields/{at}"))?.0);
    texts.iter().enumerate().map(field).collect()
}

fn dimensions(props: &Props) -> Read<Vec<Fragment>> {
    let texts = texts(props, "dimensions")?;
    if texts.is_empty() {
        return refuse("groupby must have at least one dimension", "write \"dimensions\": [\"a\"]");
    }
    texts.iter().enumerate().map(|(at, text)| expr(text, format!("at props/dimensions/{at}"))).collect()
}

/// `{"field": "a", "desc": true}`, as upstream's code reads it, or `"order": "desc"`, as its documentation says.
fn sorts(props: &Props) -> Read<Vec<(Fragment, bool)>> {
    let example = r#"write "sorts": [{"field": "a", "desc": true}]"#;
    let Some(Json::Array(items)) = props.get("sorts") else {
        return refuse("order by statement is empty", example);
    };
    let mut sorts = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let place = format!("at props/sorts/{at}");
        let Json::Object(item) = item else { return refuse(format!("sort {item} is no object"), example) };
        let item = Props::from(item.clone());
        let field = expr(&written(&item, "field")?, format!("{place}/field"))?;
        let (desc, order) = (item.bool("desc"), item.text("order"));
        let desc = desc.map_err(|why| vec![why.help(place.clone())])?;
        let order = order.map_err(|why| vec![why.help(place.clone())])?.unwrap_or_default();
        let by_word = match order.to_lowercase().as_str() {
            "" | "asc" => false,
            "desc" => true,
            _ => return refuse(format!("order {order} is invalid"), format!("{place}; it is asc or desc")),
        };
        sorts.push((field, desc.unwrap_or(by_word)));
    }
    if sorts.is_empty() { refuse("order by statement is empty", example) } else { Ok(sorts) }
}

fn switch(props: &Props) -> Read<Operator> {
    let texts = texts(props, "cases")?;
    if texts.is_empty() {
        return refuse("switch node must have at least one case", "write \"cases\": [\"a > 1\", \"a <= 1\"]");
    }
    let case = |(at, text): (usize, &&str)| {
        expr(text, format!("at props/cases/{at}")).map_err(|all| {
            let told = |why: Diagnostic| Diagnostic {
                message: format!("parse case {at} error: {}", why.message),
                ..why
            };
            all.into_iter().map(told).collect::<Vec<_>>()
        })
    };
    let cases = texts.iter().enumerate().map(case).collect::<Read<Vec<_>>>()?;
    let stops = props.bool("stopAtFirstMatch").map_err(|why| vec![why])?.unwrap_or_default();
    Ok(Operator::Switch { cases, stops })
}

fn watermark(props: &Props) -> Result<Vec<Arc<str>>, Diagnostic> {
    let names = texts(props, "emitters").map_err(|mut all| all.remove(0))?;
    if names.is_empty() {
        let mistake = Diagnostic::plain("watermark must have at least one emitter");
        return Err(mistake.help("write the names of its streams: \"emitters\": [\"demo\"]"));
    }
    Ok(names.into_iter().map(Arc::from).collect())
}

fn join(props: &Props) -> Read<Operator> {
    let from = Arc::from(written(props, "from")?);
    let Some(Json::Array(items)) = props.get("joins") else {
        return refuse("no joins", r#"write "joins": [{"name": "b", "type": "inner", "on": "a.id = b.id"}]"#);
    };
    let mut joins = Vec::new();
    for (at, item) in items.iter().enumerate() {
        let Json::Object(item) = item else {
            return refuse(format!("join {item} is no object"), format!("at props/joins/{at}"));
        };
        let item = Props::from(item.clone());
        let kind = written(&item, "type")?;
        let kind = match kind.to_lowercase().as_str() {
            "inner" => "INNER",
            "left" => "LEFT",
            "right" => "RIGHT",
            "full" => "FULL",
            "cross" => "CROSS",
            _ => {
                let help = format!("at props/joins/{at}; it is inner, left, right, full or cross");
                return refuse(format!("unknown join type {kind}"), help);
            }
        };
        let on = match kind {
            "CROSS" => None,
            _ => Some(expr(&written(&item, "on")?, format!("at props/joins/{at}/on"))?),
        };
        joins.push(Joined { kind, name: Arc::from(written(&item, "name")?), on });
    }
    if joins.is_empty() {
        return refuse("no joins", "name at least one stream or table in props/joins");
    }
    Ok(Operator::Join { from, joins })
}

fn window(props: &Props) -> Result<WindowCall, Diagnostic> {
    let wrong = |text: String| Err(Diagnostic::plain(text));
    let text = |name| props.text(name).map(|text| text.unwrap_or_default().to_lowercase());
    let (kind, unit) = (text("type")?, text("unit")?);
    let size = props.int("size")?.unwrap_or_default();
    let interval = props.int("interval")?.unwrap_or_default();
    if size <= 0 {
        let mistake = Diagnostic::plain(format!("window size {size} is invalid"));
        return Err(mistake.help("it is 1 or more"));
    }
    if kind != "countwindow" && !["dd", "hh", "mi", "ss", "ms"].contains(&unit.as_str()) {
        let mistake = Diagnostic::plain(format!("Invalid unit {unit}"));
        return Err(mistake.help("it is dd, hh, mi, ss or ms"));
    }
    Ok(WindowCall(match kind.as_str() {
        "tumblingwindow" if interval == 0 || interval == size => format!("TUMBLINGWINDOW({unit}, {size})"),
        "tumblingwindow" => return wrong("tumbling window interval must equal to size".to_owned()),
        "hoppingwindow" if interval <= 0 => {
            return wrong("hopping window interval must be greater than 0".to_owned());
        }
        "hoppingwindow" if interval > size => {
            return wrong("hopping window interval must be less than size".to_owned());
        }
        "hoppingwindow" => format!("HOPPINGWINDOW({unit}, {size}, {interval})"),
        "sessionwindow" if interval <= 0 => {
            return wrong("session window interval must be greater than 0".to_owned());
        }
        "sessionwindow" => format!("SESSIONWINDOW({unit}, {size}, {interval})"),
        "slidingwindow" if interval == 0 || interval == size => format!("SLIDINGWINDOW({unit}, {size})"),
        "slidingwindow" => return wrong("sliding window interval must equal to size".to_owned()),
        "countwindow" if interval < 0 => {
            return wrong("count window interval must be greater or equal to 0".to_owned());
        }
        "countwindow" if interval > size => {
            return wrong("count window interval must be less than size".to_owned());
        }
        "countwindow" if interval == 0 => format!("COUNTWINDOW({size})"),
        "countwindow" => format!("COUNTWINDOW({size}, {interval})"),
        _ => {
            let known = ["tumblingwindow", "hoppingwindow", "slidingwindow", "sessionwindow", "countwindow"];
            let mistake = Diagnostic::plain(format!("unknown window type {kind}"));
            return Err(match nearest(&kind, known) {
                Some(near) => mistake.help(format!("did you mean {near}?")),
                None => mistake.help(format!("known are {}", known.join(", "))),
            });
        }
    }))
}
