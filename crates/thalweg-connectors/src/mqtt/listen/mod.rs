//! Devices that connect straight to the engine: the source type `mqttlisten` and the port behind it.
//!
//! The port takes CONNECT and PUBLISH at QoS 0 and 1, refuses SUBSCRIBE and relays nothing; it is no broker. A stream's
//! DATASOURCE is a topic filter, as for a broker. What no running stream asks for is answered and dropped, as a broker
//! without subscribers does. Answers of QoS 1 are withheld for rules with `qos` 1 and 2 until a checkpoint holds the
//! message. `port` takes devices in, `guest` reads one of them on the thread of a shard, `hub` knows both sides.

mod guest;
mod hub;
mod port;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use thalweg_core::connector::{BuildCx, Built, Connector, Part, Source, SourceKind, SourcePort};
use thalweg_core::error::IoError;
use thalweg_core::spec::{PropSpec, Roles, check};

pub use super::lean::packets;
use super::routes::Receiver;
use crate::inbox::Inbox;
use crate::memory::topic::is_filter;
use crate::property::{refused, required};
use hub::Hub;
pub use port::{DevicePort, DevicePortError, ReservedPort};

/// The row in the table of connectors.
pub(crate) const CONNECTOR: Connector = Connector {
    name: "mqttlisten",
    summary: "Takes MQTT messages of devices that connect straight to the engine (--mqtt-ingest).",
    props: PROPS,
    takes_rows: false,
    connect: None,
    source: Some(build),
    sink: None,
    lookup: None,
};

const PROPS: &[PropSpec] = &[super::SPLIT];
const OWNER: &str = "mqttlisten source";
/// How long a source that is told to stop waits for messages to become durable.
const FAREWELL: Duration = Duration::from_secs(1);

fn build(cx: &BuildCx) -> Built<SourceKind> {
    check(OWNER, PROPS, Roles::SOURCE, &cx.props)?;
    let datasource = required(OWNER, &cx.props, "datasource")?;
    let filters: Vec<String> = datasource.split(',').map(|filter| filter.trim().to_owned()).collect();
    if let Some(wrong) = filters.iter().find(|filter| !is_filter(filter)) {
        return Err(refused(format!(
            "{OWNER}: \"{wrong}\" is no topic filter, + must be a level of its own and # the last one"
        )));
    }
    Ok(SourceKind::Push(Box::new(Listening { filters, hub: cx.shared.get(), part: cx.part.clone() })))
}

struct Listening {
    filters: Vec<String>,
    hub: Arc<Hub>,
    part: Option<Part>,
}

#[async_trait]
impl Source for Listening {
    async fn run(self: Box<Self>, port: Arc<dyn SourcePort>) -> Result<(), IoError> {
        let inbox = Arc::new(Inbox::new(Arc::clone(&port)));
        let id = self.hub.new_id();
        for filter in &self.filters {
            let part = self.part.as_ref().map(|part| (part.number, part.count));
            self.hub.listen(filter, Receiver { id, inbox: Arc::clone(&inbox), end: None, part });
        }
        inbox.run().await;
        // A rule that saves its state before it stops answers everything that is in it.
        let _in_time = tokio::time::timeout(FAREWELL, port.answered()).await;
        self.hub.leave(id);
        if !inbox.abandon().is_empty() || port.n_unanswered() > 0 {
            // What the rule has not got is not answered: the devices connect anew and send it again.
            self.hub.part_from_waiting();
        }
        Ok(())
    }
}
