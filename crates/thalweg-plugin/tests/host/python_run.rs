//! Distributions at work: changed under load, in processes of their own, spread over several (`portable-plugins.md`
//! 11.2, 12.6, 12.8).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use serde_json::json;
use thalweg_core::connector::SinkPort;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Column, ColumnRef, Selection, Timestamp, Value};
use thalweg_expr::function::{CallCx, Frame, RemoteFunction};
use thalweg_expr::registry::RemoteFunctions;
use thalweg_plugin::{Install, What};

use crate::flows::write_all;
use crate::ports::*;
use crate::subject::*;
use crate::wheel::*;

#[test]
fn an_upgrade_fails_no_call_and_keeps_what_a_function_remembers() {
    let yard = Yard::new();
    let (f, count) = (yard.name("f"), yard.name("count"));
    let wheel = |version: &str| {
        Wheel::new("acme-math", version)
            .entry("functions", &format!("{f} = acme_math:f\n{count} = acme_math:count"))
            .file("acme_math.py", &format!(
                "from thalweg_sdk import Context, function\n\n\ndef f():\n    return '{version}'\n\n\n@function\ndef count(ctx: Context) -> int:\n    ctx.state['n'] = ctx.state.get('n', 0) + 1\n    return ctx.state['n']\n"
            ))
    };
    yard.install(&wheel("1.0")).unwrap();
    let [said, counted] = [&f, &count].map(|name| yard.bench.host.resolve(name).unwrap().unwrap());
    let (is_over, seen) = (AtomicBool::new(false), Mutex::new(Vec::new()));
    let saw = |all: &[&str]| *seen.lock().unwrap() == all.iter().map(Value::text).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let caller = scope.spawn(|| {
            let mut n = 0.0;
            // A test that fails elsewhere must not wait for this one.
            let start = Instant::now();
            while !is_over.load(Ordering::Relaxed) && start.elapsed() < 8 * LONG {
                let text = call(&*said, &[]).unwrap();
                let mut seen = seen.lock().unwrap();
                if seen.last() != Some(&text) {
                    seen.push(text);
                }
                drop(seen);
                n += 1.0;
                assert_eq!(call(&*counted, &[]), Ok(Value::Float(n)), "it counts on");
            }
        });
        let is_there = |all: &[&str]| eventually("a call", || saw(all) || caller.is_finished());
        is_there(&["1.0"]);
        yard.install(&wheel("2.0")).unwrap();
        is_there(&["1.0", "2.0"]);
        yard.roll_back().unwrap();
        is_there(&["1.0", "2.0", "1.0"]);
        is_over.store(true, Ordering::Relaxed);
        caller.join().unwrap();
    });
    assert!(saw(&["1.0", "2.0", "1.0"]));
    assert_eq!(yard.says(&f).as_deref(), Ok("1.0"));
}

#[test]
fn sources_and_sinks_of_rules_go_on_in_the_next_version() {
    let yard = Yard::new();
    let (source, sink) = (yard.name("ticks"), yard.name("lines"));
    let wheel = |version: &str| {
        Wheel::new("acme-io", version)
            .entry("sources", &format!("{source} = acme_io:ticks"))
            .entry("sinks", &format!("{sink} = acme_io:lines"))
            .file("acme_io.py", &format!(
                "from thalweg_sdk import sink, source\n\n\n@source\ndef ticks(ctx, config):\n    while not ctx.stopping.wait(0.01):\n        yield {{'version': '{version}'}}\n\n\n@sink\ndef lines(row, config):\n    with open(config['path'], 'a') as file:\n        file.write('{version} %s\\n' % row['i'])\n"
            ))
    };
    yard.install(&wheel("1.0")).unwrap();
    let path = yard.bench.home.path().join("lines");
    let (rule, port) = (format!("{}r", yard.env), Arc::new(Port::default()));
    let running = run_source(&yard.bench, &source, &build_cx(&yard.bench, &rule, "demo", &[]), &port);
    let is_there = |version: &str| {
        let wanted = Value::text(version);
        port.wait(version, |seen| seen.rows.iter().any(|row| row["version"] == wanted).then_some(()));
    };
    is_there("1.0");
    let props = [("path", json!(path.display().to_string())), ("requireAck", json!(true))];
    let cx = build_cx(&yard.bench, &rule, "out", &props);
    let mut out = yard.bench.registry.sink(&sink).unwrap().sink(&cx).unwrap().unwrap();
    block_on(out.open(Arc::new(Port::default()) as Arc<dyn SinkPort>)).unwrap();
    write_all(&mut *out, [r#"{"i":1}"#.to_owned()]);
    yard.install(&wheel("2.0")).unwrap();
    is_there("2.0");
    write_all(&mut *out, [r#"{"i":2}"#.to_owned()]);
    let written = fs::read_to_string(&path).unwrap();
    assert_eq!(written.lines().collect::<Vec<_>>(), ["1.0 1", "2.0 2"]);
    block_on(out.close()).unwrap();
    port.stop();
    running.join().unwrap().unwrap();
}

/// Calls for these rows, and for groups of two if asked; the results as they come.
fn spread(function: &dyn RemoteFunction, n: usize, as_groups: bool) -> Vec<Value> {
    let column = Column::from_floats((0..n).map(|row| row as f64));
    let (args, rows) = ([ColumnRef::borrowed(&column)], Selection::all(n));
    let groups: Vec<u32> = (0..n as u32).map(|row| row / 2).collect();
    let metrics = NodeMetrics::default();
    let cx = CallCx { rule: "rule1", node: "2_project", call_id: 0, now: Timestamp(0), metrics: &metrics };
    let groups = as_groups.then_some((&groups[..], n / 2));
    let mut out = Column::new();
    function.call(&Frame { args: &args, rows: &rows, groups }, &mut out, &cx);
    (0..out.len()).map(|row| out.cell(row).to_value()).collect()
}

/// The processes that have answered, and the values in the order in which they came.
fn split(answers: &[Value]) -> (BTreeSet<String>, Vec<f64>) {
    let parts = answers.iter().map(|answer| match answer {
        Value::Str(text) => text.split_once(' ').unwrap(),
        other => panic!("{other:?}"),
    });
    let (pids, values): (Vec<&str>, Vec<&str>) = parts.unzip();
    (
        pids.into_iter().map(str::to_owned).collect(),
        values.iter().map(|value| value.parse().unwrap()).collect(),
    )
}

#[test]
fn functions_marked_parallel_are_spread_over_workers_in_order_and_others_are_not() {
    let yard = Yard::new();
    let [free, bound, sums] = ["free", "bound", "sums"].map(|name| yard.name(name));
    let wheel = Wheel::new("acme-math", "1.0")
        .entry("functions", &format!("{free} = acme_math:free\n{bound} = acme_math:bound\n{sums} = acme_math:Sums"))
        .file(
            "acme_math.py",
            "import os\nfrom thalweg_sdk import Context, Function, function\n\n\n@function(parallel=True)\ndef free(x: float):\n    return '%d %r' % (os.getpid(), x)\n\n\n@function(parallel=True)\ndef bound(x: float, ctx: Context):\n    return '%d %r' % (os.getpid(), x)\n\n\nclass Sums(Function):\n    parallel = True\n\n    def is_aggregate(self):\n        return True\n\n    def exec(self, args, ctx):\n        return '%d %r' % (os.getpid(), sum(args[0]))\n",
        );
    let file = What::File(wheel.write(&yard.wheels()));
    yard.run(&Install { workers: Some(3), ..yard.request(file) }).unwrap();
    let hosts = yard.list()["hosts"].clone();
    assert_eq!(hosts.as_array().unwrap().len(), 3, "{hosts}");
    let resolve = |name: &str| yard.bench.host.resolve(name).unwrap().unwrap();
    let (pids, values) = split(&spread(&*resolve(&free), 1000, false));
    assert_eq!(values, (0..1000).map(f64::from).collect::<Vec<_>>());
    assert_eq!(pids.len(), 3);
    let (pids, values) = split(&spread(&*resolve(&sums), 1000, true));
    assert_eq!(values, (0..500).map(|group| f64::from(group * 4 + 1)).collect::<Vec<_>>());
    assert_eq!(pids.len(), 3);
    // What may remember something stays in one process.
    let (pids, _) = split(&spread(&*resolve(&bound), 1000, false));
    assert_eq!(pids.len(), 1);
    // A worker that dies is started again, and no call fails.
    let host = hosts[1]["name"].as_str().unwrap();
    let pid = hosts[1]["pid"].as_u64().unwrap();
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
    eventually("the end of the worker", || !is_alive(pid as u32));
    let (_, values) = split(&spread(&*resolve(&free), 1000, false));
    assert_eq!(values.len(), 1000, "{host}");
    // One process again.
    let less = Install {
        distribution: Some("acme-math".to_owned()),
        workers: Some(1),
        ..yard.request(What::Nothing)
    };
    yard.run(&less).unwrap();
    assert_eq!(yard.list()["hosts"].as_array().unwrap().len(), 1);
    assert_eq!(split(&spread(&*resolve(&free), 1000, false)).0.len(), 1);
}

#[test]
fn an_isolated_distribution_has_a_process_of_its_own_whose_end_concerns_no_other() {
    let yard = Yard::new();
    let (f, g) = (yard.name("f"), yard.name("g"));
    yard.install(&yard.constant("acme-math", "1.0", &f, "one")).unwrap();
    let exits = Wheel::new("acme-wild", "1.0")
        .entry("functions", &format!("{g} = acme_wild:g"))
        .file("acme_wild.py", "import os\n\n\ndef g():\n    os._exit(7)\n");
    let file = What::File(exits.write(&yard.wheels()));
    yard.run(&Install { isolate: Some(true), ..yard.request(file) }).unwrap();
    let pid = |name: &str| {
        let list = yard.list();
        let host = list["hosts"].as_array().unwrap().iter().find(|host| host["name"] == name).cloned();
        host.unwrap()["pid"].as_u64()
    };
    let shared = format!("{}-host", yard.env);
    let before = pid(&shared).unwrap();
    let own = format!("{}-acme-wild-host", yard.env);
    assert!(pid(&own).is_some());
    let error = yard.says(&g).unwrap_err();
    assert!(error.contains(&format!("plugin {own} ended (exit code 7)")), "{error}");
    assert_eq!((yard.says(&f).as_deref(), pid(&shared)), (Ok("one"), Some(before)));
    assert_eq!(yard.list()["distributions"][1]["isolate"], true);
    yard.remove("acme-wild", false).unwrap();
    assert_eq!(yard.list()["hosts"].as_array().unwrap().len(), 1);
}

#[test]
fn an_editable_install_runs_from_its_folder_and_reload_takes_in_what_was_edited() {
    let yard = Yard::new();
    let f = yard.name("f");
    let project = yard.bench.home.path().join("project");
    let write = |text: &str| {
        fs::write(project.join("acme_edit.py"), format!("def f():\n    return '{text}'\n")).unwrap();
    };
    fs::create_dir(&project).unwrap();
    write("first");
    fs::write(project.join("pyproject.toml"), "[project]\nname = \"acme-edit\"\nversion = \"1.0\"\n[build-system]\nrequires = []\nbuild-backend = \"backend\"\nbackend-path = [\".\"]\n").unwrap();
    fs::write(project.join("backend.py"), BACKEND.replace("FUNCTION", &f)).unwrap();
    let changed = yard.run(&yard.request(What::Editable(project.display().to_string()))).unwrap();
    assert_eq!(changed.changes, [json!({"name": "acme-edit", "from": null, "to": "1.0"})]);
    assert_eq!(yard.says(&f).as_deref(), Ok("first"));
    let shown = yard.bench.host.python().describe(&yard.env, "acme-edit", &|_, _| Vec::new()).unwrap();
    assert_eq!(shown["editable"], true);
    write("second");
    yard.bench.host.python().reload(&yard.env, false, &|_, _| Vec::new()).unwrap();
    assert_eq!(yard.says(&f).as_deref(), Ok("second"));
}

/// A build backend without dependencies: the wheel of an editable install holds a path file.
const BACKEND: &str = r#"
import os
import zipfile

INFO = "acme_edit-1.0.dist-info"


def build_editable(folder, config_settings=None, metadata_directory=None):
    name = "acme_edit-1.0-py3-none-any.whl"
    files = {
        "acme_edit.pth": os.path.dirname(os.path.abspath(__file__)),
        INFO + "/METADATA": "Metadata-Version: 2.1\nName: acme-edit\nVersion: 1.0\n",
        INFO + "/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        INFO + "/entry_points.txt": "[thalweg.functions]\nFUNCTION = acme_edit:f\n",
    }
    files[INFO + "/RECORD"] = "".join(path + ",,\n" for path in files) + INFO + "/RECORD,,\n"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
"#;

fn sha256(path: &Path) -> String {
    let out = std::process::Command::new(python())
        .args([
            "-c",
            "import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], 'rb').read()).hexdigest())",
        ])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_lock_with_hashes_holds_for_everything_that_is_installed() {
    let yard = Yard::new();
    let (f, g) = (yard.name("f"), yard.name("g"));
    let base = yard.constant("acme-base", "1.0", &g, "base").write(&yard.wheels());
    let math = yard.constant("acme-math", "1.0", &f, "one").requires("acme-base").write(&yard.wheels());
    let line = |name: &str, hash: &str| format!("{name}==1.0 --hash=sha256:{hash}\n");
    let lock = |lines: &[String]| Install { lock: Some(lines.concat()), ..yard.request(What::Nothing) };
    let (right, wrong) = (line("acme-base", &sha256(&base)), line("acme-base", &"0".repeat(64)));
    let own = line("acme-math", &sha256(&math));
    for (lines, why) in [
        (vec![own.clone(), wrong], "THESE PACKAGES DO NOT MATCH THE HASHES"),
        (vec![own.clone()], "all requirements must have their versions pinned"),
        (vec!["--index-url http://localhost:1\n".to_owned(), own.clone()], "requirements only"),
    ] {
        let refused = yard.run(&lock(&lines)).unwrap_err().to_string();
        assert!(refused.contains(why), "{refused}");
        assert_eq!(yard.installed(), Vec::<String>::new());
    }
    let other = Install { what: What::Package("acme-other".to_owned()), ..lock(std::slice::from_ref(&own)) };
    assert_eq!(yard.run(&other).unwrap_err().to_string(), "the lock does not list acme-other");
    let both = Install { what: What::Package("acme-math".to_owned()), ..lock(&[own, right]) };
    yard.run(&both).unwrap();
    assert_eq!((yard.says(&f).as_deref(), yard.says(&g).as_deref()), (Ok("one"), Ok("base")));
}
