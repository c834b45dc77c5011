//! Fault injection: what hostile or broken packages and processes do, and what must not follow from it.

use std::io::Write;
use std::path::Path;

use thalweg_core::Value;
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
    // Far below the limit of size: what gives it away is that 300 MiB come out of 300 KiB.
    let bench = Bench::new(&Sdk::Bundled);
    let request = Subject::misbehave().request_with(bench.home.path(), |zip| {
        zip.start_file("zeros", SimpleFileOptions::default()).unwrap();
        (0..300).for_each(|_| zip.write_all(&[0; 1 << 20]).unwrap());
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
