//! From result batches to messages in the queue of a sink: the inline half of an action.
//!
//! Result columns are written straight into one reused buffer as JSON; only other formats, structured sinks and
//! actions that reshape rows go through [`Fields`]. The border of a batch is never visible: how rows become messages
//! depends on [`Unit`] and the action's properties alone.

pub(crate) mod delivery;
pub(crate) mod options;
pub(crate) mod outputs;
pub(crate) mod row;
mod shape;
pub(crate) mod template;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use chrono_tz::Tz;
use thalweg_core::connector::SinkPayload;
use thalweg_core::format::{Encoder, Message};
use thalweg_core::json::write_fields;
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::state::StateError;
use thalweg_core::{Batch, Fields, FormatError, Props, Selection, Timestamp, Unit, Value};

use delivery::Delivery;
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
    options: SinkOptions,
    output: Output,
    templates: Templates,
    zone: Tz,
    transform: Arc<NodeMetrics>,
    encode: Arc<NodeMetrics>,
    delivery: Arc<Delivery>,
    writer: RowWriter,
    /// Messages of the batch at hand, back to back.
    buffer: Vec<u8>,
    pending: Vec<Pending>,
    /// Messages collected for batchSize and lingerInterval.
    held: Vec<SinkPayload>,
    flush_at: Option<Timestamp>,
}

/// A message of the batch at hand.
enum Pending {
    /// Up to here in the buffer.
    Bytes(usize, Option<Arc<Props>>),
    Rows {
        rows: Vec<Arc<Fields>>,
        is_list: bool,
        props: Option<Arc<Props>>,
    },
}

impl Egress {
    pub(crate) fn new(
        node: Arc<str>,
        options: SinkOptions,
        (output, templates): (Output, Templates),
        zone: Tz,
        delivery: Arc<Delivery>,
    ) -> Self {
        Self {
            node,
            options,
            output,
            templates,
            zone,
            transform: Arc::default(),
            encode: Arc::default(),
            delivery,
            writer: RowWriter::default(),
            buffer: Vec::new(),
            pending: Vec::new(),
            held: Vec::new(),
            flush_at: None,
        }
    }

    /// Metrics of the transform and the encode step; the second only for sinks of bytes.
    pub(crate) fn metrics(&self) -> (&Arc<NodeMetrics>, Option<&Arc<NodeMetrics>>) {
        (&self.transform, (!matches!(self.output, Output::Rows)).then_some(&self.encode))
    }

    pub(crate) fn delivery(&self) -> &Arc<Delivery> {
        &self.delivery
    }

    /// The rule starts: the linger ticker runs from now on (C3.12).
    pub(crate) fn start(&mut self, now: Timestamp) {
        self.flush_at = (self.options.linger > 0).then(|| now.plus(self.options.linger));
    }

    /// Takes results, faults included, in order.
    pub(crate) fn write(&mut self, batch: &Batch, rows: &Selection, now: Timestamp) {
        let mut faults = rows.faults.iter().peekable();
        match batch.unit {
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

    fn single(&mut self, batch: &Batch, row: usize, now: Timestamp) {
        count_in(&self.transform, now);
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
        count_in(&self.transform, now);
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
        matches!(self.output, Output::Json) && self.options.is_plain() && self.templates.is_empty()
    }

    /// Writes a message from the columns; `write` tells whether it is an empty object.
    fn direct(
        &mut self,
        now: Timestamp,
        as_list: bool,
        write: impl FnOnce(&mut RowWriter, &mut Vec<u8>, Tz) -> Result<bool, FormatError>,
    ) {
        let before = self.buffer.len();
        if as_list {
            self.buffer.push(b'[');
        }
        match write(&mut self.writer, &mut self.buffer, self.zone) {
            Ok(true) if self.options.send_single && self.options.omit_if_empty => {
                self.buffer.truncate(before)
            }
            Ok(_) => {
                if as_list {
                    self.buffer.push(b']');
                }
                count_out(&self.transform, now);
                count_in(&self.encode, now);
                self.finish_bytes(None, now);
            }
            Err(error) => {
                self.buffer.truncate(before);
                count_out(&self.transform, now);
                count_in(&self.encode, now);
                self.encode.exception(&error.message, now);
                self.encode.dropped("encode", 1);
            }
        }
    }

    /// A message that goes through fields.
    fn shaped(&mut self, rows: Vec<Arc<Fields>>, now: Timestamp) {
        let message = Shaped { rows, is_list: !self.options.send_single };
        if let Err(error) = self.transform(message, now) {
            self.transform.exception(&error.message, now);
            self.transform.dropped("encode", 1);
        }
    }

    /// dataTemplate, then dataField, then fields (C3.3); the dynamic properties are those of the rule's own rows.
    fn transform(&mut self, message: Shaped, now: Timestamp) -> Result<(), FormatError> {
        let cx = (now, self.zone);
        let props = self.templates.props(&message, cx)?;
        let message = match self.templates.data(&message, cx).transpose()? {
            None => message,
            Some(text) if self.is_text() && self.options.is_plain() => {
                // C3.6: the text is sent as it is.
                count_out(&self.transform, now);
                count_in(&self.encode, now);
                self.buffer.extend_from_slice(text.as_bytes());
                self.finish_bytes(props, now);
                return Ok(());
            }
            Some(text) => template::parse(&text)?,
        };
        let shaped = shape::shape(&self.options, message)?;
        count_out(&self.transform, now);
        self.encode(shaped, props, now);
        Ok(())
    }

    /// Whether the output of a template can be sent without being read.
    fn is_text(&self) -> bool {
        !matches!(self.output, Output::Rows)
            && matches!(&*self.options.format, "json" | "delimited" | "urlencoded")
    }

    /// An error row (R5.10): `{"error": …}` in the format of the sink.
    fn fault(&mut self, message: &str, now: Timestamp) {
        let row = Fields::from([(Arc::from("error"), Value::text(message))]);
        let message = Shaped { rows: vec![Arc::new(row)], is_list: false };
        let props = self.templates.props(&message, (now, self.zone)).unwrap_or_default();
        self.encode(message, props, now);
    }

    fn encode(&mut self, message: Shaped, props: Option<Arc<Props>>, now: Timestamp) {
        if let Output::Rows = self.output {
            self.pending.push(Pending::Rows { rows: message.rows, is_list: message.is_list, props });
            return;
        }
        count_in(&self.encode, now);
        let before = self.buffer.len();
        match encode(&mut self.output, &message, &mut self.buffer, self.zone) {
            Ok(()) => self.finish_bytes(props, now),
            Err(error) => {
                self.buffer.truncate(before);
                self.encode.exception(&error.message, now);
                self.encode.dropped("encode", 1);
            }
        }
    }

    fn finish_bytes(&mut self, props: Option<Arc<Props>>, now: Timestamp) {
        self.pending.push(Pending::Bytes(self.buffer.len(), props));
        count_out(&self.encode, now);
    }

    /// Hands the messages of the batch at hand to the sink, or to the batch that is being collected.
    fn send(&mut self, now: Timestamp) {
        if self.pending.is_empty() {
            return;
        }
        let bytes = Bytes::copy_from_slice(&self.buffer);
        self.buffer.clear();
        let mut start = 0;
        let payloads = self.pending.drain(..).map(|pending| match pending {
            Pending::Bytes(end, props) => {
                let payload = bytes.slice(start..end);
                start = end;
                SinkPayload::Bytes { payload, props }
            }
            Pending::Rows { rows, is_list, props } => SinkPayload::Rows { rows, is_list, props },
        });
        if self.options.batch_size == 0 && self.options.linger == 0 {
            return self.delivery.push(payloads, now);
        }
        self.held.extend(payloads);
        let size = self.options.batch_size;
        while size > 0 && self.held.len() >= size {
            let part = self.held.drain(..size).collect();
            self.send_held(part, now);
        }
    }

    fn send_held(&mut self, part: Vec<SinkPayload>, now: Timestamp) {
        if let Some(joined) = shape::join(part, &self.options.format) {
            self.delivery.push(std::iter::once(joined), now);
        }
    }

    /// Sends what was collected: the input has ended, or the rule stops.
    pub(crate) fn flush(&mut self, now: Timestamp) {
        let part = std::mem::take(&mut self.held);
        self.send_held(part, now);
    }

    /// What a checkpoint of this moment has to hold of the action.
    pub(crate) fn outputs(&self) -> Outputs {
        let (position, unsettled) = self.delivery.unsettled();
        let (action, delivery) = (Arc::clone(&self.node), Arc::clone(&self.delivery));
        Outputs { action, delivery, position, unsettled, held: self.held.clone() }
    }

    /// Takes back what a checkpoint held.
    pub(crate) fn restore(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), StateError> {
        let (unsettled, held) = outputs::decode(bytes)?;
        self.delivery.push(unsettled.into_iter(), now);
        self.held = held;
        Ok(())
    }

    /// When the linger ticker ticks next.
    pub(crate) fn next_timer(&self) -> Option<Timestamp> {
        self.flush_at
    }

    /// Ticks, if it is time.
    pub(crate) fn fire(&mut self, now: Timestamp) {
        if let Some(due) = self.flush_at.filter(|due| *due <= now) {
            self.flush(now);
            let missed = (now.0 - due.0) / self.options.linger;
            self.flush_at = Some(due.plus((missed + 1) * self.options.linger));
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

fn count_in(metrics: &NodeMetrics, now: Timestamp) {
    NodeMetrics::add(&metrics.records_in, 1);
    NodeMetrics::add(&metrics.processed, 1);
    metrics.last_invocation.store(now.0, Relaxed);
}

fn count_out(metrics: &NodeMetrics, now: Timestamp) {
    NodeMetrics::add(&metrics.records_out, 1);
    metrics.last_row.store(now.0, Relaxed);
}
