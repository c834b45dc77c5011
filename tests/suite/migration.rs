//! The page "Coming from eKuiper" is what the decisions and the recorded cases give.

use std::fs;
use std::path::Path;

use thalweg_tests::migration;

#[test]
fn the_page_for_those_who_come_from_ekuiper_is_current() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let file = top.join("docs/guide/coming-from-ekuiper.md");
    let page = migration::page(&top).expect("docs/compat and the cases can be read");
    if std::env::var_os("THALWEG_WRITE_DOCS").is_some() || std::env::var_os("THALWEG_BLESS").is_some() {
        fs::write(&file, &page).expect("the page can be written");
    }
    let written = fs::read_to_string(&file).unwrap_or_default();
    assert!(written == page, "docs/guide/coming-from-ekuiper.md is stale; run: cargo xtask docs");
    // Every recorded difference is on it.
    for id in ["| W-6 |", "| S15 |", "eKuiper: ", "## Rules and delivery"] {
        assert!(page.contains(id), "{id}");
    }
}
