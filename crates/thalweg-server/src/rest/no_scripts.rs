//! JavaScript functions (`rest-api.md` 12) in a build without an engine for them: each call says so.

use std::sync::Arc;

use super::Failure;
use super::routes::{Routes, get};
use crate::server::App;

pub(super) fn routes() -> Routes {
    let refuse = || async {
        Failure::plain("this build of thalweg has no JavaScript; use one with the cargo feature javascript")
    };
    Routes::new()
        .route("/udf/javascript", get(refuse).post(refuse))
        .route("/udf/javascript/{id}", get(refuse).put(refuse).delete(refuse))
}
