//! Schemas of formats (`rest-api.md` 9).

use std::sync::Arc;

use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use thalweg_core::Props;
use thalweg_engine::{Document, EngineError, check_id};
use thalweg_service::{SchemaRequest, SchemaType};

use super::answer::escape;
use super::body::{self, Text};
use super::routes::{Routes, get, put};
use super::{Answer, Failure, blocking};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;

/// The largest form.
const LARGEST: usize = 64 << 20;
/// The largest version in a form.
const LARGEST_VERSION: usize = 4 << 10;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/schemas/{type}", get(list).post(create))
        .route("/schemas/{type}/{name}", get(describe).put(replace).delete(remove))
        .route("/schemas/{type}/{name}/upload", put(upload).limit(LARGEST))
}

fn invalid(why: impl std::fmt::Display) -> Failure {
    Failure::plain(format!("Invalid body: {why}"))
}

fn refused(prefix: String) -> impl FnOnce(String) -> EngineError {
    move |why| EngineError::plain(format!("{prefix}: {why}"))
}

/// The body of POST and PUT, with keys in any case (1.7). In a PUT the name may be absent.
fn request(kind: &str, path_name: Option<&str>, text: &str) -> Result<(SchemaType, SchemaRequest), Failure> {
    let wrong = |why: String| invalid(format!("Error decoding schema json: {why}"));
    let body = body::object(text).map_err(wrong)?;
    let field = |name| {
        body.text(name).map(|text| text.unwrap_or_default().to_owned()).map_err(|why| wrong(why.message))
    };
    let (name, written_kind) = (field("name")?, field("type")?);
    let is_other = |written: &str, path: &str| !written.is_empty() && written != path;
    if is_other(&written_kind, kind) || path_name.is_some_and(|path| is_other(&name, path)) {
        return Err(invalid("Type or name does not match"));
    }
    let known = SchemaType::named(kind).ok_or_else(|| invalid(format!("unsupported schema type {kind}")))?;
    let name = path_name.map_or(name, str::to_owned);
    check_id(&name).map_err(|why| invalid(why.message))?;
    let request = SchemaRequest {
        name,
        content: field("content")?,
        file: field("file")?,
        so_file: field("soFile")?,
        version: version(&body).map_err(wrong)?,
    };
    match known {
        _ if !request.content.is_empty() && !request.file.is_empty() => {
            Err(invalid("cannot specify both content and file"))
        }
        SchemaType::Protobuf if request.content.is_empty() && request.file.is_empty() => {
            Err(invalid("must specify content or file"))
        }
        SchemaType::Custom if request.so_file.is_empty() => Err(invalid("must specify soFile")),
        _ => Ok((known, request)),
    }
}

fn version(body: &Props) -> Result<String, String> {
    body.text("version").map(|text| text.unwrap_or_default().to_owned()).map_err(|why| why.message)
}

async fn list(State(app): Shared, Path(kind): Path<String>) -> Call {
    let unknown = || EngineError::plain(format!("schema type {kind} not found"));
    let known = SchemaType::named(&kind).ok_or_else(unknown)?;
    Ok(Answer::json(&app.schemas.list(known).into()))
}

async fn create(State(app): Shared, Path(kind): Path<String>, Text(text): Text) -> Call {
    let (known, request) = request(&kind, None, &text)?;
    let done = format!("{kind} schema {} is created", request.name);
    let prefix = refused("schema create command error".to_owned());
    blocking(move || app.schemas.create(known, &request).map_err(prefix)).await?;
    Ok(Answer::created(done))
}

async fn describe(State(app): Shared, Path((kind, name)): Path<(String, String)>) -> Call {
    check_id(&name)?;
    let unknown = || EngineError::plain(format!("schema type {kind} not found in registry"));
    let known = SchemaType::named(&kind).ok_or_else(unknown)?;
    let info = blocking(move || app.schemas.get(known, &name).map_err(EngineError::plain)).await?;
    // It holds nothing but texts.
    Ok(Answer::Json(escape(&serde_json::to_string(&info).unwrap_or_default())))
}

async fn replace(State(app): Shared, Path((kind, name)): Path<(String, String)>, Text(text): Text) -> Call {
    check_id(&name)?;
    let (known, request) = request(&kind, Some(&name), &text)?;
    let prefix = refused("schema update command error".to_owned());
    blocking(move || app.schemas.replace(known, &request).map_err(prefix)).await?;
    Ok(Answer::ok(format!("{kind} schema {name} is updated")))
}

async fn remove(State(app): Shared, Path((kind, name)): Path<(String, String)>) -> Call {
    check_id(&name)?;
    let prefix = format!("delete {kind} schema {name} error");
    let unknown = || EngineError::plain(format!("{prefix}: schema type {kind} not found"));
    let known = SchemaType::named(&kind).ok_or_else(unknown)?;
    let done = format!("{kind} schema {name} is deleted");
    blocking(move || app.schemas.delete(known, &name).map_err(refused(prefix))).await?;
    Ok(Answer::ok(done))
}

/// Errors of this call are JSON by their content type, too, and have no line break at their end (1.5).
async fn upload(
    State(app): Shared,
    Path((kind, name)): Path<(String, String)>,
    request: Request,
) -> Response {
    match take(app, &kind, &name, request).await {
        Ok(is_new) => {
            let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };
            let place = format!("/schemas/{kind}/{name}");
            let headers = [(header::CONTENT_TYPE, "application/json".to_owned()), (header::LOCATION, place)];
            let shown = Document::object().with("type", kind).with("name", name);
            (status, headers, shown.compact()).into_response()
        }
        Err((status, message)) => {
            let document = format!("{{\"error\":1000,\"message\":{}}}", serde_json::Value::from(message));
            (status, [(header::CONTENT_TYPE, "application/json")], document).into_response()
        }
    }
}

async fn take(app: Arc<App>, kind: &str, name: &str, request: Request) -> Result<bool, (StatusCode, String)> {
    let bad = |why: String| (StatusCode::BAD_REQUEST, why);
    let known = SchemaType::named(kind).ok_or_else(|| bad(format!("unsupported schema type {kind}")))?;
    check_id(name).map_err(|why| bad(why.message))?;
    let is_form = |value: &header::HeaderValue| value.as_bytes().starts_with(b"multipart/form-data");
    if !request.headers().get(header::CONTENT_TYPE).is_some_and(is_form) {
        let text = "Invalid content type: content type must be multipart/form-data";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, text.to_owned()));
    }
    let (file, version) =
        parts(request).await.map_err(|why| bad(format!("Invalid multipart body: {why}")))?;
    let name = name.to_owned();
    let stored = blocking(move || {
        let (file_name, content) = file;
        let stored = app.schemas.upload(known, (&name, &version), (&file_name, &content));
        stored.map_err(refused("schema upload command error".to_owned()))
    });
    stored.await.map_err(|why| bad(why.message))
}

/// The file of a form with its name, and the version.
async fn parts(request: Request) -> Result<((String, axum::body::Bytes), String), String> {
    let mut form = Multipart::from_request(request, &()).await.map_err(|why| why.body_text())?;
    let (mut file, mut version) = (None, None);
    while let Some(field) = form.next_field().await.map_err(|why| why.body_text())? {
        match field.name() {
            Some("file") if file.is_some() => return Err("file field must appear exactly once".to_owned()),
            Some("file") => {
                let file_name = field.file_name().unwrap_or_default().to_owned();
                file = Some((file_name, field.bytes().await.map_err(|why| why.body_text())?));
            }
            Some("version") if version.is_some() => {
                return Err("version field must not be repeated".to_owned());
            }
            Some("version") => {
                let text = field.bytes().await.map_err(|why| why.body_text())?;
                if text.len() > LARGEST_VERSION {
                    return Err("version field is too large".to_owned());
                }
                version = Some(String::from_utf8_lossy(&text).into_owned());
            }
            _ => {}
        }
    }
    let file = file.ok_or_else(|| "file field is required".to_owned())?;
    Ok((file, version.unwrap_or_default()))
}
