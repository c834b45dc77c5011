//! Calls from web pages of other origins (1.3).

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

/// PATCH is allowed too: upstream forgot it.
const METHODS: [&str; 6] = ["POST", "GET", "PUT", "DELETE", "HEAD", "PATCH"];

/// Headers that need no permission.
const FREE: [&str; 4] = ["Accept", "Accept-Language", "Content-Language", "Origin"];

/// Headers that get it.
const ALLOWED: [&str; 2] = ["Content-Type", "Authorization"];

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
    let mut allowed = Vec::new();
    for name in asked.split(',').map(str::trim).filter(|name| !name.is_empty()) {
        let known = |known: &&&str| known.eq_ignore_ascii_case(name);
        match ALLOWED.iter().find(known) {
            Some(name) => allowed.push(*name),
            None if FREE.iter().any(|free| known(&free)) => {}
            None => return StatusCode::FORBIDDEN.into_response(),
        }
    }
    let mut answer = StatusCode::OK.into_response();
    allow(&mut answer);
    if let Ok(allowed) = HeaderValue::try_from(allowed.join(","))
        && !allowed.is_empty()
    {
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_HEADERS, allowed);
    }
    if let ("PUT" | "DELETE" | "PATCH", Ok(method)) = (method, HeaderValue::from_str(method)) {
        answer.headers_mut().insert(header::ACCESS_CONTROL_ALLOW_METHODS, method);
    }
    answer
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<&str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
