//! What becomes of all that one read brings.

use thalweg_core::time::SystemClock;
use thalweg_core::value::Value;

use super::*;
use crate::inbox::Inbox;
use crate::mqtt::lean::frame::{MAX_PACKET, each, publish};
use crate::mqtt::routes::Routes;
use crate::mqtt::wire::Remote;
use crate::testing::TestPort;

/// A publication as it travels.
fn packet(topic: &str, (qos, pkid): (u8, u16), payload: &str) -> Vec<u8> {
    let mut body = Vec::from((topic.len() as u16).to_be_bytes());
    body.extend_from_slice(topic.as_bytes());
    if qos > 0 {
        body.extend_from_slice(&pkid.to_be_bytes());
    }
    body.extend_from_slice(payload.as_bytes());
    assert!(body.len() < 128, "one byte holds the length");
    let mut packet = vec![0x30 | qos << 1, body.len() as u8];
    packet.extend(body);
    packet
}

/// What so many messages, that lie in one read, become at each of the ports.
fn sort(qos: u8, ports: &[&Arc<TestPort>], n_messages: usize) {
    let routes = Arc::<Routes>::default();
    for (id, port) in (0..).zip(ports) {
        let inbox = Arc::new(Inbox::new(Arc::<TestPort>::clone(port)));
        routes.add("in/+", qos, Receiver { id, inbox, end: None, part: None });
    }
    let outlet = Arc::<Outlet>::default();
    let remote = Remote::Lean(Arc::clone(&outlet));
    let intake = Arc::new(Intake::new(Arc::new(SystemClock::default()), routes, remote, 0));
    let mut sorter = Sorter::new(intake, outlet, 0);
    let read: Vec<u8> = (0..n_messages)
        .flat_map(|number| packet(topic(number), (qos, number as u16 + 1), &number.to_string()))
        .collect();
    sorter.begin();
    let (at, wrong) = each(&read, 0, MAX_PACKET, |frame| {
        publish(&read, frame).and_then(|publish| sorter.take(&read, &publish))
    });
    sorter.finish(&read);
    assert_eq!((at, wrong), (read.len(), None));
}

/// Two of one topic, two of the next.
fn topic(number: usize) -> &'static str {
    ["in/a", "in/b"][number / 2 % 2]
}

/// That everything came, in order, with what `meta()` shows or without.
async fn has_all(port: &TestPort, qos: u8, n_messages: usize, has_meta: bool) {
    assert_eq!(port.reads(), [n_messages], "one hand-over");
    for number in 0..n_messages {
        let got = port.next().await;
        let pkid = if qos == 0 { 0 } else { number as i64 + 1 };
        let meta = [
            ("topic", Value::text(topic(number))),
            ("qos", Value::Int(qos.into())),
            ("messageId", Value::Int(pkid)),
        ];
        let meta: Fields = meta.into_iter().map(|(name, value)| (Arc::from(name), value)).collect();
        assert_eq!(got.bytes, number.to_string().as_bytes());
        assert_eq!(got.meta.as_deref(), has_meta.then_some(&meta), "message {number} at QoS {qos}");
    }
}

#[tokio::test]
async fn a_burst_is_handed_over_whole_and_each_message_has_its_metadata() {
    for qos in [0, 1] {
        let port = TestPort::new();
        sort(qos, &[&port], 5_600);
        has_all(&port, qos, 5_600, true).await;
    }
}

#[tokio::test]
async fn metadata_goes_to_those_who_ask() {
    let (asks, does_not, asks_too) = (TestPort::new(), TestPort::plain(100), TestPort::new());
    sort(0, &[&asks, &does_not, &asks_too], 50);
    for (port, has_meta) in [(asks, true), (does_not, false), (asks_too, true)] {
        has_all(&port, 0, 50, has_meta).await;
    }
}
