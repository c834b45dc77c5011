//! Why an operation is refused, with the number that clients see.

use thalweg_core::{Diagnostic, ErrorCode, diagnostic};
use thiserror::Error;

use crate::store::StoreError;

/// A refused operation. The server derives the HTTP status from the code.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{message}")]
pub struct EngineError {
    /// What kind of refusal.
    pub code: ErrorCode,
    /// The cause, without the prefix of the REST call.
    pub message: String,
}

impl EngineError {
    /// A refusal with this number.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }

    /// A plain refusal (1000).
    pub fn plain(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Undefined, message)
    }

    /// Something that does not exist (1002, HTTP 404).
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::NotFound, message)
    }

    /// A refusal that concerns streams and tables (3000).
    pub fn stream(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Stream, message)
    }

    /// The mistakes of a text as one refusal, each with its position.
    pub fn from_text(text: &str, mistakes: &[Diagnostic]) -> Self {
        let code = mistakes.first().map_or(ErrorCode::Undefined, |first| first.code);
        Self::new(code, diagnostic::report(text, mistakes))
    }

    /// The same with `prefix` before the message.
    pub fn prefixed(mut self, prefix: &str) -> Self {
        self.message.insert_str(0, prefix);
        self
    }

    /// The same with another number.
    pub fn with_code(mut self, code: ErrorCode) -> Self {
        self.code = code;
        self
    }
}

impl From<Diagnostic> for EngineError {
    fn from(diagnostic: Diagnostic) -> Self {
        Self { code: diagnostic.code, message: diagnostic.to_string() }
    }
}

impl From<StoreError> for EngineError {
    fn from(error: StoreError) -> Self {
        Self::plain(error.to_string())
    }
}
