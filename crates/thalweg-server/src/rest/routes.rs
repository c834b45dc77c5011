//! Which calls there are, and how a path finds its handler (`rest-api.md` 1.2).
//!
//! Routes are written as with axum, and remembered: the document of the interface and its tests look at the same list that
//! requests are answered by. Each method has a router of its own, so that a method that one pattern lacks does not hide
//! another pattern: `POST /rules/validate` is a call, and `GET /rules/validate` shows the rule of that name.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::handler::Handler;
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::{self, MethodRouter};
use tower::ServiceExt;

use super::Failure;
use crate::server::App;

/// The handlers of one path, by method.
pub(super) struct Methods(Vec<(Method, MethodRouter<Arc<App>>)>);

macro_rules! methods {
    ($($name:ident $method:ident,)*) => {
        $(
            #[doc = concat!("A path with a handler for ", stringify!($method), ".")]
            #[allow(dead_code, reason = "every method can be the first")]
            pub(super) fn $name<H: Handler<T, Arc<App>>, T: 'static>(handler: H) -> Methods {
                Methods(vec![(Method::$method, routing::$name(handler))])
            }
        )*

        impl Methods {
            $(
                #[doc = concat!("And a handler for ", stringify!($method), ".")]
                #[allow(dead_code, reason = "every method can follow every other")]
                pub(super) fn $name<H: Handler<T, Arc<App>>, T: 'static>(mut self, handler: H) -> Self {
                    self.0.push((Method::$method, routing::$name(handler)));
                    self
                }
            )*
        }
    };
}

methods! {
    get GET,
    post POST,
    put PUT,
    patch PATCH,
    delete DELETE,
}

impl Methods {
    /// The largest form that these handlers take.
    pub(super) fn limit(self, bytes: usize) -> Self {
        let limited = |(method, router): (Method, MethodRouter<_>)| {
            (method, router.layer(DefaultBodyLimit::max(bytes)))
        };
        Self(self.0.into_iter().map(limited).collect())
    }
}

/// Calls with their handlers.
#[derive(Clone, Default)]
pub(crate) struct Routes(Vec<(Method, String, MethodRouter<Arc<App>>)>);

impl Routes {
    /// None.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// And those of a path. `{name}` stands for one segment.
    pub(super) fn route(mut self, path: &str, methods: Methods) -> Self {
        self.0.extend(methods.0.into_iter().map(|(method, handler)| (method, path.to_owned(), handler)));
        self
    }

    /// And others.
    pub(super) fn merge(mut self, others: Self) -> Self {
        self.0.extend(others.0);
        self
    }

    /// Method and pattern of each.
    pub(super) fn list(&self) -> Vec<(Method, String)> {
        self.0.iter().map(|(method, path, _)| (method.clone(), path.clone())).collect()
    }

    /// Ready to answer.
    pub(crate) fn with_state(self, app: &Arc<App>) -> Table {
        let patterns = self.list();
        let mut routers: HashMap<Method, Router<Arc<App>>> = HashMap::new();
        for (method, path, handler) in self.0 {
            let router = routers.remove(&method).unwrap_or_default().route(&path, handler);
            routers.insert(method, router);
        }
        let routers =
            routers.into_iter().map(|(method, router)| (method, router.with_state(Arc::clone(app))));
        Table { patterns, routers: routers.collect() }
    }
}

/// What a method and a path mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// A call.
    Call,
    /// The path is known, with other methods.
    OtherMethods,
    /// The path is not known.
    Nothing,
}

/// All calls, each with its handler.
pub(crate) struct Table {
    patterns: Vec<(Method, String)>,
    routers: HashMap<Method, Router>,
}

impl Table {
    /// Looks up a decoded path.
    pub(super) fn find(&self, method: &Method, path: &str) -> Found {
        let mut found = Found::Nothing;
        for (of, pattern) in &self.patterns {
            if !fits(pattern, path) {
                continue;
            }
            if of == method {
                return Found::Call;
            }
            found = Found::OtherMethods;
        }
        found
    }

    /// The methods of a path, as the header `Allow` has them.
    pub(super) fn methods(&self, path: &str) -> String {
        let of_path = self.patterns.iter().filter(|(_, pattern)| fits(pattern, path));
        let mut methods: Vec<&str> = of_path.map(|(method, _)| method.as_str()).collect();
        methods.sort_unstable();
        methods.dedup();
        methods.join(", ")
    }

    /// Runs the handler, to its end even when nobody waits for the answer any more. A panic is answered as well.
    pub(super) async fn answer(&self, request: Request) -> Response {
        let Some(router) = self.routers.get(request.method()).cloned() else {
            return axum::http::StatusCode::METHOD_NOT_ALLOWED.into_response();
        };
        let shown = format!("{} {}", request.method(), request.uri().path());
        match tokio::spawn(router.oneshot(request)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(never)) => match never {},
            Err(why) => {
                tracing::error!("{shown} ended in an internal error: {why}");
                let text = format!("internal error: {shown} failed; the log tells more");
                Failure::with_status(axum::http::StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
            }
        }
    }
}

fn fits(pattern: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (pattern.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted.starts_with('{') && !given.is_empty() => {}
            (Some(wanted), Some(given)) if wanted == given => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Table {
        let nothing = || async { "" };
        let routes = Routes::new()
            .route("/rules/{id}", get(nothing).delete(nothing))
            .route("/rules/validate", post(nothing))
            .route("/", get(nothing));
        Table { patterns: routes.list(), routers: HashMap::new() }
    }

    #[test]
    fn a_method_that_one_pattern_lacks_does_not_hide_another() {
        let table = nothing();
        let all = [
            (Method::GET, "/rules/validate", Found::Call),
            (Method::POST, "/rules/validate", Found::Call),
            (Method::DELETE, "/rules/validate", Found::Call),
            (Method::PUT, "/rules/validate", Found::OtherMethods),
            (Method::HEAD, "/rules/a b", Found::OtherMethods),
            (Method::GET, "/rules/", Found::Nothing),
            (Method::GET, "/rules/a/b", Found::Nothing),
            (Method::GET, "/", Found::Call),
            (Method::GET, "", Found::Nothing),
        ];
        for (method, path, found) in all {
            assert_eq!(table.find(&method, path), found, "{method} {path}");
        }
    }
}
