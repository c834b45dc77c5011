//! A power cut between any two operations on the file of the store leaves the state before a write or the one after it.
//!
//! The file is a tape that notes every operation. Each cut is played again, with what the disk had not been told to keep
//! in different states: all there, all lost, one piece lost, the last piece half written.

use std::io;
use std::sync::{Arc, Mutex};

use redb::{Database, StorageBackend};

use super::{Change, DiskStore, Store, Table};

#[derive(Debug, Clone)]
enum Operation {
    Write(usize, Vec<u8>),
    Length(usize),
    Sync,
}

impl Operation {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                let end = at + bytes.len();
                if content.len() < end {
                    content.resize(end, 0);
                }
                content[*at..end].copy_from_slice(bytes);
            }
            Self::Length(length) => content.resize(*length, 0),
            Self::Sync => {}
        }
    }

    /// Its first half, as when the power goes within it.
    fn torn(&self) -> Self {
        match self {
            Self::Write(at, bytes) => Self::Write(*at, bytes[..bytes.len() / 2].to_vec()),
            other => other.clone(),
        }
    }
}

/// What is in the file, and what was done to it.
#[derive(Debug, Default)]
struct Recording {
    content: Vec<u8>,
    operations: Vec<Operation>,
}

#[derive(Debug, Clone, Default)]
struct Tape(Arc<Mutex<Recording>>);

impl Tape {
    fn of(content: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Recording { content, operations: Vec::new() })))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Recording) -> T) -> T {
        work(&mut self.0.lock().expect("nobody panics with it"))
    }

    fn note(&self, operation: Operation) {
        self.with(|tape| {
            operation.apply(&mut tape.content);
            tape.operations.push(operation);
        });
    }
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).expect("the file is small")
}

impl StorageBackend for Tape {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|tape| tape.content.len()) as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let at = place(offset);
        self.with(|tape| {
            let bytes = tape.content.get(at..at + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            out.copy_from_slice(bytes);
            Ok(())
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.note(Operation::Length(place(length)));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(Operation::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(Operation::Write(place(offset), data.to_vec()));
        Ok(())
    }
}

fn open(tape: Tape) -> DiskStore {
    let database = Database::builder().create_with_backend(tape).expect("what a cut leaves can be opened");
    DiskStore::on(database).expect("and read")
}

type State = Vec<(String, Vec<u8>)>;

fn state(store: &DiskStore) -> State {
    let mut all = store.scan(Table::Rule, "").expect("it can be read");
    all.extend(store.scan(Table::Stream, "").expect("it can be read"));
    all
}

/// What the file may hold when the power goes behind these operations.
fn after_cut(before: &[u8], done: &[Operation]) -> Vec<Vec<u8>> {
    let kept = done.iter().rposition(|one| matches!(one, Operation::Sync)).map_or(0, |at| at + 1);
    let (kept, open) = done.split_at(kept);
    let mut base = before.to_vec();
    kept.iter().for_each(|one| one.apply(&mut base));
    let with = |pieces: &mut dyn Iterator<Item = Operation>| {
        let mut content = base.clone();
        pieces.for_each(|one| one.apply(&mut content));
        content
    };
    let mut all = vec![with(&mut open.iter().cloned())];
    if open.is_empty() {
        return all;
    }
    all.push(base.clone());
    for lost in 0..open.len() {
        let others = open.iter().enumerate().filter(|(at, _)| *at != lost);
        all.push(with(&mut others.map(|(_, one)| one.clone())));
    }
    let (last, others) = open.split_last().expect("there is one");
    all.push(with(&mut others.iter().cloned().chain([last.torn()])));
    all
}

#[test]
fn a_power_cut_between_any_two_writes_leaves_the_old_or_the_new_state() {
    let put = |table, key: &str, value: &[u8]| Change::Put(table, key.to_owned(), value.to_vec());
    let large = vec![7; 20_000];
    let writes: [Vec<Change>; 4] = [
        vec![put(Table::Rule, "a", b"1"), put(Table::Stream, "s", b"1")],
        vec![
            put(Table::Rule, "a", b"2"),
            Change::Delete(Table::Stream, "s".to_owned()),
            put(Table::Rule, "b", &large),
        ],
        (0..40).map(|n| put(Table::Rule, &format!("many/{n}"), &[n; 200])).collect(),
        vec![Change::Delete(Table::Rule, "b".to_owned()), put(Table::Stream, "s", b"3")],
    ];
    let tape = Tape::default();
    let store = open(tape.clone());
    let mut old = state(&store);
    let mut n_cuts = 0;
    for changes in writes {
        let before = tape.with(|tape| {
            tape.operations.clear();
            tape.content.clone()
        });
        store.write(&changes).expect("it can be written");
        let new = state(&store);
        assert_ne!(old, new);
        let operations = tape.with(|tape| tape.operations.clone());
        assert!(
            operations.iter().any(|one| matches!(one, Operation::Sync)),
            "it is kept before it is answered"
        );
        for cut in 0..=operations.len() {
            for content in after_cut(&before, &operations[..cut]) {
                let found = state(&open(Tape::of(content)));
                let is_whole = found == new || (found == old && cut < operations.len());
                assert!(is_whole, "cut behind {cut} of {} operations: {found:?}", operations.len());
                n_cuts += 1;
            }
        }
        old = new;
    }
    assert!(n_cuts > 50, "{n_cuts} cuts are too few to say anything");
}
