//! The management interface (`rest-api.md`): a handler a call, grouped by area. Nothing below this folder knows HTTP.

mod answer;
mod batch;
mod body;
mod connections;
mod cors;
mod keyed_state;
mod metadata;
mod plugins;
pub(crate) mod prometheus;
mod python;
mod rules;
mod ruleset;
#[cfg(feature = "javascript")]
mod scripts;
#[cfg(not(feature = "javascript"))]
#[path = "no_scripts.rs"]
mod scripts;
mod services;
mod streams;
mod system;
mod uploads;

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use thalweg_engine::EngineError;

use crate::server::App;

pub(crate) use answer::{Answer, Failure};

/// All routes.
pub(crate) fn router(app: Arc<App>) -> Router {
    let audit = app.audit_log;
    let metrics = app.metrics_here.map(prometheus::routes).unwrap_or_default();
    let all = Router::new()
        .merge(metrics)
        .merge(system::routes())
        .merge(streams::routes())
        .merge(rules::routes())
        .merge(connections::routes())
        .merge(plugins::routes())
        .merge(scripts::routes())
        .merge(services::routes())
        .merge(python::routes())
        .merge(metadata::routes())
        .merge(keyed_state::routes())
        .merge(uploads::routes())
        .merge(ruleset::routes())
        .fallback(unknown_path)
        .with_state(app);
    batch::route(all).layer(middleware::from_fn(move |request, next| around(audit, request, next)))
}

/// What surrounds every call: the audit log, HEAD (which is routed nowhere, 1.2), and CORS (1.3).
async fn around(audit: bool, request: Request, next: Next) -> Response {
    if audit {
        tracing::info!("visit {} {}", request.method(), request.uri());
    }
    if request.method() == Method::OPTIONS {
        return cors::preflight(&request);
    }
    if request.method() == Method::HEAD {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let is_foreign = request.headers().contains_key(header::ORIGIN);
    let mut answer = next.run(request).await;
    if is_foreign {
        cors::allow(&mut answer);
    }
    answer
}

/// 1.2: as Go's router says it.
async fn unknown_path() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, answer::TEXT)], "404 page not found\n").into_response()
}

/// Runs work that waits for the disk or a plugin where that does no harm.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(why) => Err(EngineError::plain(format!("internal error: {why}"))),
    }
}
