//! nng's wire protocol (SP) in plain Rust over Unix and TCP sockets.
