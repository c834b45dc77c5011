//! Rules that call an external service: mosquitto → stream → rule → HTTP server of the test → mosquitto.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value as Json, json};
use thalweg_tests::http::Api;
use thalweg_tests::wait;

use crate::pipeline::{Plant, readings};

const SCHEMA: &str = r#"syntax = "proto3";
service Sums { rpc twice(Number) returns (Answer); }
message Number { int64 n = 1; }
message Answer { int64 twice = 1; string served = 2; }
"#;

/// A service that answers `{"n": 3}` with `{"twice": 6, "served": <its name>}`, until it is dropped.
struct Sums {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl Sums {
    fn start(name: &'static str, listener: TcpListener) -> Self {
        let address = listener.local_addr().expect("it listens");
        let ended = Arc::<AtomicBool>::default();
        let stop = Arc::clone(&ended);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let stop = Arc::clone(&stop);
                std::thread::spawn(move || serve(stream, name, &stop));
            }
        });
        Self { address, ended }
    }

    fn anywhere(name: &'static str) -> Self {
        Self::start(name, TcpListener::bind("127.0.0.1:0").expect("there are free ports"))
    }
}

impl Drop for Sums {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        drop(TcpStream::connect(self.address));
    }
}

/// Answers the requests of a connection; none once the service has ended.
fn serve(stream: TcpStream, name: &str, ended: &AtomicBool) -> Option<()> {
    let mut out = stream.try_clone().ok()?;
    let mut from = BufReader::new(stream);
    loop {
        let mut len = 0;
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).ok()? == 0 {
                return None;
            }
            match line.trim().to_lowercase().split_once("content-length:") {
                Some((_, value)) => len = value.trim().parse().ok()?,
                None if line.trim().is_empty() => break,
                None => {}
            }
        }
        let mut body = vec![0; len];
        from.read_exact(&mut body).ok()?;
        if ended.load(Ordering::SeqCst) {
            return None;
        }
        let asked: Json = serde_json::from_slice(&body).ok()?;
        // 64-bit integers are texts in protobuf's JSON; a zero is left out.
        let n: i64 = asked["n"].as_str().unwrap_or("0").parse().ok()?;
        let answer = json!({"twice": n * 2, "served": name}).to_string();
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length:";
        out.write_all(format!("{head} {}\r\n\r\n{answer}", answer.len()).as_bytes()).ok()?;
    }
}

/// The package of service `sums` at this address.
fn package(folder: &Path, address: SocketAddr) -> Json {
    let definition = json!({"interfaces": {"main": {
        "address": format!("http://{address}"), "protocol": "rest", "options": {"timeout": 5000},
        "schemaType": "protobuf", "schemaFile": "sums.proto",
    }}});
    let zip = folder.join(format!("sums-{}.zip", address.port()));
    let files = [("sums.json", &*definition.to_string()), ("schemas/sums.proto", SCHEMA)];
    thalweg_plugin::pack(&files, &zip).expect("the zip can be written");
    json!({"name": "sums", "file": format!("file://{}", zip.display())})
}

fn install(api: &Api, folder: &Path, address: SocketAddr) {
    api.post("/services", &package(folder, address)).is(201, "service sums is created");
}

#[test]
fn results_of_a_service_come_in_the_order_of_the_rows_and_an_update_reaches_running_rules() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let (first, second) = (Sums::anywhere("first"), Sums::anywhere("second"));
    install(plant.api(), folder.path(), first.address);
    plant.rule("r", "SELECT a, twice(a)->twice AS t, twice(a)->served AS served FROM demo");
    plant.mqtt.publish("in", &readings(0..400));
    let want: Vec<Json> = (0..400).map(|a| json!({"a": a, "t": a * 2, "served": "first"})).collect();
    assert_eq!(plant.mqtt.expect("out/r", 400), want);
    let update = package(folder.path(), second.address).to_string();
    plant.api().call("PUT", "/services/sums", &update).is(200, "service sums is updated");
    plant.mqtt.publish("in", &readings(400..401));
    let rows = plant.mqtt.expect("out/r", 401);
    assert_eq!(rows[400], json!({"a": 400, "t": 800, "served": "second"}));
    let status = plant.api().status("r");
    assert_eq!((&status["health"], &status["status"]), (&json!("ok"), &json!("running")), "{status:#}");
}

#[test]
fn a_dead_service_is_the_health_reason_of_its_rules_harms_no_others_and_is_found_again() {
    let Some(plant) = Plant::with_demo(&[]) else { return };
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    // Nobody else of this machine uses that address.
    let address = TcpListener::bind("127.81.14.1:0").and_then(|listener| listener.local_addr());
    let address = address.expect("there are free ports");
    install(plant.api(), folder.path(), address);
    plant.rule("r", "SELECT twice(a)->twice AS t FROM demo");
    plant.rule("other", "SELECT a FROM demo");
    plant.mqtt.publish("in", &readings(0..50));
    plant.mqtt.expect("out/other", 50);
    let status = plant.api().status_when("r", |status| status["health"] == "degraded");
    let hint = status["health_reasons"][0]["hint"].as_str().unwrap_or_default();
    let begin = format!("call func twice error: service sums at http://{address}: ");
    assert!(hint.contains(&begin), "{status:#}");
    assert_eq!(status["health_reasons"][0]["cause"], "eval", "{status:#}");
    let _back = Sums::start("back", TcpListener::bind(address).expect("the address is free again"));
    let row = wait::until("a result of the service", || {
        plant.mqtt.publish("in", &readings(3..4));
        plant.mqtt.messages("out/r").first().cloned()
    });
    assert_eq!(row, json!({"t": 6}));
}
