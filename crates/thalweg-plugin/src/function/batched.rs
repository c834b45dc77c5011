//! The calls of one batch: many in a message where the process knows how, else one by one
//! (`portable-plugins.md` 12.2, 12.3, 12.6).
//!
//! A message whose calls end the process is tried again in halves, in the next process, until the one call that is to
//! blame is alone: it alone fails. Functions that remember something are not called twice.

use std::ops::Range;
use std::sync::Arc;
use std::thread;

use serde_json::json;
use thalweg_core::{Cell, Column, RowError, Selection, Tag};
use thalweg_expr::function::{CallCx, Frame, RemoteFunction as _};
use thalweg_expr::{Accumulate, AccumulatorStep};

use super::channel::{Bound, Failure, FunctionChannel, Ready};
use super::region::{Lease, Region, WORTH_IT};
use super::single::Single;
use super::{PluginFunction, document};
use crate::frame::Place;
use crate::frame::decode::{self, Expected, Said};
use crate::frame::encode::{Arg, FrameWriter, Numbers, Opening};
use crate::frame::rows::{Order, Part};
use crate::greeting::{Cap, FunctionTraits};
use crate::wire;

/// No plugin takes a longer message.
const LONGEST: usize = 256 << 20;

/// So many calls are worth another process: fewer are done before its thread has begun.
const WORTH_SPREADING: usize = 128;

/// All calls of one frame.
pub(super) struct Batched<'a> {
    function: &'a PluginFunction,
    frame: &'a Frame<'a>,
    cx: &'a CallCx<'a>,
    /// Which of the processes that serve the function.
    host: usize,
    link: Option<Link<'a>>,
    /// While the process works on what one has written, the other writes the next message.
    frames: [FrameWriter; 2],
    turn: usize,
    /// What the other has written ahead.
    ahead: Option<Written>,
    text: String,
    single: Single<'a>,
    /// What accumulators are to do instead of taking whole groups, and the memory in which they are.
    step: Option<&'a AccumulatorStep<'a>>,
    memory: Option<u64>,
}

/// A message that is ready to be sent, or was sent.
#[derive(Clone, Copy)]
struct Written {
    connection: u64,
    seq: u64,
    /// Its part of the shared memory.
    place: Option<Place>,
    /// Some argument is a number that JSON lacks.
    has_lost: bool,
}

/// A process to call, and the arguments as it wants them.
struct Link<'a> {
    channel: Arc<FunctionChannel>,
    ready: Ready,
    context: u32,
    memory: u64,
    step: Option<&'a AccumulatorStep<'a>>,
    args: Arc<[Arg<'a>]>,
    /// Of the memory that is shared with the process, if the arguments may be worth it.
    lease: Option<Lease>,
}

impl<'a> Batched<'a> {
    pub(super) fn new(function: &'a PluginFunction, frame: &'a Frame<'a>, cx: &'a CallCx<'a>) -> Self {
        let single = Single::new(function, cx);
        let (frames, text) = (<[FrameWriter; 2]>::default(), String::new());
        let (link, ahead, step, memory) = (None, None, None, None);
        Self { function, frame, cx, host: 0, link, frames, turn: 0, ahead, text, single, step, memory }
    }

    /// One step of accumulators: a cell for each group, and the memory that they are in. When it is another than
    /// expected, nothing is done and no cell added.
    pub(super) fn accumulate(
        mut self,
        step: &'a AccumulatorStep<'a>,
        expected: Option<u64>,
        out: &mut Column,
    ) -> Option<u64> {
        let Some((groups, n_groups)) = self.frame.groups else { return expected };
        self.step = Some(step);
        let memory = match self.link() {
            Ok(link) => link.memory,
            Err(failure) => {
                self.fail(n_groups, failure.text(), out);
                return expected;
            }
        };
        if expected.is_none_or(|expected| expected == memory) {
            self.memory = Some(memory);
            self.all(&Order::of_groups(self.frame.rows, groups, n_groups).part(), out);
        }
        Some(memory)
    }

    /// All calls, spread over the processes that serve the function if that is worth it (12.6).
    fn spread(&mut self, all: &Part<'_>, out: &mut Column) {
        if all.n() < 2 * WORTH_SPREADING {
            return self.all(all, out);
        }
        let n_hosts = self.function.catalog.n_hosts(&self.function.name);
        let n_parts = n_hosts.min(all.n() / WORTH_SPREADING);
        // The first call of all finds out what there is to know.
        let may_spread = n_parts > 1 && self.link().is_ok_and(|link| link.channel.may_spread());
        if !may_spread {
            return self.all(all, out);
        }
        let range =
            |part: usize| -> Range<usize> { all.n() * part / n_parts..all.n() * (part + 1) / n_parts };
        let (function, frame, cx) = (self.function, self.frame, self.cx);
        let others = thread::scope(|scope| {
            let begin = |host: usize| {
                let part = all.slice(range(host));
                let work = move || {
                    let mut results = Column::new();
                    Self { host, ..Self::new(function, frame, cx) }.all(&part, &mut results);
                    results
                };
                thread::Builder::new().name("plugin-spread".to_owned()).spawn_scoped(scope, work)
            };
            let others: Vec<_> = (1..n_parts).map(begin).collect();
            self.all(&all.slice(range(0)), out);
            let results = others.into_iter().map(|other| other.ok().and_then(|other| other.join().ok()));
            results.collect::<Vec<_>>()
        });
        for (results, host) in others.into_iter().zip(1..) {
            match results {
                Some(results) => out.append_range(&results, 0..results.len()),
                None => self.all(&all.slice(range(host)), out),
            }
        }
    }

    /// Adds one cell for each row or group.
    pub(super) fn run(mut self, out: &mut Column) {
        if let Some((groups, n_groups)) = self.frame.groups {
            return self.spread(&Order::of_groups(self.frame.rows, groups, n_groups).part(), out);
        }
        if !self.frame.args.iter().any(|arg| arg.column().seen().contains(Tag::Error)) {
            return self.rows(self.frame.rows, out);
        }
        let error_of = |row: usize| {
            self.frame.args.iter().find_map(|arg| match arg.cell(row) {
                Cell::Error(error) => Some(error.clone()),
                _ => None,
            })
        };
        let errors: Vec<Option<RowError>> = self.frame.rows.iter().map(error_of).collect();
        let sound = self.frame.rows.iter().zip(&errors).filter(|(_, error)| error.is_none());
        let sound = Selection::rows(sound.map(|(row, _)| row as u32).collect());
        let mut results = Column::new();
        self.rows(&sound, &mut results);
        let mut next = 0;
        for error in errors {
            match error {
                Some(error) => out.push_error(error),
                None => {
                    out.push_cell(results.cell(next));
                    next += 1;
                }
            }
        }
    }

    fn rows(&mut self, rows: &Selection, out: &mut Column) {
        // Outside of a window an aggregate gets lists of one.
        let is_aggregate = !rows.is_empty() && self.function.is_aggregate().unwrap_or(false);
        let order = if is_aggregate { Order::of_lone_rows(rows) } else { Order::of_rows(rows) };
        self.spread(&order.part(), out);
    }

    fn all(&mut self, all: &Part<'_>, out: &mut Column) {
        let (n, mut at) = (all.n(), 0);
        // Up to where the message goes that was written ahead.
        let mut written_to = None;
        while at < n {
            match self.link() {
                Err(failure) => {
                    self.fail(n - at, failure.text(), out);
                    return;
                }
                Ok(link) if !link.ready.terms.is_batched() => {
                    let (channel, args) = (Arc::clone(&link.channel), Arc::clone(&link.args));
                    let ready = link.ready.clone();
                    let ready = if channel.is_closed() { Err(closed(&channel)) } else { Ok(&ready) };
                    let before = out.len();
                    self.single.call((&channel, ready), &args, &all.slice(at..at + 1), out);
                    if matches!(out.cell(before), Cell::Error(_)) {
                        // Perhaps there is another process by now.
                        self.link = None;
                    }
                    at += 1;
                }
                Ok(link) => {
                    let end = written_to.unwrap_or_else(|| end_of_message(link, all, at));
                    let end_of_next = if end < n { end_of_message(link, all, end) } else { n };
                    let next = (end < n).then(|| all.slice(end..end_of_next));
                    self.message(&all.slice(at..end), next.as_ref(), false, out);
                    written_to = self.ahead.map(|_| end_of_next);
                    at = end;
                }
            }
        }
    }

    fn fail(&self, n: usize, text: &str, out: &mut Column) {
        let error = self.function.failed(text);
        (0..n).for_each(|_| out.push_error(error.clone()));
    }

    /// The process to call: that of the message before if it is still there.
    fn link(&mut self) -> Result<&Link<'a>, Failure> {
        if self.link.as_ref().is_some_and(|link| link.channel.is_closed()) {
            self.link = None;
        }
        if self.link.is_none() {
            self.link = Some(self.connect()?);
        }
        self.link.as_ref().ok_or_else(|| Failure::Other("no process".to_owned()))
    }

    fn connect(&self) -> Result<Link<'a>, Failure> {
        let channel =
            self.function.catalog.channel_to(&self.function.name, self.host).map_err(Failure::Other)?;
        let mut link = self.connect_to(&channel);
        // A process that is about to be started again is waited for, unless that happens all the time.
        while let Err(Failure::Down(_) | Failure::Ended { .. }) = &link
            && channel.was_batched()
            && !channel.plugin.fails_to_start()
            && channel.may_try_again()
        {
            link = channel.ready_at_once().and_then(|_| self.connect_to(&channel));
        }
        let (ready, context, memory) = link?;
        if self.memory.is_some_and(|expected| expected != memory) {
            return Err(Failure::Other("its process was started again, and what it had is lost".to_owned()));
        }
        if self.step.is_some() && ready.terms.accumulators().is_none() {
            let text =
                "it has no accumulators any more; restart the rule, which then hands over whole groups";
            return Err(Failure::Other(text.to_owned()));
        }
        let traits = &ready.terms.function;
        let args = self.frame.args.iter().enumerate();
        let args: Arc<[Arg<'_>]> = args.map(|(index, arg)| Arg::new(arg, numbers(traits, index))).collect();
        let is_worth_it = weight_of(&args) * self.frame.rows.len() >= WORTH_IT;
        let may_share = is_worth_it && !ready.terms.takes_arrow();
        let lease = if may_share { Lease::take(&ready.terms) } else { None };
        Ok(Link { channel, ready, context, memory, step: self.step, args, lease })
    }

    fn connect_to(&self, channel: &FunctionChannel) -> Result<(Ready, u32, u64), Failure> {
        let ready = channel.ready(self.cx.rule)?;
        if !ready.terms.is_batched() {
            return Ok((ready, 0, 0));
        }
        let Bound { number, is_lost, memory } = channel.context(&ready, &self.cx.site())?;
        if is_lost {
            let name = &self.function.name;
            self.cx.warn(&format!(
                "function {name}: its process was started again, and what it remembered for this rule is that of the \
                 last checkpoint, if there was one"
            ));
        }
        Ok((ready, number, memory))
    }

    /// One message. `is_suspect`: its calls were among those of a message that has ended the process.
    /// `next`: the message that will follow if this one succeeds.
    fn message(&mut self, part: &Part<'_>, next: Option<&Part<'_>>, is_suspect: bool, out: &mut Column) {
        let n = part.n();
        let failure = match self.exchange(part, next) {
            Ok((answer, sent)) => match self.take_in(&answer, sent, part, out) {
                Ok(()) => return,
                Err(text) => return self.fail(n, &text, out),
            },
            Err(failure) => failure,
        };
        self.ahead = None;
        let Some(mut link) = self.link.take() else { return self.fail(n, failure.text(), out) };
        match failure {
            Failure::Ended { text, .. } if link.ready.terms.is_stateful() => {
                let text = format!("{text}, which forgets what it remembered since the last checkpoint");
                self.fail(n, &text, out);
            }
            Failure::Ended { text, .. } if is_suspect && n == 1 => {
                let what = if part.groups.is_some() { "group" } else { "row" };
                self.fail(n, &format!("{text} with this {what} alone, which is not tried again"), out);
            }
            Failure::Ended { text, .. } => {
                link.channel.pace.start_over();
                if !link.channel.may_try_again() {
                    let text = format!("{text}; this has happened too often to try again");
                    return self.fail(n, &text, out);
                }
                let middle = n / 2;
                for calls in [0..middle, middle..n] {
                    if !calls.is_empty() {
                        self.message(&part.slice(calls), None, true, out);
                    }
                }
            }
            Failure::Late(text) => {
                // The process goes on reading and writing in there.
                link.lease.take().into_iter().for_each(Lease::abandon);
                link.channel.pace.start_over();
                self.fail(n, &text, out);
            }
            Failure::Down(text) | Failure::Other(text) => self.fail(n, &text, out),
        }
    }

    /// Sends a message; the answer, and what was sent.
    fn exchange(&mut self, part: &Part<'_>, next: Option<&Part<'_>>) -> Result<(Vec<u8>, Written), Failure> {
        self.link()?;
        let Some(link) = &self.link else { return Err(Failure::Other("no process".to_owned())) };
        let too_large = || {
            let (n, name) = (part.n(), &self.function.name);
            Failure::Other(format!("the arguments of {n} calls of {name} are too long for one message"))
        };
        if part.rows.len() > crate::frame::MAX_ROWS {
            return Err(too_large());
        }
        let (connection, rule) = (link.ready.terms.connection, self.cx.rule);
        if !link.ready.terms.caps.has(Cap::Cols) {
            let seq = link.channel.next_seq();
            let has_lost = document::write(
                &mut self.text,
                (seq, link.context),
                &link.args,
                part,
                &link.accumulate(part),
            );
            let sent = Written { connection, seq, place: None, has_lost };
            if self.text.len() > LONGEST {
                return Err(too_large());
            }
            let answer = link.channel.send(&link.ready, self.text.as_bytes(), rule, &mut || {})?;
            return Ok((answer, sent));
        }
        let sent = match self.ahead.take().filter(|ahead| ahead.connection == connection) {
            // Written for this part: whoever gives it up forgets it.
            Some(ahead) => ahead,
            None => link.write(&mut self.frames[self.turn], self.turn, part).ok_or_else(too_large)?,
        };
        let turn = self.turn;
        self.turn = 1 - turn;
        let [even, odd] = &mut self.frames;
        let (now, then) = if turn == 0 { (even, odd) } else { (odd, even) };
        let mut ahead = None;
        let mut write_ahead = || ahead = next.and_then(|next| link.write(then, 1 - turn, next));
        let answer = link.channel.send(&link.ready, now.message(), rule, &mut write_ahead)?;
        self.ahead = ahead;
        Ok((answer, sent))
    }

    /// Reads the answer to a message.
    fn take_in(
        &mut self,
        answer: &[u8],
        sent: Written,
        part: &Part<'_>,
        out: &mut Column,
    ) -> Result<(), String> {
        let Some(link) = &self.link else { return Err("no process".to_owned()) };
        let (n, failed) = (part.n(), |text: &str| self.function.failed(text));
        let said = if decode::is_frame(answer) {
            let expected = Expected { groups: part.groups.is_some(), seq: sent.seq, n, place: sent.place };
            let region = |place| match link.region() {
                Some(region) => region.read(place),
                None => Err("invalid answer: there is no shared memory".to_owned()),
            };
            decode::answer(answer, expected, &region, &failed, out)?
        } else if link.ready.terms.caps.has(Cap::Cols) {
            let (document, _) = wire::parse(answer)?;
            return Err(document::refusal(answer, &document));
        } else {
            document::answer(answer, sent.seq, n, &failed, out)?
        };
        if sent.has_lost {
            self.count_lost(part);
        }
        self.note(&said, part);
        Ok(())
    }

    /// Counts the calls with an argument that is no number in JSON.
    fn count_lost(&self, part: &Part<'_>) {
        let Some(link) = &self.link else { return };
        for call in 0..part.n() {
            let mut rows = part.places(call).map(|place| part.rows.at(place));
            if rows.any(|row| link.args.iter().any(|arg| arg.is_lost(row))) {
                self.function.warn_not_finite("an argument", self.cx);
            }
        }
    }

    fn note(&self, said: &Said, part: &Part<'_>) {
        let Some(link) = &self.link else { return };
        link.channel.pace.note(part.rows.len(), said.micros);
        if let Some(changed) = &said.metrics {
            link.channel.note_metrics(link.ready.life, changed);
        }
        (0..said.n_lost).for_each(|_| self.function.warn_not_finite("a result", self.cx));
    }
}

impl Link<'_> {
    /// The memory that is shared with the process, if it is ours for now.
    fn region(&self) -> Option<&Region> {
        self.lease.as_ref()?.region()
    }

    /// What accumulators are to do with a message, as JSON.
    fn accumulate(&self, part: &Part<'_>) -> String {
        let Some(step) = self.step else { return String::new() };
        let calls = part.first..part.first + part.n();
        let ids = step.ids.get(calls.clone()).unwrap_or_default();
        let mut document = json!({ "ids": ids, "finish": step.finish });
        let what = match step.what {
            Accumulate::Add => "add",
            Accumulate::Retract => "retract",
            Accumulate::Merge(parts) => {
                let parts = ids.iter().zip(parts.get(calls).unwrap_or_default());
                let parts = parts.map(|(id, parts)| (id.to_string(), json!(parts)));
                document["from"] = parts.collect::<serde_json::Map<_, _>>().into();
                document["keep"] = true.into();
                "merge"
            }
        };
        document["do"] = what.into();
        let mut drop = if part.first == 0 { step.drop.to_vec() } else { Vec::new() };
        if step.forget {
            drop.extend_from_slice(ids);
        }
        if !drop.is_empty() {
            document["drop"] = drop.into();
        }
        document.to_string()
    }

    /// Writes a frame, and its columns into the shared memory if that is worth it. Nothing if it is too long.
    fn write(&self, frames: &mut FrameWriter, turn: usize, part: &Part<'_>) -> Option<Written> {
        let terms = &self.ready.terms;
        let seq = self.channel.next_seq();
        let function = &*self.channel.name;
        let weight = weight_of(&self.args) * part.rows.len();
        let region = self.region().filter(|_| weight >= WORTH_IT);
        let place = region.map(|_| Region::half(turn));
        let accumulate = self.accumulate(part);
        let mut opening = Opening { function, context: self.context, seq, place, accumulate: &accumulate };
        let is_placed = match (region, place) {
            (Some(region), Some(place)) => {
                let is_written = frames.place(&opening, &self.args, part, region.words(place));
                is_written || {
                    let fits = frames.write(&opening, &self.args, part).is_ok();
                    fits.then(|| region.write(place, frames.outside())).is_some()
                }
            }
            _ => false,
        };
        if !is_placed {
            opening.place = None;
            let written = match terms.takes_arrow() {
                true => frames.write_arrow(&opening, &self.args, part),
                false => frames.write(&opening, &self.args, part),
            };
            written.ok()?;
            if frames.message().len() > LONGEST {
                return None;
            }
        }
        let has_lost = frames.lost_number;
        Some(Written { connection: terms.connection, seq, place: opening.place, has_lost })
    }
}

fn closed(channel: &FunctionChannel) -> Failure {
    Failure::Other(format!("plugin {} was removed while calling {}", channel.plugin.name, channel.name))
}

/// About how many bytes a row takes, without what depends on the row.
fn weight_of(args: &[Arg<'_>]) -> usize {
    args.iter().filter_map(Arg::weight).sum()
}

/// How an argument's numbers are to look.
fn numbers(function: &FunctionTraits, index: usize) -> Numbers {
    if function.vector.is_some() {
        return Numbers::Typed;
    }
    match function.arg_types.get(index).and_then(Option::as_deref) {
        Some("f64") => Numbers::Float,
        _ => Numbers::Json,
    }
}

/// Up to which call a message goes that begins with this one.
fn end_of_message(link: &Link<'_>, all: &Part<'_>, from: usize) -> usize {
    let config = &link.channel.plugin.config;
    let most_values = link.channel.pace.limit();
    let weights: Option<usize> = link.args.iter().map(Arg::weight).sum();
    if let (None, Some(weight)) = (all.groups, weights) {
        let most = config.batch_rows.min(most_values).min(config.batch_bytes / weight.max(1)).max(1);
        return all.n().min(from + most);
    }
    let (mut bytes, mut values, mut end) = (0, 0, from);
    while end < all.n() && end - from < config.batch_rows {
        let places = all.places(end);
        values += places.len();
        bytes += match weights {
            Some(weight) => weight * places.len(),
            None => {
                let rows = places.map(|place| all.rows.at(place));
                rows.map(|row| link.args.iter().map(|arg| arg.weight_at(row)).sum::<usize>()).sum()
            }
        };
        if end > from && (values > most_values || bytes > config.batch_bytes) {
            break;
        }
        end += 1;
    }
    end
}
