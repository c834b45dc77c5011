//! What is said on the control channel beyond `start` and `stop` (`portable-plugins.md` 12.1, 12.7, 12.8).

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use thalweg_core::Value;
use thalweg_plugin::{PluginSettings, Pulse};

use crate::ports::*;
use crate::subject::*;

#[test]
fn a_process_that_says_what_it_can_do_is_answered_and_others_are_left_alone() {
    on_both(|sdk| {
        let bench = Bench::new(&sdk);
        let name = bench.install(&Subject::echo());
        let status = bench.host.status(&name).unwrap();
        match sdk {
            Sdk::Bundled => {
                assert!(
                    status.sdk.as_ref().is_some_and(|sdk| sdk.starts_with("thalweg-python/")),
                    "{status:?}"
                );
                assert!(status.caps.contains(&"ping") && status.caps.contains(&"shutdown"), "{status:?}");
                assert_eq!(bench.host.ping(&name, LONG), Some(Ok(Pulse::Beats)));
            }
            Sdk::Real(_) => {
                assert_eq!((status.sdk, status.caps), (None, vec![]));
                assert_eq!(bench.host.ping(&name, LONG), Some(Ok(Pulse::Unknown)));
            }
        }
        assert_eq!(bench.call(&format!("{name}_echo"), &[Value::text("x")]).unwrap(), Value::text("x"));
    });
}

#[test]
fn configuration_and_secrets_of_a_plugin_reach_its_sources_and_sinks_alone() {
    let subject = Subject::flow();
    let told = PluginSettings {
        config: BTreeMap::from([("level".to_owned(), json!("high"))]),
        secrets: BTreeMap::from([("token".to_owned(), "hunter2".to_owned())]),
    };
    let shown = format!("{told:?}");
    assert!(shown.contains("high") && !shown.contains("hunter2"), "{shown}");
    let bench = Bench::with(&Sdk::Bundled, |config| {
        config.settings.insert(subject.name.clone(), told);
    });
    let name = bench.install(&subject);
    let other = bench.install(&Subject::flow());
    let known = |name: &str| bench.call(&format!("{name}_known"), &[Value::text("level")]);
    assert_eq!(known(&name), Ok(Value::text("high hunter2 7")));
    let error = known(&other).unwrap_err();
    assert!(error.contains("no secret token"), "{error}");
}

#[test]
fn a_plugin_is_asked_to_end_before_it_is_signalled() {
    let bench = Bench::with(&Sdk::Bundled, |config| config.stop_timeout = LONG);
    // It does not hear SIGTERM, and SIGKILL would come too late.
    let subject = Subject::flow().file("deaf", "");
    let name = bench.install(&subject);
    let pid = bench.host.status(&name).unwrap().pid.unwrap();
    bench.host.delete(&name).unwrap();
    let status = bench.host.status(&name).unwrap();
    assert_eq!(status.last_exit.as_deref(), Some("exit code 0"));
    assert!(status.log.iter().any(|line| line == "good bye"), "{:?}", status.log);
    assert!(!is_alive(pid));
}

#[test]
fn a_process_that_hangs_does_not_answer_and_one_that_has_ended_says_so() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::flow());
    let pid = bench.host.status(&name).unwrap().pid.unwrap();
    assert_eq!(bench.host.ping(&name, LONG), Some(Ok(Pulse::Beats)));
    signal(pid, "STOP");
    let short = Duration::from_millis(50);
    assert_eq!(bench.host.ping(&name, short), Some(Err("no answer to ping within 50ms".to_owned())));
    signal(pid, "CONT");
    // The answer that is owed is waited for and dropped.
    assert_eq!(bench.host.ping(&name, LONG), Some(Ok(Pulse::Beats)));
    assert_eq!(bench.host.ping("nobody", short), None);
}

#[test]
fn what_a_source_counts_is_in_the_status_of_its_plugin() {
    let bench = Bench::new(&Sdk::Bundled);
    let name = bench.install(&Subject::flow());
    let rule = format!("{name}r");
    let cx = build_cx(&bench, &rule, "demo", &[("count", json!(20)), ("waits", json!(true))]);
    let port = std::sync::Arc::new(Port::default());
    let source = run_source(&bench, &format!("{name}_walk"), &cx, &port);
    port.wait("20 rows", |seen| (seen.rows.len() == 20).then_some(()));
    eventually("its counters are in the status", || {
        let status = bench.host.status(&name).unwrap();
        let metrics = status.symbols.into_iter().find_map(|symbol| symbol.metrics);
        metrics.is_some_and(|metrics| (metrics.counters["walked"], metrics.gauges["began"]) == (20.0, 0.0))
    });
    port.stop();
    source.join().unwrap().unwrap();
}
