//! External services as SQL functions: REST, gRPC and msgpack-rpc, described by a JSON file and `.proto` schemas that
//! are read at run time.
//!
//! A *service* has *interfaces*, each with an address, a protocol and a schema; each rpc of the schema is a function.
//! [`ServiceHost`] is the catalog: it installs, updates and deletes services, and finds their functions for statements.
//! A function looks its service up anew with each batch, so that an update reaches running rules. `schema` compiles
//! protos, `encode` turns arguments into a message, `decode` an answer into a value; `rest`, `grpc` and `msgpack` move
//! them; `gate` keeps a dead service from costing the time-out for every row.
//!
//! [`SchemaRegistry`] keeps the schemas of formats, compiled by the same code.

mod address;
mod archive;
mod decode;
mod definition;
mod encode;
mod error;
mod folder;
mod function;
mod gate;
#[cfg(feature = "grpc")]
mod grpc;
mod host;
mod http_rule;
mod interface;
mod kinds;
mod msgpack;
mod registry;
mod resolver;
mod rest;
mod schema;
mod service;

use std::path::PathBuf;

use tokio::runtime::Handle;

pub use error::ServiceError;
pub use host::{InstallRequest, ServiceHost};
pub use registry::{SchemaInfo, SchemaRegistry, SchemaRequest, SchemaType};
pub use service::{FunctionInfo, ServiceInfo};

/// Where services live and what they may do.
#[derive(Debug, Clone)]
pub struct ServiceConfig {
    /// `data`: `services/*.json` and `services/schemas` are below.
    pub data_dir: PathBuf,
    /// `etc`: schemas that are imported may also lie in `services/schemas` below.
    pub etc_dir: PathBuf,
    /// Whether packages may come from anywhere on this machine, not only from `data/uploads`.
    pub allow_external_files: bool,
    /// Whether REST services may be at private addresses (N6.7).
    pub allow_private_net: bool,
    /// Where gRPC connections live.
    pub io: Handle,
}
