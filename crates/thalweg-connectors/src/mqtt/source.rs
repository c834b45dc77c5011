//! The MQTT source (S1): listens at a client until the rule ends.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use thalweg_core::connector::{BuildCx, Built, Source, SourceKind, SourcePort};
use thalweg_core::error::IoError;
use thalweg_core::spec::{Roles, check};

use super::client::{Held, client_for};
use super::routes::Receiver;
use crate::inbox::Inbox;
use crate::memory::topic::is_filter;
use crate::property::{refused, required, text};

const OWNER: &str = "mqtt source";
/// How long a source that is told to stop waits for messages to become durable.
const FAREWELL: Duration = Duration::from_secs(1);

pub(super) fn build(cx: &BuildCx) -> Built<SourceKind> {
    check(OWNER, super::PROPS, Roles::SOURCE, &cx.props)?;
    let datasource = required(OWNER, &cx.props, "datasource")?;
    let filters: Vec<String> = datasource.split(',').map(|filter| filter.trim().to_owned()).collect();
    if let Some(wrong) = filters.iter().find(|filter| !is_filter(filter)) {
        return Err(refused(format!(
            "{OWNER}: \"{wrong}\" is no topic filter, + must be a level of its own and # the last one"
        )));
    }
    let qos = cx.props.int("qos")?.unwrap_or(0) as u8;
    let end = match text(&cx.props, "eofMessage")? {
        "" => None,
        encoded => {
            let decoded = STANDARD.decode(encoded);
            let wrong = |error| refused(format!("{OWNER}: property \"eofMessage\" is not base64: {error}"));
            Some(Bytes::from(decoded.map_err(wrong)?))
        }
    };
    let filters = match &cx.part {
        None => filters,
        Some(_) if end.is_some() => {
            return Err(refused(format!(
                "{OWNER}: of a split stream one connection would get the \"eofMessage\" and the others not"
            )));
        }
        Some(part) => in_group(&part.group, filters)?,
    };
    let client = client_for(OWNER, cx)?;
    Ok(SourceKind::Push(Box::new(MqttSource { filters, qos, end, client })))
}

/// The filters as subscriptions of a group, of which each message goes to one member.
fn in_group(group: &str, filters: Vec<String>) -> Built<Vec<String>> {
    for (at, filter) in filters.iter().enumerate() {
        if let Some(other) = filters[..at].iter().find(|other| overlap(other, filter)) {
            return Err(refused(format!(
                "{OWNER}: the topic filters {other} and {filter} of a split stream overlap, so that messages would come twice"
            )));
        }
    }
    let in_group = |filter: String| match filter.starts_with("$share/") {
        true => filter,
        false => format!("$share/{group}/{filter}"),
    };
    Ok(filters.into_iter().map(in_group).collect())
}

/// Whether there is a topic that both match.
fn overlap(one: &str, other: &str) -> bool {
    let (mut one, mut other) = (one.split('/'), other.split('/'));
    loop {
        match (one.next(), other.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(level), Some(same)) if level == same => {}
            _ => return false,
        }
    }
}

struct MqttSource {
    filters: Vec<String>,
    qos: u8,
    end: Option<Bytes>,
    client: Held,
}

#[async_trait]
impl Source for MqttSource {
    async fn run(self: Box<Self>, port: Arc<dyn SourcePort>) -> Result<(), IoError> {
        let inbox = Arc::new(Inbox::new(Arc::clone(&port)));
        let shared = &self.client.shared;
        let id = shared.new_id();
        for filter in &self.filters {
            let receiver = Receiver { id, inbox: Arc::clone(&inbox), end: self.end.clone(), part: None };
            shared.listen(filter, self.qos, receiver);
        }
        self.client.start(port.poller());
        inbox.run().await;
        // A rule that saves its state before it stops answers everything that is in it.
        let _in_time = tokio::time::timeout(FAREWELL, port.answered()).await;
        shared.leave(id, port.is_parting());
        let unwanted = inbox.abandon();
        if !self.client.is_own() {
            // The others go on; without our answer the broker would stop sending to them. On a connection of our
            // own nothing is acknowledged that the rule has not got: a kept session brings it again.
            unwanted.iter().filter_map(|parcel| parcel.due.as_ref()).for_each(|due| due.receipt.accepted());
            port.release();
        }
        self.client.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_connections_of_a_split_stream_subscribe_as_a_group_and_once_for_each_topic() {
        let filters = |list: &[&str]| list.iter().map(|filter| (*filter).to_owned()).collect();
        let grouped = in_group("g", filters(&["a/+", "b", "$share/own/c"])).ok();
        assert_eq!(grouped, Some(filters(&["$share/g/a/+", "$share/g/b", "$share/own/c"])));
        for pair in [["a/+", "a/b"], ["a/#", "a"], ["+/b", "a/+"], ["#", "x/y"], ["a", "a"]] {
            let error = in_group("g", filters(&pair)).expect_err("they overlap");
            assert!(error.message.contains("overlap"), "{pair:?} {}", error.message);
        }
    }
}
