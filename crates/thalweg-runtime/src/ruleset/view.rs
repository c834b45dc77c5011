//! The slots of one rule among those of its stream.
//!
//! Slots are only ever appended, so a rule that joins does not disturb the others. Each rule sees a [`View`]: its own
//! slots in its own order, which costs a pointer per column and batch, and nothing when the rule is alone.

use std::sync::Arc;

use thalweg_core::{Batch, Projection, Schema, Slot};

use super::conditions::Condition;
use crate::names::Alike;

/// The slots of one rule among those of the stream.
#[derive(Debug, Clone)]
pub(crate) struct View(Arc<Seen>);

/// The same for all rules that see it alike.
#[derive(Debug, PartialEq)]
pub(crate) struct Seen {
    schema: Arc<Schema>,
    slots: Vec<usize>,
    /// Whether the rule's slots are exactly the stream's, from the first on.
    is_prefix: bool,
}

impl View {
    /// The slots that `own` has in `union`, to which missing ones are appended.
    pub(crate) fn join(union: &mut Projection, own: &Projection) -> Self {
        let place = |wanted: &thalweg_core::projection::Wanted| {
            union.slot(wanted.want.clone(), wanted.strict.clone()).index()
        };
        let slots: Vec<usize> = own.slots.iter().map(place).collect();
        let is_prefix = slots.iter().enumerate().all(|(at, slot)| at == *slot);
        Self(Arc::new(Seen { schema: Arc::new(own.schema()), slots, is_prefix }))
    }

    /// The same view of another rule, if there is one.
    pub(crate) fn kept(self, alike: &Alike<Seen>) -> Self {
        Arc::try_unwrap(self.0).map_or_else(Self, |seen| Self(alike.same(seen)))
    }

    /// A slot of the rule as one of the stream.
    pub(crate) fn slot(&self, own: Slot) -> Slot {
        Slot(self.0.slots[own.index()] as u32)
    }

    /// The same where values may have been appended to the rule's own slots: those keep their distance from the end.
    pub(super) fn appended(&self, own: Slot) -> Slot {
        const APPENDED: u32 = 1 << 31;
        match own.index().checked_sub(self.0.slots.len()) {
            Some(behind) => Slot(APPENDED + behind as u32),
            None => self.slot(own),
        }
    }

    /// Whether a batch of the stream can be used as it is.
    pub(crate) fn is_whole(&self, batch: &Batch) -> bool {
        self.0.is_prefix && batch.columns.len() == self.0.slots.len()
    }

    /// Whether another rule sees exactly the same.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.0.slots == other.0.slots
    }

    /// A condition over the rule's slots as one over the stream's.
    pub(crate) fn condition(&self, own: &Condition) -> Condition {
        let expr = own.expr.map_slots(&|slot| self.slot(slot));
        Condition { expr, zone: own.zone }
    }

    /// The rule's own batch: the same columns, its own slots.
    pub(crate) fn of(&self, batch: &Batch) -> Batch {
        Batch {
            schema: Arc::clone(&self.0.schema),
            columns: self.0.slots.iter().map(|slot| Arc::clone(&batch.columns[*slot])).collect(),
            n_rows: batch.n_rows,
            times: batch.times.clone(),
            unit: batch.unit,
            window: batch.window,
        }
    }
}

#[cfg(test)]
mod tests {
    use thalweg_core::{Column, Unit, Want};

    use super::*;

    fn projection(names: &[&str]) -> Projection {
        let mut projection = Projection::default();
        for name in names {
            projection.slot(Want::Column { path: vec![Arc::from(*name)], data_type: None }, None);
        }
        projection
    }

    #[test]
    fn slots_are_appended_and_every_rule_keeps_its_own_order() {
        let mut union = Projection::default();
        let first = View::join(&mut union, &projection(&["a", "b"]));
        let second = View::join(&mut union, &projection(&["c", "a"]));
        assert_eq!(union.slots.len(), 3);
        let batch = Batch {
            schema: Arc::new(union.schema()),
            columns: (0..3).map(|n| Arc::new(Column::from_ints([n]))).collect(),
            n_rows: 1,
            times: vec![Default::default()],
            unit: Unit::Rows,
            window: None,
        };
        assert!(!first.is_whole(&batch) && !second.is_whole(&batch));
        assert_eq!(first.of(&batch).columns[1].ints(), Some(&[1][..]));
        let own = second.of(&batch);
        assert_eq!((own.columns[0].ints(), own.columns[1].ints()), (Some(&[2][..]), Some(&[0][..])));
        assert_eq!(&*own.schema.fields[0].name, "c");
    }
}
