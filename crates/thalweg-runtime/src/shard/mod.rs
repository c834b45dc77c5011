//! A shard: streams and rules of one thread, run to completion. One of the few loops of the engine.
//!
//! The shard takes its clock, its mail and its poller as parameters and never sleeps by itself: a thread turns it
//! whenever there is mail, a socket is ready or a timer is due, tests turn it by hand with a manual clock. Within a
//! turn: orders, one read of each ready socket, then whatever has arrived on ready streams, then timers. A shard never waits: when a sink cannot follow, it stops reading the
//! streams concerned until there is room (`contracts.md` 4).

mod cooldown;
pub(crate) mod inbox;
pub(crate) mod poll;
pub(crate) mod rule;
pub(crate) mod stream;
pub(crate) mod twins;
mod windows;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use hashbrown::HashMap;
use thalweg_core::format::RawBatch;
use thalweg_core::{Batch, Clock, Timestamp};
use tokio::sync::oneshot;

use crate::ingest::Decode;
use crate::operator::{Partial, Verdict};
use crate::queue::Taken;
use crate::rule::{Memory, Outcome};
use crate::ruleset::Call;
use crate::ruleset::view::View;
use crate::trace::Traces;
use inbox::{Checkpoint, Control, Inbox, Key, Mail, Ready};
use poll::{NoPoll, Poll, Sockets};
use rule::{Panicked, RuleRun};
use stream::{Content, Hand, Parcel, Place, Reader, StreamRun};

/// The streams and rules of one thread.
pub(crate) struct Shard {
    clock: Arc<dyn Clock>,
    inbox: Arc<Inbox>,
    streams: HashMap<Key, StreamRun>,
    rules: HashMap<Key, Box<RuleRun>>,
    timers: BTreeSet<(Timestamp, Key)>,
    /// Rules that are over and have not left their streams yet.
    gone: Vec<Key>,
    /// Rules that a common window reads for from now on.
    parted: Vec<Key>,
    sockets: Sockets,
    is_over: bool,
}

impl Shard {
    pub(crate) fn new(clock: Arc<dyn Clock>, inbox: Arc<Inbox>) -> Self {
        Self::polling(clock, inbox, Box::new(NoPoll))
    }

    /// One that waits for sockets too.
    pub(crate) fn polling(clock: Arc<dyn Clock>, inbox: Arc<Inbox>, poll: Box<dyn Poll>) -> Self {
        let (streams, rules, timers) = (HashMap::new(), HashMap::new(), BTreeSet::new());
        let (gone, parted, sockets) = (Vec::new(), Vec::new(), Sockets::new(poll));
        Self { clock, inbox, streams, rules, timers, gone, parted, sockets, is_over: false }
    }

    /// Turns until it is told to end. The loop of a shard's thread.
    pub(crate) fn run(mut self) {
        while self.turn() {
            self.wait();
        }
    }

    /// Waits for the next thing to do.
    pub(crate) fn wait(&mut self) {
        let limit = self.next_timer().and_then(|due| self.clock.until(due));
        self.sockets.wait(limit, &self.inbox, self.clock.monotonic_micros());
    }

    /// The earliest timer.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.timers.first().map(|(due, _)| *due)
    }

    /// Does everything there is to do now; false when the thread is to end.
    pub(crate) fn turn(&mut self) -> bool {
        let mail = self.inbox.take();
        self.take_mail(mail);
        self.sockets.turn();
        // What the sockets brought runs to completion in the same turn.
        let mail = self.inbox.take();
        self.take_mail(mail);
        self.fire();
        // And what that wrote leaves before the shard waits.
        let mail = self.inbox.take();
        self.take_mail(mail);
        for rule in std::mem::take(&mut self.gone) {
            self.streams.values_mut().for_each(|stream| stream.set.leave(rule));
        }
        for rule in std::mem::take(&mut self.parted) {
            self.part(rule);
        }
        !self.is_over
    }

    fn take_mail(&mut self, mail: Mail) {
        // First, so that a checkpoint finds written what it counts as out.
        for ready in &mail.ready {
            if let Ready::Output(place) = *ready {
                self.sockets.flush(place);
            }
        }
        for control in mail.controls {
            self.control(control);
        }
        for ready in &mail.ready {
            match *ready {
                Ready::Stream(key) => self.read_stream(key),
                Ready::Rule(key) => self.read_rule(key),
                Ready::Socket(place) => self.sockets.wake(place),
                Ready::Output(_) => {}
            }
        }
        self.inbox.reuse(mail.ready);
    }

    fn control(&mut self, control: Control) {
        match control {
            Control::AddStream(stream) => {
                stream.waker.wake();
                self.streams.insert(stream.key, *stream);
            }
            Control::AddRule(rule) => self.add_rule(rule),
            Control::Join { stream, reader, decode } => {
                self.join(stream, *reader, decode.map(|decode| *decode))
            }
            Control::Drain { stream } => self.read_open_stream(stream),
            Control::Leave { stream, rule } => {
                if let Some(stream) = self.streams.get_mut(&stream) {
                    stream.set.leave(rule);
                    stream.waker.wake();
                }
            }
            Control::DropStream(stream) => drop(self.streams.remove(&stream)),
            Control::FailStream { stream, why } => self.fail_stream(stream, &why),
            Control::FailRule { rule, why } => self.close_rule(rule, Outcome::Failed(why)),
            Control::StopRule { rule, save, done } => {
                // An answer that nobody waits for any more is dropped.
                let _ = done.send(self.stop_rule(rule, save));
            }
            Control::Checkpoint { rule, reply } => {
                let clock = Arc::clone(&self.clock);
                reply(self.rules.get_mut(&rule).map(|rule| rule.checkpoint(clock.as_ref())));
            }
            Control::Weigh { rule, done } => {
                let _ = self.memory(rule).map(|memory| done.send(memory));
            }
            Control::Trace { rule, traces } => self.trace(rule, traces),
            Control::Adopt(polled) => self.sockets.adopt(polled, &self.inbox),
            Control::Shutdown => self.is_over = true,
        }
    }

    /// The memory of a rule that runs.
    pub(crate) fn memory(&self, rule: Key) -> Option<Memory> {
        self.rules.get(&rule).map(|rule| rule.memory())
    }

    /// A rule that is traced is called for every batch from then on, also when nobody traces it any more.
    fn trace(&mut self, key: Key, traces: Option<Arc<Traces>>) {
        let Some(rule) = self.rules.get_mut(&key) else { return };
        if traces.is_some() {
            self.streams.values_mut().for_each(|stream| stream.set.always_call(key));
        }
        rule.trace(traces);
    }

    fn add_rule(&mut self, mut rule: Box<RuleRun>) {
        let key = rule.key;
        self.sockets.budgets.add(rule.info.latency_budget);
        self.join_window(&mut rule);
        let started = rule.start(self.clock.now(), self.clock.as_ref());
        self.rules.insert(key, rule);
        self.settle(key, started);
    }

    fn join(&mut self, stream: Key, reader: Reader, decode: Option<Decode>) {
        let Some(stream) = self.streams.get_mut(&stream) else { return };
        if let Some(decode) = decode {
            stream.decode = decode;
        }
        if !stream.has_ended {
            let rule = reader.rule;
            stream.set.join(reader);
            return self.begin_order(rule);
        }
        let (rule, input, failed) = (reader.rule, reader.input, stream.failed.clone());
        match (reader.place, failed) {
            (Place::Here, None) => self.end_input(rule, input),
            (Place::Here, Some(why)) => self.close_rule(rule, Outcome::Failed(why)),
            (Place::There(inlet), failed) => {
                let content = failed.map_or(Content::End, Content::Failed);
                inlet.push(Parcel { input, content }, self.clock.now());
            }
        }
    }

    /// Takes what has arrived on a stream, unless a sink behind it cannot follow.
    fn read_stream(&mut self, key: Key) {
        if self.streams.get(&key).is_some_and(|stream| !self.is_blocked(stream)) {
            self.read_open_stream(key);
        }
    }

    fn read_open_stream(&mut self, key: Key) {
        let Some(mut stream) = self.streams.remove(&key) else { return };
        match stream.inlet.queue.take() {
            Taken::Bucket(bucket) => {
                for raw in bucket.into_batches() {
                    self.pass(&mut stream, &raw);
                    stream.inlet.reuse(raw);
                }
                // The wake-ups of the last message and of the end may have been one.
                if stream.inlet.queue.is_closed() {
                    stream.waker.wake();
                }
            }
            Taken::Empty => {}
            Taken::Closed => self.end_stream(&mut stream),
        }
        // A stream whose rule is being stopped keeps what arrived meanwhile until `stop_rule` takes it.
        if !stream.inlet.queue.is_stopped() || !stream.set.is_empty() {
            self.streams.insert(key, stream);
        }
    }

    fn is_blocked(&self, stream: &StreamRun) -> bool {
        stream.set.pausing().any(|reader| match &reader.place {
            Place::Here => self.rules.get(&reader.rule).is_some_and(|rule| rule.pushes_back(&stream.waker)),
            Place::There(inlet) => inlet.pushes_back && inlet.queue.is_full_for(&stream.waker),
        })
    }

    /// One hand-over through the decoder and all rules of the stream.
    fn pass(&mut self, stream: &mut StreamRun, raw: &RawBatch) {
        let (now, began) = (self.clock.now(), self.clock.monotonic_micros());
        let decoded = catch_unwind(AssertUnwindSafe(|| stream.decode(raw, now)));
        let Ok((batch, rows)) = decoded else {
            stream.inlet.metrics.exception("internal error: the decoder panicked, a batch was lost", now);
            stream.inlet.metrics.dropped("decode", raw.len() as u64);
            return;
        };
        let clock = Arc::clone(&self.clock);
        stream.set.judge((&batch, &rows), (now, began), clock.as_ref());
        let hand = Hand { batch: &batch, rows: &rows, verdict: None, is_counted: false, mark: &raw.mark };
        self.pass_around(stream, hand, now);
        for rule in &self.gone {
            stream.set.leave(*rule);
        }
        stream.decode.recycle(batch);
    }

    /// Hands rows to the readers that they concern. Rules that see the same columns share a view of the batch, and a
    /// rule of which no row passes needs none.
    fn pass_around(&mut self, stream: &mut StreamRun, hand: Hand<'_>, now: Timestamp) {
        let mut view: Option<(View, Batch)> = None;
        stream.set.call(!hand.rows.faults.is_empty(), |Call { reader, verdict }| {
            let mut hand = Hand { verdict, is_counted: reader.is_counted(), ..hand };
            let is_void = hand.rows.faults.is_empty() && verdict.is_some_and(Verdict::is_void);
            if !is_void && !reader.view.is_whole(hand.batch) {
                if view.as_ref().is_none_or(|(view, _)| !view.equals(&reader.view)) {
                    view = Some((reader.view.clone(), reader.view.of(hand.batch)));
                }
                hand.batch = view.as_ref().map_or(hand.batch, |(_, own)| own);
            }
            match &reader.place {
                Place::Here => self.feed(reader.rule, reader.input, hand),
                Place::There(inlet) => {
                    let (batch, rows) = (Arc::new(hand.batch.clone()), hand.rows.clone());
                    let content = Content::Rows { batch, rows, mark: hand.mark.clone() };
                    inlet.push(Parcel { input: reader.input, content }, now);
                }
            }
        });
    }

    fn feed(&mut self, key: Key, input: usize, hand: Hand<'_>) {
        let (now, clock) = (self.clock.now(), Arc::clone(&self.clock));
        let Some(rule) = self.rules.get_mut(&key) else { return };
        let began = clock.monotonic_micros();
        let fed = rule.feed(input, hand, now, clock.as_ref());
        rule.spent(clock.monotonic_micros().saturating_sub(began));
        self.settle(key, fed);
    }

    /// Takes what other shards have sent to a rule.
    fn read_rule(&mut self, key: Key) {
        let waker = self.inbox.waker(Ready::Rule(key));
        let Some(rule) = self.rules.get(&key) else { return };
        let Some(inlet) = rule.inlet.clone() else { return };
        if !rule.pushes_back(&waker) {
            self.drain_rule(key, &inlet);
        }
    }

    fn drain_rule(&mut self, key: Key, inlet: &stream::RuleInlet) {
        let Taken::Bucket(parcels) = inlet.queue.take() else { return };
        for parcel in parcels.list {
            match parcel.content {
                Content::Rows { batch, rows, mark } => {
                    let hand =
                        Hand { batch: &batch, rows: &rows, verdict: None, is_counted: false, mark: &mark };
                    self.feed(key, parcel.input, hand);
                }
                Content::Partial { part, partial } => self.merge(key, (parcel.input, part), &partial),
                Content::End => self.end_input(key, parcel.input),
                Content::Failed(why) => self.close_rule(key, Outcome::Failed(why)),
            }
        }
        inlet.metrics.buffer.store(inlet.queue.waiting() as u64, Relaxed);
    }

    /// The groups of a window from a part of a split stream.
    fn merge(&mut self, key: Key, from: (usize, usize), partial: &Partial) {
        let (now, clock) = (self.clock.now(), Arc::clone(&self.clock));
        let Some(rule) = self.rules.get_mut(&key) else { return };
        let began = clock.monotonic_micros();
        let merged = rule.merge(from, partial, now, clock.as_ref());
        rule.spent(clock.monotonic_micros().saturating_sub(began));
        self.settle(key, merged);
    }

    fn end_stream(&mut self, stream: &mut StreamRun) {
        if std::mem::replace(&mut stream.has_ended, true) {
            return;
        }
        let now = self.clock.now();
        for reader in stream.set.take() {
            for behind in self.rules_behind(reader.rule) {
                self.end_input(behind, 0);
            }
            match &reader.place {
                Place::Here => self.end_input(reader.rule, reader.input),
                Place::There(inlet) => inlet.push(Parcel { input: reader.input, content: Content::End }, now),
            }
        }
    }

    fn end_input(&mut self, key: Key, input: usize) {
        let (now, clock) = (self.clock.now(), Arc::clone(&self.clock));
        let Some(rule) = self.rules.get_mut(&key) else { return };
        match rule.end(input, now, clock.as_ref()) {
            Ok(true) => self.close_rule(key, Outcome::Done),
            Ok(false) => self.settle(key, Ok(())),
            Err(panicked) => self.settle(key, Err(panicked)),
        }
    }

    /// Fires every timer that is due.
    fn fire(&mut self) {
        let (now, clock) = (self.clock.now(), Arc::clone(&self.clock));
        while let Some((_, key)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.pop_first();
            let Some(rule) = self.rules.get_mut(&key) else { continue };
            rule.timer = None;
            let began = clock.monotonic_micros();
            let fired = rule.fire(now, clock.as_ref());
            rule.spent(clock.monotonic_micros().saturating_sub(began));
            self.settle(key, fired);
        }
    }

    /// After a call into a rule: its timer is noted, or it is let go because it panicked.
    fn settle(&mut self, key: Key, result: Result<(), Panicked>) {
        if let Err(Panicked(why)) = result {
            for other in self.rules_of_window(key) {
                // The same rows, the same expressions: what panics here panics in each of them (`contracts.md` 9).
                self.settle(other, Err(Panicked(Arc::clone(&why))));
            }
            if let Some(rule) = self.rules.get(&key) {
                tracing::error!(rule = %rule.info.id, error = %why, "rule stopped");
            }
            return self.close_rule(key, Outcome::Failed(why));
        }
        let Some(rule) = self.rules.get_mut(&key) else { return };
        let due = rule.next_timer();
        if due != rule.timer {
            if let Some(before) = rule.timer {
                self.timers.remove(&(before, key));
            }
            if let Some(due) = due {
                self.timers.insert((due, key));
            }
            rule.timer = due;
        }
        self.share_windows(key);
    }

    fn fail_stream(&mut self, key: Key, why: &Arc<str>) {
        let Some(stream) = self.streams.get_mut(&key) else { return };
        let now = self.clock.now();
        stream.inlet.metrics.exception(why, now);
        (stream.has_ended, stream.failed) = (true, Some(Arc::clone(why)));
        for Reader { rule, input, place, .. } in stream.set.take() {
            for behind in self.rules_behind(rule) {
                self.close_rule(behind, Outcome::Failed(Arc::clone(why)));
            }
            match place {
                Place::Here => self.close_rule(rule, Outcome::Failed(Arc::clone(why))),
                Place::There(inlet) => {
                    inlet.push(Parcel { input, content: Content::Failed(Arc::clone(why)) }, now)
                }
            }
        }
    }

    /// Lets a rule go that ends by itself.
    fn close_rule(&mut self, key: Key, outcome: Outcome) {
        let Some(mut rule) = self.rules.remove(&key) else { return };
        self.gone.push(key);
        self.sockets.budgets.remove(rule.info.latency_budget);
        if let Some(due) = rule.timer {
            self.timers.remove(&(due, key));
        }
        // A rule that panicked may hold a half-written batch; what was finished before still goes out.
        let now = self.clock.now();
        let _ = catch_unwind(AssertUnwindSafe(|| rule.finish(now)));
        for (stream, inlet) in &rule.own {
            inlet.queue.stop();
            self.streams.remove(stream);
        }
        if let Some(inlet) = &rule.inlet {
            inlet.queue.stop();
        }
        if let Some(calls) = &rule.remote {
            calls.forget();
        }
        if let Some(forward) = &rule.forward {
            forward.end(&outcome, now);
        }
        for (part, inbox) in &rule.parts {
            inbox.send(Control::StopRule { rule: *part, save: false, done: oneshot::channel().0 });
        }
        if let Some(joined) = &rule.window
            && let Some(common) = self.common_run(joined.window.key)
        {
            common.rules.retain(|other| *other != key);
        }
        rule.ending.end(outcome);
    }

    /// Forgets what the actions of a rule have collected, as a kill would.
    pub(crate) fn forget_collected(&mut self, rule: Key) {
        let rule = self.rules.get_mut(&rule);
        rule.into_iter().flat_map(|rule| &mut rule.egress).for_each(|egress| egress.forget());
    }

    /// Processes what has arrived for a rule, then lets it go.
    fn stop_rule(&mut self, key: Key, save: bool) -> Option<Box<Checkpoint>> {
        let own: Vec<Key> = self.rules.get(&key)?.own.iter().map(|(stream, _)| *stream).collect();
        for stream_key in own {
            let Some(mut stream) = self.streams.remove(&stream_key) else { continue };
            if let Taken::Bucket(bucket) = stream.inlet.queue.take() {
                bucket.into_batches().for_each(|raw| self.pass(&mut stream, &raw));
            }
        }
        if let Some(inlet) = self.rules.get(&key).and_then(|rule| rule.inlet.clone()) {
            self.drain_rule(key, &inlet);
        }
        let (now, clock) = (self.clock.now(), Arc::clone(&self.clock));
        let checkpoint = self.rules.get_mut(&key).filter(|_| save).map(|rule| {
            // What was collected goes to the sinks now, and is part of the checkpoint only if it does not get out.
            rule.egress.iter_mut().for_each(|egress| egress.flush(now));
            Box::new(rule.checkpoint(clock.as_ref()))
        });
        self.close_rule(key, Outcome::Stopped);
        checkpoint
    }
}
