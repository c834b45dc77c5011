//! Functions and aggregates: values, errors, time-outs, death.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Cell, Column, ColumnRef, Selection, Timestamp, Value};
use thalweg_expr::function::{ArgShape, CallCx, Frame};
use thalweg_expr::registry::RemoteFunctions;
use thalweg_plugin::{InstallRequest, VIBRATION, pack};

use crate::subject::*;

#[test]
fn a_function_gets_values_and_its_caller_and_returns_any_json() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let echo = format!("{name}_echo");
        for value in [
            Value::Null,
            Value::Bool(true),
            Value::Float(0.5),
            Value::text("ü\"\n\u{1F600}"),
            Value::Int(i64::MAX),
            Value::list(vec![Value::Float(1.0), Value::text("a")]),
        ] {
            assert_eq!(bench.call(&echo, std::slice::from_ref(&value)), Ok(value));
        }
        let Ok(Value::Map(who)) = bench.call(&format!("{name}_who"), &[Value::Float(2.0), Value::text("x")])
        else {
            panic!("no object");
        };
        let caller = Value::list(vec![Value::text("rule1"), Value::text("2_project"), Value::Float(0.0)]);
        assert_eq!(who["caller"], caller);
        // Trap 12: a whole float is an int in Python.
        assert_eq!(who["args"], Value::list(vec![Value::text("2"), Value::text("'x'")]));
    });
}

#[test]
fn an_aggregate_gets_a_list_per_group_with_literals_repeated() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let mean = bench.host.resolve(&format!("{name}_mean")).unwrap().unwrap();
        assert_eq!(mean.is_aggregate(), Ok(true));
        assert_eq!(mean.host(), name);
        let mut column = Column::from_floats([1.0, 100.0, 2.0, 30.0]);
        column.push_null();
        let literal = Column::from_floats([10.0]);
        let args = [ColumnRef::borrowed(&column), ColumnRef::Constant(std::borrow::Cow::Owned(literal))];
        // Row 1 is not selected; group 2 has no rows that are numbers.
        let (rows, groups) = (Selection::rows(vec![0, 2, 3, 4]), [0, 0, 1, 2]);
        let mut out = Column::new();
        let metrics = NodeMetrics::default();
        let cx = CallCx { rule: "r", node: "3_aggregate", call_id: 1, now: Timestamp(0), metrics: &metrics };
        mean.call(&Frame { args: &args, rows: &rows, groups: Some((&groups, 3)) }, &mut out, &cx);
        assert_eq!(out.len(), 3);
        assert_eq!(
            (out.cell(0), out.cell(1), out.cell(2)),
            (Cell::Float(15.0), Cell::Float(300.0), Cell::Null)
        );
        // Outside of a window the lists have length 1.
        assert_eq!(call(&*mean, &[Value::Float(4.0)]), Ok(Value::Float(4.0)));
    });
}

#[test]
fn functions_validate_their_arguments_and_unknown_names_are_nobodys() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let echo = bench.host.resolve(&format!("{name}_echo")).unwrap().unwrap();
        assert_eq!(echo.is_aggregate(), Ok(false));
        let column = ArgShape::Column { source: None, name: "a".into() };
        assert_eq!(echo.validate(&[ArgShape::Literal(Value::Int(1)), column, ArgShape::Other]), Ok(()));
        assert_eq!(echo.validate(&[]).unwrap_err().message, "echo needs an argument");
        assert!(bench.host.resolve(&format!("{name}_ECHO")).unwrap().is_none(), "names are case-sensitive");
        assert_eq!(bench.host.names().len(), 3);
    });
}

#[test]
fn failures_of_a_call_are_errors_that_name_the_function_and_the_channel_goes_on() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let function = format!("{}_do", bench.install(&Subject::misbehave()));
        let ask = |what: &str| bench.call(&function, &[Value::text(what), Value::text("why")]);
        assert_eq!(ask("raise"), Err(format!("call func {function} error: ValueError: why")));
        let bytes = ask("bytes");
        match &sdk {
            // Column frames have a type for them.
            Sdk::Bundled => {
                assert_eq!(bytes, Ok(Value::Bytes(bytes::Bytes::from_static(b"not for JSON"))));
            }
            Sdk::Real(_) => {
                let bytes = bytes.unwrap_err();
                assert!(bytes.contains("is not JSON serializable"), "{bytes}");
            }
        }
        assert_eq!(ask("none"), Ok(Value::Null));
        let nan = Value::list(vec![Value::Null, Value::Null, Value::Float(1.0)]);
        assert_eq!(ask("nan"), Ok(nan));
        let do_it = bench.host.resolve(&function).unwrap().unwrap();
        let metrics = NodeMetrics::default();
        let nans = [Value::text("nan"), Value::Float(f64::NAN)];
        call_counted(&*do_it, &nans, &metrics).unwrap();
        // Section 6: one for the argument and one for the result.
        assert_eq!(metrics.exceptions.load(Relaxed), 2);
        assert_eq!(
            &*metrics.rare().last_exception,
            format!("call func {function} error: a result is not a finite number; it became null")
        );
        if let Sdk::Real(_) = &sdk {
            // A frame is not made with what the function has broken.
            let garbage = ask("garbage").unwrap_err();
            assert!(garbage.contains("invalid answer \"this is no JSON\""), "{garbage}");
        }
        assert_eq!(ask("echo"), Ok(Value::text("why")));
    });
}

#[test]
fn a_call_over_time_fails_and_the_next_one_gets_its_own_result() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| config.recv_timeout = Duration::from_millis(300));
        let name = bench.install(&Subject::misbehave());
        let function = format!("{name}_do");
        let flag = bench.home.path().join("flag");
        fs::write(&flag, "").unwrap();
        let hang = bench.call(&function, &[Value::text("hang"), Value::text(flag.display().to_string())]);
        assert_eq!(
            hang,
            Err(format!("call func {function} error: plugin {name} did not answer within 300ms"))
        );
        fs::remove_file(&flag).unwrap();
        assert_eq!(bench.call(&function, &[Value::text("echo"), Value::text("own")]), Ok(Value::text("own")));
    });
}

#[test]
fn after_three_time_outs_a_rules_calls_fail_fast() {
    let bench = Bench::with(&Sdk::Bundled, |config| {
        config.recv_timeout = Duration::from_millis(20);
        config.send_timeout = Duration::from_millis(20);
    });
    let function = format!("{}_do", bench.install(&Subject::misbehave()));
    let flag = bench.home.path().join("flag");
    fs::write(&flag, "").unwrap();
    let hang = || {
        bench.call(&function, &[Value::text("hang"), Value::text(flag.display().to_string())]).unwrap_err()
    };
    assert!(hang().contains("did not answer within"));
    assert!(hang().contains("still busy with an earlier call"));
    assert!(hang().contains("still busy with an earlier call"));
    assert!(hang().contains("did not answer 3 times in a row"), "{}", hang());
    fs::remove_file(&flag).unwrap();
    eventually("the rule's calls are tried again", || {
        bench.call(&function, &[Value::text("echo"), Value::text("x")]) == Ok(Value::text("x"))
    });
}

#[test]
fn the_death_of_a_plugin_fails_the_call_at_once_and_the_next_process_goes_on() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let (dying, other) = (bench.install(&Subject::misbehave()), bench.install(&Subject::echo()));
        let function = format!("{dying}_do");
        let ask =
            |what: &str, argument: &str| bench.call(&function, &[Value::text(what), Value::text(argument)]);
        let mut pids = vec![ask("pid", "").unwrap()];
        for (what, argument, reason) in
            [("kill", "", "signal 9"), ("exit", "0", "exit code 0"), ("exit", "3", "exit code 3: last words")]
        {
            let start = Instant::now();
            // Where calls come in batches it is tried once more, in another process.
            let more = match &sdk {
                Sdk::Bundled => " with this row alone, which is not tried again",
                Sdk::Real(_) => "",
            };
            let expected = format!(
                "call func {function} error: plugin {dying} ended ({reason}) while calling {function}{more}"
            );
            assert_eq!(ask(what, argument), Err(expected));
            assert!(start.elapsed() < Duration::from_secs(2), "it did not wait for the time-out");
            let pid = ask("pid", "").expect("it is back");
            assert!(!pids.contains(&pid), "in another process");
            pids.push(pid);
        }
        let status = bench.host.status(&dying).unwrap();
        let restarts = if matches!(sdk, Sdk::Bundled) { 6 } else { 3 };
        assert_eq!(
            (status.restarts, status.last_exit.as_deref()),
            (restarts, Some("exit code 3: last words"))
        );
        assert_eq!(bench.call(&format!("{other}_echo"), &[Value::Int(1)]), Ok(Value::Float(1.0)));
    });
}

#[test]
fn callers_of_one_function_never_get_each_others_results() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let echo = format!("{}_echo", bench.install(&Subject::echo()));
        let echo = bench.host.resolve(&echo).unwrap().unwrap();
        std::thread::scope(|scope| {
            for caller in 0..4 {
                let echo = Arc::clone(&echo);
                scope.spawn(move || {
                    for i in 0..50 {
                        let text = Value::text(format!("{caller}-{i}"));
                        assert_eq!(call(&*echo, std::slice::from_ref(&text)), Ok(text));
                    }
                });
            }
        });
    });
}

#[test]
fn the_example_plugin_computes_a_spectral_peak_from_its_packed_files() {
    let bench = Bench::new(&Sdk::Bundled);
    let zip = bench.home.path().join("vibration.zip");
    pack(VIBRATION, &zip).unwrap();
    // Its socket has the plugin's fixed name, so that this test has it to itself.
    let request = InstallRequest {
        name: "vibration".to_owned(),
        file: format!("file://{}", zip.display()),
        ..Default::default()
    };
    bench.host.install(&request).unwrap();
    let peak = bench.host.resolve("vib_peak_hz").unwrap().unwrap();
    assert_eq!(peak.is_aggregate(), Ok(true));
    assert_eq!(
        peak.validate(&[ArgShape::Other]).unwrap_err().message,
        "use it as vib_peak_hz(x, sample_rate)"
    );
    let sine =
        Column::from_floats((0..1000).map(|i| 9.81 + (f64::from(i) * 0.05 * std::f64::consts::TAU).sin()));
    let rate = Column::from_ints([1000]);
    let args = [ColumnRef::borrowed(&sine), ColumnRef::Constant(std::borrow::Cow::Owned(rate))];
    let mut out = Column::new();
    let metrics = NodeMetrics::default();
    let cx = CallCx { rule: "r", node: "n", call_id: 0, now: Timestamp(0), metrics: &metrics };
    peak.call(
        &Frame { args: &args, rows: &Selection::all(1000), groups: Some((&[0; 1000], 1)) },
        &mut out,
        &cx,
    );
    let Cell::Float(hz) = out.cell(0) else { panic!("{:?}", out.cell(0)) };
    assert!((hz - 50.0).abs() < 0.1, "{hz}");
}

#[test]
fn the_channel_of_a_function_is_closed_after_its_last_user_and_opens_again() {
    on_both(|sdk| {
        let bench = Bench::with(&sdk, |config| config.function_linger = Duration::ZERO);
        let name = bench.install(&Subject::echo());
        let echo = format!("{name}_echo");
        let socket = format!("/tmp/func_{echo}.ipc");
        for _ in 0..3 {
            let first = bench.host.resolve(&echo).unwrap().unwrap();
            let second = bench.host.resolve(&echo).unwrap().unwrap();
            assert_eq!(call(&*first, &[Value::text("a")]), Ok(Value::text("a")));
            drop(first);
            assert_eq!(call(&*second, &[Value::text("b")]), Ok(Value::text("b")));
            assert!(fs::exists(&socket).unwrap(), "it is in use");
            drop(second);
            eventually("the channel is closed", || !fs::exists(&socket).unwrap());
            eventually("it is forgotten", || bench.host.status(&name).unwrap().symbols.is_empty());
        }
    });
}

#[test]
fn waiting_time_and_call_time_of_functions_are_in_the_status() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::echo());
    let echo = bench.host.resolve(&format!("{name}_echo")).unwrap().unwrap();
    for _ in 0..3 {
        call(&*echo, &[Value::Int(1)]).unwrap();
    }
    let status = bench.host.status(&name).unwrap();
    let times = status.symbols[0].times.unwrap();
    // The greeting, and the number for the caller.
    assert_eq!(times.calls, 2 + 3);
    assert!(times.calling_us > times.waiting_us, "{times:?}");
}
