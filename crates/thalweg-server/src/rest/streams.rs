//! Streams and tables (`rest-api.md` 4): two families of paths over one catalog.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Deserialize;
use serde_json::Value as Json;
use thalweg_core::ErrorCode;
use thalweg_engine::{EngineError, check_id};
use thalweg_sql::ast::SourceKind;

use super::answer::prefix;
use super::body::{self, Query, Text};
use super::routes::{Routes, get};
use super::{Answer, Failure, blocking};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;

/// `?kind=` of lists, `?force=` of deletes.
#[derive(Deserialize)]
struct Options {
    kind: Option<String>,
    force: Option<String>,
}

pub(super) fn routes() -> Routes {
    Routes::new()
        .merge(family(
            SourceKind::Stream,
            ["/streams", "/streams/{name}", "/streams/{name}/schema", "/streamdetails"],
        ))
        .merge(family(
            SourceKind::Table,
            ["/tables", "/tables/{name}", "/tables/{name}/schema", "/tabledetails"],
        ))
}

fn family(kind: SourceKind, [all, one, schema, details]: [&str; 4]) -> Routes {
    let is_table = kind == SourceKind::Table;
    Routes::new()
        .route(
            all,
            get(move |State(app): Shared, Query(options): Query<Options>| async move {
                let filter = options.kind.filter(|_| is_table);
                Answer::json(&Json::from(app.engine.catalog().names(kind, filter.as_deref())))
            })
            .post(move |State(app): Shared, Text(text): Text| create(app, text)),
        )
        .route(
            details,
            get(move |State(app): Shared, Query(options): Query<Options>| async move {
                let filter = options.kind.filter(|_| is_table);
                Answer::document(&app.engine.catalog().details(kind, filter.as_deref()))
            }),
        )
        .route(
            one,
            get(move |State(app): Shared, Path(name): Path<String>| async move { describe(&app, kind, &name) })
                .put(move |State(app): Shared, Path(name): Path<String>, Text(text): Text| replace(app, kind, name, text))
                .delete(move |State(app): Shared, Path(name): Path<String>, Query(options): Query<Options>| {
                    let force = options.force.is_some_and(|force| is_true(&force));
                    remove(app, kind, name, force)
                }),
        )
        .route(
            schema,
            get(move |State(app): Shared, Path(name): Path<String>| async move {
                let text = if is_table { "get schema of table error" } else { "get schema of stream error" };
                let schema = check(&name).and_then(|()| app.engine.catalog().schema(kind, &name));
                schema.map(|schema| Answer::json(&schema)).map_err(prefix(text))
            }),
        )
}

/// A POST runs any statement about streams and tables, of either kind.
async fn create(app: Arc<App>, text: String) -> Call {
    let sql = statement(&text)?;
    let catalog = Arc::clone(app.engine.catalog());
    let done = blocking(move || catalog.execute(&sql)).await;
    done.map(Answer::created).map_err(prefix("Stream command error"))
}

fn describe(app: &App, kind: SourceKind, name: &str) -> Call {
    let text = if kind == SourceKind::Table { "describe table error" } else { "describe stream error" };
    let document = check(name).and_then(|()| app.engine.catalog().describe(kind, name));
    document.map(|document| Answer::document(&document)).map_err(prefix(text))
}

async fn replace(app: Arc<App>, kind: SourceKind, name: String, text: String) -> Call {
    let sql = statement(&text)?;
    check(&name)?;
    let catalog = Arc::clone(app.engine.catalog());
    let done = blocking(move || catalog.replace(kind, &name, &sql)).await;
    done.map(Answer::ok).map_err(prefix("Stream command error"))
}

async fn remove(app: Arc<App>, kind: SourceKind, name: String, force: bool) -> Call {
    check(&name)?;
    let (text, word) = if kind == SourceKind::Table {
        ("delete table error", "Table")
    } else {
        ("delete stream error", "Stream")
    };
    let done = format!("{word} {name} is dropped.");
    let dropped = blocking(move || app.engine.drop_stream(kind, &name, force)).await;
    dropped.map(|()| Answer::ok(done)).map_err(|error| match error.code {
        // In use: the text stands alone.
        ErrorCode::Undefined => Failure::from(error),
        _ => prefix(text)(error),
    })
}

fn check(name: &str) -> Result<(), EngineError> {
    check_id(name)
}

/// The `sql` of a statement descriptor.
fn statement(text: &str) -> Result<String, Failure> {
    let wrong =
        |why: String| Failure::plain(format!("Invalid body: Error decoding the statement descriptor: {why}"));
    let descriptor = body::object(text).map_err(wrong)?;
    let sql = descriptor.text("sql").map_err(|why| wrong(why.message))?;
    sql.map(str::to_owned)
        .ok_or_else(|| wrong("property \"sql\" is missing (write {\"sql\": \"CREATE STREAM …\"})".to_owned()))
}

/// What Go parses as true.
fn is_true(text: &str) -> bool {
    ["1", "t", "T", "true", "TRUE", "True"].contains(&text)
}
