//! `cargo xtask docs`: the pages that are made from tables in the code.

use crate::cargo;

/// Writes docs/reference/functions and docs/guide/coming-from-ekuiper.md. The tests that compare the pages with what they
/// are made from are also what writes them.
pub(crate) fn run() -> Result<(), String> {
    let mut tests = cargo(&["test", "-p", "thalweg-tests", "--test", "suite", "--"]);
    tests.args(["reference::the_pages", "migration::the_page"]);
    crate::run(tests.env("THALWEG_WRITE_DOCS", "1"))
}
