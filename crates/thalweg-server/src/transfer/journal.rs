//! What of imports is kept in the store: the one under way, and what went wrong in the last full one.

use serde_json::{Value as Json, json};
use thalweg_engine::store::{Change, Store, StoreError, Table};

use super::Mode;

const PENDING: &str = "pending";
const STATUS: &str = "status";

/// An import that was begun.
#[derive(Debug, PartialEq)]
pub(super) struct Begun {
    /// The document.
    pub(super) text: String,
    /// How it is done.
    pub(super) mode: Mode,
    /// Whether it is already the second time.
    pub(super) is_again: bool,
}

/// Notes that an import begins, before it changes anything.
pub(super) fn begin(store: &dyn Store, begun: &Begun) -> Result<(), StoreError> {
    let Begun { text, mode, is_again } = begun;
    let note = json!({"text": text, "partial": mode.partial, "stop": mode.stop, "first": mode.first, "again": is_again});
    store.write(&[Change::Put(Table::Import, PENDING.to_owned(), note.to_string().into_bytes())])
}

/// Notes that it has ended; `status` is kept if there is one.
pub(super) fn end(store: &dyn Store, status: Option<String>) -> Result<(), StoreError> {
    let mut changes = vec![Change::Delete(Table::Import, PENDING.to_owned())];
    changes.extend(status.map(|text| Change::Put(Table::Import, STATUS.to_owned(), text.into_bytes())));
    store.write(&changes)
}

/// The import that has begun and not ended.
pub(super) fn unfinished(store: &dyn Store) -> Result<Option<Begun>, StoreError> {
    let Some(bytes) = store.get(Table::Import, PENDING)? else { return Ok(None) };
    let note: Json = serde_json::from_slice(&bytes).unwrap_or_default();
    let is = |name: &str| note[name].as_bool().unwrap_or_default();
    Ok(Some(Begun {
        text: note["text"].as_str().unwrap_or_default().to_owned(),
        mode: Mode { partial: is("partial"), stop: is("stop"), first: is("first") },
        is_again: is("again"),
    }))
}

/// What went wrong in the last full import: a document of the twelve sections, if there was one.
pub(crate) fn last_status(store: &dyn Store) -> Result<Option<String>, StoreError> {
    let bytes = store.get(Table::Import, STATUS)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use thalweg_engine::store::MemoryStore;

    use super::*;

    #[test]
    fn an_import_is_unfinished_from_its_beginning_to_its_end() {
        let store = MemoryStore::default();
        assert_eq!(unfinished(&store), Ok(None));
        let mode = Mode { partial: true, stop: false, first: true };
        let begun = || Begun { text: "{}".to_owned(), mode, is_again: false };
        begin(&store, &begun()).expect("written");
        assert_eq!(unfinished(&store), Ok(Some(begun())));
        end(&store, Some("{\"streams\":{}}".to_owned())).expect("written");
        assert_eq!(unfinished(&store), Ok(None));
        end(&store, None).expect("written");
        assert_eq!(last_status(&store), Ok(Some("{\"streams\":{}}".to_owned())));
    }
}
