//! What one call site may use.

use std::time::Duration;

/// The limits of an interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How long one call may take. Looked at every ten thousand jumps and calls of the script, so a call is cut short a
    /// little later.
    pub time: Duration,
    /// The bytes that its values may have, the interpreter's own included.
    pub memory: usize,
    /// The bytes of stack for calls within calls.
    pub stack: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { time: Duration::from_secs(1), memory: 64 << 20, stack: 512 << 10 }
    }
}
