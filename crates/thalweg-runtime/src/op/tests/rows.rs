//! WHERE, the SELECT list, aggregates without window, analytic calls.

use super::*;

#[test]
fn q1_where_keeps_true_and_drops_false_and_null() {
    check(
        "SELECT a FROM s WHERE b > 1",
        r#"
        400 s {"a":1,"b":2}
        400 s {"a":2,"b":1}
        401 s {"a":3,"b":null}
        402 s {"a":4}
        403 s {"a":5,"b":7}
        "#,
        r#"
        {"a":1}
        {"a":5}
        "#,
    );
}

#[test]
fn z2_a_failed_row_is_an_error_of_that_row_only_and_keeps_its_place() {
    let options = Options { send_error: true, ..Options::default() };
    check_with(
        &options,
        "SELECT a / b AS x FROM s WHERE a > 1",
        r#"
        400 s {"a":2,"b":1}
        400 s {"a":"x"}
        401 s {"a":3,"b":0}
        402 s {"a":4,"b":1}
        "#,
        r#"
        {"x":2}
        ERR run Where error: invalid operation string(x) > int64(1)
        ERR run Select error: alias: x expr: a / b meet error, err:divided by zero
        {"x":4}
        "#,
    );
}

#[test]
fn p3_plain_columns_keep_null_and_others_leave_it_out() {
    check(
        "SELECT a, a AS x, a + 1 FROM s",
        r#"
        400 s {"a":null}
        400 s {}
        401 s {"a":1}
        "#,
        r#"
        {"a":null}
        {}
        {"a":1,"kuiper_field_0":2,"x":1}
        "#,
    );
}

#[test]
fn p15_a_star_yields_to_named_columns() {
    check(
        "SELECT *, a + 1 AS b FROM s",
        r#"
        400 s {"a":1,"b":2,"c":{"d":[1]}}
        401 s {"a":2}
        "#,
        r#"
        {"a":1,"b":2,"c":{"d":[1]}}
        {"a":2,"b":3}
        "#,
    );
}

#[test]
fn p13_except_leaves_columns_out() {
    check("SELECT * EXCEPT(a) FROM s", r#"400 s {"a":1,"b":2}"#, r#"{"b":2}"#);
}

#[test]
fn q9_without_a_window_each_row_is_aggregated_alone() {
    check(
        "SELECT a, count(*) AS c, collect(a) AS l FROM s WHERE a > 1",
        r#"
        400 s {"a":1}
        400 s {"a":2}
        401 s {"a":3}
        "#,
        r#"
        {"a":2,"c":1,"l":[2]}
        {"a":3,"c":1,"l":[3]}
        "#,
    );
}

#[test]
fn a1_analytic_calls_see_every_row_before_where() {
    check(
        "SELECT a, lag(a) AS l FROM s WHERE a > 1",
        r#"
        400 s {"a":1}
        401 s {"a":2}
        402 s {"a":3}
        403 s {"a":0}
        404 s {"a":5}
        "#,
        r#"
        {"a":2,"l":1}
        {"a":3,"l":2}
        {"a":5,"l":0}
        "#,
    );
}

#[test]
fn a4_partitions_have_typed_keys_and_a5_when_chooses_the_rows() {
    check(
        "SELECT a, lag(a) OVER (PARTITION BY k) AS p, lag(a) OVER (WHEN w) AS v FROM s",
        r#"
        400 s {"a":1,"k":1,"w":true}
        401 s {"a":2,"k":"1","w":false}
        402 s {"a":3,"k":1,"w":true}
        403 s {"a":4,"k":"1","w":true}
        404 s {"a":5}
        "#,
        r#"
        {"a":1}
        {"a":2,"v":1}
        {"a":3,"p":1,"v":1}
        {"a":4,"p":2,"v":3}
        {"a":5,"v":4}
        "#,
    );
}

#[test]
fn a2_a_later_call_may_read_an_earlier_one() {
    check(
        "SELECT lag(latest(a, 0)) AS x FROM s",
        r#"
        400 s {"a":1}
        401 s {}
        402 s {"a":3}
        403 s {"a":4}
        "#,
        r#"
        {}
        {"x":1}
        {"x":1}
        {"x":3}
        "#,
    );
}

#[test]
fn f1_unnest_makes_rows_and_objects_override_columns() {
    check(
        "SELECT unnest(a) AS z, b FROM s",
        r#"
        400 s {"a":[1,{"b":9,"x":2}],"b":3}
        401 s {"a":[],"b":4}
        402 s {"b":5}
        403 s {"a":[6],"b":6}
        "#,
        r#"
        {"b":3,"z":1}
        {"b":9,"x":2}
        {"b":6,"z":6}
        "#,
    );
}

#[test]
fn f2_unnest_of_a_window_stays_one_message_and_limit_cuts_it() {
    check(
        "SELECT unnest(a) AS z FROM s GROUP BY COUNTWINDOW(2) LIMIT 3",
        r#"
        400 s {"a":[1,2]}
        401 s {"a":[3,4]}
        "#,
        r#"[{"z":1},{"z":2},{"z":3}]"#,
    );
}

#[test]
fn f4_row_number_counts_within_partitions_in_their_order() {
    check(
        "SELECT a, row_number() AS n FROM s GROUP BY COUNTWINDOW(3)",
        r#"
        400 s {"a":5}
        401 s {"a":4}
        402 s {"a":3}
        "#,
        r#"[{"a":5,"n":1},{"a":4,"n":2},{"a":3,"n":3}]"#,
    );
    check(
        "SELECT a, row_number() OVER (PARTITION BY k ORDER BY a) AS n FROM s GROUP BY COUNTWINDOW(4)",
        r#"
        400 s {"a":5,"k":1}
        401 s {"a":4,"k":2}
        402 s {"a":3,"k":1}
        403 s {"a":9,"k":2}
        "#,
        r#"[{"a":5,"n":2},{"a":4,"n":1},{"a":3,"n":1},{"a":9,"n":2}]"#,
    );
}
