//! A rule on its shard: the chain of its operators and the inline half of its actions.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hashbrown::HashSet;
use thalweg_core::format::Mark;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Clock, Fault, Selection, Timestamp, Value};

use super::inbox::{Checkpoint, Inbox, Key, Position};
use super::stream::{Content, Hand, RuleInlet};
use super::twins::{Twins, Waiting};
use crate::chain::{Chain, Drive, Lap};
use crate::egress::Egress;
use crate::ending::Ending;
use crate::ingest::event_time::EventTime;
use crate::ingest::port::Inlet;
use crate::operator::{Emit, Partial, RuleInfo, Signal, Verdict};
use crate::parts::{CommonRun, Forward, Given};
use crate::queue::Wake;
use crate::remote::RemoteCalls;
use crate::rule::Memory;
use crate::ruleset::cpu::Cpu;
use crate::snapshot::{Offset, Snapshot};
use crate::trace::{Recording, Traces, Tracing};
use crate::windows::Joined;

/// A rule as its shard runs it.
pub(crate) struct RuleRun {
    pub key: Key,
    pub info: Arc<RuleInfo>,
    pub chain: Chain,
    /// The actions; the first `n_results` take results, the others late rows.
    pub egress: Vec<Egress>,
    pub n_results: usize,
    pub inputs: Box<[Input]>,
    pub twins: Twins,
    /// What functions of other processes keep for it.
    pub remote: Option<Box<RemoteCalls>>,
    /// The streams that nobody else reads.
    pub own: Box<[(Key, Arc<Inlet>)]>,
    /// Set when streams of other shards feed it.
    pub inlet: Option<Arc<RuleInlet>>,
    pub fingerprint: u64,
    pub ending: Arc<Ending>,
    /// The time that is spent for it.
    pub cpu: Arc<Cpu>,
    /// As the shard's set of timers knows it.
    pub timer: Option<Timestamp>,
    /// It is one part of a rule on a split stream: what comes out of it goes there, and nowhere else.
    pub forward: Option<Box<Forward>>,
    /// The parts of a rule on a split stream, which end with it.
    pub parts: Box<[(Key, Arc<Inbox>)]>,
    /// The window that it has in common with others.
    pub window: Option<Box<Joined>>,
    /// It is such a window itself.
    pub common: Option<Box<CommonRun>>,
    /// Set while it is traced.
    pub tracing: Option<Box<Tracing>>,
}

/// One scan of the rule.
pub(crate) struct Input {
    /// Names it in snapshots: `source_demo`, and for a second scan of it `source_demo#1`.
    pub key: Arc<str>,
    /// A number that is equal for equal sources.
    pub source: u64,
    pub event_time: Option<Arc<EventTime>>,
    /// The metrics of the preprocessor's node.
    pub preprocessor: Arc<NodeMetrics>,
    /// A scan table, whose end does not end the rule.
    pub is_table: bool,
    pub has_ended: bool,
    /// Further parts of a split stream that have not ended.
    pub parts_left: usize,
    /// Where the source stands behind the last batch taken.
    pub offset: Option<Value>,
    /// The number of the last message taken that waits for an answer.
    pub upto: u64,
    /// Messages that are part of the restored state and may come again, if there are any.
    pub seen: Option<Box<HashSet<u64>>>,
}

impl Input {
    /// Notes how far the source has come. Whether the rows there are part of the restored state (R7.3).
    fn pass(&mut self, mark: &Mark) -> bool {
        self.upto = self.upto.max(mark.upto);
        if mark.offset.is_some() {
            self.offset.clone_from(&mark.offset);
        }
        let Some(seen) = &mut self.seen else { return false };
        mark.again.is_some_and(|identity| seen.remove(&identity))
    }

    /// Counts rows that got their time, and those that have none.
    fn count(&self, rows: usize, faults: &[Fault], now: Timestamp) {
        let metrics = &self.preprocessor;
        NodeMetrics::add(&metrics.records_in, rows as u64);
        NodeMetrics::add(&metrics.processed, rows as u64);
        NodeMetrics::add(&metrics.records_out, rows.saturating_sub(faults.len()) as u64);
        metrics.last_invocation.store(now.0, Relaxed);
        for fault in faults {
            metrics.exception(&fault.message, now);
            metrics.dropped("decode", 1);
        }
    }
}

/// The text of a panic.
pub(crate) struct Panicked(pub Arc<str>);

impl RuleRun {
    /// Calls into operators; a panic ends the rule, and only the rule.
    fn guarded<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> Result<T, Panicked> {
        catch_unwind(AssertUnwindSafe(|| call(self))).map_err(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Panicked(Arc::from(format!("internal error: {}", text.as_deref().unwrap_or("unknown panic"))))
        })
    }

    /// Its memory between two batches, without what stands outside of the shard.
    pub(crate) fn memory(&self) -> Memory {
        let (states, operators) = self.chain.memory();
        let inlet = self.inlet.as_ref().map_or(0, |inlet| inlet.queue.bytes());
        let own = self.own.iter().map(|(_, inlet)| inlet.queue.bytes()).sum::<usize>();
        let inputs = self.inputs.iter().map(|input| {
            let seen = input.seen.as_ref().map_or(0, |seen| seen.allocation_size());
            size_of::<Input>() + input.preprocessor.memory() + seen
        });
        let record = size_of::<Self>() + operators + inputs.sum::<usize>();
        let mut memory = Memory {
            state: (states + self.twins.memory()) as u64,
            queues: (inlet + own) as u64,
            record: record as u64,
        };
        self.egress.iter().for_each(|egress| memory.add(egress.memory()));
        memory
    }

    /// Traces it from now on, or no longer.
    pub(crate) fn trace(&mut self, traces: Option<Arc<Traces>>) {
        let name = |input: &Input| {
            let key = input.key.split('#').next().unwrap_or_default();
            Arc::from(key.strip_prefix("source_").unwrap_or(key))
        };
        let sources = || self.inputs.iter().map(name).collect();
        self.tracing = traces.map(|traces| Box::new(Tracing { traces, sources: sources() }));
    }

    /// Before the first row.
    pub(crate) fn start(&mut self, now: Timestamp, clock: &dyn Clock) -> Result<(), Panicked> {
        self.guarded(|rule| {
            // Windows of all parts begin alike, whenever each of them comes to its shard.
            let since = if rule.forward.is_some() { rule.info.started } else { now };
            rule.drive(since, clock, |chain, drive| chain.start(drive));
            rule.egress.iter_mut().for_each(|egress| egress.start(now));
        })
    }

    /// Takes rows of an input.
    pub(crate) fn feed(
        &mut self,
        input: usize,
        hand: Hand<'_>,
        now: Timestamp,
        clock: &dyn Clock,
    ) -> Result<(), Panicked> {
        if self.twins.has(input) {
            return self
                .twins
                .add(input, hand)
                .into_iter()
                .try_for_each(|due| self.in_turn(&due, now, clock));
        }
        if self.inputs[input].pass(hand.mark) {
            return Ok(());
        }
        self.take(input, hand, now, clock)
    }

    /// The rows of several scans of one stream, each through all of them before the next.
    fn in_turn(&mut self, due: &[Waiting], now: Timestamp, clock: &dyn Clock) -> Result<(), Panicked> {
        let mut pieces = Vec::with_capacity(due.len());
        for waiting in due {
            if !self.inputs[waiting.input].pass(&waiting.mark) {
                pieces.push((waiting.input, &waiting.mark, waiting.pieces()));
            }
        }
        let mut is_over = pieces.is_empty();
        while !is_over {
            is_over = true;
            for (input, mark, pieces) in &mut pieces {
                if let Some((batch, rows)) = pieces.next() {
                    is_over = false;
                    let hand = Hand { batch: &batch, rows: &rows, verdict: None, is_counted: false, mark };
                    self.take(*input, hand, now, clock)?;
                }
            }
        }
        Ok(())
    }

    /// Rows that are not part of the state yet. Timers that were due before they arrived are fired first.
    fn take(
        &mut self,
        input: usize,
        Hand { batch, rows, verdict, is_counted, .. }: Hand<'_>,
        now: Timestamp,
        clock: &dyn Clock,
    ) -> Result<(), Panicked> {
        if self.inputs.iter().all(|input| input.is_table) {
            // J-11: rows of a scan table trigger nothing.
            return Ok(());
        }
        let arrived = batch.times.first().copied().filter(|first| *first <= now);
        let is_timed = self.inputs[input].event_time.is_some();
        if let (Some(common), Some(first), true) = (&mut self.common, arrived, is_timed) {
            common.given.push(Given::Arrived(first));
        }
        if let Some(first) = arrived.filter(|first| self.next_timer().is_some_and(|due| due <= *first)) {
            self.fire(first, clock)?;
        }
        self.guarded(|rule| {
            let stripped;
            let mut rows = rows;
            if !rows.faults.is_empty() && !rule.info.send_error {
                stripped = Selection { live: rows.live.clone(), faults: Vec::new() };
                rows = &stripped;
            }
            let Some(event_time) = rule.inputs[input].event_time.clone() else {
                return rule.drive_judged(now, clock, (verdict, is_counted), |chain, drive| {
                    chain.batch(input, batch, rows, drive);
                });
            };
            let mut timed = batch.clone();
            let (mut rows, bad) = event_time.apply(&mut timed, rows, now);
            rule.inputs[input].count(timed.n_rows, &bad, now);
            if rule.info.send_error {
                rows.faults.extend(bad);
                rows.faults.sort_by_key(|fault| fault.row);
            }
            rule.drive(now, clock, |chain, drive| chain.batch(input, &timed, &rows, drive));
        })
    }

    /// Notes the time that it took its shard.
    pub(crate) fn spent(&self, micros: u64) {
        match &self.common {
            Some(common) => common.window.add(micros, common.rules.len()),
            None => self.cpu.add(micros * 1_000),
        }
    }

    /// Takes the groups of a window from one part of a split stream.
    pub(crate) fn merge(
        &mut self,
        (input, part): (usize, usize),
        partial: &Partial,
        now: Timestamp,
        clock: &dyn Clock,
    ) -> Result<(), Panicked> {
        self.guarded(|rule| {
            rule.drive(now, clock, |chain, drive| chain.partial(input, (part, partial), drive));
        })
    }

    /// Takes what comes out of the event-time group that orders its rows.
    pub(crate) fn take_ordered(
        &mut self,
        given: &Given,
        now: Timestamp,
        clock: &dyn Clock,
    ) -> Result<(), Panicked> {
        match given {
            Given::Groups(_) => Ok(()),
            Given::Arrived(first) => match self.next_timer().is_some_and(|due| due <= *first) {
                true => self.fire(*first, clock),
                false => Ok(()),
            },
            Given::Rows(batch, rows) => {
                let view = self.window.as_ref().and_then(|joined| joined.ordered.as_ref()).map(|it| &it.view);
                let own = view.filter(|view| !view.is_whole(batch)).map(|view| view.of(batch));
                let batch = own.as_ref().unwrap_or(batch);
                self.guarded(|rule| {
                    rule.drive(now, clock, |chain, drive| chain.batch(0, batch, rows, drive));
                })
            }
            Given::Signal(signal) => self.guarded(|rule| {
                rule.drive(now, clock, |chain, drive| chain.signal(0, *signal, drive));
            }),
        }
    }

    /// An input has ended; true when the rule has nothing more to wait for (R4.6).
    pub(crate) fn end(&mut self, input: usize, now: Timestamp, clock: &dyn Clock) -> Result<bool, Panicked> {
        if self.inputs[input].parts_left > 0 {
            self.inputs[input].parts_left -= 1;
            return Ok(false);
        }
        if std::mem::replace(&mut self.inputs[input].has_ended, true) {
            return Ok(false);
        }
        let waiting = self.twins.take(input);
        self.in_turn(&waiting, now, clock)?;
        self.guarded(|rule| {
            rule.drive(now, clock, |chain, drive| chain.signal(input, Signal::End, drive));
        })?;
        let mut streams = self.inputs.iter().filter(|input| !input.is_table).peekable();
        Ok(streams.peek().is_some() && streams.all(|input| input.has_ended))
    }

    /// Fires the timers that are due.
    pub(crate) fn fire(&mut self, now: Timestamp, clock: &dyn Clock) -> Result<(), Panicked> {
        self.guarded(|rule| {
            rule.drive(now, clock, |chain, drive| chain.fire(drive));
            rule.egress.iter_mut().for_each(|egress| egress.fire(now));
        })
    }

    /// The earliest moment that anything in the rule waits for.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.egress.iter().filter_map(Egress::next_timer).chain(self.chain.next_timer()).min()
    }

    /// Whether the streams that feed it have to pause; `producer` is woken when they need no longer.
    pub(crate) fn pushes_back(&self, producer: &Arc<dyn Wake>) -> bool {
        self.egress.iter().any(|egress| egress.delivery().pushes_back(producer))
            || self.forward.as_ref().is_some_and(|forward| forward.pushes_back(producer))
    }

    /// Sends what the actions have collected and tells the sinks that nothing follows.
    pub(crate) fn finish(&mut self, now: Timestamp) {
        for egress in &mut self.egress {
            egress.flush(now);
            egress.delivery().close();
        }
    }

    /// The state between two batches (`contracts.md` 7): the operators', the position behind the last batch of every
    /// input, and what has not left. All operators have seen exactly the rows before those positions, so the cut is
    /// consistent over all inputs without any row held back (R7.3).
    pub(crate) fn checkpoint(&mut self, clock: &dyn Clock) -> Checkpoint {
        let (epoch, began) = (clock.now(), clock.monotonic_micros());
        let mut snapshot = Snapshot { fingerprint: self.fingerprint, epoch: epoch.0, ..Snapshot::default() };
        for (key, operator) in self.chain.operators() {
            let mut writer = StateWriter::new();
            operator.save(&mut writer);
            let bytes = writer.finish();
            if !bytes.is_empty() {
                snapshot.nodes.insert(key, bytes);
            }
        }
        for egress in &self.egress {
            let mut writer = StateWriter::new();
            egress.save(&mut writer);
            let bytes = writer.finish();
            if !bytes.is_empty() {
                snapshot.nodes.insert(action_key(egress), bytes);
            }
        }
        let functions = self.remote.as_ref().map_or(Ok(()), |calls| calls.save(&mut snapshot));
        let position = |input: &Input| Position {
            input: Arc::clone(&input.key),
            source: input.source,
            offset: input.offset.clone(),
            upto: input.upto,
            seen: input.seen.iter().flat_map(|seen| seen.iter().copied()).collect(),
        };
        let outputs = self.egress.iter().map(Egress::outputs).collect();
        let positions = self.inputs.iter().map(position).collect();
        let micros = clock.monotonic_micros().saturating_sub(began);
        Checkpoint { snapshot, positions, outputs, micros, lacks: functions.err().map(Arc::from) }
    }

    /// Takes the operators back to a snapshot. Called before [`RuleRun::start`].
    pub(crate) fn restore(&mut self, snapshot: &Snapshot, now: Timestamp) -> Result<(), StateError> {
        for (key, operator) in self.chain.operators() {
            if let Some(bytes) = snapshot.nodes.get(&key) {
                let wrong = |why: StateError| StateError(format!("{key}: {}", why.0));
                operator.load(&mut StateReader::new(bytes)).map_err(wrong)?;
            }
        }
        self.remote.as_ref().map_or(Ok(()), |calls| calls.restore(snapshot))?;
        for input in &mut self.inputs {
            input.offset = resume(snapshot, &input.key, input.source);
            let seen = snapshot.seen.get(&*input.key).map_or(&[][..], |bytes| bytes.as_chunks().0);
            let seen = seen.iter().map(|bytes| u64::from_le_bytes(*bytes));
            let seen: HashSet<u64> = seen.collect();
            input.seen = (!seen.is_empty()).then(|| Box::new(seen));
        }
        for egress in &mut self.egress {
            if let Some(bytes) = snapshot.nodes.get(&action_key(egress)) {
                egress.load(&mut StateReader::new(bytes))?;
            }
            if let Some(bytes) = snapshot.outputs.get(&*egress.node) {
                egress.restore(bytes, now)?;
            }
        }
        Ok(())
    }

    fn drive(&mut self, now: Timestamp, clock: &dyn Clock, call: impl FnOnce(&mut Chain, &mut Drive<'_>)) {
        self.drive_judged(now, clock, (None, false), call);
    }

    fn drive_judged(
        &mut self,
        now: Timestamp,
        clock: &dyn Clock,
        (verdict, is_counted): (Option<&Verdict>, bool),
        call: impl FnOnce(&mut Chain, &mut Drive<'_>),
    ) {
        let (results, late) = self.egress.split_at_mut(self.n_results);
        let given = self.common.as_mut().map(|common| &mut common.given);
        let notes = self.tracing.as_ref().map(|tracing| tracing.recording(now, clock));
        let (forward, recording) = (self.forward.as_deref(), notes.as_ref());
        let mut out = Actions { results, late, forward, given, now, recording: recording.zip(Some(clock)) };
        let (rule, lap) = (&self.info, Lap::new(clock));
        let mut drive = Drive { rule, now, lap, verdict, is_counted, out: &mut out, recording };
        call(&mut self.chain, &mut drive);
        if let Some((tracing, notes)) = self.tracing.as_ref().zip(notes) {
            tracing.keep(&self.info.id, notes.into_inner());
        }
    }
}

/// Where a source goes on: the offset of another source means nothing to it.
pub(crate) fn resume(snapshot: &Snapshot, input: &str, source: u64) -> Option<Value> {
    let offset = Offset::decode(snapshot.offsets.get(input)?).ok()?;
    (offset.source == source).then_some(offset.value)
}

/// Under which an action keeps what later messages depend on.
fn action_key(egress: &Egress) -> String {
    format!("sink_{}", egress.node)
}

/// Behind the last operator: all actions.
struct Actions<'a> {
    results: &'a mut [Egress],
    late: &'a mut [Egress],
    forward: Option<&'a Forward>,
    /// Of what rules have in common.
    given: Option<&'a mut Vec<Given>>,
    now: Timestamp,
    /// Where spans are noted, and by which clock.
    recording: Option<(&'a RefCell<Recording>, &'a dyn Clock)>,
}

impl Emit for Actions<'_> {
    fn batch(&mut self, port: usize, batch: &Batch, rows: &Selection) {
        let takers = self.results.iter_mut().filter(|egress| egress.takes(port));
        for egress in takers {
            let Some((recording, clock)) = self.recording else {
                egress.write(batch, rows, self.now);
                continue;
            };
            let span = recording.borrow_mut().open(&egress.node, clock);
            egress.write(batch, rows, self.now);
            recording.borrow_mut().close(span, clock);
        }
        if let Some(forward) = self.forward {
            forward.rows(batch, rows, self.now);
        } else if let Some(given) = &mut self.given {
            given.push(Given::Rows(batch.clone(), rows.clone()));
        }
    }

    fn partial(&mut self, partial: Partial) {
        if let Some(forward) = self.forward {
            forward.send(Content::Partial { part: forward.part, partial }, self.now);
        } else if let Some(given) = &mut self.given {
            given.push(Given::Groups(partial));
        }
    }

    fn signal(&mut self, signal: Signal) {
        // The end is told by the shard, to the whole rule.
        if let (Some(given), Signal::Watermark(_)) = (&mut self.given, signal) {
            given.push(Given::Signal(signal));
        }
    }

    fn late(&mut self, batch: &Batch, rows: &Selection) {
        self.late.iter_mut().for_each(|egress| egress.write(batch, rows, self.now));
    }
}
