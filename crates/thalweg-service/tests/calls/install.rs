//! Installing, updating and deleting.

use std::fs;
use std::io::Write;

use serde_json::json;
use thalweg_expr::registry::RemoteFunctions;
use thalweg_service::{InstallRequest, ServiceError};

use super::desk::{DESK, Desk, definition};
use super::http::{HttpServer, json as answer};

fn greeter(text: &'static str) -> HttpServer {
    HttpServer::start(move |_| answer(json!({ "message": text }).to_string()))
}

fn refused(result: Result<(), ServiceError>) -> String {
    match result {
        Err(ServiceError::Refused(why)) => why,
        other => panic!("{other:?} is no refusal"),
    }
}

#[test]
fn services_and_functions_are_described_as_upstream_does_and_survive_a_restart() {
    let desk = Desk::new();
    let mut text = definition("msgpack-rpc", "tcp://127.0.0.1:1", json!(null), "desk.proto");
    text["interfaces"]["i"]["functions"] = json!([{"name": "hello", "serviceName": "Greet"}]);
    text["about"]["description"] = json!({"en_US": "d"});
    desk.install("s", &[("s.json", &text.to_string()), ("schemas/desk.proto", DESK), ("README.md", "x")])
        .unwrap();
    let desk = desk.restarted();
    assert_eq!(desk.host.list(), ["s"]);
    let shown = serde_json::to_string(&desk.host.describe("s").unwrap()).unwrap();
    let wanted = concat!(
        r#"{"About":{"author":{"name":"we","email":"","company":"","website":""},"helpUrl":null,"description":{"en_US":"d","zh_CN":""}},"#,
        r#""Interfaces":{"i":{"Desc":null,"Addr":"tcp://127.0.0.1:1","Protocol":"msgpack-rpc","#,
        r#""Schema":{"SchemaType":"protobuf","SchemaFile":"desk.proto","Schemaless":false},"#,
        r#""Functions":["hello","Sum","Size","Ready","Raw","Echo","Forget"],"Options":null}}}"#
    );
    assert_eq!(shown, wanted);
    let function = serde_json::to_string(&desk.host.function("hello").unwrap()).unwrap();
    let wanted = r#"{"FuncName":"hello","ServiceName":"s","InterfaceName":"i","Addr":"tcp://127.0.0.1:1","MethodName":"Greet"}"#;
    assert_eq!(function, wanted);
    assert_eq!(desk.host.functions().len(), 7);
    let file = format!("file://{}/s.zip", desk.home.path().display());
    assert_eq!(desk.host.installed()["s"], json!({"name": "s", "file": file}).to_string());
    assert_eq!(desk.host.resolve("hello").unwrap().unwrap().host(), "service-s");
    assert!(desk.host.resolve("Greet").unwrap().is_none() && desk.host.resolve("HELLO").unwrap().is_none());
    assert!(!desk.services().join("README.md").exists());
}

#[test]
fn what_lies_in_the_folder_is_loaded_at_boot_and_what_is_wrong_there_is_left_out() {
    let server = greeter("boot");
    let desk = Desk::new();
    let schemas = desk.services().join("schemas/deep");
    fs::create_dir_all(&schemas).unwrap();
    fs::write(schemas.join("desk.proto"), DESK).unwrap();
    let good = definition("rest", &server.url(), json!({}), "deep/desk.proto");
    fs::write(desk.services().join("b.json"), good.to_string()).unwrap();
    // The same functions once more: the first by name has them.
    fs::write(desk.services().join("c.json"), good.to_string()).unwrap();
    fs::write(desk.services().join("a.json"), "{").unwrap();
    let desk = desk.restarted();
    assert_eq!(desk.host.list(), ["b"]);
    assert_eq!(desk.call("Greet", r#"["x"]"#), r#"{"message":"boot"}"#);
    // It was not installed: its schema stays.
    desk.host.delete("b").unwrap();
    assert!(schemas.join("desk.proto").exists() && !desk.services().join("b.json").exists());
}

#[test]
fn an_update_reaches_functions_that_are_in_use_and_a_bad_one_changes_nothing() {
    let (first, second) = (greeter("first"), greeter("second"));
    let desk = Desk::new();
    desk.desk("rest", &first.url(), json!({}));
    let held = desk.host.resolve("Greet").unwrap();
    assert_eq!(desk.call("Greet", r#"["x"]"#), r#"{"message":"first"}"#);
    let good = definition("rest", &second.url(), json!({}), "desk.proto").to_string();
    let bad = [("s.json", good.as_str()), ("schemas/desk.proto", "syntax = \"proto3\";\nmessage {")];
    let why = refused(desk.host.update(&desk.zip("s", &bad)));
    let wanted = "interface i: fail to parse schema file desk.proto: desk.proto:2:9: ";
    assert!(why.starts_with(wanted), "{why}");
    assert_eq!(desk.call("Greet", r#"["x"]"#), r#"{"message":"first"}"#);
    let desk = desk.restarted();
    assert_eq!(desk.call("Greet", r#"["x"]"#), r#"{"message":"first"}"#);
    // Only the definition changes: the schema that is there is found.
    desk.host.update(&desk.zip("s", &[("s.json", &good)])).unwrap();
    assert_eq!(desk.call("Greet", r#"["x"]"#), r#"{"message":"second"}"#);
    drop(held);
    let missing = InstallRequest { name: "other".to_owned(), file: String::new() };
    assert_eq!(desk.host.update(&missing), Err(ServiceError::NotFound("other".to_owned())));
}

#[test]
fn a_function_whose_service_is_deleted_fails_its_rows_until_it_is_back() {
    let server = greeter("here");
    let desk = Desk::new();
    desk.desk("rest", &server.url(), json!({}));
    let request = desk.zip(
        "s",
        &[
            ("s.json", &definition("rest", &server.url(), json!({}), "desk.proto").to_string()),
            ("schemas/desk.proto", DESK),
        ],
    );
    let function = desk.host.resolve("Greet").unwrap().unwrap();
    let call = || {
        let column = thalweg_core::Column::from_values([&thalweg_core::Value::text("x")]);
        let args = [thalweg_core::column::ColumnRef::borrowed(&column)];
        let (rows, mut out) = (thalweg_core::Selection::all(1), thalweg_core::Column::new());
        let metrics = thalweg_core::metrics::NodeMetrics::default();
        let cx = thalweg_expr::function::CallCx {
            rule: "r",
            node: "n",
            call_id: 0,
            now: thalweg_core::Timestamp(0),
            metrics: &metrics,
        };
        let frame = thalweg_expr::function::Frame { args: &args, rows: &rows, groups: None };
        function.call(&frame, &mut out, &cx);
        match out.cell(0) {
            thalweg_core::Cell::Error(why) => why.to_string(),
            _ => "answered".to_owned(),
        }
    };
    assert_eq!(call(), "answered");
    desk.host.delete("s").unwrap();
    assert_eq!(call(), "call func Greet error: no service offers it any more");
    assert!(!desk.services().join("schemas/desk.proto").exists());
    assert_eq!(desk.host.delete("s"), Err(ServiceError::NotFound("s".to_owned())));
    assert!(desk.host.resolve("Greet").unwrap().is_none());
    desk.host.install(&request).unwrap();
    assert_eq!(call(), "answered");
}

#[test]
fn packages_that_cannot_be_used_are_refused_and_leave_nothing() {
    let desk = Desk::new();
    let good = definition("rest", "http://127.0.0.1:1", json!({}), "a.proto").to_string();
    let rpc = "syntax = \"proto3\";\nimport \"google/protobuf/empty.proto\";\nservice S { rpc F(google.protobuf.Empty) returns (google.protobuf.Empty); }\n";
    let interface = |member: &str, value: serde_json::Value| {
        let mut changed = definition("rest", "http://127.0.0.1:1", json!({}), "a.proto");
        changed["interfaces"]["i"][member] = value;
        changed.to_string()
    };
    let two = {
        let mut both = definition("rest", "http://127.0.0.1:1", json!({}), "a.proto");
        both["interfaces"]["j"] = both["interfaces"]["i"].clone();
        both.to_string()
    };
    let http = |rule: &str| {
        format!(
            "syntax = \"proto3\";\nimport \"google/api/annotations.proto\";\nmessage M {{ M inner = 1; string a = 2; }}\nservice S {{ rpc F(M) returns (M) {{ option (google.api.http) = {{ {rule} }}; }} }}\n"
        )
    };
    let schema = "schemas/a.proto";
    for (files, why) in [
        (vec![(schema, rpc)], "cannot find the json descriptor file x.json for service"),
        (
            vec![("x/x.json", &*good), (schema, rpc)],
            "cannot find the json descriptor file x.json for service",
        ),
        (vec![("x.json", "{\"interfaces\":")], "parse services file x.json failed: "),
        (vec![("x.json", "{}")], "parse services file x.json failed: it has no \"interfaces\""),
        (
            vec![("x.json", &good)],
            "interface i: fail to parse schema file a.proto: it is neither in the package nor",
        ),
        (
            vec![("x.json", &good), (schema, "syntax = \"proto3\";\n\nmessage A { x y = 1; }")],
            "interface i: fail to parse schema file a.proto: a.proto:3:13: ",
        ),
        (
            vec![("x.json", &good), (schema, "syntax = \"proto3\";\nimport \"b.proto\";")],
            "interface i: fail to parse schema file a.proto: a.proto:2:1: import 'b.proto' not found",
        ),
        (vec![("x.json", &good), (schema, "syntax = \"proto3\";")], "interface i: its schema defines no rpc"),
        (
            vec![("x.json", &*interface("protocol", json!("soap"))), (schema, rpc)],
            "parse services file x.json failed: interface i: unsupported protocol soap",
        ),
        (
            vec![("x.json", &*interface("schemaFile", json!("../../etc/passwd"))), (schema, rpc)],
            "interface i: fail to parse schema file ../../etc/passwd: ../../etc/passwd: schema files are named by",
        ),
        (
            vec![("x.json", &*interface("options", json!({"timeout": 0}))), (schema, rpc)],
            "interface i: options: property \"timeout\" must be positive",
        ),
        (
            vec![("x.json", &*interface("options", json!({"maxInFlight": 1000}))), (schema, rpc)],
            "interface i: options: property \"maxInFlight\" must be from 1 to 256",
        ),
        (
            vec![("x.json", &*interface("options", json!({"headers": {"a b": "c"}}))), (schema, rpc)],
            "interface i: options: header \"a b\" is no valid header",
        ),
        (
            vec![("x.json", &*interface("options", json!({"insecureSkipVerify": "yes"}))), (schema, rpc)],
            "interface i: options: property \"insecureSkipVerify\" must be true or false",
        ),
        (vec![("x.json", &*two), (schema, rpc)], "function F is defined by interfaces i and j"),
        (
            vec![("x.json", &good), (schema, &*http("get: \"/a/{b}\""))],
            "interface i: rpc F: invalid uri /a/{b} in http option, b field not found",
        ),
        (
            vec![("x.json", &good), (schema, &*http("post: \"/a\" body: \"b\""))],
            "interface i: rpc F: invalid body b, field not found",
        ),
        (
            vec![("x.json", &good), (schema, &*http("get: \"/a\""))],
            "interface i: rpc F: field inner holds itself",
        ),
        (
            vec![("x.json", &good), (schema, &*http("get: \"/a\" response_body: \"a\""))],
            "interface i: rpc F: unsupported option response_body",
        ),
        (vec![("x.json", &*good), (schema, rpc), ("../evil.json", "{}")], "invalid entry ../evil.json: "),
        (
            vec![("x.json", &*good), (schema, rpc), ("schemas/../../evil.proto", "")],
            "invalid entry schemas/../../evil.proto: ",
        ),
        (
            vec![("x.json", &*good), (schema, rpc), ("/tmp/thalweg-evil.json", "{}")],
            "invalid entry /tmp/thalweg-evil.json: ",
        ),
    ] {
        let shown = refused(desk.install("x", &files));
        assert!(shown.starts_with(why), "{shown}\n  does not start with\n{why}");
    }
    for (file, why) in [
        ("ftp://a/b.zip", "invalid file path ftp://a/b.zip"),
        ("", "invalid file path "),
        ("file:///nowhere/x.zip", "fail to download file file:///nowhere/x.zip: "),
    ] {
        let request = InstallRequest { name: "x".to_owned(), file: file.to_owned() };
        let shown = refused(desk.host.install(&request));
        assert!(shown.starts_with(why), "{shown}");
    }
    let path = desk.home.path().join("no.zip");
    fs::write(&path, "no zip").unwrap();
    let request = InstallRequest { name: "x".to_owned(), file: format!("file://{}", path.display()) };
    assert!(refused(desk.host.install(&request)).starts_with("it is no zip file: "));
    assert!(desk.host.list().is_empty() && desk.host.functions().is_empty());
    let left: Vec<_> = fs::read_dir(desk.services()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    // The right one is taken, once, under a name of its own and with functions of its own.
    let right = [("x.json", &*good), (schema, rpc)];
    desk.install("x", &right).unwrap();
    assert_eq!(refused(desk.install("x", &right)), "service x exist");
    let shown = refused(desk.install("y", &[("y.json", &good), (schema, rpc)]));
    let wanted = "function F is already defined by service x; give it another name in \"functions\"";
    assert_eq!(shown, wanted);
}

#[test]
fn a_zip_that_unpacks_to_too_much_is_refused() {
    let desk = Desk::new();
    let path = desk.home.path().join("bomb.zip");
    let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    zip.start_file("schemas/a.proto", zip::write::SimpleFileOptions::default()).unwrap();
    let zeros = vec![b' '; 1 << 20];
    (0..40).for_each(|_| zip.write_all(&zeros).unwrap());
    zip.finish().unwrap();
    let request = InstallRequest { name: "x".to_owned(), file: format!("file://{}", path.display()) };
    assert_eq!(refused(desk.host.install(&request)), "its files are larger than 16 MB");
}

#[test]
fn a_schema_that_another_service_uses_is_not_replaced() {
    let desk = Desk::new();
    desk.desk("rest", "http://127.0.0.1:1", json!({}));
    let mut other = definition("rest", "http://127.0.0.1:1", json!({}), "other.proto");
    other["interfaces"]["i"]["functions"] = json!([{"name": "g", "serviceName": "G"}]);
    let schema = "syntax = \"proto3\";\nimport \"desk.proto\";\nservice O { rpc G(desk.Guest) returns (desk.Greeting); }";
    let changed = DESK.replace("string name = 1;", "string name = 2;");
    let files =
        [("o.json", &*other.to_string()), ("schemas/other.proto", schema), ("schemas/desk.proto", &changed)];
    let shown = refused(desk.install("o", &files));
    assert_eq!(shown, "schemas/desk.proto differs from the one that service s uses; rename it");
    // What is the same may come again, and is shared.
    let files =
        [("o.json", &*other.to_string()), ("schemas/other.proto", schema), ("schemas/desk.proto", DESK)];
    desk.install("o", &files).unwrap();
    desk.host.delete("s").unwrap();
    assert!(desk.services().join("schemas/desk.proto").exists());
    assert_eq!(desk.restarted().host.list(), ["o"]);
}

#[test]
fn files_outside_of_uploads_are_refused_when_they_must_be() {
    let desk = Desk::with(|config| config.allow_external_files = false);
    let why = refused(desk.install("s", &[("s.json", "{}")]));
    assert!(why.contains("file access denied: path must be under "), "{why}");
}

#[test]
fn calls_that_stream_are_no_functions() {
    let desk = Desk::new();
    let schema =
        "syntax = \"proto3\";\nmessage M { string a = 1; }\nservice S { rpc F(stream M) returns (M); }";
    desk.of("msgpack-rpc", "tcp://127.0.0.1:1", json!({}), ("a.proto", schema));
    let why = desk.host.resolve("F").unwrap_err().message;
    assert_eq!(why, "function F: rpc F streams; only calls with one answer can be functions");
}

#[test]
fn calls_that_only_read_may_be_left_out_where_the_schema_says_so() {
    let desk = Desk::new();
    let schema = "syntax = \"proto3\";\nimport \"google/api/annotations.proto\";\nmessage M { string a = 1; }\nservice S {
        rpc Plain(M) returns (M);
        rpc Get(M) returns (M) { option (google.api.http) = { get: \"/a\" }; }
        rpc Put(M) returns (M) { option (google.api.http) = { put: \"/a\" }; }
        rpc Reads(M) returns (M) { option idempotency_level = NO_SIDE_EFFECTS; }
    }";
    desk.of("rest", "http://127.0.0.1:1", json!({}), ("a.proto", schema));
    let may = |name: &str| desk.host.resolve(name).unwrap().unwrap().may_keep_state();
    assert_eq!(["Plain", "Get", "Put", "Reads"].map(may), [true, false, true, false]);
}
