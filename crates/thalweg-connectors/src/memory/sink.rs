//! The memory sink: publishes rows on a topic (D3).

use std::sync::Arc;

use async_trait::async_trait;
use thalweg_core::connector::{BuildCx, Built, ConnectionStatus, Sink, SinkPayload, SinkPort, Written};
use thalweg_core::error::IoError;
use thalweg_core::props::Props;
use thalweg_core::spec::{Roles, check};
use thalweg_core::time::Clock;

use super::hub::{Change, Hub, Item};
use super::topic::has_wildcard;
use crate::property::{is_template, refused, required, text};

pub(crate) fn build(cx: &BuildCx) -> Built<Box<dyn Sink>> {
    check("memory sink", super::PROPS, Roles::SINK, &cx.props)?;
    let topic = required("memory sink", &cx.props, "topic")?;
    if has_wildcard(topic) && !is_template(topic) {
        return Err(refused(wildcard_found(topic)));
    }
    let (rowkind_field, key_field) = (text(&cx.props, "rowkindField")?, text(&cx.props, "keyField")?);
    if !rowkind_field.is_empty() && key_field.is_empty() {
        return Err(refused("keyField is required when rowkindField is set"));
    }
    let change = (!rowkind_field.is_empty())
        .then(|| Change { rowkind_field: Arc::from(rowkind_field), key_field: Arc::from(key_field) });
    let (hub, clock) = (cx.shared.get::<Hub>(), Arc::clone(&cx.clock));
    Ok(Box::new(MemorySink { topic: topic.to_owned(), change, hub, clock }))
}

/// S3.3.
fn wildcard_found(topic: &str) -> String {
    format!("invalid memory topic {topic}: wildcard found")
}

struct MemorySink {
    topic: String,
    change: Option<Change>,
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
}

#[async_trait]
impl Sink for MemorySink {
    async fn open(&mut self, port: Arc<dyn SinkPort>) -> Result<(), IoError> {
        port.status(ConnectionStatus::Connected);
        Ok(())
    }

    async fn write(&mut self, payloads: &[SinkPayload]) -> Written {
        for (accepted, payload) in payloads.iter().enumerate() {
            let SinkPayload::Rows { rows, props, .. } = payload else {
                continue;
            };
            let resolved = props.as_deref().map(|props: &Props| props.text("topic"));
            let topic = match resolved {
                Some(Ok(Some(topic))) => topic,
                _ => self.topic.as_str(),
            };
            if has_wildcard(topic) {
                return Written { accepted, error: Some(IoError::permanent(wildcard_found(topic))) };
            }
            let change = self.change.as_ref();
            self.hub.publish(&Item { topic, rows, time: self.clock.now(), change });
        }
        Written::all(payloads)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cx;

    #[test]
    fn topics_and_row_kinds_are_checked() {
        for (props, message) in [
            ("{}", "memory sink is missing property topic"),
            (r#"{"topic":"a/+"}"#, "invalid memory topic a/+: wildcard found"),
            (r#"{"topic":"a","rowkindField":"k"}"#, "keyField is required when rowkindField is set"),
        ] {
            let error = build(&cx(props)).err().expect(props);
            assert_eq!(error.message, message);
        }
    }
}
