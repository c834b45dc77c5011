//! Everything that is defined, as one document: out, and in again (`rest-api.md` 14).
//!
//! The document has twelve sections, each with names and texts. An import is noted in the store before it changes anything:
//! one that is cut off by a crash is done once more at the next start, so that its document holds in the end.

mod differs;
mod export;
mod import;
mod items;
mod journal;
mod structured;
mod tasks;
mod wipe;

pub(crate) use differs::built_in;
pub(crate) use export::{all, of_rules};
pub(crate) use import::{Mode, Outcome, import, note_plugin, resume};
pub(crate) use items::Items;
pub(crate) use journal::last_status;
pub(crate) use structured::{items as of_tree, tree};
pub(crate) use tasks::{TaskStatus, Tasks};
