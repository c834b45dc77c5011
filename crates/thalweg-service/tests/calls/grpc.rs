//! gRPC.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, Response};
use serde_json::json;

use super::desk::{Desk, nearly_all_refused_at_once};

/// What goes back: a message, or a status with its text.
enum Reply {
    Message(Vec<u8>),
    Status(u8, &'static str),
    /// Nothing, ever.
    Never,
}

/// A server that gives a closure the path and the message of each call.
struct Server {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
    together: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

impl Server {
    fn start(desk: &Desk, answer: impl Fn(&str, &[u8]) -> Reply + Send + Sync + 'static) -> Self {
        Self::on(desk, TcpListener::bind("127.0.0.1:0").unwrap(), answer)
    }

    fn on(
        desk: &Desk,
        listener: TcpListener,
        answer: impl Fn(&str, &[u8]) -> Reply + Send + Sync + 'static,
    ) -> Self {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (connections, together) = (Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let (counted, most, answer) = (Arc::clone(&connections), Arc::clone(&together), Arc::new(answer));
        let task = desk.io.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let mut tasks = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
                tasks.spawn(serve(stream, Arc::clone(&answer), Arc::clone(&most)));
            }
        });
        Self { address, connections, together, task }
    }

    fn url(&self) -> String {
        format!("tcp://{}", self.address)
    }
}

async fn serve(
    stream: tokio::net::TcpStream,
    answer: Arc<impl Fn(&str, &[u8]) -> Reply + Send + Sync + 'static>,
    most: Arc<AtomicUsize>,
) {
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let open = Arc::new(AtomicUsize::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (answer, most, open) = (Arc::clone(&answer), Arc::clone(&most), Arc::clone(&open));
        most.fetch_max(open.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        tasks.spawn(async move {
            let path = request.uri().path().to_owned();
            assert_eq!(request.headers()["content-type"], "application/grpc");
            let (mut body, mut message) = (request.into_body(), Vec::new());
            while let Some(chunk) = body.data().await {
                let chunk = chunk.unwrap();
                message.extend_from_slice(&chunk);
                body.flow_control().release_capacity(chunk.len()).unwrap();
            }
            let head = Response::builder().header("content-type", "application/grpc");
            match answer(&path, &message[5..]) {
                Reply::Message(message) => {
                    let mut stream = respond.send_response(head.body(()).unwrap(), false).unwrap();
                    let mut framed = vec![0];
                    framed.extend_from_slice(&(message.len() as u32).to_be_bytes());
                    framed.extend_from_slice(&message);
                    stream.send_data(Bytes::from(framed), false).unwrap();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", "0".parse().unwrap());
                    stream.send_trailers(trailers).unwrap();
                }
                Reply::Status(status, text) => {
                    let head = head.header("grpc-status", status.to_string()).header("grpc-message", text);
                    respond.send_response(head.body(()).unwrap(), true).unwrap();
                }
                Reply::Never => std::future::pending::<()>().await,
            }
            open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// `Greeting { message }` of `Guest { name }`, which have the same form.
fn echo(_: &str, message: &[u8]) -> Reply {
    Reply::Message(message.to_vec())
}

#[test]
fn messages_go_out_and_come_back_by_the_schema() {
    let desk = Desk::new();
    let server = Server::start(&desk, |path, message| match path {
        "/desk.Desk/Sum" => {
            assert_eq!(message, [8, 1, 16, 2]);
            Reply::Message(vec![8, 3])
        }
        "/desk.Desk/Ready" => Reply::Message(vec![8, 1]),
        "/desk.Desk/Size" => Reply::Message(vec![8, message[1]]),
        "/desk.Desk/Forget" => Reply::Message(Vec::new()),
        _ => Reply::Message(message.to_vec()),
    });
    desk.desk("grpc", &server.url(), json!({}));
    assert_eq!(desk.call("Greet", r#"["bo"]"#), r#"{"message":"bo"}"#);
    assert_eq!(desk.call("Sum", "[1,2]"), "3");
    assert_eq!(desk.call("Ready", "[]"), "true");
    assert_eq!(desk.call("Size", r#"["b:abc"]"#), "3");
    assert_eq!(desk.call("Forget", r#"["a"]"#), "{}");
    assert_eq!(desk.call("Raw", r#"["x"]"#), r#""x""#);
    let everything = r#"[{"big_number":9007199254740993,"ratio":0.5,"series":[1,2.5],"data":"b:xy","color":1,
        "guest":{"name":"a"},"guests":[{"name":"b"},{}],"counts":{"k":3},"label":"l","flag":true}]"#;
    let wanted = concat!(
        r#"{"big_number":9007199254740993,"color":1,"counts":{"k":3},"data":"eHk=","flag":true,"guest":{"name":"a"},"#,
        r#""guests":[{"name":"b"},{"name":""}],"label":"l","ratio":0.5,"series":[1,2.5]}"#
    );
    assert_eq!(desk.call("Echo", everything), wanted);
    // Defaults are there, messages that are not are null, of a oneof there is only what was sent.
    let wanted = r#"{"big_number":0,"color":0,"counts":{},"data":"","guest":null,"guests":[],"label":null,"ratio":1,"series":[]}"#;
    assert_eq!(desk.call("Echo", r#"[{"ratio":1}]"#), wanted);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn calls_of_a_batch_share_a_connection_and_come_back_in_order() {
    let desk = Desk::new();
    let server = Server::start(&desk, echo);
    desk.desk("grpc", &server.url(), json!({"maxInFlight": 5}));
    let rows: Vec<String> = (0..300).map(|n| format!(r#"["n{n}"]"#)).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let wanted: Vec<String> = (0..300).map(|n| format!(r#"{{"message":"n{n}"}}"#)).collect();
    assert_eq!(desk.calls("Greet", &rows), wanted);
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    assert!(server.together.load(Ordering::SeqCst) <= 5);
}

#[test]
fn large_messages_pass_in_both_directions() {
    let desk = Desk::new();
    let server = Server::start(&desk, echo);
    desk.desk("grpc", &server.url(), json!({}));
    let long = "x".repeat(3 << 20);
    assert_eq!(desk.call("Greet", &format!(r#"["{long}"]"#)), format!(r#"{{"message":"{long}"}}"#));
}

#[test]
fn a_status_is_the_error_of_its_row_and_no_reason_to_stop_asking() {
    let desk = Desk::new();
    let server = Server::start(&desk, |path, message| match message {
        b"\x0a\x03bad" => Reply::Status(5, "no%20guest"),
        _ => echo(path, message),
    });
    desk.desk("grpc", &server.url(), json!({}));
    let mut rows = [r#"["bad"]"#; 20];
    rows[19] = r#"["good"]"#;
    let shown = desk.calls("Greet", &rows);
    let why = "error invoking method Greet in proto: rpc error: code = NotFound desc = no guest";
    assert_eq!(shown[0], format!("!call func Greet error: service s at {}: {why}", server.url()));
    assert_eq!(shown[18], shown[0]);
    assert_eq!(shown[19], r#"{"message":"good"}"#);
}

#[test]
fn a_service_that_went_away_is_found_again_without_a_restart() {
    let desk = Desk::new();
    let address = TcpListener::bind("127.81.13.9:0").unwrap().local_addr().unwrap();
    desk.desk("grpc", &format!("tcp://{address}"), json!({"timeout": 2000}));
    let started = Instant::now();
    let wait_for = |wanted: &dyn Fn(&str) -> bool, what: &str| loop {
        let shown = desk.call("Greet", r#"["a"]"#);
        if wanted(&shown) {
            return;
        }
        assert!(started.elapsed().as_secs() < 60, "waited for {what}: {shown}");
        std::thread::yield_now();
    };
    let shown = desk.calls("Greet", &[r#"["a"]"#; 1000]);
    assert!(shown[0].to_lowercase().contains("refused"), "{}", shown[0]);
    nearly_all_refused_at_once(&shown);
    for _ in 0..2 {
        let server = Server::on(&desk, TcpListener::bind(address).unwrap(), echo);
        wait_for(&|shown| shown == r#"{"message":"a"}"#, "the service to be back");
        server.task.abort();
        wait_for(&|shown| shown.starts_with('!'), "the service to be gone");
    }
}

#[test]
fn a_silent_service_costs_three_time_outs_not_one_a_row() {
    let desk = Desk::new();
    let server = Server::start(&desk, |_, _| Reply::Never);
    desk.desk("grpc", &server.url(), json!({"timeout": 200, "maxInFlight": 1}));
    let started = Instant::now();
    let shown = desk.calls("Greet", &[r#"["a"]"#; 300]);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert!(shown[0].ends_with("invoke Greet timeout: no answer within 200 ms"), "{}", shown[0]);
    nearly_all_refused_at_once(&shown);
}

#[test]
fn what_speaks_no_grpc_is_an_error_of_the_row() {
    let desk = Desk::new();
    let web = super::http::HttpServer::start(|_| super::http::json("{}"));
    desk.desk("grpc", &web.url().replace("http", "tcp"), json!({"timeout": 500}));
    let shown = desk.call("Greet", r#"["a"]"#);
    assert!(shown.starts_with("!call func Greet error: service s at tcp://"), "{shown}");
}
