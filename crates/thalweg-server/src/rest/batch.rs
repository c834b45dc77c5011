//! Several calls in one (`rest-api.md` 18): one after the other, whatever becomes of each.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, header};
use axum::response::Response;
use serde_json::Value as Json;
use thalweg_engine::Document;

use super::body::Text;
use super::routes::{Routes, post};
use super::{Answer, Failure, Front};

/// The largest answer that is passed on.
const LIMIT: usize = 64 << 20;

/// The call that makes the other ones.
pub(super) fn routes(others: Arc<Front>) -> Routes {
    let calls = move |headers: HeaderMap, Text(text): Text| run(others, headers, text);
    Routes::new().route("/batch/req", post(calls))
}

async fn run(others: Arc<Front>, headers: HeaderMap, text: String) -> Result<Answer, Failure> {
    let wrong = |why: String| Failure::plain(format!("Invalid body: {why}"));
    let calls: Vec<Json> = serde_json::from_str(&text).map_err(|why| wrong(why.to_string()))?;
    // What is no call at all is refused as a whole, before any call is made.
    let members = ["method", "path", "body"];
    let is_call = |call: &Json| {
        let is_text = |name: &str| call.get(name).is_none_or(|value| value.is_string() || value.is_null());
        call.is_object() && members.into_iter().all(is_text)
    };
    if let Some(other) = calls.iter().find(|call| !is_call(call)) {
        return Err(wrong(format!("a call is an object with the texts method, path and body, not {other}")));
    }
    let mut answers = Vec::with_capacity(calls.len());
    for call in calls {
        answers.push(match request(&call, &headers) {
            Ok(request) => answer(others.route(request).await).await,
            Err(why) => Document::object().with("code", 0).with("error", why),
        });
    }
    Ok(Answer::document(&Document::List(answers)))
}

fn request(call: &Json, headers: &HeaderMap) -> Result<Request<Body>, String> {
    let text = |name: &str| call.get(name).and_then(Json::as_str).unwrap_or_default();
    let (method, path) = (text("method"), text("path"));
    if !path.starts_with('/') {
        return Err(format!("path {path:?} must begin with a slash"));
    }
    let method =
        Method::from_bytes(method.as_bytes()).map_err(|_| format!("net/http: invalid method {method:?}"))?;
    let built = Request::builder().method(method).uri(path).body(Body::from(text("body").to_owned()));
    let mut request = built.map_err(|why| why.to_string())?;
    *request.headers_mut() = headers.clone();
    request.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(request)
}

async fn answer(answer: Response) -> Document {
    let document = Document::object().with("code", answer.status().as_u16());
    match axum::body::to_bytes(answer.into_body(), LIMIT).await {
        Ok(bytes) if bytes.is_empty() => document,
        Ok(bytes) => document.with("response", String::from_utf8_lossy(&bytes).into_owned()),
        Err(why) => document.with("error", why.to_string()),
    }
}
