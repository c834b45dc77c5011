//! Distributions that pip installs (`rest-api.md` 11.3).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use serde::Serialize;
use thalweg_core::Props;
use thalweg_engine::rule::RuleDefinition;
use thalweg_plugin::{Changed, Install, PythonError, Users, What};

use super::answer::escape;
use super::body::{self, Query};
use super::plugins::{Wanted, shown};
use super::routes::{Routes, get, post};
use super::{Answer, Failure, blocking};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;
type Params = Query<BTreeMap<String, String>>;

/// The largest wheel that is taken as an upload.
const LARGEST: usize = 1 << 30;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/plugins/python", get(list).post(install).limit(LARGEST))
        .route("/plugins/python/conflicts", get(conflicts))
        .route("/plugins/python/reload", post(reload))
        .route("/plugins/python/rollback", post(roll_back))
        .route("/plugins/python/{dist}", get(describe).put(update).delete(remove).limit(LARGEST))
        .route("/plugins/python/{dist}/logs", get(logs))
}

/// Which live rules use what: by `function`, `source` or `sink`, and name.
struct Uses(Vec<RuleUses>);

struct RuleUses {
    rule: String,
    sql: String,
    sources: Vec<String>,
    sinks: Vec<String>,
}

impl Uses {
    fn of(app: &App) -> Self {
        let streams = app.engine.catalog();
        let of_rule = |rule: RuleDefinition| RuleUses {
            rule: rule.id.to_string(),
            sources: rule
                .sources()
                .iter()
                .filter_map(|stream| Some(streams.get(stream)?.def.source_type.to_string()))
                .collect(),
            sinks: rule.actions.iter().map(|action| action.kind.clone()).collect(),
            sql: rule.sql,
        };
        Self(app.engine.rules().live_definitions().into_iter().map(of_rule).collect())
    }

    fn users(&self, kind: &str, name: &str) -> Vec<String> {
        let uses = |rule: &&RuleUses| match kind {
            "function" => calls(&rule.sql, name),
            "source" => rule.sources.iter().any(|source| source == name),
            _ => rule.sinks.iter().any(|sink| sink == name),
        };
        self.0.iter().filter(uses).map(|rule| rule.rule.clone()).collect()
    }
}

/// Whether a statement calls a function: its name, outside of texts, before a parenthesis.
fn calls(sql: &str, name: &str) -> bool {
    let is_part = |letter: char| letter.is_alphanumeric() || letter == '_' || letter == '.';
    let mut rest = sql;
    while let Some(letter) = rest.chars().next() {
        if letter == '\'' || letter == '"' {
            let text = &rest[1..];
            rest = text.find(letter).map_or("", |end| &text[end + 1..]);
        } else if is_part(letter) || letter == '`' {
            let (word, after) = if letter == '`' {
                rest[1..].split_once('`').unwrap_or((&rest[1..], ""))
            } else {
                rest.split_at(rest.find(|letter| !is_part(letter)).unwrap_or(rest.len()))
            };
            if word == name && after.trim_start().starts_with('(') {
                return true;
            }
            rest = after;
        } else {
            rest = &rest[letter.len_utf8()..];
        }
    }
    false
}

fn failure(error: PythonError, what: &str) -> Failure {
    let text = format!("python plugin {what} error: {error}");
    match error {
        PythonError::NotFound(_) => Failure::from(thalweg_engine::EngineError::not_found(text)),
        PythonError::InUse(_) => Failure::with_status(StatusCode::CONFLICT, text),
        PythonError::Refused(_) => Failure::plain(text),
    }
}

fn json(document: &impl Serialize) -> String {
    // These documents hold texts, numbers and lists, none of which can fail.
    escape(&serde_json::to_string(document).unwrap_or_default())
}

/// Runs work that waits for pip and for processes, and shows what it has changed.
async fn changed(
    app: Arc<App>,
    what: &'static str,
    work: impl FnOnce(&App, Users<'_>) -> Result<Changed, PythonError> + Send + 'static,
) -> Result<String, Failure> {
    let done = blocking(move || {
        let uses = Uses::of(&app);
        Ok(work(&app, &|kind, name| uses.users(kind, name)))
    });
    done.await?.map(|changed| json(&changed)).map_err(|error| failure(error, what))
}

async fn list(State(app): Shared) -> Call {
    let shown = blocking(move || {
        let uses = Uses::of(&app);
        Ok(app.plugins.python().list(&|kind, name| uses.users(kind, name)))
    });
    Ok(Answer::json(&shown.await?))
}

async fn describe(State(app): Shared, Path(name): Path<String>, Query(params): Params) -> Call {
    let shown = blocking(move || {
        let uses = Uses::of(&app);
        let env = param(&params, "env");
        Ok(app.plugins.python().describe(env, &name, &|kind, name| uses.users(kind, name)))
    });
    shown.await?.map(|shown| Answer::json(&shown)).map_err(|error| failure(error, "describe"))
}

/// The last lines of the process that serves a distribution.
async fn logs(
    State(app): Shared,
    Path(name): Path<String>,
    Query(params): Params,
    Query(wanted): Query<Wanted>,
) -> Call {
    let wrong = |why| failure(PythonError::Refused(why), "logs");
    let (n_lines, is_text) = wanted.read().map_err(wrong)?;
    let found = blocking(move || Ok(app.plugins.python().logs(param(&params, "env"), &name, n_lines)));
    found.await?.map(|log| shown(&log, is_text)).map_err(|error| failure(error, "logs"))
}

async fn conflicts(State(app): Shared) -> Call {
    Ok(Answer::json(&blocking(move || Ok(app.plugins.python().conflicts())).await?))
}

async fn install(State(app): Shared, Query(params): Params, request: Request) -> Call {
    let (install, upload) = read(&app, &params, request, None).await?;
    let done = changed(app, "install", move |app, users| {
        // Removed with the upload when all is done.
        let _upload = upload;
        app.plugins.python().install(&install, users)
    });
    Ok(Answer::JsonCreated(done.await?))
}

async fn update(
    State(app): Shared,
    Path(name): Path<String>,
    Query(params): Params,
    request: Request,
) -> Call {
    let (install, upload) = read(&app, &params, request, Some(name)).await?;
    let done = changed(app, "update", move |app, users| {
        let _upload = upload;
        app.plugins.python().install(&install, users)
    });
    Ok(Answer::Json(done.await?))
}

async fn remove(State(app): Shared, Path(name): Path<String>, Query(params): Params) -> Call {
    let done = changed(app, "delete", move |app, users| {
        app.plugins.python().remove(param(&params, "env"), &name, is_forced(&params), users)
    });
    Ok(Answer::Json(done.await?))
}

async fn reload(State(app): Shared, Query(params): Params) -> Call {
    let done = changed(app, "reload", move |app, users| {
        app.plugins.python().reload(param(&params, "env"), is_forced(&params), users)
    });
    Ok(Answer::Json(done.await?))
}

async fn roll_back(State(app): Shared, Query(params): Params) -> Call {
    let done = changed(app, "rollback", move |app, users| {
        app.plugins.python().roll_back(param(&params, "env"), is_forced(&params), users)
    });
    Ok(Answer::Json(done.await?))
}

fn param<'a>(params: &'a BTreeMap<String, String>, name: &str) -> &'a str {
    params.get(name).map(String::as_str).unwrap_or_default()
}

fn is_forced(params: &BTreeMap<String, String>) -> bool {
    matches!(param(params, "force"), "1" | "true")
}

/// A file that was uploaded; its folder goes with it.
struct Upload {
    folder: PathBuf,
}

impl Drop for Upload {
    fn drop(&mut self) {
        // A leftover is removed at the next start.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// The body of POST and PUT: JSON, a wheel, or a form with one.
async fn read(
    app: &App,
    params: &BTreeMap<String, String>,
    request: Request,
    distribution: Option<String>,
) -> Result<(Install, Option<Upload>), Failure> {
    let mut install = Install { distribution, force: is_forced(params), ..Install::default() };
    let (mut props, upload) = match sent(request.headers()) {
        Sent::Document => {
            let text = String::from_utf8(whole(request, body::LIMIT).await?.into())
                .map_err(|why| Failure::plain(format!("request body is not UTF-8: {why}")))?;
            let empty = text.trim().is_empty();
            (if empty { Props::new() } else { body::object(&text).map_err(wrong)? }, None)
        }
        Sent::Wheel => {
            let bytes = whole(request, LARGEST).await?;
            (Props::new(), Some(keep(app, param(params, "file"), &bytes)?))
        }
        Sent::Form => {
            let (props, upload) = form(app, request).await?;
            (props, Some(upload))
        }
    };
    let (upload, file) = upload.unzip();
    install.what = file.map_or_else(|| what(&props, &install), |file| Ok(What::File(file)))?;
    for name in MEMBERS {
        if let Some(value) = params.get(name) {
            props.set(name, value_of(value));
        }
    }
    let text =
        |name: &str| props.text(name).map(|text| text.map(str::to_owned)).map_err(|why| wrong(why.message));
    install.env = text("env")?.unwrap_or_default();
    install.lock = text("lock")?;
    install.lock_file = text("lockFile")?;
    install.isolate = props.bool("isolate").map_err(|why| wrong(why.message))?;
    let workers = props.int("workers").map_err(|why| wrong(why.message))?;
    // What does not fit is refused there, as 0 is.
    install.workers = workers.map(|workers| u32::try_from(workers).unwrap_or_default());
    Ok((install, upload))
}

fn wrong(why: String) -> Failure {
    Failure::plain(format!("Invalid body: Error decoding the python plugin json: {why}"))
}

/// What a query or a form may say beside the wheel.
const MEMBERS: [&str; 3] = ["env", "isolate", "workers"];

fn value_of(text: &str) -> serde_json::Value {
    text.parse().unwrap_or_else(|_| serde_json::Value::from(text))
}

/// What kind of body there is.
enum Sent {
    Document,
    Wheel,
    Form,
}

fn sent(headers: &HeaderMap) -> Sent {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/octet-stream") || kind.starts_with("application/zip") {
        Sent::Wheel
    } else if kind.starts_with("multipart/form-data") {
        Sent::Form
    } else {
        Sent::Document
    }
}

async fn whole(request: Request, most: usize) -> Result<Bytes, Failure> {
    let too_large = |_| {
        let text = "the request's body is too large, or was cut off";
        Failure::with_status(StatusCode::PAYLOAD_TOO_LARGE, text)
    };
    axum::body::to_bytes(request.into_body(), most).await.map_err(too_large)
}

/// A form: the wheel under its name in the field `file` or `uploadFile`, and what else is said as fields.
async fn form(app: &App, request: Request) -> Result<(Props, (Upload, PathBuf)), Failure> {
    let wrong = |why: String| Failure::plain(format!("Error Retrieving the File: {why}"));
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|why| wrong(why.body_text()))?;
    let (mut props, mut upload) = (Props::new(), None);
    while let Some(field) = form.next_field().await.map_err(|why| wrong(why.body_text()))? {
        let name = field.name().unwrap_or_default().to_owned();
        if ["file", "uploadFile"].contains(&name.as_str()) {
            let file = field.file_name().unwrap_or_default().to_owned();
            let bytes = field.bytes().await.map_err(|why| wrong(why.body_text()))?;
            if upload.is_some() {
                return Err(wrong("the form has more than one file".to_owned()));
            }
            upload = Some(keep(app, &file, &bytes)?);
        } else if MEMBERS.contains(&name.as_str()) {
            let text = field.text().await.map_err(|why| wrong(why.body_text()))?;
            props.set(&name, value_of(&text));
        } else {
            return Err(wrong(format!(
                "the form has a field \"{name}\"; known are file, {}",
                MEMBERS.join(", ")
            )));
        }
    }
    let upload = upload.ok_or_else(|| wrong("the form has no field file".to_owned()))?;
    Ok((props, upload))
}

/// What the body says is to be installed.
fn what(props: &Props, install: &Install) -> Result<What, Failure> {
    let field = |name: &str| props.text(name).map_err(|why| wrong(why.message));
    let version = match (&install.distribution, field("version")?) {
        (Some(name), Some(version)) => Some(What::Package(format!("{name}=={version}"))),
        _ => None,
    };
    let given: Vec<What> = [
        field("package")?.map(|text| What::Package(text.to_owned())),
        field("file")?.map(|url| What::Url(url.to_owned())),
        field("editable")?.map(|folder| What::Editable(folder.to_owned())),
        version,
    ]
    .into_iter()
    .flatten()
    .collect();
    let is_bare = ["isolate", "workers", "lock", "lockFile"].iter().all(|name| props.get(name).is_none());
    match <[What; 1]>::try_from(given) {
        Ok([what]) => Ok(what),
        Err(none) if none.is_empty() && install.distribution.is_some() && is_bare => Ok(What::Newest),
        Err(none) if none.is_empty() => Ok(What::Nothing),
        Err(_) => Err(wrong(
            "only one of \"package\", \"file\", \"editable\" and \"version\" may be given".to_owned(),
        )),
    }
}

/// Puts an uploaded wheel where pip can read it under its name.
fn keep(app: &App, name: &str, bytes: &[u8]) -> Result<(Upload, PathBuf), Failure> {
    if name.contains(['/', '\\', '\0']) || !name.ends_with(".whl") {
        let text = format!(
            "an upload needs the wheel's name, as ?file=acme_math-1.2.0-py3-none-any.whl or as the filename in a form, \
             not \"{name}\""
        );
        return Err(Failure::plain(text));
    }
    let unique = app.unique();
    // Not the name of any environment's files; a start of the engine removes what is left.
    let folder = app.home.join("data/pyenvs").join(format!(".-upload-{unique}"));
    let upload = Upload { folder: folder.clone() };
    let file = folder.join(name);
    let written = std::fs::create_dir_all(&folder).and_then(|()| std::fs::write(&file, bytes));
    written.map_err(|why| Failure::plain(format!("cannot write {}: {why}", file.display())))?;
    Ok((upload, file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_uses_a_function_that_it_calls_and_no_other() {
        for sql in ["SELECT pyavg(a) FROM s", "SELECT 1 FROM s WHERE x = 'y' AND `pyavg` (a) > 1"] {
            assert!(calls(sql, "pyavg"), "{sql}");
        }
        for sql in
            ["SELECT pyavg FROM s", "SELECT 'pyavg(a)' FROM s", "SELECT mypyavg(a), PYAVG(a) FROM s", "é'"]
        {
            assert!(!calls(sql, "pyavg"), "{sql}");
        }
    }
}
