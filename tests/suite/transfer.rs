//! Everything that is defined, out of one engine and into another (`rest-api.md` 14).

use std::path::Path;
use std::thread;

use serde_json::{Value as Json, json};
use thalweg_tests::instance::Instance;
use thalweg_tests::processes::{Engine, signal};
use thalweg_tests::wait;

const EMPTY: &str = r#"{"streams":{},"tables":{},"rules":{},"nativePlugins":{},"portablePlugins":{},"sourceConfig":{},"sinkConfig":{},"connectionConfig":{},"Service":{},"Schema":{},"uploads":{},"scripts":{}}"#;

fn instance() -> Instance {
    Instance::start(None, &[], |_| {})
}

/// A call that works.
fn done(instance: &Instance, method: &str, path: &str, body: &Json) -> String {
    let answer = instance.call(method, path, &[("content-type", "application/json")], &body.to_string());
    assert!((200..300).contains(&answer.status), "{method} {path} {body}: {}", answer.body);
    answer.body
}

fn exported(instance: &Instance) -> Json {
    let answer = instance.call("GET", "/data/export", &[], "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(answer.header("content-disposition"), Some("Attachment"));
    serde_json::from_str(&answer.body).expect("it is JSON")
}

/// The answer to a document.
fn import(instance: &Instance, how: &str, document: &Json) -> (u16, Json) {
    let body = json!({"content": document.to_string()}).to_string();
    let answer = instance.call("POST", &format!("/data/import{how}"), &[], &body);
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"), "{}", answer.body);
    (answer.status, serde_json::from_str(&answer.body).expect("it is JSON"))
}

/// What failed, out of a refusal.
fn failures(answer: &Json) -> Json {
    assert_eq!(answer["error"], 1000, "{answer}");
    serde_json::from_str(answer["message"].as_str().expect("a text")).expect("JSON inside a text")
}

fn stream(name: &str) -> String {
    format!(r#"CREATE STREAM {name} () WITH (DATASOURCE="{name}", TYPE="memory")"#)
}

fn rule(id: &str, sql: &str) -> String {
    json!({"id": id, "sql": sql, "actions": [{"nop": {}}]}).to_string()
}

fn service(folder: &Path) -> String {
    let definition = json!({"interfaces": {"transferItf": {
        "address": "http://127.0.0.1:1", "protocol": "rest", "schemaType": "protobuf",
        "schemaFile": "transfer.proto", "functions": [{"name": "transferLabel", "serviceName": "Label"}],
    }}});
    let schema = "syntax = \"proto3\";\nmessage Text { string text = 1; }\nservice Labels { rpc Label(Text) returns (Text); }\n";
    let zip = folder.join("transfer.zip");
    let files = [("transfer.json", definition.to_string()), ("schemas/transfer.proto", schema.to_owned())];
    let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    thalweg_plugin::pack(&files, &zip).expect("the zip can be written");
    format!("file://{}", zip.display())
}

/// One of everything that needs no other program.
fn fill(instance: &Instance, folder: &Path) {
    done(instance, "POST", "/config/uploads", &json!({"name": "a/b.txt", "content": "hello <x>"}));
    let script = json!({"id": "twice", "description": "d", "script": "function twice(a) { return 2 * a }"});
    done(instance, "POST", "/udf/javascript", &script);
    done(instance, "POST", "/services", &json!({"name": "transfer", "file": service(folder)}));
    let schema =
        json!({"name": "book", "content": "syntax = \"proto3\";\nmessage Book { string title = 1; }\n"});
    done(instance, "POST", "/schemas/protobuf", &schema);
    done(instance, "PUT", "/metadata/sources/simulator/confKeys/fast", &json!({"interval": 10}));
    done(instance, "PUT", "/metadata/sinks/mqtt/confKeys/home", &json!({"server": "tcp://127.0.0.1:1"}));
    let props = json!({"server": "tcp://127.0.0.1:1", "protocolVersion": "3.1.1"});
    done(instance, "POST", "/connections", &json!({"id": "c1", "typ": "mqtt", "props": props}));
    let simulated = r#"CREATE STREAM other () WITH (TYPE="simulator", CONF_KEY="fast")"#;
    for sql in [stream("demo").as_str(), simulated, &stream("lonely")] {
        done(instance, "POST", "/streams", &json!({ "sql": sql }));
    }
    let table = r#"CREATE TABLE known () WITH (DATASOURCE="known", TYPE="memory", KIND="lookup", KEY="id")"#;
    done(instance, "POST", "/tables", &json!({ "sql": table }));
    for text in [
        rule("r1", "SELECT twice(a) AS b FROM demo"),
        rule("r2", "SELECT transferLabel(a) AS b FROM other INNER JOIN known ON other.id = known.id"),
    ] {
        let document: Json = serde_json::from_str(&text).expect("JSON");
        done(instance, "POST", "/rules", &document);
    }
}

#[test]
fn what_one_engine_exports_another_one_imports_and_exports_again() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let from = instance();
    assert_eq!(from.call("GET", "/data/export", &[], "").body, EMPTY);
    fill(&from, folder.path());
    let document = exported(&from);
    assert_eq!(document["streams"]["demo"], stream("demo"));
    assert_eq!(document["sourceConfig"]["simulator"], r#"{"fast":{"interval":"10ms"}}"#);
    assert_eq!(document["uploads"]["a/b.txt"], r#"{"name":"a/b.txt","content":"hello <x>"}"#);
    for section in ["Service", "Schema", "scripts", "tables", "sinkConfig", "connectionConfig"] {
        assert_eq!(document[section].as_object().map(serde_json::Map::len), Some(1), "{section}");
    }
    let to = instance();
    done(&to, "POST", "/streams", &json!({"sql": stream("gone")}));
    let (status, answer) = import(&to, "", &document);
    assert_eq!((status, &answer["ErrorMsg"]), (200, &json!("")), "{answer}");
    assert_eq!(answer["ConfigResponse"].to_string().len(), EMPTY.len(), "twelve empty sections: {answer}");
    assert_eq!(exported(&to), document, "and what was there before is gone");
    assert_eq!(to.call("GET", "/rules/r1/status", &[], "").status, 200);
    let upload = std::fs::read_to_string(to.home().join("data/uploads/a/b.txt"));
    assert_eq!(upload.expect("it is there"), "hello <x>");
    assert!(to.call("GET", "/connections", &[], "").body.contains("c1"));
}

#[test]
fn rules_are_exported_with_what_they_use_and_all_connections_and_uploads() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let from = instance();
    fill(&from, folder.path());
    let of = |body: &str| -> Json {
        let answer = from.call("POST", "/data/export", &[], body);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
        serde_json::from_str(&answer.body).expect("it is JSON")
    };
    let names = |document: &Json, section: &str| -> Vec<String> {
        document[section].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect()
    };
    let first = of(r#"["r1","r9"]"#);
    assert_eq!(first["rules"]["r9"], "", "an unknown rule");
    assert_eq!(
        (names(&first, "streams"), names(&first, "scripts")),
        (vec!["demo".into()], vec!["twice".into()])
    );
    assert_eq!((names(&first, "tables"), names(&first, "Service")), (vec![], vec![]));
    let second = of(r#"["r2"]"#);
    assert_eq!(
        (names(&second, "streams"), names(&second, "tables")),
        (vec!["other".into()], vec!["known".into()])
    );
    assert_eq!((names(&second, "Service"), names(&second, "scripts")), (vec!["transfer".into()], vec![]));
    assert_eq!(second["sourceConfig"]["simulator"], r#"{"fast":{"interval":"10ms"}}"#);
    assert_eq!(names(&second, "sinkConfig"), [] as [&str; 0]);
    for document in [&first, &second, &of("{"), &of(""), &of("5"), &of("[1]")] {
        let common = (names(document, "connectionConfig"), names(document, "uploads"));
        assert_eq!(common, (vec!["mqtt".into()], vec!["a/b.txt".into()]));
    }
    assert_eq!(names(&of("{"), "rules"), [] as [&str; 0], "what cannot be read is no rule");
}

#[test]
fn bad_bodies_are_refused_and_change_nothing() {
    let instance = instance();
    done(&instance, "POST", "/streams", &json!({"sql": stream("demo")}));
    let before = exported(&instance);
    let content = |text: &str| json!({ "content": text }).to_string();
    let traversal = json!({"file": "file:///etc/../no/such/../file.json"}).to_string();
    for path in ["/data/import", "/data/import?partial=1", "/data/import?stop=1", "/ruleset/import"] {
        let whole = "configuration unmarshal with error";
        let cases = [
            ("", "Invalid body: Error decoding json: EOF".to_owned()),
            ("{", "Invalid body: Error decoding json: ".to_owned()),
            ("5", "Invalid body: Error decoding json: ".to_owned()),
            ("{}", "Invalid body: must specify content or file: bad request".to_owned()),
            (r#"{"content":""}"#, "Invalid body: must specify content or file: bad request".to_owned()),
            (
                r#"{"content":"{}","file":"x"}"#,
                "Invalid body: Cannot specify both content and file: bad request".to_owned(),
            ),
            (r#"{"content":5}"#, "Invalid body: ".to_owned()),
            (&content("{"), whole.to_owned()),
            (&content("[]"), whole.to_owned()),
            (&traversal, "fail to get file".to_owned()),
            (r#"{"file":"../../etc/passwd"}"#, "fail to get file".to_owned()),
        ];
        for (body, message) in cases {
            let answer = instance.call("POST", path, &[], body);
            let error: Json = serde_json::from_str(&answer.body).expect("the usual shape");
            let said = error["message"].as_str().unwrap_or_default();
            assert_eq!((answer.status, &error["error"]), (400, &json!(1000)), "{path} {body}: {said}");
            assert!(said.starts_with(&message), "{path} {body}: {said}");
        }
        for members in [r#"{"streams":5}"#, r#"{"rules":{"r":{}}}"#, r#"{"Schema":[]}"#] {
            if path != "/ruleset/import" {
                let answer = instance.call("POST", path, &[], &content(members));
                assert!(answer.body.contains("configuration unmarshal with error"), "{}", answer.body);
            }
        }
    }
    assert_eq!(exported(&instance), before, "nothing was removed before it was read");
}

#[test]
fn what_fails_is_told_for_each_section_and_the_rest_is_imported() {
    let instance = instance();
    let document = json!({
        "streams": {"demo": "CREATE STWREAM demo () WITH ()", "good": stream("good"), "x": stream("y")},
        "tables": {"t": "DROP TABLE t"},
        "rules": {"r1": rule("r1", "SELECT a FROM nowhere"), "r2": rule("r2", "SELECT a FROM good"), "r3": "{",
                  "r4": rule("r2", "SELECT a FROM good"), "a b": rule("a b", "SELECT a FROM good")},
        "nativePlugins": {"sources_random": "{}", "sinks_own": "{}"},
        "portablePlugins": {"transferp": r#"{"name":"transferp","file":"file:///no/such.zip"}"#, "q": "5"},
        "sourceConfig": {"simulator": r#"{"k":{"interval":[]},"ok":{"interval":"1s"}}"#, "edgex": r#"{"k":{"a":1}}"#},
        "sinkConfig": {"mqtt": "{", "../x": r#"{"k":{}}"#},
        "connectionConfig": {"mqtt": r#"{"c":5}"#, "edgex": r#"{"e":{"host":"h"}}"#},
        "Service": {"s": r#"{"name":"s","file":"file:///no/such.zip"}"#, "../s": "{}"},
        "uploads": {"../up": r#"{"name":"../up","content":"x"}"#, "u": r#"{"name":"u"}"#},
        "Schema": {"avro_s": "{}", "protobuf_s": "{}", "protobuf_../s": "{}", "protobuf_wrong": r#"{"content":"x"}"#},
        "scripts": {"f": r#"{"id":"f","script":"function("}"#, "g": r#"{"id":"other","script":""}"#},
    });
    let (status, answer) = import(&instance, "", &document);
    assert_eq!(status, 400, "{answer}");
    let failed = failures(&answer);
    for (section, name, part) in [
        ("streams", "demo", "found \"STWREAM\", expected keyword stream or table."),
        ("streams", "x", "the sql statement must update the x source"),
        ("tables", "t", "must be a CREATE statement"),
        ("rules", "r1", "nowhere"),
        ("rules", "r3", "Invalid rule json: "),
        ("rules", "r4", "RuleId is not consistent with rule id."),
        ("rules", "a b", "invalid characters"),
        ("portablePlugins", "transferp", "fail to download file"),
        ("portablePlugins", "q", "it is no request"),
        ("sourceConfig", "simulator", "k: "),
        ("sinkConfig", "mqtt", "it must be an object"),
        ("sinkConfig", "../x", "cannot be the name"),
        ("connectionConfig", "mqtt", "c: it must be an object, not 5"),
        ("Service", "s", "fail to download file"),
        ("Service", "../s", "invalid characters"),
        ("uploads", "../up", "must be a path below data/uploads"),
        ("uploads", "u", "content or FilePath is required"),
        ("Schema", "avro_s", "unsupported schema avro_s"),
        ("Schema", "protobuf_s", "either content or file"),
        ("Schema", "protobuf_../s", "invalid characters"),
        ("Schema", "protobuf_wrong", ""),
        ("scripts", "f", ""),
        ("scripts", "g", "its id is \"other\", not \"g\""),
    ] {
        let why = failed[section][name].as_str();
        assert!(why.is_some_and(|why| why.contains(part)), "{section} {name}: {why:?}");
    }
    assert_eq!(failed["nativePlugins"], json!({}), "skipped in a full import");
    let told: Vec<String> = answer["differs"].as_array().into_iter().flatten().map(Json::to_string).collect();
    for part in
        ["simulator is built in", "sinks_own", "no source of type edgex", "no connections of type edgex"]
    {
        assert!(told.iter().any(|told| told.contains(part)), "{part}: {told:?}");
    }
    // GET /data/import/status has the errors of every section, where upstream shows what is installed.
    let kept = instance.call("GET", "/data/import/status", &[], "");
    assert_eq!((kept.status, kept.header("content-type")), (200, Some("application/json")));
    let mut kept: Json = serde_json::from_str(&kept.body).expect("JSON");
    assert!(kept.as_object_mut().expect("an object").remove("Differs").is_some());
    assert_eq!(kept, failed);
    let there = exported(&instance);
    assert_eq!(
        (&there["streams"], there["rules"].as_object().map(serde_json::Map::len)),
        (&json!({"good": stream("good")}), Some(1))
    );
    assert!(there["sourceConfig"]["simulator"].as_str().is_some_and(|text| text.contains("ok")));
    assert!(!instance.home().join("data/up").exists());
}

#[test]
fn a_partial_import_keeps_what_is_there_and_minds_versions() {
    let instance = instance();
    let status = || instance.call("GET", "/data/import/status", &[], "").body;
    assert_eq!(status(), EMPTY, "before any import");
    let versioned = |version: &str| {
        format!(r#"CREATE STREAM demo () WITH (DATASOURCE="{version}", TYPE="memory", VERSION="{version}")"#)
    };
    let of = |version: &str, sql: &str| {
        json!({"id": "r1", "version": version, "sql": sql, "actions": [{"nop": {}}]}).to_string()
    };
    let document = |version: &str| {
        let sql = format!("SELECT {version} AS v FROM demo");
        json!({"streams": {"demo": versioned(version)}, "rules": {"r1": of(version, &sql)}})
    };
    done(&instance, "POST", "/streams", &json!({"sql": stream("kept")}));
    assert_eq!(import(&instance, "?partial=1", &document("2")).0, 200);
    assert_eq!(import(&instance, "?partial=1&stop=1", &document("3")).0, 200, "stop means nothing beside it");
    let (code, answer) = import(&instance, "?partial=1", &document("1"));
    let failed = failures(&answer);
    assert_eq!(code, 400);
    assert!(failed["streams"]["demo"].as_str().is_some_and(|why| why.contains("new version (1) is lower")));
    assert!(failed["rules"]["r1"].as_str().is_some_and(|why| why.contains("new version (1) is lower")));
    let there = exported(&instance);
    assert_eq!(
        (&there["streams"]["demo"], &there["streams"]["kept"]),
        (&json!(versioned("3")), &json!(stream("kept")))
    );
    assert_eq!(status(), EMPTY, "it is about full imports");
    let native = json!({"nativePlugins": {"sinks_own": "{}", "functions_geohash": "{}"}});
    let (code, answer) = import(&instance, "?partial=true", &native);
    assert_eq!(code, 200, "only 1 counts, so this one was a full one: {answer}");
    assert_eq!(exported(&instance)["streams"], json!({}));
    let (code, answer) = import(&instance, "?partial=1", &native);
    let failed = failures(&answer);
    assert_eq!(
        (code, failed["nativePlugins"].as_object().map(serde_json::Map::len)),
        (400, Some(1)),
        "{failed}"
    );
}

#[test]
fn what_has_no_effect_here_is_told_beside_upstreams_answer() {
    let instance = instance();
    let text = json!({
        "id": "r1", "sql": "SELECT a FROM demo", "actions": [{"mqtt": {"server": "tcp://127.0.0.1:1", "topic": "t", "retainedd": true}}],
        "options": {"concurrency": 4, "notifySub": true}, "triggered": false,
    });
    let document = json!({
        "streams": {"demo": stream("demo"), "edge": r#"CREATE STREAM edge () WITH (TYPE="edgex")"#},
        "rules": {"r1": text.to_string()},
        "sourceConfig": {"mqtt": r#"{"old":{"servers":["tcp://127.0.0.1:1"]}}"#},
    });
    let (status, answer) = import(&instance, "", &document);
    assert_eq!((status, &answer["ErrorMsg"]), (200, &json!("")), "{answer}");
    let told: Vec<(String, String, String)> = answer["Differs"]
        .as_array()
        .expect("there are some")
        .iter()
        .map(|told| {
            ["section", "name", "text"].map(|name| told[name].as_str().unwrap_or_default().to_owned())
        })
        .map(|[section, name, text]| (section, name, text))
        .collect();
    for (section, name, part) in [
        ("rules", "r1", "option concurrency has no effect"),
        ("rules", "r1", "option notifySub has no effect"),
        ("rules", "r1", "unknown property retainedd has no effect"),
        ("streams", "edge", "there is no source of type edgex here"),
        ("sourceConfig", "mqtt", "old: unknown property servers has no effect (did you mean server?)"),
    ] {
        let is_told = told.iter().any(|(of, at, text)| of == section && at == name && text.contains(part));
        assert!(is_told, "{section} {name} {part}: {told:#?}");
    }
}

/// A task as soon as it is over.
fn over(instance: &Instance, id: &str) -> Json {
    wait::until("the end of an import", || {
        let answer = instance.call("GET", &format!("/async/task/{id}"), &[], "");
        assert_eq!(answer.all().0, 200, "{}", answer.body);
        let task: Json = serde_json::from_str(&answer.body).expect("JSON");
        let is_over = !["register", "running"].contains(&task["status"].as_str().unwrap_or_default());
        is_over.then_some(task)
    })
}

#[test]
fn an_import_in_the_background_is_a_task_with_its_result() {
    let instance = instance();
    let begin = |document: &Json| {
        let body = json!({"content": document.to_string()}).to_string();
        // One a second, as upstream.
        let answer = wait::until("another second", || {
            let answer = instance.call("POST", "/async/data/import?partial=1", &[], &body);
            (answer.status == 200).then_some(answer)
        });
        let begun: Json = serde_json::from_str(&answer.body).expect("JSON");
        let id = begun["id"].as_str().expect("an id").to_owned();
        assert!(id.strip_prefix("dataImport-").is_some_and(|rest| rest.parse::<u64>().is_ok()), "{id}");
        id
    };
    let good = begin(&json!({"streams": {"demo": stream("demo")}}));
    let task = over(&instance, &good);
    assert_eq!((&task["status"], &task["id"]), (&json!("finish"), &json!(good)));
    let message: Json = serde_json::from_str(task["message"].as_str().expect("a text")).expect("JSON");
    assert_eq!((&message["ErrorMsg"], &message["ConfigResponse"]["streams"]), (&json!(""), &json!({})));
    let created = task["createdTimestamp"].as_i64().expect("a number");
    assert_eq!(good, format!("dataImport-{created}"));
    assert!(task["updatedTimestamp"].as_i64() >= Some(created));
    let bad = begin(&json!({"streams": {"x": "CREATE"}}));
    let task = over(&instance, &bad);
    assert_eq!(task["status"], "error");
    let message = task["message"].as_str().expect("a text");
    assert!(message.starts_with("err:process error, response:{\"ErrorMsg\":\"process error\""), "{message}");
    let cancel = instance.call("POST", &format!("/async/task/{bad}/cancel"), &[], "");
    assert_eq!(cancel.all(), (200, "text/plain; charset=utf-8", "cancel success"));
    assert_eq!(over(&instance, &bad)["status"], "error", "it was over");
    for (method, path) in [("GET", "/async/task/x"), ("POST", "/async/task/x/cancel")] {
        let answer = instance.call(method, path, &[], "");
        assert_eq!(answer.status, 400, "{path}");
        assert!(
            answer.body.contains("async task: ") && answer.body.contains("x not found"),
            "{}",
            answer.body
        );
    }
    for body in ["", "{", "{}", r#"{"content":"x","file":"y"}"#] {
        assert_eq!(instance.call("POST", "/async/data/import", &[], body).status, 400, "{body}");
    }
}

#[test]
fn yaml_goes_out_and_comes_in_and_rules_without_triggered_run() {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let from = instance();
    fill(&from, folder.path());
    let answer = from.call("GET", "/v2/data/export", &[], "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/octet-stream")));
    assert_eq!(answer.header("content-disposition"), Some("Attachment"));
    let (yaml, document) = (answer.body, exported(&from));
    for part in ["sources.simulator.fast", "connections.mqtt.c1", "streams:\n", "rules:\n", "service:\n"] {
        assert!(yaml.contains(part), "{part}: {yaml}");
    }
    let to = instance();
    done(&to, "POST", "/streams", &json!({"sql": stream("kept")}));
    done(
        &to,
        "POST",
        "/streams",
        &json!({"sql": r#"CREATE STREAM demo () WITH (TYPE="memory", DATASOURCE="x", VERSION="9")"#}),
    );
    for _ in 0..2 {
        let answer = to.call("POST", "/v2/data/import", &[], &json!({ "content": yaml }).to_string());
        assert_eq!(
            answer.all(),
            (200, "text/plain; charset=utf-8", "success"),
            "replaced whatever the version"
        );
    }
    let mut there = exported(&to);
    assert!(there["streams"].as_object_mut().expect("streams").remove("kept").is_some());
    for section in ["streams", "tables", "sourceConfig", "connectionConfig", "Service", "Schema", "scripts"] {
        assert_eq!(there[section], document[section], "{section}");
    }
    let running = wait::within(wait::LIMIT, || {
        let status = to.call("GET", "/rules/r1/status", &[], "").body;
        status.contains("running").then_some(())
    });
    assert!(running.is_some(), "a rule without triggered runs");
    for (body, message) in [
        (json!({"content": "a: ["}), "import failed: "),
        (json!({"content": "streams: 5"}), "import failed: streams must hold entries, not 5"),
        (json!({"content": "rules: {r: x}"}), "import failed: rules: r must hold members"),
        (
            json!({"content": "streams: {bad: {sql: CREATE}, zz: {sql: x}}\nrules: {r9: {sql: x}}"}),
            "import failed: streams bad: ",
        ),
        (json!({"content": "*a"}), "import failed: "),
        (json!({"file": "file:///no/such.yaml"}), "fail to get file"),
        (json!({}), "Invalid body: must specify content or file: bad request"),
        (json!({"content": 5}), "Invalid body: "),
    ] {
        let answer = to.call("POST", "/v2/data/import", &[], &body.to_string());
        let error: Json = serde_json::from_str(&answer.body).expect("the usual shape");
        let said = error["message"].as_str().unwrap_or_default();
        assert!(answer.status == 400 && said.starts_with(message), "{body}: {said}");
    }
}

#[test]
fn with_stop_the_process_ends_with_100_and_rules_begin_after_its_next_start() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let document =
        json!({"streams": {"demo": stream("demo")}, "rules": {"r1": rule("r1", "SELECT a FROM demo")}});
    let body = json!({"content": document.to_string()});
    let answer = engine.api().post("/data/import?stop=1", &body);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_ne!(engine.api().status("r1")["status"], "running", "it waits for the start");
    assert_eq!(engine.end().code(), Some(100));
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    engine.api().status_when("r1", |status| status["status"] == "running");
    assert_eq!(engine.terminate().code(), Some(0));
}

#[test]
fn an_import_that_a_crash_cuts_off_is_done_at_the_next_start() {
    const N_RULES: usize = 60;
    let home = tempfile::tempdir().expect("a folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    engine.api().sql(&stream("before"));
    let rules = (0..N_RULES).map(|n| format!("r{n}"));
    let rules: serde_json::Map<String, Json> =
        rules.map(|id| (id.clone(), rule(&id, "SELECT a FROM demo").into())).collect();
    let document = json!({"streams": {"demo": stream("demo")}, "rules": rules}).to_string();
    let n_rules = |engine: &Engine| {
        let listed = engine.api().try_call("GET", "/rules", "").ok()?;
        serde_json::from_str::<Json>(&listed.body).ok()?.as_array().map(Vec::len)
    };
    let task = thread::scope(|scope| {
        let body = json!({ "content": document }).to_string();
        let answer = engine.api().try_call("POST", "/async/data/import", &body).expect("it answers");
        let api = &engine;
        let first = scope.spawn(move || wait::until_true("the first rule", || n_rules(api) >= Some(1)));
        first.join().expect("there is one");
        signal("KILL", engine.pid());
        serde_json::from_str::<Json>(&answer.body).expect("JSON")["id"].as_str().expect("an id").to_owned()
    });
    engine.kill();
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    assert_eq!(n_rules(&engine), Some(N_RULES), "the document holds");
    assert_eq!(engine.api().get("/streams").json(), json!(["demo"]));
    let task = engine.api().get(&format!("/async/task/{task}")).json();
    // It may have ended just before.
    assert!(["error", "finish"].contains(&task["status"].as_str().unwrap_or_default()), "{task}");
}
