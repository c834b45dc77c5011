//! A rule's state at one barrier, and its form on disk: versioned, with a checksum, so that a torn or damaged entry is
//! told from a whole one.

use std::collections::BTreeMap;
use std::sync::Arc;

use thalweg_core::Value;
use thalweg_core::state::{StateError, StateReader, StateWriter};

/// A rule's state at one barrier.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// The plan's fingerprint; another one: start fresh and say so.
    pub fingerprint: u64,
    /// Milliseconds since the epoch of the barrier.
    pub epoch: i64,
    /// Operator state by node name.
    pub nodes: BTreeMap<String, Vec<u8>>,
    /// Offsets of rewindable sources by node name, see [`Offset`].
    pub offsets: BTreeMap<String, Vec<u8>>,
    /// By node name: messages that are part of the state although their source may send them again.
    pub seen: BTreeMap<String, Vec<u8>>,
    /// By action: messages that had not left when the snapshot was taken.
    pub outputs: BTreeMap<String, Vec<u8>>,
}

/// Where a source stands, and which source that is: the offset of another file or topic means nothing.
#[derive(Debug, Clone, PartialEq)]
pub struct Offset {
    /// The position as the source writes it.
    pub value: Value,
    /// A number that is equal for equal sources.
    pub source: u64,
}

impl Offset {
    /// As kept in [`Snapshot::offsets`].
    pub fn encode(&self) -> Vec<u8> {
        let mut out = StateWriter::new();
        out.value(&self.value);
        out.u64(self.source);
        out.finish()
    }

    /// Reads what [`Offset::encode`] wrote.
    ///
    /// # Errors
    /// Damage.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let mut from = StateReader::new(bytes);
        Ok(Self { value: from.value()?, source: from.u64()? })
    }
}

/// A snapshot on its way to the store.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The rule.
    pub rule: Arc<str>,
    /// When; greater than that of any earlier one of the rule.
    pub epoch: i64,
    /// [`Snapshot::encode`].
    pub bytes: Vec<u8>,
}

/// Where checkpoints go; the engine implements it over its store, tests over a map.
pub trait SnapshotStore: Send + Sync {
    /// Makes snapshots durable, all or none; older ones of these rules go.
    ///
    /// # Errors
    /// Why they could not be stored.
    fn save(&self, entries: &[Entry]) -> Result<(), String>;

    /// The newest whole snapshot of a rule.
    ///
    /// # Errors
    /// Why the store cannot be read, or that there are snapshots and none is whole.
    fn newest(&self, rule: &str) -> Result<Option<Snapshot>, String>;

    /// Forgets a rule.
    ///
    /// # Errors
    /// Why the store cannot be written.
    fn remove(&self, rule: &str) -> Result<(), String>;
}

const VERSION: u16 = 2;

impl Snapshot {
    /// Whether a rule that starts from it starts as if there were none.
    pub fn is_empty(&self) -> bool {
        [&self.nodes, &self.offsets, &self.seen, &self.outputs].iter().all(|part| part.is_empty())
    }

    /// Its form on disk.
    pub fn encode(&self) -> Vec<u8> {
        self.seal(&self.content())
    }

    /// What it holds, without when.
    pub(crate) fn content(&self) -> Vec<u8> {
        let mut out = StateWriter::new();
        out.u64(self.fingerprint);
        for part in [&self.nodes, &self.offsets, &self.seen, &self.outputs] {
            out.u64(part.len() as u64);
            for (name, bytes) in part {
                out.text(name);
                out.bytes(bytes);
            }
        }
        out.finish()
    }

    /// Its form on disk, around its content.
    pub(crate) fn seal(&self, content: &[u8]) -> Vec<u8> {
        let mut out = StateWriter::new();
        out.section("rule", VERSION);
        out.i64(self.epoch);
        let mut bytes = out.finish();
        bytes.extend_from_slice(content);
        bytes.extend_from_slice(&checksum(&bytes).to_le_bytes());
        bytes
    }

    /// Reads what [`Snapshot::encode`] wrote.
    ///
    /// # Errors
    /// Damage, or another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let torn = || StateError("it is torn or damaged".to_owned());
        let (content, sum) = bytes.split_last_chunk::<8>().ok_or_else(torn)?;
        if checksum(content) != u64::from_le_bytes(*sum) {
            return Err(torn());
        }
        let mut from = StateReader::new(content);
        from.section("rule", VERSION)?;
        let (epoch, fingerprint) = (from.i64()?, from.u64()?);
        let mut parts: [BTreeMap<String, Vec<u8>>; 4] = Default::default();
        for part in &mut parts {
            for _ in 0..from.read_len()? {
                let name = from.text()?.to_owned();
                part.insert(name, from.bytes()?.to_vec());
            }
        }
        let [nodes, offsets, seen, outputs] = parts;
        Ok(Self { fingerprint, epoch, nodes, offsets, seen, outputs })
    }
}

/// FNV-1a over words, then over what is left: fast enough for large states, and the same in every build.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let step = |hash: u64, word: u64| (hash ^ word).wrapping_mul(0x0100_0000_01b3).rotate_left(23);
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words.iter().fold(0xcbf2_9ce4_8422_2325, |hash, word| step(hash, u64::from_le_bytes(*word)));
    let hash = rest.iter().fold(hash, |hash, byte| step(hash, u64::from(*byte)));
    step(hash, bytes.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot() -> Snapshot {
        let part = |name: &str| BTreeMap::from([(name.to_owned(), vec![1, 2, 3])]);
        let offset = Offset { value: Value::Int(7), source: 9 };
        Snapshot {
            fingerprint: 7,
            epoch: 1_000,
            nodes: part("op_2_window"),
            offsets: [("source_demo".to_owned(), offset.encode())].into(),
            seen: part("source_demo"),
            outputs: part("mqtt_0"),
        }
    }

    #[test]
    fn a_snapshot_that_was_cut_or_changed_anywhere_is_told_from_a_whole_one() {
        let bytes = snapshot().encode();
        assert_eq!(Snapshot::decode(&bytes), Ok(snapshot()));
        for cut in 0..bytes.len() {
            assert!(Snapshot::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            let mut changed = bytes.clone();
            changed[cut] ^= 0x10;
            assert!(Snapshot::decode(&changed).is_err(), "changed at {cut}");
        }
    }

    #[test]
    fn equal_content_of_two_moments_is_equal_content() {
        let later = Snapshot { epoch: 2_000, ..snapshot() };
        assert_eq!(later.content(), snapshot().content());
        assert_ne!(Snapshot { seen: BTreeMap::new(), ..snapshot() }.content(), snapshot().content());
        assert!(!later.is_empty() && Snapshot { fingerprint: 1, ..Snapshot::default() }.is_empty());
    }
}
