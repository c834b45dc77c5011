//! Catalog, store and the life of rules.
//!
//! The engine knows what is defined and what is to run, and keeps it over restarts. It knows no HTTP and reads no
//! configuration file: the server hands it both worlds as values and traits.

mod catalog;
mod connection;
mod document;
mod engine;
mod error;
mod id;
mod ping;
mod profile;
mod props;
pub mod rule;
pub mod store;
mod stream;

pub use catalog::Catalog;
pub use connection::{ConnectionDef, Connections, Shown, Surroundings};
pub use document::Document;
pub use engine::{Engine, EngineConfig};
pub use error::EngineError;
pub use id::check_id;
pub use ping::PingOf;
pub use profile::{NoProfiles, ProfileKind, Profiles, StoredProfiles};
pub use stream::StreamEntry;
