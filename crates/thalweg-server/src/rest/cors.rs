//! Calls from web pages of other origins (1.3).

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// PATCH is allowed too: upstream forgot it.
const METHODS: [&str; 6] = ["POST", "GET", "PUT", "DELETE", "HEAD", "PATCH"];

const HEADERS: [&str; 6] =
    ["accept", "accept-language", "content-type", "content-language", "origin", "authorization"];

/// Lets any origin read the answer.
pub(super) fn allow(answer: &mut Response) {
    answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
}

/// Answers OPTIONS, which never reaches a handler.
pub(super) fn preflight(request: &Request) -> Response {
    let headers = request.headers();
    if !headers.contains_key(header::ORIGIN) {
        return StatusCode::OK.into_response();
    }
    let Some(method) = text(headers, header::ACCESS_CONTROL_REQUEST_METHOD) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    if !METHODS.contains(&method) {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let asked = text(headers, header::ACCESS_CONTROL_REQUEST_HEADERS).unwrap_or_default();
    let known = |name: &str| HEADERS.contains(&name.trim().to_lowercase().as_str());
    if !asked.split(',').filter(|name| !name.trim().is_empty()).all(known) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut answer = StatusCode::OK.into_response();
    allow(&mut answer);
    if let Ok(asked) = HeaderValue::from_str(asked)
        && !asked.is_empty()
    {
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked);
    }
    if let ("PUT" | "DELETE" | "PATCH", Ok(method)) = (method, HeaderValue::from_str(method)) {
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
    }
    answer
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
