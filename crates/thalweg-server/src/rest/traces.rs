//! Traces of rules (`rest-api.md` 16).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::body::{Query, Text};
use super::routes::{Routes, get, post};
use super::{Answer, Failure};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/rules/{id}/trace/start", post(start))
        .route("/rules/{id}/trace/stop", post(stop))
        .route("/trace/rule/{ruleId}", get(list))
        .route("/trace/{id}", get(show))
}

/// How a rule is to be traced. Both strategies note every batch: batches carry no trace from elsewhere that could be
/// the head of one.
#[derive(Deserialize)]
struct Start {
    #[serde(rename = "strategy")]
    _strategy: Option<String>,
}

async fn start(State(app): Shared, Path(id): Path<String>, Text(text): Text) -> Call {
    serde_json::from_str::<Start>(&text)
        .map_err(|why| Failure::plain(format!("decode body error: {why}")))?;
    app.engine.rules().trace(&id, true)?;
    Ok(Answer::Empty)
}

async fn stop(State(app): Shared, Path(id): Path<String>) -> Call {
    app.engine.rules().trace(&id, false)?;
    Ok(Answer::Empty)
}

/// `?limit=5`; without, or with none above 0, all.
#[derive(Deserialize)]
struct Limit {
    limit: Option<i64>,
}

async fn list(State(app): Shared, Path(rule): Path<String>, Query(Limit { limit }): Query<Limit>) -> Answer {
    let limit = limit.and_then(|limit| usize::try_from(limit).ok()).filter(|limit| *limit > 0);
    Answer::json(&json!(app.engine.rules().traces(&rule, limit.unwrap_or(usize::MAX))))
}

async fn show(State(app): Shared, Path(id): Path<String>) -> Answer {
    match app.engine.rules().shown_trace(&id) {
        Some(document) => Answer::document(&document),
        None => Answer::Text(StatusCode::NOT_FOUND, "Not Found\n".to_owned()),
    }
}
