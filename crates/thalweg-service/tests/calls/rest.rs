//! REST: how calls become requests and answers become values.

use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Instant;

use serde_json::json;

use super::desk::{Desk, LIBRARY, nearly_all_refused_at_once};
use super::http::{Asked, HttpServer, json as answer};

/// Answers with the request itself: a greeting of `METHOD target body`.
fn mirror(asked: Asked) -> super::http::Reply {
    let text = format!("{} {} {}", asked.method, asked.target, asked.body);
    answer(json!({"message": text, "title": text}).to_string())
}

#[test]
fn without_annotation_the_message_is_posted_to_the_name_of_the_rpc() {
    let server = HttpServer::start(mirror);
    let desk = Desk::new();
    desk.desk("rest", &server.url(), json!({}));
    for (function, args, wanted) in [
        ("Greet", r#"["bo"]"#, r#"POST /Greet {"name":"bo"}"#),
        ("Greet", r#"[{"name":"bo","other":1}]"#, r#"POST /Greet {"name":"bo"}"#),
        ("Greet", r#"["b:bo"]"#, r#"POST /Greet {"name":"bo"}"#),
    ] {
        let wanted = json!({ "message": wanted }).to_string();
        assert_eq!(desk.call(function, args), wanted, "{args}");
    }
}

#[test]
fn every_kind_of_field_is_written_as_protobufs_json() {
    let seen = Arc::new(Mutex::new(String::new()));
    let noted = Arc::clone(&seen);
    let server = HttpServer::start(move |asked| {
        noted.lock().unwrap().clone_from(&asked.body);
        answer("{}")
    });
    let desk = Desk::new();
    desk.desk("rest", &server.url(), json!({}));
    let everything = r#"[{"big_number":9007199254740993,"ratio":0.5,"series":[1,2.5],"data":"b:xy","color":"RED",
        "guest":{"name":"a"},"guests":[{"name":"b"},{}],"counts":{"k":3},"label":"l","flag":true}]"#;
    assert_eq!(desk.call("Echo", everything), "{}");
    let sent: serde_json::Value = serde_json::from_str(&seen.lock().unwrap()).unwrap();
    let wanted = json!({"bigNumber":"9007199254740993","ratio":0.5,"series":[1.0,2.5],"data":"eHk=","color":"RED",
        "guest":{"name":"a"},"guests":[{"name":"b"},{}],"counts":{"k":3},"label":"l","flag":true});
    assert_eq!(sent, wanted);
    desk.call("Raw", r#"["{\"free\":1}"]"#);
    assert_eq!(*seen.lock().unwrap(), r#"{"free":1}"#);
    desk.call("Size", r#"["b:go"]"#);
    assert_eq!(*seen.lock().unwrap(), r#""Z28=""#);
}

#[test]
fn arguments_that_do_not_fit_are_errors_of_their_row_that_name_the_service() {
    let server = HttpServer::start(mirror);
    let desk = Desk::new();
    desk.desk("rest", &server.url(), json!({}));
    for (function, args, why) in [
        ("Greet", "[5]", "invalid type for string type field 'name': cannot convert int64(5) to string"),
        (
            "Greet",
            r#"[{"arbitrary":"x"}]"#,
            "invalid type for string type field 'name': cannot convert map[string]interface {}(map[arbitrary:x]) to string",
        ),
        ("Greet", "[]", "require 1 parameters but none"),
        ("Greet", "[1,2]", "require 1 parameters but only got 2"),
        ("Sum", "[1]", "require 2 parameters but only got 1"),
        ("Sum", "[1,null]", "invalid type for int type field 'right': cannot convert <nil>(<nil>) to int64"),
        (
            "Echo",
            r#"[{"series":["a"]}]"#,
            "failed to encode field 'series': element 0: cannot convert string(a) to float64",
        ),
        (
            "Echo",
            r#"[{"color":"BLUE"}]"#,
            "invalid type for int type field 'color': enum desk.Color has no value BLUE",
        ),
    ] {
        let wanted = format!("!call func {function} error: service s at {}: {why}", server.url());
        assert_eq!(desk.call(function, args), wanted, "{args}");
    }
    // The others of the batch are served.
    let shown = desk.calls("Greet", &[r#"["a"]"#, "[5]", r#"["b"]"#]);
    assert!(shown[0].contains("POST") && shown[1].starts_with('!') && shown[2].contains("POST"), "{shown:?}");
}

#[test]
fn annotations_say_method_path_query_and_body() {
    let server = HttpServer::start(mirror);
    let desk = Desk::new();
    desk.of("rest", &format!("{}/base/", server.url()), json!({}), ("library.proto", LIBRARY));
    for (function, args, wanted) in [
        ("AddShelf", r#"[{"id":7,"theme":"t"}]"#, r#"POST /base/v1/shelves {"id":"7","theme":"t"}"#),
        ("AddShelf", r#"[{"shelf":{"id":7}}]"#, r#"POST /base/v1/shelves {"id":"7"}"#),
        ("FindBook", "[3.0, 1541152486822]", "GET /base/v1/shelves/3/books/1541152486822 "),
        (
            "Search",
            r#"["w",2,["x","y z"],{"author":"ä&b"}]"#,
            "GET /base/v1/search/w?limit=2&tags=x&tags=y%20z&filter.author=%C3%A4%26b ",
        ),
        (
            "Search",
            r#"[{"word":"a/b?c","filter":{"year":0}}]"#,
            "GET /base/v1/search/a%2Fb%3Fc?limit=0&filter.author=&filter.year=0 ",
        ),
        ("ByName", r#"["books/a b"]"#, "GET /base/v1/books/a%20b "),
        ("Rename", r#"[5,"new"]"#, r#"PATCH /base/v1/books/5 {"newTitle":"new"}"#),
        ("Note", r#"[5,"n"]"#, r#"PUT /base/v1/notes/5 "n""#),
    ] {
        let shown: serde_json::Value = serde_json::from_str(&desk.call(function, args)).unwrap();
        assert_eq!(shown["title"], wanted, "{function} {args}");
    }
    let shown = desk.call("ByName", r#"["magazines/a"]"#);
    let wanted = "invalid field name(magazines/a) as http option, must have prefix books/";
    assert!(shown.ends_with(wanted), "{shown}");
}

#[test]
fn answers_are_read_by_the_schema() {
    let (reply, called) = (Arc::new(Mutex::new(answer("{}"))), Arc::new(AtomicUsize::new(0)));
    let (next, counted) = (Arc::clone(&reply), Arc::clone(&called));
    let server = HttpServer::start(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        next.lock().unwrap().clone()
    });
    let desk = Desk::new();
    desk.desk("rest", &server.url(), json!({}));
    let json_kind = "application/json; charset=utf-8";
    for (function, args, given, wanted) in [
        ("Greet", r#"["a"]"#, (200, json_kind, r#"{"message":"m","unknown":1}"#), r#"{"message":"m"}"#),
        ("Greet", r#"["a"]"#, (201, json_kind, "{}"), "{}"),
        (
            "Echo",
            "[{}]",
            (200, json_kind, r#"{"big_number":1.0,"color":"RED","data":"xy","series":[1]}"#),
            r#"{"big_number":1,"color":1,"data":"eHk=","series":[1]}"#,
        ),
        (
            "Echo",
            "[{}]",
            (200, json_kind, r#"{"bigNumber":"12","counts":{"k":1},"guests":[{"name":"a"}]}"#),
            r#"{"big_number":12,"counts":{"k":1},"guests":[{"name":"a"}]}"#,
        ),
        ("Ready", "[]", (200, "text/plain", "true"), "true"),
        ("Ready", "[]", (200, json_kind, "false"), "false"),
        ("Raw", r#"["{}"]"#, (200, "text/plain; charset=utf-8", "name1"), r#""name1""#),
        ("Sum", "[1,2]", (200, "text/plain", " 3\n"), "3"),
        ("Forget", r#"["a"]"#, (204, "", ""), "{}"),
        (
            "Greet",
            r#"["a"]"#,
            (200, json_kind, r#"{"message":65}"#),
            "!invalid type of return value for 'message': cannot convert int64(65) to string",
        ),
        (
            "Greet",
            r#"["a"]"#,
            (200, json_kind, "[1]"),
            "!fail to convert return val, must be a map but got [1]",
        ),
        ("Greet", r#"["a"]"#, (200, json_kind, "{"), "!its answer is no JSON: "),
        (
            "Greet",
            r#"["a"]"#,
            (200, "text/plain", "hi"),
            "!fail to convert return val to text, return type must be primitive type but got Greeting",
        ),
        ("Greet", r#"["a"]"#, (200, "text/html", "hi"), "!unsupported response content type text/html"),
        ("Greet", r#"["a"]"#, (500, "text/html", "oh no"), "!http return code: 500 and error message oh no"),
    ] {
        *reply.lock().unwrap() = (given.0, given.1, given.2.to_owned());
        // `Echo` without fields: an empty object is no message with fields, so one is given.
        let args = if args == "[{}]" { r#"[{"ratio":1}]"# } else { args };
        let shown = desk.call(function, args);
        let titled = format!("!call func {function} error: service s at {}: ", server.url());
        match wanted.strip_prefix('!') {
            Some(why) => assert!(shown.starts_with(&(titled + why)), "{given:?}: {shown}"),
            None => assert_eq!(shown, wanted, "{given:?}"),
        }
    }
    // Errors of the service are no reason not to ask it.
    assert_eq!(called.load(Ordering::SeqCst), 15);
}

#[test]
fn without_schema_the_function_has_the_interfaces_name_and_takes_method_and_path() {
    let server = HttpServer::start(mirror);
    let desk = Desk::new();
    let definition = json!({"interfaces": {"free": {
        "address": server.url(), "protocol": "rest", "schemaless": true,
        "options": {"headers": {"X-Key": "k"}},
    }}});
    desk.install("s", &[("s.json", &definition.to_string())]).unwrap();
    let shown = desk.call("free", r#"["post","/a?b=c",{"x":1}]"#);
    assert!(shown.contains(r#"POST /a?b=c {\"x\":1}"#), "{shown}");
    let shown = desk.call("free", r#"["get","/a"]"#);
    assert!(shown.contains("GET /a \""), "{shown}");
}

#[test]
fn configured_headers_are_sent_and_connections_are_kept() {
    let server = HttpServer::start(|asked| {
        let names = ["x-key", "content-type", "accept-charset"];
        let text: Vec<_> = names.iter().map(|name| asked.header(name).unwrap_or("-")).collect();
        answer(json!({"message": text.join(" ")}).to_string())
    });
    let desk = Desk::new();
    let headers = json!({"headers": {"X-Key": "secret", "Accept-Charset": "utf-8"}, "maxInFlight": 1});
    desk.desk("rest", &server.url(), headers);
    let wanted = r#"{"message":"secret application/json utf-8"}"#;
    for _ in 0..5 {
        assert_eq!(desk.calls("Greet", &[r#"["a"]"#; 4]), [wanted; 4]);
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}

#[test]
fn calls_of_a_batch_are_under_way_together_and_come_back_in_order() {
    // Nobody is answered until four have asked.
    let together = Barrier::new(4);
    let server = HttpServer::start(move |asked| {
        together.wait();
        let name: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
        answer(json!({"message": name["name"]}).to_string())
    });
    let desk = Desk::new();
    desk.desk("rest", &server.url(), json!({"maxInFlight": 4}));
    let names: Vec<String> = (0..40).map(|at| format!(r#"["n{at}"]"#)).collect();
    let rows: Vec<&str> = names.iter().map(String::as_str).collect();
    let wanted: Vec<String> = (0..40).map(|at| format!(r#"{{"message":"n{at}"}}"#)).collect();
    assert_eq!(desk.calls("Greet", &rows), wanted);
}

/// An address at which nobody else of this machine listens or connects from.
fn dead() -> std::net::SocketAddr {
    TcpListener::bind("127.81.13.7:0").unwrap().local_addr().unwrap()
}

#[test]
fn a_dead_service_costs_no_time_for_each_row_and_is_found_again_when_it_is_back() {
    let address = dead();
    let desk = Desk::new();
    desk.desk("rest", &format!("http://{address}"), json!({"timeout": 2000}));
    let started = Instant::now();
    let shown = desk.calls("Greet", &[r#"["a"]"#; 1000]);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    let titled = format!("!call func Greet error: service s at http://{address}: ");
    assert!(shown.iter().all(|shown| shown.starts_with(&titled)), "{}", shown[0]);
    assert!(shown[0].to_lowercase().contains("refused"), "{}", shown[0]);
    nearly_all_refused_at_once(&shown);
    let _server = HttpServer::on(TcpListener::bind(address).unwrap(), mirror);
    let back = std::iter::repeat_with(|| desk.call("Greet", r#"["a"]"#)).find(|shown| {
        std::thread::yield_now();
        !shown.starts_with('!') || started.elapsed().as_secs() > 60
    });
    assert!(back.as_deref().is_some_and(|shown| shown.contains("POST /Greet")), "{back:?}");
}

#[test]
fn a_service_that_does_not_answer_costs_three_time_outs_not_one_a_row() {
    // It accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let desk = Desk::new();
    desk.desk("rest", &format!("http://{address}"), json!({"timeout": "200ms", "maxInFlight": 1}));
    let started = Instant::now();
    let shown = desk.calls("Greet", &[r#"["a"]"#; 500]);
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
    assert!(shown[0].ends_with("no answer within 200 ms"), "{}", shown[0]);
    nearly_all_refused_at_once(&shown);
}

#[test]
fn what_fails_on_the_way_is_tried_again_when_asked_for() {
    let count = AtomicUsize::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        // The first connection ends without an answer, the others are served by hand.
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                continue;
            }
            let mut from = std::io::BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            while std::io::BufRead::read_line(&mut from, &mut line).is_ok_and(|n| n > 2) {}
            let mut stream = stream;
            let text = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4\r\nConnection: close\r\n\r\ntrue";
            std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
        }
    });
    let desk = Desk::new();
    desk.desk("rest", &format!("http://{address}"), json!({"retryCount": 3, "retryInterval": "1ms"}));
    assert_eq!(desk.call("Ready", "[]"), "true");
}

#[test]
fn n6_7_private_addresses_are_refused_when_the_guard_is_on() {
    let server = HttpServer::start(mirror);
    let desk = Desk::with(|config| config.allow_private_net = false);
    desk.desk("rest", &server.url(), json!({}));
    let shown = desk.call("Greet", r#"["a"]"#);
    assert!(shown.contains("ip 127.0.0.1 is in internal network"), "{shown}");
    let desk = Desk::new();
    desk.desk("rest", "http://169.254.169.254", json!({}));
    let shown = desk.call("Greet", r#"["a"]"#);
    assert!(shown.contains("ip 169.254.169.254 is in internal network"), "{shown}");
}

/// Makes a certificate that nobody has signed.
fn certificate(folder: &std::path::Path) -> bool {
    let mut command = std::process::Command::new("openssl");
    let arguments =
        "req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=127.0.0.1";
    command.args(arguments.split(' ')).current_dir(folder);
    command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[test]
fn certificates_are_checked_unless_told_otherwise() {
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    let folder = tempfile::tempdir().unwrap();
    if !certificate(folder.path()) {
        println!("skipped: openssl is not installed");
        return;
    }
    let chain = vec![CertificateDer::from_pem_file(folder.path().join("cert.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(folder.path().join("key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = Arc::new(config.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let session = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            super::http::serve(rustls::StreamOwned::new(session, stream), &mirror);
        }
    });
    for (options, wanted) in
        [(json!({}), "certificate"), (json!({"insecureSkipVerify": true}), "POST /Greet")]
    {
        let desk = Desk::new();
        desk.desk("rest", &url, options);
        let shown = desk.call("Greet", r#"["a"]"#);
        assert!(shown.contains(wanted), "{shown}");
    }
}
