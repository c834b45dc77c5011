//! External services (`rest-api.md` 10).

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::Serialize;
use thalweg_engine::{EngineError, check_id};
use thalweg_service::{InstallRequest, ServiceError};

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
        .route("/services", get(list).post(install))
        .route("/services/functions", get(functions))
        .route("/services/functions/{name}", get(function))
        .route("/services/{name}", get(describe).put(update).delete(remove))
}

fn json(document: &impl Serialize) -> Answer {
    // These documents hold texts, numbers and lists, none of which can fail.
    Answer::Json(escape(&serde_json::to_string(document).unwrap_or_default()))
}

fn refused(prefix: impl Into<String>) -> impl FnOnce(ServiceError) -> EngineError {
    let prefix = prefix.into();
    move |why| match why {
        ServiceError::NotFound(_) => EngineError::not_found(format!("{prefix}: {why}")),
        ServiceError::Refused(_) => EngineError::plain(format!("{prefix}: {why}")),
    }
}

/// The body of POST and PUT, with keys in any case (1.7).
fn request(text: &str) -> Result<InstallRequest, Failure> {
    let wrong = |why: String| {
        Failure::plain(format!("Invalid body: Error decoding the service request payload: {why}"))
    };
    let body = body::object(text).map_err(wrong)?;
    let field = |name| {
        body.text(name).map(|text| text.unwrap_or_default().to_owned()).map_err(|why| wrong(why.message))
    };
    Ok(InstallRequest { name: field("name")?, file: field("file")? })
}

async fn list(State(app): Shared) -> Call {
    Ok(json(&app.services.list()))
}

async fn install(State(app): Shared, Text(text): Text) -> Call {
    let request = request(&text)?;
    check_id(&request.name)?;
    let done = format!("service {} is created", request.name);
    blocking(move || app.services.install(&request).map_err(refused("service create command error"))).await?;
    Ok(Answer::created(done))
}

async fn describe(State(app): Shared, Path(name): Name) -> Call {
    check_id(&name)?;
    let missing = || EngineError::not_found(format!("describe service {name} error: not found"));
    Ok(json(&app.services.describe(&name).ok_or_else(missing)?))
}

async fn update(State(app): Shared, Path(name): Name, Text(text): Text) -> Call {
    check_id(&name)?;
    // The name that counts is that of the path.
    let request = InstallRequest { name, ..request(&text)? };
    let done = format!("service {} is updated", request.name);
    blocking(move || app.services.update(&request).map_err(refused("service update command error"))).await?;
    Ok(Answer::ok(done))
}

async fn remove(State(app): Shared, Path(name): Name) -> Call {
    check_id(&name)?;
    let done = format!("service {name} is deleted");
    blocking(move || app.services.delete(&name).map_err(refused(format!("delete service {name} error"))))
        .await?;
    Ok(Answer::ok(done))
}

async fn functions(State(app): Shared) -> Call {
    Ok(json(&app.services.functions()))
}

async fn function(State(app): Shared, Path(name): Name) -> Call {
    check_id(&name)?;
    let missing = || EngineError::not_found(format!("describe function {name} error: not found"));
    Ok(json(&app.services.function(&name).ok_or_else(missing)?))
}
