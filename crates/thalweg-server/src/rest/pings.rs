//! Connection tests (`rest-api.md` 8.4).

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::{Map, Value as Json};
use thalweg_core::Props;
use thalweg_engine::{EngineError, PingOf};

use super::body::Text;
use super::routes::{Routes, post};
use super::{Answer, Failure};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/metadata/sources/connection/{name}", post(source))
        .route("/metadata/sinks/connection/{name}", post(sink))
        .route("/metadata/lookups/connection/{name}", post(lookup))
}

async fn ping(app: &App, of: PingOf, name: &str, text: &str) -> Call {
    // As upstream: null is an object without members.
    let props = serde_json::from_str::<Option<Map<String, Json>>>(text).map(Option::unwrap_or_default);
    let props = props.map_err(|why| EngineError::plain(format!("Invalid body: {why}")))?;
    app.engine.connections().ping(of, name, Props::from(props)).await?;
    Ok(Answer::Empty)
}

async fn source(State(app): Shared, Path(name): Path<String>, Text(text): Text) -> Call {
    ping(&app, PingOf::Source, &name, &text).await
}

async fn sink(State(app): Shared, Path(name): Path<String>, Text(text): Text) -> Call {
    ping(&app, PingOf::Sink, &name, &text).await
}

async fn lookup(State(app): Shared, Path(name): Path<String>, Text(text): Text) -> Call {
    ping(&app, PingOf::Lookup, &name, &text).await
}
