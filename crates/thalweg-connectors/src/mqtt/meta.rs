//! What `meta()` shows of an MQTT message (2.3).

use std::sync::Arc;

use thalweg_core::value::{Fields, Value};

use super::wire::Message;

/// Topic, qos, messageId; with user properties also those, and the trace id among them.
pub(super) fn of(message: &Message) -> Arc<Fields> {
    let mut fields = Fields::new();
    fields.insert(Arc::from("topic"), Value::text(&message.topic));
    fields.insert(Arc::from("qos"), Value::Int(message.qos.into()));
    fields.insert(Arc::from("messageId"), Value::Int(message.pkid.into()));
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
