//! Reading properties with the connector's name in front of every complaint.

use thalweg_core::diagnostic::{Diagnostic, ErrorCode};
use thalweg_core::props::Props;

/// A refusal of a property or of a combination of them.
pub(crate) fn refused(message: impl Into<String>) -> Diagnostic {
    Diagnostic::new(ErrorCode::Executor, message)
}

/// Text that must be there and not be empty.
pub(crate) fn required<'a>(owner: &str, props: &'a Props, name: &str) -> Result<&'a str, Diagnostic> {
    match props.text(name)? {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(refused(format!("{owner} is missing property {name}"))),
    }
}

/// Text, empty when it is not there.
pub(crate) fn text<'a>(props: &'a Props, name: &str) -> Result<&'a str, Diagnostic> {
    Ok(props.text(name)?.unwrap_or_default())
}

/// A truth value, false when it is not there.
pub(crate) fn flag(props: &Props, name: &str) -> Result<bool, Diagnostic> {
    Ok(props.bool(name)?.unwrap_or(false))
}

/// The strings of a list; empty when it is not there.
pub(crate) fn texts(owner: &str, props: &Props, name: &str) -> Result<Vec<String>, Diagnostic> {
    let wrong = || refused(format!("{owner}: property \"{name}\" must be a list of strings"));
    match props.get(name) {
        None | Some(serde_json::Value::Null) => Ok(Vec::new()),
        Some(serde_json::Value::Array(items)) => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}

/// Whether the text is a data template (C3.9), whose value is known only for each message.
pub(crate) fn is_template(text: &str) -> bool {
    text.contains("{{")
}
