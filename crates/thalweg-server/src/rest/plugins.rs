//! Plugins (`rest-api.md` 11).

use std::sync::Arc;

use axum::Router;

use crate::server::App;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
}
