//! msgpack-rpc.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::desk::{Desk, nearly_all_refused_at_once};

/// A server that reads requests and lets a closure say, for all that have come so far, what goes back and in which
/// order. Closes the connection when the closure says nothing.
struct Server {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// An answer: number, error, result (already msgpack).
type Reply = (u8, Vec<u8>, Vec<u8>);

const NIL: u8 = 0xc0;

impl Server {
    fn start(answer: impl Fn(Vec<Json>) -> Option<Vec<Reply>> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, answer) = (Arc::<AtomicUsize>::default(), Arc::new(answer));
        let counted = Arc::clone(&connections);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || serve(stream.unwrap(), &*answer));
            }
        });
        Self { address, connections }
    }

    fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

fn serve(mut stream: TcpStream, answer: &dyn Fn(Vec<Json>) -> Option<Vec<Reply>>) {
    let (mut bytes, mut waiting) = (Vec::new(), Vec::new());
    let mut chunk = [0; 4096];
    loop {
        let Ok(got @ 1..) = stream.read(&mut chunk) else { return };
        bytes.extend_from_slice(&chunk[..got]);
        let mut rest = &bytes[..];
        loop {
            let mut ahead = rest;
            let Some(request) = value(&mut ahead) else { break };
            waiting.push(request);
            rest = ahead;
        }
        bytes = rest.to_vec();
        let Some(replies) = answer(waiting.clone()) else { return };
        for (id, error, result) in replies {
            let mut out = vec![0x94, 1, id];
            out.extend_from_slice(&error);
            out.extend_from_slice(&result);
            if stream.write_all(&out).is_err() {
                return;
            }
            waiting.retain(|request| request[1] != id);
        }
    }
}

/// The part of msgpack that requests of these tests use. Bytes become `{"bytes": n}`.
fn value(from: &mut &[u8]) -> Option<Json> {
    fn take<'a>(from: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = from.split_at_checked(len)?;
        *from = rest;
        Some(taken)
    }
    let head = take(from, 1)?[0];
    Some(match head {
        0..=0x7f => json!(head),
        0x80..=0x8f => {
            let mut map = serde_json::Map::new();
            for _ in 0..head & 15 {
                let key = value(from)?;
                map.insert(key.as_str()?.to_owned(), value(from)?);
            }
            Json::Object(map)
        }
        0x90..=0x9f => Json::Array((0..head & 15).map(|_| value(from)).collect::<Option<_>>()?),
        0xa0..=0xbf => json!(std::str::from_utf8(take(from, usize::from(head & 31))?).ok()?),
        0xc0 => Json::Null,
        0xc2 | 0xc3 => json!(head == 0xc3),
        0xc4 => {
            let len = take(from, 1)?[0];
            take(from, usize::from(len))?;
            json!({ "bytes": len })
        }
        0xcb => json!(f64::from_be_bytes(take(from, 8)?.try_into().ok()?)),
        0xd3 => json!(i64::from_be_bytes(take(from, 8)?.try_into().ok()?)),
        0xd9 => {
            let len = take(from, 1)?[0];
            json!(std::str::from_utf8(take(from, usize::from(len))?).ok()?)
        }
        _ => return None,
    })
}

fn text(text: &str) -> Vec<u8> {
    let mut out = vec![0xd9, text.len() as u8];
    out.extend_from_slice(text.as_bytes());
    out
}

fn id(request: &Json) -> u8 {
    request[1].as_u64().unwrap() as u8
}

#[test]
fn arguments_are_the_fields_of_the_message_in_their_order() {
    let server = Server::start(|requests| {
        let reply = |request: &Json| {
            let said = format!("{} {}", request[2].as_str().unwrap(), request[3]);
            let result = match request[2].as_str() {
                Some("Greet") => [vec![0x81, 0xa7], b"message".to_vec(), text(&said)].concat(),
                Some("Raw") => text(&said),
                Some("Sum") => vec![0xcd, 1, 0],
                Some("Ready") => vec![0xc3],
                Some("Forget") => vec![NIL],
                _ => [
                    vec![0x82, 0xa4],
                    b"data".to_vec(),
                    vec![0xc4, 1, b'x', 0xa6],
                    b"series".to_vec(),
                    vec![0x91, 3],
                ]
                .concat(),
            };
            (id(request), vec![NIL], result)
        };
        Some(requests.iter().map(reply).collect())
    });
    let desk = Desk::new();
    desk.desk("msgpack-rpc", &server.url(), json!({}));
    assert_eq!(desk.call("Greet", r#"["bo"]"#), r#"{"message":"Greet [\"bo\"]"}"#);
    assert_eq!(desk.call("Greet", r#"[{"name":"bo"}]"#), r#"{"message":"Greet [\"bo\"]"}"#);
    assert_eq!(desk.call("Raw", r#"["x"]"#), r#""Raw [\"x\"]""#);
    assert_eq!(desk.call("Sum", "[1,2]"), "256");
    assert_eq!(desk.call("Ready", "[]"), "true");
    assert_eq!(desk.call("Forget", r#"["a"]"#), "null");
    let some = r#"[{"ratio":0.5,"data":"b:abc","guest":{"name":"g"}}]"#;
    assert_eq!(desk.call("Echo", some), r#"{"data":"eA==","series":[3]}"#);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn answers_may_come_in_any_order_and_errors_are_those_of_their_rows() {
    // Four at a time, the last one first; every fifth fails.
    let server = Server::start(|requests| {
        if requests.len() < 4 {
            return Some(Vec::new());
        }
        let reply = |request: &Json| {
            let n = request[3][0].as_i64().unwrap();
            match n % 5 {
                0 => (id(request), text(&format!("no {n}")), vec![NIL]),
                _ => (id(request), vec![NIL], vec![n as u8]),
            }
        };
        Some(requests.iter().rev().map(reply).collect())
    });
    let desk = Desk::new();
    desk.desk("msgpack-rpc", &server.url(), json!({"maxInFlight": 4}));
    let rows: Vec<String> = (0..40).map(|n| format!("[{n},1]")).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let wanted: Vec<String> = (0..40)
        .map(|n| match n % 5 {
            0 => format!("!call func Sum error: service s at {}: no {n}", server.url()),
            _ => n.to_string(),
        })
        .collect();
    // Answers leave when four have come, so the window has to be filled up to its limit each time.
    assert_eq!(desk.calls("Sum", &rows), wanted);
}

#[test]
fn a_connection_that_breaks_fails_its_calls_and_the_next_call_connects_again() {
    let count = AtomicUsize::new(0);
    let server = Server::start(move |requests| {
        let reply = |request: &Json| (id(request), vec![NIL], vec![7]);
        (count.fetch_add(1, Ordering::SeqCst) != 1).then(|| requests.iter().map(reply).collect())
    });
    let desk = Desk::new();
    desk.desk("msgpack-rpc", &server.url(), json!({}));
    assert_eq!(desk.call("Sum", "[1,2]"), "7");
    let shown = desk.call("Sum", "[1,2]");
    assert!(shown.contains("it closed the connection") || shown.contains("reset"), "{shown}");
    assert_eq!(desk.call("Sum", "[1,2]"), "7");
}

#[test]
fn a_dead_or_silent_service_costs_no_time_out_for_each_row() {
    let dead = TcpListener::bind("127.81.13.8:0").unwrap().local_addr().unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = (silent.local_addr().unwrap(), silent).0;
    let quiet = Server::start(|_| Some(Vec::new()));
    for (address, why) in [
        (dead.to_string(), "refused"),
        (silent.to_string(), ""),
        (quiet.address.to_string(), "no answer within 200 ms"),
    ] {
        let desk = Desk::new();
        desk.desk("msgpack-rpc", &format!("tcp://{address}"), json!({"timeout": 200}));
        let started = Instant::now();
        let shown = desk.calls("Sum", &["[1,2]"; 500]);
        assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
        assert!(shown[0].to_lowercase().contains(why), "{}", shown[0]);
        nearly_all_refused_at_once(&shown);
    }
}

#[test]
fn what_is_no_msgpack_rpc_is_said_so() {
    for (sent, why) in [
        (&b"HTTP/1.1 400 Bad Request\r\n"[..], "its answer is no msgpack-rpc"),
        (&[0xc1], "extension type"),
        (&[0x91; 200], "nested too deeply"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut chunk = [0; 4096];
                let _ = stream.read(&mut chunk);
                let _ = stream.write_all(sent);
                let _ = stream.read(&mut chunk);
            }
        });
        let desk = Desk::new();
        desk.desk("msgpack-rpc", &format!("tcp://{address}"), json!({}));
        let shown = desk.call("Sum", "[1,2]");
        assert!(shown.contains(why), "{shown}");
    }
}
