//! A window's rows as groups: folded into aggregates as they arrive, never kept.
//!
//! A pane is a run of rows that every window holds either whole or not at all. Its rows are aggregated once; a closing
//! window merges its panes in order of arrival (contracts 5). Positions and times are those of the rows, so an
//! assigner asks for ranges as it asks a [`super::buffer::RowBuffer`], provided it has cut where they begin and end.
//!
//! What fails for a row is counted when the row arrives, once, on the node that would have met it; a failure that costs
//! the whole collection (Z-2) waits in its pane and is told when a window with that pane closes.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Live, Schema, Selection, Timestamp, WindowRange};
use thalweg_expr::{EvalCx, Expr, FunctionRef};
use thalweg_plan::logical::{Fold, FoldStep};

use crate::op::accumulated::Names;
use crate::op::groups::{Grouping, Groups};
use crate::op::{faults, reshape};
use crate::operator::{Behind, Emit, OpCx, Partial, Verdict};

/// What happens to rows on their way into groups.
pub(super) struct Folding {
    steps: Vec<FoldStep>,
    pub(super) grouping: Grouping,
}

impl Folding {
    /// `overlaps`: a row may be part of several windows.
    pub(super) fn new(fold: &Fold, overlaps: bool) -> Self {
        let is_remote = fold.calls.iter().any(|call| matches!(call.function, FunctionRef::Remote(_)));
        let grouping = Grouping {
            by: fold.keys.clone(),
            calls: fold.calls.clone(),
            firsts: fold.firsts.clone(),
            schema: Arc::clone(&fold.schema),
            names: is_remote.then(|| Arc::new(Names::new(overlaps))),
        };
        Self { steps: fold.steps.clone(), grouping }
    }

    pub(super) fn filters(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, FoldStep::Filter(_)))
    }

    /// The steps before grouping, which is the last one.
    pub(super) fn n_steps(&self) -> usize {
        self.steps.len()
    }

    /// For the work of the aggregate.
    pub(super) fn of_groups<'a>(&self, cx: &'a OpCx<'_>) -> OpCx<'a> {
        cx.of_behind(self.n_steps())
    }

    /// Counts a collection that ends within the steps as the nodes would count it that stand there. `step` is the one
    /// that failed, or absent when WHERE left nothing.
    pub(super) fn count_lost(&self, step: Option<usize>, cx: &OpCx<'_>) {
        let first_filter = || self.steps.iter().position(|step| matches!(step, FoldStep::Filter(_)));
        let end = step.or_else(first_filter).unwrap_or_default();
        NodeMetrics::add(&cx.metrics.records_out, 1);
        for (at, Behind { metrics, .. }) in cx.behind.iter().enumerate().take(end + 1) {
            NodeMetrics::add(&metrics.records_in, 1);
            NodeMetrics::add(&metrics.processed, 1);
            NodeMetrics::add(&metrics.records_out, u64::from(at < end));
        }
    }

    /// Rows as they come to be grouped; `fail` is told which rows fail and why.
    pub(super) fn prepare<'b>(
        &self,
        batch: &'b Batch,
        mut rows: Selection,
        fail: &mut dyn FnMut(usize, Failure),
        cx: &OpCx<'_>,
    ) -> (Cow<'b, Batch>, Selection) {
        let mut batch = Cow::Borrowed(batch);
        for (step, what) in self.steps.iter().enumerate() {
            let mut eval = cx.of_behind(step).eval(None);
            match what {
                FoldStep::Filter(condition) => {
                    let verdict = Verdict::of(condition, &batch, &rows, &mut eval);
                    for (row, message) in verdict.bad {
                        fail(row, Failure { step, message });
                    }
                    rows = verdict.passed;
                }
                FoldStep::Compute { values, schema } => {
                    batch = Cow::Owned(wider(&batch, &rows, (values, schema), &mut eval));
                }
            }
        }
        (batch, rows)
    }

    /// The columns that rows have when they come to be grouped.
    pub(super) fn compute<'b>(&self, batch: &'b Batch, rows: &[u32], cx: &OpCx<'_>) -> Cow<'b, Batch> {
        let mut batch = Cow::Borrowed(batch);
        for step in &self.steps {
            if let FoldStep::Compute { values, schema } = step {
                let rows = Selection::rows(rows.to_vec());
                batch = Cow::Owned(wider(&batch, &rows, (values, schema), &mut cx.eval(None)));
            }
        }
        batch
    }
}

fn wider(
    batch: &Batch,
    rows: &Selection,
    (values, schema): (&[Expr], &Arc<Schema>),
    eval: &mut EvalCx<'_>,
) -> Batch {
    let mut wider = reshape::append(batch, schema, []);
    for value in values {
        let column = value.append(&wider, rows, eval);
        wider.columns.push(Arc::new(column));
    }
    wider
}

/// What costs the whole collection: which step failed first, and its text.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) step: usize,
    pub(super) message: String,
}

/// A run of rows.
pub(super) struct Pane {
    /// The position of its first row.
    first: u64,
    time: Timestamp,
    /// Rows from this time on belong to another pane.
    until: Timestamp,
    /// Rows that came to be grouped.
    n_grouped: u64,
    failure: Option<Failure>,
    groups: Groups,
}

impl Pane {
    pub(super) fn new(folding: &Folding) -> Self {
        Self {
            first: 0,
            time: Timestamp(0),
            until: NEVER,
            n_grouped: 0,
            failure: None,
            groups: Groups::new(&folding.grouping),
        }
    }

    pub(super) fn reset(&mut self) {
        self.n_grouped = 0;
        self.failure = None;
        self.groups.reset();
    }

    /// Of a collection the failure of the first step is told, and of that step the first.
    fn fail(&mut self, failure: Failure) {
        if self.failure.as_ref().is_none_or(|had| had.step > failure.step) {
            self.failure = Some(failure);
        }
    }

    /// Takes rows in; gives a list of rows back, for its room.
    fn take(&mut self, folding: &Folding, batch: &Batch, rows: Selection, cx: &OpCx<'_>) -> Selection {
        let (batch, rows) = folding.prepare(batch, rows, &mut |_, failure| self.fail(failure), cx);
        if rows.is_empty() {
            return rows;
        }
        self.n_grouped += rows.len() as u64;
        let step = folding.steps.len();
        if let Err(message) = self.groups.take(&folding.grouping, &batch, &rows, &folding.of_groups(cx)) {
            self.fail(Failure { step, message });
        }
        rows
    }

    fn merge(&mut self, folding: &Folding, later: &Self, cx: &OpCx<'_>) {
        self.n_grouped += later.n_grouped;
        if let Some(failure) = &later.failure {
            self.fail(failure.clone());
        }
        self.groups.merge(&folding.grouping, &later.groups, cx);
    }

    /// Takes in what several parts of a split stream have of one window.
    pub(super) fn merge_parts(&mut self, folding: &Folding, parts: &[Self], cx: &OpCx<'_>) {
        for part in parts {
            self.n_grouped += part.n_grouped;
            if let Some(failure) = &part.failure {
                self.fail(failure.clone());
            }
        }
        let groups: Vec<&Groups> = parts.iter().map(|part| &part.groups).collect();
        self.groups.merge_parts(&folding.grouping, &groups, cx);
    }

    /// Its groups, for [`Pane::merge_parts`] elsewhere.
    fn partial(&self, window: WindowRange) -> Partial {
        let mut writer = StateWriter::new();
        self.save(&mut writer);
        Partial { window, groups: writer.finish() }
    }

    pub(super) fn emit(&mut self, folding: &Folding, window: WindowRange, out: &mut dyn Emit, cx: &OpCx<'_>) {
        match &self.failure {
            Some(Failure { step, message }) => {
                folding.count_lost(Some(*step), cx);
                let failed = (Some(window.end), &Selection::all(0));
                faults::fail_all(message, failed, &folding.grouping.schema, out, &cx.of_behind(*step));
            }
            // a collection of which WHERE leaves nothing is dropped.
            None if self.n_grouped == 0 && folding.filters() => folding.count_lost(None, cx),
            // W-6: no row, no group.
            None if self.n_grouped == 0 && !folding.grouping.by.is_empty() => {
                folding.count_lost(Some(folding.n_steps()), cx);
            }
            None => {
                let cx = folding.of_groups(cx);
                self.groups.emit(&folding.grouping, Some(window), out, &cx);
            }
        }
    }

    fn save(&self, out: &mut StateWriter) {
        out.u64(self.first);
        out.time(self.time);
        out.time(self.until);
        out.u64(self.n_grouped);
        out.bool(self.failure.is_some());
        if let Some(failure) = &self.failure {
            out.u64(failure.step as u64);
            out.text(&failure.message);
        }
        self.groups.save(out);
    }

    pub(super) fn load(folding: &Folding, from: &mut StateReader<'_>) -> Result<Self, StateError> {
        let mut pane = Self::new(folding);
        pane.first = from.u64()?;
        pane.time = from.time()?;
        pane.until = from.time()?;
        pane.n_grouped = from.u64()?;
        if from.bool()? {
            pane.failure = Some(Failure { step: from.u64()? as usize, message: from.text()?.to_owned() });
        }
        pane.groups.load(&folding.grouping, from)?;
        Ok(pane)
    }
}

/// A pane that time does not end.
const NEVER: Timestamp = Timestamp(i64::MAX);

/// The times at which panes end: each phase and all its neighbours at multiples of the step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Grid {
    pub(super) phases: [Timestamp; 2],
    pub(super) step: i64,
    /// One more, once.
    pub(super) also: Timestamp,
}

impl Grid {
    /// The first of these times that is later.
    fn after(&self, time: Timestamp) -> Timestamp {
        let next = |phase: &Timestamp| {
            // Wide, because two timestamps may lie further apart than an i64 can hold.
            let (time, phase, step) = (i128::from(time.0), i128::from(phase.0), i128::from(self.step.max(1)));
            let next = phase + ((time - phase).div_euclid(step) + 1) * step;
            Timestamp(i64::try_from(next).unwrap_or(i64::MAX))
        };
        let next = self.phases.iter().map(next).min().unwrap_or(NEVER);
        if self.also > time { next.min(self.also) } else { next }
    }
}

/// Keeps the room of a pane, unless it is much more than the pane needed.
fn recycle(mut pane: Pane, spare: &mut Vec<Pane>) {
    if !pane.groups.is_too_roomy() {
        pane.reset();
        spare.push(pane);
    }
}

/// The panes that windows may still ask for, oldest first; none is empty.
pub(super) struct Panes {
    folding: Arc<Folding>,
    panes: VecDeque<Pane>,
    /// Emptied panes, for their room.
    spare: Vec<Pane>,
    /// Room for the rows that go into a pane.
    room: Vec<u32>,
    /// The position of the next row.
    end: u64,
    /// The time of the last row, while there are rows.
    latest: Timestamp,
    /// The next row begins a pane whatever its time.
    is_cut: bool,
    /// Of one part of a split stream: groups are handed on, not results.
    is_part: bool,
}

impl Panes {
    pub(super) fn new(folding: &Arc<Folding>) -> Self {
        Self {
            folding: Arc::clone(folding),
            panes: VecDeque::new(),
            spare: Vec::new(),
            room: Vec::new(),
            end: 0,
            latest: Timestamp(i64::MIN),
            is_cut: false,
            is_part: false,
        }
    }

    /// From now on groups are handed on, not results.
    pub(super) fn become_part(&mut self) {
        self.is_part = true;
    }

    /// The position of the next row.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The position of the first row that is still there.
    pub(super) fn first(&self) -> u64 {
        self.panes.front().map_or(self.end, |pane| pane.first)
    }

    /// The time of that row.
    pub(super) fn first_time(&self) -> Option<Timestamp> {
        self.panes.front().map(|pane| pane.time)
    }

    /// The position of the first row at or after a time at which panes end.
    pub(super) fn at(&self, time: Timestamp) -> u64 {
        self.panes
            .get(self.panes.partition_point(|pane| pane.time < time))
            .map_or(self.end, |pane| pane.first)
    }

    /// The next row begins a pane.
    pub(super) fn cut(&mut self) {
        self.is_cut = true;
    }

    /// Folds rows in, at least one, none of which counts as earlier than `not_before` or the one before it; gives the
    /// time of the last one. Panes end at the times of the grid.
    pub(super) fn push(
        &mut self,
        batch: &Batch,
        rows: &[u32],
        not_before: Timestamp,
        grid: Option<Grid>,
        cx: &OpCx<'_>,
    ) -> Timestamp {
        if self.panes.is_empty() {
            self.latest = Timestamp(i64::MIN);
        }
        let batch = ascending(batch, rows, self.latest.max(not_before));
        let mut rest = rows;
        while let Some(row) = rest.first() {
            let time = batch.times[*row as usize];
            let until = match self.panes.back() {
                Some(pane) if !self.is_cut && (time < pane.until || pane.until == NEVER) => pane.until,
                _ => self.open(time, grid),
            };
            let in_pane = match until {
                NEVER => rest.len(),
                until => rest.partition_point(|row| batch.times[*row as usize] < until),
            };
            let (now, later) = rest.split_at(in_pane);
            if let Some(pane) = self.panes.back_mut() {
                let rows = if now.len() == batch.n_rows {
                    Selection::all(batch.n_rows)
                } else {
                    self.room.clear();
                    self.room.extend_from_slice(now);
                    Selection::rows(std::mem::take(&mut self.room))
                };
                if let Live::Rows(rows) = pane.take(&self.folding, &batch, rows, cx).live {
                    self.room = rows;
                }
            }
            self.end += now.len() as u64;
            rest = later;
        }
        self.latest = rows.last().map_or(not_before, |row| batch.times[*row as usize]);
        self.latest
    }

    fn open(&mut self, time: Timestamp, grid: Option<Grid>) -> Timestamp {
        let mut pane = self.spare.pop().unwrap_or_else(|| Pane::new(&self.folding));
        pane.first = self.end;
        pane.time = time;
        pane.until = grid.map_or(NEVER, |grid| grid.after(time));
        self.is_cut = false;
        let until = pane.until;
        self.panes.push_back(pane);
        until
    }

    /// Emits the groups of the rows between two positions at which panes begin.
    pub(super) fn emit(
        &mut self,
        (from, to): (u64, u64),
        window: WindowRange,
        out: &mut dyn Emit,
        cx: &OpCx<'_>,
    ) {
        let first = self.panes.partition_point(|pane| pane.first < from);
        let end = self.panes.partition_point(|pane| pane.first < to).max(first);
        debug_assert!(self.begins(from) && self.begins(to), "a window ends within a pane");
        let Self { folding, panes, spare, is_part, .. } = self;
        let give = |pane: &mut Pane, out: &mut dyn Emit| match *is_part {
            true => out.partial(pane.partial(window)),
            false => pane.emit(folding, window, out, cx),
        };
        if end - first == 1 {
            return give(&mut panes[first], out);
        }
        let mut whole = spare.pop().unwrap_or_else(|| Pane::new(folding));
        for pane in panes.range_mut(first..end) {
            pane.groups.settle(&folding.of_groups(cx));
            whole.merge(folding, pane, cx);
        }
        give(&mut whole, out);
        recycle(whole, spare);
    }

    fn begins(&self, position: u64) -> bool {
        position <= self.first()
            || position >= self.end
            || self.panes.binary_search_by_key(&position, |pane| pane.first).is_ok()
    }

    /// Forgets the rows before a position at which a pane begins.
    pub(super) fn drop_before(&mut self, position: u64) {
        let end = |panes: &VecDeque<Pane>| panes.get(1).map_or(self.end, |next| next.first);
        while !self.panes.is_empty() && end(&self.panes) <= position {
            if let Some(pane) = self.panes.pop_front() {
                recycle(pane, &mut self.spare);
            }
        }
        // A window that holds many panes need not keep the room of all.
        self.spare.truncate(2);
    }

    /// The bytes that it has on the heap.
    pub(super) fn memory(&self) -> usize {
        let groups = self.panes.iter().chain(&self.spare).map(|pane| pane.groups.memory());
        (self.panes.capacity() + self.spare.capacity()) * size_of::<Pane>()
            + self.room.capacity() * 4
            + groups.sum::<usize>()
    }

    /// Writes the panes.
    pub(super) fn save(&self, out: &mut StateWriter) {
        out.u64(self.end);
        out.time(self.latest);
        out.bool(self.is_cut);
        self.folding.grouping.names.iter().for_each(|names| names.save(out));
        out.u64(self.panes.len() as u64);
        self.panes.iter().for_each(|pane| pane.save(out));
    }

    /// Reads what [`Panes::save`] wrote.
    pub(super) fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        self.end = from.u64()?;
        self.latest = from.time()?;
        self.is_cut = from.bool()?;
        self.folding.grouping.names.iter().try_for_each(|names| names.load(from))?;
        self.panes.clear();
        for _ in 0..from.read_len()? {
            self.panes.push_back(Pane::load(&self.folding, from)?);
        }
        Ok(())
    }
}

/// The batch with times that ascend over these rows and are not before `latest`.
fn ascending<'b>(batch: &'b Batch, rows: &[u32], latest: Timestamp) -> Cow<'b, Batch> {
    let mut before = latest;
    let is_ascending = rows.iter().all(|row| {
        let time = batch.times[*row as usize];
        let holds = time >= before;
        before = time;
        holds
    });
    if is_ascending {
        return Cow::Borrowed(batch);
    }
    let mut copy = batch.clone();
    let mut before = latest;
    for row in rows {
        let time = &mut copy.times[*row as usize];
        *time = before.max(*time);
        before = *time;
    }
    Cow::Owned(copy)
}
