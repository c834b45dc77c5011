//! Source and sink against a real mosquitto and the embedded broker.

mod mosquitto;

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::connector::{
    BuildCx, ConnectionStatus, Part, Sink, SinkPayload, SinkPort, Source, SourceKind, SourcePort, Written,
};
use thalweg_core::error::{IoError, Retry};
use thalweg_core::props::Props;
use thalweg_core::value::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::{client, sink, source};
use crate::broker::Broker;
use crate::testing::{TestPort, cx, cx_without_poller};
use mosquitto::Mosquitto;

/// A real mosquitto, unless it is not installed, and our own broker, each with the lean client and without.
fn brokers() -> Vec<TestBroker> {
    let own = || {
        let broker = Broker::start((std::net::Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let port = broker.port();
        Kind::Own(Own { broker: Some(broker), port })
    };
    let mosquitto = || Mosquitto::start("").map(Kind::Mosquitto);
    let kinds = [(mosquitto(), true), (mosquitto(), false), (Some(own()), true), (Some(own()), false)];
    kinds.into_iter().filter_map(|(kind, is_lean)| Some(TestBroker { kind: kind?, is_lean })).collect()
}

struct TestBroker {
    kind: Kind,
    is_lean: bool,
}

impl TestBroker {
    /// A context of a node at this broker with further properties.
    fn cx(&self, more: &str) -> BuildCx {
        context(self.is_lean, &props(&self.server(), more))
    }

    /// A port; for the lean client one to which messages may come many at once.
    fn port(&self, capacity: usize) -> Arc<TestPort> {
        if self.is_lean { TestPort::plain(capacity) } else { TestPort::with_capacity(capacity) }
    }

    fn server(&self) -> String {
        self.kind.server()
    }

    fn kill(&mut self) {
        self.kind.kill();
    }

    fn restart(&mut self) {
        self.kind.restart();
    }
}

fn context(is_lean: bool, props: &str) -> BuildCx {
    if is_lean { cx(props) } else { cx_without_poller(props) }
}

enum Kind {
    Mosquitto(Mosquitto),
    Own(Own),
}

struct Own {
    broker: Option<Broker>,
    port: u16,
}

impl Kind {
    fn server(&self) -> String {
        match self {
            Self::Mosquitto(broker) => broker.server(),
            Self::Own(own) => format!("tcp://127.0.0.1:{}", own.port),
        }
    }

    fn kill(&mut self) {
        match self {
            Self::Mosquitto(broker) => broker.kill(),
            Self::Own(own) => drop(own.broker.take()),
        }
    }

    fn restart(&mut self) {
        match self {
            Self::Mosquitto(broker) => broker.restart(),
            Self::Own(own) => {
                own.broker = Some(Broker::start((std::net::Ipv4Addr::LOCALHOST, own.port).into()).unwrap());
            }
        }
    }
}

/// A sink's port that can be waited for.
struct Watch(watch::Sender<ConnectionStatus>);

impl SinkPort for Watch {
    fn status(&self, status: ConnectionStatus) {
        self.0.send_replace(status);
    }
}

struct OpenSink {
    sink: Box<dyn Sink>,
    status: watch::Receiver<ConnectionStatus>,
}

impl OpenSink {
    async fn connected(&mut self) {
        let connected = self.status.wait_for(|status| *status == ConnectionStatus::Connected);
        tokio::time::timeout(std::time::Duration::from_secs(30), connected).await.unwrap().unwrap();
    }

    async fn send(&mut self, texts: &[String]) -> Written {
        let payload = |text: &String| SinkPayload::Bytes { payload: text.clone().into(), props: None };
        self.sink.write(&texts.iter().map(payload).collect::<Vec<_>>()).await
    }
}

async fn open_sink(cx: &BuildCx) -> OpenSink {
    let (sender, status) = watch::channel(ConnectionStatus::Connecting);
    let mut sink = sink::build(cx).unwrap();
    sink.open(Arc::new(Watch(sender))).await.unwrap();
    let mut open = OpenSink { sink, status };
    open.connected().await;
    open
}

fn start_source(cx: &BuildCx, port: &Arc<TestPort>) -> JoinHandle<Result<(), IoError>> {
    let SourceKind::Push(source) = source::build(cx).unwrap() else { panic!("mqtt pushes") };
    let as_port: Arc<dyn SourcePort> = Arc::<TestPort>::clone(port);
    tokio::spawn(Source::run(source, as_port))
}

fn is_connected(status: &ConnectionStatus) -> bool {
    *status == ConnectionStatus::Connected
}

/// Sends markers until one arrives, so that the subscription is known to stand.
async fn subscribed(sink: &mut OpenSink, port: &TestPort) {
    loop {
        sink.send(&["marker".to_owned()]).await;
        let arrived = tokio::time::timeout(std::time::Duration::from_millis(200), port.next());
        if arrived.await.is_ok() {
            break;
        }
    }
    while let Ok(got) = tokio::time::timeout(std::time::Duration::from_millis(50), port.next()).await {
        assert_eq!(got.bytes, b"marker");
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

fn props(server: &str, more: &str) -> String {
    format!(r#"{{"server":"{server}","datasource":"in/+","topic":"in/a"{more}}}"#)
}

#[tokio::test]
async fn messages_pass_in_order_in_both_versions_at_every_qos() {
    for broker in brokers() {
        for version in ["3.1.1", "5"] {
            for qos in [0, 1, 2] {
                let cx = broker.cx(&format!(r#","qos":{qos},"protocolVersion":"{version}""#));
                let port = broker.port(100_000);
                let task = start_source(&cx, &port);
                let mut sink = open_sink(&cx).await;
                subscribed(&mut sink, &port).await;
                let written = sink.send(&numbers(1200)).await;
                assert_eq!(written.accepted, 1200, "{version} {qos} {:?}", written.error);
                for number in 0..1200 {
                    assert_eq!(port.next_text().await, number.to_string(), "{version} {qos}");
                }
                port.stop();
                task.await.unwrap().unwrap();
                sink.sink.close().await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn a_broker_that_dies_and_comes_back_is_joined_again() {
    for mut broker in brokers() {
        for version in ["3.1.1", "5"] {
            let cx = broker.cx(&format!(r#","qos":1,"protocolVersion":"{version}""#));
            let port = TestPort::new();
            let task = start_source(&cx, &port);
            let mut sink = open_sink(&cx).await;
            subscribed(&mut sink, &port).await;
            broker.kill();
            let down = port.status_is(|status| matches!(status, ConnectionStatus::Disconnected(_))).await;
            let ConnectionStatus::Disconnected(reason) = down else { unreachable!() };
            assert!(reason.contains(&broker.server()) && reason.contains("next try in"), "{reason}");
            sink.status.wait_for(|status| matches!(status, ConnectionStatus::Disconnected(_))).await.unwrap();
            let written = sink.send(&numbers(3)).await;
            assert_eq!(written.accepted, 0);
            assert_eq!(written.error.unwrap().retry, Retry::Transient);
            broker.restart();
            port.status_is(is_connected).await;
            sink.connected().await;
            subscribed(&mut sink, &port).await;
            assert_eq!(sink.send(&numbers(3)).await.accepted, 3);
            for number in 0..3 {
                assert_eq!(port.next_text().await, number.to_string());
            }
            port.stop();
            task.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn a_source_waits_for_a_broker_that_is_not_there_yet() {
    // S1.2.
    for mut broker in brokers() {
        broker.kill();
        let cx = broker.cx("");
        let port = TestPort::new();
        let task = start_source(&cx, &port);
        let down = port.status_is(|status| matches!(status, ConnectionStatus::Disconnected(_))).await;
        let ConnectionStatus::Disconnected(reason) = down else { unreachable!() };
        assert!(reason.starts_with("cannot connect to") && reason.contains("connection refused"), "{reason}");
        broker.restart();
        port.status_is(is_connected).await;
        port.stop();
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn at_qos_1_and_2_a_full_inlet_loses_nothing() {
    for broker in brokers() {
        for (version, qos) in [("3.1.1", 1), ("3.1.1", 2), ("5", 1), ("5", 2)] {
            let cx = broker.cx(&format!(r#","qos":{qos},"protocolVersion":"{version}""#));
            let port = broker.port(2);
            let task = start_source(&cx, &port);
            let mut sink = open_sink(&cx).await;
            subscribed(&mut sink, &port).await;
            assert_eq!(sink.send(&numbers(600)).await.accepted, 600);
            for number in 0..600 {
                assert_eq!(port.next_text().await, number.to_string(), "{version} {qos}");
            }
            assert!(port.drops().is_empty());
            port.stop();
            task.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn at_qos_0_a_full_inlet_drops_the_oldest_and_counts() {
    for broker in brokers() {
        let cx = broker.cx("");
        let port = broker.port(10);
        let task = start_source(&cx, &port);
        let mut sink = open_sink(&cx).await;
        subscribed(&mut sink, &port).await;
        assert_eq!(sink.send(&numbers(100)).await.accepted, 100);
        let dropped = || port.drops().iter().map(|(_, count)| count).sum::<u64>();
        let all_dropped = async {
            while dropped() < 90 {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(std::time::Duration::from_secs(60), all_dropped).await;
        assert_eq!((in_time, dropped()), (Ok(()), 90), "of 100 messages 10 have room");
        assert_eq!(port.next_text().await, "90");
        port.stop();
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn streams_on_a_named_connection_share_one_subscription() {
    // N6.4.
    for broker in brokers() {
        let mut cx = broker.cx(r#","qos":1"#);
        let named = client::connect(&cx).unwrap();
        cx.connection = Some(Arc::clone(&named));
        let ports = [TestPort::new(), TestPort::new()];
        let tasks = ports.each_ref().map(|port| start_source(&cx, port));
        let mut sink = open_sink(&cx).await;
        subscribed(&mut sink, &ports[0]).await;
        sink.send(&numbers(50)).await;
        for port in &ports {
            let mut got = port.next_text().await;
            while got == "marker" {
                got = port.next_text().await;
            }
            for number in 1..50 {
                assert_eq!(got, (number - 1).to_string());
                got = port.next_text().await;
            }
        }
        assert_eq!(named.status(), ConnectionStatus::Connected);
        ports[0].stop();
        for (port, task) in ports.iter().zip(tasks) {
            port.stop();
            task.await.unwrap().unwrap();
        }
        // The connection outlives its users.
        assert_eq!(sink.send(&numbers(1)).await.accepted, 1);
        named.close().await;
    }
}

#[tokio::test]
async fn metadata_comes_from_the_moment_on_in_which_somebody_asks_for_it() {
    for broker in brokers().into_iter().filter(|broker| broker.is_lean) {
        for qos in [0, 1] {
            let cx = broker.cx(&format!(r#","qos":{qos}"#));
            let port = broker.port(100_000);
            let task = start_source(&cx, &port);
            let mut sink = open_sink(&cx).await;
            subscribed(&mut sink, &port).await;
            sink.send(&numbers(3)).await;
            for _ in 0..3 {
                assert!(port.next().await.meta.is_none(), "nobody asks");
            }
            port.ask_for_meta();
            sink.send(&numbers(3)).await;
            for number in 0..3 {
                let got = port.next().await;
                assert_eq!(got.bytes, number.to_string().as_bytes());
                assert_eq!(got.meta.unwrap()["topic"], Value::text("in/a"));
            }
            port.stop();
            task.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn metadata_holds_topic_qos_id_and_user_properties() {
    for broker in brokers() {
        let user = r#","qos":1,"protocolVersion":"5","properties":{"traceparent":"00-abc-def-01","k":"v"}"#;
        let cx = broker.cx(user);
        let port = TestPort::new();
        let task = start_source(&cx, &port);
        let mut sink = open_sink(&cx).await;
        sink.connected().await;
        port.status_is(is_connected).await;
        let meta = loop {
            sink.send(&["x".to_owned()]).await;
            let arrived = tokio::time::timeout(std::time::Duration::from_millis(200), port.next());
            if let Ok(got) = arrived.await {
                break got.meta.unwrap();
            }
        };
        assert_eq!(meta["topic"], Value::text("in/a"));
        assert_eq!(meta["qos"], Value::Int(1));
        assert!(matches!(meta["messageId"], Value::Int(id) if id > 0));
        assert_eq!(meta["traceId"], Value::text("abc"));
        assert!(matches!(&meta["properties"], Value::Map(map) if map["k"] == Value::text("v")));
        port.stop();
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_templated_topic_and_retained_messages_reach_late_subscribers() {
    for broker in brokers() {
        let written = props(&broker.server(), r#","qos":1,"retained":true,"topic":"in/{{.id}}""#);
        let cx = context(broker.is_lean, &written.replacen(r#""topic":"in/a","#, "", 1));
        let mut sink = open_sink(&cx).await;
        let mut resolved = Props::new();
        resolved.set("topic", "in/7");
        let payload = SinkPayload::Bytes { payload: "kept".into(), props: Some(Arc::new(resolved)) };
        assert_eq!(sink.sink.write(&[payload]).await.accepted, 1);
        let port = TestPort::new();
        let task = start_source(&cx, &port);
        let got = port.next().await;
        assert_eq!((got.bytes.as_slice(), &got.meta.unwrap()["topic"]), (&b"kept"[..], &Value::text("in/7")));
        port.stop();
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_kept_session_brings_what_came_in_between() {
    for broker in brokers() {
        for (version, qos) in [("3.1.1", 1), ("3.1.1", 2), ("5", 1), ("5", 2)] {
            let base = format!(r#","qos":{qos},"protocolVersion":"{version}""#);
            let session = format!(r#"{base},"enableClientSession":true,"clientid":"keeper{version}{qos}""#);
            let keeper = broker.cx(&session);
            let port = TestPort::new();
            let task = start_source(&keeper, &port);
            let mut sink = open_sink(&broker.cx(&base)).await;
            subscribed(&mut sink, &port).await;
            port.stop();
            task.await.unwrap().unwrap();
            assert_eq!(sink.send(&numbers(20)).await.accepted, 20);
            let port = TestPort::new();
            let task = start_source(&keeper, &port);
            for number in 0..20 {
                assert_eq!(port.next_text().await, number.to_string(), "{version} {qos}");
            }
            port.stop();
            task.await.unwrap().unwrap();
        }
    }
}

#[tokio::test]
async fn the_end_message_ends_the_stream() {
    for broker in brokers() {
        let cx = broker.cx(r#","eofMessage":"YnllIQ==""#);
        let port = TestPort::new();
        let task = start_source(&cx, &port);
        let mut sink = open_sink(&cx).await;
        subscribed(&mut sink, &port).await;
        sink.send(&["last".to_owned(), "bye!".to_owned()]).await;
        task.await.unwrap().unwrap();
        assert_eq!(port.next_text().await, "last");
        assert_eq!(port.queued(), 0);
    }
}

#[tokio::test]
async fn ping_tells_why_a_broker_cannot_be_reached() {
    for mut broker in brokers() {
        let cx = broker.cx("");
        let connection = client::connect(&cx).unwrap();
        // The broker may still be starting.
        while connection.ping().await.is_err() {
            tokio::task::yield_now().await;
        }
        broker.kill();
        let error = loop {
            if let Err(error) = connection.ping().await {
                break error;
            }
            tokio::task::yield_now().await;
        };
        assert!(error.message.starts_with("cannot connect to tcp://127.0.0.1:"), "{}", error.message);
    }
}

/// A broker that takes everybody in and refuses the first subscription.
async fn refusing_broker() -> (String, JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = format!("tcp://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut buffer = [0; 512];
        assert!(socket.read(&mut buffer).await.unwrap() > 0);
        socket.write_all(&[0x20, 2, 0, 0]).await.unwrap();
        assert!(socket.read(&mut buffer).await.unwrap() > 4);
        socket.write_all(&[0x90, 3, buffer[2], buffer[3], 0x80]).await.unwrap();
        while socket.read(&mut buffer).await.unwrap_or(0) > 0 {}
    });
    (server, task)
}

#[tokio::test]
async fn a_refused_subscription_is_a_fault_and_no_connection() {
    for is_lean in [true, false] {
        let (server, broker) = refusing_broker().await;
        let cx = context(is_lean, &props(&server, ""));
        let port = TestPort::new();
        let task = start_source(&cx, &port);
        let down = port.status_is(|status| matches!(status, ConnectionStatus::Disconnected(_))).await;
        let expected = format!("the broker {server} refuses the subscription to in/+: failure");
        assert_eq!(down, ConnectionStatus::Disconnected(Arc::from(expected.as_str())));
        assert_eq!(port.faults(), [expected]);
        port.stop();
        task.await.unwrap().unwrap();
        broker.await.unwrap();
    }
}

#[tokio::test]
async fn a_broker_with_a_crowded_queue_loses_nothing() {
    for broker in brokers() {
        let cx = broker.cx(r#","qos":1"#);
        let port = broker.port(10);
        let task = start_source(&cx, &port);
        let mut sink = open_sink(&cx).await;
        subscribed(&mut sink, &port).await;
        let written = sink.send(&numbers(25_000)).await;
        assert_eq!(written.accepted, 25_000, "{:?}", written.error);
        for number in 0..25_000 {
            assert_eq!(port.next_text().await, number.to_string());
        }
        port.stop();
        task.await.unwrap().unwrap();
    }
}

/// Makes an authority and a certificate for 127.0.0.1 with openssl.
fn certificates(folder: &std::path::Path) -> bool {
    let run = |arguments: &str| {
        let mut command = std::process::Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(folder);
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    std::fs::write(folder.join("san"), "subjectAltName=IP:127.0.0.1\n").unwrap();
    run("req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=ca")
        && run("req -newkey rsa:2048 -nodes -keyout key.pem -out req.pem -subj /CN=127.0.0.1")
        && run(
            "x509 -req -in req.pem -CA ca.pem -CAkey ca.key -CAcreateserial -out cert.pem -days 2 -extfile san",
        )
}

#[tokio::test]
async fn tls_checks_the_brokers_certificate_unless_told_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    if !certificates(folder.path()) {
        println!("skipped: openssl is not installed");
        return;
    }
    let at = folder.path().display();
    let config = format!("cafile {at}/ca.pem\ncertfile {at}/cert.pem\nkeyfile {at}/key.pem");
    let Some(broker) = Mosquitto::start(&config) else { return };
    let server = broker.server().replace("tcp://", "ssl://");
    for (more, expected) in [
        (r#","rootCaPath":"ca.pem","qos":1"#, Ok(())),
        (r#","insecureSkipVerify":true,"protocolVersion":"5""#, Ok(())),
        ("", Err("certificate")),
    ] {
        let mut cx = cx(&props(&server, more));
        cx.home = folder.path().to_owned();
        let port = TestPort::new();
        let task = start_source(&cx, &port);
        match expected {
            Ok(()) => {
                let mut sink = open_sink(&cx).await;
                subscribed(&mut sink, &port).await;
            }
            Err(word) => {
                let told = |status: &ConnectionStatus| matches!(status, ConnectionStatus::Disconnected(why) if why.contains(word));
                port.status_is(told).await;
            }
        }
        port.stop();
        task.await.unwrap().unwrap();
    }
}

/// `contracts.md` 8: of the connections of a split stream one gets each message.
#[tokio::test]
async fn the_connections_of_a_split_stream_get_each_message_once() {
    for broker in brokers() {
        for version in ["3.1.1", "5"] {
            let cx = broker.cx(&format!(r#","qos":1,"protocolVersion":"{version}""#));
            let ports = [broker.port(10_000), broker.port(10_000)];
            let mut tasks = Vec::new();
            for (number, port) in (0..).zip(&ports) {
                let part = Some(Part { number, count: 2, group: format!("split_{version}").into() });
                tasks.push(start_source(&BuildCx { part, ..cx.clone() }, port));
            }
            let mut sink = open_sink(&cx).await;
            // Both are known to stand when each has got a marker.
            let mut stands = [false, false];
            while stands != [true, true] {
                sink.send(&["marker".to_owned()]).await;
                for (port, stands) in ports.iter().zip(&mut stands) {
                    *stands |= tokio::time::timeout(Duration::from_millis(20), port.next()).await.is_ok();
                }
            }
            assert_eq!(sink.send(&numbers(200)).await.accepted, 200, "{version}");
            let mut got = Vec::new();
            while got.len() < 200 {
                let text = tokio::select! {
                    text = ports[0].next_text() => text,
                    text = ports[1].next_text() => text,
                };
                got.extend((text != "marker").then_some(text));
            }
            let mut want = numbers(200);
            got.sort_unstable();
            want.sort_unstable();
            assert_eq!(got, want, "{version}");
            ports.iter().for_each(|port| port.stop());
            for task in tasks {
                task.await.unwrap().unwrap();
            }
            sink.sink.close().await.unwrap();
        }
    }
}
