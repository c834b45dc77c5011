//! Health (`portable-plugins.md` 9.1): a process that is alive and does nothing is seen, by the rules that use it and by
//! no others, and so is its recovery.

use std::fs;
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use thalweg_core::Value;
use thalweg_expr::registry::{HostTrouble, RemoteFunctions};

use crate::subject::*;

/// What the rule of [`call`] suffers from.
fn troubles(bench: &Bench) -> Vec<HostTrouble> {
    bench.host.troubles("rule1")
}

fn health(bench: &Bench, plugin: &str) -> &'static str {
    bench.host.status(plugin).unwrap().health
}

fn signal(name: &str, pid: u32) {
    let done = Command::new("kill").args([format!("-{name}"), pid.to_string()]).status().unwrap();
    assert!(done.success());
}

#[test]
fn a_hung_call_shows_at_the_rule_that_made_it_until_it_ends_and_at_no_other() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| {
            config.recv_timeout = Duration::from_millis(50);
            config.send_timeout = Duration::from_millis(50);
        });
        let (hung, well) = (bench.install(&Subject::misbehave()), bench.install(&Subject::misbehave()));
        let flag = bench.home.path().join("flag");
        fs::write(&flag, "").unwrap();
        let hanging = bench.host.resolve(&format!("{hung}_do")).unwrap().unwrap();
        assert_eq!(troubles(&bench), []);
        call(&*hanging, &[Value::text("hang"), Value::text(flag.display().to_string())]).unwrap_err();
        eventually("it is seen", || !troubles(&bench).is_empty());
        let seen = troubles(&bench).remove(0);
        assert_eq!((seen.node.as_str(), seen.cause, seen.is_failing), ("op_2_project", "plugin_hung", true));
        assert!(
            seen.hint.starts_with(&format!("{hung}_do of plugin {hung} has not answered for ")),
            "{seen:?}"
        );
        assert_eq!((health(&bench, &hung), health(&bench, &well)), ("failing", "ok"));
        assert_eq!(bench.host.troubles("another rule"), []);
        // The neighbour answers while the other one hangs.
        let echo = [Value::text("echo"), Value::text("x")];
        let neighbour = bench.host.resolve(&format!("{well}_do")).unwrap().unwrap();
        eventually("the neighbour answers", || call(&*neighbour, &echo) == Ok(Value::text("x")));
        fs::remove_file(&flag).unwrap();
        eventually("it is well again", || troubles(&bench).is_empty() && health(&bench, &hung) == "ok");
        eventually("it answers again", || call(&*hanging, &echo) == Ok(Value::text("x")));
        // Nobody calls it any more.
        drop(hanging);
        bench.host.delete(&hung).unwrap();
        assert_eq!(troubles(&bench), []);
        // Somebody still calls this one.
        bench.host.delete(&well).unwrap();
        assert_eq!(
            troubles(&bench)[0].hint,
            format!("no plugin offers function {well}_do any more: install it again")
        );
    });
}

#[test]
fn a_process_that_is_stopped_misses_its_pulse_and_is_well_when_it_goes_on() {
    let bench = Bench::with(&Sdk::Bundled, |config| config.heartbeat = Duration::from_millis(100));
    let name = bench.install(&Subject::misbehave());
    let function = bench.host.resolve(&format!("{name}_do")).unwrap().unwrap();
    assert_eq!(call(&*function, &[Value::text("echo"), Value::Int(1)]), Ok(Value::Float(1.0)));
    let pid = bench.host.status(&name).unwrap().pid.unwrap();
    signal("STOP", pid);
    eventually("it is seen", || health(&bench, &name) == "failing");
    assert_eq!(troubles(&bench)[0].cause, "plugin_hung");
    signal("CONT", pid);
    eventually("it is well again", || health(&bench, &name) == "ok");
    assert_eq!(troubles(&bench), []);
    assert_eq!(bench.host.status(&name).unwrap().restarts, 0);
    // Stopped once more: it ends with the host all the same.
    signal("STOP", pid);
    bench.host.shutdown();
    assert!(!is_alive(pid));
}

#[test]
fn a_process_that_owes_an_answer_for_too_long_is_ended_and_started_again() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| config.recv_timeout = Duration::from_millis(50));
        let mut subject = Subject::misbehave();
        subject.manifest["limits"] = json!({"hangTimeout": "300ms"});
        let name = bench.install(&subject);
        let function = format!("{name}_do");
        bench.call(&function, &[Value::text("hang"), Value::text("/")]).unwrap_err();
        let reason = format!("signal 9: did not answer for 300ms in a call of {function}");
        eventually("it is ended", || bench.host.status(&name).unwrap().last_exit.as_ref() == Some(&reason));
        eventually("it is back", || {
            bench.call(&function, &[Value::text("echo"), Value::text("x")]) == Ok(Value::text("x"))
        });
    });
}

#[test]
fn a_plugin_that_does_not_come_up_again_is_down_for_its_rules() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::misbehave());
    let function = bench.host.resolve(&format!("{name}_do")).unwrap().unwrap();
    let script = bench.home.path().join(format!("plugins/portable/{name}/{name}.py"));
    fs::write(script, "raise SystemExit('the disk is gone')").unwrap();
    call(&*function, &[Value::text("kill")]).unwrap_err();
    eventually("it has tried", || {
        troubles(&bench).first().is_some_and(|trouble| trouble.hint.contains("the disk is gone"))
    });
    let seen = troubles(&bench).remove(0);
    assert_eq!((seen.node.as_str(), seen.cause, seen.is_failing), ("op_2_project", "plugin_down", true));
    let status = bench.host.status(&name).unwrap();
    assert_eq!((status.health, status.health_reasons[0].cause), ("failing", "plugin_down"));
    assert!(status.since > 1_600_000_000_000, "{}", status.since);
}
