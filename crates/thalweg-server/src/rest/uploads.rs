//! Files that other definitions name (`rest-api.md` 13): kept in `data/uploads`, answered by their absolute paths.

use std::fs;
use std::path::Path as FsPath;
use std::sync::Arc;

use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::http::header;
use serde_json::Value as Json;
use thalweg_engine::EngineError;

use super::answer::html;
use super::body::{self, Text};
use super::routes::{Routes, delete, get};
use super::{Answer, Failure, blocking};
use crate::server::App;
use crate::uploads::{self, Upload, folder, place};

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;

/// The largest file that is taken over multipart.
const LARGEST: usize = 1 << 30;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/config/uploads", get(list).post(upload).limit(LARGEST))
        .route("/config/uploads/{name}", delete(remove))
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
        let name = field.file_name().unwrap_or_default().to_owned();
        let target = place(&folder(&app), &name).map_err(refused)?;
        let bytes = field.bytes().await.map_err(|why| wrong(why.body_text()))?;
        let stored = blocking(move || {
            let path = uploads::write(&target, |target| fs::write(target, &bytes));
            let path =
                path.map_err(|why| EngineError::plain(format!("Upload error: getFile has error: {why}")))?;
            uploads::note_bytes(app.engine.store().as_ref(), &name, &bytes)?;
            Ok(path)
        });
        return Ok(created(&stored.await?));
    }
    Err(wrong("http: no such file; the form has no field uploadFile".to_owned()))
}

/// `{"name", "content"}` or `{"name", "file"}`.
async fn of_document(app: Arc<App>, text: &str) -> Call {
    let wrong = |why: String| Failure::plain(format!("Invalid body: {why}"));
    let document = body::object(text).map_err(|why| wrong(format!("Error decoding file json: {why}")))?;
    let upload = Upload::read(&document).map_err(wrong)?;
    let stored = blocking(move || {
        upload.store(&app).map_err(|why| EngineError::plain(format!("Upload error: {why}")))
    });
    Ok(created(&stored.await?))
}

fn refused(why: String) -> Failure {
    Failure::plain(format!("Upload error: {why}"))
}

fn created(path: &FsPath) -> Answer {
    Answer::created(html(&path.to_string_lossy()))
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
    let target = place(&folder(&app), &name).map_err(refused)?;
    let removed = blocking(move || {
        let removed = if target.is_dir() { fs::remove_dir_all(&target) } else { fs::remove_file(&target) };
        removed.map_err(|why| EngineError::plain(format!("Error deleting the file: {name}: {why}")))?;
        Ok(uploads::forget(app.engine.store().as_ref(), &name)?)
    });
    removed.await?;
    Ok(Answer::ok("ok"))
}
