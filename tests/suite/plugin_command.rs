//! `thalweg plugin …` as authors and users type it, through the real binary.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use thalweg_tests::plugins::own_name;
use thalweg_tests::processes::{Engine, python, thalweg};
use thalweg_tests::wait;

use crate::python::wheel;

/// What a command came to.
#[derive(Debug)]
struct Done {
    status: Option<i32>,
    out: String,
    err: String,
}

/// Runs `thalweg plugin …` in a folder.
fn plugin(folder: &Path, words: &[&str]) -> Done {
    let mut command = Command::new(thalweg().expect("the binary was there"));
    command.arg("plugin").args(words).current_dir(folder).stdin(Stdio::null()).env_remove("PYTHONPATH");
    let output = command.output().expect("it can be run");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Done { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
}

/// Runs it where it must succeed; what it printed.
#[track_caller]
fn succeeds(folder: &Path, words: &[&str]) -> String {
    let done = plugin(folder, words);
    assert_eq!(done.status, Some(0), "thalweg plugin {words:?}: {done:?}");
    done.out
}

/// Runs it where it must fail with this status and say this.
#[track_caller]
fn fails(folder: &Path, words: &[&str], status: i32, part: &str) {
    let done = plugin(folder, words);
    assert_eq!(done.status, Some(status), "thalweg plugin {words:?}: {done:?}");
    assert!(done.err.contains(part), "{part:?} is missing: {done:?}");
}

fn can_run() -> bool {
    thalweg().is_some() && python().is_some()
}

#[test]
fn what_new_writes_passes_its_own_test_for_every_kind_and_layout() {
    if !can_run() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    for kind in ["function", "aggregate", "source", "sink"] {
        for layout in [None, Some("--python-package")] {
            let name = own_name("kit");
            let mut words = vec!["new", &name, "--kind", kind];
            words.extend(layout);
            let listed = succeeds(home.path(), &words);
            assert!(listed.contains(&format!("{name}/README.md")), "{listed}");
            let tried = succeeds(home.path(), &["test", &name]);
            assert!(tried.contains(" checks, 0 failed"), "{kind} {layout:?}: {tried}");
            assert!(!home.path().join(&name).join("__pycache__").exists(), "caches are left");
            if layout.is_none() {
                let packed = succeeds(home.path(), &["pack", &name]);
                assert!(packed.starts_with(&format!("{name}/{name}.zip\n")), "{packed}");
                assert!(!packed.contains("test_"), "tests stay out: {packed}");
            }
        }
    }
}

#[test]
fn a_plugin_that_fails_its_cases_or_its_tests_fails_the_command() {
    if !can_run() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let name = own_name("kit");
    succeeds(home.path(), &["new", &name]);
    let folder = home.path().join(&name);
    let case = json!([{"function": name, "args": [1], "result": 3}]).to_string();
    fs::write(folder.join("cases.json"), case).expect("the folder is ours");
    fails(home.path(), &["test", &name], 1, "failed: the trial");
    let done = plugin(home.path(), &["test", &name]);
    assert!(done.out.contains(", not 3"), "{done:?}");
    fs::write(folder.join("cases.json"), "[]").expect("the folder is ours");
    fs::write(folder.join("test_more.py"), "raise SystemError('broken')\n").expect("the folder is ours");
    fails(home.path(), &["test", &name], 1, "failed: its own tests");
    fs::remove_file(folder.join("test_more.py")).expect("it is there");
    fs::write(folder.join(format!("{name}.py")), "import gone\n").expect("the folder is ours");
    let done = plugin(home.path(), &["test", &name]);
    assert_eq!(done.status, Some(1), "{done:?}");
    assert!(done.out.contains("No module named 'gone'"), "{done:?}");
}

#[test]
fn pack_says_everything_that_an_engine_would_refuse() {
    if thalweg().is_none() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let folder = home.path().join("wrong");
    fs::create_dir_all(folder.join("sources")).expect("the folder is ours");
    let description = json!({"language": "python", "executable": "main.py", "functions": ["avg", "a b"], "sources": ["s", "t"]});
    fs::write(folder.join("wrong.json"), description.to_string()).expect("the folder is ours");
    fs::write(folder.join("sources/s.yaml"), "default:\n - [").expect("the folder is ours");
    fs::write(folder.join("wrong.py"), "").expect("the folder is ours");
    let done = plugin(home.path(), &["pack", "wrong"]);
    assert_eq!(done.status, Some(1), "{done:?}");
    for part in [
        "3 things are wrong",
        "the function \"a b\" may only hold letters",
        "the source t needs a file sources/t.yaml",
        "the executable main.py is not in the folder; candidates: wrong.py",
    ] {
        assert!(done.err.contains(part), "{part:?} is missing: {done:?}");
    }
    let description =
        json!({"language": "python", "executable": "wrong.py", "functions": ["avg"], "sources": ["s"]});
    fs::write(folder.join("wrong.json"), description.to_string()).expect("the folder is ours");
    fails(home.path(), &["pack", "wrong"], 1, "the function avg would never be called");
    fails(home.path(), &["pack", "wrong"], 1, "s.yaml: ");
    fails(home.path(), &["pack", "gone"], 2, "there is no folder gone");
    fails(home.path(), &["pack", "."], 1, "has no <name>.json");
}

#[test]
fn words_that_make_no_sense_and_engines_that_are_not_there_have_statuses_of_their_own() {
    if thalweg().is_none() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    fails(home.path(), &["new", "Not A Name"], 2, "must begin with a small letter");
    fails(home.path(), &["new", "avg"], 2, "SQL has a built-in function avg");
    fails(home.path(), &["frobnicate"], 2, "unrecognized subcommand");
    fails(home.path(), &["install", "./gone.zip"], 2, "there is no file or folder ./gone.zip");
    let nowhere = "http://127.0.0.1:1";
    for words in [&["list"][..], &["info", "x"], &["remove", "x"], &["logs", "x"], &["install", "acme-math"]]
    {
        let words = [words, &["--url", nowhere]].concat();
        fails(home.path(), &words, 3, "cannot reach an engine at http://127.0.0.1:1");
    }
}

#[test]
fn a_plugin_is_installed_looked_at_upgraded_and_removed() {
    if !can_run() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let url = engine.api().url().to_owned();
    let name = own_name("kit");
    let on = |words: &[&str]| succeeds(home.path(), &[words, &["--url", &url]].concat());
    let refused =
        |words: &[&str], part: &str| fails(home.path(), &[words, &["--url", &url]].concat(), 1, part);
    assert!(on(&["list"]).starts_with("no plugin is installed"));
    succeeds(home.path(), &["new", &name]);
    refused(&["upgrade", &name], "is not installed; thalweg plugin install");
    assert_eq!(on(&["install", &name]), format!("portable plugin {name} is created\n"));
    refused(&["install", &name], "duplicate; replace it with thalweg plugin upgrade");
    engine.api().sql("CREATE STREAM s () WITH (DATASOURCE=\"s\", TYPE=\"memory\")");
    engine.api().rule("r1", &format!("SELECT {name}(a) AS d FROM s"), json!({"nop": {}}));

    let listed = on(&["list"]);
    let line = listed.lines().find(|line| line.starts_with(&name)).expect("it is listed").to_owned();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>(), [&*name, "v0.1.0", "zip", "running", &*name]);
    let document: Json = serde_json::from_str(&on(&["list", "--output", "json"])).expect("it is JSON");
    assert_eq!(document["portables"][0]["plugin"]["functions"], json!([name]));
    assert_eq!(document["portables"][0]["status"]["status"], "running");
    let told = on(&["info", &name]);
    assert!(told.contains("v0.1.0") && told.contains("running"), "{told}");

    let description = home.path().join(&name).join(format!("{name}.json"));
    let text = fs::read_to_string(&description).expect("it was written");
    fs::write(&description, text.replace("v0.1.0", "v0.2.0")).expect("the folder is ours");
    let code = home.path().join(&name).join(format!("{name}.py"));
    let text = fs::read_to_string(&code).expect("it was written");
    fs::write(&code, format!("print('version 2 is here', flush=True)\n{text}")).expect("the folder is ours");
    succeeds(home.path(), &["pack", &name, "--to", "other.zip"]);
    assert_eq!(on(&["upgrade", "other.zip"]), format!("portable plugin {name} is updated\n"));
    let info: Json = serde_json::from_str(&on(&["info", &name, "--output", "json"])).expect("it is JSON");
    assert_eq!(info["plugin"]["version"], "v0.2.0");
    // What a process prints is read beside its handshake.
    wait::until_true("the line of the new version", || on(&["logs", &name]).contains("version 2 is here"));

    assert_eq!(on(&["remove", &name]), format!("portable plugin {name} is deleted\n"));
    refused(&["remove", &name], "is not installed");
    refused(&["info", &name], "is not installed");
}

#[test]
fn an_engine_that_does_not_see_a_file_is_sent_it() {
    if !can_run() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let refusing = [("KUIPER__BASIC__ALLOWEXTERNALFILEACCESS", "false")];
    let Some(engine) = Engine::start(home.path(), &refusing) else { return };
    let url = engine.api().url().to_owned();
    let name = own_name("kit");
    succeeds(home.path(), &["new", &name]);
    let done = succeeds(home.path(), &["install", &name, "--url", &url]);
    assert_eq!(done, format!("portable plugin {name} is created\n"));
    engine.api().call("GET", "/config/uploads", "").is(200, "[]");
    succeeds(home.path(), &["remove", &name, "--url", &url]);
}

#[test]
fn distributions_are_installed_upgraded_taken_back_and_removed() {
    if !can_run() {
        return;
    }
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let wheels = home.path().join("wheels");
    fs::create_dir(&wheels).expect("the folder is ours");
    let offline = [("KUIPER__PLUGINS__PYTHON__OFFLINE", wheels.to_str().expect("it is UTF-8"))];
    let Some(engine) = Engine::start(home.path(), &offline) else { return };
    let url = engine.api().url().to_owned();
    // It is in the names of sockets.
    let env = own_name("kitenv");
    let function = format!("{env}_f");
    let on = |words: &[&str]| succeeds(home.path(), &[words, &["--url", &url]].concat());
    let refused =
        |words: &[&str], part: &str| fails(home.path(), &[words, &["--url", &url]].concat(), 1, part);
    let first = wheel(&wheels, "1.0", &function, "one");
    let first = first.to_str().expect("it is UTF-8");
    refused(&["upgrade", first, "--env", &env], "acme-math is not installed");
    assert!(on(&["install", first, "--env", &env]).contains("acme-math 1.0 is installed\n"));
    let listed = on(&["list"]);
    let line = listed.lines().find(|line| line.starts_with("acme-math")).expect("it is listed");
    let kind = format!("({env})");
    assert_eq!(
        line.split_whitespace().collect::<Vec<_>>(),
        ["acme-math", "1.0", "pip", &kind, "running", &function]
    );

    wheel(&wheels, "2.0", &function, "two");
    assert_eq!(on(&["upgrade", "acme-math", "--env", &env]), "acme-math 1.0 is now 2.0\n");
    let info: Json = serde_json::from_str(&on(&["info", "acme-math", "--env", &env, "--output", "json"]))
        .expect("it is JSON");
    assert_eq!((&info["version"], &info["functions"][0]["name"]), (&json!("2.0"), &json!(function)));
    assert_eq!(on(&["rollback", &env]), "acme-math 2.0 is now 1.0\n");

    engine.api().sql("CREATE STREAM s () WITH (DATASOURCE=\"s\", TYPE=\"memory\")");
    engine.api().rule("r1", &format!("SELECT {function}() AS d FROM s"), json!({"nop": {}}));
    refused(&["remove", "acme-math", "--env", &env], "r1");
    assert!(on(&["remove", "acme-math", "--env", &env, "--force"]).contains("acme-math 1.0 is removed"));
    refused(&["info", "acme-math", "--env", &env], "is not installed");
}
