//! What every call goes through, in this order: CORS, the path, the route, the audit log, authentication (`rest-api.md` 1).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::address::{self, Address};
use super::routes::{Found, Table};
use super::{Failure, answer, cors};
use crate::server::App;

/// The door of the management interface.
pub(crate) struct Front {
    app: Arc<App>,
    table: Arc<Table>,
    /// Whether callers are asked who they are.
    asks: bool,
    /// Whether the log has been told that a probe came in by an open door.
    is_said: AtomicBool,
}

impl Front {
    pub(super) fn new(app: Arc<App>, table: Arc<Table>) -> Self {
        Self { app, table, asks: true, is_said: AtomicBool::new(false) }
    }

    /// A door that nobody has to show anything at: the port of metrics.
    pub(crate) fn open(app: Arc<App>, table: Table) -> Self {
        Self { app, table: Arc::new(table), asks: false, is_said: AtomicBool::new(false) }
    }

    /// Answers a call from outside.
    pub(crate) async fn answer(&self, request: Request) -> Response {
        if request.method() == Method::OPTIONS {
            return cors::preflight(&request);
        }
        let is_foreign = request.headers().contains_key(header::ORIGIN);
        let mut answer = self.route(request).await;
        if is_foreign {
            cors::allow(&mut answer);
        }
        answer
    }

    /// Answers a call, which may also be one of a batch.
    pub(super) async fn route(&self, mut request: Request) -> Response {
        let path = match address::read(request.uri().path()) {
            Address::Path(path) => path,
            Address::Unclean(clean) => return moved(&clean, request.uri().query()),
            Address::Wrong(why) => {
                let text = format!("invalid path {}: {why}", request.uri().path());
                return Failure::plain(text).into_response();
            }
        };
        match self.table.find(request.method(), &path) {
            Found::Call => {}
            Found::OtherMethods => {
                let allow = [(header::ALLOW, self.table.methods(&path))];
                return (StatusCode::METHOD_NOT_ALLOWED, allow).into_response();
            }
            Found::Nothing => return unknown_path(),
        }
        if self.app.audit_log {
            tracing::info!("visit {} {}", request.method(), request.uri());
        }
        if self.asks
            && let Err(refused) = self.app.auth.check(&path, request.headers(), self.app.seconds()).await
        {
            return refused.into_response();
        }
        if path == "/ping" && self.app.is_exposed && !self.is_said.swap(true, Ordering::Relaxed) {
            tracing::warn!("{}", crate::server::EXPOSED);
        }
        let target = with_query(&address::encoded(&path), request.uri().query());
        match Uri::try_from(target) {
            Ok(uri) => *request.uri_mut() = uri,
            Err(why) => return Failure::plain(format!("invalid path {path}: {why}")).into_response(),
        }
        self.table.answer(request).await
    }
}

fn with_query(path: &str, query: Option<&str>) -> String {
    query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"))
}

fn moved(clean: &str, query: Option<&str>) -> Response {
    let target = with_query(&address::encoded(clean), query);
    let mut answer = StatusCode::MOVED_PERMANENTLY.into_response();
    if let Ok(target) = HeaderValue::try_from(target) {
        answer.headers_mut().insert(header::LOCATION, target);
    }
    answer
}

/// 1.2: as Go's router says it.
fn unknown_path() -> Response {
    let headers = [(header::CONTENT_TYPE, answer::TEXT), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    (StatusCode::NOT_FOUND, headers, "404 page not found\n").into_response()
}
