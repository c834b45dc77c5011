//! The one binary of whole-system tests: every further one would be linked again.

mod command;
mod corpus;
mod crash;
mod cycle;
mod dashboard;
mod delivery;
mod demo;
mod event_groups;
mod explain;
mod front;
mod inventory;
mod migration;
mod operation;
mod options;
mod pipeline;
mod plugin_command;
mod python;
mod reference;
mod rest;
mod routes;
mod services;
mod shared_windows;
mod split;
mod tidy;
mod transfer;
mod trials;
