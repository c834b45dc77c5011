//! The command line against a running engine, through the real binary: texts, exit statuses, and what `kuiper` prints.

use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value as Json, json};
use thalweg_tests::processes::{Engine, thalweg};
use thalweg_tests::wait;

/// What a command came to.
#[derive(Debug, PartialEq)]
struct Done {
    status: Option<i32>,
    out: String,
    err: String,
}

/// Somebody at a shell, in a folder of their own.
struct Shell<'a> {
    program: PathBuf,
    folder: &'a Path,
    variables: Vec<(String, String)>,
}

impl Shell<'_> {
    fn run(&self, words: &[&str]) -> Done {
        self.run_with(words, "")
    }

    /// The same with something to read from standard input.
    fn run_with(&self, words: &[&str], input: &str) -> Done {
        let mut command = Command::new(&self.program);
        command.args(words).current_dir(self.folder).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("THALWEG_URL").env_remove("THALWEG_TOKEN");
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let mut process = command.spawn().expect("it can be run");
        // Who reads nothing may be gone already.
        let _ = process.stdin.take().expect("it is piped").write_all(input.as_bytes());
        let output = process.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Done { status: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// It succeeds and prints this.
    #[track_caller]
    fn prints(&self, words: &[&str], out: &str) {
        let done = Done { status: Some(0), out: out.to_owned(), err: String::new() };
        assert_eq!(self.run(words), done, "{words:?}");
    }

    /// It ends with this status, prints nothing, and its first line of complaint begins like this.
    #[track_caller]
    fn fails(&self, words: &[&str], status: i32, err: &str) {
        let done = self.run(words);
        assert_eq!((done.status, done.out.as_str()), (Some(status), ""), "{words:?}: {done:?}");
        assert!(done.err.starts_with(&format!("thalweg: {err}")), "{words:?}: {done:?}");
    }
}

/// `thalweg` for one engine.
fn shell<'a>(engine: &Engine, folder: &'a Path) -> Shell<'a> {
    let variables = vec![("THALWEG_URL".to_owned(), engine.api().url().to_owned())];
    Shell { program: thalweg().expect("the binary was there"), folder, variables }
}

/// `kuiper` for one engine, whose address stands in `etc/client.yaml`.
fn kuiper<'a>(engine: &Engine, folder: &'a Path) -> Shell<'a> {
    let port = engine.api().url().rsplit(':').next().expect("the address has a port");
    std::fs::create_dir_all(folder.join("etc")).expect("the folder is ours");
    let settings = format!("basic:\n  host: 127.0.0.1\n  port: {port}\n");
    std::fs::write(folder.join("etc/client.yaml"), settings).expect("the folder is ours");
    let program = folder.join("kuiper");
    symlink(thalweg().expect("the binary was there"), &program).expect("the folder is ours");
    Shell { program, folder, variables: Vec::new() }
}

const RULE: &str = r#"{"sql":"SELECT a FROM demo WHERE a > 1","actions":[{"nop":{}}]}"#;

#[test]
fn streams_and_tables_are_managed_with_the_texts_of_the_specification() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let own = tempfile::tempdir().expect("a temporary folder can be made");
    let shell = shell(&engine, own.path());
    shell.prints(&["show", "streams"], "No stream definitions are found.\n");
    shell.prints(&["show", "tables", "--output", "json"], "[]\n");
    let options = "(a BIGINT, l ARRAY(STRING)) WITH (DATASOURCE=\"d/+\", TYPE=\"memory\")";
    shell.prints(&["create", "stream", "demo", options], "Stream demo is created.\n");
    shell.prints(
        &["create", "stream", "glued() WITH (TYPE=\"memory\", DATASOURCE=\"x\")"],
        "Stream glued is created.\n",
    );
    std::fs::write(own.path().join("t.sql"), "t () WITH (TYPE=\"memory\", DATASOURCE=\"t\", KIND=\"scan\")")
        .unwrap();
    shell.prints(&["create", "table", "-f", "t.sql"], "Table t is created.\n");
    shell.prints(&["show", "streams"], "demo\nglued\n");
    let table = "name   type    format\ndemo   memory  json\nglued  memory  json\n";
    shell.prints(&["show", "streams", "--output", "table"], table);
    let described =
        format!("Fields\n{}\na\tbigint\nl\tarray(string)\n\nDATASOURCE: d/+\nTYPE: memory\n", "-".repeat(80));
    shell.prints(&["describe", "stream", "demo"], &described);
    let json = shell.run(&["describe", "stream", "demo", "-json"]).out;
    assert!(json.starts_with("{\n\t\"Fields\": [\n\t\t{\n\t\t\t\"Name\": \"a\",\n"), "{json}");
    assert!(json.contains("\t\t\"DATASOURCE:\": \"d/+\",\n"), "{json}");
    shell.fails(
        &["create", "stream", "demo", options],
        1,
        "Stream command error: Create stream fails: Item demo already exists.",
    );
    shell.fails(
        &["describe", "stream", "demoo"],
        1,
        "Stream command error: Describe stream fails, demoo is not found.",
    );
    shell.fails(&["describe", "stream"], 2, "Expect stream name.\nusage: thalweg describe stream NAME");
    shell.fails(&["create", "table", "-f", "none.sql"], 1, "cannot read none.sql: ");
    shell.prints(&["drop", "table", "t"], "Table t is dropped.\n");
    shell.fails(
        &["drop", "stream", "t"],
        1,
        "Stream command error: Drop stream fails: stream t is not found.",
    );
    shell.prints(&["show", "tables"], "No table definitions are found.\n");
}

#[test]
fn rules_are_managed_with_the_texts_of_the_specification() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let shell = shell(&engine, home.path());
    shell.prints(&["show", "rules"], "No rule definitions are found.\n");
    shell.prints(
        &["create", "stream", "demo", "() WITH (TYPE=\"memory\", DATASOURCE=\"cli/1\")"],
        "Stream demo is created.\n",
    );
    let valid = "The rule has been successfully validated and is confirmed to be correct.\n";
    shell.prints(&["validate", "rule", "r1", RULE], valid);
    shell.fails(
        &["validate", "rule", "r1", "{}"],
        1,
        "invalid rule json: Rule r1 has neither sql nor graph.",
    );
    let created = shell.run(&["create", "rule", "r1", RULE]);
    let expected = "Rule r1 was created successfully, please use 'thalweg getstatus rule r1' command to get rule status.\n";
    assert_eq!((created.status, created.out.as_str()), (Some(0), expected), "{created:?}");
    shell.fails(&["create", "rule", "r1", RULE], 1, "Create rule r1 error : rule r1 already exists.");
    shell.fails(
        &["create", "rule", "r2", "{}"],
        1,
        "Create rule  error : invalid rule json: Rule r2 has neither sql nor graph.",
    );
    shell.fails(&["create", "rule", "r2"], 2, "Expect rule name and json.\nBut found 1 args:[r2].");
    let other = RULE.replace("{\"sql\"", "{\"id\":\"q\",\"sql\"");
    shell.fails(
        &["create", "rule", "r2", &other],
        1,
        "Create rule  error : invalid rule json: RuleId is not consistent with rule id..",
    );
    let list = "[\n  {\n    \"id\": \"r1\",\n    \"name\": \"r1\",\n    \"status\": \"running\",\n    \"tags\": null,\n    \
                \"trace\": false,\n    \"version\": \"\"\n  }\n]\n";
    shell.prints(&["show", "rules"], list);
    shell.prints(
        &["show", "rules", "--output=table"],
        "id  name  status   version  tags\nr1  r1    running\n",
    );
    let described: Json = serde_json::from_str(&shell.run(&["describe", "rule", "r1"]).out).expect("JSON");
    assert_eq!(
        (&described["options"]["bufferLength"], &described["triggered"]),
        (&1024.into(), &true.into())
    );
    shell.fails(&["describe", "rule", "r9"], 1, "Desc rule error : Rule r9 is not found..");
    shell.prints(&["stop", "rule", "r1"], "Rule r1 was stopped.\n");
    shell.prints(&["start", "rule", "r1"], "Rule r1 was started\n");
    shell.prints(&["restart", "rule", "r1"], "Rule r1 was restarted.\n");
    shell.fails(
        &["start", "rule", "r9"],
        1,
        "Rule r9 is not found in registry, please check if it is created\n",
    );
    let status: Json = serde_json::from_str(&shell.run(&["getstatus", "rule", "r1"]).out).expect("JSON");
    assert_eq!(status["source_demo_0_records_in_total"], 0, "{status:#}");
    let table = shell.run(&["getstatus", "rule", "r1", "--output", "table"]).out;
    assert!(table.starts_with("status ") && table.contains("\nsource_demo "), "{table}");
    shell.fails(&["getstatus", "rule", "r9"], 1, "Rule r9 is not found\n");
    let graph = shell.run(&["gettopo", "rule", "r1"]).out;
    assert!(graph.starts_with("{\n  \"sources\": [\n    \"source_demo\"\n  ],\n"), "{graph}");
    shell.prints(&["drop", "rule", "r1"], "Rule r1 is dropped.\n");
    shell.fails(&["drop", "rule", "r1"], 1, "Drop rule error : rule r1 not found.");
}

#[test]
fn scripts_and_rule_sets_go_in_and_out() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let own = tempfile::tempdir().expect("a temporary folder can be made");
    let shell = shell(&engine, own.path());
    shell.prints(&["show", "scripts"], "No JavaScript functions are found.\n");
    let script =
        r#"{"id":"area","description":"","script":"function area(x, y) { return x * y; }","isAgg":false}"#;
    shell.prints(&["create", "script", script], "JavaScript function area is created.\n");
    shell.prints(&["show", "scripts"], "[\n  \"area\"\n]\n");
    let described = shell.run(&["describe", "script", "area"]).out;
    assert!(described.starts_with("{\n  \"id\": \"area\",\n"), "{described}");
    shell.prints(&["drop", "script", "area"], "JavaScript function area is dropped\n");
    shell.fails(&["describe", "script", "area"], 1, "Describe JavaScript function error : not found.");
    shell.fails(&["create", "script", "{"], 1, "Parse JavaScript function error : ");

    shell.prints(
        &["create", "stream", "demo", "() WITH (TYPE=\"memory\", DATASOURCE=\"cli/2\")"],
        "Stream demo is created.\n",
    );
    shell.run(&["create", "rule", "r1", RULE]);
    shell.prints(&["export", "ruleset", "all.json"], "exported 1 streams, 0 tables and 1 rules\n");
    shell.run(&["drop", "rule", "r1"]);
    shell.run(&["drop", "stream", "demo"]);
    shell.prints(&["import", "ruleset", "-f", "all.json"], "imported 1 streams, 0 tables and 1 rules\n");
    shell.prints(&["show", "streams"], "demo\n");
    shell.fails(&["import", "ruleset"], 2, "Required ruleset json file to import");
    shell.fails(&["import", "ruleset", "-f", "none"], 1, "fail to read file none: ");
    shell.fails(&["import", "data", "-f", "all.json"], 2, "Expect p flag to be a boolean value.");
    shell.fails(&["export", "ruleset"], 2, "Require exported file name.");
    shell.prints(&["show", "services"], "No service definitions are found.\n");
    shell.fails(&["create", "service", "s", "{}"], 1, "Create service error: Missing service file url.");
    shell.fails(&["create", "service", "s", "{\"name\":\"q\"}"], 1, "Create service error: name mismatch.");
    shell.fails(&["describe", "service", "s"], 1, "Desc service error : not found.");
    shell.prints(&["show", "plugins", "portable"], "[]\n");
    shell.fails(
        &["show", "plugins", "x"],
        2,
        "Invalid plugin type x, should be \"source\", \"sink\", \"function\" or \"portable\" or \"wasm\".",
    );
    shell.fails(
        &["create", "plugin", "portable", "p", "{}"],
        1,
        "Create plugin error: Missing plugin file url.",
    );
    shell.fails(&["describe", "plugin", "portable", "p"], 1, "Describe plugin error: not found");
}

#[test]
fn run_as_kuiper_the_output_is_upstreams_and_the_status_zero() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let own = tempfile::tempdir().expect("a temporary folder can be made");
    let kuiper = kuiper(&engine, own.path());
    let connecting = format!("Connecting to {}... \n", engine.api().url().trim_start_matches("http://"));
    let prints = |words: &[&str], out: &str| kuiper.prints(words, &format!("{connecting}{out}"));
    prints(
        &["create", "stream", "demo", "() WITH (TYPE=\"memory\", DATASOURCE=\"cli/3\")"],
        "Stream demo is created.\n\n",
    );
    prints(&["show", "streams"], "demo\n\n");
    std::fs::write(own.path().join("r1.json"), RULE).expect("the folder is ours");
    let created = "Creating a new rule from file r1.json.\nRule r1 was created successfully, please use 'bin/kuiper getstatus rule r1' \
                   command to get rule status.\n";
    prints(&["create", "rule", "r1", "-f", "r1.json"], created);
    prints(
        &["create", "rule", "r1", "-f", "gone.json"],
        "Creating a new rule from file gone.json.\nThe specified rule defenition file gone.json is not existed.\n",
    );
    prints(&["create", "rule", "r1", RULE], "Create rule r1 error : rule r1 already exists.\n");
    prints(&["create", "rule", "r1"], "Expect rule name and json.\nBut found 1 args:[r1].\n");
    prints(&["start", "rule", "r1"], "Rule r1 was started\n");
    prints(&["drop", "plugin", "portable", "p"], "Expect s flag to be a boolean value.\n");
    prints(&["drop", "rule", "r1"], "Rule r1 is dropped.\n");
    prints(&["drop", "stream", "demo"], "Stream demo is dropped.\n\n");
    engine.kill();
    prints(&["show", "streams"], "Failed to connect the server, please start the server.\n");
}

#[test]
fn a_configuration_is_checked_without_an_engine() {
    let Some(program) = thalweg() else { return };
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let etc = home.path().join("etc");
    std::fs::create_dir_all(etc.join("sources")).expect("the folder is ours");
    let write = |file: &str, text: &str| std::fs::write(etc.join(file), text).expect("the folder is ours");
    write(
        "kuiper.yaml",
        "basic:\n  restPort: 9082\n  restProt: 1\n  pprof: true\nportable:\n  secrets:\n    p: {pin: abc}\n",
    );
    write("mqtt_source.yaml", "default:\n  servr: tcp://127.0.0.1:1883\n");
    let variables = vec![("THALWEG__BASIC__LOGLEVEL".to_owned(), "warn".to_owned())];
    let shell = Shell { program, folder: home.path(), variables };
    let done = shell.run(&["config", "check"]);
    assert_eq!((done.status, done.err.as_str()), (Some(0), ""), "{done:?}");
    let lines: Vec<Vec<&str>> = done.out.lines().map(|line| line.split_whitespace().collect()).collect();
    for line in [
        &["key", "value", "from"][..],
        &["basic.restPort", "9082", "etc/kuiper.yaml"],
        &["basic.logLevel", "warn", "THALWEG__BASIC__LOGLEVEL"],
        &["basic.authentication", "false", "built", "in"],
        &["portable.secrets.p.pin", "***", "etc/kuiper.yaml"],
    ] {
        assert!(lines.contains(&line.to_vec()), "{line:?} is missing: {}", done.out);
    }
    for warning in [
        "warning: etc/kuiper.yaml: basic.restProt is no key; did you mean basic.restPort?\n",
        "warning: etc/kuiper.yaml: basic.pprof has no effect: there is no Go profiler\n",
        "warning: etc/mqtt_source.yaml: default.servr is no property of this source; did you mean server?\n",
    ] {
        assert!(done.out.contains(warning), "{warning:?} is missing: {}", done.out);
    }
    shell.fails(&["config", "check", "--strict"], 1, "etc/kuiper.yaml: basic.pprof has no effect");
    write("thalweg.yaml", "basic: {restPort: high}");
    shell.fails(&["config", "check"], 1, "configuration: basic.restPort must be a port number, not \"high\"");
    shell.fails(&["config", "check", "--etc", "nowhere"], 1, "there is no folder nowhere");
}

#[test]
fn kuiperd_finds_its_folders_and_provisions_what_files_define() {
    let Some(program) = thalweg() else { return };
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    for folder in ["etc/connections", "data", "log", "plugins", "bin"] {
        std::fs::create_dir_all(home.path().join(folder)).expect("the folder is ours");
    }
    let set = json!({
        "streams": {"demo": "CREATE STREAM demo () WITH (TYPE=\"memory\", DATASOURCE=\"cli/6\")"},
        "rules": {"r1": json!({"id": "r1", "sql": "SELECT * FROM demo", "actions": [{"nop": {}}]}).to_string()},
    });
    std::fs::write(home.path().join("etc/init.json"), set.to_string()).expect("the folder is ours");
    let connections = "mqtt:\n  localOne:\n    server: tcp://127.0.0.1:1\n  gone:\n    xOperation: delete\n";
    std::fs::write(home.path().join("etc/connections/connection.yaml"), connections)
        .expect("the folder is ours");
    let daemon = home.path().join("bin/kuiperd");
    symlink(program, &daemon).expect("the folder is ours");
    let engine = Engine::start_as(&daemon, &["-unknown"], &home.path().join("bin"), &[]);
    let api = engine.api();
    api.get("/streams").is(200, "[\"demo\"]");
    assert_eq!(api.status_when("r1", |status| status["status"] == "running")["status"], "running");
    let connection = api.get("/connections/localOne").json();
    assert_eq!(
        (&connection["typ"], &connection["props"]["server"]),
        (&"mqtt".into(), &"tcp://127.0.0.1:1".into())
    );
    api.call("DELETE", "/rules/r1", "").is(200, "Rule r1 is dropped.");
    api.call("DELETE", "/connections/localOne", "").is(200, "success");
    engine.terminate();
    let engine = Engine::start_as(&daemon, &[], &home.path().join("bin"), &[]);
    assert_eq!(engine.api().get("/rules").body, "[]", "what was imported once is not imported again");
    assert_eq!(engine.api().get("/connections").body, "[]");
    let printed = std::fs::read_to_string(home.path().join("bin/printed.txt")).expect("it is there");
    assert!(printed.contains("Serving kuiper (version - 2.4.0) on port 20498, "), "{printed}");
}

#[test]
fn rules_kept_in_files_are_applied_and_a_second_time_changes_nothing() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    let own = tempfile::tempdir().expect("a temporary folder can be made");
    let shell = shell(&engine, own.path());
    let folder = own.path().join("kept");
    std::fs::create_dir(&folder).expect("the folder is ours");
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).expect("the folder is ours");
    write("demo.sql", "CREATE STREAM demo () WITH (TYPE=\"memory\", DATASOURCE=\"cli/7\");\n");
    write("r1.json", RULE);
    write("r2.yaml", "sql: SELECT b FROM demo\nactions:\n  - nop: {}\n");
    let would = "created    stream demo\ncreated    rule r1\ncreated    rule r2\ndry run, nothing is changed: 3 created\n";
    shell.prints(&["rule", "apply", "-f", "kept", "--dry-run"], would);
    shell.prints(&["show", "streams"], "No stream definitions are found.\n");
    let created = "created    stream demo\ncreated    rule r1\ncreated    rule r2\n3 created\n";
    shell.prints(&["rule", "apply", "-f", "kept"], created);
    shell.prints(&["stop", "rule", "r2"], "Rule r2 was stopped.\n");
    let unchanged = "unchanged  stream demo\nunchanged  rule r1\nunchanged  rule r2\n3 unchanged\n";
    shell.prints(&["rule", "apply", "-f", "kept"], unchanged);
    write("r1.json", &RULE.replace("a > 1", "a > 2"));
    std::fs::remove_file(folder.join("r2.yaml")).expect("it is there");
    let changed =
        "unchanged  stream demo\nupdated    rule r1\nremoved    rule r2\n1 updated, 1 unchanged, 1 removed\n";
    shell.prints(&["rule", "apply", "-f", "kept", "--prune"], changed);
    assert_eq!(engine.api().get("/rules/r1").json()["sql"], "SELECT a FROM demo WHERE a > 2");
    assert_eq!(engine.api().get("/rules/r2").status, 404);
    write("bad.json", "{\"sql\": \"SELECT\", \"actions\": [{\"nop\": {}}]}");
    let failed = shell.run(&["rule", "apply", "-f", "kept"]);
    assert_eq!(failed.status, Some(1), "{failed:?}");
    assert!(
        failed.out.contains("failed     rule bad\n") && failed.out.ends_with("2 unchanged, 1 failed\n"),
        "{failed:?}"
    );
    assert!(failed.err.starts_with("thalweg: rule bad: invalid rule json: "), "{failed:?}");
    shell.fails(&["rule", "apply", "-f", "none"], 1, "none: ");
}

/// A stream that has a row every few milliseconds.
const ROWS: &str = r#"CREATE STREAM ticking () WITH (TYPE="simulator", EXTRA="{\"interval\":\"10ms\",\"data\":[{\"a\":1}],\"loop\":true}")"#;

#[test]
fn queries_are_shown_alone_and_in_a_shell_and_leave_nothing_behind() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    engine.api().sql(ROWS);
    let shell = shell(&engine, home.path());
    let rows = "[{\"a\":1}]\n";
    shell.prints(&["query", "--limit", "2", "SELECT a FROM ticking"], &rows.repeat(2));
    shell.fails(&["query", "SELECT a FROM nowhere"], 1, "fail to get stream nowhere");
    let lines = "\nshow streams\nSELECT b AS FROM ticking\nSELECT a FROM ticking;\n";
    let done = shell.run_with(&["query", "--limit", "1"], lines);
    assert_eq!(done.status, Some(0), "{done:?}");
    let expected = format!("Query was submit successfully.\n{rows}");
    assert!(done.out.starts_with("ticking\n") && done.out.ends_with(&expected), "{done:?}");
    let own = tempfile::tempdir().expect("a temporary folder can be made");
    let kuiper = kuiper(&engine, own.path());
    let done = kuiper.run_with(&["query"], "SELECT a FROM ticking\nquit\n");
    assert_eq!(done.status, Some(0), "{done:?}");
    assert!(done.out.contains("... \nkuiper > Query was submit successfully.\n"), "{done:?}");
    assert_eq!(engine.api().get("/rules").body, "[]", "a query is no rule");
}

#[test]
fn a_query_whose_shell_is_killed_ends_by_itself() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    engine.api().sql(ROWS);
    let mut command = Command::new(thalweg().expect("the binary was there"));
    command.args(["query", "--url", engine.api().url(), "SELECT a FROM ticking"]);
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it can be run");
    let mut first = [0; 5];
    process.stdout.take().expect("it is piped").read_exact(&mut first).expect("a row comes");
    assert_eq!(&first, b"[{\"a\"");
    let started = |id: &str| engine.api().call("POST", &format!("/ruletest/{id}/start"), "").status;
    let id = format!("thalweg-query-{}-1", process.id());
    assert_eq!(started(&id), 200, "it is there, and starting it again does nothing");
    process.kill().expect("it is ours");
    process.wait().expect("it was killed");
    wait::until_true("the end of the query", || started(&id) == 400);
}

#[test]
fn bash_completes_commands_and_the_names_that_the_engine_has() {
    let home = tempfile::tempdir().expect("a temporary folder can be made");
    let Some(engine) = Engine::start(home.path(), &[]) else { return };
    engine.api().sql("CREATE STREAM cli_one () WITH (TYPE=\"memory\", DATASOURCE=\"cli/4\")");
    engine.api().sql("CREATE STREAM cli_two () WITH (TYPE=\"memory\", DATASOURCE=\"cli/5\")");
    let shell = shell(&engine, home.path());
    let script = shell.run(&["completion", "bash"]).out;
    let file = home.path().join("completion.bash");
    std::fs::write(&file, script).expect("the folder is ours");
    // As bash calls it when the key is pressed behind these words.
    let press = "source \"$1\"; shift; COMP_WORDS=(\"$@\"); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _thalweg; echo \"${COMPREPLY[*]}\"";
    let complete = |words: &[&str]| {
        let mut command = Command::new("bash");
        command.args(["-c", press, "bash"]).arg(&file).arg(&shell.program).args(words).stdin(Stdio::null());
        command.envs(shell.variables.iter().map(|(name, value)| (name, value)));
        let output = command.output().expect("bash can be run");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(complete(&["getto"]), "gettopo\n");
    assert_eq!(complete(&["drop", "stream", "cli_"]), "cli_one cli_two\n");
    for other in ["zsh", "fish"] {
        let script = shell.run(&["completion", other]);
        assert!(script.status == Some(0) && script.out.contains("complete-words"), "{other}: {script:?}");
    }
}

#[test]
fn the_exit_status_tells_usage_from_an_engine_that_is_not_there() {
    let Some(program) = thalweg() else { return };
    let own = tempfile::tempdir().expect("a temporary folder can be made");
    let shell = Shell { program, folder: own.path(), variables: Vec::new() };
    let done = shell.run(&["show", "streams", "--url", "http://127.0.0.1:1"]);
    assert_eq!(done.status, Some(3), "{done:?}");
    assert!(done.err.starts_with("thalweg: cannot reach an engine at http://127.0.0.1:1: "), "{done:?}");
    assert_eq!(shell.run(&["show", "nothing"]).status, Some(2));
    assert_eq!(shell.run(&["no-such-command"]).status, Some(2));
    let help = shell.run(&["--help"]);
    for command in ["serve", "create", "show", "drop", "import", "export", "explain", "plugin"] {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command} is not in the help: {}", help.out);
    }
    for words in [&["create", "rule"][..], &["show", "streams"], &["drop", "plugin"], &["export", "data"]] {
        let help = shell.run(&[words, &["--help"]].concat());
        let usage = format!("Usage: thalweg {}", words.join(" "));
        assert!(help.status == Some(0) && help.out.contains(&usage), "{words:?}: {help:?}");
    }
}
