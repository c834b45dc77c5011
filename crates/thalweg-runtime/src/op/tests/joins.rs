//! Joins of streams, scan tables and lookup tables (chapter 8).

use super::*;

/// The rows of chapter 8's examples, then the end of the window.
const WINDOW: &str = r#"
    400 l {"id":1,"v":10,"x":"L1"}
    401 l {"id":2,"v":20,"x":"L2"}
    402 r {"id":1,"w":100,"x":"R1"}
    403 r {"id":3,"w":300,"x":"R3"}
    404 r {"id":1,"w":101,"x":"R1b"}
    1000
    "#;

#[track_caller]
fn check_join(kind: &str, on: &str, expected: &str) {
    let sql = format!("SELECT l.v AS v, r.w AS w FROM l {kind} JOIN r {on} GROUP BY TUMBLINGWINDOW(ss, 1)");
    check(&sql, WINDOW, expected);
}

#[test]
fn j2_joined_rows_come_in_the_order_of_the_outer_side() {
    check_join("INNER", "ON l.id = r.id", r#"[{"v":10,"w":100},{"v":10,"w":101}]"#);
    check_join("LEFT", "ON l.id = r.id", r#"[{"v":10,"w":100},{"v":10,"w":101},{"v":20}]"#);
    check_join("RIGHT", "ON l.id = r.id", r#"[{"v":10,"w":100},{"w":300},{"v":10,"w":101}]"#);
    check_join("FULL", "ON l.id = r.id", r#"[{"v":10,"w":100},{"v":10,"w":101},{"v":20},{"w":300}]"#);
}

#[test]
fn j3_without_on_every_pair_is_joined_and_conditions_may_be_anything() {
    check_join(
        "CROSS",
        "",
        r#"[{"v":10,"w":100},{"v":10,"w":300},{"v":10,"w":101},{"v":20,"w":100},{"v":20,"w":300},{"v":20,"w":101}]"#,
    );
    check_join("INNER", "ON l.v * 10 < r.w AND l.id != r.id", r#"[{"v":10,"w":300},{"v":20,"w":300}]"#);
}

#[test]
fn j3_a_comparison_that_fails_drops_the_whole_window() {
    let options = Options { send_error: true, ..Options::default() };
    check_with(
        &options,
        "SELECT l.v FROM l INNER JOIN r ON l.id = r.x GROUP BY TUMBLINGWINDOW(ss, 1)",
        WINDOW,
        "ERR run Join error: invalid operation float64(1) = string(R1)",
    );
}

#[test]
fn j4_from_is_the_left_side_whatever_on_says_and_w6_nothing_gives_nothing() {
    check_join("LEFT", "ON r.id = l.id", r#"[{"v":10,"w":100},{"v":10,"w":101},{"v":20}]"#);
    check("SELECT l.v FROM l INNER JOIN r ON l.id = r.id GROUP BY TUMBLINGWINDOW(ss, 1)", "3000", "");
}

#[test]
fn j2_many_rows_found_by_hash_come_in_the_same_order_as_by_the_loop() {
    let rows = |stream: &str, n: i64, key: fn(i64) -> i64| -> String {
        (0..n).map(|i| format!("400 {stream} {{\"id\":{},\"v\":{i}}}\n", key(i))).collect()
    };
    let input = format!("{}{}1000", rows("l", 12, |i| i % 5), rows("r", 12, |i| i % 7));
    let by_hash =
        "SELECT l.v AS a, r.v AS b FROM l FULL JOIN r ON l.id = r.id GROUP BY TUMBLINGWINDOW(ss, 1)";
    let by_loop = "SELECT l.v AS a, r.v AS b FROM l FULL JOIN r ON l.id <= r.id AND l.id >= r.id GROUP BY TUMBLINGWINDOW(ss, 1)";
    let expected = messages(by_loop, &input);
    assert!(expected[0].contains(r#"{"a":0,"b":0},{"a":0,"b":7},{"a":1,"b":1}"#), "{expected:?}");
    assert_eq!(messages(by_hash, &input), expected);
}

#[test]
fn j1_rows_of_all_streams_count_for_a_count_window() {
    check(
        "SELECT l.v AS v, r.w AS w FROM l LEFT JOIN r ON l.id = r.id GROUP BY COUNTWINDOW(3)",
        r#"
        400 l {"id":1,"v":1}
        401 r {"id":1,"w":2}
        402 l {"id":2,"v":3}
        403 r {"id":1,"w":4}
        404 r {"id":1,"w":5}
        405 l {"id":1,"v":6}
        "#,
        r#"
        [{"v":1,"w":2},{"v":3}]
        [{"v":6,"w":4},{"v":6,"w":5}]
        "#,
    );
}

#[test]
fn j10_events_meet_the_last_rows_of_a_scan_table() {
    let rows = r#"
        400 t {"id":1,"n":"one"}
        401 s {"id":1}
        402 t {"id":2,"n":"two"}
        403 t {"id":3,"n":"three"}
        404 s {"id":1}
        405 s {"id":3}
        "#;
    check(
        "SELECT s.id AS i, t.n AS n FROM s INNER JOIN t ON s.id = t.id",
        rows,
        r#"
        [{"i":1,"n":"one"}]
        [{"i":3,"n":"three"}]
        "#,
    );
    check(
        "SELECT s.id AS i, t.n AS n FROM s LEFT JOIN t ON s.id = t.id",
        rows,
        r#"
        [{"i":1,"n":"one"}]
        [{"i":1}]
        [{"i":3,"n":"three"}]
        "#,
    );
    check(
        "SELECT s.id AS i, t.n AS n FROM s RIGHT JOIN t ON s.id = t.id",
        rows,
        r#"
        [{"i":1,"n":"one"}]
        [{"n":"two"},{"n":"three"}]
        [{"n":"two"},{"i":3,"n":"three"}]
        "#,
    );
}

#[test]
fn e2_two_streams_in_event_time_wait_for_the_slower_one() {
    check_event_time(
        0,
        "SELECT e.a AS a, e2.b AS b FROM e INNER JOIN e2 ON e.id = e2.id GROUP BY TUMBLINGWINDOW(ss, 1)",
        r#"
        400 e {"id":1,"a":1,"ts":100}
        401 e {"id":1,"a":2,"ts":5000}
        402 e2 {"id":1,"b":3,"ts":900}
        403 e2 {"id":1,"b":4,"ts":1500}
        "#,
        r#"[{"a":1,"b":3}]"#,
    );
}

const LOOKUP: &str = r#"
    {"id":1,"n":"one","lim":3}
    {"id":1,"n":"uno","lim":9}
    {"id":2,"n":"two","lim":3}
    "#;

#[track_caller]
fn check_lookup(sql: &str, expected: &str) {
    let options = Options { lookup: LOOKUP, ..Options::default() };
    let rows = r#"
        400 s {"id":1,"a":5}
        401 s {"id":7,"a":6}
        402 s {"a":7}
        403 s {"id":2,"a":8}
        "#;
    check_with(&options, sql, rows, expected);
}

#[test]
fn j12_each_event_is_joined_with_the_rows_that_its_key_finds() {
    check_lookup(
        "SELECT a, n FROM s INNER JOIN k ON s.id = k.id",
        r#"
        [{"a":5,"n":"one"},{"a":5,"n":"uno"}]
        [{"a":8,"n":"two"}]
        "#,
    );
    check_lookup(
        "SELECT a, k.n AS n FROM s LEFT JOIN k ON s.id = k.id",
        r#"
        [{"a":5,"n":"one"},{"a":5,"n":"uno"}]
        [{"a":6}]
        [{"a":7}]
        [{"a":8,"n":"two"}]
        "#,
    );
}

#[test]
fn j12_rows_with_the_same_key_each_get_its_answer() {
    let options = Options { lookup: LOOKUP, ..Options::default() };
    let rows = r#"
        400 s {"id":2,"a":1}
        401 s {"id":1,"a":2}
        402 s {"id":2,"a":3}
        403 s {"id":1,"a":4}
        "#;
    let expected = r#"
        [{"a":1,"n":"two"}]
        [{"a":2,"n":"one"},{"a":2,"n":"uno"}]
        [{"a":3,"n":"two"}]
        [{"a":4,"n":"one"},{"a":4,"n":"uno"}]
        "#;
    check_with(&options, "SELECT a, k.n AS n FROM s LEFT JOIN k ON s.id = k.id", rows, expected);
}

/// R-1: a row that finds one row may travel alone or as a collection of one; sorting would tell them apart.
#[test]
fn j12_rows_that_find_one_row_each_give_the_same_in_one_batch_as_collections_do() {
    let options =
        Options { lookup: "{\"id\":1,\"n\":\"one\"}\n{\"id\":2,\"n\":\"two\"}", ..Options::default() };
    let rows = r#"
        400 s {"id":2,"a":1}
        401 s {"id":7,"a":2}
        402 s {"id":1,"a":3}
        403 s {"id":2,"a":4}
        "#;
    let matched = [r#"[{"a":1,"n":"two"}]"#, r#"[{"a":3,"n":"one"}]"#, r#"[{"a":4,"n":"two"}]"#];
    for (kind, order) in [("INNER", ""), ("INNER", " ORDER BY a"), ("LEFT", ""), ("LEFT", " ORDER BY a")] {
        let sql = format!("SELECT a, k.n AS n FROM s {kind} JOIN k ON s.id = k.id WHERE a > 0{order}");
        let unmatched = if kind == "LEFT" { "[{\"a\":2}]\n" } else { "" };
        let expected = format!("{}\n{unmatched}{}\n{}", matched[0], matched[1], matched[2]);
        check_with(&options, &sql, rows, &expected);
    }
}

#[test]
fn j14_the_rest_of_on_decides_what_matches() {
    check_lookup(
        "SELECT a, k.n AS n FROM s LEFT JOIN k ON s.id = k.id AND k.lim > 4",
        r#"
        [{"a":5,"n":"uno"}]
        [{"a":6}]
        [{"a":7}]
        [{"a":8}]
        "#,
    );
}
