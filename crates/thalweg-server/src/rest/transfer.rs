//! Everything that is defined, out and in (`rest-api.md` 14.2 to 14.5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

use super::answer::escape;
use super::body::{Query, Text};
use super::routes::{Routes, get, post};
use super::{Answer, Failure, blocking, ruleset};
use crate::server::App;
use crate::transfer::{self, Items, Mode, Outcome, TaskStatus};
use crate::yaml;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/data/export", get(export).post(export_rules))
        .route("/data/import", post(import))
        .route("/data/import/status", get(status))
        .route("/v2/data/export", get(export_tree))
        .route("/v2/data/import", post(import_tree))
        .route("/async/data/import", post(import_later))
        .route("/async/task/{id}", get(task))
        .route("/async/task/{id}/cancel", post(cancel))
}

/// With which status a process ends that is to be started again (14.3).
const START_AGAIN: u8 = 100;

/// `?partial=1&stop=1`: only the value 1 counts.
#[derive(Deserialize)]
struct Asked {
    partial: Option<String>,
    stop: Option<String>,
}

impl Asked {
    /// `stop` means nothing beside `partial`.
    fn mode(&self) -> Mode {
        let is = |value: &Option<String>| value.as_deref() == Some("1");
        Mode { partial: is(&self.partial), stop: is(&self.stop) && !is(&self.partial), first: false }
    }
}

/// A text as a file.
pub(super) fn file(text: String) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream"), (header::CONTENT_DISPOSITION, "Attachment")];
    (StatusCode::OK, headers, text).into_response()
}

async fn export(State(app): Shared) -> Result<Response, Failure> {
    let items = blocking(move || transfer::all(&app)).await?;
    Ok(file(escape(&items.document().compact())))
}

/// Of what is no list of ids no rule is meant (14.2).
async fn export_rules(State(app): Shared, Text(text): Text) -> Result<Response, Failure> {
    let ids: Vec<String> = serde_json::from_str(&text).unwrap_or_default();
    let items = blocking(move || transfer::of_rules(&app, &ids)).await?;
    Ok(file(escape(&items.document().compact())))
}

async fn import(State(app): Shared, Query(asked): Query<Asked>, Text(text): Text) -> Call {
    let mode = asked.mode();
    let content = ruleset::content(&app, &text).await?;
    let outcome = transfer::import(&app, content, mode, &AtomicBool::new(false)).await?;
    if !outcome.failures.is_empty() {
        return Err(failed(&outcome));
    }
    if mode.stop {
        app.ask_to_stop_soon_with(START_AGAIN);
    }
    Ok(Answer::JsonAsText(escape(&outcome.document().compact())))
}

/// The failures stand as a text in the message.
fn failed(outcome: &Outcome) -> Failure {
    let failure = Failure::plain(outcome.failures.document().compact());
    match outcome.differences() {
        None => failure,
        Some(differs) => failure.with_more("differs", differs),
    }
}

async fn status(State(app): Shared) -> Call {
    let text = blocking(move || Ok(transfer::last_status(app.engine.store().as_ref())?)).await?;
    Ok(Answer::Json(escape(&text.unwrap_or_else(|| Items::default().document().compact()))))
}

async fn export_tree(State(app): Shared) -> Result<Response, Failure> {
    let items = blocking(move || transfer::all(&app)).await?;
    Ok(file(yaml::write(&transfer::tree(&items)).map_err(Failure::plain)?))
}

/// Replaces what the document names, up to the first thing that fails.
async fn import_tree(State(app): Shared, Text(text): Text) -> Call {
    let refused = |why: String| Failure::plain(format!("import failed: {why}"));
    let content = ruleset::content(&app, &text).await?;
    let tree = yaml::parse(&content).map_err(refused)?;
    let document = transfer::of_tree(&tree).map_err(refused)?.document().compact();
    let outcome = transfer::import(&app, document, Mode::FIRST, &AtomicBool::new(false)).await?;
    match outcome.first_failure() {
        None => Ok(Answer::ok("success")),
        Some(why) => Err(refused(why)),
    }
}

async fn import_later(State(app): Shared, Query(asked): Query<Asked>, Text(text): Text) -> Call {
    let mode = asked.mode();
    let content = ruleset::content(&app, &text).await?;
    let begun = Arc::clone(&app);
    let begun = blocking(move || Ok(begun.tasks.begin())).await?;
    let (id, cancelled) = begun.map_err(Failure::plain)?;
    let answer = json!({ "id": id }).to_string();
    tokio::spawn(work(app, id, content, mode, cancelled));
    Ok(Answer::JsonAsText(answer))
}

async fn work(app: Arc<App>, id: String, content: String, mode: Mode, cancelled: Arc<AtomicBool>) {
    set(&app, &id, TaskStatus::Running, String::new()).await;
    let done = transfer::import(&app, content, mode, &cancelled).await;
    let (status, message) = match done {
        _ if cancelled.load(Ordering::Relaxed) => return,
        Err(why) => (TaskStatus::Error, format!("err:{}, response:", why.message)),
        Ok(outcome) if !outcome.failures.is_empty() => {
            let response = outcome.document().compact();
            (TaskStatus::Error, format!("err:process error, response:{response}"))
        }
        Ok(outcome) => (TaskStatus::Finish, outcome.document().compact()),
    };
    set(&app, &id, status, message).await;
    if mode.stop && status == TaskStatus::Finish {
        app.ask_to_stop_soon_with(START_AGAIN);
    }
}

async fn set(app: &Arc<App>, id: &str, status: TaskStatus, message: String) {
    let (app, id) = (Arc::clone(app), id.to_owned());
    let done = blocking(move || {
        app.tasks.set(&id, status, message);
        Ok(())
    });
    // It only logs what goes wrong.
    let _ = done.await;
}

async fn task(State(app): Shared, Path(id): Path<String>) -> Call {
    let task = app.tasks.get(&id).map_err(Failure::plain)?;
    // Texts and numbers, none of which can fail.
    Ok(Answer::JsonAsText(escape(&serde_json::to_string(&task).unwrap_or_default())))
}

async fn cancel(State(app): Shared, Path(id): Path<String>) -> Call {
    let done = blocking(move || Ok(app.tasks.cancel(&id))).await?;
    done.map_err(Failure::plain)?;
    Ok(Answer::ok("cancel success"))
}
