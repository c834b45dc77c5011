//! The reference of functions, made from the table in `thalweg-expr` and the recorded cases: one page a family, and a
//! README that says which cases prove a function and whether they agree.
//!
//! `cargo xtask docs` writes the pages; `tests/suite/reference.rs` fails when they are stale.

mod page;
mod proof;

use std::collections::BTreeMap;
use std::path::Path;

use thalweg_expr::builtin::{CONSTRUCTS, SHIPPED, TABLES};
use thalweg_expr::{Family, Function};

use self::proof::Proofs;

/// Every function and construct, in the order of the families and then of the names.
pub fn functions() -> Vec<&'static Function> {
    let mut all: Vec<&Function> =
        TABLES.iter().chain(SHIPPED).copied().flatten().chain(CONSTRUCTS.iter()).collect();
    all.sort_by_key(|function| (function.doc.family.title(), function.name.to_lowercase()));
    all
}

/// The pages by file name.
///
/// # Errors
/// The recorded cases cannot be read.
pub fn pages(conformance: &Path) -> Result<BTreeMap<String, String>, String> {
    let functions = functions();
    let proofs = Proofs::read(conformance)?;
    let mut families: Vec<Family> = functions.iter().map(|function| function.doc.family).collect();
    families.dedup();
    let mut pages = BTreeMap::new();
    for family in &families {
        let members: Vec<&Function> =
            functions.iter().copied().filter(|function| function.doc.family == *family).collect();
        pages.insert(file(*family), page::family(*family, &members));
    }
    pages.insert("README.md".to_owned(), page::overview(&families, &functions, &proofs));
    Ok(pages)
}

/// The file of a family's page.
fn file(family: Family) -> String {
    format!("{family:?}.md").to_lowercase()
}
