//! Windows that rules of a shared stream have in common (`contracts.md` 7): none notices the others.

use thalweg_tests::in_process::{Axis, together};

use crate::split::{WHOLE, case};

/// Two windows, each with several ways of looking at its groups, and one that nobody else has.
const RULES: &[&str] = &[
    "SELECT k, count(*) AS c, sum(a) AS s FROM s WHERE a / b > 1 GROUP BY k, TUMBLINGWINDOW(ms, 20)",
    "SELECT k AS kk, count(*) AS c, sum(a) AS s FROM s WHERE a / b > 1 GROUP BY k, TUMBLINGWINDOW(ms, 20) HAVING count(*) > 1",
    "SELECT k, count(*) AS c, sum(a) AS s FROM s WHERE a / b > 1 GROUP BY k, TUMBLINGWINDOW(ms, 20) ORDER BY c DESC LIMIT 1",
    "SELECT count(*) AS c, last_value(a, true) AS l, window_end() AS e FROM s GROUP BY HOPPINGWINDOW(ms, 30, 10)",
    "SELECT count(*) + 1 AS c, last_value(a, true) AS l FROM s GROUP BY HOPPINGWINDOW(ms, 30, 10)",
    "SELECT k, b, count(*) AS c FROM s GROUP BY k, TUMBLINGWINDOW(ms, 20)",
];

#[test]
fn rules_with_a_common_window_give_and_count_what_they_do_alone_whenever_they_come_and_go() {
    for seed in 0..16 {
        // Odd, so that nothing sends errors.
        let case = case(RULES[0], 2 * seed + 1);
        let stay = |number: usize| {
            let from = (seed as usize * 7 + number * 11) % 40;
            (from, (number % 3 == 1).then_some(from + 5 + seed as usize))
        };
        let rules: Vec<_> = (0..12).map(|number| (RULES[number % RULES.len()], stay(number))).collect();
        for batch in [1, 4] {
            let shared = Axis { is_shared: true, batch, ..WHOLE };
            let (all, _) = together(&case, &rules, shared).expect("all can be run");
            for (rule, told) in rules.iter().zip(&all) {
                let (alone, _) =
                    together(&case, &[*rule], Axis { batch, ..WHOLE }).expect("it can be run alone");
                let place = format!("{rule:?}, seed {seed}, batches of {batch}");
                assert_eq!(told.0, alone[0].0, "{place}");
                assert_eq!(told.1, alone[0].1, "{place}");
            }
        }
    }
}

#[test]
fn equal_windows_are_folded_once_and_go_with_their_last_rule() {
    let case = case(RULES[0], 1);
    let shared = Axis { is_shared: true, ..WHOLE };
    let readers = |rules: &[_]| together(&case, rules, shared).expect("all can be run").1;
    let stays = |sql: &'static str| vec![(sql, (0, None)), (sql, (3, None)), (sql, (5, Some(50)))];
    assert_eq!(readers(&stays(RULES[0])), 1);
    assert_eq!(readers(&[stays(RULES[0]), stays(RULES[1]), stays(RULES[3])].concat()), 2);
    assert_eq!(readers(&[(RULES[0], (0, Some(9))), (RULES[3], (0, None))]), 1, "the first window has gone");
}
