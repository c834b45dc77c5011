//! The JSON decoder: learned shapes for what devices send again and again, the walker for everything else.

use std::sync::Arc;

use chrono_tz::Tz;
use thalweg_core::format::{Decoder, RawBatch};
use thalweg_core::metrics::ShapeMetrics;
use thalweg_core::{BatchBuilder, Projection};

use super::shape::{Instructions, Shapes};
use super::walker::Walker;

/// Decodes JSON for one projection.
pub(crate) struct JsonDecoder {
    walker: Walker,
    pub(super) shapes: Shapes,
    /// The end of a row brings nothing but its time.
    ends_plainly: bool,
}

impl JsonDecoder {
    pub(crate) fn new(want: &Arc<Projection>, zone: Tz) -> Self {
        let walker = Walker::new(want, zone);
        let ends_plainly = walker.meta.is_empty() && want.slots.iter().all(|wanted| wanted.strict.is_none());
        Self { shapes: Shapes::new(&walker), walker, ends_plainly }
    }

    /// One for each set of instructions that this processor has, the best first.
    pub(crate) fn of_each_kind(want: &Arc<Projection>) -> Vec<(&'static str, Box<dyn Decoder>)> {
        let one = |instructions: Instructions| {
            let mut decoder = Self::new(want, Tz::UTC);
            decoder.shapes.instructions = instructions;
            (instructions.name(), Box::new(decoder) as Box<dyn Decoder>)
        };
        Instructions::available().into_iter().map(one).collect()
    }
}

impl Decoder for JsonDecoder {
    fn shapes(&mut self) -> Option<ShapeMetrics> {
        Some(self.shapes.told())
    }

    fn decode(&mut self, raw: &RawBatch, into: &mut BatchBuilder) {
        let Self { walker, shapes, ends_plainly } = self;
        for (index, (&(start, len), &time)) in raw.spans.iter().zip(&raw.times).enumerate() {
            let span = (start as usize, start as usize + len as usize);
            let rows = into.n_rows();
            let outcome = if shapes.read(&raw.arena, span, (walker, *ends_plainly), into) {
                if *ends_plainly {
                    into.end_filled_row(time);
                    continue;
                }
                walker.end_row(raw, index, time, into)
            } else {
                shapes.by_walker += 1;
                let outcome = walker.payload(raw, index, into);
                if outcome.is_ok() {
                    shapes.learn(&raw.arena[span.0..span.1], walker);
                }
                outcome
            };
            if let Err(error) = outcome {
                into.fail(rows, &error);
            }
        }
    }
}

#[cfg(test)]
mod tests;
