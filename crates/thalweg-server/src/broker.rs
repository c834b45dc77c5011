//! The embedded MQTT broker of `--mqtt` and the demo.

pub use thalweg_connectors::broker::{Broker, BrokerError};
