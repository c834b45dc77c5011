//! Partitions of state windows: many keys, few of them open (W-18).

use std::collections::BTreeMap;

use thalweg_core::Timestamp;

use super::*;
use crate::op::testing::{Event, events, forms, run_cut};

const SQL: &str =
    "SELECT collect(a) AS c FROM s GROUP BY STATEWINDOW(a % 10 = 1, a % 10 = 3) OVER(PARTITION BY k)";

/// Rows of many keys: most windows open and close soon, some stay open, some rows find none, keys come back.
fn rows() -> Vec<(usize, usize)> {
    let mut rows = Vec::new();
    for n in 0..400 {
        let key = if n % 7 == 0 { n / 7 } else { n };
        rows.push((key, 10 * n + 1));
        rows.push((n / 2, 10 * n + 2));
        if n % 11 != 0 {
            rows.push((key, 10 * n + 3));
        }
    }
    rows
}

/// What W-17 says of each key alone.
fn expected(rows: &[(usize, usize)]) -> Vec<String> {
    let mut open: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut out = Vec::new();
    for (key, a) in rows {
        match (open.get_mut(key), a % 10) {
            (None, 1) => drop(open.insert(*key, vec![*a])),
            (None, _) => {}
            (Some(held), kind) => {
                held.push(*a);
                if kind == 3 {
                    let held: Vec<String> =
                        open.remove(key).into_iter().flatten().map(|a| a.to_string()).collect();
                    out.push(format!("[{{\"c\":[{}]}}]", held.join(",")));
                }
            }
        }
    }
    out
}

fn text(rows: &[(usize, usize)]) -> Vec<Event> {
    let line =
        |(at, (key, a)): (usize, &(usize, usize))| format!("{} s {{\"k\":\"{key:05}\",\"a\":{a}}}", 400 + at);
    events(&rows.iter().enumerate().map(line).collect::<Vec<_>>().join("\n"))
}

#[test]
fn w18_a_partition_that_is_forgotten_changes_no_result() {
    let rows = rows();
    let (events, expected) = (text(&rows), expected(&rows));
    for (form, options) in forms(&Options::default()) {
        for (size, restore) in [(1, false), (3, false), (97, true), (usize::MAX, false)] {
            let cuts = std::iter::repeat((size, restore));
            let found = run_cut(&plan(SQL, &options), &options, &events, cuts, Timestamp(300));
            assert_eq!(found, expected, "{form}, batches of {size}");
        }
    }
}

/// The size of what is saved when so many windows have opened and closed, each of another key, and one is open.
fn state_size(n_keys: usize) -> usize {
    let mut rows = vec![(0, 1)];
    rows.extend((1..n_keys).flat_map(|key| [(key, 11), (key, 12), (key, 13)]));
    let options = Options::default();
    let mut rig = Rig::new(&plan(SQL, &options), &options);
    rig.start(Timestamp(300));
    for event in text(&rows) {
        let at = event.at;
        rig.rows(&[event], at);
    }
    rig.state().len()
}

#[test]
fn w18_the_state_of_a_state_window_grows_with_open_windows_not_with_keys() {
    let few = state_size(63);
    assert!(state_size(20) < few, "closed partitions are kept while they are few");
    for n_keys in [64, 100, 640, 3_000] {
        let found = state_size(n_keys);
        assert!(found <= few, "{n_keys} keys take {found} bytes, 63 take {few}");
    }
}
