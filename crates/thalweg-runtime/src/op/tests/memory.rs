//! The memory that operators account for: it grows with what they hold and shrinks when they let it go.

use thalweg_core::Timestamp;

use super::*;
use crate::op::testing::{Event, events};

/// The memory after so many rows, each with a key of its own, and when one row has come on each of the next two days.
fn memory(sql: &str, n_rows: usize) -> (usize, usize) {
    let options = Options::default();
    let mut rig = Rig::new(&plan(sql, &options), &options);
    rig.start(Timestamp(300));
    let rows = |at: usize, n_rows: usize| -> Vec<Event> {
        let line = |row: usize| format!("{at} s {{\"k\":\"key number {row:09}\",\"a\":{row}}}");
        events(&(0..n_rows).map(line).collect::<Vec<_>>().join("\n"))
    };
    rig.rows(&rows(1_000, n_rows), Timestamp(1_000));
    let held = rig.memory();
    for at in [86_400_000, 2 * 86_400_000] {
        rig.advance(Timestamp(at as i64), true);
        rig.rows(&rows(at, 1), Timestamp(at as i64));
    }
    (held, rig.memory())
}

const WINDOWS: [&str; 4] = [
    "SELECT * FROM s GROUP BY TUMBLINGWINDOW(hh, 1)",
    "SELECT collect(a) AS c FROM s GROUP BY k, TUMBLINGWINDOW(hh, 1)",
    "SELECT count(*) AS c FROM s GROUP BY k, HOPPINGWINDOW(hh, 2, 1)",
    "SELECT * FROM s GROUP BY SESSIONWINDOW(hh, 24, 1)",
];

#[test]
fn every_row_group_and_partition_that_is_held_is_accounted_for() {
    for sql in WINDOWS.into_iter().chain(["SELECT lag(a) OVER (PARTITION BY k) AS b FROM s"]) {
        let (few, many) = (memory(sql, 100).0, memory(sql, 3_000).0);
        assert!(many > few + 2_900 * 16, "{sql}: {few} bytes with 100 rows, {many} with 3,000");
    }
}

#[test]
fn windows_that_have_closed_hold_no_more_than_they_need() {
    for sql in WINDOWS {
        let (full, empty) = memory(sql, 3_000);
        assert!(empty * 4 < full, "{sql}: {full} bytes with 3,000 rows, {empty} when they are gone");
    }
}
