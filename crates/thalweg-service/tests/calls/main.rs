//! Services as rules see them, against small servers of our own: REST, gRPC, msgpack-rpc, and what goes wrong there.

#![allow(clippy::unwrap_used, clippy::panic)]

mod desk;
#[cfg(feature = "grpc")]
mod grpc;
mod guide;
mod http;
mod install;
mod msgpack;
mod rest;
