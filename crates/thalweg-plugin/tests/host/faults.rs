//! Fault injection: what hostile or broken packages and processes do, and what must not follow from it.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use thalweg_core::Value;
use thalweg_expr::function::{ArgShape, RemoteFunction};
use thalweg_expr::registry::RemoteFunctions;
use zip::write::SimpleFileOptions;

use crate::subject::*;

fn refused(bench: &Bench, request: &thalweg_plugin::InstallRequest) -> String {
    bench.host.install(request).unwrap_err().to_string()
}

#[test]
fn a_symbolic_link_in_a_package_is_refused() {
    let bench = Bench::new(&Sdk::Bundled);
    let request = Subject::echo().request_with(bench.home.path(), |zip| {
        zip.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    });
    assert_eq!(
        refused(&bench, &request),
        "fail to install plugin: invalid entry link: symbolic links are not allowed"
    );
    assert_eq!(bench.host.list(), []);
}

#[test]
fn a_package_that_unpacks_to_more_than_it_may_is_refused_before_it_fills_the_disk() {
    let bench = Bench::with(&Sdk::Bundled, |config| config.max_unpacked = 10 << 20);
    let zeros = |n_mib: usize| {
        move |zip: &mut zip::ZipWriter<std::fs::File>| {
            zip.start_file("zeros", SimpleFileOptions::default()).unwrap();
            (0..n_mib).for_each(|_| zip.write_all(&[0; 1 << 20]).unwrap());
        }
    };
    let subject = Subject::misbehave();
    let error = refused(&bench, &subject.request_with(bench.home.path(), zeros(64)));
    assert!(
        error.starts_with("fail to install plugin: zeros unpacks to more than is allowed (104"),
        "{error}"
    );
    let portable = bench.home.path().join("plugins/portable");
    assert_eq!(std::fs::read_dir(&portable).unwrap().count(), 0, "nothing is left");
    bench.host.install(&subject.request_with(bench.home.path(), zeros(9))).unwrap();
}

#[test]
fn a_bomb_is_told_by_its_ratio() {
    // Far below the limit of size: what gives it away is that 70 MiB come out of 70 KiB.
    let bench = Bench::new(&Sdk::Bundled);
    let request = Subject::misbehave().request_with(bench.home.path(), |zip| {
        zip.start_file("zeros", SimpleFileOptions::default()).unwrap();
        (0..70).for_each(|_| zip.write_all(&[0; 1 << 20]).unwrap());
    });
    assert!(std::fs::metadata(request.file.trim_start_matches("file://")).unwrap().len() < 1 << 20);
    let error = refused(&bench, &request);
    assert!(error.contains("zeros unpacks to more than is allowed"), "{error}");
}

#[test]
fn a_program_that_is_none_fails_with_its_reason_and_leaves_nothing() {
    let bench = Bench::new(&Sdk::Bundled);
    let text = Subject::program("this is no program");
    // Without a bit that says so it is no program at all.
    let error = refused(&bench, &text.request(bench.home.path()));
    assert!(error.contains("program: Permission denied"), "{error}");
    assert_eq!(bench.host.list(), []);
    assert!(!Path::new(&format!("/tmp/plugin_{}.ipc", text.name)).exists());
}

#[test]
fn an_environment_without_an_interpreter_is_named() {
    let bench = Bench::new(&Sdk::Bundled);
    let mut subject = Subject::misbehave();
    subject.manifest["virtualEnvType"] = "venv".into();
    subject.manifest["env"] = "no-such-env".into();
    let error = refused(&bench, &subject.request(bench.home.path()));
    assert!(error.contains("no-such-env/bin/python"), "{error}");
}

#[test]
fn garbage_on_stdout_holds_up_no_call_and_is_counted() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::misbehave());
        let ask =
            |what: &str, argument: Value| bench.call(&format!("{name}_do"), &[Value::text(what), argument]);
        // 100 MiB of bytes without an end of line, then 100,000 lines.
        assert_eq!(ask("print bytes", Value::Int(100 << 20)), Ok(Value::Float((100 << 20) as f64)));
        assert_eq!(ask("print lines", Value::Int(100_000)), Ok(Value::Float(100_000.0)));
        assert_eq!(ask("echo", Value::text("x")), Ok(Value::text("x")));
        eventually("the last line is there", || {
            let log = bench.host.logs(&name, 1).unwrap();
            log.lines.first().is_some_and(|line| line.text == "line 99999")
        });
        let log = bench.host.logs(&name, 200).unwrap();
        assert_eq!(log.lines.len(), 200);
        assert!(log.cut_bytes > 99 << 20, "{}", log.cut_bytes);
        assert!(log.suppressed_lines > 90_000, "{}", log.suppressed_lines);
    });
}

#[test]
fn what_goes_wrong_in_validate_refuses_the_statement_and_the_plugin_is_there_for_the_next() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| config.recv_timeout = Duration::from_secs(2));
        let name = bench.install(&Subject::misbehave());
        let function = format!("{name}_do");
        let validate = |what: &str| {
            let function = bench.host.resolve(&function).unwrap().unwrap();
            function.validate(&[ArgShape::Literal(Value::text(what))]).map_err(|error| error.message)
        };
        let ends = |what: &str, reason: &str| {
            let error = validate(what).unwrap_err();
            let begin = format!("function {function}: plugin {name} ended ({reason}");
            assert!(error.starts_with(&begin), "{error}");
        };
        ends("kill in validate", "signal 9)");
        assert_eq!(validate("nothing"), Ok(()));
        ends("exit in validate", "exit code 3");
        assert_eq!(validate("raise in validate"), Err("ValueError: told to".to_owned()));
        validate("set in validate").unwrap_err();
        assert_eq!(validate("nothing"), Ok(()));
        let error = validate("sleep in validate").unwrap_err();
        assert_eq!(error, format!("function {function}: plugin {name} did not answer within 2000ms"));
    });
}

/// Until the function answers again.
fn works(function: &dyn RemoteFunction) {
    eventually("the function answers", || {
        call(function, &[Value::text("echo"), Value::Int(1)]) == Ok(Value::Float(1.0))
    });
}

#[test]
fn an_exit_in_a_call_is_the_calls_error_and_the_function_goes_on() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| config.recv_timeout = Duration::from_millis(500));
        let mut subject = Subject::misbehave();
        // The thread of the old SDK ends without a word: what brings it back is the limit.
        subject.manifest["limits"] = serde_json::json!({"hangTimeout": "1s"});
        let name = bench.install(&subject);
        let function = bench.host.resolve(&format!("{name}_do")).unwrap().unwrap();
        call(&*function, &[Value::text("sys.exit"), Value::text("enough")]).unwrap_err();
        works(&*function);
        let restarts = bench.host.status(&name).unwrap().restarts;
        assert!(!sdk.is_bundled() || restarts == 0, "ours takes it for an error of the row: {restarts}");
    });
}

#[test]
fn results_that_json_cannot_hold_and_results_of_a_hundred_megabytes_are_told_apart() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| config.recv_timeout = LONG);
        let name = bench.install(&Subject::misbehave());
        let function = bench.host.resolve(&format!("{name}_do")).unwrap().unwrap();
        let error = call(&*function, &[Value::text("set"), Value::Null]).unwrap_err();
        assert!(error.contains("set"), "{error}");
        match call(&*function, &[Value::text("big"), Value::Int(100 << 20)]) {
            Ok(Value::Str(text)) => assert_eq!(text.len(), 100 << 20),
            other => panic!("{:?}", other.err()),
        }
        works(&*function);
    });
}

#[test]
fn a_result_beyond_the_limit_of_messages_is_an_error_and_not_memory() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| config.max_message = 1 << 20);
        let name = bench.install(&Subject::misbehave());
        let function = bench.host.resolve(&format!("{name}_do")).unwrap().unwrap();
        call(&*function, &[Value::text("big"), Value::Int(2 << 20)]).unwrap_err();
        works(&*function);
    });
}

#[test]
fn a_fork_in_a_call_disturbs_no_later_call_and_its_child_ends_with_the_plugin() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::misbehave());
        let function = bench.host.resolve(&format!("{name}_do")).unwrap().unwrap();
        let Ok(Value::Float(child)) = call(&*function, &[Value::text("fork"), Value::Null]) else {
            panic!("no child")
        };
        assert!(is_alive(child as u32));
        for i in 0..20 {
            assert_eq!(call(&*function, &[Value::text("echo"), Value::Int(i)]), Ok(Value::Float(i as f64)));
        }
        // Its copies of the sockets do not hide the end of the process.
        let error = call(&*function, &[Value::text("kill"), Value::Null]).unwrap_err();
        assert!(error.contains("ended (signal 9)"), "{error}");
        eventually("the child is gone", || !is_alive(child as u32));
        works(&*function);
    });
}

#[test]
fn under_a_storm_of_kills_every_call_gets_its_own_result_or_says_why_not() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::misbehave());
        let function = bench.host.resolve(&format!("{name}_do")).unwrap().unwrap();
        let is_over = AtomicBool::new(false);
        let (mut n_right, mut n_failed) = (0, 0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut last = None;
                for _ in 0..4 {
                    eventually("another process runs", || {
                        let status = bench.host.status(&name).unwrap();
                        status.status == "running" && status.pid.is_some() && status.pid != last
                    });
                    last = bench.host.status(&name).unwrap().pid;
                    let pid = last.unwrap().to_string();
                    assert!(
                        std::process::Command::new("kill").args(["-9", &pid]).status().unwrap().success()
                    );
                }
                eventually("it is back", || bench.host.status(&name).unwrap().status == "running");
                is_over.store(true, Ordering::SeqCst);
            });
            let mut i = 0;
            while !is_over.load(Ordering::SeqCst) {
                i += 1;
                match call(&*function, &[Value::text("echo"), Value::Int(i)]) {
                    Ok(result) => {
                        assert_eq!(result, Value::Float(i as f64), "not the result of another call");
                        n_right += 1;
                    }
                    Err(error) => {
                        assert!(error.contains(&name), "{error}");
                        n_failed += 1;
                    }
                }
            }
        });
        works(&*function);
        let status = bench.host.status(&name).unwrap();
        // A call whose process was killed may be made again by itself, so that none need fail.
        assert!(n_right > 0 && status.restarts >= 4, "{n_right} {n_failed} {}", status.restarts);
    });
}
