//! Rules with the same SELECT list and sinks of the same shape: the list is evaluated once over all rows that any of
//! them passes, each row is encoded once, and every rule's sinks get the messages of its own rows.
//!
//! Only what cannot differ from the rule alone goes this way. Rows that fail, are left out or cannot be encoded send
//! the rules that passed them back to their own operators for the batch, and so does a panic (`contracts.md` 9).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hashbrown::HashMap;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::selection::Live;
use thalweg_core::{Batch, Clock, Selection, Timestamp};
use thalweg_expr::Expr;
use thalweg_plan::Node;
use thalweg_plan::logical::{Kind, OutputColumn};

use super::conditions::Hit;
use super::counted::{Cohorts, Stake};
use super::mask;
use super::tally::{Count, Tally};
use super::view::View;
use crate::compile::MakeOperator;
use crate::egress::delivery::Delivery;
use crate::egress::frames::{Frames, Shape};
use crate::egress::row::RowWriter;
use crate::operator::{Emit, OpCx, Operator, RuleInfo, Signal};

/// What a rule brings along that may share its results.
pub(crate) struct Share {
    /// The Project node of its plan.
    pub node: Node,
    pub info: Arc<RuleInfo>,
    /// Makes its operator.
    pub operators: MakeOperator,
    /// How its actions make messages, and where these go.
    pub outputs: Vec<(Shape, Arc<Delivery>)>,
}

impl Share {
    /// Whether the results of a plan depend on nothing but the stream's rows: a Project of pure columns, with what is
    /// computed for several of them, right behind the scan, or behind the filter whose condition the stream asks.
    pub(crate) fn fits(root: &Node, asks: bool) -> bool {
        let Kind::Project(columns) = &root.kind else { return false };
        let computed = computed(root);
        let [input] = &computed.last().unwrap_or(&root).inputs[..] else { return false };
        let is_shared = |expr: &Expr| expr.is_pure() && expr.is_quiet();
        let is_first = match (&input.kind, &input.inputs[..]) {
            (Kind::Scan(_), _) => !asks,
            (Kind::Filter(_), [below]) => asks && matches!(below.kind, Kind::Scan(_)),
            _ => false,
        };
        is_first
            && computed.iter().all(|node| exprs(node).iter().all(is_shared))
            && columns.iter().all(|column| match column {
                OutputColumn::One { expr, .. } => is_shared(expr),
                OutputColumn::Spread { .. } => true,
                OutputColumn::Keyed { .. } => false,
            })
    }

    /// Whether nothing that the rule sends goes anywhere.
    pub(super) fn swallows(&self) -> bool {
        self.outputs.iter().all(|(_, delivery)| delivery.swallows())
    }

    /// Equal for equal SELECT lists over the slots of the stream.
    fn key(&self, view: &View) -> String {
        let Kind::Project(columns) = &self.node.kind else { return String::new() };
        let mut key = format!("{} {:?}", self.info.zone, self.node.schema);
        let own = |expr: &Expr| expr.map_slots(&|slot| view.appended(slot)).key();
        for node in computed(&self.node) {
            exprs(node).iter().for_each(|expr| key += &format!("|={:?}", own(expr)));
        }
        for column in columns {
            key += &match column {
                OutputColumn::One { name, expr, empty } => {
                    format!("|{name:?} {empty:?} {:?}", own(expr))
                }
                OutputColumn::Spread { slots, except } => {
                    let slots: Vec<_> =
                        slots.iter().map(|(name, slot)| (name, view.appended(*slot))).collect();
                    format!("|*{slots:?} {except:?}")
                }
                OutputColumn::Keyed { .. } => "|keyed".to_owned(),
            };
        }
        key
    }
}

/// The nodes between a Project and its filter or scan that compute what several columns share, highest first.
fn computed(root: &Node) -> Vec<&Node> {
    let (mut nodes, mut node) = (Vec::new(), root);
    while let [input] = &node.inputs[..]
        && matches!(input.kind, Kind::Compute(_))
    {
        nodes.push(input);
        node = input;
    }
    nodes
}

fn exprs(node: &Node) -> &[Expr] {
    if let Kind::Compute(exprs) = &node.kind { exprs } else { &[] }
}

/// A rule's place in a group.
pub(crate) struct Member {
    pub(super) group: u32,
    outputs: Box<[Sending]>,
}

/// Where the messages of one action go.
struct Sending {
    /// The number of their shape in the group.
    shape: u32,
    /// Absent when they go nowhere.
    delivery: Option<Arc<Delivery>>,
}

/// A member with rows in the batch at hand: the reader, and the hit of its condition (absent: all rows).
type Part = (u32, Option<u32>);

/// All groups of a stream.
#[derive(Default)]
pub(crate) struct Groups {
    list: Vec<Option<Group>>,
    by_key: HashMap<Arc<str>, u32>,
    /// Groups with members in the batch at hand.
    touched: Vec<u32>,
    /// Where the messages of one member stand.
    spans: Vec<(u32, u32)>,
    /// Messages of earlier batches, for their room.
    spare: Vec<Arc<Frames>>,
}

/// Rules with one SELECT list.
struct Group {
    key: Arc<str>,
    n_members: usize,
    /// What computes shared values, lowest first, and the Project.
    operators: Vec<Box<dyn Operator>>,
    /// What the list looks at; the first member's own view, and that of every other is as good.
    view: View,
    info: RuleInfo,
    shapes: Vec<(Shape, RowWriter)>,
    parts: Vec<Part>,
    /// Members that are only counted, and how many of them have rows in the batch.
    cohorts: Vec<u32>,
    n_counted: usize,
    /// The rows that any member passes.
    rows: Vec<u64>,
    /// Those that the members have to see themselves.
    refused: Vec<u64>,
    frames: Vec<Arc<Frames>>,
    metrics: NodeMetrics,
    /// Room for the selection of `rows`.
    bits: Vec<u64>,
}

/// So many frames are kept for their room.
const SPARE: usize = 4;

impl Groups {
    /// Puts a rule into the group of its SELECT list.
    pub(super) fn join(&mut self, share: Share, view: &View) -> Member {
        let key = share.key(view);
        let number = self.by_key.get(&*key).copied().unwrap_or_else(|| {
            let key: Arc<str> = Arc::from(key);
            let free = self.list.iter().position(Option::is_none).unwrap_or_else(|| {
                self.list.push(None);
                self.list.len() - 1
            });
            self.list[free] = Some(Group::new(Arc::clone(&key), &share, view));
            self.by_key.insert(key, free as u32);
            free as u32
        });
        let mut outputs = Vec::with_capacity(share.outputs.len());
        if let Some(group) = &mut self.list[number as usize] {
            group.n_members += 1;
            outputs.extend(share.outputs.into_iter().map(|(shape, delivery)| {
                let at = group.shapes.iter().position(|(known, _)| *known == shape).unwrap_or_else(|| {
                    group.shapes.push((shape, RowWriter::default()));
                    group.shapes.len() - 1
                });
                Sending { shape: at as u32, delivery: Some(delivery).filter(|delivery| !delivery.swallows()) }
            }));
        }
        Member { group: number, outputs: outputs.into() }
    }

    /// One member less.
    pub(super) fn leave(&mut self, member: &Member) {
        let place = &mut self.list[member.group as usize];
        let Some(group) = place else { return };
        group.n_members -= 1;
        if group.n_members == 0 {
            self.by_key.remove(&group.key);
            *place = None;
        }
    }

    /// A member has rows in the batch.
    pub(super) fn add(&mut self, member: &Member, part: Part, rows: &[u64]) {
        if let Some(group) = self.touch(member.group, rows) {
            group.parts.push(part);
        }
    }

    /// Members that are only counted have rows in the batch.
    pub(super) fn add_cohort(&mut self, cohort: u32, stake: &Stake<'_>) {
        if let Some(group) = self.touch(stake.group, stake.rows) {
            group.cohorts.push(cohort);
            group.n_counted += stake.n_rules;
        }
    }

    fn touch(&mut self, number: u32, rows: &[u64]) -> Option<&mut Group> {
        let group = self.list[number as usize].as_mut()?;
        if group.parts.is_empty() && group.cohorts.is_empty() {
            group.rows.clear();
            group.rows.resize(rows.len(), 0);
            self.touched.push(number);
        }
        mask::unite(&mut group.rows, rows);
        Some(group)
    }

    /// Makes the messages of the batch and hands them out.
    pub(super) fn run(&mut self, batch: &Batch, clock: &dyn Clock, out: &mut dyn FnMut(&mut Done<'_>)) {
        let Self { list, touched, spans, spare, .. } = self;
        for number in touched.drain(..) {
            let Some(group) = &mut list[number as usize] else { continue };
            let began = clock.monotonic_micros();
            let made = catch_unwind(AssertUnwindSafe(|| group.evaluate(batch, spare, clock.now())));
            let micros = clock.monotonic_micros().saturating_sub(began);
            let frames = if made.is_ok() { &group.frames[..] } else { &[] };
            let (rows, refused) = (&group.rows[..], &group.refused[..]);
            let (parts, cohorts) = (&group.parts[..], &group.cohorts[..]);
            let nanos = micros * 1_000 / (parts.len() + group.n_counted).max(1) as u64;
            out(&mut Done { parts, cohorts, rows, refused, frames, micros, nanos, spans });
            group.parts.clear();
            group.cohorts.clear();
            group.n_counted = 0;
            spare.append(&mut group.frames);
            spare.truncate(SPARE);
        }
    }
}

/// What became of a group's batch.
pub(super) struct Done<'a> {
    pub parts: &'a [Part],
    pub cohorts: &'a [u32],
    rows: &'a [u64],
    /// Rows that members have to see themselves.
    refused: &'a [u64],
    /// Empty when nothing was made.
    frames: &'a [Arc<Frames>],
    micros: u64,
    /// Each member's part of that.
    nanos: u64,
    spans: &'a mut Vec<(u32, u32)>,
}

impl Done<'_> {
    /// Counts what passed the members of a cohort; false when they have to see the batch themselves.
    pub(super) fn count(&self, cohorts: &mut Cohorts, cohort: u32, now: Timestamp) -> bool {
        !self.frames.is_empty() && cohorts.count(cohort, self.refused, (now, self.micros), self.nanos)
    }

    /// Hands a member its messages; false when it has to see the batch itself.
    pub(super) fn deliver(
        &mut self,
        (member, tally): (&Member, &Tally),
        hit: Option<&Hit>,
        now: Timestamp,
    ) -> bool {
        let (rows, count) = match hit {
            Some(hit) => match &hit.verdict.passed.live {
                Live::Mask { bits, .. } => (&bits[..], hit.verdict.count),
                _ => return false,
            },
            None => (self.rows, mask::count(self.rows)),
        };
        if self.frames.is_empty() || mask::meets(rows, self.refused) {
            return false;
        }
        for sending in &member.outputs {
            let frames = &self.frames[sending.shape as usize];
            if let Some(delivery) = &sending.delivery {
                delivery.push_slice(frames, (rows, count), self.spans, now);
            }
        }
        tally.pass(Count { rows: count as u64, last: now, micros: self.micros }, self.nanos);
        true
    }
}

impl Group {
    fn new(key: Arc<str>, share: &Share, view: &View) -> Self {
        let nodes = computed(&share.node).into_iter().rev().chain([&share.node]);
        Self {
            key,
            n_members: 0,
            operators: nodes.map(|node| (share.operators)(node, &share.info)).collect(),
            view: view.clone(),
            info: RuleInfo { send_error: false, ..RuleInfo::clone(&share.info) },
            shapes: Vec::new(),
            parts: Vec::new(),
            cohorts: Vec::new(),
            n_counted: 0,
            rows: Vec::new(),
            refused: Vec::new(),
            frames: Vec::new(),
            metrics: NodeMetrics::default(),
            bits: Vec::new(),
        }
    }

    fn evaluate(&mut self, batch: &Batch, spare: &mut Vec<Arc<Frames>>, now: Timestamp) {
        let own;
        let batch = if self.view.is_whole(batch) {
            batch
        } else {
            own = self.view.of(batch);
            &own
        };
        // What does not come out again has failed.
        self.refused.clone_from(&self.rows);
        self.bits.clone_from(&self.rows);
        let selected = Selection::mask(std::mem::take(&mut self.bits), batch.n_rows);
        let (shapes, frames, refused) = (&mut self.shapes, &mut self.frames, &mut self.refused);
        let mut out = Encode { shapes, frames, refused, spare, zone: self.info.zone };
        let around = Around { now, rule: &self.info, metrics: &self.metrics };
        Step { operators: &mut self.operators, around, out: &mut out }.batch(0, batch, &selected);
        if let Live::Mask { bits, .. } = selected.live {
            self.bits = bits;
        }
    }
}

/// What operators see beside their rows.
#[derive(Clone, Copy)]
struct Around<'a> {
    now: Timestamp,
    rule: &'a RuleInfo,
    metrics: &'a NodeMetrics,
}

/// The operators that are still to come.
struct Step<'a, 'b> {
    operators: &'a mut [Box<dyn Operator>],
    around: Around<'a>,
    out: &'a mut Encode<'b>,
}

impl Emit for Step<'_, '_> {
    fn batch(&mut self, port: usize, batch: &Batch, rows: &Selection) {
        let Some((first, rest)) = self.operators.split_first_mut() else {
            return self.out.batch(port, batch, rows);
        };
        let Around { now, rule, metrics } = self.around;
        let mut cx = OpCx { now, rule, metrics, node: "", behind: &[] };
        let mut out = Step { operators: rest, around: self.around, out: &mut *self.out };
        first.on_batch(0, batch, rows, &mut out, &mut cx);
    }

    fn signal(&mut self, _signal: Signal) {}
}

/// Behind the SELECT list: each shape's messages.
struct Encode<'a> {
    shapes: &'a mut [(Shape, RowWriter)],
    frames: &'a mut Vec<Arc<Frames>>,
    refused: &'a mut [u64],
    spare: &'a mut Vec<Arc<Frames>>,
    zone: chrono_tz::Tz,
}

impl Emit for Encode<'_> {
    fn batch(&mut self, _port: usize, batch: &Batch, rows: &Selection) {
        let Self { shapes, frames, refused, spare, zone } = self;
        rows.iter().for_each(|row| refused[row / 64] &= !(1 << (row % 64)));
        for (shape, writer) in shapes.iter_mut() {
            let mut refuse = |row: usize| refused[row / 64] |= 1 << (row % 64);
            let mut made = spare.pop().unwrap_or_default();
            // A queue may still hold the messages of an earlier batch.
            if Arc::get_mut(&mut made).is_none() {
                made = Arc::default();
            }
            if let Some(made) = Arc::get_mut(&mut made) {
                made.clear();
                made.make(*shape, writer, (batch, rows), *zone, &mut refuse);
            }
            frames.push(made);
        }
    }

    fn signal(&mut self, _signal: Signal) {}
}
