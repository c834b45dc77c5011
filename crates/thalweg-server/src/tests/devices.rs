//! `--mqtt-ingest`: a device, a rule, and its result, without any broker.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::client::Instance;

/// Sends packets and reads as many bytes as are expected in answer.
fn exchange(socket: &mut TcpStream, packets: &[&[u8]], answer: &[u8]) {
    socket.write_all(&packets.concat()).expect("it takes them");
    let mut heard = vec![0; answer.len()];
    socket.read_exact(&mut heard).expect("it answers");
    assert_eq!(heard, answer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_feeds_rules_without_a_broker_and_is_answered_when_its_message_is_durable() {
    let instance = Instance::start().await;
    let stream =
        r#"CREATE STREAM rooms () WITH (TYPE="mqttlisten", DATASOURCE="plant/+/temp", FORMAT="json")"#;
    instance.sql(stream).await.is(201, "Stream rooms is created.");
    let rule = r#"{"id":"warm","sql":"SELECT count(*) AS n FROM rooms WHERE t > 20 GROUP BY COUNTWINDOW(3)",
        "actions":[{"nop":{}}],"options":{"qos":2}}"#;
    instance.post("/rules", rule).await.is(201, "Rule warm was created successfully.");
    let connected = |status: &serde_json::Value| status["source_rooms_0_connection_status"] == 1;
    instance.status_when("warm", connected).await;
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, instance.device_port())).expect("it listens");
    let hello = b"\x10\x0e\x00\x04MQTT\x04\x00\x00\x3c\x00\x02d1";
    exchange(&mut socket, &[hello], &[0x20, 2, 0, 0]);
    let reading = |id: u8| [&b"\x32\x1a\x00\x0dplant/k1/temp\x00"[..], &[id], b"{\"t\":25}\n"].concat();
    let (first, second) = (reading(1), reading(2));
    exchange(&mut socket, &[&first, &second], &[0x40, 2, 0, 1, 0x40, 2, 0, 2]);
    let status = instance.status_when("warm", |status| status["source_rooms_0_records_in_total"] == 2).await;
    assert!(status["checkpoint_total"].as_u64() > Some(0), "answered after a checkpoint: {status}");
    // The state is there after a restart, and the third reading closes the window.
    drop(socket);
    let instance = instance.restart().await;
    let mut socket = TcpStream::connect((Ipv4Addr::LOCALHOST, instance.device_port())).expect("it listens");
    exchange(&mut socket, &[hello], &[0x20, 2, 0, 0]);
    exchange(&mut socket, &[&reading(3)], &[0x40, 2, 0, 3]);
    instance.status_when("warm", |status| status["sink_nop_0_0_records_in_total"] == 1).await;
    instance.stop().await;
}
