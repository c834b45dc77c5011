//! Kernels of the data plane, each beside the plain way of doing the same.

mod aggregate;
mod decode;
mod filter;
mod pipeline;
mod window;

use crate::report::Report;

/// All kernels.
pub(crate) fn run(report: &Report) {
    decode::run(report);
    filter::run(report);
    aggregate::run(report);
    pipeline::run(report);
    window::run(report);
}
