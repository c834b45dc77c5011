//! What sources, sinks and connections there are, and their properties (`rest-api.md` 8.1). Those of ours come from the
//! tables that connectors are built by; those of plugins from the files that came with them.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde_json::{Value as Json, json};
use thalweg_core::ErrorCode;
use thalweg_core::connector::{Connector, ConnectorKind};
use thalweg_core::registry::ConnectorRef;
use thalweg_core::spec::{PropSpec, Roles};
use thalweg_engine::{Document, EngineError};
use tracing::warn;

use super::field::{self, both};
use super::language::Words;
use super::routes::{Routes, get};
use super::{Answer, Failure, blocking};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/metadata/sources", get(sources))
        .route("/metadata/sources/{name}", get(source))
        .route("/metadata/sinks", get(sinks))
        .route("/metadata/sinks/{name}", get(sink))
        .route("/metadata/connections", get(connections))
        .route("/metadata/connections/{name}", get(connection))
}

/// As what a connector is described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum As {
    Source,
    Lookup,
    Sink,
    Connection,
}

/// A connector with what is known of it.
enum Described {
    Ours(&'static Connector),
    /// The file that came with a plugin.
    Portable(Json),
}

impl Described {
    fn kind(&self) -> &'static str {
        match self {
            Self::Ours(_) => "internal",
            Self::Portable(_) => "portable",
        }
    }

    fn about(&self) -> Document {
        match self {
            Self::Ours(connector) => field::about(connector.summary),
            Self::Portable(file) => field::about_of_file(&file["about"]),
        }
    }

    fn node(&self, category: &str) -> Document {
        match self {
            Self::Ours(connector) => Document::object()
                .with("category", category)
                .with("icon", "iconPath")
                .with("label", both(connector.name)),
            Self::Portable(file) => file["node"].clone().into(),
        }
    }

    fn libs(&self) -> Document {
        match self {
            Self::Ours(_) => json!([]).into(),
            Self::Portable(file) => file["libs"].clone().into(),
        }
    }
}

impl As {
    fn has(self, connector: &dyn ConnectorKind) -> bool {
        match self {
            Self::Source => connector.has_source(),
            Self::Lookup => connector.has_lookup(),
            Self::Sink => connector.has_sink(),
            Self::Connection => connector.has_connection(),
        }
    }

    fn names(self, app: &App) -> Vec<String> {
        let registry = app.engine.registry();
        match self {
            Self::Source => registry.names(|connector| connector.has_source()),
            Self::Lookup => registry.names(|connector| connector.has_lookup()),
            Self::Sink => registry.names(|connector| connector.has_sink()),
            Self::Connection => registry.names(|connector| connector.has_connection()),
        }
    }

    /// What is known of a connector, if it is there at all. One of a plugin without a file is not shown.
    fn find(self, app: &App, name: &str) -> Option<Described> {
        let registry = app.engine.registry();
        let found = match self {
            Self::Source => registry.source(name),
            Self::Lookup => registry.lookup(name),
            Self::Sink => registry.sink(name),
            Self::Connection => registry.connector(name).filter(|connector| self.has(&**connector)),
        }?;
        if found.name() != name {
            return None;
        }
        match found {
            ConnectorRef::Builtin(connector) => Some(Described::Ours(connector)),
            ConnectorRef::Plugin(_) => self.file(app, name).map(Described::Portable),
        }
    }

    fn file(self, app: &App, name: &str) -> Option<Json> {
        let folder = if self == Self::Sink { "sinks" } else { "sources" };
        let paths = ["data", "etc"].map(|base| app.home.join(base).join(folder).join(format!("{name}.json")));
        let is_name = !name.contains(['/', '\\']) && !name.contains("..");
        paths.iter().filter(|_| is_name).find_map(read)
    }

    /// Its own properties in this role, those without effect left out.
    fn fields(self, described: &Described) -> Document {
        match described {
            Described::Ours(connector) => {
                let own = connector.props.iter().filter(|spec| self.shows(spec));
                let mut fields: Vec<_> =
                    own.map(|spec| field::of_spec(spec, self == Self::Connection)).collect();
                if self != Self::Connection && connector.has_connection() {
                    fields.insert(0, field::of_spec(&SELECTOR, false));
                }
                Document::List(fields)
            }
            Described::Portable(file) => {
                let list =
                    if self == Self::Sink { &file["properties"] } else { &file["properties"]["default"] };
                Document::List(list.as_array().into_iter().flatten().map(field::of_file).collect())
            }
        }
    }

    fn shows(self, spec: &PropSpec) -> bool {
        let is_its = match self {
            Self::Source | Self::Lookup => {
                spec.roles.contains(Roles::SOURCE) || spec.roles.contains(Roles::LOOKUP)
            }
            Self::Sink => spec.roles.contains(Roles::SINK),
            Self::Connection => spec.of_connection,
        };
        is_its && !spec.inert
    }

    /// The whole document.
    fn document(self, app: &App, described: &Described) -> Document {
        let fields = self.fields(described);
        let document = Document::object().with("about", described.about()).with("libs", described.libs());
        match self {
            Self::Sink => document
                .with("properties", fields)
                .with("node", described.node("sink"))
                .with("type", described.kind()),
            Self::Source | Self::Lookup => document
                .with("dataSource", data_source(app, described))
                .with("properties", Document::object().with("default", fields))
                .with("node", described.node("source"))
                .with("type", described.kind()),
            Self::Connection => document
                .with("properties", Document::object().with("default", fields))
                .with("node", described.node("source")),
        }
    }
}

const SELECTOR: PropSpec = PropSpec::new(
    "connectionSelector",
    thalweg_core::spec::PropKind::Text,
    Roles::BOTH,
    "The named connection to use.",
);

fn read(path: &PathBuf) -> Option<Json> {
    let text = std::fs::read(path).ok()?;
    match serde_json::from_slice::<Json>(&text) {
        Ok(file) if file["about"].is_object() => Some(file),
        Ok(_) => {
            warn!(file = %path.display(), "a description without \"about\" is left out");
            None
        }
        Err(why) => {
            warn!(file = %path.display(), %why, "a description cannot be read and is left out");
            None
        }
    }
}

/// What DATASOURCE means.
fn data_source(app: &App, described: &Described) -> Document {
    if let Described::Portable(file) = described {
        return file["dataSource"].clone().into();
    }
    let common = app.engine.registry().common(Roles::SOURCE);
    let help = common.iter().find(|spec| spec.name == "datasource").map_or("", |spec| spec.help);
    json!({
        "default": "",
        "hint": {"en_US": help, "zh_CN": help},
        "label": {"en_US": "Data source", "zh_CN": "Data source"},
    })
    .into()
}

#[derive(serde::Deserialize)]
struct Kind {
    #[serde(default)]
    kind: String,
}

async fn list(app: Arc<App>, role: As) -> Call {
    let listed = blocking(move || {
        let names = role.names(&app).into_iter();
        let described = names.filter_map(|name| Some((role.find(&app, &name)?, name)));
        let rows = described.map(|(described, name)| {
            let row = Document::object().with("name", name).with("about", described.about());
            if role == As::Connection { row } else { row.with("type", described.kind()) }
        });
        Ok(Document::List(rows.collect()))
    });
    Ok(Answer::document(&listed.await?))
}

/// One document; `roles` are tried in order.
async fn show(app: Arc<App>, roles: &'static [As], name: String, headers: HeaderMap) -> Call {
    let shown = blocking(move || {
        let found = roles.iter().find_map(|role| Some((role, role.find(&app, &name)?)));
        let unknown = || {
            let is_sink = roles.contains(&As::Sink);
            let words = Words::of(&app.home, &headers, if is_sink { "sink" } else { "source" });
            let is_connection = roles.contains(&As::Connection);
            let code = if is_connection { ErrorCode::Undefined } else { ErrorCode::ConfKey };
            EngineError::new(code, format!("{}{name}", words.not_found))
        };
        let (role, described) = found.ok_or_else(unknown)?;
        Ok(role.document(&app, &described))
    });
    Ok(Answer::document(&shown.await?))
}

async fn sources(State(app): Shared, Query(wanted): Query<Kind>) -> Call {
    list(app, if wanted.kind.eq_ignore_ascii_case("lookup") { As::Lookup } else { As::Source }).await
}

async fn source(State(app): Shared, Path(name): Path<String>, headers: HeaderMap) -> Call {
    show(app, &[As::Source, As::Lookup], name, headers).await
}

async fn sinks(State(app): Shared) -> Call {
    list(app, As::Sink).await
}

async fn sink(State(app): Shared, Path(name): Path<String>, headers: HeaderMap) -> Call {
    show(app, &[As::Sink], name, headers).await
}

async fn connections(State(app): Shared) -> Call {
    list(app, As::Connection).await
}

async fn connection(State(app): Shared, Path(name): Path<String>, headers: HeaderMap) -> Call {
    show(app, &[As::Connection], name, headers).await
}
