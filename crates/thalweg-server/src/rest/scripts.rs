//! JavaScript functions (`rest-api.md` 12).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use thalweg_engine::{EngineError, check_id};
use thalweg_script::{Script, ScriptError, ScriptHost};

use super::answer::escape;
use super::body::{self, Text};
use super::routes::{Routes, get};
use super::{Answer, Failure, blocking};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;
type Name = Path<String>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/udf/javascript", get(list).post(create))
        .route("/udf/javascript/{id}", get(describe).put(update).delete(remove))
}

/// The body of POST and PUT, with keys in any case (1.7).
fn script(text: &str, what: &str) -> Result<Script, Failure> {
    let wrong = |why: String| {
        Failure::plain(format!("Invalid body: Error decoding {what} javascript function json: {why}"))
    };
    let body = body::object(text).map_err(wrong)?;
    let field = |name| {
        body.text(name).map(|text| text.unwrap_or_default().to_owned()).map_err(|why| wrong(why.message))
    };
    let id = field("id")?;
    check_id(&id)?;
    let is_agg = body.bool("isAgg").map_err(|why| wrong(why.message))?.unwrap_or_default();
    Ok(Script { id, description: field("description")?, script: field("script")?.into(), is_agg })
}

/// Runs work on the scripts where it may take a while; a refusal is put behind `prefix`.
async fn changed(
    app: Arc<App>,
    prefix: String,
    work: impl FnOnce(&ScriptHost) -> Result<(), ScriptError> + Send + 'static,
) -> Result<(), Failure> {
    let refused = move |why: ScriptError| {
        let text = format!("{prefix}: {why}");
        if matches!(why, ScriptError::Missing(_)) {
            EngineError::not_found(text)
        } else {
            EngineError::plain(text)
        }
    };
    Ok(blocking(move || work(&app.scripts).map_err(refused)).await?)
}

async fn list(State(app): Shared) -> Call {
    Ok(Answer::json(&app.scripts.list().into()))
}

async fn create(State(app): Shared, Text(text): Text) -> Call {
    let script = script(&text, "the new")?;
    let done = format!("javascript function {} is created", script.id);
    let prefix = "javascript function create command error".to_owned();
    changed(app, prefix, move |scripts| scripts.create(script)).await?;
    Ok(Answer::created(done))
}

/// An upsert; the name that counts is that of the body.
async fn update(State(app): Shared, Path(id): Name, Text(text): Text) -> Call {
    check_id(&id)?;
    let script = script(&text, "the")?;
    let done = format!("javascript function {} is updated", script.id);
    let prefix = "javascript function update command error".to_owned();
    changed(app, prefix, move |scripts| scripts.update(script)).await?;
    Ok(Answer::ok(done))
}

async fn describe(State(app): Shared, Path(id): Name) -> Call {
    check_id(&id)?;
    let missing = || {
        let text = format!("describe javascript function {id} error: not found");
        Failure::with_status(StatusCode::BAD_REQUEST, text)
    };
    let script = app.scripts.describe(&id).ok_or_else(missing)?;
    // Texts and a boolean, none of which can fail.
    Ok(Answer::Json(escape(&serde_json::to_string(&script).unwrap_or_default())))
}

async fn remove(State(app): Shared, Path(id): Name) -> Call {
    check_id(&id)?;
    let done = format!("javascript function {id} is deleted");
    let prefix = format!("delete javascript function {id} error");
    changed(app, prefix, move |scripts| scripts.delete(&id)).await?;
    Ok(Answer::ok(done))
}
