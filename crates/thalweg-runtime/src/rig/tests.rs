//! Rules on the rig: counters, sharing, failures, checkpoints.

use serde_json::json;
use thalweg_core::Batch;
use thalweg_core::Selection;
use thalweg_core::connector::{Offer, WantsMeta};
use thalweg_core::polled::Arrivals;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_plan::logical::StreamDef;

use super::*;
use crate::operator::{Emit, OpCx, Operator, RuleInfo};
use crate::testing::{filter_project, greater, project, registry, scan, spec, stream};

fn demo(shared: bool) -> Arc<StreamDef> {
    stream("demo", "mqtt", shared)
}

/// `SELECT a, b FROM demo WHERE a > 2`
fn filter_spec(id: &str, stream: &Arc<StreamDef>) -> RuleSpec {
    let plan = filter_project(scan(stream, &["a", "b"]), greater(0, 2), &[("a", 0), ("b", 1)]);
    spec(id, plan, &[stream], json!({"log": {}}))
}

fn rig() -> Rig {
    Rig::new(registry(&[]), Timestamp(0))
}

fn feed_numbers(rig: &mut Rig, numbers: std::ops::Range<i64>) {
    for number in numbers {
        rig.feed("demo", format!("{{\"b\":\"x{number}\",\"a\":{number}}}").as_bytes());
    }
}

#[test]
fn rows_that_pass_the_filter_are_messages_whatever_the_batch_size() {
    for batch in [1, 3, 1_024] {
        let mut rig = rig().batch_size(batch);
        let rule = rig.add(filter_spec("r", &demo(false))).unwrap();
        feed_numbers(&mut rig, 1..6);
        assert_eq!(
            rig.texts(rule),
            [r#"[{"a":3,"b":"x3"}]"#, r#"[{"a":4,"b":"x4"}]"#, r#"[{"a":5,"b":"x5"}]"#],
            "batches of {batch}"
        );
    }
}

#[test]
fn metrics_count_as_upstream_does() {
    // R8.7: 5 events through a filter keeping 2 gives filter 5/2, project 2/2, sink 2/2.
    for batch in [1, 3, 1_024] {
        let mut rig = rig().batch_size(batch);
        let rule = rig.add(filter_spec("r", &demo(false))).unwrap();
        feed_numbers(&mut rig, 0..5);
        let counts: Vec<(String, u64, u64)> = rig
            .metrics(rule)
            .iter()
            .map(|node| (node.name.to_string(), node.records_in, node.records_out))
            .collect();
        let expected = [
            ("source_demo", 5, 5),
            ("op_2_decoder", 5, 5),
            ("op_3_filter", 5, 2),
            ("op_4_project", 2, 2),
            ("op_log_0_0_transform", 2, 2),
            ("op_log_0_1_encode", 2, 2),
            ("sink_log_0", 2, 2),
        ];
        let expected: Vec<(String, u64, u64)> =
            expected.iter().map(|(name, taken, given)| ((*name).to_owned(), *taken, *given)).collect();
        assert_eq!(counts, expected, "batches of {batch}");
    }
}

#[test]
fn metadata_is_made_only_once_a_rule_of_the_stream_asks_for_it() {
    let mut rig = rig().batch_size(1_024);
    let first = rig.add(filter_spec("first", &demo(true))).unwrap();
    let inlet = Arc::clone(&rig.inlets["demo"][0].1);
    assert!(inlet.takes_bare(), "nobody asks");
    let arrivals = Arrivals { bytes: b"{\"a\":3}", spans: &[(0, 7)], meta: &[], time: Timestamp(0) };
    assert_eq!(inlet.offer_all(&arrivals, WhenFull::DropOldest), Ok((Offer::Accepted, 1)));
    let mut input = scan(&demo(true), &["a"]);
    if let thalweg_plan::Kind::Scan(scan) = &mut input.kind {
        scan.projection.slot(thalweg_core::Want::Meta, None);
    }
    let plan = project(input, "2_project", &[("a", 0), ("m", 1)]);
    let second = rig.add(spec("second", plan, &[&demo(true)], json!({"log": {}}))).unwrap();
    assert_eq!(inlet.offer_all(&arrivals, WhenFull::DropOldest), Err(WantsMeta));
    let meta = Arc::new(Fields::from([(Arc::from("topic"), thalweg_core::Value::text("t"))]));
    rig.feed_with_meta("demo", br#"{"a":4}"#, &meta);
    let described = Arrivals { bytes: b"{\"a\":5}", meta: &[meta], ..arrivals };
    assert_eq!(inlet.offer_all(&described, WhenFull::DropOldest), Ok((Offer::Accepted, 1)));
    assert_eq!(rig.texts(first), [r#"[{"a":3}]"#, r#"[{"a":4}]"#, r#"[{"a":5}]"#]);
    // What waited when it came is not for it: its metadata is not there.
    assert_eq!(rig.texts(second), [r#"[{"a":4,"m":{"topic":"t"}}]"#, r#"[{"a":5,"m":{"topic":"t"}}]"#]);
}

#[test]
fn the_topology_has_upstreams_names() {
    let mut rig = rig();
    let rule = rig.add(filter_spec("r", &demo(false))).unwrap();
    let edges = rig.topology(rule).edges;
    let text = |name: &Arc<str>| name.to_string();
    let edges: serde_json::Map<String, serde_json::Value> =
        edges.iter().map(|(from, to)| (text(from), to.iter().map(text).collect())).collect();
    assert_eq!(
        serde_json::Value::Object(edges),
        json!({
            "source_demo": ["op_2_decoder"], "op_2_decoder": ["op_3_filter"], "op_3_filter": ["op_4_project"],
            "op_4_project": ["op_log_0_0_transform"], "op_log_0_0_transform": ["op_log_0_1_encode"],
            "op_log_0_1_encode": ["sink_log_0"],
        })
    );
}

#[test]
fn send_single_and_send_error_shape_messages_and_errors_keep_their_place() {
    let mut options = filter_spec("r", &demo(false));
    options.actions[0].props.set("sendSingle", true);
    options.options.send_error = true;
    for batch in [1, 1_024] {
        let mut rig = rig().batch_size(batch);
        let rule = rig.add(options.clone()).unwrap();
        rig.feed("demo", br#"{"a":3}"#);
        rig.feed("demo", br#"{"a":"q"}"#);
        rig.feed("demo", br#"{"a":4}"#);
        let texts = rig.texts(rule);
        let error = r#"{"error":"run Where error: invalid operation string(q) \u003e int64(2)"}"#;
        assert_eq!(texts, [r#"{"a":3}"#, error, r#"{"a":4}"#], "batches of {batch}");
        let filter = rig.metrics(rule).into_iter().find(|node| &*node.name == "op_3_filter").unwrap();
        assert_eq!((filter.records_in, filter.records_out, filter.exceptions), (3, 2, 1));
    }
}

#[test]
fn a_payload_that_is_no_json_is_one_counted_fault_and_reaches_sinks_only_with_send_error() {
    for send_error in [false, true] {
        let mut spec = filter_spec("r", &demo(false));
        spec.options.send_error = send_error;
        let mut rig = rig().batch_size(3);
        let rule = rig.add(spec).unwrap();
        for payload in [&br#"{"a":3}"#[..], b"{", br#"{"a":4}"#] {
            rig.feed("demo", payload);
        }
        let texts = rig.texts(rule);
        assert_eq!(texts.len(), if send_error { 3 } else { 2 }, "{texts:?}");
        assert!(!send_error || texts[1].starts_with(r#"{"error":"#), "{texts:?}");
        let decoder = rig.metrics(rule).into_iter().find(|node| &*node.name == "op_2_decoder").unwrap();
        assert_eq!((decoder.records_in, decoder.records_out, decoder.exceptions), (3, 2, 1));
        assert_eq!(decoder.rare.dropped.get("decode"), Some(&1));
    }
}

#[test]
fn rules_of_a_shared_stream_decode_once_and_see_their_own_columns() {
    let shared = demo(true);
    let mut rig = rig().batch_size(3);
    let first = rig.add(filter_spec("first", &shared)).unwrap();
    feed_numbers(&mut rig, 1..4);
    let plan = project(scan(&shared, &["c", "a"]), "3_project", &[("c", 0), ("a", 1)]);
    let second = rig.add(spec("second", plan, &[&shared], json!({"log": {}}))).unwrap();
    rig.feed("demo", br#"{"a":9,"b":8,"c":7}"#);
    assert_eq!(rig.texts(first), [r#"[{"a":3,"b":"x3"}]"#, r#"[{"a":9,"b":8}]"#]);
    assert_eq!(rig.texts(second), [r#"[{"a":9,"c":7}]"#]);
    // contracts.md 10: a rule's counters start when it joined, although the decoder is shared.
    let decoder = |rig: &mut Rig, rule| rig.metrics(rule)[1].records_in;
    assert_eq!((decoder(&mut rig, first), decoder(&mut rig, second)), (4, 1));
    assert_eq!(&*rig.metrics(first)[1].name, "op_demo_2_decoder");
    rig.stop(first);
    rig.feed("demo", br#"{"a":1,"c":1}"#);
    assert_eq!(rig.texts(second), [r#"[{"a":1,"c":1}]"#]);
    rig.stop(second);
    assert!(rig.streams.home_of("demo").is_none());
}

#[test]
fn rows_of_structured_sources_need_no_decoder() {
    let mut rig = rig();
    let rule = rig.add(filter_spec("r", &demo(false))).unwrap();
    let row = |a: i64| Arc::new(Fields::from([(Arc::from("a"), Value::Int(a))]));
    rig.feed_rows("demo", &[row(1), row(5), row(6)]);
    assert_eq!(rig.texts(rule), [r#"[{"a":5}]"#, r#"[{"a":6}]"#]);
}

#[test]
fn a_bounded_source_ends_its_rule_after_everything_was_sent() {
    let mut spec = filter_spec("r", &demo(false));
    spec.actions[0].props.set("batchSize", 10);
    let mut rig = rig();
    let rule = rig.add(spec).unwrap();
    feed_numbers(&mut rig, 1..5);
    assert_eq!(rig.texts(rule), [""; 0]);
    assert_eq!(rig.outcome(rule), Outcome::Running);
    rig.end("demo");
    assert_eq!(rig.outcome(rule), Outcome::Done);
    // C3.13: with sendSingle=false arrays nest.
    assert_eq!(rig.texts(rule), [r#"[[{"a":3,"b":"x3"}],[{"a":4,"b":"x4"}]]"#]);
}

#[test]
fn linger_sends_what_is_there_at_its_own_time() {
    let mut spec = filter_spec("r", &demo(false));
    spec.actions[0].props.set("lingerInterval", 100);
    spec.actions[0].props.set("sendSingle", true);
    let mut rig = rig();
    let rule = rig.add(spec).unwrap();
    feed_numbers(&mut rig, 3..5);
    rig.advance_to(Timestamp(350));
    let sent: Vec<(i64, String)> = rig.output(rule).iter().map(|sent| (sent.at.0, sent.text())).collect();
    assert_eq!(sent, [(100, r#"[{"a":3,"b":"x3"},{"a":4,"b":"x4"}]"#.to_owned())]);
}

/// Counts rows and tells the sum every 1,000 ms; panics on a row with a = 13.
struct Teller {
    rows: u64,
    next: Timestamp,
}

fn teller(_: &thalweg_plan::Node, _: &RuleInfo) -> Box<dyn Operator> {
    Box::new(Teller { rows: 0, next: Timestamp(0) })
}

impl Operator for Teller {
    fn on_batch(&mut self, _: usize, batch: &Batch, rows: &Selection, _: &mut dyn Emit, _: &mut OpCx<'_>) {
        assert!(!rows.iter().any(|row| batch.columns[0].value(row) == Value::Float(13.0)), "thirteen");
        self.rows += rows.len() as u64;
    }

    fn start(&mut self, cx: &mut OpCx<'_>) {
        if self.next.0 == 0 {
            self.next = cx.now.plus(1_000);
        }
    }

    fn next_timer(&self) -> Option<Timestamp> {
        Some(self.next)
    }

    fn on_timer(&mut self, out: &mut dyn Emit, cx: &mut OpCx<'_>) {
        assert_eq!(cx.now, self.next, "with a manual clock exactly at it");
        self.next = self.next.plus(1_000);
        let mut batch =
            Batch::empty(Arc::new(thalweg_core::Schema::computed(["n"])), thalweg_core::Unit::Collection);
        batch.columns = vec![Arc::new(thalweg_core::Column::from_ints([self.rows as i64]))];
        batch.n_rows = 1;
        out.batch(0, &batch, &Selection::all(1));
    }

    fn save(&self, out: &mut StateWriter) {
        out.u64(self.rows);
        out.time(self.next);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.rows = from.u64()?;
        self.next = from.time()?;
        Ok(())
    }
}

fn teller_spec(id: &str, stream: &Arc<StreamDef>) -> RuleSpec {
    spec(id, project(scan(stream, &["a"]), "3_teller", &[("n", 0)]), &[stream], json!({"log": {}}))
}

#[test]
fn every_timer_fires_at_its_own_time_and_a_restart_between_any_two_events_changes_nothing() {
    let run = |restart_at: Option<i64>| {
        let mut rig = rig().operators(teller);
        let rule = rig.add(teller_spec("r", &demo(false))).unwrap();
        for step in 0..7 {
            if restart_at == Some(step) {
                rig.restart(rule).unwrap();
            }
            rig.advance_to(Timestamp(step * 500));
            rig.feed("demo", br#"{"a":1}"#);
        }
        rig.output(rule).iter().map(|sent| (sent.at.0, sent.text())).collect::<Vec<_>>()
    };
    let expected = [(1_000, r#"[{"n":2}]"#), (2_000, r#"[{"n":4}]"#), (3_000, r#"[{"n":6}]"#)];
    let expected: Vec<(i64, String)> = expected.iter().map(|(at, text)| (*at, (*text).to_owned())).collect();
    assert_eq!(run(None), expected);
    for step in 0..7 {
        assert_eq!(run(Some(step)), expected, "restarted before step {step}");
    }
}

#[test]
fn a_panic_stops_the_guilty_rule_and_no_other() {
    let shared = demo(true);
    let mut rig = rig().operators(teller).batch_size(2);
    let guilty = rig.add(teller_spec("guilty", &shared)).unwrap();
    let mut other = teller_spec("other", &shared);
    other.plan = project(scan(&shared, &["b"]), "3_teller", &[("n", 0)]);
    let other = rig.add(other).unwrap();
    rig.feed("demo", br#"{"a":13}"#);
    rig.feed("demo", br#"{"a":1}"#);
    rig.feed("demo", br#"{"a":1}"#);
    rig.advance_to(Timestamp(1_000));
    assert_eq!(rig.outcome(guilty), Outcome::Failed(Arc::from("internal error: thirteen")));
    assert_eq!(rig.outcome(other), Outcome::Running);
    assert_eq!(rig.texts(other), [r#"[{"n":3}]"#]);
    assert_eq!(rig.texts(guilty), [""; 0]);
}

#[test]
fn a_snapshot_of_another_plan_is_not_used() {
    // R7.6
    let mut rig = rig().operators(teller);
    let rule = rig.add(teller_spec("r", &demo(false))).unwrap();
    rig.feed("demo", br#"{"a":1}"#);
    let mut snapshot = rig.snapshot(rule).unwrap();
    rig.stop(rule);
    snapshot.fingerprint += 1;
    let fresh = rig.add_from(teller_spec("r", &demo(false)), Some(snapshot.clone())).unwrap();
    snapshot.fingerprint -= 1;
    snapshot.nodes.insert("3_teller".to_owned(), vec![1]);
    let damaged = rig.add_from(teller_spec("r", &demo(false)), Some(snapshot)).unwrap_err();
    assert_eq!(damaged.message, "snapshot cannot be read: 3_teller: it ends too early");
    rig.advance_to(Timestamp(1_000));
    assert_eq!(rig.texts(fresh), [r#"[{"n":0}]"#]);
}

#[test]
fn star_rows_reach_the_sink_whole() {
    let demo = demo(false);
    let plan = project(scan(&demo, &["*"]), "3_project", &[("*", 0)]);
    let mut rig = rig();
    let rule = rig.add(spec("r", plan, &[&demo], json!({"log": {"excludeFields": ["b"]}}))).unwrap();
    rig.feed("demo", br#"{"b":1,"a":{"z":[1.5],"y":"<"}}"#);
    assert_eq!(rig.texts(rule), [r#"[{"a":{"y":"\u003c","z":[1.5]}}]"#]);
}

#[test]
fn a_data_template_is_rendered_over_the_row_or_the_list_and_a_failure_is_counted() {
    let templated = |text: &str, single: bool| {
        let mut spec = filter_spec("r", &demo(false));
        spec.actions[0].props.set("dataTemplate", text);
        spec.actions[0].props.set("sendSingle", single);
        let mut rig = rig();
        let rule = rig.add(spec).unwrap();
        feed_numbers(&mut rig, 3..4);
        let texts = rig.texts(rule);
        let transform = rig.metrics(rule).into_iter().find(|node| node.name.ends_with("_transform")).unwrap();
        (texts, transform.exceptions)
    };
    assert_eq!(templated("a is {{.a}}", true), (vec!["a is 3".to_owned()], 0));
    assert_eq!(templated("{{(index . 0).b}}", false), (vec!["x3".to_owned()], 0));
    assert_eq!(templated("{{.a}}", false), (Vec::new(), 1), "C3.9: a list has no members");
    let mut spec = filter_spec("r", &demo(false));
    spec.actions[0].props.set("dataTemplate", r#"{"n":{{.a}},"x":1}"#);
    spec.actions[0].props.set("sendSingle", true);
    spec.actions[0].props.set("excludeFields", json!(["x"]));
    let mut rig = rig();
    let rule = rig.add(spec).unwrap();
    feed_numbers(&mut rig, 3..4);
    assert_eq!(rig.texts(rule), [r#"{"n":3}"#], "C3.5: what a template writes is selected from");
}

#[test]
fn a_template_that_does_not_parse_is_told_when_the_rule_is_made() {
    let mut spec = filter_spec("r", &demo(false));
    spec.actions[0].props.set("dataTemplate", "{{.a");
    assert_eq!(rig().add(spec).unwrap_err().message, "log sink: template: sink:1: unclosed action");
}

#[test]
fn rows_of_a_scan_table_alone_trigger_nothing() {
    // J-11
    let table = demo(false);
    let mut input = scan(&table, &["a"]);
    if let thalweg_plan::Kind::Scan(scan) = &mut input.kind {
        scan.retain = Some(1);
    }
    let mut rig = rig();
    let rule =
        rig.add(spec("r", project(input, "3_project", &[("a", 0)]), &[&table], json!({"log": {}}))).unwrap();
    rig.feed("demo", br#"{"a":1}"#);
    assert_eq!(rig.texts(rule), [""; 0]);
}

/// Name, records in and out, and errors of the operators of a rule, after these rows.
fn operators(sql: &str, passes: &[&str], rows: &[&str]) -> Vec<(String, u64, u64, u64)> {
    let mut options = crate::op::testing::Options::default();
    options.plan.disabled_passes = passes.iter().map(|name| (*name).to_owned()).collect();
    let plan = crate::op::testing::plan(sql, &options);
    let mut rig = rig().batch_size(2);
    let rule = rig.add(spec("r", plan, &[&stream("s", "mqtt", false)], json!({"log": {}}))).unwrap();
    rows.iter().for_each(|row| rig.feed("s", row.as_bytes()));
    let metrics = rig
        .metrics(rule)
        .into_iter()
        .filter(|node| node.name.starts_with("op_") && !node.name.contains("log"));
    metrics.map(|node| (node.name.to_string(), node.records_in, node.records_out, node.exceptions)).collect()
}

#[test]
fn a_window_that_folds_rows_counts_on_the_nodes_whose_work_it_does() {
    let good = r#"{"a":1,"b":1}"#;
    let (unfit, divided) = (r#"{"a":"q","b":1}"#, r#"{"a":1,"b":0}"#);
    let rows = [good, good, good, divided, unfit, good];
    for sql in [
        "SELECT sum(a + 1) AS t FROM s WHERE b / b > 0 GROUP BY COUNTWINDOW(2)",
        "SELECT sum(a + 1) AS t FROM s WHERE b / b > 0 GROUP BY SLIDINGWINDOW(ms, 1)",
        "SELECT sum(a) AS t FROM s WHERE b > 0 GROUP BY a + 1, COUNTWINDOW(2)",
        "SELECT sum(a) AS t FROM s WHERE b > 5 GROUP BY COUNTWINDOW(2)",
    ] {
        let (folded, kept) = (operators(sql, &[], &rows), operators(sql, &["incrementalWindow"], &rows));
        let is_sliding = sql.contains("SLIDING");
        for (folded, kept) in folded.into_iter().zip(kept) {
            // S9 is counted once a row, not once a window that holds it.
            let n_errors = if is_sliding && folded.0.contains("aggregate") { 1 } else { kept.3 };
            assert_eq!(folded, (kept.0, kept.1, kept.2, n_errors), "{sql}");
        }
    }
}
