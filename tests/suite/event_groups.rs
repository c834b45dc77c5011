//! Rules of a shared stream that have one reorder buffer in common (`contracts.md` 6): none notices the others.

use thalweg_tests::case::Case;
use thalweg_tests::in_process::{Axis, together};

use crate::split::{WHOLE, timed_case};

/// Rules that want the same columns, fewer, and others.
const RULES: &[&str] = &[
    "SELECT k, t, count(*) AS c, sum(a) AS s, collect(b) AS l FROM s GROUP BY k, TUMBLINGWINDOW(ms, 20)",
    "SELECT k, a, b, t, lag(a) AS before FROM s WHERE a / b > 1",
    "SELECT t, a FROM s",
    "SELECT count(*) AS c, collect(a) AS l, window_end() AS e FROM s GROUP BY SLIDINGWINDOW(ms, 15)",
    "SELECT * FROM s WHERE a > 2",
    "SELECT k, collect(t) AS l FROM s GROUP BY k, SESSIONWINDOW(ms, 40, 10)",
];

fn rules(seed: u64) -> Vec<(&'static str, (usize, Option<usize>))> {
    let stay = |number: usize| {
        let from = (seed as usize * 7 + number * 11) % 40;
        (from, (number % 3 == 1).then_some(from + 5 + seed as usize))
    };
    (0..12).map(|number| (RULES[number % RULES.len()], stay(number))).collect()
}

fn all_are_as_if_alone(case: &Case, rules: &[(&str, (usize, Option<usize>))], place: &str) {
    for batch in [1, 4] {
        let shared = Axis { is_shared: true, batch, ..WHOLE };
        let (all, _) = together(case, rules, shared).expect("all can be run");
        for (rule, told) in rules.iter().zip(&all) {
            let (alone, _) = together(case, &[*rule], Axis { batch, ..WHOLE }).expect("it can be run alone");
            assert_eq!(told.0, alone[0].0, "{rule:?}, {place}, batches of {batch}");
            assert_eq!(told.1, alone[0].1, "{rule:?}, {place}, batches of {batch}");
        }
    }
}

#[test]
fn rules_of_an_event_time_group_give_and_count_what_they_do_alone_whenever_they_come_and_go() {
    for seed in 0..24 {
        for tolerance in [0, 3, 30] {
            let case = timed_case(RULES[0], seed, tolerance);
            all_are_as_if_alone(&case, &rules(seed), &format!("seed {seed}, tolerance {tolerance}"));
        }
    }
}

#[test]
fn rules_of_a_group_are_ordered_once_and_it_goes_with_the_last_of_them() {
    let case = timed_case(RULES[0], 1, 3);
    let shared = Axis { is_shared: true, ..WHOLE };
    let readers = |rules: &[_]| together(&case, rules, shared).expect("all can be run").1;
    let stays = |sql: &'static str| vec![(sql, (0, None)), (sql, (3, None)), (sql, (5, Some(50)))];
    assert_eq!(readers(&stays(RULES[0])), 1, "one group reads for all");
    assert_eq!(readers(&[stays(RULES[0]), stays(RULES[2])].concat()), 1, "who wants fewer columns is served");
    assert_eq!(
        readers(&[stays(RULES[2]), stays(RULES[0])].concat()),
        2,
        "who wants others has another group"
    );
    assert_eq!(readers(&[(RULES[2], (0, Some(9))), (RULES[0], (0, None))]), 1, "the first group has gone");
}
