//! The test harness: cases as text, what they expect, and ways to run them.

pub mod case;
pub mod compare;
pub mod golden;
pub mod in_process;
