//! Sources and sinks.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use thalweg_core::Value;
use thalweg_core::connector::{ConnectionStatus, Sink, SinkPort};

use crate::ports::*;
use crate::subject::*;

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Writes until all is accepted, as the runtime does; returns the errors on the way.
pub(crate) fn write_all(sink: &mut dyn Sink, texts: impl IntoIterator<Item = String>) -> Vec<String> {
    let all = messages(texts);
    let (mut rest, mut errors) = (&all[..], Vec::new());
    while !rest.is_empty() {
        let written = block_on(sink.write(rest));
        rest = &rest[written.accepted..];
        if let Some(error) = written.error {
            errors.push(error.message.to_string());
            std::thread::park_timeout(std::time::Duration::from_millis(20));
        }
        assert!(errors.len() < 500, "{:?}", errors.last());
    }
    errors
}

#[test]
fn a_source_is_configured_read_and_stopped() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let (rule, port) = (format!("{name}r"), Arc::new(Port::default()));
        let cx = build_cx(&bench, &rule, "demo", &[("count", json!(3)), ("DATASOURCE", json!("topic"))]);
        let source = run_source(&bench, &format!("{name}_count"), &cx, &port);
        let fault = port.wait("the error after the rows", |seen| seen.faults.first().cloned());
        assert_eq!(fault, "no more rows");
        port.wait("the rows", |seen| {
            assert_eq!(seen.rows.len(), 3);
            assert_eq!(seen.rows[2]["i"], Value::Float(2.0));
            assert_eq!(seen.rows[2]["datasource"], Value::text("topic"));
            assert_eq!(seen.meta[2].as_ref().unwrap()["topic"], Value::text("t2"));
            assert!(seen.statuses.contains(&ConnectionStatus::Connected));
            Some(())
        });
        assert_eq!(bench.host.status(&name).unwrap().ref_count[&rule], 1);
        port.stop();
        source.join().unwrap().unwrap();
        assert!(bench.host.status(&name).unwrap().ref_count.is_empty());
        assert!(!Path::new(&format!("/tmp/{rule}_demo_0.ipc")).exists());
    });
}

#[test]
fn a_source_that_refuses_its_configuration_or_ends_by_itself_says_so() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let port = Arc::new(Port::default());
        let cx = build_cx(&bench, &format!("{name}r"), "demo", &[("fail", json!(true))]);
        let error = run_source(&bench, &format!("{name}_count"), &cx, &port).join().unwrap().unwrap_err();
        let expected =
            format!("plugin {name} refused to start source {name}_count: ValueError: told to fail");
        assert_eq!(&*error.message, expected);
        let cx = build_cx(&bench, &format!("{name}r"), "demo", &[("count", json!(1)), ("ends", json!(true))]);
        let ended = run_source(&bench, &format!("{name}_count"), &cx, &port).join().unwrap();
        if sdk.is_bundled() {
            // It says that this is the end of its input.
            ended.unwrap();
        } else {
            let expected = format!("source {name}_count of plugin {name} has ended by itself");
            assert_eq!(&*ended.unwrap_err().message, expected);
        }
        port.wait("its row", |seen| (seen.rows.len() == 1).then_some(()));
    });
}

#[test]
fn a_source_of_old_at_full_speed_into_a_full_inlet_lives_and_drops_are_counted() {
    let Some(sdk) = real_sdk() else { return };
    let bench = Bench::new(&sdk);
    let name = bench.install(&Subject::echo());
    let port = Port::with_room(100);
    let cx = build_cx(&bench, &format!("{name}r"), "demo", &[("count", json!(-1))]);
    let source = run_source(&bench, &format!("{name}_count"), &cx, &port);
    port.wait("thousands of drops", |seen| (seen.dropped > 5_000).then_some(()));
    port.stop();
    source.join().unwrap().unwrap();
}

#[test]
fn a_source_that_knows_credit_waits_for_a_full_inlet_and_loses_nothing() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::echo());
    let port = Port::with_room(100);
    let cx = build_cx(&bench, &format!("{name}r"), "demo", &[("count", json!(30_000))]);
    let source = run_source(&bench, &format!("{name}_count"), &cx, &port);
    let mut next = 0.0;
    while next < 30_000.0 {
        port.wait("the inlet is full, or these were the last", |seen| {
            (seen.rows.len() >= 100 || seen.n_taken + seen.rows.len() == 30_000).then_some(())
        });
        for row in port.take() {
            assert_eq!(row["i"], Value::Float(next));
            next += 1.0;
        }
    }
    port.wait("nothing was dropped, and the source could wait", |seen| {
        assert_eq!((seen.dropped, seen.waits), (0, true));
        seen.faults.contains(&"no more rows".to_owned()).then_some(())
    });
    port.stop();
    source.join().unwrap().unwrap();
}

#[test]
fn a_sink_gets_every_message_and_acknowledgements_nobody_asked_for_do_no_harm() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let out = bench.home.path().join("out");
        let props = [("path", json!(out.display().to_string())), ("acks", json!(true))];
        let mut sink = build_sink(
            &bench,
            &format!("{name}_lines"),
            &build_cx(&bench, &format!("{name}r"), "x_0", &props),
        );
        block_on(sink.open(Arc::new(Port::default()) as Arc<dyn SinkPort>)).unwrap();
        let texts: Vec<String> = (0..10_000).map(|i| format!("{{\"i\":{i}}}")).collect();
        assert_eq!(write_all(&mut *sink, texts.clone()), [] as [String; 0]);
        eventually("all have arrived", || lines(&out).len() == texts.len());
        assert_eq!(lines(&out), texts);
        block_on(sink.close()).unwrap();
        assert!(!Path::new(&format!("/tmp/{name}r_x_0_0_ack.ipc")).exists());
    });
}

#[test]
fn with_require_ack_a_refused_message_is_offered_again() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let out = bench.home.path().join("out");
        let path = json!(out.display().to_string());
        let props = [
            ("path", path),
            ("acks", json!(true)),
            ("requireAck", json!(true)),
            ("refuse", json!("not now")),
        ];
        let mut sink = build_sink(
            &bench,
            &format!("{name}_lines"),
            &build_cx(&bench, &format!("{name}r"), "x_0", &props),
        );
        block_on(sink.open(Arc::new(Port::default()) as Arc<dyn SinkPort>)).unwrap();
        let errors = write_all(&mut *sink, ["a", "b", "c"].map(str::to_owned));
        assert_eq!(errors, [format!("sink {name}_lines of plugin {name}: not now")]);
        // What is accepted is there: it was acknowledged. In a batch the others were not held up.
        let expected = if sdk.is_bundled() { ["b", "c", "a"] } else { ["a", "b", "c"] };
        assert_eq!(lines(&out), expected);
        block_on(sink.close()).unwrap();
    });
}

#[test]
fn a_sink_whose_collect_raises_is_started_again_and_nothing_acknowledged_is_lost() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let out = bench.home.path().join("out");
        let path = json!(out.display().to_string());
        let props = [("path", path), ("acks", json!(true)), ("requireAck", json!(true)), ("die", json!("b"))];
        let mut sink = build_sink(
            &bench,
            &format!("{name}_lines"),
            &build_cx(&bench, &format!("{name}r"), "x_0", &props),
        );
        block_on(sink.open(Arc::new(Port::default()) as Arc<dyn SinkPort>)).unwrap();
        let errors = write_all(&mut *sink, ["a", "b", "c"].map(str::to_owned));
        match sdk.is_bundled() {
            // One that is sent batches refuses the message and lives.
            true => {
                let error = format!("sink {name}_lines of plugin {name}: RuntimeError: told to die");
                assert_eq!((errors, lines(&out)), (vec![error], ["a", "c", "b"].map(str::to_owned).to_vec()));
            }
            false => {
                assert!(errors[0].contains("ended before it acknowledged a message"), "{errors:?}");
                assert_eq!(lines(&out), ["a", "b", "c"]);
            }
        }
        block_on(sink.close()).unwrap();
    });
}

#[test]
fn after_the_death_of_the_process_functions_a_sink_and_a_source_all_work_again() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let pid = |bench: &Bench| bench.host.status(&name).unwrap().pid;
        let first = pid(&bench).unwrap();
        let (echo, who) = (format!("{name}_echo"), format!("{name}_who"));
        bench.call(&echo, &[Value::Int(1)]).unwrap();
        bench.call(&who, &[]).unwrap();
        let port = Arc::new(Port::default());
        let cx = build_cx(&bench, &format!("{name}r"), "demo", &[("count", json!(2))]);
        let source = run_source(&bench, &format!("{name}_count"), &cx, &port);
        port.wait("two rows", |seen| (seen.rows.len() == 2).then_some(()));
        let out = bench.home.path().join("out");
        let props =
            [("path", json!(out.display().to_string())), ("acks", json!(true)), ("requireAck", json!(true))];
        let mut sink = build_sink(
            &bench,
            &format!("{name}_lines"),
            &build_cx(&bench, &format!("{name}r"), "x_0", &props),
        );
        block_on(sink.open(Arc::new(Port::default()) as Arc<dyn SinkPort>)).unwrap();
        write_all(&mut *sink, ["a".to_owned()]);

        kill(first);
        port.wait("the source runs in the next process", |seen| (seen.rows.len() == 4).then_some(()));
        port.wait("and the end of the first was told", |seen| {
            let told = format!("plugin {name} ended (signal 9) and was started again");
            seen.faults.contains(&told).then_some(())
        });
        write_all(&mut *sink, ["b".to_owned()]);
        assert_eq!(lines(&out), ["a", "b"]);
        // Trap 13: both functions, not only the one that was started last.
        assert_eq!(bench.call(&echo, &[Value::Int(2)]), Ok(Value::Float(2.0)));
        bench.call(&who, &[]).unwrap();
        assert_ne!(pid(&bench), Some(first));
        let status = bench.host.status(&name).unwrap();
        assert_eq!((status.symbols.len(), status.symbols.iter().all(|symbol| symbol.running)), (4, true));
        assert_eq!(status.ref_count[&format!("{name}r")], 2);
        port.stop();
        source.join().unwrap().unwrap();
        block_on(sink.close()).unwrap();
    });
}

#[test]
fn an_update_takes_a_running_source_and_sink_along() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let mut subject = Subject::echo();
        let name = bench.install(&subject);
        let port = Arc::new(Port::default());
        let cx = build_cx(&bench, &format!("{name}r"), "demo", &[("count", json!(2))]);
        let source = run_source(&bench, &format!("{name}_count"), &cx, &port);
        port.wait("two rows", |seen| (seen.rows.len() == 2).then_some(()));
        let out = bench.home.path().join("out");
        let props = [("path", json!(out.display().to_string()))];
        let mut sink = build_sink(
            &bench,
            &format!("{name}_lines"),
            &build_cx(&bench, &format!("{name}r"), "x_0", &props),
        );
        block_on(sink.open(Arc::new(Port::default()) as Arc<dyn SinkPort>)).unwrap();
        let text = String::from_utf8(subject.files[0].1.clone()).unwrap();
        subject.files[0].1 = text.replace("{\"i\": i,", "{\"i\": i + 100,").into_bytes();
        bench.host.update(&subject.request(bench.home.path())).unwrap();
        let first = port.wait("rows of the new version", |seen| seen.rows.get(2).map(|row| row["i"].clone()));
        assert_eq!(first, Value::Float(100.0));
        write_all(&mut *sink, ["x".to_owned()]);
        eventually("the sink of the new version writes", || lines(&out) == ["x"]);
        assert_eq!(bench.host.status(&name).unwrap().ref_count[&format!("{name}r")], 2);
        port.stop();
        source.join().unwrap().unwrap();
        block_on(sink.close()).unwrap();
    });
}

fn kill(pid: u32) {
    assert!(std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn a_rule_whose_id_is_too_long_for_a_socket_is_refused_when_it_is_built() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::echo());
    let cx = build_cx(&bench, &"r".repeat(100), "demo", &[]);
    let connector = bench.registry.source(&format!("{name}_count")).unwrap();
    let Some(Err(error)) = connector.source(&cx) else { panic!("accepted") };
    assert!(error.message.starts_with("the rule's id is too long for a plugin"), "{error}");
    let cx = build_cx(&bench, "a/b", "demo", &[]);
    assert!(connector.source(&cx).unwrap().is_err());
}
