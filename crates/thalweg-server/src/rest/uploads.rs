//! Files that other definitions name (`rest-api.md` 13): kept in `data/uploads`, answered by their absolute paths.

use std::fs;
use std::io;
use std::path::{Component, Path as FsPath, PathBuf};
use std::sync::Arc;

use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::http::header;
use serde_json::Value as Json;
use thalweg_core::Props;
use thalweg_engine::EngineError;

use super::answer::html;
use super::body::{self, Text};
use super::routes::{Routes, delete, get};
use super::{Answer, Failure, blocking};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;

/// The largest file that is taken over multipart.
const LARGEST: usize = 1 << 30;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/config/uploads", get(list).post(upload).limit(LARGEST))
        .route("/config/uploads/{name}", delete(remove))
}

fn folder(app: &App) -> PathBuf {
    app.home.join("data").join("uploads")
}

/// A place below the folder; names may have folders of their own but never leave it.
fn place(folder: &FsPath, name: &str) -> Result<PathBuf, Failure> {
    let is_inside = FsPath::new(name).components().all(|part| matches!(part, Component::Normal(_)));
    if name.is_empty() || !is_inside || name.ends_with('/') || name.contains('\0') {
        return Err(Failure::plain(format!(
            "Upload error: the name {name:?} must be a path below data/uploads"
        )));
    }
    Ok(folder.join(name))
}

async fn upload(State(app): Shared, request: Request) -> Call {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    // Exactly this; with a charset it is taken for a form, as upstream does.
    if content_type.is_some_and(|kind| kind == "application/json") {
        let Text(text) = Text::from_request(request, &()).await?;
        return of_document(app, &text).await;
    }
    let wrong = |why: String| Failure::plain(format!("Error Retrieving the File: {why}"));
    let form = Multipart::from_request(request, &()).await;
    let mut form = form.map_err(|why| wrong(format!("{why}; send a form with the field uploadFile")))?;
    while let Some(field) = form.next_field().await.map_err(|why| wrong(why.body_text()))? {
        if field.name() != Some("uploadFile") {
            continue;
        }
        let target = place(&folder(&app), field.file_name().unwrap_or_default())?;
        let bytes = field.bytes().await.map_err(|why| wrong(why.body_text()))?;
        return store(target, move |target| fs::write(target, bytes)).await;
    }
    Err(wrong("http: no such file; the form has no field uploadFile".to_owned()))
}

/// `{"name", "content"}` or `{"name", "file"}`.
async fn of_document(app: Arc<App>, text: &str) -> Call {
    let document = body::object(text)
        .map_err(|why| Failure::plain(format!("Invalid body: Error decoding file json: {why}")))?;
    let member = |name: &str| of(&document, name);
    let (name, content, file) = (member("name")?, member("content")?, member("file")?);
    if content.is_empty() && file.is_empty() {
        return Err(missing("content or FilePath is required"));
    }
    if name.is_empty() {
        return Err(missing("name is required"));
    }
    let target = place(&folder(&app), &name)?;
    if !file.is_empty() {
        let fetch = move |target: &FsPath| app.plugins.fetch(&file, target).map_err(io::Error::other);
        return store(target, fetch).await;
    }
    store(target, move |target| fs::write(target, content)).await
}

fn missing(what: &str) -> Failure {
    Failure::plain(format!("Invalid body: missing necessary field: invalid body: {what}"))
}

fn of(document: &Props, name: &str) -> Result<String, Failure> {
    let text = document.text(name);
    let text = text.map_err(|why| format!("Invalid body: Error decoding file json: {}", why.message));
    Ok(text.map_err(Failure::plain)?.unwrap_or_default().to_owned())
}

/// Writes beside the target first, so that nobody ever reads half a file.
async fn store(target: PathBuf, write: impl FnOnce(&FsPath) -> io::Result<()> + Send + 'static) -> Call {
    let stored = blocking(move || {
        let folder = target.parent().unwrap_or(&target);
        let written = fs::create_dir_all(folder).and_then(|()| {
            let beside = tempfile::NamedTempFile::new_in(folder)?.into_temp_path();
            write(&beside)?;
            fs::rename(&beside, &target)?;
            // It has another name now and must not be removed.
            let _ = beside.keep();
            target.canonicalize()
        });
        written.map_err(|why| EngineError::plain(format!("Upload error: getFile has error: {why}")))
    });
    Ok(Answer::created(html(&stored.await?.to_string_lossy())))
}

async fn list(State(app): Shared) -> Call {
    let found = blocking(move || {
        let mut found = Vec::new();
        let folder = folder(&app).canonicalize().map_err(|why| EngineError::plain(why.to_string()))?;
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            found.push(entry.path().to_string_lossy().into_owned());
        }
        found.sort();
        Ok(found)
    });
    Ok(Answer::json(&Json::from(found.await?)))
}

async fn remove(State(app): Shared, Path(name): Path<String>) -> Call {
    let target = place(&folder(&app), &name)?;
    let removed = blocking(move || {
        let removed = if target.is_dir() { fs::remove_dir_all(&target) } else { fs::remove_file(&target) };
        removed.map_err(|why| EngineError::plain(format!("Error deleting the file: {name}: {why}")))
    });
    removed.await?;
    Ok(Answer::ok("ok"))
}
