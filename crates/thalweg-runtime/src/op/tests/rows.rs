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
