//! Why an operation on a service is refused.

use thiserror::Error;

/// A refusal, without the prefix of the REST call.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum ServiceError {
    /// There is no such service.
    #[error("{0} is not found")]
    NotFound(String),
    /// What was sent cannot be used, or the disk refuses.
    #[error("{0}")]
    Refused(String),
}
