//! What an operator takes from the allocator once it has seen a few batches.

use super::cases::{CASES, POOL};
use super::{SIZES, subject::Subject};
use crate::allocations;

#[test]
fn filters_projections_and_what_hands_on_allocate_nothing_in_steady_state() {
    let names = ["filter", "project", "window filter", "having", "sub-query", "union"];
    assert!(names.iter().all(|name| CASES.iter().any(|case| case.name == *name)));
    for case in CASES.iter().filter(|case| names.contains(&case.name)) {
        for batch in SIZES {
            let mut subject = Subject::new(case, batch).unwrap();
            // Every set of rows once, so that lists have the room that the largest result takes.
            let mut turns = |n: usize| (0..n).map(|_| subject.turn()).max();
            turns(2 * POOL / batch);
            let (_, allocated) = allocations::counted_here(|| turns(100));
            assert_eq!(allocated, 0, "{} at {batch} rows", case.name);
        }
    }
}
