//! `cargo xtask docs`: the pages that are made from tables in the code.

use crate::cargo;

/// Writes docs/reference/functions. The test that compares the pages with the table is also what writes them.
pub(crate) fn run() -> Result<(), String> {
    let mut tests = cargo(&["test", "-p", "thalweg-tests", "--test", "suite", "reference::the_pages"]);
    crate::run(tests.env("THALWEG_WRITE_DOCS", "1"))
}
