//! The instance itself (`rest-api.md` 3).

use std::sync::Arc;

use axum::extract::State;
use thalweg_engine::Document;

use super::Answer;
use super::routes::{Routes, get};
use crate::machine;
use crate::server::App;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/", get(about).post(about))
        .route("/ping", get(|| async { Answer::Empty }))
        .route("/stop", get(stop).post(stop))
}

/// Upstream's fields in its order, then our version (`decisions.md`).
async fn about(State(app): State<Arc<App>>) -> Answer {
    let up = app.uptime();
    let mut document = Document::object()
        .with("version", crate::UPSTREAM_VERSION)
        .with("os", machine::os())
        .with("arch", machine::arch())
        .with("upTimeSeconds", up.as_secs());
    if let Some(cpu) = machine::cpu_seconds() {
        document.push("cpuUsage", format!("{:.2}%", 100.0 * cpu / up.as_secs_f64().max(0.001)));
    }
    if let Some(used) = machine::memory_used() {
        document.push("memoryUsed", used.to_string());
    }
    document.push("memoryTotal", machine::memory_total().unwrap_or_default().to_string());
    document.push("thalweg", env!("CARGO_PKG_VERSION"));
    Answer::JsonAsText(document.compact())
}

async fn stop(State(app): State<Arc<App>>) -> Answer {
    app.ask_to_stop_soon();
    Answer::ok("stop success")
}
