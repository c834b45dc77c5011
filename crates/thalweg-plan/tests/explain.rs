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
