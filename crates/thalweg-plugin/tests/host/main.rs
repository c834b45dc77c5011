//! The acceptance tests of `docs/compat/portable-plugins.md` 14 that concern sections 1 to 10, on the bundled module
//! and on the unmodified package from PyPI.

mod flows;
mod functions;
mod life;
mod subject;
