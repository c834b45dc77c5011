//! Streams, tables and rules as one document (`rest-api.md` 14.1): for version control, and from one engine to another.

use std::fs;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use thalweg_engine::{Document, EngineError};
use thalweg_sql::ast::SourceKind;

use super::answer::escape;
use super::body::{self, Text};
use super::routes::{Routes, post};
use super::{Answer, Failure, blocking};
use crate::ruleset::RuleSet;
use crate::server::App;

pub(super) fn routes() -> Routes {
    Routes::new().route("/ruleset/export", post(export)).route("/ruleset/import", post(import))
}

/// The document, offered as a file.
async fn export(State(app): State<Arc<App>>) -> Response {
    let catalog = app.engine.catalog();
    let of_kind = |kind: SourceKind| {
        let entries = catalog.names(kind, None).into_iter().filter_map(|name| catalog.get(&name));
        let kept = entries.filter(|entry| !entry.def.temp);
        Document::Object(
            kept.map(|entry| (entry.def.name.to_string(), entry.statement.clone().into())).collect(),
        )
    };
    let rules = app.engine.rules().exported();
    let document = Document::object()
        .with("streams", of_kind(SourceKind::Stream))
        .with("tables", of_kind(SourceKind::Table))
        .with("rules", Document::Object(rules.into_iter().map(|(id, text)| (id, text.into())).collect()));
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream"), (header::CONTENT_DISPOSITION, "Attachment")];
    (StatusCode::OK, headers, escape(&document.compact())).into_response()
}

async fn import(State(app): State<Arc<App>>, Text(text): Text) -> Result<Answer, Failure> {
    let content = content(&app, &text).await?;
    let set = RuleSet::read(&content)
        .map_err(|why| Failure::plain(format!("configuration unmarshal with error{why}")))?;
    let defined = Arc::clone(&app);
    let (set, streams, tables) = blocking(move || {
        let counts = [SourceKind::Stream, SourceKind::Table].map(|kind| set.define(&defined.engine, kind));
        Ok((set, counts[0], counts[1]))
    })
    .await?;
    let rules = set.rules(&app.engine).await;
    Ok(Answer::ok(format!("imported {streams} streams, {tables} tables and {rules} rules")))
}

/// What a body `{"content"}` or `{"file"}` means.
pub(super) async fn content(app: &Arc<App>, text: &str) -> Result<String, Failure> {
    let wrong = |why: &str| Failure::plain(format!("Invalid body: {why}"));
    let body = body::object(text).map_err(|why| wrong(&format!("Error decoding json: {why}")))?;
    let member = |name: &str| {
        let member = body.text(name).map_err(|why| wrong(&why.message))?;
        Ok::<_, Failure>(member.filter(|text| !text.is_empty()).map(str::to_owned))
    };
    match (member("content")?, member("file")?) {
        (Some(_), Some(_)) => Err(wrong("Cannot specify both content and file: bad request")),
        (None, None) => Err(wrong("must specify content or file: bad request")),
        (Some(content), None) => Ok(content),
        (None, Some(file)) => read(Arc::clone(app), file).await,
    }
}

/// The largest file that is read.
const LARGEST: u64 = 256 << 20;

/// A file by its url.
async fn read(app: Arc<App>, file: String) -> Result<String, Failure> {
    let read = blocking(move || {
        let failed = |why: String| EngineError::plain(format!("fail to get file {file}: {why}"));
        let place = tempfile::NamedTempFile::new().map_err(|why| failed(why.to_string()))?;
        app.plugins.fetch(&file, place.path()).map_err(failed)?;
        if place.as_file().metadata().is_ok_and(|about| about.len() > LARGEST) {
            return Err(failed(format!("it is larger than {} MB", LARGEST >> 20)));
        }
        fs::read_to_string(place.path()).map_err(|why| failed(why.to_string()))
    });
    Ok(read.await?)
}
