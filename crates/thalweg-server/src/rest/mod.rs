//! The management interface (`rest-api.md`): a handler a call, grouped by area. Nothing below this folder knows HTTP.

pub(crate) mod address;
mod answer;
mod auth;
mod batch;
mod body;
mod conf_keys;
mod connections;
mod cors;
mod descriptions;
mod field;
mod front;
mod jwt;
mod keyed_state;
mod language;
mod metadata;
mod openapi;
mod operators;
mod pings;
mod plugins;
pub(crate) mod prometheus;
mod python;
pub(crate) mod routes;
mod rules;
mod ruleset;
mod runtime_config;
mod schemas;
#[cfg(feature = "javascript")]
mod scripts;
#[cfg(not(feature = "javascript"))]
#[path = "no_scripts.rs"]
mod scripts;
mod services;
mod streams;
mod system;
mod traces;
mod transfer;
mod trials;
mod uploads;

use std::sync::Arc;

use thalweg_engine::EngineError;

use crate::server::App;

pub(crate) use answer::{Answer, Failure};
pub(crate) use auth::Auth;
pub(crate) use front::Front;
use routes::Routes;

/// All calls but the batch of them.
fn routes(metrics: Option<bool>) -> Routes {
    let metrics = metrics.map(prometheus::routes).unwrap_or_default();
    metrics
        .merge(system::routes())
        .merge(streams::routes())
        .merge(rules::routes())
        .merge(runtime_config::routes())
        .merge(prometheus::dump_routes())
        .merge(trials::routes())
        .merge(traces::routes())
        .merge(connections::routes())
        .merge(plugins::routes())
        .merge(scripts::routes())
        .merge(services::routes())
        .merge(schemas::routes())
        .merge(python::routes())
        .merge(metadata::routes())
        .merge(conf_keys::routes())
        .merge(descriptions::routes())
        .merge(pings::routes())
        .merge(keyed_state::routes())
        .merge(uploads::routes())
        .merge(ruleset::routes())
        .merge(transfer::routes())
}

/// The management interface.
pub(crate) fn front(app: &Arc<App>) -> Front {
    let single = routes(app.metrics_here);
    let inner = Front::new(Arc::clone(app), Arc::new(single.clone().with_state(app)));
    let all = single.merge(batch::routes(Arc::new(inner)));
    let document = openapi::routes(all.list());
    let all = all.merge(document);
    Front::new(Arc::clone(app), Arc::new(all.with_state(app)))
}

/// Every call that a server can have, for tests of its description.
#[cfg(test)]
fn described_routes() -> Vec<(axum::http::Method, String)> {
    let own = ["/openapi.json", "/docs"].map(|path| (axum::http::Method::GET, path.to_owned()));
    let batch = (axum::http::Method::POST, "/batch/req".to_owned());
    routes(Some(true)).list().into_iter().chain(own).chain([batch]).collect()
}

/// Runs work that waits for the disk or a plugin where that does no harm.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, EngineError> + Send + 'static,
) -> Result<T, EngineError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(why) => Err(EngineError::plain(format!("internal error: {why}"))),
    }
}
