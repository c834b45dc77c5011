//! Devices against the port: `rumqttc` for what a device does, and bare sockets for what none should.

use std::net::Ipv4Addr;
use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use thalweg_core::connector::{BuildCx, ConnectionStatus, SourceKind};
use thalweg_core::error::IoError;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::testing::{TestPort, TokioPoller, cx};

struct Rig {
    cx: BuildCx,
    port: DevicePort,
}

impl Rig {
    async fn open() -> Self {
        let cx = cx(r#"{"datasource":"plant/+/temp, alarm"}"#);
        let reserved = DevicePort::reserve((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let port = reserved.open(&cx.shared, Arc::clone(&cx.clock), Arc::new(TokioPoller));
        Self { cx, port }
    }

    async fn listen(&self, port: &Arc<TestPort>) -> JoinHandle<Result<(), IoError>> {
        let SourceKind::Push(source) = build(&self.cx).unwrap() else { panic!("it pushes") };
        let task = tokio::spawn(source.run(Arc::<TestPort>::clone(port)));
        port.status_is(|status| *status == ConnectionStatus::Connected).await;
        task
    }

    /// A device and what it hears; publications are confirmed at QoS 1 only.
    fn device(
        &self,
        name: &str,
        is_clean: bool,
    ) -> (AsyncClient, JoinHandle<()>, tokio::sync::mpsc::UnboundedReceiver<Packet>) {
        let mut options = MqttOptions::new(name, "127.0.0.1", self.port.port());
        options.set_clean_session(is_clean).set_keep_alive(Duration::from_secs(5));
        let (client, mut events) = AsyncClient::new(options, 10_000);
        let (heard, hears) = tokio::sync::mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            loop {
                match events.poll().await {
                    Ok(Event::Incoming(packet)) => drop(heard.send(packet)),
                    Ok(Event::Outgoing(_)) => {}
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        });
        (client, task, hears)
    }

    async fn socket(&self) -> TcpStream {
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port.port())).await.unwrap()
    }
}

/// A CONNECT of `name`.
fn hello(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    crate::mqtt::lean::frame::put_connect(&mut bytes, (name, true), 60, None);
    bytes
}

async fn next_of(
    hears: &mut tokio::sync::mpsc::UnboundedReceiver<Packet>,
    wanted: fn(&Packet) -> bool,
) -> Packet {
    let found = async {
        loop {
            let packet = hears.recv().await.unwrap();
            if wanted(&packet) {
                return packet;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(30), found).await.unwrap()
}

/// Whether the other side hangs up, having answered with `answer`.
async fn hangs_up(socket: &mut TcpStream, answer: &[u8]) {
    let mut bytes = Vec::new();
    let end = tokio::time::timeout(Duration::from_secs(30), socket.read_to_end(&mut bytes)).await;
    // A reset is an end as well.
    let _closed = end.expect("it hangs up");
    assert_eq!(bytes, answer);
}

#[tokio::test]
async fn devices_publish_into_streams_at_qos_0_and_1_and_cannot_subscribe() {
    let rig = Rig::open().await;
    let port = TestPort::plain(100_000);
    let task = rig.listen(&port).await;
    let (device, driver, mut hears) = rig.device("d1", true);
    device.subscribe("#", QoS::AtMostOnce).await.unwrap();
    let Packet::SubAck(refused) = next_of(&mut hears, |packet| matches!(packet, Packet::SubAck(_))).await
    else {
        panic!()
    };
    assert_eq!(refused.return_codes, [rumqttc::SubscribeReasonCode::Failure]);
    for number in 0..500 {
        let qos = if number % 3 == 0 { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        device.publish("plant/k1/temp", qos, false, number.to_string()).await.unwrap();
        device.publish("nobody/asks", qos, false, "x").await.unwrap();
    }
    for number in 0..500 {
        assert_eq!(port.next_text().await, number.to_string());
    }
    let is_ack = |packet: &Packet| matches!(packet, Packet::PubAck(_));
    for _ in 0..2 * 167 {
        next_of(&mut hears, is_ack).await;
    }
    device.publish("alarm", QoS::AtLeastOnce, true, "fire").await.unwrap();
    assert_eq!(port.next_text().await, "fire", "the second filter of the stream");
    port.stop();
    task.await.unwrap().unwrap();
    driver.abort();
}

#[tokio::test]
async fn answers_are_withheld_and_what_comes_again_is_known_again() {
    let rig = Rig::open().await;
    let port = TestPort::withholding();
    let task = rig.listen(&port).await;
    let mut hello = Vec::new();
    crate::mqtt::lean::frame::put_connect(&mut hello, ("d2", false), 60, None);
    let alarm = |first: u8, id: u8| [first, 10, 0, 5, b'a', b'l', b'a', b'r', b'm', 0, id, b'!'];
    let mut first = rig.socket().await;
    first.write_all(&hello).await.unwrap();
    for id in 1..=3 {
        first.write_all(&alarm(0x32, id)).await.unwrap();
        assert_eq!(port.next_text().await, "!");
    }
    let before = port.waiting();
    let mut second = rig.socket().await;
    second.write_all(&hello).await.unwrap();
    // The older connection ends, without an answer but to its hello.
    hangs_up(&mut first, &[0x20, 2, 0, 0]).await;
    for id in 1..=3 {
        second.write_all(&alarm(0x3a, id)).await.unwrap();
    }
    second.write_all(&[0xc0, 0]).await.unwrap();
    let mut heard = [0; 6];
    second.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, [0x20, 2, 1, 0, 0xd0, 0], "it is known, and the ping comes before any answer");
    assert_eq!(port.waiting(), before, "each counts once");
    assert_eq!(port.answer(), 3);
    let mut heard = [0; 12];
    second.read_exact(&mut heard).await.unwrap();
    assert_eq!(heard, [0x40, 2, 0, 1, 0x40, 2, 0, 2, 0x40, 2, 0, 3]);
    // The answers were lost, perhaps.
    second.write_all(&alarm(0x3a, 2)).await.unwrap();
    let mut heard = [0; 4];
    second.read_exact(&mut heard).await.unwrap();
    assert_eq!((heard, port.queued()), ([0x40, 2, 0, 2], 0));
    port.stop();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stream_without_a_port_says_how_to_open_one() {
    let cx = cx(r#"{"datasource":"a/#"}"#);
    let SourceKind::Push(source) = build(&cx).unwrap() else { panic!("it pushes") };
    let port = TestPort::plain(1);
    let task = tokio::spawn(source.run(Arc::<TestPort>::clone(&port)));
    let status = port.status_is(|status| matches!(status, ConnectionStatus::Disconnected(_))).await;
    let ConnectionStatus::Disconnected(why) = status else { unreachable!() };
    assert_eq!(&*why, "the engine has no port for devices; start it with --mqtt-ingest PORT");
    port.stop();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn hostile_devices_are_shown_out_and_the_others_go_on() {
    let rig = Rig::open().await;
    let port = TestPort::plain(100_000);
    let task = rig.listen(&port).await;
    let taken = [0x20, 2, 0, 0];
    for (name, after_hello) in [
        ("no text", &[0x30, 4, 0, 2, 0xff, 0xfe][..]),
        ("wildcard", &[0x30, 3, 0, 1, b'#']),
        ("nul", &[0x30, 3, 0, 1, 0]),
        ("no topic", &[0x30, 2, 0, 0]),
        ("topic beyond the packet", &[0x30, 3, 0, 9, b'a']),
        ("qos 2", &[0x34, 5, 0, 1, b'a', 0, 1]),
        ("qos 3", &[0x36, 5, 0, 1, b'a', 0, 1]),
        ("packet id 0", &[0x32, 5, 0, 1, b'a', 0, 0]),
        ("endless length", &[0x30, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ("16 MB and more", &[0x30, 0xff, 0xff, 0xff, 0x7f]),
        ("a second hello", &hello("again")),
        ("a broker's packet", &[0x20, 2, 0, 0]),
        ("half a subscription", &[0x82, 5, 0, 1, 0, 9, b'a']),
        ("no filter", &[0x82, 2, 0, 1]),
    ] {
        let mut socket = rig.socket().await;
        socket.write_all(&hello(name)).await.unwrap();
        socket.write_all(after_hello).await.unwrap();
        hangs_up(&mut socket, &taken).await;
    }
    for (bytes, answer) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], &[][..]),
        (&[0x10, 0xff, 0xff, 0xff, 0x7f], &[]),
        (&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 5, 2, 0, 60, 0, 0], &[0x20, 2, 0, 1]),
        (&[0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60, 0, 0], &[0x20, 2, 0, 2]),
    ] {
        let mut socket = rig.socket().await;
        socket.write_all(bytes).await.unwrap();
        hangs_up(&mut socket, answer).await;
    }
    // Half a packet, one byte at a time, holds nobody up.
    let mut slow = rig.socket().await;
    slow.write_all(&hello("slow")).await.unwrap();
    for byte in [0x30, 0xe8, 0x07, 0] {
        slow.write_all(&[byte]).await.unwrap();
    }
    let mut good = rig.socket().await;
    good.write_all(&hello("good")).await.unwrap();
    let packet = [0x30, 8, 0, 5, b'a', b'l', b'a', b'r', b'm', b'!'];
    for part in packet.chunks(1) {
        good.write_all(part).await.unwrap();
    }
    assert_eq!(port.next_text().await, "!");
    port.stop();
    task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_device_that_does_not_wait_for_answers_finds_its_socket_full_and_loses_nothing() {
    let rig = Rig::open().await;
    let port = TestPort::plain(1);
    let task = rig.listen(&port).await;
    let mut socket = rig.socket().await;
    socket.write_all(&hello("eager")).await.unwrap();
    let (mut from, mut to) = socket.into_split();
    let payload = "x".repeat(2_000);
    let sender = tokio::spawn(async move {
        let mut bytes = Vec::new();
        for number in 0..20_000u16 {
            let payload = format!("{number} {payload}");
            let id = number + 1;
            crate::mqtt::lean::frame::put_publish(&mut bytes, "alarm", (1, false, id), payload.as_bytes());
        }
        to.write_all(&bytes).await.unwrap();
        to
    });
    let answers = tokio::spawn(async move {
        let mut bytes = vec![0; 4 + 4 * 20_000];
        from.read_exact(&mut bytes).await.unwrap();
        bytes
    });
    for number in 0..20_000 {
        let text = port.next_text().await;
        assert!(text.starts_with(&format!("{number} ")), "{number}: {}", &text[..10]);
    }
    let answers = answers.await.unwrap();
    let ids = answers[4..].chunks(4).map(|answer| u16::from_be_bytes([answer[2], answer[3]]));
    assert!(ids.eq(1..=20_000), "each is answered, in order");
    drop(sender.await.unwrap());
    assert_eq!(port.drops(), []);
    port.stop();
    task.await.unwrap().unwrap();
}

/// `contracts.md` 8.
#[tokio::test]
async fn a_split_stream_gets_the_messages_of_a_device_by_one_of_its_parts() {
    let rig = Rig::open().await;
    let ports = [TestPort::new(), TestPort::new()];
    let mut tasks = Vec::new();
    for (number, port) in (0..).zip(&ports) {
        let part = Some(Part { number, count: 2, group: "g".into() });
        let SourceKind::Push(source) = build(&BuildCx { part, ..rig.cx.clone() }).unwrap() else {
            panic!("it pushes")
        };
        tasks.push(tokio::spawn(source.run(Arc::<TestPort>::clone(port))));
        port.status_is(|status| *status == ConnectionStatus::Connected).await;
    }
    let mut devices = Vec::new();
    for name in ["one", "two"] {
        let (device, task, mut hears) = rig.device(name, true);
        for number in 0..10 {
            let text = format!("{name} {number}");
            device.publish("plant/k/temp", QoS::AtLeastOnce, false, text).await.unwrap();
        }
        // All ten are answered, so they are where they belong.
        let mut n_answers = 0;
        while n_answers < 10 {
            n_answers += usize::from(matches!(hears.recv().await.unwrap(), Packet::PubAck(_)));
        }
        devices.push((device, task));
    }
    for (name, port) in ["one", "two"].iter().zip(&ports) {
        for number in 0..10 {
            assert_eq!(port.next_text().await, format!("{name} {number}"));
        }
    }
    ports.iter().for_each(|port| port.stop());
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    devices.iter().for_each(|(_, task)| task.abort());
}
