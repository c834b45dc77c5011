//! The six windows, aggregates and what follows them (chapters 7, 9 and 10).

use super::*;

#[test]
fn w5_tumbling_windows_close_on_time_and_the_first_starts_with_the_rule() {
    check(
        "SELECT collect(a) AS c, window_start() AS ws, window_end() AS we FROM s GROUP BY TUMBLINGWINDOW(ss, 2)",
        r#"
        500 s {"a":0}
        1999 s {"a":1}
        2000 s {"a":2}
        3999 s {"a":3}
        6000
        "#,
        r#"
        [{"c":[0,1],"we":2000,"ws":300}]
        [{"c":[2,3],"we":4000,"ws":2000}]
        [{"c":null,"we":6000,"ws":4000}]
        "#,
    );
}

#[test]
fn w6_empty_windows_are_emitted_and_count_zero() {
    check(
        "SELECT count(*) AS c, sum(a) AS t FROM s GROUP BY TUMBLINGWINDOW(ss, 1)",
        "2500",
        r#"
        [{"c":0}]
        [{"c":0}]
        "#,
    );
    check("SELECT a FROM s GROUP BY TUMBLINGWINDOW(ss, 1)", "1500", "[]");
    check("SELECT b, count(*) AS c FROM s GROUP BY b, TUMBLINGWINDOW(ss, 1)", "1500", "");
}

#[test]
fn w8_hopping_windows_overlap_and_start_a_length_before_their_end() {
    check(
        "SELECT collect(a) AS c, window_start() AS ws, window_end() AS we FROM s GROUP BY HOPPINGWINDOW(ss, 4, 2)",
        r#"
        1000 s {"a":0}
        3000 s {"a":1}
        7000
        "#,
        r#"
        [{"c":[0],"we":2000,"ws":-2000}]
        [{"c":[0,1],"we":4000,"ws":0}]
        [{"c":[1],"we":6000,"ws":2000}]
        "#,
    );
}

#[test]
fn w9_a_hop_longer_than_the_length_leaves_gaps() {
    check(
        "SELECT collect(a) AS c FROM s GROUP BY HOPPINGWINDOW(ss, 1, 2)",
        r#"
        500 s {"a":0}
        1500 s {"a":1}
        2500 s {"a":2}
        3500 s {"a":3}
        4000
        "#,
        r#"
        [{"c":[1]}]
        [{"c":[3]}]
        "#,
    );
}

#[test]
fn w11_each_row_triggers_a_sliding_window_that_looks_back() {
    check(
        "SELECT collect(a) AS c FROM s GROUP BY SLIDINGWINDOW(ss, 1)",
        r#"
        400 s {"a":0}
        900 s {"a":1}
        1400 s {"a":2}
        1401 s {"a":3}
        "#,
        r#"
        [{"c":[0]}]
        [{"c":[0,1]}]
        [{"c":[0,1,2]}]
        [{"c":[1,2,3]}]
        "#,
    );
}

#[test]
fn w11_a_delayed_sliding_window_waits_and_only_chosen_rows_trigger() {
    check(
        "SELECT collect(a) AS c, window_start() AS ws, window_end() AS we FROM s \
         GROUP BY SLIDINGWINDOW(ss, 1, 1) OVER(WHEN a = 2)",
        r#"
        400 s {"a":0}
        900 s {"a":1}
        1400 s {"a":2}
        2399 s {"a":3}
        2400 s {"a":4}
        9000
        "#,
        r#"[{"c":[0,1,2,3],"we":2400,"ws":400}]"#,
    );
}

#[test]
fn w12_sessions_end_by_a_pause_or_at_a_tick() {
    check(
        "SELECT collect(a) AS c, window_start() AS ws, window_end() AS we FROM s GROUP BY SESSIONWINDOW(ss, 5, 1)",
        r#"
        500 s {"a":0}
        1200 s {"a":1}
        3000 s {"a":2}
        3500 s {"a":3}
        5000 s {"a":4}
        5800 s {"a":5}
        6600 s {"a":6}
        7400 s {"a":7}
        8200 s {"a":8}
        9000 s {"a":9}
        9800 s {"a":10}
        10600 s {"a":11}
        11400 s {"a":12}
        20000
        "#,
        r#"
        [{"c":[0,1],"we":2200,"ws":500}]
        [{"c":[2,3],"we":4500,"ws":3000}]
        [{"c":[4,5,6,7,8,9,10],"we":10000,"ws":5000}]
        [{"c":[11,12],"we":12400,"ws":10000}]
        "#,
    );
}

#[test]
fn w14_count_windows_take_the_last_rows_every_step() {
    let rows = r#"
        400 s {"a":1}
        401 s {"a":2}
        402 s {"a":3}
        403 s {"a":4}
        404 s {"a":5}
        405 s {"a":6}
        "#;
    check("SELECT collect(a) AS c FROM s GROUP BY COUNTWINDOW(5, 2)", rows, r#"[{"c":[2,3,4,5,6]}]"#);
    check(
        "SELECT collect(a) AS c FROM s GROUP BY COUNTWINDOW(2)",
        rows,
        r#"
        [{"c":[1,2]}]
        [{"c":[3,4]}]
        [{"c":[5,6]}]
        "#,
    );
}

#[test]
fn w17_state_windows_go_from_one_condition_to_another() {
    check(
        "SELECT collect(a) AS c, window_start() AS ws, window_end() AS we FROM s GROUP BY STATEWINDOW(a = 1, a = 3)",
        r#"
        400 s {"a":0}
        401 s {"a":1}
        402 s {"a":2}
        403 s {"a":3}
        404 s {"a":1}
        405 s {"a":1}
        406 s {"a":3}
        407 s {"a":1}
        "#,
        r#"
        [{"c":[1,2,3],"we":403,"ws":401}]
        [{"c":[1,1,3],"we":406,"ws":404}]
        "#,
    );
    check(
        "SELECT collect(a) AS c FROM s GROUP BY STATEWINDOW(a = 1)",
        r#"
        400 s {"a":0}
        401 s {"a":1}
        402 s {"a":2}
        403 s {"a":1}
        404 s {"a":1}
        405 s {"a":5}
        406 s {"a":1}
        "#,
        r#"
        [{"c":[1,2]}]
        [{"c":[1]}]
        [{"c":[1,5]}]
        "#,
    );
}

#[test]
fn w18_state_windows_keep_partitions_apart() {
    check(
        "SELECT collect(a) AS c FROM s GROUP BY STATEWINDOW(a = 1, a = 3) OVER(PARTITION BY k)",
        r#"
        400 s {"k":"x","a":1}
        401 s {"k":"y","a":1}
        402 s {"k":"x","a":2}
        403 s {"k":"y","a":3}
        404 s {"k":"x","a":3}
        "#,
        r#"
        [{"c":[1,3]}]
        [{"c":[1,2,3]}]
        "#,
    );
}

#[test]
fn q7_groups_come_in_the_order_of_first_appearance_with_their_first_row() {
    check(
        "SELECT k, x, sum(a) AS t FROM s GROUP BY k, COUNTWINDOW(5)",
        r#"
        400 s {"k":"b","a":1,"x":1}
        401 s {"k":1,"a":2}
        402 s {"k":"1","a":3}
        403 s {"k":"b","a":4,"x":2}
        404 s {"k":1,"a":5,"x":3}
        "#,
        r#"[{"k":"b","t":5,"x":1},{"k":1,"t":7},{"k":"1","t":3}]"#,
    );
}

#[test]
fn q11_having_keeps_groups_and_q13_order_by_is_stable_with_nulls_last() {
    check(
        "SELECT k, sum(a) AS t FROM s GROUP BY k, COUNTWINDOW(5) HAVING count(*) > 0 ORDER BY x DESC LIMIT 3",
        r#"
        400 s {"k":"a","a":1}
        401 s {"k":"b","a":2,"x":1}
        402 s {"k":"c","a":3,"x":2}
        403 s {"k":"d","a":4,"x":2}
        404 s {"k":"e","a":5,"x":1}
        "#,
        r#"[{"k":"c","t":3},{"k":"d","t":4},{"k":"b","t":2}]"#,
    );
}

#[test]
fn q4_aggregates_in_where_see_the_whole_window() {
    check(
        "SELECT a FROM s WHERE a > avg(a) GROUP BY COUNTWINDOW(3)",
        r#"
        400 s {"a":1}
        401 s {"a":2}
        402 s {"a":6}
        "#,
        r#"[{"a":6}]"#,
    );
}

#[test]
fn z2_an_error_on_a_window_fails_the_whole_message() {
    let options = Options { send_error: true, ..Options::default() };
    check_with(
        &options,
        "SELECT a / b AS x FROM s GROUP BY COUNTWINDOW(2)",
        r#"
        400 s {"a":1,"b":1}
        401 s {"a":1,"b":0}
        402 s {"a":4,"b":2}
        403 s {"a":4,"b":1}
        "#,
        r#"
        ERR run Select error: alias: x expr: a / b meet error, err:divided by zero
        [{"x":2},{"x":4}]
        "#,
    );
}

#[test]
fn e4_rows_are_put_in_order_and_late_ones_dropped() {
    let rows = [1000, 3000, 2000, 2500, 500, 3000, 4000, 5000];
    let rows: String =
        rows.iter().enumerate().map(|(a, ts)| format!("{} e {{\"a\":{a},\"ts\":{ts}}}\n", 400 + a)).collect();
    check_event_time(
        1_000,
        "SELECT a FROM e",
        &rows,
        r#"
        {"a":0}
        {"a":2}
        {"a":3}
        {"a":1}
        {"a":5}
        {"a":6}
        "#,
    );
    let options = Options {
        plan: thalweg_plan::PlanOptions { event_time: true, late_tolerance: 0, ..Default::default() },
        ..Options::default()
    };
    let mut rig = Rig::new(&plan("SELECT a FROM e", &options), &options);
    rig.rows(&super::super::testing::events(&rows), thalweg_core::Timestamp(500));
    assert_eq!(rig.dropped("late"), 3);
}

#[test]
fn e5_windows_close_when_the_watermark_passes_them() {
    check_event_time(
        0,
        "SELECT collect(a) AS c, window_start() AS ws, window_end() AS we FROM e GROUP BY TUMBLINGWINDOW(ss, 2)",
        r#"
        400 e {"a":0,"ts":1500}
        401 e {"a":1,"ts":2000}
        402 e {"a":9,"ts":1000}
        403 e {"a":2,"ts":3999}
        404 e {"a":3,"ts":4000}
        405 e {"a":4,"ts":9000}
        "#,
        r#"
        [{"c":[0],"we":2000,"ws":1500}]
        [{"c":[1,2],"we":4000,"ws":2000}]
        [{"c":[3],"we":6000,"ws":4000}]
        [{"c":null,"we":8000,"ws":6000}]
        "#,
    );
}

#[test]
fn e8_hopping_windows_lose_nothing_when_a_hop_is_empty() {
    check_event_time(
        0,
        "SELECT collect(a) AS c FROM e GROUP BY HOPPINGWINDOW(ss, 2, 1)",
        r#"
        400 e {"a":0,"ts":2500}
        401 e {"a":1,"ts":2600}
        402 e {"a":2,"ts":6500}
        403 e {"a":3,"ts":9000}
        "#,
        r#"
        [{"c":[0,1]}]
        [{"c":[0,1]}]
        [{"c":null}]
        [{"c":null}]
        [{"c":[2]}]
        [{"c":[2]}]
        [{"c":null}]
        "#,
    );
}

#[test]
fn e7_a_session_in_event_time_needs_a_gap_longer_than_the_timeout() {
    check_event_time(
        0,
        "SELECT collect(a) AS c, window_start() AS ws, window_end() AS we FROM e GROUP BY SESSIONWINDOW(ss, 60, 1)",
        r#"
        400 e {"a":0,"ts":1000}
        401 e {"a":1,"ts":2000}
        402 e {"a":2,"ts":3001}
        403 e {"a":3,"ts":9000}
        "#,
        r#"
        [{"c":[0,1],"we":3000,"ws":1000}]
        [{"c":[2],"we":4001,"ws":3001}]
        "#,
    );
}

#[test]
fn e6_sliding_windows_in_event_time_come_in_trigger_order() {
    check_event_time(
        500,
        "SELECT collect(a) AS c, window_end() AS we FROM e GROUP BY SLIDINGWINDOW(ss, 1)",
        r#"
        400 e {"a":1,"ts":1500}
        401 e {"a":0,"ts":1000}
        402 e {"a":2,"ts":2400}
        403 e {"a":3,"ts":9000}
        "#,
        r#"
        [{"c":[0],"we":1000}]
        [{"c":[0,1],"we":1500}]
        [{"c":[1,2],"we":2400}]
        "#,
    );
}

#[test]
fn w16_count_windows_work_in_event_time() {
    check_event_time(
        0,
        "SELECT collect(a) AS c FROM e GROUP BY COUNTWINDOW(2)",
        r#"
        400 e {"a":0,"ts":1000}
        401 e {"a":1,"ts":2000}
        402 e {"a":2,"ts":3000}
        403 e {"a":3,"ts":3000}
        404 e {"a":4,"ts":4000}
        "#,
        r#"
        [{"c":[0,1]}]
        [{"c":[2,3]}]
        "#,
    );
}

#[test]
fn q2_where_runs_before_a_tumbling_and_after_a_count_window() {
    let rows = r#"
        400 s {"a":1}
        401 s {"a":2}
        402 s {"a":3}
        403 s {"a":1}
        1000
        "#;
    check("SELECT a FROM s WHERE a > 1 GROUP BY TUMBLINGWINDOW(ss, 1)", rows, r#"[{"a":2},{"a":3}]"#);
    check(
        "SELECT a FROM s WHERE a > 1 GROUP BY COUNTWINDOW(2)",
        rows,
        r#"
        [{"a":2}]
        [{"a":3}]
        "#,
    );
}

#[test]
fn w10_filter_keeps_rows_out_of_the_window() {
    check(
        "SELECT a FROM s GROUP BY COUNTWINDOW(2) FILTER(WHERE a > 1)",
        r#"
        400 s {"a":1}
        401 s {"a":2}
        402 s {"a":3}
        403 s {"a":1}
        "#,
        r#"[{"a":2},{"a":3}]"#,
    );
}

#[test]
fn w23_errors_do_not_wait_for_the_window() {
    let options = Options { send_error: true, ..Options::default() };
    check_with(
        &options,
        "SELECT collect(a) AS c FROM s WHERE a > 1 GROUP BY TUMBLINGWINDOW(ss, 1)",
        r#"
        400 s {"a":2}
        401 s {"a":"x"}
        402 s {"a":3}
        1000
        "#,
        r#"
        ERR run Where error: invalid operation string(x) > int64(1)
        [{"c":[2,3]}]
        "#,
    );
}

#[test]
fn q13_keys_of_different_kinds_lose_the_window() {
    let options = Options { send_error: true, ..Options::default() };
    check_with(
        &options,
        "SELECT a FROM s GROUP BY COUNTWINDOW(2) ORDER BY a",
        r#"
        400 s {"a":2}
        401 s {"a":"x"}
        402 s {"a":3}
        403 s {"a":1}
        "#,
        r#"
        ERR run Order By error: incompatible types for comparison: float64 and string
        [{"a":1},{"a":3}]
        "#,
    );
}

#[test]
fn q15_limit_keeps_the_first_rows_of_each_message() {
    check(
        "SELECT a, count(*) AS c FROM s GROUP BY a, COUNTWINDOW(3) ORDER BY a LIMIT 2",
        r#"
        400 s {"a":3}
        401 s {"a":1}
        402 s {"a":2}
        "#,
        r#"[{"a":1,"c":1},{"a":2,"c":1}]"#,
    );
    check("SELECT a FROM s GROUP BY COUNTWINDOW(1) LIMIT 0", r#"400 s {"a":3}"#, "");
}

#[test]
fn w20_a_jump_of_time_closes_every_missed_window_in_order() {
    check(
        "SELECT count(*) AS c, window_end() AS we FROM s GROUP BY TUMBLINGWINDOW(ss, 1)",
        r#"
        900 s {"a":1}
        3100 s {"a":2}
        4000
        "#,
        r#"
        [{"c":1,"we":1000}]
        [{"c":0,"we":2000}]
        [{"c":0,"we":3000}]
        [{"c":1,"we":4000}]
        "#,
    );
}

#[test]
fn a_jump_of_years_does_not_emit_every_empty_window() {
    let options = Options::default();
    let plan = plan("SELECT count(*) AS c FROM s GROUP BY TUMBLINGWINDOW(ss, 1)", &options);
    let mut rig = Rig::new(&plan, &options);
    rig.start(thalweg_core::Timestamp(300));
    let events = super::super::testing::events("1700000000500 s {\"a\":1}\n");
    rig.rows(&events, events[0].at);
    rig.advance(thalweg_core::Timestamp(1_700_000_001_000), true);
    assert!(rig.printed.len() <= 10_003, "{}", rig.printed.len());
    assert_eq!(rig.printed.last().map(String::as_str), Some(r#"[{"c":1}]"#));
}

#[test]
fn s6_a_scalar_function_that_fails_in_an_aggregate_query_gives_nothing() {
    check(
        "SELECT abs(s) AS r, count(*) AS c FROM s GROUP BY COUNTWINDOW(1)",
        r#"
        400 s {"s":"x"}
        401 s {"s":-2}
        "#,
        r#"
        [{"c":1}]
        [{"c":1,"r":2}]
        "#,
    );
}

#[test]
fn s9_a_row_whose_aggregate_argument_fails_is_left_out() {
    check(
        "SELECT sum(a + 1) AS t, count(*) AS c FROM s GROUP BY COUNTWINDOW(3)",
        r#"
        400 s {"a":1}
        401 s {"a":"x"}
        402 s {"a":2}
        "#,
        r#"[{"c":3,"t":5}]"#,
    );
}

#[test]
fn a_timestamp_at_the_end_of_time_does_not_stop_the_engine() {
    for window in [
        "TUMBLINGWINDOW(ss, 1)",
        "HOPPINGWINDOW(ss, 2, 1)",
        "SESSIONWINDOW(ss, 5, 1)",
        "SLIDINGWINDOW(ss, 1)",
    ] {
        let plan = thalweg_plan::PlanOptions { event_time: true, late_tolerance: 0, ..Default::default() };
        let options = Options { plan, ..Options::default() };
        let plan = super::super::testing::plan(&format!("SELECT a FROM e GROUP BY {window}"), &options);
        let mut rig = Rig::new(&plan, &options);
        let rows = "400 e {\"a\":1,\"ts\":1e19}\n401 e {\"a\":2,\"ts\":-1e19}\n402 e {\"a\":3,\"ts\":1e19}\n";
        let rows = format!("399 e {{\"a\":0,\"ts\":-1e19}}\n{rows}");
        rig.rows(&super::super::testing::events(&rows), thalweg_core::Timestamp(402));
        assert_eq!(rig.dropped("late"), 1, "{window}");
    }
}

#[test]
fn w17_a_state_window_over_several_streams_asks_each_row_what_its_stream_knows() {
    let rows = r#"
        400 r {"id":1,"s":9,"b":0}
        401 l {"id":1,"s":1,"a":1}
        402 r {"id":1,"b":2}
        403 r {"id":1,"s":9,"b":3}
        404 l {"id":1,"s":1,"a":4}
        405 r {"id":2,"s":9,"b":5}
        "#;
    check(
        "SELECT l.a, r.b, window_start() AS ws, window_end() AS we FROM l INNER JOIN r ON l.id = r.id \
         GROUP BY STATEWINDOW(l.s = 1, r.s = 9)",
        rows,
        r#"[{"a":1,"b":2,"we":403,"ws":401},{"a":1,"b":3,"we":403,"ws":401}]"#,
    );
    check(
        "SELECT l.a, r.b FROM l LEFT JOIN r ON l.id = r.id GROUP BY STATEWINDOW(s = 1)",
        rows,
        r#"[{"a":1,"b":2},{"a":1,"b":3}]"#,
    );
}

#[test]
fn w18_partitions_of_a_state_window_hold_rows_of_all_streams() {
    check(
        "SELECT l.a, r.b FROM l INNER JOIN r ON l.id = r.id \
         GROUP BY STATEWINDOW(l.s = 1, r.s = 9) OVER (PARTITION BY id)",
        r#"
        400 l {"id":1,"s":1,"a":1}
        401 l {"id":2,"s":1,"a":2}
        402 r {"id":2,"b":3}
        403 r {"id":1,"b":4}
        404 r {"id":2,"s":9,"b":5}
        405 r {"id":1,"s":9,"b":6}
        "#,
        r#"
        [{"a":2,"b":3},{"a":2,"b":5}]
        [{"a":1,"b":4},{"a":1,"b":6}]
        "#,
    );
}

#[test]
fn w11_only_chosen_rows_of_any_stream_trigger_a_sliding_window() {
    check(
        "SELECT l.a, r.b FROM l LEFT JOIN r ON l.id = r.id GROUP BY SLIDINGWINDOW(ss, 1) OVER (WHEN r.s = 2 OR l.s = 3)",
        r#"
        400 l {"id":1,"a":1}
        600 r {"id":1,"b":2}
        700 r {"id":1,"b":3,"s":2}
        900 l {"id":2,"a":4,"s":3}
        1650 r {"id":2,"b":5,"s":2}
        "#,
        r#"
        [{"a":1,"b":2},{"a":1,"b":3}]
        [{"a":1,"b":2},{"a":1,"b":3},{"a":4}]
        [{"a":4,"b":5}]
        "#,
    );
}

#[test]
fn a12_a_hit_of_a_window_over_several_streams_counts_for_all_of_them() {
    check(
        "SELECT l.a FROM l LEFT JOIN r ON l.id = r.id GROUP BY SLIDINGWINDOW(ms, 1) OVER (WHEN last_hit_count() < 2)",
        r#"
        400 l {"id":1,"a":1}
        402 r {"id":1}
        404 l {"id":1,"a":2}
        "#,
        r#"[{"a":1}]"#,
    );
}

#[test]
fn an_analytic_call_in_a_window_s_condition_is_null_for_other_streams() {
    check(
        "SELECT l.a FROM l LEFT JOIN r ON l.id = r.id GROUP BY SLIDINGWINDOW(ms, 1) OVER (WHEN had_changed(true, r.s))",
        r#"
        400 r {"id":1,"s":1}
        401 l {"id":1,"a":1}
        402 r {"id":1,"s":1}
        403 l {"id":1,"a":2}
        403 r {"id":1,"s":2}
        "#,
        r#"[{"a":2},{"a":2}]"#,
    );
}
