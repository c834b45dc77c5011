//! The management interface against `tests/rest/*.rest`: what `docs/compat/rest-api.md` says, and every kind of bad input.

use std::path::{Path, PathBuf};

use serde_json::json;
use thalweg_server::{ServeOptions, start};
use thalweg_tests::http::Api;
use thalweg_tests::processes::{Engine, python};
use thalweg_tests::rest::play;

/// Plays one file against an instance of its own.
fn check(name: &str, prepare: impl Fn(&Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    prepare(folder.path());
    let environment = [("KUIPER__BASIC__RESTIP", "127.0.0.1"), ("KUIPER__PORTABLE__INITTIMEOUT", "5000")];
    let options = ServeOptions {
        home: folder.path().join("home"),
        port: Some(0),
        data_port: Some(0),
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..ServeOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system gives threads");
    let server = runtime.block_on(start(options)).expect("it starts");
    let file: PathBuf = [env!("CARGO_MANIFEST_DIR"), "rest", name].iter().collect();
    let wrong = play(&file, &folder.path().to_string_lossy(), &Api::new(server.port()));
    runtime.block_on(server.stop());
    let wrong = wrong.expect("the file is readable and every call is answered");
    assert!(wrong.is_empty(), "{} wrong answers:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn the_instance_answers_as_documented() {
    check("system.rest", |_| {});
}

#[test]
fn streams_and_tables_answer_as_documented() {
    check("streams.rest", |_| {});
}

#[test]
fn rules_answer_as_documented() {
    check("rules.rest", |_| {});
}

#[test]
fn tags_many_rules_and_what_is_shown_of_them_answer_as_documented() {
    check("rules_in_bulk.rest", |_| {});
}

#[test]
fn configuration_and_kept_metrics_answer_as_documented() {
    check("operation.rest", |_| {});
}

#[test]
fn traces_answer_as_documented() {
    check("traces.rest", |_| {});
}

#[test]
fn trials_answer_as_documented() {
    check("trials.rest", |_| {});
}

#[test]
fn graph_rules_answer_as_documented() {
    check("graph.rest", |_| {});
}

#[test]
fn functions_are_described_and_their_stored_state_is_set() {
    check("functions.rest", |_| {});
}

#[test]
fn config_keys_answer_as_documented_and_are_applied() {
    check("conf_keys.rest", |_| {});
}

#[test]
fn sources_sinks_connections_and_operators_are_described() {
    check("descriptions.rest", |folder| {
        let sources = folder.join("home/etc/sources");
        std::fs::create_dir_all(&sources).expect("the folder is ours");
        // Of a source that is not there, and one that is ours already.
        let file = json!({"about": {"trial": true}, "properties": {"default": []}}).to_string();
        for name in ["ghost.json", "memory.json"] {
            std::fs::write(sources.join(name), &file).expect("the folder is ours");
        }
    });
}

#[test]
fn javascript_functions_answer_as_documented() {
    check("javascript.rest", |_| {});
}

#[test]
fn uploads_rule_sets_and_batches_answer_as_documented() {
    check("files.rest", |folder| {
        std::fs::write(folder.join("prepared.txt"), "prepared").expect("it can be written");
    });
}

#[test]
fn a_form_uploads_a_file_under_its_name_and_nowhere_else() {
    // rest-api.md 13: the field is `uploadFile`.
    let home = tempfile::tempdir().expect("a folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let form = |field: &str, name: &str| {
        let head = format!("content-disposition: form-data; name=\"{field}\"; filename=\"{name}\"");
        let body = format!("--cut\r\n{head}\r\n\r\nhello\r\n--cut--\r\n");
        let url = format!("{}/config/uploads", engine.api().url());
        let agent =
            ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
        let sent = agent.post(&url).header("content-type", "multipart/form-data; boundary=cut").send(body);
        let mut answer = sent.expect("there is an answer");
        (answer.status().as_u16(), answer.body_mut().read_to_string().expect("it is text"))
    };
    let (status, path) = form("uploadFile", "a.txt");
    assert_eq!((status, path.ends_with("/data/uploads/a.txt")), (201, true), "{path}");
    assert_eq!(std::fs::read_to_string(&path).expect("it is there"), "hello");
    for (field, name) in [("uploadFile", "../a.txt"), ("uploadFile", ""), ("file", "a.txt")] {
        let (status, text) = form(field, name);
        assert_eq!((status, text.starts_with("{\"error\":1000")), (400, true), "{field} {name}: {text}");
    }
}

/// A manifest of plugin `p` with these members over the right ones.
fn manifest(changes: &serde_json::Value) -> String {
    let mut manifest = json!({
        "name": "p", "version": "1", "language": "python", "executable": "p.py", "functions": ["p_f"]
    });
    for (key, value) in changes.as_object().into_iter().flatten() {
        manifest[key] = value.clone();
    }
    manifest.to_string()
}

fn bad_zips(folder: &Path) {
    let right = manifest(&json!({}));
    let pack = |name: &str, files: &[(&str, &str)]| {
        thalweg_plugin::pack(files, &folder.join(name)).expect("the zip can be written");
    };
    pack("traversal.zip", &[("p.json", &right), ("p.py", ""), ("../../../evil.py", "print()")]);
    pack("absolute.zip", &[("p.json", &right), ("p.py", ""), ("/tmp/thalweg-evil.py", "print()")]);
    pack("no-manifest.zip", &[("p.py", ""), ("README.md", "")]);
    pack("no-executable.zip", &[("p.json", &right)]);
    pack("broken-manifest.zip", &[("p.json", "{\"name\":"), ("p.py", "")]);
    for (name, changes) in [
        ("wrong-language.zip", json!({"language": "rust"})),
        ("wrong-name.zip", json!({"name": "q"})),
        ("no-language.zip", json!({"language": ""})),
        ("nothing-in-it.zip", json!({"functions": []})),
        ("outside.zip", json!({"executable": "../p.py"})),
    ] {
        pack(name, &[("p.json", &manifest(&changes)), ("p.py", "")]);
    }
    pack("wrong-python.zip", &[("p.json", &right), ("p.py", "def f(:\n")]);
    pack("exits.zip", &[("p.json", &right), ("p.py", "import sys\nsys.exit('no licence')\n")]);
    std::fs::write(folder.join("no-zip.zip"), "this is no zip").expect("the folder is ours");
}

#[test]
fn plugins_answer_as_documented_and_bad_zips_leave_nothing() {
    if python().is_none() {
        return;
    }
    let before = Path::new("/tmp/thalweg-evil.py").exists();
    check("plugins.rest", bad_zips);
    assert_eq!(Path::new("/tmp/thalweg-evil.py").exists(), before);
}

const SCHEMA: &str = "syntax = \"proto3\";
message Text { string text = 1; }
service Labels { rpc Label(Text) returns (Text); }
";

fn service_zips(folder: &Path) {
    let definition = |protocol: &str| {
        json!({
            "about": {"author": {"name": "we"}, "description": {"en_US": "<x>"}},
            "interfaces": {"itf": {
                "address": "http://127.0.0.1:1", "protocol": protocol,
                "schemaType": "protobuf", "schemaFile": "sample.proto",
                "functions": [{"name": "label", "serviceName": "Label"}],
            }},
        })
        .to_string()
    };
    let (right, soap) = (definition("rest"), definition("soap"));
    let pack = |name: &str, files: &[(&str, &str)]| {
        thalweg_plugin::pack(files, &folder.join(name)).expect("the zip can be written");
    };
    pack("sample.zip", &[("sample.json", &right), ("schemas/sample.proto", SCHEMA)]);
    pack("traversal.zip", &[("sample.json", &right), ("../../evil.json", "{}")]);
    pack("no-schema.zip", &[("sample.json", &right)]);
    let wrong = SCHEMA.replace("returns", "return");
    pack("wrong-schema.zip", &[("sample.json", &right), ("schemas/sample.proto", &wrong)]);
    pack("wrong-protocol.zip", &[("sample.json", &soap), ("schemas/sample.proto", SCHEMA)]);
    std::fs::write(folder.join("no-zip.zip"), "this is no zip").expect("the folder is ours");
}

#[test]
fn services_answer_as_documented_and_bad_zips_leave_nothing() {
    check("services.rest", service_zips);
}

fn schema_files(folder: &Path) {
    let pack = |name: &str, files: &[(&str, &str)]| {
        thalweg_plugin::pack(files, &folder.join(name)).expect("the zip can be written");
    };
    let user = "syntax = \"proto3\"; import \"z1/part.proto\"; message Z { Part part = 1; }";
    let part = "syntax = \"proto3\"; message Part {}";
    pack("z1.zip", &[("z1.proto", user), ("z1/part.proto", part)]);
    pack("traversal.zip", &[("z2.proto", part), ("../../evil.proto", part)]);
    for (name, content) in [("s3.proto", part), ("no-zip.zip", "no zip"), ("c1.so", "\u{1}")] {
        std::fs::write(folder.join(name), content).expect("the folder is ours");
    }
}

#[test]
fn schemas_answer_as_documented_and_bad_ones_leave_nothing() {
    check("schemas.rest", schema_files);
}

#[test]
fn refusals_about_distributions_are_as_documented_and_make_nothing() {
    check("python.rest", |_| {});
}
