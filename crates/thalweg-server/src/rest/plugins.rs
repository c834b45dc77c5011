//! Plugins (`rest-api.md` 11): portable ones; native Go plugins cannot work here and are answered honestly.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use thalweg_engine::EngineError;
use thalweg_plugin::{InstallRequest, PluginError, PluginLog};

use super::answer::escape;
use super::body::{self, Query, Text};
use super::routes::{Routes, get, post};
use super::{Answer, Failure, blocking};
use crate::server::App;
use crate::transfer;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;
type Name = Path<String>;

const NATIVE: &str = "native Go plugins are not supported; use a portable plugin";

pub(super) fn routes() -> Routes {
    let portable = Routes::new()
        .route("/plugins/portables", get(list).post(install))
        .route("/plugins/portables/{name}", get(describe).put(update).delete(remove))
        .route("/plugins/portables/{name}/status", get(status))
        .route("/plugins/portables/{name}/logs", get(logs));
    portable
        .merge(native("sources"))
        .merge(native("sinks"))
        .merge(native("functions"))
        .route("/plugins/functions/{name}/register", post(|| async { Failure::plain(NATIVE) }))
        .route("/plugins/udfs", get(functions))
        .route("/plugins/udfs/{name}", get(function))
}

/// 11.2: there are no native plugins, and none that could be installed.
fn native(kind: &'static str) -> Routes {
    let none = move |Path(name): Name| async move {
        missing(format!("describe {kind} plugin {name} error: not found"))
    };
    let gone = move |Path(name): Name| async move {
        missing(format!("delete {kind} plugin {name} error: invalid name {name}: not exist"))
    };
    let refuse = move |Text(text): Text| async move { refused(kind, &text) };
    let all = format!("/plugins/{kind}");
    Routes::new()
        .route(&all, get(|| async { Answer::Json("[]".to_owned()) }).post(refuse))
        .route(&format!("{all}/prebuild"), get(|| async { Answer::Json("{}".to_owned()) }))
        .route(&format!("{all}/{{name}}"), get(none).put(refuse).delete(gone))
}

fn refused(kind: &str, text: &str) -> Failure {
    let body = body::object(text).unwrap_or_default();
    let name = body.text("name").ok().flatten().unwrap_or_default();
    let known = transfer::built_in(kind, name);
    Failure::plain(known.map_or_else(|| NATIVE.to_owned(), |what| format!("{NATIVE}; {what}")))
}

fn missing(text: String) -> Failure {
    Failure::from(EngineError::not_found(text))
}

fn json(document: &impl Serialize) -> String {
    // These documents hold texts, numbers and lists, none of which can fail.
    escape(&serde_json::to_string(document).unwrap_or_default())
}

/// The body of POST and PUT, with keys in any case (1.7).
fn request(text: &str) -> Result<InstallRequest, Failure> {
    let wrong =
        |why: String| Failure::plain(format!("Invalid body: Error decoding the portable plugin json: {why}"));
    let body = body::object(text).map_err(wrong)?;
    let field = |name| {
        body.text(name).map(|text| text.unwrap_or_default().to_owned()).map_err(|why| wrong(why.message))
    };
    let arguments = match body.get("shellParas") {
        None | Some(Json::Null) => None,
        Some(value) => {
            let texts = value
                .as_array()
                .and_then(|items| items.iter().map(|item| item.as_str().map(str::to_owned)).collect());
            Some(texts.ok_or_else(|| wrong("property \"shellParas\" must be a list of texts".to_owned()))?)
        }
    };
    let replace = body.bool("replace").map_err(|why| wrong(why.message))?.unwrap_or_default();
    Ok(InstallRequest { name: field("name")?, file: field("file")?, shell_paras: arguments, replace })
}

/// For exports. The plugin is there, so that the call has not failed when this does.
fn noted(app: &App, request: &InstallRequest) {
    if let Err(why) = transfer::note_plugin(app, request) {
        tracing::warn!(plugin = request.name, why = why.message, "exports will not have this plugin");
    }
}

async fn list(State(app): Shared) -> Call {
    Ok(Answer::Json(blocking(move || Ok(json(&app.plugins.list()))).await?))
}

async fn install(State(app): Shared, Text(text): Text) -> Call {
    let request = request(&text)?;
    let name = request.name.trim().to_owned();
    refusable(
        move || {
            app.plugins.install(&request)?;
            noted(&app, &request);
            Ok(())
        },
        |why| format!("portable plugin create command error: {why}"),
    )
    .await?;
    Ok(Answer::created(format!("portable plugin {name} is created")))
}

async fn update(State(app): Shared, Path(_): Name, Text(text): Text) -> Call {
    // The name that counts is that of the body.
    let request = request(&text)?;
    let name = request.name.trim().to_owned();
    refusable(
        move || {
            app.plugins.update(&request)?;
            noted(&app, &request);
            Ok(())
        },
        |why| format!("portable plugin update command error: {why}"),
    )
    .await?;
    Ok(Answer::ok(format!("portable plugin {name} is updated")))
}

async fn describe(State(app): Shared, Path(name): Name) -> Call {
    let text = format!("describe portable plugin {name} error: not found");
    let found = blocking(move || Ok(app.plugins.describe(&name).map(|plugin| json(&plugin)))).await?;
    found.map(Answer::Json).ok_or_else(|| missing(text))
}

async fn remove(State(app): Shared, Path(name): Name) -> Call {
    let (done, gone) = (format!("portable plugin {name} is deleted"), name.clone());
    refusable(
        move || app.plugins.delete(&name),
        move |why| format!("delete portable plugin {gone} error: {why}"),
    )
    .await?;
    Ok(Answer::ok(done))
}

async fn status(State(app): Shared, Path(name): Name) -> Call {
    let text = format!("portable plugin {name} not found: not found");
    let found = blocking(move || Ok(app.plugins.status(&name).map(|status| json(&status)))).await?;
    found.map(Answer::JsonAsText).ok_or_else(|| missing(text))
}

/// `?lines=50&format=text`
#[derive(Deserialize)]
pub(super) struct Wanted {
    lines: Option<String>,
    format: Option<String>,
}

impl Wanted {
    /// How many lines at most, and whether as text.
    pub(super) fn read(&self) -> Result<(usize, bool), String> {
        let n_lines = match self.lines.as_deref() {
            None => usize::MAX,
            Some(text) => text.parse().map_err(|_| format!("lines '{text}' is not a number"))?,
        };
        match self.format.as_deref() {
            None | Some("json") => Ok((n_lines, false)),
            Some("text") => Ok((n_lines, true)),
            Some(other) => Err(format!("format '{other}' is not json or text")),
        }
    }
}

/// Lines as they were asked for.
pub(super) fn shown(log: &PluginLog, is_text: bool) -> Answer {
    if is_text {
        return Answer::ok(log.lines.iter().map(|line| format!("{}\n", line.text)).collect::<String>());
    }
    Answer::Json(json(log))
}

/// The last lines that a plugin printed (11.1, ours).
async fn logs(State(app): Shared, Path(name): Name, Query(wanted): Query<Wanted>) -> Call {
    let wrong = |why| Failure::plain(format!("get logs of portable plugin {name} error: {why}"));
    let (n_lines, is_text) = wanted.read().map_err(wrong)?;
    let text = format!("portable plugin {name} not found: not found");
    let found = blocking(move || Ok(app.plugins.logs(&name, n_lines))).await?;
    found.map(|log| shown(&log, is_text)).ok_or_else(|| missing(text))
}

/// 11.3: of native plugins there are none.
async fn functions(State(app): Shared) -> Call {
    let names = blocking(move || Ok(app.plugins.python().functions()));
    Ok(Answer::Json(json(&names.await?.into_iter().map(|(name, _)| name).collect::<Vec<_>>())))
}

async fn function(State(app): Shared, Path(name): Name) -> Call {
    let all = blocking(move || Ok(app.plugins.python().functions())).await?;
    let found = all.into_iter().find(|(function, _)| *function == name);
    let found = found.ok_or_else(|| missing(format!("describe function {name} error: not found")))?;
    Ok(Answer::Json(json(&Function { name: found.0, plugin: found.1, r#type: "portable" })))
}

#[derive(Serialize)]
struct Function {
    name: String,
    plugin: String,
    r#type: &'static str,
}

/// Runs a request to the host; what it refuses is 400 and 1000, also when the plugin is missing (11.1).
async fn refusable(
    work: impl FnOnce() -> Result<(), PluginError> + Send + 'static,
    text: impl FnOnce(PluginError) -> String + Send + 'static,
) -> Result<(), Failure> {
    Ok(blocking(move || work().map_err(|why| EngineError::plain(text(why)))).await?)
}
