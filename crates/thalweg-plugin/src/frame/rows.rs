//! Which rows of a batch a message is about, in the order in which a plugin gets them.

use std::ops::Range;

use thalweg_core::{Live, Selection};
use thalweg_expr::GroupId;

/// Rows of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// From one row until before another.
    Span(usize, usize),
    /// These.
    List(&'a [u32]),
}

impl<'a> Rows<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Span(start, end) => end - start,
            Self::List(rows) => rows.len(),
        }
    }

    /// The part of them in this range.
    pub(crate) fn slice(&self, range: Range<usize>) -> Rows<'a> {
        match self {
            Self::Span(start, _) => Rows::Span(start + range.start, start + range.end),
            Self::List(rows) => Rows::List(&rows[range]),
        }
    }

    /// The row at a place.
    #[inline]
    pub(crate) fn at(&self, place: usize) -> usize {
        match self {
            Self::Span(start, _) => start + place,
            Self::List(rows) => rows[place] as usize,
        }
    }

    /// Visits all, in order.
    #[inline]
    pub(crate) fn each(&self, mut visit: impl FnMut(usize)) {
        match self {
            Self::Span(start, end) => (*start..*end).for_each(visit),
            Self::List(rows) => rows.iter().for_each(|row| visit(*row as usize)),
        }
    }
}

/// What one message is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part<'a> {
    /// The number of its first call among all.
    pub(crate) first: usize,
    pub(crate) rows: Rows<'a>,
    /// For groups: where each begins, and where the last one ends, counted from any number on.
    pub(crate) groups: Option<&'a [u32]>,
}

impl<'a> Part<'a> {
    /// How many results are wanted.
    pub(crate) fn n(&self) -> usize {
        self.groups.map_or(self.rows.len(), |offsets| offsets.len() - 1)
    }

    /// The places in `rows` of the values of one call.
    pub(crate) fn places(&self, call: usize) -> Range<usize> {
        match self.groups {
            None => call..call + 1,
            Some(offsets) => {
                let start = offsets[0];
                (offsets[call] - start) as usize..(offsets[call + 1] - start) as usize
            }
        }
    }

    /// The calls of this range alone.
    pub(crate) fn slice(&self, calls: Range<usize>) -> Part<'a> {
        match self.groups {
            None => Part { first: self.first + calls.start, rows: self.rows.slice(calls), groups: None },
            Some(offsets) => {
                let start = offsets[0];
                let (from, to) = (offsets[calls.start] - start, offsets[calls.end] - start);
                let groups = Some(&offsets[calls.start..=calls.end]);
                let rows = self.rows.slice(from as usize..to as usize);
                Part { first: self.first + calls.start, rows, groups }
            }
        }
    }
}

/// The rows and groups of a call, in the memory that [`Part`] borrows.
#[derive(Debug, Default)]
pub(crate) struct Order {
    span: Option<(usize, usize)>,
    rows: Vec<u32>,
    offsets: Option<Vec<u32>>,
}

impl Order {
    /// One result for each of these rows.
    pub(crate) fn of_rows(rows: &Selection) -> Self {
        match &rows.live {
            Live::All(n) => Self { span: Some((0, *n as usize)), ..Self::default() },
            _ => Self { rows: rows.iter().map(|row| row as u32).collect(), ..Self::default() },
        }
    }

    /// One result for each of these rows, every one of which is a group.
    pub(crate) fn of_lone_rows(rows: &Selection) -> Self {
        Self { offsets: Some((0..=rows.len() as u32).collect()), ..Self::of_rows(rows) }
    }

    /// One result for each group, whose rows keep their order. A group that no row names is empty.
    pub(crate) fn of_groups(rows: &Selection, groups: &[GroupId], n_groups: usize) -> Self {
        let mut offsets = vec![0u32; n_groups + 1];
        for group in groups.iter().take(rows.len()) {
            if let Some(count) = offsets.get_mut(*group as usize + 1) {
                *count += 1;
            }
        }
        for group in 0..n_groups {
            offsets[group + 1] += offsets[group];
        }
        let n_rows = offsets[n_groups] as usize;
        if let Live::All(n) = rows.live
            && n as usize == n_rows
            && groups.is_sorted()
        {
            return Self { span: Some((0, n_rows)), rows: Vec::new(), offsets: Some(offsets) };
        }
        let mut next = offsets.clone();
        let mut ordered = vec![0u32; n_rows];
        for (row, group) in rows.iter().zip(groups) {
            if (*group as usize) < n_groups {
                let place = &mut next[*group as usize];
                ordered[*place as usize] = row as u32;
                *place += 1;
            }
        }
        Self { span: None, rows: ordered, offsets: Some(offsets) }
    }

    /// All of it.
    pub(crate) fn part(&self) -> Part<'_> {
        let rows = match self.span {
            Some((start, end)) => Rows::Span(start, end),
            None => Rows::List(&self.rows),
        };
        Part { first: 0, rows, groups: self.offsets.as_deref() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows_of(part: &Part<'_>) -> Vec<usize> {
        let mut rows = Vec::new();
        part.rows.each(|row| rows.push(row));
        assert_eq!(rows, (0..part.rows.len()).map(|place| part.rows.at(place)).collect::<Vec<_>>());
        rows
    }

    #[test]
    fn rows_of_a_group_stand_together_in_the_order_of_the_batch() {
        let order = Order::of_groups(&Selection::rows(vec![1, 2, 4, 7, 9]), &[2, 0, 2, 0, 9], 4);
        let part = order.part();
        assert_eq!((rows_of(&part), part.n()), (vec![2, 7, 1, 4], 4), "what is in no group is left out");
        assert_eq!((0..4).map(|group| part.places(group)).collect::<Vec<_>>(), [0..2, 2..2, 2..4, 4..4]);
        let tail = part.slice(1..3);
        assert_eq!((rows_of(&tail), tail.n(), tail.places(1)), (vec![1, 4], 2, 0..2));
        assert_eq!(tail.slice(0..0).n(), 0);
    }

    #[test]
    fn sorted_groups_of_a_whole_batch_need_no_list() {
        let order = Order::of_groups(&Selection::all(4), &[0, 0, 1, 1], 2);
        assert!(matches!(order.part().rows, Rows::Span(0, 4)));
        assert_eq!(rows_of(&order.part().slice(1..2)), [2, 3]);
        let lone = Order::of_lone_rows(&Selection::rows(vec![3, 5]));
        assert_eq!((lone.part().n(), lone.part().places(1)), (2, 1..2));
        assert_eq!(rows_of(&Order::of_rows(&Selection::all(5)).part().slice(2..4)), [2, 3]);
    }
}
