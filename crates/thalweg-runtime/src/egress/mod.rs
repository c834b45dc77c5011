//! From result batches to messages in the queue of a sink: the inline half of an action.
//!
//! Result columns are written straight into one reused buffer as JSON; only other formats, structured sinks and
//! actions that reshape rows go through [`Fields`]. The border of a batch is never visible: how rows become messages
//! depends on [`Unit`] and the action's properties alone.

mod batching;
pub(crate) mod delivery;
pub(crate) mod frames;
pub(crate) mod options;
pub(crate) mod outputs;
pub(crate) mod row;
mod send;
mod shape;
pub(crate) mod template;
mod weigh;

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use chrono_tz::Tz;
use thalweg_core::format::{Encoder, Message};
use thalweg_core::json::write_fields;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Batch, Fields, FormatError, Props, Selection, Timestamp, Unit, Value};

use crate::operator::RuleInfo;
use batching::Batching;
use delivery::Delivery;
use frames::Shape;
use options::SinkOptions;
use outputs::Outputs;
use row::RowWriter;
use shape::Shaped;
use template::Templates;

/// How the messages of an action are made.
pub(crate) enum Output {
    /// JSON by our own writer.
    Json,
    /// Bytes by an encoder.
    Encoder(Box<dyn Encoder>),
    /// Rows, for structured sinks.
    Rows,
}

/// An action of a rule, as far as it runs inline.
pub(crate) struct Egress {
    /// `mqtt_0`.
    pub node: Arc<str>,
    options: Arc<SinkOptions>,
    output: Output,
    /// Absent when there are none.
    templates: Option<Box<Templates>>,
    rule: Arc<RuleInfo>,
    transform: Arc<NodeMetrics>,
    encode: Arc<NodeMetrics>,
    compress: Arc<NodeMetrics>,
    delivery: Arc<Delivery>,
    room: Room,
    /// Absent unless it collects.
    batching: Option<Box<Batching>>,
    /// The results that it takes; none: all.
    results: Box<[usize]>,
}

/// What is written again for each batch; made for the first one, because most actions of thousands of rules see none.
#[derive(Default)]
struct Room(Option<Box<Work>>);

impl Room {
    #[inline]
    fn made(&mut self) -> &mut Work {
        self.0.get_or_insert_default()
    }
}

/// The messages of the batch at hand.
#[derive(Default)]
struct Work {
    writer: RowWriter,
    /// Back to back.
    buffer: Vec<u8>,
    /// Start and end of the first of them, of which there is nothing to know but their bytes.
    plain: Vec<(u32, u32)>,
    /// Those behind them.
    pending: Vec<Pending>,
}

/// The steps of an action that may lose a message.
#[derive(Debug, Clone, Copy)]
enum Step {
    Transform,
    Encode,
    Compress,
}

/// A message of the batch at hand.
enum Pending {
    /// Here in the buffer.
    Bytes(Range<usize>, Option<Arc<Props>>),
    Rows {
        rows: Vec<Arc<Fields>>,
        is_list: bool,
        props: Option<Arc<Props>>,
    },
}

impl Egress {
    pub(crate) fn new(
        node: Arc<str>,
        options: Arc<SinkOptions>,
        (output, templates): (Output, Templates),
        rule: Arc<RuleInfo>,
        delivery: Arc<Delivery>,
    ) -> Self {
        let collects = options.is_batching();
        let batching = collects.then(|| Box::new(Batching::new(options.batch_size, options.linger)));
        let templates = (!templates.is_empty()).then(|| Box::new(templates));
        // A step that there is not has no metrics of its own.
        let transform = Arc::<NodeMetrics>::default();
        let own = |is_there: bool| if is_there { Arc::default() } else { Arc::clone(&transform) };
        let encode = own(!matches!(output, Output::Rows));
        let compress = own(options.compression.is_some());
        Self {
            node,
            options,
            output,
            templates,
            rule,
            transform,
            encode,
            compress,
            delivery,
            room: Room::default(),
            batching,
            results: Box::default(),
        }
    }

    /// Takes only these results of a graph rule; none: all.
    pub(crate) fn taking(self, results: Box<[usize]>) -> Self {
        Self { results, ..self }
    }

    /// Whether it takes a result.
    pub(crate) fn takes(&self, result: usize) -> bool {
        self.results.is_empty() || self.results.contains(&result)
    }

    /// Metrics of the steps from transform on: encode and compress only for sinks of bytes.
    pub(crate) fn metrics(&self) -> impl Iterator<Item = &Arc<NodeMetrics>> {
        let is_bytes = !matches!(self.output, Output::Rows);
        let compress = is_bytes && self.options.compression.is_some();
        let encode = is_bytes.then_some(&self.encode);
        [&self.transform].into_iter().chain(encode).chain(compress.then_some(&self.compress))
    }

    /// How it makes messages of single rows, if rules that do the same can have them made once.
    pub(crate) fn shape(&self) -> Option<Shape> {
        let Self { options, templates, .. } = self;
        let is_plain = options.is_plain() && templates.is_none() && options.compression.is_none();
        if !is_plain || options.is_batching() || self.delivery.is_keeping() {
            return None;
        }
        let (is_list, omit_empty) = (!options.send_single, options.send_single && options.omit_if_empty);
        match self.output {
            Output::Json => Some(Shape::Json { is_list, omit_empty }),
            Output::Rows => Some(Shape::Rows { is_list, omit_empty }),
            Output::Encoder(_) => None,
        }
    }

    pub(crate) fn delivery(&self) -> &Arc<Delivery> {
        &self.delivery
    }

    /// The rule starts: the linger ticker runs from now on (C3.12).
    pub(crate) fn start(&mut self, now: Timestamp) {
        self.batching.iter_mut().for_each(|batching| batching.start(now));
    }

    /// Writes what later messages depend on: when the linger ticker ticks, and what the encoder keeps.
    pub(crate) fn save(&self, writer: &mut StateWriter) {
        let mut encoder = StateWriter::new();
        if let Output::Encoder(output) = &self.output {
            output.save(&mut encoder);
        }
        let encoder = encoder.finish();
        let due = self.next_timer();
        if due.is_some() || !encoder.is_empty() {
            writer.time(due.unwrap_or_default());
            writer.bytes(&encoder);
        }
    }

    /// Takes back what [`Egress::save`] wrote.
    pub(crate) fn load(&mut self, reader: &mut StateReader<'_>) -> Result<(), StateError> {
        let due = Some(reader.time()?).filter(|due| due.0 != 0);
        self.batching.iter_mut().for_each(|batching| batching.due = due);
        let encoder = reader.bytes()?;
        match &mut self.output {
            Output::Encoder(output) if !encoder.is_empty() => output.load(&mut StateReader::new(encoder)),
            _ => Ok(()),
        }
    }

    /// Forgets what is collected, as a kill does: it is part of a snapshot from which the rule goes on.
    pub(crate) fn forget(&mut self) {
        self.batching.iter_mut().for_each(|batching| drop(batching.rest()));
    }

    /// Takes results, faults included, in order.
    pub(crate) fn write(&mut self, batch: &Batch, rows: &Selection, now: Timestamp) {
        let mut faults = rows.faults.iter().peekable();
        match batch.unit {
            Unit::Rows if rows.faults.is_empty() && self.is_direct() => self.rows(batch, rows, now),
            Unit::Rows => {
                for row in rows {
                    while let Some(fault) = faults.next_if(|fault| fault.row as usize <= row) {
                        self.fault(&fault.message, now);
                    }
                    self.single(batch, row, now);
                }
                faults.for_each(|fault| self.fault(&fault.message, now));
            }
            Unit::Collection => {
                faults.for_each(|fault| self.fault(&fault.message, now));
                self.collection(batch, rows, now);
            }
        }
        self.send(now);
    }

    /// Rows as they are, each a message of its own: counted together.
    fn rows(&mut self, batch: &Batch, rows: &Selection, now: Timestamp) {
        let is_list = !self.options.send_single;
        let omits = self.options.send_single && self.options.omit_if_empty;
        let (mut taken, mut shown, mut lost) = (0, 0, 0);
        for row in rows {
            taken += 1;
            let work = self.room.made();
            let before = work.buffer.len();
            if is_list {
                work.buffer.push(b'[');
            }
            match work.writer.write(&mut work.buffer, batch, row, self.rule.zone) {
                Ok(true) if omits => work.buffer.truncate(before),
                Ok(_) => {
                    if is_list {
                        work.buffer.push(b']');
                    }
                    shown += 1;
                    self.note(before, None);
                }
                Err(error) => {
                    work.buffer.truncate(before);
                    lost += 1;
                    self.lose(Step::Encode, &error, now);
                }
            }
        }
        count_in(&self.transform, taken, now);
        count_out(&self.transform, shown + lost, now);
        count_in(&self.encode, shown + lost, now);
        count_out(&self.encode, shown, now);
    }

    fn single(&mut self, batch: &Batch, row: usize, now: Timestamp) {
        count_in(&self.transform, 1, now);
        if self.is_direct() {
            let is_list = !self.options.send_single;
            return self.direct(now, is_list, |writer, out, zone| writer.write(out, batch, row, zone));
        }
        let fields = row::fields(batch, row);
        if self.options.send_single && self.options.omit_if_empty && fields.is_empty() {
            return;
        }
        self.shaped(vec![Arc::new(fields)], now);
    }

    fn collection(&mut self, batch: &Batch, rows: &Selection, now: Timestamp) {
        count_in(&self.transform, 1, now);
        if self.options.omit_if_empty && rows.is_empty() {
            return;
        }
        if self.options.send_single {
            for row in rows {
                self.each(batch, row, now);
            }
        } else if self.is_direct() {
            self.direct(now, false, |writer, out, zone| {
                out.push(b'[');
                for (at, row) in rows.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    writer.write(out, batch, row, zone)?;
                }
                out.push(b']');
                Ok(false)
            });
        } else {
            let list = rows.iter().map(|row| Arc::new(row::fields(batch, row))).collect();
            self.shaped(list, now);
        }
    }

    /// One row of a collection as a message of its own.
    fn each(&mut self, batch: &Batch, row: usize, now: Timestamp) {
        if self.is_direct() {
            return self.direct(now, false, |writer, out, zone| writer.write(out, batch, row, zone));
        }
        let fields = row::fields(batch, row);
        if !(self.options.omit_if_empty && fields.is_empty()) {
            self.shaped(vec![Arc::new(fields)], now);
        }
    }

    fn is_direct(&self) -> bool {
        matches!(self.output, Output::Json) && self.options.is_plain() && self.templates.is_none()
    }

    /// Writes a message from the columns; `write` tells whether it is an empty object.
    fn direct(
        &mut self,
        now: Timestamp,
        as_list: bool,
        write: impl FnOnce(&mut RowWriter, &mut Vec<u8>, Tz) -> Result<bool, FormatError>,
    ) {
        let work = self.room.made();
        let before = work.buffer.len();
        if as_list {
            work.buffer.push(b'[');
        }
        match write(&mut work.writer, &mut work.buffer, self.rule.zone) {
            Ok(true) if self.options.send_single && self.options.omit_if_empty => {
                work.buffer.truncate(before)
            }
            Ok(_) => {
                if as_list {
                    work.buffer.push(b']');
                }
                count_out(&self.transform, 1, now);
                count_in(&self.encode, 1, now);
                self.finish_bytes(before, None, now);
            }
            Err(error) => {
                work.buffer.truncate(before);
                count_out(&self.transform, 1, now);
                count_in(&self.encode, 1, now);
                self.lose(Step::Encode, &error, now);
            }
        }
    }

    /// A message that goes through fields.
    fn shaped(&mut self, rows: Vec<Arc<Fields>>, now: Timestamp) {
        let message = Shaped { rows, is_list: !self.options.send_single };
        if let Err((step, error)) = self.transform(message, now) {
            self.lose(step, &error, now);
        }
    }

    /// Counts a message that goes no further, and tells the sink when the rule wants its errors there (Z-1).
    fn lose(&mut self, step: Step, error: &FormatError, now: Timestamp) {
        self.count_lost(step, error, now);
        if self.rule.send_error {
            self.fault(&error.message, now);
        }
    }

    fn count_lost(&self, step: Step, error: &FormatError, now: Timestamp) {
        let metrics = match step {
            Step::Transform => &self.transform,
            Step::Encode => &self.encode,
            Step::Compress => &self.compress,
        };
        metrics.exception(&error.message, now);
        metrics.dropped("encode", 1);
    }

    /// dataTemplate, then dataField, then fields (C3.3); the dynamic properties are those of the rule's own rows.
    fn transform(&mut self, message: Shaped, now: Timestamp) -> Result<(), (Step, FormatError)> {
        let lost = |error| (Step::Transform, error);
        let cx = (now, &*self.rule);
        let templates = self.templates.as_ref();
        let props = templates.map_or(Ok(None), |templates| templates.props(&message, cx)).map_err(lost)?;
        let text = templates.and_then(|templates| templates.data(&message, cx)).transpose().map_err(lost)?;
        let is_written = text.is_some();
        let message = match text {
            None => message,
            Some(text) if self.is_text() && self.options.is_plain() => {
                // C3.6: the text is sent as it is.
                count_out(&self.transform, 1, now);
                count_in(&self.encode, 1, now);
                let buffer = &mut self.room.made().buffer;
                let before = buffer.len();
                buffer.extend_from_slice(text.as_bytes());
                self.finish_bytes(before, props, now);
                return Ok(());
            }
            Some(text) => template::parse(&text).map_err(lost)?,
        };
        if message.is_list && is_written && self.options.is_plain() && !matches!(self.output, Output::Rows) {
            // C3.6: formats that are no text encode one object.
            return Err(lost(FormatError::new("invalid transform result type []interface {}")));
        }
        let shaped = shape::shape(&self.options, message).map_err(lost)?;
        count_out(&self.transform, 1, now);
        self.encode(shaped, props, now).map_err(|error| (Step::Encode, error))
    }

    /// Whether the output of a template can be sent without being read.
    fn is_text(&self) -> bool {
        !matches!(self.output, Output::Rows)
            && matches!(&*self.options.format, "json" | "delimited" | "urlencoded")
    }

    /// An error row (R5.10): `{"error": …}` in the format of the sink. One that cannot be sent is only counted.
    fn fault(&mut self, text: &str, now: Timestamp) {
        let row = Arc::new(Fields::from([(Arc::from("error"), Value::text(text))]));
        // Templates see it as they see results: as a list unless with sendSingle.
        let message = Shaped { rows: vec![row], is_list: !self.options.send_single };
        let templates = self.templates.as_ref();
        let props = templates.map_or(Ok(None), |templates| templates.props(&message, (now, &self.rule)));
        let props = match props {
            Ok(props) => props,
            Err(error) => return self.count_lost(Step::Transform, &error, now),
        };
        let is_row =
            matches!(self.output, Output::Rows | Output::Json) || &*self.options.format == "urlencoded";
        let is_bare = self.options.error_as_text && self.is_text() && !self.encodes_batches();
        if is_bare || !is_row {
            // One column of delimited text, or bytes: the text itself.
            count_in(&self.encode, 1, now);
            let buffer = &mut self.room.made().buffer;
            let before = buffer.len();
            buffer.extend_from_slice(text.as_bytes());
            return self.finish_bytes(before, props, now);
        }
        let message = Shaped { is_list: false, ..message };
        if let Err(error) = self.encode(message, props, now) {
            self.count_lost(Step::Encode, &error, now);
        }
    }

    fn encode(
        &mut self,
        message: Shaped,
        props: Option<Arc<Props>>,
        now: Timestamp,
    ) -> Result<(), FormatError> {
        if matches!(self.output, Output::Rows) || self.encodes_batches() {
            let pending = &mut self.room.made().pending;
            pending.push(Pending::Rows { rows: message.rows, is_list: message.is_list, props });
            return Ok(());
        }
        count_in(&self.encode, 1, now);
        let buffer = &mut self.room.made().buffer;
        let before = buffer.len();
        match encode(&mut self.output, &message, buffer, self.rule.zone) {
            Ok(()) => self.finish_bytes(before, props, now),
            Err(error) => {
                buffer.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Delimited rows of a batch are encoded together, under one header (C3.14).
    fn encodes_batches(&self) -> bool {
        self.options.is_batching() && &*self.options.format == "delimited"
    }

    fn finish_bytes(&mut self, start: usize, props: Option<Arc<Props>>, now: Timestamp) {
        self.note(start, props);
        count_out(&self.encode, 1, now);
    }

    /// A message stands in the buffer from `start` on.
    #[inline]
    fn note(&mut self, start: usize, props: Option<Arc<Props>>) {
        let work = self.room.made();
        let end = work.buffer.len();
        match (u32::try_from(start), u32::try_from(end), &props) {
            (Ok(start), Ok(end), None) if work.pending.is_empty() => work.plain.push((start, end)),
            _ => work.pending.push(Pending::Bytes(start..end, props)),
        }
    }

    /// Sends what was collected: the input has ended, or the rule stops.
    pub(crate) fn flush(&mut self, now: Timestamp) {
        let part = self.batching.as_mut().map(|batching| batching.rest()).unwrap_or_default();
        if !part.is_empty() {
            self.send_batch(part, now);
        }
    }

    /// What a checkpoint of this moment has to hold of the action.
    pub(crate) fn outputs(&self) -> Outputs {
        let (position, unsettled) = self.delivery.unsettled();
        let (action, delivery) = (Arc::clone(&self.node), Arc::clone(&self.delivery));
        let held = self.batching.as_ref().map(|batching| batching.held.clone()).unwrap_or_default();
        Outputs { action, delivery, position, unsettled, held }
    }

    /// Takes back what a checkpoint held.
    pub(crate) fn restore(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), StateError> {
        let (unsettled, held) = outputs::decode(bytes)?;
        self.delivery.push(unsettled.into_iter(), now);
        match &mut self.batching {
            Some(batching) => batching.held = held,
            // The action collects no longer.
            None => self.delivery.push(held.into_iter(), now),
        }
        Ok(())
    }

    /// When the linger ticker ticks next.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.batching.as_ref()?.due
    }

    /// Ticks, if it is time.
    pub(crate) fn fire(&mut self, now: Timestamp) {
        if self.batching.as_mut().is_some_and(|batching| batching.ticks(now)) {
            self.flush(now);
        }
    }
}

fn encode(output: &mut Output, message: &Shaped, out: &mut Vec<u8>, zone: Tz) -> Result<(), FormatError> {
    match output {
        Output::Encoder(encoder) => match (message.is_list, &message.rows[..]) {
            (false, [row]) => encoder.encode(Message::Row(row), out),
            (_, rows) => encoder.encode(Message::List(rows), out),
        },
        Output::Json | Output::Rows => match (message.is_list, &message.rows[..]) {
            (false, [row]) => write_fields(out, row, zone),
            (_, rows) => {
                out.push(b'[');
                for (at, row) in rows.iter().enumerate() {
                    if at > 0 {
                        out.push(b',');
                    }
                    write_fields(out, row, zone)?;
                }
                out.push(b']');
                Ok(())
            }
        },
    }
}

fn count_in(metrics: &NodeMetrics, count: u64, now: Timestamp) {
    if count > 0 {
        NodeMetrics::add(&metrics.records_in, count);
        NodeMetrics::add(&metrics.processed, count);
        metrics.last_invocation.store(now.0, Relaxed);
    }
}

fn count_out(metrics: &NodeMetrics, count: u64, now: Timestamp) {
    if count > 0 {
        NodeMetrics::add(&metrics.records_out, count);
        metrics.last_row.store(now.0, Relaxed);
    }
}
