//! What can be changed while the engine runs (`rest-api.md` 15). Nothing of it is kept.

use std::sync::Arc;

use axum::extract::State;
use serde_json::Value as Json;
use thalweg_core::{Diagnostic, Props};

use super::body::{self, Text};
use super::routes::{Routes, patch};
use super::{Answer, Failure};
use crate::logging;
use crate::server::App;

pub(super) fn routes() -> Routes {
    Routes::new().route("/configs", patch(change))
}

/// Keys are applied one after the other; those before one that is wrong stay applied.
async fn change(State(app): State<Arc<App>>, Text(text): Text) -> Result<Answer, Failure> {
    let wrong = |why: String| Failure::plain(format!("Invalid JSON: {why}"));
    let wanted = body::object(&text).map_err(wrong)?;
    let mistyped = |why: Diagnostic| wrong(why.message);
    // Types first: a document that cannot be read changes nothing.
    let flag = |name: &str| wanted.bool(name).map_err(mistyped);
    let (debug, console, file) = (flag("debug")?, flag("consoleLog")?, flag("fileLog")?);
    let level = wanted.text("logLevel").map_err(mistyped)?;
    let zone = wanted.text("timezone").map_err(mistyped)?;
    let dump = match wanted.get("metricsDumpConfig") {
        None | Some(Json::Null) => None,
        Some(Json::Object(members)) => Props::from(members.clone()).bool("enable").map_err(mistyped)?,
        Some(other) => return Err(wrong(format!("metricsDumpConfig must be an object, not {other}"))),
    };
    if let (Some(logging), Some(debug)) = (&app.logging, debug) {
        logging.debug(debug);
    }
    if let Some(level) = level {
        if !logging::is_level(level) {
            let known = "trace, debug, info, warn, error";
            return Err(Failure::plain(format!(
                "Invalid log level: unknown level {level}; it is one of {known}"
            )));
        }
        app.logging.iter().for_each(|logging| logging.level(level));
    }
    if let (Some(logging), Some(console)) = (&app.logging, console) {
        logging.to_console(console);
    }
    if let (Some(logging), Some(file)) = (&app.logging, file) {
        logging.to_file(file).map_err(|why| Failure::plain(format!("Invalid log file: {why}")))?;
    }
    if let Some(zone) = zone.filter(|zone| !app.engine.zone().set(zone)) {
        let text = format!("Invalid TZ: unknown time zone {zone}; use an IANA name such as Europe/Berlin");
        return Err(Failure::plain(text));
    }
    if let Some(enable) = dump {
        app.metrics_dump.enable(enable);
    }
    Ok(Answer::Nothing)
}
