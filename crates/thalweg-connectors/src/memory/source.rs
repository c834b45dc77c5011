//! The memory source: rows of every topic that matches DATASOURCE (S3).

use std::sync::{Arc, Mutex, PoisonError, Weak};

use async_trait::async_trait;
use thalweg_core::connector::{BuildCx, Built, ConnectionStatus, Source, SourceKind, SourcePort};
use thalweg_core::error::IoError;
use thalweg_core::spec::{Roles, check};
use thalweg_core::value::{Fields, Value};

use super::hub::{Hub, Item, Listener};
use super::topic::is_filter;
use crate::inbox::{Content, Inbox, Overflow, Parcel};
use crate::property::{refused, required};

pub(crate) fn build(cx: &BuildCx) -> Built<SourceKind> {
    check("memory source", super::PROPS, Roles::SOURCE, &cx.props)?;
    let filter = required("memory source", &cx.props, "datasource")?;
    check_filter(filter)?;
    let limit = cx.props.int("bufferLength")?.unwrap_or(1024).max(1) as usize;
    let hub = cx.shared.get::<Hub>();
    Ok(SourceKind::Push(Box::new(MemorySource { filter: filter.to_owned(), limit, hub })))
}

/// S3.3.
pub(super) fn check_filter(filter: &str) -> Built<()> {
    match filter.find('#') {
        _ if is_filter(filter) => Ok(()),
        Some(at) if at + 1 < filter.len() => {
            Err(refused(format!("invalid topic {filter}: # must at the last level")))
        }
        _ => Err(refused(format!("invalid topic {filter}: a wildcard must be a level of its own"))),
    }
}

struct MemorySource {
    filter: String,
    limit: usize,
    hub: Arc<Hub>,
}

struct Subscriber {
    inbox: Inbox,
    limit: usize,
    /// Publishers run on several threads, an inbox wants one at a time.
    turn: Mutex<()>,
}

impl Listener for Subscriber {
    fn take(&self, item: &Item<'_>) {
        let meta = self.inbox.port().wants_meta().then(|| {
            let topic = (Arc::from("topic"), Value::text(item.topic));
            Arc::new(Fields::from([topic]))
        });
        let content = Content::Rows(item.rows.to_vec());
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let parcel = Parcel { content, time: item.time, meta, due: None };
        self.inbox.deliver(parcel, Overflow::ParkUpTo(self.limit));
    }
}

#[async_trait]
impl Source for MemorySource {
    async fn run(self: Box<Self>, port: Arc<dyn SourcePort>) -> Result<(), IoError> {
        let inbox = Inbox::new(Arc::clone(&port));
        let subscriber = Arc::new(Subscriber { inbox, limit: self.limit, turn: Mutex::new(()) });
        let weak: Weak<dyn Listener> = Arc::downgrade(&subscriber) as Weak<dyn Listener>;
        self.hub.subscribe(&self.filter, weak);
        port.status(ConnectionStatus::Connected);
        subscriber.inbox.run().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::sink;
    use super::*;
    use crate::testing::{NoPort, TestPort, cx, row};
    use thalweg_core::connector::SinkPayload;
    use thalweg_core::props::Props;

    async fn running(cx: &BuildCx, port: &Arc<TestPort>) -> tokio::task::JoinHandle<Result<(), IoError>> {
        let SourceKind::Push(source) = build(cx).unwrap() else { panic!("memory pushes") };
        let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(port);
        let task = tokio::spawn(source.run(as_port));
        port.status_is(|status| *status == ConnectionStatus::Connected).await;
        task
    }

    fn rows(texts: &[&str], topic: Option<&str>) -> SinkPayload {
        let rows = texts.iter().map(|text| row(text)).collect();
        let props = topic.map(|topic| {
            let mut props = Props::new();
            props.set("topic", topic);
            Arc::new(props)
        });
        SinkPayload::Rows { rows, is_list: true, props }
    }

    #[tokio::test]
    async fn rows_of_matching_topics_arrive_with_the_resolved_topic_as_meta() {
        let port = TestPort::new();
        let mut cx = cx(r#"{"datasource":"out/+","topic":"out/{{.id}}"}"#);
        let task = running(&cx, &port).await;
        cx.props.set("datasource", serde_json::Value::Null);
        let mut sink = sink::build(&cx).unwrap();
        sink.open(Arc::new(NoPort)).await.unwrap();
        let payloads =
            [rows(&[r#"{"a":1}"#, r#"{"a":2}"#], Some("out/7")), rows(&[r#"{"a":3}"#], Some("x/y"))];
        assert_eq!(sink.write(&payloads).await.accepted, 2);
        let got = port.next().await;
        assert_eq!(got.rows, [row(r#"{"a":1}"#), row(r#"{"a":2}"#)]);
        assert_eq!(got.meta.unwrap()["topic"], Value::text("out/7"));
        assert_eq!(port.queued(), 0);
        port.stop();
        task.await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_slow_reader_loses_the_new_items_and_they_are_counted() {
        // S3.2.
        let port = TestPort::with_capacity(1);
        let cx = cx(r#"{"datasource":"t","topic":"t","bufferLength":2}"#);
        let task = running(&cx, &port).await;
        let mut sink = sink::build(&cx).unwrap();
        let payload = rows(&[r#"{"a":1}"#], None);
        sink.write(&vec![payload; 5]).await;
        assert_eq!(port.drops().iter().map(|(_, count)| count).sum::<u64>(), 2);
        port.stop();
        task.await.unwrap().unwrap();
    }

    #[test]
    fn a_hash_in_the_middle_is_refused() {
        let error = build(&cx(r#"{"datasource":"a/#/b"}"#)).err().expect("# must be last");
        assert_eq!(error.message, "invalid topic a/#/b: # must at the last level");
    }
}
