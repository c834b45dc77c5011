//! Statements that would cost too much are refused; none overflows the stack of a small thread.

#![allow(clippy::unwrap_used, clippy::panic)] // a test fails by panicking

mod support;

use support::World;
use thalweg_plan::{PlanOptions, plan};
use thalweg_sql::parse_query;

/// Plans on a stack as small as a worker's; the mistakes as text.
fn plan_on_a_worker(sql: String) -> String {
    let work = move || {
        let mut world = World::new();
        world.create("CREATE STREAM demo () WITH ()").unwrap();
        let planned = parse_query(&sql).and_then(|query| plan(&query, &PlanOptions::default(), &world));
        planned.map_or_else(
            |mistakes| mistakes.iter().map(|mistake| mistake.message.as_str()).collect::<Vec<_>>().join(", "),
            |_| "planned".to_owned(),
        )
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap()
}

#[test]
fn a_long_condition_is_planned() {
    let parts: Vec<String> = (0..400).map(|number| format!("a = {number}")).collect();
    for word in [" OR ", " AND "] {
        assert_eq!(plan_on_a_worker(format!("SELECT a FROM demo WHERE {}", parts.join(word))), "planned");
    }
}

#[test]
fn a_chain_of_aliases_is_planned_from_left_to_right() {
    let fields: Vec<String> = (1..400).map(|number| format!("x{} + 1 AS x{number}", number - 1)).collect();
    let sql = format!("SELECT a AS x0, {} FROM demo WHERE x399 > 1", fields.join(", "));
    assert_eq!(plan_on_a_worker(sql), "planned");
}

#[test]
fn aliases_that_double_are_planned_because_they_are_computed_once() {
    let fields: Vec<String> = (1..60).map(|number| format!("x{0} + x{0} AS x{number}", number - 1)).collect();
    let sql = format!("SELECT a AS x0, {} FROM demo", fields.join(", "));
    assert_eq!(plan_on_a_worker(sql), "planned");
}

#[test]
fn a_chain_of_forward_aliases_is_refused() {
    let fields: Vec<String> = (0..2_000).map(|number| format!("x{} + 1 AS x{number}", number + 1)).collect();
    let sql = format!("SELECT {} FROM demo", fields.join(", "));
    assert!(plan_on_a_worker(sql).starts_with("the expression is nested too deep"));
}

#[test]
fn aliases_that_double_where_they_cannot_be_computed_are_refused() {
    let fields: Vec<String> = (1..60).map(|number| format!("x{0} + x{0} AS x{number}", number - 1)).collect();
    let sql = format!("SELECT row_number() AS x0, {} FROM demo GROUP BY COUNTWINDOW(2)", fields.join(", "));
    assert!(plan_on_a_worker(sql).contains("alias x10 is too large to be used here"));
}

#[test]
fn a_rule_that_may_wait_for_a_function_names_its_host() {
    let mut world = World::new();
    world.create("CREATE STREAM demo () WITH ()").unwrap();
    let hosts = |sql: &str| plan(&parse_query(sql).unwrap(), &PlanOptions::default(), &world).unwrap().hosts;
    assert_eq!(hosts("SELECT delay(5, a) AS a FROM demo"), ["delay".into()]);
    assert_eq!(hosts("SELECT a FROM demo WHERE get_keyed_state('k', 'bigint', 0) > a"), ["state".into()]);
    assert!(hosts("SELECT a FROM demo").is_empty());
}
