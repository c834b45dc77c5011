//! Distributions that pip installs, over REST and under a rule (`rest-api.md` 11.3). More of them in
//! `thalweg-plugin/tests/host/python.rs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use serde_json::{Value as Json, json};
use thalweg_server::{ServeOptions, start};
use thalweg_tests::http::Api;
use thalweg_tests::processes::{Engine, is_alive, python, signal};
use thalweg_tests::wait;

/// A wheel of distribution `acme-math` with one function of rows that returns this text; when it is loaded, it says so.
pub(crate) fn wheel(folder: &Path, version: &str, function: &str, text: &str) -> PathBuf {
    let info = format!("acme_math-{version}.dist-info");
    let path = folder.join(format!("acme_math-{version}-py3-none-any.whl"));
    let module = format!(
        "import sys\n\nprint('this is {version}', file=sys.stderr)\n\n\ndef f() -> str:\n    return {text:?}\n"
    );
    let files = [
        ("acme_math.py".to_owned(), module),
        (format!("{info}/METADATA"), format!("Metadata-Version: 2.1\nName: acme-math\nVersion: {version}\n")),
        (
            format!("{info}/WHEEL"),
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n".to_owned(),
        ),
        (format!("{info}/entry_points.txt"), format!("[thalweg.functions]\n{function} = acme_math:f\n")),
        (
            format!("{info}/RECORD"),
            ["METADATA", "WHEEL", "entry_points.txt", "RECORD"]
                .iter()
                .fold("acme_math.py,,\n".to_owned(), |all, name| format!("{all}{info}/{name},,\n")),
        ),
    ];
    let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
    thalweg_plugin::pack(&files, &path).expect("the wheel can be written");
    path
}

#[test]
fn a_distribution_is_installed_used_upgraded_and_removed_over_rest() {
    if python().is_none() {
        return;
    }
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    // Names of sockets: nobody else's.
    let env = format!("twrest{}", std::process::id());
    let f = format!("{env}_f");
    let wheels = folder.path().join("wheels");
    std::fs::create_dir(&wheels).expect("the folder is ours");
    let environment = [
        ("KUIPER__BASIC__RESTIP", "127.0.0.1".to_owned()),
        ("KUIPER__PLUGINS__PYTHON__OFFLINE", wheels.display().to_string()),
    ];
    let options = ServeOptions {
        home: folder.path().join("home"),
        port: Some(0),
        data_port: Some(0),
        environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
        ..ServeOptions::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the system gives threads");
    let server = runtime.block_on(start(options)).expect("it starts");
    let api = Api::new(server.port());
    let path = wheel(&wheels, "1.0", &f, "one");
    let body = json!({"file": format!("file://{}", path.display()), "env": env});
    let made = api.call("POST", "/plugins/python", &body.to_string());
    assert_eq!((made.status, made.content_type.as_str()), (201, "application/json"), "{}", made.body);
    assert_eq!(made.json()["changes"], json!([{"name": "acme-math", "from": null, "to": "1.0"}]));
    api.call("GET", "/plugins/udfs", "").is(200, &format!("[\"{f}\"]"));
    let described = format!(r#"{{"name":"{f}","plugin":"acme-math","type":"portable"}}"#);
    api.call("GET", &format!("/plugins/udfs/{f}"), "").is(200, &described);
    api.call("GET", "/plugins/portables", "").is(200, "[]");
    let metadata = api.call("GET", "/metadata/functions", "").json();
    let told = metadata.as_array().and_then(|all| all.iter().find(|told| told["name"] == "acme-math"));
    assert_eq!(
        told.map(|told| (&told["type"], &told["functions"][0]["name"])),
        Some((&json!("portable"), &json!(f)))
    );
    let stream = json!({"sql": r#"CREATE STREAM s () WITH (TYPE="memory", DATASOURCE="t", FORMAT="json")"#});
    assert_eq!(api.call("POST", "/streams", &stream.to_string()).status, 201);
    let rule = json!({"id": "r", "sql": format!("SELECT {f}() AS x FROM s"), "actions": [{"nop": {}}]});
    let rule = api.call("POST", "/rules", &rule.to_string());
    assert_eq!(rule.status, 201, "{}", rule.body);
    let all = api.call("GET", "/plugins/python", "").json();
    assert_eq!((&all[0]["env"], &all[0]["hosts"][0]["status"]), (&json!(env), &json!("running")));
    assert_eq!(all[0]["distributions"][0]["rules"], json!(["r"]));
    // The next version by its number, from the folder of wheels.
    wheel(&wheels, "2.0", &f, "two");
    let next = json!({"version": "2.0", "env": env}).to_string();
    let updated = api.call("PUT", "/plugins/python/Acme.Math", &next);
    assert_eq!(
        (updated.status, &updated.json()["changes"][0]["to"]),
        (200, &json!("2.0")),
        "{}",
        updated.body
    );
    let one = api.call("GET", &format!("/plugins/python/acme-math?env={env}"), "").json();
    assert_eq!(
        (&one["version"], &one["health"], &one["files"][0]),
        (&json!("2.0"), &json!("running"), &json!("acme_math.py"))
    );
    assert_eq!(one["functions"][0]["types"]["result"], "str");
    let refused = api.call("DELETE", &format!("/plugins/python/acme-math?env={env}"), "");
    assert_eq!(refused.status, 409);
    assert!(refused.body.contains("acme-math is used by rule r: stop"), "{}", refused.body);
    let back = api.call("POST", &format!("/plugins/python/rollback?env={env}"), "");
    assert_eq!((back.status, &back.json()["changes"][0]["to"]), (200, &json!("1.0")), "{}", back.body);
    // An upload.
    let path = wheel(folder.path(), "3.0", &f, "three");
    let url = format!("{}/plugins/python?env={env}&file=acme_math-3.0-py3-none-any.whl", api.url());
    let sent = ureq::post(&url)
        .header("content-type", "application/octet-stream")
        .send(&fs::read(path).expect("it was written")[..]);
    let sent = sent.expect("it is taken").body_mut().read_to_string().expect("it is text");
    let sent: Json = serde_json::from_str(&sent).expect("it is JSON");
    assert_eq!(sent["changes"], json!([{"name": "acme-math", "from": "1.0", "to": "3.0"}]));
    let kept = fs::read_dir(folder.path().join("home/data/pyenvs")).expect("the folder is there");
    let kept: Vec<_> = kept.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    assert_eq!(kept, std::slice::from_ref(&env), "the upload is not");
    // The same as a form.
    let file = fs::read(wheel(folder.path(), "4.0", &f, "four")).expect("it was written");
    let url = format!("{}/plugins/python/acme-math", api.url());
    let (status, body) = send_form(&url, &[("env", &env)], ("acme_math-4.0-py3-none-any.whl", &file));
    assert_eq!(status, 200, "{body}");
    let sent: Json = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!(sent["changes"], json!([{"name": "acme-math", "from": "3.0", "to": "4.0"}]));
    for (fields, name, why) in [
        (&[("colour", "red")][..], "a-1-py3-none-any.whl", "the form has a field"),
        (&[], "../a-1-py3-none-any.whl", "an upload needs the wheel's name"),
        (&[], "", "an upload needs the wheel's name"),
    ] {
        let (status, body) = send_form(&url, fields, (name, b"no wheel"));
        assert!(status == 400 && body.contains(why), "{body}");
    }
    // What its process says is found under both names.
    for path in [format!("portables/{env}-host/logs"), format!("python/Acme_Math/logs?env={env}")] {
        wait::until_true("the line of the new version", || {
            let log = api.call("GET", &format!("/plugins/{path}"), "").json();
            log["lines"]
                .as_array()
                .is_some_and(|lines| lines.iter().any(|line| line["text"] == "this is 4.0"))
        });
    }
    let url = format!("/plugins/python/acme-math/logs?env={env}&format=text&lines=0");
    api.call("GET", &url, "").is(200, "");
    let gone = api.call("DELETE", &format!("/plugins/python/acme-math?env={env}&force=1"), "");
    assert_eq!((gone.status, &gone.json()["changes"][0]["to"]), (200, &json!(null)), "{}", gone.body);
    api.call("GET", "/plugins/udfs", "").is(200, "[]");
    runtime.block_on(server.stop());
}

/// Sends a file with further fields as a form; the status and the body.
fn send_form(url: &str, fields: &[(&str, &str)], (name, file): (&str, &[u8])) -> (u16, String) {
    let mut body = Vec::new();
    for (field, value) in fields {
        let part =
            format!("--twborder\r\ncontent-disposition: form-data; name=\"{field}\"\r\n\r\n{value}\r\n");
        body.extend_from_slice(part.as_bytes());
    }
    let head =
        format!("--twborder\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
    body.extend_from_slice(head.as_bytes());
    body.extend_from_slice(file);
    body.extend_from_slice(b"\r\n--twborder--\r\n");
    let agent =
        ureq::Agent::new_with_config(ureq::Agent::config_builder().http_status_as_error(false).build());
    let sent =
        agent.put(url).header("content-type", "multipart/form-data; boundary=twborder").send(&body[..]);
    let mut sent = sent.expect("it is answered");
    (sent.status().as_u16(), sent.body_mut().read_to_string().expect("it is text"))
}

/// A build backend that says who it is and waits for ever.
const BACKEND: &str = r#"
import os, time


def build_editable(folder, config_settings=None, metadata_directory=None):
    with open("at-work.next", "w") as file:
        file.write("%d %d" % (os.getpid(), os.getppid()))
    os.rename("at-work.next", "at-work")
    while True:
        time.sleep(60)
"#;

#[test]
fn kill_9_in_the_middle_of_an_installation_leaves_what_was_there() {
    if python().is_none() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let env = format!("twkill{}", std::process::id());
    let f = format!("{env}_f");
    let project = home.path().join("project");
    fs::create_dir(&project).expect("the folder is ours");
    let toml = "[project]\nname = \"slow\"\nversion = \"1.0\"\n[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n";
    fs::write(project.join("pyproject.toml"), toml).expect("the folder is ours");
    fs::write(project.join("backend.py"), BACKEND).expect("the folder is ours");
    let wheels = home.path().display().to_string();
    let variables = [("KUIPER__PLUGINS__PYTHON__OFFLINE", wheels.as_str())];
    let Some(engine) = Engine::start(home.path(), &variables) else { return };
    let path = wheel(home.path(), "1.0", &f, "one");
    let body = json!({"file": format!("file://{}", path.display()), "env": env});
    let made = engine.api().call("POST", "/plugins/python", &body.to_string());
    assert_eq!(made.status, 201, "{}", made.body);
    let api = engine.api().clone();
    let body = json!({"editable": project, "env": env}).to_string();
    let asked = thread::spawn(move || api.try_call("POST", "/plugins/python", &body));
    let at_work = wait::within(wait::LIMIT, || fs::read_to_string(project.join("at-work")).ok());
    let at_work = at_work.unwrap_or_else(|| panic!("the backend does not run: {:?}", asked.is_finished()));
    let pids: Vec<u32> = at_work.split(' ').filter_map(|pid| pid.parse().ok()).collect();
    let folder = home.path().join("data/pyenvs").join(&env);
    assert!(folder.join("g2").is_dir());
    signal("KILL", engine.pid());
    assert!(asked.join().expect("it does not panic").is_err(), "nobody answers");
    drop(engine);
    wait::until_true("the end of pip", || pids.get(1).is_some_and(|pip| !is_alive(*pip)));
    // What pip has started is nobody's any more, and is not what this is about.
    let _ = Command::new("kill").args(["-9", &pids[0].to_string()]).status();
    let engine = Engine::start(home.path(), &variables).expect("it did before");
    let shown =
        |pointer: &str| engine.api().call("GET", "/plugins/python", "").json().pointer(pointer).cloned();
    assert_eq!(shown("/0/distributions/0/version"), Some(json!("1.0")));
    assert_eq!((shown("/0/generation"), shown("/0/distributions/1")), (Some(json!(1)), None));
    wait::until_true("the host", || shown("/0/hosts/0/status") == Some(json!("running")));
    let mut left: Vec<_> = fs::read_dir(&folder)
        .expect("the folder is there")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    left.sort();
    assert_eq!(left, ["current", "g1"]);
}
