//! One set of claims for both stores, and what only the disk can promise.

use std::sync::Arc;

use thalweg_runtime::{Entry, Snapshot};

use super::*;

fn put(key: &str, value: &str) -> Change {
    Change::Put(Table::Rule, key.to_owned(), value.as_bytes().to_vec())
}

fn check(store: &dyn Store) {
    store.write(&[put("a", "1"), put("b/1", "2"), put("b/2", "3"), put("c", "4")]).expect("written");
    assert_eq!(store.get(Table::Rule, "a"), Ok(Some(b"1".to_vec())));
    assert_eq!(store.get(Table::Stream, "a"), Ok(None));
    let keys: Vec<String> =
        store.scan(Table::Rule, "b/").expect("read").into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["b/1", "b/2"]);
    store
        .write(&[Change::Delete(Table::Rule, "a".to_owned()), Change::Delete(Table::Rule, "none".to_owned())])
        .expect("written");
    assert_eq!(store.get(Table::Rule, "a"), Ok(None));
    assert_eq!(store.scan(Table::Rule, "").expect("read").len(), 3);
}

#[test]
fn both_stores_get_scan_and_write_alike() {
    check(&MemoryStore::default());
    let folder = tempfile::tempdir().expect("a folder");
    check(&DiskStore::open(&folder.path().join("thalweg.redb")).expect("opened"));
}

#[test]
fn what_was_written_is_there_after_the_process_went_without_closing() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("thalweg.redb"), folder.path().join("copy.redb"));
    let store = DiskStore::open(&path).expect("opened");
    store.write(&[put("a", "1")]).expect("written");
    // The file as a crash leaves it: copied while open, never closed.
    std::fs::copy(&path, &copy).expect("copied");
    let crashed = DiskStore::open(&copy).expect("opened again");
    assert_eq!(crashed.get(Table::Rule, "a"), Ok(Some(b"1".to_vec())));
}

#[test]
fn a_store_that_another_engine_holds_is_refused_with_advice() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("thalweg.redb");
    let _first = DiskStore::open(&path).expect("opened");
    let error = DiskStore::open(&path).err().expect("refused");
    assert!(error.to_string().contains("--home"), "{error}");
}

fn entry(rule: &str, epoch: i64) -> Entry {
    Entry { rule: Arc::from(rule), epoch, bytes: snapshot(epoch).encode() }
}

fn snapshot(epoch: i64) -> Snapshot {
    let nodes = [("op_2_window".to_owned(), vec![1, 2])].into();
    Snapshot { fingerprint: 7, epoch, nodes, ..Snapshot::default() }
}

#[test]
fn r7_5_the_newest_checkpoint_and_the_one_before_are_kept_and_a_torn_one_is_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = DiskStore::open(&folder.path().join("thalweg.redb")).expect("opened");
    for store in [Arc::new(MemoryStore::default()) as Arc<dyn Store>, Arc::new(disk)] {
        let snapshots = Snapshots::new(Arc::clone(&store));
        assert_eq!(snapshots.newest("r"), Ok(None));
        for epoch in 1..=5 {
            snapshots.save(&[entry("r", epoch), entry("r2", epoch + 4)]).expect("saved");
        }
        assert_eq!(snapshots.newest("r"), Ok(Some(snapshot(5))));
        let keys = store.keys(Table::Checkpoint, "r/").expect("read");
        assert_eq!(keys.len(), 2);
        let whole = entry("r", 5).bytes;
        for torn in [&whole[..whole.len() / 2], &whole[..whole.len() - 1], b"damage", b""] {
            store.write(&[Change::Put(Table::Checkpoint, keys[1].clone(), torn.to_vec())]).expect("written");
            assert_eq!(snapshots.newest("r"), Ok(Some(snapshot(4))));
        }
        store.write(&[Change::Put(Table::Checkpoint, keys[0].clone(), Vec::new())]).expect("written");
        assert!(snapshots.newest("r").is_err(), "there were checkpoints, and that must not be hidden");
        snapshots.remove("r").expect("removed");
        assert_eq!(snapshots.newest("r"), Ok(None));
        assert_eq!(snapshots.newest("r2"), Ok(Some(snapshot(9))));
    }
}

#[test]
fn a_closed_store_can_be_opened_again_while_somebody_still_holds_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("thalweg.redb");
    let store = DiskStore::open(&path).expect("opened");
    store.write(&[put("a", "1")]).expect("written");
    store.close();
    let again = DiskStore::open(&path).expect("opened again");
    assert_eq!(again.get(Table::Rule, "a"), Ok(Some(b"1".to_vec())));
    let refused = StoreError("closed, the engine has stopped".to_owned());
    assert_eq!(store.write(&[put("a", "2")]), Err(refused.clone()));
    assert_eq!(store.get(Table::Rule, "a"), Err(refused));
}

#[test]
fn many_writes_at_once_are_all_there_after_a_crash() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (folder.path().join("thalweg.redb"), folder.path().join("copy.redb"));
    let store = DiskStore::open(&path).expect("opened");
    let key = |thread: usize, at: usize| format!("{thread}/{at}");
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let store = &store;
            scope.spawn(move || {
                for at in 0..20 {
                    store.write(&[put(&key(thread, at), "1"), put("last", "x")]).expect("written");
                    let own = store.get(Table::Rule, &key(thread, at));
                    assert_eq!(own, Ok(Some(b"1".to_vec())), "what was answered is there");
                }
            });
        }
    });
    std::fs::copy(&path, &copy).expect("copied");
    let crashed = DiskStore::open(&copy).expect("opened again");
    assert_eq!(crashed.keys(Table::Rule, "").expect("read").len(), 8 * 20 + 1);
}
