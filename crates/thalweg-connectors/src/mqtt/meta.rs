//! What `meta()` shows of an MQTT message (2.3).

use std::sync::Arc;

use thalweg_core::value::{Fields, Value};

use super::wire::Message;

/// Topic, qos, messageId; with user properties also those, and the trace id among them.
pub(super) fn of(message: &Message) -> Arc<Fields> {
    let mut fields = plain(&message.topic, message.qos, message.pkid);
    if !message.properties.is_empty() {
        let pairs = message.properties.iter();
        let properties: Fields =
            pairs.map(|(name, value)| (Arc::from(name.as_str()), Value::text(value))).collect();
        if let Some(Value::Str(parent)) = properties.get("traceparent") {
            // W3C: version-traceid-parentid-flags.
            if let Some(trace_id) = parent.split('-').nth(1) {
                fields.insert(Arc::from("traceId"), Value::text(trace_id));
            }
        }
        fields.insert(Arc::from("properties"), Value::map(properties));
    }
    Arc::new(fields)
}

/// The same of a message without properties.
pub(super) fn plain(topic: &str, qos: u8, pkid: u16) -> Fields {
    let topic = (Arc::from("topic"), Value::text(topic));
    let qos = (Arc::from("qos"), Value::Int(qos.into()));
    Fields::from([topic, qos, (Arc::from("messageId"), Value::Int(pkid.into()))])
}
