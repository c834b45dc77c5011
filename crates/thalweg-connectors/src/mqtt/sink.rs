//! The MQTT sink (D1): publishes and tells how many messages the broker has.
//!
//! QoS 0: accepted when written to the socket. QoS 1 and 2: accepted when the broker has confirmed. What is lost
//! with the connection is offered again by the runtime, so a message may arrive twice, also at QoS 2, but not never.

use std::sync::Arc;

use async_trait::async_trait;
use thalweg_core::connector::{BuildCx, Built, Sink, SinkPayload, SinkPort, Written};
use thalweg_core::error::IoError;
use thalweg_core::polled::DirectSink;
use thalweg_core::props::Props;
use thalweg_core::spec::{Roles, check};

use super::client::{Held, client_for};
use super::company::Company;
use super::lean::DirectTopic;
use super::options::Version;
use super::wire::{Publication, Remote};
use crate::memory::topic::has_wildcard;
use crate::property::{flag, is_template, refused, required};

const OWNER: &str = "mqtt sink";
const WILDCARD: &str = "mqtt sink topic shouldn't contain # or +";

pub(super) fn build(cx: &BuildCx) -> Built<Box<dyn Sink>> {
    let topic = required(OWNER, &cx.props, "topic")?;
    if has_wildcard(topic) && !is_template(topic) {
        return Err(refused(WILDCARD));
    }
    let qos = cx.props.int("qos")?.unwrap_or(0);
    if !(0..=2).contains(&qos) {
        return Err(refused(format!("invalid qos value {qos}, the value could be only int 0 or 1 or 2")));
    }
    check(OWNER, super::PROPS, Roles::SINK, &cx.props)?;
    let client = client_for(OWNER, cx)?;
    let properties = user_properties(&cx.props);
    if !properties.is_empty() && client.shared.options.version != Version::V5 {
        tracing::warn!(rule = %cx.rule, "mqtt sink: user properties need protocolVersion 5, they are ignored");
    }
    let company = cx.shared.get::<Company>();
    let retained = flag(&cx.props, "retained")?;
    Ok(Box::new(MqttSink {
        topic: topic.to_owned(),
        qos: qos as u8,
        retained,
        properties,
        client,
        company,
        id: 0,
    }))
}

fn user_properties(props: &Props) -> Vec<(String, String)> {
    let Some(serde_json::Value::Object(fields)) = props.get("properties") else {
        return Vec::new();
    };
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    fields.iter().map(|(name, value)| (name.clone(), text(value))).collect()
}

struct MqttSink {
    topic: String,
    qos: u8,
    retained: bool,
    properties: Vec<(String, String)>,
    client: Held,
    company: Arc<Company>,
    /// At the connection; set when it is opened.
    id: u64,
}

/// The message of a payload, or why it cannot be one.
struct Letter<'a> {
    topic: &'a str,
    payload: &'a bytes::Bytes,
    /// Those of this message, if they hold a template.
    properties: Option<Vec<(String, String)>>,
}

impl MqttSink {
    fn letter<'a>(&'a self, payload: &'a SinkPayload) -> Result<Letter<'a>, IoError> {
        let SinkPayload::Bytes { payload, props } = payload else {
            return Err(IoError::permanent("mqtt sink: rows must be encoded first"));
        };
        let resolved = props.as_deref().and_then(|props| props.text("topic").ok().flatten());
        let topic = resolved.unwrap_or(&self.topic);
        if has_wildcard(topic) {
            return Err(IoError::permanent(format!("{WILDCARD}: {topic}")));
        }
        if topic.is_empty() {
            return Err(IoError::permanent("mqtt sink: the topic is empty"));
        }
        let properties =
            props.as_deref().filter(|props| props.get("properties").is_some()).map(user_properties);
        Ok(Letter { topic, payload, properties })
    }
}

#[async_trait]
impl Sink for MqttSink {
    async fn open(&mut self, port: Arc<dyn SinkPort>) -> Result<(), IoError> {
        let poller = port.poller();
        if self.id == 0 {
            self.client.join(&self.company, poller.as_ref());
            self.id = self.client.shared.new_id();
        }
        self.client.shared.watch(self.id, port);
        self.client.start(poller);
        self.client.shared.first_attempt().await;
        Ok(())
    }

    fn direct(&self) -> Option<Arc<dyn DirectSink>> {
        // Above QoS 0 a message is out when the broker says so.
        let is_plain = self.qos == 0 && !is_template(&self.topic) && !self.topic.is_empty();
        let Remote::Lean(outlet) = &self.client.shared.remote else { return None };
        is_plain
            .then(|| DirectTopic::new(Arc::clone(outlet), &self.topic, self.retained) as Arc<dyn DirectSink>)
    }

    async fn write(&mut self, payloads: &[SinkPayload]) -> Written {
        let mut letters = Vec::with_capacity(payloads.len());
        let mut wrong = None;
        for payload in payloads {
            match self.letter(payload) {
                Ok(letter) => letters.push(letter),
                Err(error) => {
                    wrong = Some(error);
                    break;
                }
            }
        }
        let publications = letters.iter().map(|letter| Publication {
            topic: letter.topic,
            qos: self.qos,
            retain: self.retained,
            payload: letter.payload.clone(),
            properties: letter.properties.as_deref().unwrap_or(&self.properties),
        });
        let landed = self.client.shared.publish(publications.collect()).await;
        let error = match (landed.refused, landed.lost) {
            (Some(why), _) => Some(IoError::permanent(format!(
                "the broker refuses the message to {}: {why}",
                letters[landed.taken].topic
            ))),
            (None, Some(why)) if landed.taken < letters.len() => Some(IoError::transient(why)),
            _ => wrong,
        };
        Written { accepted: landed.taken, error }
    }

    async fn close(&mut self) -> Result<(), IoError> {
        self.client.shared.unwatch(self.id);
        self.client.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cx;

    #[test]
    fn wrong_properties_are_refused_with_upstreams_texts() {
        for (props, message) in [
            ("{}", "mqtt sink is missing property topic"),
            (r#"{"topic":"a/#"}"#, "mqtt sink topic shouldn't contain # or +"),
            (r#"{"topic":"a","qos":3}"#, "invalid qos value 3, the value could be only int 0 or 1 or 2"),
            (r#"{"topic":"a"}"#, "mqtt sink is missing property server"),
        ] {
            let error = build(&cx(props)).err().expect(props);
            assert_eq!(error.message, message);
        }
    }

    #[tokio::test]
    async fn without_a_connection_nothing_is_accepted_and_the_error_is_transient() {
        let mut sink = build(&cx(r#"{"topic":"a","server":"tcp://127.0.0.1:1"}"#)).unwrap();
        let payload = SinkPayload::Bytes { payload: "x".into(), props: None };
        let written = sink.write(&[payload]).await;
        assert_eq!(written.accepted, 0);
        assert_eq!(written.error.unwrap().retry, thalweg_core::error::Retry::Transient);
    }
}
