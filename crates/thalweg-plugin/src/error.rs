//! Why a request to the host was refused.

use thiserror::Error;

/// The texts are those of `docs/compat/rest-api.md` 11.1, without the prefix of the REST call.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PluginError {
    /// No plugin of this name is installed.
    #[error("portable plugin {0} is not found")]
    NotFound(String),
    /// The request, the package or the plugin itself is at fault.
    #[error("{0}")]
    Refused(String),
}

impl PluginError {
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::Refused(text.into())
    }
}
