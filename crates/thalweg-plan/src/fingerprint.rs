//! A number that is equal for equal plans: it guards checkpoints (R7.6).
//!
//! It must be the same in every process and build, so it is FNV-1a over the printed plan, not a seeded hash.

use crate::explain;
use crate::logical::Plan;

/// Sets the plan's fingerprint.
pub(crate) fn stamp(mut plan: Plan) -> Plan {
    plan.fingerprint = fnv1a(explain::tree(&plan).as_bytes());
    plan
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
