//! Things that are filed once under their condition, and counted.

use std::hash::BuildHasher;

use hashbrown::DefaultHashBuilder;
use hashbrown::{HashTable, hash_table};

use super::conditions::Condition;

/// Things by the condition that they stand for.
pub(super) struct Shelf<T> {
    places: Vec<Option<Filed<T>>>,
    free: Vec<u32>,
    by_condition: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

struct Filed<T> {
    thing: T,
    hash: u64,
    users: usize,
}

/// What is filed knows its condition.
pub(super) trait HasCondition {
    fn condition(&self) -> &Condition;
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
            by_condition: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl<T: HasCondition> Shelf<T> {
    /// The place of the thing that `make` makes of a condition, or of the equal one that is there; and whether it is
    /// new.
    pub(super) fn file(&mut self, condition: Condition, make: impl FnOnce(Condition) -> T) -> (u32, bool) {
        let key = condition.key();
        let hash = self.hasher.hash_one(&key);
        let Self { places, free, by_condition, .. } = self;
        let is_equal = |at: &u32| {
            places[*at as usize]
                .as_ref()
                .is_some_and(|filed| filed.hash == hash && filed.thing.condition().key() == key)
        };
        if let Some(at) = by_condition.find(hash, is_equal).copied() {
            if let Some(filed) = &mut places[at as usize] {
                filed.users += 1;
            }
            return (at, false);
        }
        let at = free.pop().unwrap_or_else(|| {
            places.push(None);
            (places.len() - 1) as u32
        });
        places[at as usize] = Some(Filed { thing: make(condition), hash, users: 1 });
        let hash_of = |at: &u32| places[*at as usize].as_ref().map_or(0, |filed| filed.hash);
        by_condition.insert_unique(hash, at, hash_of);
        (at, true)
    }

    /// One user less; the thing when that was the last.
    pub(super) fn leave(&mut self, at: u32) -> Option<T> {
        let place = self.places.get_mut(at as usize)?;
        let filed = place.as_mut()?;
        filed.users -= 1;
        if filed.users > 0 {
            return None;
        }
        let filed = place.take()?;
        if let Ok(entry) = self.by_condition.find_entry(filed.hash, |other| *other == at) {
            hash_table::OccupiedEntry::remove(entry);
        }
        self.free.push(at);
        Some(filed.thing)
    }

    pub(super) fn users(&self, at: u32) -> usize {
        self.places.get(at as usize).and_then(Option::as_ref).map_or(0, |filed| filed.users)
    }

    /// Places, free ones included.
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.places.get(at as usize)?.as_ref().map(|filed| &filed.thing)
    }

    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.places.get_mut(at as usize)?.as_mut().map(|filed| &mut filed.thing)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.places.iter_mut().flatten().map(|filed| &mut filed.thing)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.places.len() == self.free.len()
    }

    /// All things with their places.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.places.iter().enumerate().filter_map(|(at, place)| Some((at as u32, &place.as_ref()?.thing)))
    }
}
