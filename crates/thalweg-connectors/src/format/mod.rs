//! Data formats, one file or folder each.

pub mod binary;
pub mod delimited;
pub mod json;
mod row;
pub mod urlencoded;

use chrono_tz::Tz;
use thalweg_core::{Diagnostic, Props};

/// The configured zone, which whoever builds a decoder or encoder puts under `timezone`; UTC when absent.
pub(crate) fn zone(props: &Props) -> Result<Tz, Diagnostic> {
    match props.text("timezone")? {
        None => Ok(Tz::UTC),
        Some(name) => name.parse().map_err(|_| Diagnostic::plain(format!("unknown time zone \"{name}\""))),
    }
}
