//! Named connections (`rest-api.md` 7).

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use thalweg_engine::check_id;

use super::body::Text;
use super::routes::{Routes, get};
use super::{Answer, Failure};
use crate::server::App;

type Call = Result<Answer, Failure>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/connections", get(list).post(create))
        .route("/connections/{id}", get(describe).put(update).delete(remove))
}

#[derive(serde::Deserialize)]
struct Wanted {
    #[serde(rename = "forceAll", default)]
    force_all: String,
}

async fn list(State(app): State<Arc<App>>, Query(wanted): Query<Wanted>) -> Answer {
    let all = wanted.force_all.eq_ignore_ascii_case("true");
    Answer::JsonAsText(super::answer::escape(&app.engine.list_connections(all).compact()))
}

async fn create(State(app): State<Arc<App>>, Text(text): Text) -> Call {
    app.engine.create_connection(text.as_bytes()).await?;
    Ok(Answer::created("success"))
}

async fn describe(State(app): State<Arc<App>>, Path(id): Path<String>) -> Call {
    Ok(Answer::document(&app.engine.describe_connection(&id)?))
}

async fn update(State(app): State<Arc<App>>, Path(id): Path<String>, Text(text): Text) -> Call {
    app.engine.update_connection(&id, text.as_bytes()).await?;
    Ok(Answer::ok("success"))
}

async fn remove(State(app): State<Arc<App>>, Path(id): Path<String>) -> Call {
    check_id(&id)?;
    app.engine.delete_connection(&id).await?;
    Ok(Answer::ok("success"))
}
