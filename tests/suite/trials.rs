//! What comes out of trials (`rest-api.md` 6): server-sent events, or messages of a web socket.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::{Value as Json, json};
use thalweg_tests::instance::Instance;
use thalweg_tests::wait;

const STREAM: &str = "CREATE STREAM demo () WITH (DATASOURCE=\"t\", TYPE=\"memory\")";

/// An instance with a stream, and what is posted as JSON.
fn instance() -> Instance {
    let instance = Instance::start(None, &[("KUIPER__SOURCE__HTTPSERVERIP", "127.0.0.1")], |_| {});
    let made = instance.call("POST", "/streams", &[], &json!({"sql": STREAM}).to_string());
    assert_eq!(made.status, 201, "{}", made.body);
    instance
}

/// Prepares a trial. The data port.
fn prepare(instance: &Instance, trial: &Json) -> u16 {
    let answer = instance.call("POST", "/ruletest", &[], &trial.to_string());
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "JT");
    let answer: Json = serde_json::from_str(&answer.body).expect("it is JSON");
    assert_eq!(answer["id"], trial["id"]);
    answer["port"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port")
}

fn begin(instance: &Instance, id: &str) {
    let answer = instance.call("POST", &format!("/ruletest/{id}/start"), &[], "");
    assert_eq!(answer.all(), (200, "text/plain; charset=utf-8", &*format!("Test rule {id} was started")));
}

/// Calls the data port. The head of the answer, and what follows.
fn get(port: u16, path: &str, headers: &str) -> (String, BufReader<TcpStream>) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the data port listens");
    stream.set_read_timeout(Some(wait::LIMIT)).expect("a time-out can be set");
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n").expect("it reads");
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert!(reader.read_line(&mut head).expect("it answers") > 0, "cut off: {head}");
    }
    (head.to_lowercase(), reader)
}

/// The next event; chunks of the transfer are passed over.
fn event(reader: &mut BufReader<TcpStream>) -> String {
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).expect("an event comes in time") > 0, "it has ended");
        if let Some(data) = line.strip_prefix("data: ") {
            return data.trim_end().to_owned();
        }
    }
}

fn trial(id: &str, sql: &str, data: &Json, sink: &Json) -> Json {
    json!({
        "id": id,
        "sql": sql,
        "mockSource": {"demo": {"data": data, "interval": 10, "loop": false}},
        "sinkProps": sink,
    })
}

#[test]
fn results_of_a_trial_are_events_for_every_listener() {
    let instance = instance();
    let sql = "SELECT a + 1 AS b FROM demo";
    let port = prepare(&instance, &trial("t1", sql, &json!([{"a": 1}, {"a": "x"}, {"a": 2}]), &json!({})));
    let (head, mut first) = get(port, "/test/t1", "connection: close\r\n");
    assert!(head.starts_with("http/1.1 200 ok"), "{head}");
    for header in ["content-type: text/event-stream\r", "cache-control: no-cache\r", "allow-origin: *\r"] {
        assert!(head.contains(header), "{header} in {head}");
    }
    let (_, mut second) = get(port, "/test/t1", "");
    begin(&instance, "t1");
    for reader in [&mut first, &mut second] {
        assert_eq!(event(reader), "[{\"b\":2}]");
        let error = event(reader);
        assert!(error.starts_with("run Select error: ") && error.contains("meet error, err:"), "{error}");
        assert_eq!(event(reader), "[{\"b\":3}]");
    }
    // The place stays when the rows have ended, and goes with the trial; the events end.
    let (head, _late) = get(port, "/test/t1", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    let answer = instance.call("DELETE", "/ruletest/t1", &[], "");
    assert_eq!(answer.all(), (200, "text/plain; charset=utf-8", "Test rule t1 was stopped."));
    let mut rest = String::new();
    first.read_to_string(&mut rest).expect("the answer ends");
    assert!(!rest.contains("data:"), "{rest}");
    let (head, _) = get(port, "/test/t1", "connection: close\r\n");
    assert!(head.starts_with("http/1.1 404"), "{head}");
}

#[test]
fn send_single_and_templates_shape_what_a_trial_sends() {
    let instance = instance();
    let data = json!([{"a": 1, "b": 2}]);
    for (id, sink, expected) in [
        ("single", json!({"sendSingle": true}), "{\"a\":1,\"b\":2}"),
        ("fields", json!({"fields": ["b"]}), "[{\"b\":2}]"),
        ("template", json!({"sendSingle": true, "dataTemplate": "{\"x\":{{.a}}}"}), "{\"x\":1}"),
    ] {
        let port = prepare(&instance, &trial(id, "SELECT * FROM demo", &data, &sink));
        let (_, mut events) = get(port, &format!("/test/{id}"), "");
        begin(&instance, id);
        assert_eq!(event(&mut events), expected, "{id}");
    }
}

/// The next frame of a server: its kind and payload.
fn frame(reader: &mut impl Read) -> (u8, String) {
    let mut head = [0; 2];
    reader.read_exact(&mut head).expect("a frame comes in time");
    assert!(head[1] < 126, "frames here are short, and a server masks nothing");
    let mut payload = vec![0; usize::from(head[1])];
    reader.read_exact(&mut payload).expect("the frame is whole");
    (head[0], String::from_utf8_lossy(&payload).into_owned())
}

#[test]
fn the_same_path_is_a_web_socket_for_those_who_ask_for_one() {
    let instance = instance();
    let port = prepare(&instance, &trial("w", "SELECT * FROM demo", &json!([{"a": 1}]), &json!({})));
    let upgrade = "connection: keep-alive, Upgrade\r\nupgrade: WebSocket\r\nsec-websocket-version: 13\r\n";
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (head, mut socket) = get(port, "/test/w", &format!("{upgrade}{key}"));
    assert!(head.starts_with("http/1.1 101"), "{head}");
    assert!(head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r"), "{head}");
    begin(&instance, "w");
    assert_eq!(frame(&mut socket), (0x81, "[{\"a\":1}]".to_owned()));
    socket.get_mut().write_all(&[0x89, 0x82, 1, 1, 1, 1, b'h' ^ 1, b'i' ^ 1]).expect("it reads");
    assert_eq!(frame(&mut socket), (0x8a, "hi".to_owned()), "a ping is answered");
    instance.call("DELETE", "/ruletest/w", &[], "");
    assert_eq!(frame(&mut socket).0, 0x88, "the socket is closed with the trial");
    for (headers, status) in [(upgrade.to_owned(), "404"), (String::new(), "404")] {
        let (head, _) = get(port, "/test/w", &headers);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{head}");
    }
    prepare(&instance, &trial("w", "SELECT * FROM demo", &json!([{"a": 1}]), &json!({})));
    for (headers, status) in
        [(upgrade.to_owned(), "400"), (format!("{key}{}", upgrade.replace("13", "8")), "426")]
    {
        let (head, _) = get(port, "/test/w", &headers);
        assert!(head.starts_with(&format!("http/1.1 {status}")), "{headers}: {head}");
    }
}

#[test]
fn d10_the_sse_sink_sends_to_its_path() {
    let instance = instance();
    let simulated =
        "CREATE STREAM ticks () WITH (TYPE=\"simulator\", EXTRA='{\"data\":[{\"a\":7}],\"interval\":10}')";
    instance.call("POST", "/streams", &[], &json!({"sql": simulated}).to_string());
    let rule = |id: &str, path: &str| {
        json!({"id": id, "sql": "SELECT a FROM ticks", "actions": [{"sse": {"path": path}}]}).to_string()
    };
    let refused = instance.call("POST", "/rules", &[], &rule("r", "out"));
    assert_eq!(refused.status, 400, "{}", refused.body);
    // A trial tells the port, which a rule opens as well.
    let port = prepare(&instance, &trial("t", "SELECT * FROM demo", &json!([{"a": 1}]), &json!({})));
    let made = instance.call("POST", "/rules", &[], &rule("r", "/out"));
    assert_eq!(made.status, 201, "{}", made.body);
    let (head, mut events) = get(port, "/out", "");
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert_eq!(event(&mut events), "[{\"a\":7}]");
}
