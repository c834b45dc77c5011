//! What `get_keyed_state` reads: one JSON value a key. Beyond upstream, whose users write into its database instead.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::Value as Json;
use thalweg_engine::EngineError;
use thalweg_engine::store::StoreError;

use super::body::Text;
use super::routes::{Routes, get};
use super::{Answer, Failure, blocking};
use crate::server::App;

type Call = Result<Answer, Failure>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/keyed_state", get(list))
        .route("/keyed_state/{key}", get(read).put(write).delete(remove))
}

async fn list(State(app): State<Arc<App>>) -> Call {
    let keys = blocking(move || app.engine.keyed_states().keys().map_err(failed)).await?;
    Ok(Answer::json(&Json::from(keys)))
}

async fn read(State(app): State<Arc<App>>, Path(key): Path<String>) -> Call {
    let missing = format!("keyed state {key} is not found");
    let found = blocking(move || app.engine.keyed_states().json(&key).map_err(failed)).await?;
    match found.map(|text| String::from_utf8_lossy(&text).into_owned()) {
        Some(text) => Ok(Answer::Json(text)),
        None => Err(Failure::with_status(StatusCode::NOT_FOUND, missing)),
    }
}

async fn write(State(app): State<Arc<App>>, Path(key): Path<String>, Text(text): Text) -> Call {
    let done = format!("Keyed state {key} is set.");
    blocking(move || app.engine.keyed_states().set(&key, text.as_bytes()).map_err(failed)).await?;
    Ok(Answer::ok(done))
}

async fn remove(State(app): State<Arc<App>>, Path(key): Path<String>) -> Call {
    let done = format!("Keyed state {key} is removed.");
    blocking(move || app.engine.keyed_states().remove(&key).map_err(failed)).await?;
    Ok(Answer::ok(done))
}

fn failed(why: StoreError) -> EngineError {
    EngineError::plain(why.to_string())
}
