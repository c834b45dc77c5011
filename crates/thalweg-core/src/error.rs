//! What can go wrong with a row, a payload, or the outside world.

use std::sync::Arc;

use thiserror::Error;

/// Why one row could not be evaluated. The text is upstream's cause (Z-3), without the clause's prefix.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum RowError {
    /// A finished text.
    #[error("{0}")]
    Text(Arc<str>),
    /// O-3.
    #[error("divided by zero")]
    DividedByZero,
    /// O-2, O-6: operands of kinds that do not go together, rendered as `float64(3) = string(x)`.
    #[error("invalid operation {0}")]
    InvalidOperation(Arc<str>),
    /// O-12: index and length.
    #[error("out of index: {index} of {len}")]
    OutOfIndex {
        /// The index asked for.
        index: i64,
        /// The length of the list.
        len: usize,
    },
}

impl RowError {
    /// An error with a text of its own.
    pub fn text(text: impl AsRef<str>) -> Self {
        Self::Text(Arc::from(text.as_ref()))
    }
}

/// A payload that cannot be decoded, or a row that cannot be encoded.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{message}")]
pub struct FormatError {
    /// What is wrong and where.
    pub message: Arc<str>,
}

impl FormatError {
    /// An error with this text.
    pub fn new(message: impl AsRef<str>) -> Self {
        Self { message: Arc::from(message.as_ref()) }
    }
}

/// Whether trying again can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The outside may recover: back off and try again for ever.
    Transient,
    /// It will not: the rule stops, or the item is dropped and counted.
    Permanent,
}

/// Trouble with the outside world.
#[derive(Debug, Clone, Error)]
#[error("{message}")]
pub struct IoError {
    /// Whether to try again.
    pub retry: Retry,
    /// What failed, where, and why.
    pub message: Arc<str>,
}

impl IoError {
    /// An error worth another try.
    pub fn transient(message: impl AsRef<str>) -> Self {
        Self { retry: Retry::Transient, message: Arc::from(message.as_ref()) }
    }

    /// An error that will come again.
    pub fn permanent(message: impl AsRef<str>) -> Self {
        Self { retry: Retry::Permanent, message: Arc::from(message.as_ref()) }
    }
}
