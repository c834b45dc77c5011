//! Reading request bodies: bounded, whatever their content type says (1.7).

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};
use thalweg_core::Props;

use super::Failure;

/// The largest body that is read.
pub(super) const LIMIT: usize = 16 << 20;

/// A whole body as text.
pub(super) struct Text(pub(super) String);

impl<S: Send + Sync> FromRequest<S> for Text {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Result<Self, Failure> {
        let too_large = || {
            let text = format!("request body is larger than {} MB, or was cut off", LIMIT >> 20);
            Failure::with_status(StatusCode::PAYLOAD_TOO_LARGE, text)
        };
        let bytes = axum::body::to_bytes(request.into_body(), LIMIT).await.map_err(|_| too_large())?;
        let text = String::from_utf8(bytes.into())
            .map_err(|why| Failure::plain(format!("request body is not UTF-8: {why}")))?;
        Ok(Self(text))
    }
}

/// What stands behind the question mark; what does not fit is refused in the usual shape (1.5).
pub(super) struct Query<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let read = axum::extract::Query::from_request_parts(parts, state).await;
        read.map(|query| Self(query.0))
            .map_err(|why| Failure::plain(format!("invalid query parameters: {}", why.body_text())))
    }
}

/// A body as an object; `null` and nothing are an empty one. The error is the cause only.
pub(super) fn object(text: &str) -> Result<Props, String> {
    if text.trim().is_empty() {
        return Err("EOF".to_owned());
    }
    // Garbage behind the first value is ignored, as a stream decoder does.
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<Json>();
    match values.next() {
        Some(Ok(Json::Object(members))) => Ok(Props::from(members)),
        Some(Ok(Json::Null)) | None => Ok(Props::from(Map::new())),
        Some(Ok(other)) => Err(format!("expected an object, not {other}")),
        Some(Err(why)) => Err(why.to_string()),
    }
}
