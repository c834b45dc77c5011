//! Which rows of a batch a message is about, in the order in which a plugin gets them.

use std::ops::Range;
use std::sync::OnceLock;

use thalweg_core::{Live, Selection};
use thalweg_expr::GroupId;

/// Rows of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Rows<'a> {
    /// From one row until before another.
    Span(usize, usize),
    /// These.
    List(&'a [u32]),
    /// All rows of all groups.
    Grouped(&'a Grouped<'a>),
}

impl<'a> Rows<'a> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Span(start, end) => end - start,
            Self::List(rows) => rows.len(),
            Self::Grouped(grouped) => grouped.len(),
        }
    }

    /// The same without groups, as a list if need be.
    pub(crate) fn listed(&self) -> Rows<'a> {
        match *self {
            Self::Grouped(grouped) => Rows::List(grouped.list()),
            listed => listed,
        }
    }

    /// The part of them in this range.
    pub(crate) fn slice(&self, range: Range<usize>) -> Rows<'a> {
        match self {
            Self::Span(start, _) => Rows::Span(start + range.start, start + range.end),
            Self::List(rows) => Rows::List(&rows[range]),
            Self::Grouped(_) if range == (0..self.len()) => *self,
            Self::Grouped(grouped) => Rows::List(&grouped.list()[range]),
        }
    }

    /// The row at a place.
    #[inline]
    pub(crate) fn at(&self, place: usize) -> usize {
        match self {
            Self::Span(start, _) => start + place,
            Self::List(rows) => rows[place] as usize,
            Self::Grouped(grouped) => grouped.list()[place] as usize,
        }
    }

    /// Visits all, in order.
    #[inline]
    pub(crate) fn each(&self, mut visit: impl FnMut(usize)) {
        match self {
            Self::Span(start, end) => (*start..*end).for_each(visit),
            Self::List(rows) => rows.iter().for_each(|row| visit(*row as usize)),
            Self::Grouped(grouped) => grouped.list().iter().for_each(|row| visit(*row as usize)),
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

/// Rows that are to be brought together by group.
#[derive(Debug)]
pub(crate) struct Grouped<'a> {
    rows: &'a Selection,
    /// The group of each row; one beyond the last group is none.
    groups: &'a [GroupId],
    /// Where each group begins, and the end of the last.
    offsets: Vec<u32>,
    /// In the order of the groups; made when somebody needs it.
    list: OnceLock<Vec<u32>>,
}

impl Grouped<'_> {
    fn len(&self) -> usize {
        self.offsets.last().map_or(0, |end| *end as usize)
    }

    fn list(&self) -> &[u32] {
        self.list.get_or_init(|| {
            let mut list = vec![0u32; self.len()];
            self.each_place(self.rows.iter(), |row, place| list[place] = row as u32);
            list
        })
    }

    /// Visits the words of all rows in the order of the batch, with the place of each in the order of the groups.
    pub(crate) fn each_word(&self, words: &[u64], put: impl FnMut(u64, usize)) {
        match &self.rows.live {
            Live::All(n) => self.each_place(words[..*n as usize].iter().copied(), put),
            _ => self.each_place(self.rows.iter().map(|row| words[row]), put),
        }
    }

    #[inline]
    fn each_place<T>(&self, rows: impl Iterator<Item = T>, mut visit: impl FnMut(T, usize)) {
        let mut next = self.offsets.clone();
        // What is behind the end of the last group belongs to none.
        next.pop();
        for (row, group) in rows.zip(self.groups) {
            if let Some(next) = next.get_mut(*group as usize) {
                visit(row, *next as usize);
                *next += 1;
            }
        }
    }
}

/// The rows and groups of a call, in the memory that [`Part`] borrows.
#[derive(Debug, Default)]
pub(crate) struct Order<'a> {
    span: Option<(usize, usize)>,
    rows: Vec<u32>,
    offsets: Option<Vec<u32>>,
    grouped: Option<Grouped<'a>>,
}

impl<'a> Order<'a> {
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
    pub(crate) fn of_groups(rows: &'a Selection, groups: &'a [GroupId], n_groups: usize) -> Self {
        let (mut offsets, mut odd) = (vec![0u32; n_groups + 1], vec![0u32; n_groups]);
        let add = |counts: &mut [u32], group: GroupId| {
            if let Some(count) = counts.get_mut(group as usize) {
                *count += 1;
            }
        };
        // Rows beside each other are often of one group: with two counts one needs not wait for the other.
        let (pairs, rest) = groups[..rows.len().min(groups.len())].as_chunks::<2>();
        for [one, other] in pairs {
            add(&mut offsets[1..], *one);
            add(&mut odd, *other);
        }
        rest.iter().for_each(|group| add(&mut odd, *group));
        for group in 0..n_groups {
            offsets[group + 1] += offsets[group] + odd[group];
        }
        let n_rows = offsets[n_groups] as usize;
        if let Live::All(n) = rows.live
            && n as usize == n_rows
            && groups.is_sorted()
        {
            return Self { span: Some((0, n_rows)), offsets: Some(offsets), ..Self::default() };
        }
        let grouped = Grouped { rows, groups, offsets, list: OnceLock::new() };
        Self { grouped: Some(grouped), ..Self::default() }
    }

    /// All of it.
    pub(crate) fn part(&self) -> Part<'_> {
        if let Some(grouped) = &self.grouped {
            return Part { first: 0, rows: Rows::Grouped(grouped), groups: Some(&grouped.offsets) };
        }
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
        let rows = Selection::rows(vec![1, 2, 4, 7, 9]);
        let order = Order::of_groups(&rows, &[2, 0, 2, 0, 9], 4);
        let part = order.part();
        let Rows::Grouped(grouped) = part.rows else { panic!("{part:?}") };
        let mut placed = [0; 4];
        grouped.each_word(&[0, 10, 20, 30, 40, 50, 60, 70, 80, 90], |word, place| placed[place] = word);
        assert_eq!(placed, [20, 70, 10, 40]);
        assert_eq!((rows_of(&part), part.n()), (vec![2, 7, 1, 4], 4), "what is in no group is left out");
        assert_eq!((0..4).map(|group| part.places(group)).collect::<Vec<_>>(), [0..2, 2..2, 2..4, 4..4]);
        let tail = part.slice(1..3);
        assert_eq!((rows_of(&tail), tail.n(), tail.places(1)), (vec![1, 4], 2, 0..2));
        assert_eq!(tail.slice(0..0).n(), 0);
    }

    #[test]
    fn sorted_groups_of_a_whole_batch_need_no_list() {
        let rows = Selection::all(4);
        let order = Order::of_groups(&rows, &[0, 0, 1, 1], 2);
        assert!(matches!(order.part().rows, Rows::Span(0, 4)));
        assert_eq!(rows_of(&order.part().slice(1..2)), [2, 3]);
        let lone = Order::of_lone_rows(&Selection::rows(vec![3, 5]));
        assert_eq!((lone.part().n(), lone.part().places(1)), (2, 1..2));
        assert_eq!(rows_of(&Order::of_rows(&Selection::all(5)).part().slice(2..4)), [2, 3]);
    }
}
