//! `resize` and `thumbnail`, behind the cargo feature `image`. Bilinear, as upstream's plugin.

use thalweg_core::{RowError, Value};

use crate::expr::EvalCx;

#[cfg(feature = "image")]
mod pixels;

/// `resize(image, width, height[, raw])`.
pub(super) fn resize(args: &[Value], _cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
    #[cfg(feature = "image")]
    return pixels::resize(args);
    #[cfg(not(feature = "image"))]
    missing(args)
}

/// `thumbnail(image, max_width, max_height)`.
pub(super) fn thumbnail(args: &[Value], _cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
    #[cfg(feature = "image")]
    return pixels::thumbnail(args);
    #[cfg(not(feature = "image"))]
    missing(args)
}

/// What a build without the feature answers; [`crate::Function::missing_feature`] lets it come to this only in tests.
#[cfg(not(feature = "image"))]
fn missing(_args: &[Value]) -> Result<Value, RowError> {
    super::args::fail("this build has no cargo feature image")
}
