//! Two engines on one machine (`portable-plugins.md` 4.2), and what one that was killed leaves behind.

use std::fs;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;
use thalweg_core::Value;
use thalweg_plugin::{HostConfig, PluginHost};

use crate::ports::*;
use crate::subject::*;

#[test]
fn a_second_engine_with_the_same_plugin_has_its_own_sockets_on_the_bundled_sdk() {
    let (first, second) = (Bench::new(&Sdk::Bundled), Bench::new(&Sdk::Bundled));
    let subject = Subject::echo();
    let name = first.install(&subject);
    second.install(&subject);
    let pid = |bench: &Bench| bench.host.status(&name).unwrap().pid.unwrap();
    assert_ne!(pid(&first), pid(&second));
    let who = |bench: &Bench| match bench.call(&format!("{name}_who"), &[Value::Int(1)]) {
        Ok(Value::Map(who)) => who["pid"].clone(),
        other => panic!("{other:?}"),
    };
    for bench in [&first, &second, &first] {
        assert_eq!(who(bench), Value::Float(f64::from(pid(bench))), "each calls its own process");
    }
    // The same rule in both, from a source of the plugin to a sink of it.
    let rows = |bench: &Bench| {
        let port = std::sync::Arc::new(Port::default());
        let cx = build_cx(bench, &format!("{name}r"), "demo", &[("count", json!(3))]);
        let run = run_source(bench, &format!("{name}_count"), &cx, &port);
        let pids = port.wait("three rows", |seen| {
            (seen.rows.len() == 3).then(|| seen.rows.iter().map(|row| row["pid"].clone()).collect::<Vec<_>>())
        });
        (port, run, pids)
    };
    let (one, two) = (rows(&first), rows(&second));
    assert_eq!(one.2, vec![Value::Float(f64::from(pid(&first))); 3]);
    assert_eq!(two.2, vec![Value::Float(f64::from(pid(&second))); 3]);
    let written = |bench: &Bench| {
        let path = bench.home.path().join("lines");
        let props = [("path", json!(path)), ("acks", json!(true)), ("requireAck", json!(true))];
        let mut sink =
            build_sink(bench, &format!("{name}_lines"), &build_cx(bench, &format!("{name}r"), "s_0", &props));
        block_on(sink.open(std::sync::Arc::new(Port::default()))).unwrap();
        let done = block_on(sink.write(&messages(["x".to_owned()])));
        assert!(done.error.is_none(), "{:?}", done.error);
        block_on(sink.close()).unwrap();
        fs::read_to_string(path).unwrap()
    };
    assert_eq!((written(&first), written(&second)), ("x\n".to_owned(), "x\n".to_owned()));
    for (port, run, _) in [one, two] {
        port.stop();
        run.join().unwrap().unwrap();
    }
    // The end of the one is nothing to the other, and neither leaves anything.
    first.host.shutdown();
    assert_eq!(who(&second), Value::Float(f64::from(pid(&second))));
    second.host.shutdown();
    let left = fs::read_dir("/tmp")
        .unwrap()
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().contains(&name));
    assert_eq!(left.count(), 0);
}

#[test]
fn a_second_engine_whose_plugin_cannot_be_told_another_place_fails_loudly_and_the_first_goes_on() {
    let refuse = |sdk: &Sdk, subject: &Subject| {
        let (first, second) = (Bench::new(sdk), Bench::new(sdk));
        let name = first.install(subject);
        let error = second.host.install(&subject.request(second.home.path())).unwrap_err().to_string();
        let expected = format!("cannot listen on /tmp/plugin_{name}.ipc: another process listens there");
        assert!(error.contains(&expected), "{error}");
        assert_eq!(first.call(&format!("{name}_echo"), &[Value::Int(1)]), Ok(Value::Float(1.0)));
    };
    if let Some(real) = real_sdk() {
        refuse(&real, &Subject::echo());
    }
    // A package that brings a module of this name beside its script, which is ours in disguise here.
    let own = "import os, sys\nfolder = os.environ['PYTHONPATH'].split(':')[0]\n\
               sys.path.insert(0, folder)\ndel sys.modules['ekuiper']\n\
               import importlib\nsys.modules[__name__] = importlib.import_module('ekuiper')\n";
    refuse(&Sdk::Bundled, &Subject::echo().file("ekuiper.py", own));
}

#[test]
fn a_function_that_another_engine_has_under_another_plugin_is_no_obstacle() {
    let (first, second) = (Bench::new(&Sdk::Bundled), Bench::new(&Sdk::Bundled));
    let subject = Subject::echo();
    let name = first.install(&subject);
    let echo = format!("{name}_echo");
    assert_eq!(first.call(&echo, &[Value::Int(1)]), Ok(Value::Float(1.0)));
    let mut other = Subject::misbehave();
    other.manifest["functions"] = json!([echo]);
    let script = String::from_utf8(other.files[0].1.clone()).unwrap();
    other.files[0].1 = script.replace("NAME + \"_do\"", &format!("{echo:?}")).into_bytes();
    second.install(&other);
    assert_eq!(second.call(&echo, &[Value::text("echo"), Value::Int(2)]), Ok(Value::Float(2.0)));
    assert_eq!(first.call(&echo, &[Value::Int(1)]), Ok(Value::Float(1.0)));
}

/// The engine of the next test, in a process of its own that is told to be one by its environment.
#[test]
fn engine_to_be_killed() {
    let Ok(home) = std::env::var("THALWEG_TEST_ENGINE") else { return };
    let home = Path::new(&home);
    let registry = std::sync::Arc::new(thalweg_core::registry::Registry::new(&[], &[]));
    let host = PluginHost::new(HostConfig::in_home(home), registry.clone());
    host.start_all();
    let subject = Subject::misbehave();
    host.install(&subject.request(home)).unwrap();
    let bench = Bench { host, registry, home: tempfile::tempdir().unwrap() };
    let name = &subject.name;
    let Ok(Value::Float(daemon)) = bench.call(&format!("{name}_do"), &[Value::text("daemon")]) else {
        panic!("no daemon")
    };
    let pid = bench.host.status(name).unwrap().pid.unwrap();
    fs::write(home.join("new"), format!("{pid} {daemon} {name}")).unwrap();
    fs::rename(home.join("new"), home.join("told")).unwrap();
    loop {
        std::thread::park();
    }
}

#[test]
fn a_plugin_does_not_outlive_an_engine_that_was_killed_and_the_next_one_removes_the_rest() {
    let home = tempfile::tempdir().unwrap();
    let told = home.path().join("told");
    let mut engine = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "two_engines::engine_to_be_killed"])
        .env("THALWEG_TEST_ENGINE", home.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    eventually("the engine has its plugin", || told.exists());
    let told = fs::read_to_string(told).unwrap();
    let mut words = told.split(' ');
    let mut number = || words.next().unwrap().parse::<u32>().unwrap();
    let (pid, daemon) = (number(), number());
    let name = words.next().unwrap();
    assert!(is_alive(pid) && is_alive(daemon));
    engine.kill().unwrap();
    engine.wait().unwrap();
    eventually("the plugin is gone", || !is_alive(pid));
    let sockets = [format!("/tmp/plugin_{name}.ipc"), format!("/tmp/func_{name}_do.ipc")];
    assert!(sockets.iter().all(|path| Path::new(path).exists()), "nobody could remove them");
    // Another engine's process is nothing to the next one of this home; what this home has left is.
    fs::remove_dir_all(home.path().join("plugins")).unwrap();
    let stranger = Bench::new(&Sdk::Bundled);
    let other = stranger.install(&Subject::misbehave());
    let registry = std::sync::Arc::new(thalweg_core::registry::Registry::new(&[], &[]));
    let next = PluginHost::new(HostConfig::in_home(home.path()), registry);
    assert_eq!(next.start_all(), [] as [String; 0]);
    assert!(!sockets.iter().any(|path| Path::new(path).exists()), "they are gone");
    eventually("what had left the group is gone", || !is_alive(daemon));
    assert_eq!(stranger.host.status(&other).unwrap().restarts, 0);
}

#[test]
fn a_socket_that_a_killed_engine_has_left_is_taken_over() {
    let bench = Bench::new(&Sdk::Bundled);
    let subject = Subject::misbehave();
    for path in [format!("/tmp/plugin_{}.ipc", subject.name), format!("/tmp/func_{}_do.ipc", subject.name)] {
        drop(UnixListener::bind(path).unwrap());
    }
    let name = bench.install(&subject);
    assert_eq!(
        bench.call(&format!("{name}_do"), &[Value::text("echo"), Value::Int(1)]),
        Ok(Value::Float(1.0))
    );
}
