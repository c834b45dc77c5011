//! Sources that remember and wait, sinks that acknowledge batches (`portable-plugins.md` 12.7, 12.8), on our own SDK.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value as Json, json};
use thalweg_core::connector::{Sink, SinkPayload, SinkPort};
use thalweg_core::{Retry, Value};

use crate::ports::*;
use crate::subject::*;

fn numbers(path: &Path) -> Vec<i64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let number = |line: &str| serde_json::from_str::<Json>(line).unwrap()["i"].as_i64().unwrap();
    text.lines().filter(|line| !line.is_empty()).map(number).collect()
}

fn number(row: &thalweg_core::Fields) -> i64 {
    match row["i"] {
        Value::Float(number) => number as i64,
        ref other => panic!("{other:?}"),
    }
}

fn saved(next: i64) -> Value {
    Value::text(json!({"state": {"next": next}}).to_string())
}

fn pid(bench: &Bench, name: &str) -> Option<u32> {
    bench.host.status(name).unwrap().pid
}

/// Kills the process of a plugin, once it has another one than before.
fn kill_again(bench: &Bench, name: &str, before: &mut Option<u32>) {
    eventually("the plugin has a new process", || pid(bench, name).is_some_and(|pid| Some(pid) != *before));
    *before = pid(bench, name);
    signal(before.unwrap(), "KILL");
}

#[test]
fn a_source_that_remembers_goes_on_behind_its_last_row_however_often_it_is_killed() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::flow());
    let port = Port::with_room(500);
    let props = [("count", json!(-1)), ("many", json!(7))];
    let cx = build_cx(&bench, &format!("{name}r"), "demo", &props);
    let source = keep_source_running(&bench, &format!("{name}_walk"), &cx, &port);
    let (mut next, mut killed, mut processes) = (0, None, BTreeSet::new());
    let mut drain = |rows: i64| {
        let until = next + rows;
        while next < until {
            port.wait("further rows", |seen| (!seen.rows.is_empty()).then_some(()));
            for row in port.take() {
                assert_eq!(number(&row), next, "nothing is lost and nothing comes twice");
                processes.insert(format!("{:?}", row["pid"]));
                next += 1;
            }
        }
    };
    for _ in 0..3 {
        drain(3_000);
        kill_again(&bench, &name, &mut killed);
    }
    // More than could wait anywhere.
    drain(30_000);
    assert!(processes.len() > 1, "{processes:?}");
    port.stop();
    source.join().unwrap().unwrap();
    let offset = port.wait("what it remembers came along", |seen| seen.offset.clone());
    let Value::Str(offset) = offset else { panic!("{offset:?}") };
    assert!(offset.starts_with(r#"{"state":{"next":"#), "{offset}");
}

#[test]
fn a_source_of_a_restored_rule_begins_where_the_checkpoint_stands_and_its_end_is_that_of_the_input() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::flow());
    let port = Port::resuming(Some(saved(40)));
    let props = [("count", json!(50)), ("many", json!(5))];
    let cx = build_cx(&bench, &format!("{name}r"), "demo", &props);
    run_source(&bench, &format!("{name}_walk"), &cx, &port).join().unwrap().unwrap();
    port.wait("the rest", |seen| {
        assert_eq!(seen.rows.iter().map(|row| number(row)).collect::<Vec<_>>(), (40..50).collect::<Vec<_>>());
        assert_eq!(seen.offset, Some(saved(50)));
        assert_eq!(seen.faults, [] as [String; 0]);
        Some(())
    });
    assert!(bench.host.status(&name).unwrap().ref_count.is_empty());
}

#[test]
fn columns_of_a_source_are_the_rows_that_it_would_have_emitted() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::flow());
    let port = Port::resuming(Some(Value::text(r#"{"state":{"at":1}}"#)));
    let cx = build_cx(&bench, &format!("{name}r"), "demo", &[("batches", json!(3))]);
    run_source(&bench, &format!("{name}_columns"), &cx, &port).join().unwrap().unwrap();
    port.wait("the rows", |seen| {
        assert_eq!(seen.rows.iter().map(|row| number(row)).collect::<Vec<_>>(), [2, 3, 4, 5]);
        let last = &seen.rows[3];
        assert_eq!((&last["x"], &last["s"]), (&Value::Null, &Value::text("ü")));
        let mixed =
            Value::map([(Arc::from("k"), Value::list(vec![Value::Bool(true)]))].into_iter().collect());
        assert_eq!((&last["mixed"], &seen.rows[2]["mixed"]), (&mixed, &Value::Float(1.0)));
        assert_eq!(seen.meta[3].as_ref().unwrap()["at"], Value::Float(2.0));
        assert_eq!(seen.offset, Some(Value::text(r#"{"state":{"at":3}}"#)));
        assert_eq!(seen.faults, [] as [String; 0]);
        Some(())
    });
}

#[test]
fn a_source_that_fails_is_built_anew_and_goes_on() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::flow());
    let port = Port::resuming(None);
    let failed = bench.home.path().join("failed");
    let props =
        [("count", json!(20)), ("fail_at", json!(10)), ("failed", json!(failed.display().to_string()))];
    let cx = build_cx(&bench, &format!("{name}r"), "demo", &props);
    let error = run_source(&bench, &format!("{name}_walk"), &cx, &port).join().unwrap().unwrap_err();
    let expected = format!("source {name}_walk of plugin {name} has ended by itself");
    assert_eq!((&*error.message, error.retry), (expected.as_str(), Retry::Transient));
    // As the runtime does after a while.
    run_source(&bench, &format!("{name}_walk"), &cx, &port).join().unwrap().unwrap();
    port.wait("all rows, once", |seen| {
        assert_eq!(seen.rows.iter().map(|row| number(row)).collect::<Vec<_>>(), (0..20).collect::<Vec<_>>());
        assert_eq!(seen.faults, ["ValueError: told to fail at 10"]);
        Some(())
    });
}

/// A sink of the subject that writes to `out`.
fn keep(bench: &Bench, name: &str, out: &Path, props: &[(&str, Json)]) -> Box<dyn Sink> {
    let mut all = vec![("path", json!(out.display().to_string()))];
    all.extend(props.iter().cloned());
    let cx = build_cx(bench, &format!("{name}r"), "x_0", &all);
    let mut sink = build_sink(bench, &format!("{name}_keep"), &cx);
    block_on(sink.open(Arc::new(Port::default()) as Arc<dyn SinkPort>)).unwrap();
    sink
}

fn rows(numbers: std::ops::Range<i64>) -> Vec<SinkPayload> {
    messages(numbers.map(|i| json!([{"i": i}]).to_string()))
}

#[test]
fn nothing_written_is_lost_however_often_the_sinks_process_is_killed() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::flow());
    let out = bench.home.path().join("out");
    let mut sink = keep(&bench, &name, &out, &[("requireAck", json!(true))]);
    let payloads = rows(0..40_000);
    std::thread::scope(|scope| {
        let (bench, out, name) = (&bench, &out, &name);
        scope.spawn(move || {
            let (mut killed, mut seen) = (None, 0);
            for _ in 0..3 {
                eventually("further rows are out", || numbers_len(out) > seen);
                kill_again(bench, name, &mut killed);
                seen = numbers_len(out);
            }
        });
        let (mut rest, mut n_errors) = (&payloads[..], 0);
        while !rest.is_empty() {
            let written = block_on(sink.write(&rest[..rest.len().min(500)]));
            rest = &rest[written.accepted..];
            if let Some(error) = written.error {
                assert_eq!(error.retry, Retry::Transient, "{error}");
                n_errors += 1;
                assert!(n_errors < 2_000, "{error}");
                std::thread::park_timeout(std::time::Duration::from_millis(20));
            }
        }
    });
    let status = bench.host.status(&name).unwrap();
    assert!(status.restarts >= 2 && status.last_exit.as_deref() == Some("signal 9"), "{status:?}");
    let written: BTreeSet<i64> = whole_numbers(&out).into_iter().collect();
    assert_eq!(written, (0..40_000).collect());
    block_on(sink.close()).unwrap();
}

#[test]
fn rows_of_one_kind_reach_a_sink_as_columns_and_are_those_of_their_json() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::flow());
    let out = bench.home.path().join("out");
    let framed = bench.home.path().join(format!("plugins/portable/{name}/framed"));
    let mut sink = keep(&bench, &name, &out, &[]);
    let mut send = |row: &dyn Fn(i64) -> String, n: i64| {
        let _ = (fs::remove_file(&out), fs::remove_file(&framed));
        let texts: Vec<String> = (0..n).map(row).collect();
        let written = block_on(sink.write(&messages([format!("[{}]", texts.join(","))])));
        assert_eq!(written.error.map(|error| error.to_string()), None);
        let expected: Vec<Json> = texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect();
        let text = fs::read_to_string(&out).unwrap();
        let found: Vec<Json> = text
            .lines()
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(found, expected);
        framed.exists()
    };
    let plain = |i: i64| {
        let (half, text) = (i as f64 / 2.0 + 0.25, if i % 3 == 0 { "null" } else { "\"ü\\n\\\"\"" });
        format!(
            r#"{{"i":{i},"x":{half},"mixed":{},"s":{text},"b":{},"big":{},"n":null}}"#,
            i as f64 / 2.0,
            i % 2 == 0,
            i64::MAX - i
        )
    };
    assert!(send(&plain, 100), "as columns");
    assert!(!send(&plain, 5), "few rows are JSON");
    assert!(!send(&|i| if i == 7 { "{}".to_owned() } else { plain(i) }, 100), "a row that lacks members");
    assert!(!send(&|i| format!(r#"{{"i":{i},"l":[{i}]}}"#), 100), "nested values");
    assert!(!send(&|i| format!(r#"{{"x":{i}.0}}"#), 100), "whole floats from a template");
}

fn numbers_len(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |meta| meta.len())
}

/// The numbers of all lines that are whole: a kill may tear one.
fn whole_numbers(path: &Path) -> Vec<i64> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let number = |line: &str| serde_json::from_str::<Json>(line).ok()?["i"].as_i64();
    text.lines().filter_map(number).collect()
}

#[test]
fn a_batch_that_a_sink_refuses_is_offered_again_with_require_ack_and_counted_as_lost_without() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::flow());
    let out = bench.home.path().join("out");
    let refusal = format!("sink {name}_keep of plugin {name}: ValueError: told to refuse 3");
    let mut sink = keep(&bench, &name, &out, &[("requireAck", json!(true)), ("refuse", json!(3))]);
    let payloads = rows(0..6);
    let written = block_on(sink.write(&payloads));
    assert_eq!((written.accepted, written.error.unwrap().message.to_string()), (0, refusal.clone()));
    let written = block_on(sink.write(&payloads));
    assert_eq!((written.accepted, written.error.is_none()), (6, true));
    assert_eq!(numbers(&out), [0, 1, 2, 3, 4, 5]);
    block_on(sink.close()).unwrap();

    let out = bench.home.path().join("other");
    let mut sink = keep(&bench, &name, &out, &[("refuse", json!(3))]);
    let (mut rest, mut n_lost) = (&payloads[..], 0);
    while !rest.is_empty() {
        let written = block_on(sink.write(rest));
        rest = &rest[written.accepted..];
        if let Some(error) = written.error {
            assert_eq!((&*error.message, error.retry), (refusal.as_str(), Retry::Permanent));
            // As the runtime does: it is dropped and counted.
            (rest, n_lost) = (&rest[1..], n_lost + 1);
        }
    }
    assert_eq!((n_lost, numbers(&out)), (6, vec![]));
    let written = block_on(sink.write(&rows(6..7)));
    assert_eq!((written.accepted, numbers(&out)), (1, vec![6]));
    block_on(sink.close()).unwrap();
}

#[test]
fn a_sink_of_rows_gets_the_rows_of_every_message() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::flow());
    let out = bench.home.path().join("out");
    let mut sink = keep(&bench, &name, &out, &[]);
    let texts = [r#"[{"i":0},{"i":1}]"#, r#"{"i":2,"b64":"x"}"#, "[]", r#"[{"i":3}]"#];
    let written = block_on(sink.write(&messages(texts.map(str::to_owned))));
    assert_eq!((written.accepted, written.error.is_none()), (4, true));
    assert_eq!(numbers(&out), [0, 1, 2, 3]);
    let status = bench.host.status(&name).unwrap();
    let symbol = status.symbols.iter().find(|symbol| symbol.kind == "sink").unwrap();
    assert_eq!(symbol.metrics.as_ref().unwrap().counters["kept"], 4.0);
    block_on(sink.close()).unwrap();
}
