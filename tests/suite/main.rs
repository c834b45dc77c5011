//! The one binary of whole-system tests: every further one would be linked again.

mod corpus;
mod pipeline;
mod tidy;
