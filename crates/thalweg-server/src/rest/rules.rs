//! Rules (`rest-api.md` 5).

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use thalweg_engine::{EngineError, check_id};

use super::answer::prefix;
use super::body::{self, Query, Text};
use super::routes::{Routes, delete, get, post, put};
use super::{Answer, Failure};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;
type Id = Path<String>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/rules", get(list).post(create))
        .route("/rules/{id}", get(describe_as).put(update).delete(remove))
        .route("/rules/validate", post(validate))
        .route("/rules/bulkstart", post(bulk_start))
        .route("/rules/bulkstop", post(bulk_stop))
        .route("/rules/explain", post(explain_text))
        .route("/rules/status/all", get(status_all))
        .route("/rules/tags/match", get(tags_match))
        .route("/rules/usage/cpu", get(cpu_usage))
        .route("/rules/usage/memory", get(memory_usage))
        .route("/rules/{id}/status", get(status))
        .route("/v2/rules/{id}/status", get(status_v2))
        .route("/rules/{id}/start", post(start))
        .route("/rules/{id}/stop", post(stop))
        .route("/rules/{id}/restart", post(restart))
        .route("/rules/{id}/reset_state", put(reset_state))
        .route("/rules/{id}/state", delete(forget_state))
        .route("/rules/{id}/topo", get(topology))
        .route("/rules/{id}/explain", get(explain))
        .route("/rules/{id}/schema", get(schema))
        .route("/rules/{id}/tags", put(tags_replace).patch(tags_add).delete(tags_remove))
}

async fn cpu_usage(State(app): Shared) -> Answer {
    let Some(usage) = &app.usage else { return Answer::ok("cpu usage not enabled") };
    match usage.window() {
        None => Answer::ok("cpu usage not ready"),
        Some(window) => Answer::json(&json!(window)),
    }
}

async fn memory_usage(State(app): Shared) -> Answer {
    Answer::json(&json!(app.engine.rules().memory().await))
}

async fn list(State(app): Shared) -> Answer {
    Answer::document(&app.engine.rules().list())
}

async fn create(State(app): Shared, Text(text): Text) -> Call {
    let id = app.engine.rules().create(text).await?;
    Ok(Answer::created(format!("Rule {id} was created successfully.")))
}

/// `?filled=1` of a description.
#[derive(Deserialize)]
struct Form {
    filled: Option<String>,
}

/// The stored text, or, beyond upstream's interface but as its client shows it, the rule with all options filled in.
async fn describe_as(state: Shared, id: Id, Query(form): Query<Form>) -> Call {
    if form.filled.is_none_or(|filled| filled != "1") {
        return describe(state, id).await;
    }
    let document = check_id(&id).and_then(|()| state.engine.rules().filled(&id));
    document.map(|document| Answer::document(&document)).map_err(prefix("Describe rule error"))
}

async fn describe(State(app): Shared, Path(id): Id) -> Call {
    let text = check_id(&id).and_then(|()| app.engine.rules().describe(&id));
    // The stored text goes out byte for byte.
    text.map(Answer::Json).map_err(prefix("Describe rule error"))
}

async fn update(State(app): Shared, Path(id): Id, Text(text): Text) -> Call {
    check_id(&id)?;
    let id = app.engine.rules().update(&id, text).await.map_err(prefix("Update rule error"))?;
    Ok(Answer::ok(format!("Rule {id} was updated successfully.")))
}

async fn remove(State(app): Shared, Path(id): Id) -> Call {
    check_id(&id)?;
    app.engine.rules().delete(&id).await.map_err(prefix("Delete rule error"))?;
    Ok(Answer::ok(format!("Rule {id} is dropped.")))
}

async fn start(State(app): Shared, Path(id): Id) -> Call {
    app.engine.rules().launch(&id).await.map_err(prefix("start rule error"))?;
    Ok(Answer::ok(format!("Rule {id} was started")))
}

async fn stop(State(app): Shared, Path(id): Id) -> Call {
    app.engine.rules().halt(&id).await.map_err(prefix("stop rule error"))?;
    Ok(Answer::ok(format!("Rule {id} was stopped.")))
}

async fn restart(State(app): Shared, Path(id): Id) -> Call {
    app.engine.rules().launch(&id).await.map_err(prefix("restart rule error"))?;
    Ok(Answer::ok(format!("Rule {id} was restarted")))
}

async fn status(State(app): Shared, Path(id): Id) -> Call {
    let document = app.engine.rules().status(&id).await.map_err(prefix("get rule status error"))?;
    Ok(Answer::Json(super::answer::escape(&document.pretty())))
}

/// The same, compact, with keys in alphabetical order.
async fn status_v2(State(app): Shared, Path(id): Id) -> Call {
    let document = app.engine.rules().status(&id).await.map_err(prefix("get rule status error"))?;
    Ok(Answer::JsonAsText(super::answer::escape(&document.sorted().compact())))
}

async fn status_all(State(app): Shared) -> Answer {
    Answer::document(&app.engine.rules().status_all())
}

async fn topology(State(app): Shared, Path(id): Id) -> Call {
    let document = app.engine.rules().topology(&id).map_err(prefix("get rule topo error"))?;
    Ok(Answer::document(&document))
}

async fn explain(State(app): Shared, Path(id): Id) -> Call {
    let text = app.engine.rules().explain(&id).await.map_err(prefix("explain rules error"))?;
    Ok(Answer::ok(text))
}

/// Explains a rule that does not exist: a rule document with `sql`, or a SELECT alone (beyond upstream).
async fn explain_text(State(app): Shared, Text(text): Text) -> Call {
    let text = app.engine.rules().explain_text(&text).await.map_err(prefix("explain rules error"))?;
    Ok(Answer::ok(text))
}

/// What to reset (5.9).
#[derive(Deserialize)]
struct Reset {
    #[serde(default, rename = "type")]
    kind: i64,
    #[serde(default)]
    params: ResetParams,
}

#[derive(Deserialize, Default)]
struct ResetParams {
    #[serde(default, rename = "streamName")]
    stream_name: String,
}

async fn reset_state(State(app): Shared, Path(id): Id, Text(text): Text) -> Call {
    let reset: Reset = serde_json::from_str(&text)
        .map_err(|why| EngineError::plain(format!("invalid reset request: {why}")))?;
    app.engine.rules().move_offset(&id, reset.kind, &reset.params.stream_name)?;
    Ok(Answer::ok("success"))
}

/// Ours: the rule begins with empty state.
async fn forget_state(State(app): Shared, Path(id): Id) -> Call {
    app.engine.rules().forget_state(&id).await.map_err(prefix("reset rule state error"))?;
    Ok(Answer::ok(format!("State of rule {id} was reset.")))
}

async fn schema(State(app): Shared, Path(id): Id) -> Call {
    let document = app.engine.rules().schema(&id).map_err(prefix("get rule schema error"))?;
    Ok(Answer::document(&document))
}

/// Answers a wrong rule with 422 and the bare text (1.5).
async fn validate(State(app): Shared, Text(text): Text) -> Answer {
    match app.engine.rules().validate(text).await {
        Ok(sources) => {
            let sources: Vec<&str> = sources.iter().map(AsRef::as_ref).collect();
            Answer::JsonAsText(json!({"sources": sources, "valid": true}).to_string())
        }
        Err(why) => Answer::Text(StatusCode::UNPROCESSABLE_ENTITY, why.message),
    }
}

/// The tags of a body; `keys` means the same, as the docs and the manager have it (5.10).
fn tags(text: &str) -> Result<Vec<String>, Failure> {
    let wrong = |why: String| Failure::plain(format!("decode body error: {why}"));
    let body = body::object(text).map_err(wrong)?;
    let list = |name: &str| match body.get(name) {
        None | Some(Json::Null) => Ok(None),
        Some(list) => {
            let items =
                list.as_array().map(|items| items.iter().map(|item| item.as_str().map(str::to_owned)));
            let texts = items.and_then(Iterator::collect::<Option<Vec<_>>>);
            texts.map(Some).ok_or_else(|| wrong(format!("property \"{name}\" must be a list of texts")))
        }
    };
    let (tags, keys) = (list("tags")?, list("keys")?);
    Ok(tags.or(keys).unwrap_or_default())
}

async fn change_tags(app: &App, id: &str, change: impl FnOnce(&mut Vec<String>)) -> Call {
    app.engine.rules().tag(id, change).await.map_err(prefix("Get rule error"))?;
    Ok(Answer::Empty)
}

async fn tags_replace(State(app): Shared, Path(id): Id, Text(text): Text) -> Call {
    let new = tags(&text)?;
    change_tags(&app, &id, |tags| *tags = new).await
}

async fn tags_add(State(app): Shared, Path(id): Id, Text(text): Text) -> Call {
    let new = tags(&text)?;
    change_tags(&app, &id, |tags| {
        for tag in new {
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
    })
    .await
}

async fn tags_remove(State(app): Shared, Path(id): Id, Text(text): Text) -> Call {
    let gone = tags(&text)?;
    change_tags(&app, &id, |tags| tags.retain(|tag| !gone.contains(tag))).await
}

/// `?tags=a,b`, for clients that cannot send a body with GET.
#[derive(Deserialize)]
struct TagQuery {
    tags: Option<String>,
}

async fn tags_match(State(app): Shared, Query(query): Query<TagQuery>, Text(text): Text) -> Call {
    let tags = match query.tags {
        Some(list) => list.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
        None => tags(&text)?,
    };
    let rules = app.engine.rules().tagged(&tags);
    Ok(Answer::json(&if rules.is_empty() { json!({}) } else { json!({"rules": rules}) }))
}

async fn bulk_start(State(app): Shared, Text(text): Text) -> Call {
    let ids = matching(&app, &text, "bulk start failed: no matching rules")?;
    let mut lines = Vec::new();
    for id in ids {
        let done = app.engine.rules().launch(&id).await;
        lines.push(bulk_line(&id, done));
    }
    Ok(Answer::document(&thalweg_engine::Document::List(lines)))
}

async fn bulk_stop(State(app): Shared, Text(text): Text) -> Call {
    let ids = matching(&app, &text, "bulk stop failed: no matching rules")?;
    let mut lines = Vec::new();
    for id in ids {
        let done = app.engine.rules().halt(&id).await;
        lines.push(bulk_line(&id, done));
    }
    Ok(Answer::document(&thalweg_engine::Document::List(lines)))
}

fn matching(app: &App, text: &str, none: &str) -> Result<Vec<String>, Failure> {
    let ids = app.engine.rules().tagged(&tags(text)?);
    if ids.is_empty() { Err(Failure::plain(none)) } else { Ok(ids) }
}

fn bulk_line(id: &str, done: Result<(), EngineError>) -> thalweg_engine::Document {
    let line = thalweg_engine::Document::object().with("ruleId", id).with("success", done.is_ok());
    match done {
        Ok(()) => line,
        Err(why) => line.with("error", why.message),
    }
}
