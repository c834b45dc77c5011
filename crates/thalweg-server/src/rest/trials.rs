//! Rules that are tried out (`rest-api.md` 6). Their results come from the data port.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::json;
use thalweg_connectors::outlet::{Outlet, Outlets};
use thalweg_engine::EngineError;
use thalweg_engine::rule::Place;

use super::answer::prefix;
use super::body::Text;
use super::routes::{Routes, delete, post};
use super::{Answer, Failure};
use crate::server::App;

type Call = Result<Answer, Failure>;
type Shared = State<Arc<App>>;

pub(super) fn routes() -> Routes {
    Routes::new()
        .route("/ruletest", post(prepare))
        .route("/ruletest/{id}/start", post(start))
        .route("/ruletest/{id}", delete(stop))
}

/// Where the results of a trial go.
struct Listened(Arc<Outlet>);

impl Place for Listened {
    fn is_heard(&self) -> bool {
        self.0.is_heard()
    }
}

async fn prepare(State(app): Shared, Text(text): Text) -> Call {
    let outlets = app.shared.get::<Outlets>();
    let trial = app.engine.trials().prepare(text, |path| Arc::new(Listened(outlets.open(path)))).await?;
    match app.data_port.open().await {
        Ok(port) => Ok(Answer::JsonAsText(json!({"id": trial, "port": port}).to_string())),
        Err(why) => {
            app.engine.trials().stop(&trial).await;
            Err(EngineError::plain(format!("fail to run rule {trial}: {why}")).into())
        }
    }
}

async fn start(State(app): Shared, Path(id): Path<String>) -> Call {
    app.engine.trials().start(&id).await.map_err(prefix("start rule error"))?;
    Ok(Answer::ok(format!("Test rule {id} was started")))
}

async fn stop(State(app): Shared, Path(id): Path<String>) -> Answer {
    app.engine.trials().stop(&id).await;
    Answer::ok(format!("Test rule {id} was stopped."))
}
