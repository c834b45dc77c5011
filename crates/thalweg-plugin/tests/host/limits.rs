//! Limits of plugins (`portable-plugins.md` 3.1): what goes over one is ended or slowed down, and says why.

use std::time::{Duration, Instant};

use serde_json::json;
use thalweg_core::Value;
use thalweg_plugin::PluginLimits;

use crate::subject::*;

fn limited(limits: &serde_json::Value) -> Subject {
    let mut subject = Subject::misbehave();
    subject.manifest["limits"] = limits.clone();
    subject
}

fn ask(bench: &Bench, plugin: &str, what: &str, argument: Value) -> Result<Value, String> {
    bench.call(&format!("{plugin}_do"), &[Value::text(what), argument])
}

#[test]
fn a_plugin_that_leaks_is_ended_at_its_limit_and_comes_back_while_its_neighbour_runs_on() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| config.recv_timeout = LONG);
        let name = bench.install(&limited(&json!({"memory": "96MiB"})));
        let neighbour = bench.install(&Subject::misbehave());
        let leaking = ask(&bench, &name, "leak", Value::Null);
        let reason = "signal 9: went over its memory limit of 96 MiB";
        let expected =
            format!("call func {name}_do error: plugin {name} ended ({reason}) while calling {name}_do");
        // Where calls come in batches it is tried once more, and that is said.
        assert!(leaking.as_ref().unwrap_err().starts_with(&expected), "{leaking:?}");
        let status = bench.host.status(&name).unwrap();
        assert_eq!(status.last_exit.as_deref(), Some(reason));
        assert_eq!(ask(&bench, &name, "echo", Value::text("back")), Ok(Value::text("back")));
        let status = bench.host.status(&neighbour).unwrap();
        assert_eq!((status.restarts, status.last_exit), (0, None));
        let usage = status.usage.unwrap();
        assert!(usage.processes == 1 && usage.memory_bytes > 1 << 20, "{usage:?}");
    });
}

#[test]
fn a_plugin_over_its_share_of_the_processor_is_slowed_down_and_not_ended() {
    let bench = Bench::with(&Sdk::Bundled, |config| config.recv_timeout = LONG);
    let name = bench.install(&limited(&json!({"cpu": 0.05})));
    let pid = bench.host.status(&name).unwrap().pid;
    let start = Instant::now();
    assert_eq!(ask(&bench, &name, "burn", Value::Int(200)), Ok(Value::Float(200.0)));
    // At a twentieth of a core, of which 25 ms were saved up: a good deal longer than 200 ms, whatever else runs here.
    assert!(start.elapsed() > Duration::from_secs(1), "{:?}", start.elapsed());
    let status = bench.host.status(&name).unwrap();
    assert!(status.throttled_ms > 500, "{}", status.throttled_ms);
    assert_eq!((status.pid, status.restarts), (pid, 0));
    // It is stopped or not: either way it ends when it is told to.
    bench.host.shutdown();
    assert!(!is_alive(pid.unwrap()));
}

#[test]
fn a_plugin_that_forks_beyond_its_limit_is_ended_with_all_of_its_processes() {
    let bench = Bench::with(&Sdk::Bundled, |config| config.recv_timeout = LONG);
    let name = bench.install(&limited(&json!({"processes": 4})));
    let Ok(Value::Float(child)) = ask(&bench, &name, "fork", Value::Null) else { panic!("no child") };
    // It may have answered before it was seen, but it does not last.
    let _ = ask(&bench, &name, "bomb", Value::Int(10));
    eventually("it is ended", || {
        bench.host.status(&name).unwrap().last_exit.as_deref()
            == Some("signal 9: went over its limit of 4 processes")
    });
    eventually("its children are gone", || !is_alive(child as u32));
    assert_eq!(ask(&bench, &name, "echo", Value::text("back")), Ok(Value::text("back")));
}

#[test]
fn open_files_are_limited_and_the_error_is_the_calls() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| {
            config.limits = PluginLimits { open_files: Some(64), ..PluginLimits::default() }
        });
        let name = bench.install(&Subject::misbehave());
        assert_eq!(ask(&bench, &name, "open", Value::Int(10)), Ok(Value::Float(10.0)));
        let error = ask(&bench, &name, "open", Value::Int(100)).unwrap_err();
        assert!(error.contains("Too many open files"), "{error}");
        assert_eq!(bench.host.status(&name).unwrap().restarts, 0);
    });
}

#[test]
fn the_time_for_a_call_is_the_plugins_own() {
    let bench = Bench::with(&Sdk::Bundled, |config| config.recv_timeout = Duration::from_millis(50));
    let patient = bench.install(&limited(&json!({"callTimeout": "30s"})));
    let hasty = bench.install(&limited(&json!({"callTimeout": 60})));
    assert_eq!(ask(&bench, &patient, "burn", Value::Int(200)), Ok(Value::Float(200.0)));
    let error = ask(&bench, &hasty, "burn", Value::Int(5_000)).unwrap_err();
    assert!(error.ends_with("did not answer within 60ms"), "{error}");
    let limits = bench.host.status(&hasty).unwrap().limits;
    assert_eq!(serde_json::to_value(limits).unwrap(), json!({"callTimeout": 60}));
}

#[test]
fn a_limit_that_means_nothing_refuses_the_package() {
    let bench = Bench::new(&Sdk::Bundled);
    let request = limited(&json!({"memory": "a lot"})).request(bench.home.path());
    let error = bench.host.install(&request).unwrap_err().to_string();
    assert!(
        error.ends_with(
            "invalid plugin, limits: memory must be a size such as \"512MiB\" or bytes, not \"a lot\""
        ),
        "{error}"
    );
}

#[test]
fn a_process_that_has_left_the_group_ends_with_its_plugin_all_the_same() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::misbehave());
        let Ok(Value::Float(daemon)) = ask(&bench, &name, "daemon", Value::Null) else { panic!("no daemon") };
        assert!(is_alive(daemon as u32));
        bench.host.shutdown();
        eventually("the daemon is gone", || !is_alive(daemon as u32));
    });
}
