//! What goes back: documents, short texts, and errors in the one shape that clients know (1.4, 1.5).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value as Json;
use thalweg_core::ErrorCode;
use thalweg_engine::{Document, EngineError};

/// The content type of texts and errors.
pub(super) const TEXT: &str = "text/plain; charset=utf-8";

/// A successful answer.
pub(crate) enum Answer {
    /// J: a document.
    Json(String),
    /// J with status 201.
    JsonCreated(String),
    /// JT: a document that goes out as text.
    JsonAsText(String),
    /// T: a short text.
    Text(StatusCode, String),
    /// 0: nothing.
    Empty,
    /// Nothing, with status 204.
    Nothing,
}

impl Answer {
    /// A compact document (J).
    pub(crate) fn document(document: &Document) -> Self {
        Self::Json(escape(&document.compact()))
    }

    /// A document without an order of its own (J).
    pub(crate) fn json(json: &Json) -> Self {
        Self::Json(escape(&json.to_string()))
    }

    /// A text with status 200.
    pub(crate) fn ok(text: impl Into<String>) -> Self {
        Self::Text(StatusCode::OK, text.into())
    }

    /// A text with status 201.
    pub(crate) fn created(text: impl Into<String>) -> Self {
        Self::Text(StatusCode::CREATED, text.into())
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        match self {
            Self::Json(text) => ([(header::CONTENT_TYPE, "application/json")], text).into_response(),
            Self::JsonCreated(text) => {
                (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], text).into_response()
            }
            Self::JsonAsText(text) => ([(header::CONTENT_TYPE, TEXT)], text).into_response(),
            Self::Text(status, text) => (status, [(header::CONTENT_TYPE, TEXT)], text).into_response(),
            Self::Empty => StatusCode::OK.into_response(),
            Self::Nothing => StatusCode::NO_CONTENT.into_response(),
        }
    }
}

/// A refused call.
#[derive(Debug)]
pub(crate) struct Failure {
    status: StatusCode,
    code: u32,
    message: String,
    /// One more member, behind upstream's.
    more: Option<(&'static str, Document)>,
}

impl Failure {
    /// A refusal with a status of its own.
    pub(crate) fn with_status(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, code: ErrorCode::Undefined.number(), message: message.into(), more: None }
    }

    /// The same with one more member behind the message.
    pub(super) fn with_more(mut self, name: &'static str, document: Document) -> Self {
        self.more = Some((name, document));
        self
    }

    /// A plain refusal: 400 and 1000.
    pub(crate) fn plain(message: impl Into<String>) -> Self {
        Self::with_status(StatusCode::BAD_REQUEST, message)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let status =
            if error.code == ErrorCode::NotFound { StatusCode::NOT_FOUND } else { StatusCode::BAD_REQUEST };
        Self { status, code: error.code.number(), message: error.message, more: None }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let more = self.more.map(|(name, document)| format!(",\"{name}\":{}", document.compact()));
        let (code, message, more) = (self.code, Json::from(self.message), more.unwrap_or_default());
        let body = format!("{{\"error\":{code},\"message\":{message}{more}}}\n");
        let mut answer = (self.status, [(header::CONTENT_TYPE, TEXT)], body).into_response();
        answer.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }
}

/// Puts the call's prefix before the cause.
pub(super) fn prefix(prefix: &'static str) -> impl Fn(EngineError) -> Failure {
    move |error| Failure::from(error.prefixed(&format!("{prefix}: ")))
}

/// What HTML would read is escaped, as Go's templates do.
pub(super) fn html(text: &str) -> String {
    let names = [("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ("'", "&#39;"), ("\"", "&#34;")];
    names.iter().fold(text.to_owned(), |text, (character, name)| text.replace(character, name))
}

/// Go's JSON escapes what HTML would read (1.4). These characters stand only inside strings.
pub(super) fn escape(json: &str) -> String {
    if !json.contains(['<', '>', '&', '\u{2028}', '\u{2029}']) {
        return json.to_owned();
    }
    let mut escaped = String::with_capacity(json.len() + 16);
    for character in json.chars() {
        match character {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                escaped.push_str(&format!("\\u{:04x}", u32::from(character)))
            }
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn html_characters_are_escaped_as_go_does() {
        assert_eq!(escape(r#"{"a":"x<y & z>"}"#), r#"{"a":"x\u003cy \u0026 z\u003e"}"#);
        assert_eq!(escape("{}"), "{}");
    }
}
