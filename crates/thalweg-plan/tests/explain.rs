//! What clients see of a plan, and what checkpoints compare.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod support;

use support::World;
use thalweg_plan::{Plan, PlanOptions, explain, plan};
use thalweg_sql::parse_query;

fn planned(sql: &str) -> Plan {
    let mut world = World::new();
    world.create("CREATE STREAM demo () WITH ()").unwrap();
    world.create("CREATE TABLE t () WITH (TYPE=\"memory\")").unwrap();
    plan(&parse_query(sql).unwrap(), &PlanOptions::default(), &world).unwrap()
}

#[test]
fn explain_has_one_json_line_a_node_indented_by_tabs() {
    let found = explain::explain(&planned("SELECT a FROM demo WHERE a > 0 GROUP BY COUNTWINDOW(2) LIMIT 1"));
    let expected = concat!(
        "{\"op\":\"ProjectPlan_0\",\"info\":\"Fields:[ a ]\"}\n",
        "\t{\"op\":\"FilterPlan_1\",\"info\":\"Condition:{ (a > 0) }\"}\n",
        "\t\t\t{\"op\":\"WindowPlan_2\",\"info\":\"{ windowType:COUNT_WINDOW, length:2, interval:2 }\"}\n",
        "\t\t\t\t\t{\"op\":\"DataSourcePlan_3\",\"info\":\"StreamName: demo, StreamFields:[ a ]\"}",
    );
    assert_eq!(found, expected, "X-7, rest-api.md 5.8");
}

#[test]
fn a_join_with_a_table_shows_its_alignment() {
    let found = explain::explain(&planned("SELECT demo.a FROM demo INNER JOIN t ON demo.a = t.a"));
    let ops: Vec<&str> = found.lines().map(|line| line.trim_start().split('"').nth(3).unwrap()).collect();
    assert_eq!(
        ops,
        ["ProjectPlan_0", "JoinPlan_1", "JoinAlignPlan_2", "DataSourcePlan_3", "DataSourcePlan_4"]
    );
}

#[test]
fn equal_plans_have_equal_fingerprints_and_others_do_not() {
    let of = |sql: &str| planned(sql).fingerprint;
    let window = of("SELECT a FROM demo GROUP BY TUMBLINGWINDOW(ss, 10)");
    assert_eq!(window, of("select  a from demo group by tumblingwindow(SS, 10);"), "R7.6");
    assert_ne!(window, of("SELECT a FROM demo GROUP BY TUMBLINGWINDOW(ss, 11)"));
    assert_ne!(of("SELECT lag(a, 1) AS l FROM demo"), of("SELECT lag(a, 2) AS l FROM demo"));
}

#[test]
fn sub_queries_and_unions_are_shown_by_what_is_in_them_and_count_in_fingerprints() {
    let sql = "SELECT b FROM (SELECT a AS b FROM demo UNION ALL SELECT c AS b FROM demo) AS u";
    let found = explain::explain(&planned(sql));
    let ops: Vec<&str> = found.lines().map(|line| line.trim_start().split('"').nth(3).unwrap()).collect();
    assert_eq!(
        ops,
        ["ProjectPlan_0", "ProjectPlan_1", "DataSourcePlan_2", "ProjectPlan_1", "DataSourcePlan_2"]
    );
    let with = "WITH u AS (SELECT a AS b FROM demo UNION ALL SELECT c AS b FROM demo) SELECT b FROM u";
    assert_eq!(planned(sql).fingerprint, planned(with).fingerprint, "WITH is another way to write it");
    assert_ne!(planned(sql).fingerprint, planned(&sql.replace("c AS b", "d AS b")).fingerprint, "R7.6");
}

#[test]
fn what_is_hardly_meant_is_told_as_a_warning_with_a_way_out() {
    let told = |sql: &str| {
        let warnings = planned(sql).warnings;
        warnings.iter().map(|warning| warning.render(sql)).collect::<Vec<_>>()
    };
    let window = "GROUP BY TUMBLINGWINDOW(ss, 1)";
    let of_results = |what: &str| {
        let start = "WHERE chooses rows, and this condition keeps all rows of a window or none (line 1, column 36, at";
        [format!("{start} {what}; to choose results, use HAVING)")]
    };
    let found = told(&format!("SELECT avg(a) AS m FROM demo WHERE avg(a) > 3 {window}"));
    assert_eq!(found, of_results("avg(a) > 3"), "Q-4");
    let found = told(&format!("SELECT sum(a) AS m FROM demo WHERE b > 1 AND m > 3 {window}"));
    assert_eq!(found, of_results("b > 1 AND m > 3"));
    assert_eq!(told(&format!("SELECT a FROM demo WHERE a > avg(a) {window}")), [""; 0]);
    let null = "window_end is null, the statement has no window (line 1, column 8, at window_end(); write a window behind GROUP BY)";
    assert_eq!(told("SELECT window_end() AS e FROM demo"), [null], "W-7");
    assert_eq!(told(&format!("SELECT window_end() AS e FROM demo {window}")), [""; 0]);
}

#[test]
fn a_stream_that_is_read_in_two_parts_has_two_names() {
    let plan = planned("SELECT a FROM demo UNION ALL SELECT b FROM demo");
    let names: Vec<&str> = plan.root.inputs.iter().map(|input| &*input.inputs[0].name).collect();
    assert_eq!(names, ["demo", "demo_2"]);
}

#[test]
fn a_window_that_folds_rows_into_the_aggregate_above_says_so() {
    let op = |sql: &str, disabled: &[&str]| {
        let mut world = World::new();
        world.create("CREATE STREAM demo () WITH ()").unwrap();
        let disabled_passes = disabled.iter().map(|name| (*name).to_owned()).collect();
        let options = PlanOptions { disabled_passes, ..PlanOptions::default() };
        let text = explain::explain(&plan(&parse_query(sql).unwrap(), &options, &world).unwrap());
        let ops = text.lines().filter_map(|line| line.split('"').nth(3).map(str::to_owned));
        ops.filter(|op| op.contains("Window")).collect::<Vec<_>>().join(" ")
    };
    let tumbling = "SELECT k, sum(a) FROM demo GROUP BY k, TUMBLINGWINDOW(ss, 1)";
    assert_eq!(op(tumbling, &[]), "IncAggWindowPlan_2");
    assert_eq!(op(tumbling, &["incrementalWindow"]), "WindowPlan_2");
    assert_eq!(op("SELECT max(a) FROM demo GROUP BY SLIDINGWINDOW(ss, 1)", &[]), "IncAggWindowPlan_2");
    for kept in [
        // A state for each row would hold all rows behind it.
        "SELECT collect(a) FROM demo GROUP BY SLIDINGWINDOW(ss, 1)",
        // Not known before the window closes, or not the same twice.
        "SELECT sum(a) FROM demo GROUP BY window_end(), TUMBLINGWINDOW(ss, 1)",
        "SELECT sum(a + rand()) FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)",
        // Rows are joined, compared with the whole, or shown themselves.
        "SELECT count(*) FROM demo AS a INNER JOIN demo AS b ON a.k = b.k GROUP BY TUMBLINGWINDOW(ss, 1)",
        "SELECT count(*) FROM demo WHERE a > avg(a) GROUP BY COUNTWINDOW(2)",
        "SELECT a FROM demo GROUP BY COUNTWINDOW(2) HAVING count(*) > 1",
    ] {
        assert!(op(kept, &[]).starts_with("WindowPlan_"), "{kept}");
    }
}

/// What EXPLAIN adds, a line each as `op info`, tabs kept.
fn reported(ddl: &str, sql: &str, sharing: &[explain::Sharing]) -> String {
    let mut world = World::new();
    world.create(ddl).unwrap();
    let plan = plan(&parse_query(sql).unwrap(), &PlanOptions::default(), &world).unwrap();
    let line = |line: &str| {
        let text = line.trim_start();
        let json: serde_json::Value = serde_json::from_str(text).unwrap();
        let tabs = &line[..line.len() - text.len()];
        format!("{tabs}{} {}", json["op"].as_str().unwrap(), json["info"].as_str().unwrap())
    };
    explain::report(&plan, sharing).lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_report_tells_what_is_decoded_asked_first_computed_once_and_shared() {
    let ddl =
        "CREATE STREAM s (a BIGINT, o STRUCT(p BIGINT, q STRING), l ARRAY(FLOAT)) WITH (SHARED=\"true\")";
    let sql = "SELECT upper(o->q) AS u, upper(o->q) || 'x' AS v, l FROM s WHERE a > 1 AND o->p = 2";
    let sharing = explain::Sharing {
        stream: "s".to_owned(),
        rules: vec!["r2".to_owned(), "r3".to_owned()],
        conditions: vec![("(a > 1)".to_owned(), vec!["r2".to_owned()]), ("(o->p = 2)".to_owned(), vec![])],
        states: Vec::new(),
    };
    let expected = "\
Node 4_project Project Fields:[ upper(o->q) AS u?, (upper(o->q) || \"x\") AS v?, l ]
\tNode - Compute upper(o->q)
\t\t\tNode 3_filter Filter Condition:{ ((a > 1) AND (o->p = 2)) }
\t\t\t\t\tNode s Scan [l array(float), a bigint, o->p bigint, o->q string]
Decoder s: l array(float), a bigint, o->p bigint, o->q string
SourceFilter s: (a > 1)
SourceFilter s: (o->p = 2)
ComputedOnce upper(o->q): read by 4_project (2 times)
SharedStream s: r2, r3
SharedCondition s: (a > 1): r2";
    assert_eq!(reported(ddl, sql, &[sharing]), expected);
}

#[test]
fn the_report_names_streams_by_alias_and_shows_what_waits_above_a_window() {
    let sql = "SELECT *, meta(topic) AS t FROM s AS x WHERE x.a > 1 GROUP BY COUNTWINDOW(2)";
    let found = reported("CREATE STREAM s () WITH ()", sql, &[]);
    let rest: Vec<&str> = found.lines().filter(|line| !line.trim_start().starts_with("Node")).collect();
    assert_eq!(rest, ["Decoder x (stream s): *, $meta, a"], "the condition is asked behind the window");
}

#[test]
fn rules_of_a_shared_stream_have_in_common_what_reads_alike() {
    let ask = |sql: &str, options: &PlanOptions| {
        let mut world = World::new();
        world.create("CREATE STREAM s () WITH (SHARED=\"true\", TIMESTAMP=\"ts\")").unwrap();
        explain::shared_streams(&plan(&parse_query(sql).unwrap(), options, &world).unwrap())
    };
    let plain = PlanOptions::default();
    let parts = vec!["(a > 1)".to_owned(), "(o->p = 2)".to_owned()];
    assert_eq!(ask("SELECT b FROM s WHERE a > 1 AND o.p = 2", &plain), [("s".to_owned(), parts.clone())]);
    assert_eq!(ask("SELECT c, a FROM s AS x WHERE x.a > 1 AND o->p = 2", &plain), [("s".to_owned(), parts)]);
    let event_time = PlanOptions { event_time: true, ..PlanOptions::default() };
    assert_eq!(ask("SELECT b FROM s WHERE a > 1", &event_time), [("s".to_owned(), Vec::new())]);
}
