//! What rules take from the allocator once they have seen a few batches: nothing.

use std::sync::Arc;

use thalweg_core::Timestamp;
use thalweg_plan::PlanOptions;
use thalweg_runtime::Rig;

use super::rates;
use super::rig::Taker;
use crate::allocations;
use crate::kernels::pipeline;

/// Rules without state whose results go straight to a socket.
const RULES: &[&str] = &[
    rates::FILTER,
    "SELECT temperature, humidity FROM {}",
    "SELECT humidity AS h, temperature * 2 AS t FROM {} WHERE temperature BETWEEN 20 AND 80",
    "SELECT * FROM {} WHERE temperature > 50",
    "SELECT * FROM {}",
];

#[test]
fn filters_projections_and_passthrough_allocate_nothing_in_steady_state() {
    let payloads = rates::readings();
    for sql in RULES {
        for (batch, is_shared) in [(1, false), (100, false), (1_024, false), (1, true), (1_024, true)] {
            let taker = Arc::<Taker>::default();
            let registry = Arc::new(thalweg_connectors::registry());
            let rig = Rig::new(registry, Timestamp(0)).batch_size(batch);
            let mut rig = rig.writing_to(Arc::clone(&taker) as Arc<_>);
            let sql = sql.replace("{}", "demo");
            let spec = pipeline::spec("rule".to_owned(), &sql, is_shared, &PlanOptions::default()).unwrap();
            rig.add(spec).unwrap();
            let mut at = 0;
            let mut turn = || {
                (at..at + batch).for_each(|row| rig.feed("demo", payloads[row % payloads.len()].as_bytes()));
                at += batch;
                rig.advance(1);
            };
            // Every payload once, so that lists have the room that the largest result takes.
            (0..payloads.len() / batch + 2).for_each(|_| turn());
            let before = taker.n_messages();
            let ((), allocated) = allocations::counted_here(|| (0..100).for_each(|_| turn()));
            let sent = taker.n_messages() - before;
            assert!(sent > 10 && rig.drop_output() == 0, "{sql}: {sent} messages went to the socket");
            assert_eq!(allocated, 0, "{sql}, {batch} rows, shared {is_shared}: {sent} messages");
        }
    }
}
