//! The one binary of whole-system tests: every further one would be linked again.

mod corpus;
mod crash;
mod demo;
mod pipeline;
mod reference;
mod rest;
mod tidy;
