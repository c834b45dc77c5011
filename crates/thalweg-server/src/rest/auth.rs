//! Who may call (`rest-api.md` 1.8): nobody asks by default; with a token of ours, eKuiper's web tokens, or either.

use std::path::PathBuf;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use ring::digest;

use super::{answer, jwt};

/// Calls that never need a token: the first two are upstream's, the others describe the interface and hold no data.
pub(super) const OPEN: [&str; 4] = ["/", "/ping", "/openapi.json", "/docs"];

/// What a caller must show.
#[derive(Clone, Default)]
pub(crate) struct Auth {
    /// The digest of `--token`.
    token: Option<digest::Digest>,
    /// The folder with the keys of those who sign web tokens, with `basic.authentication`.
    keys: Option<PathBuf>,
}

impl Auth {
    /// From `--token` and the folder of keys.
    pub(crate) fn new(token: Option<&str>, keys: Option<PathBuf>) -> Self {
        let token = token.filter(|token| !token.is_empty()).map(digest_of);
        Self { token, keys }
    }

    /// Whether anybody may call.
    pub(crate) fn is_off(&self) -> bool {
        self.token.is_none() && self.keys.is_none()
    }

    /// Whether this call may be made; if not, why.
    pub(super) async fn check(&self, path: &str, headers: &HeaderMap, now: i64) -> Result<(), Refused> {
        if self.is_off() || OPEN.contains(&path) {
            return Ok(());
        }
        let shown = headers.get(header::AUTHORIZATION).map(|value| String::from_utf8_lossy(value.as_bytes()));
        let Some(shown) = shown.filter(|shown| !shown.is_empty()) else {
            return Err(Refused("missing_token".to_owned()));
        };
        if let Some(token) = &self.token {
            let given = shown.get(..7).filter(|start| start.eq_ignore_ascii_case("bearer "));
            let given = given.map_or(&*shown, |_| shown[7..].trim());
            // Digests tell nothing about the token by the time that comparing them takes.
            if digest_of(given).as_ref() == token.as_ref() {
                return Ok(());
            }
        }
        let Some(keys) = self.keys.clone() else {
            let text = "validate token error: the token is not the one that the engine was started with";
            return Err(Refused(text.to_owned()));
        };
        let token = shown.into_owned();
        let checked = tokio::task::spawn_blocking(move || jwt::check(&token, &keys, now)).await;
        checked.unwrap_or_else(|why| Err(format!("validate token error: {why}"))).map_err(Refused)
    }
}

fn digest_of(token: &str) -> digest::Digest {
    digest::digest(&digest::SHA256, token.as_bytes())
}

/// Why a caller may not: a bare text with status 401.
#[derive(Debug)]
pub(super) struct Refused(String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(answer::TEXT)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        (StatusCode::UNAUTHORIZED, headers, format!("{}\n", self.0)).into_response()
    }
}
