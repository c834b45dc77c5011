//! JSON: the format of nearly every stream.

mod below;
mod decode;
mod encode;
mod shape;
pub(super) mod typed;
mod walker;

use std::sync::Arc;

use thalweg_core::format::{Decoder, Encoder, Format};
use thalweg_core::{Diagnostic, Projection, Props};

/// The format's row.
pub static FORMAT: Json = Json;

/// FORMAT="json".
#[derive(Debug)]
pub struct Json;

impl Json {
    /// A decoder for each set of instructions that this processor has, the one that streams use first: for measuring.
    pub fn decoders(&self, want: &Arc<Projection>) -> Vec<(&'static str, Box<dyn Decoder>)> {
        decode::JsonDecoder::of_each_kind(want)
    }
}

impl Format for Json {
    fn name(&self) -> &'static str {
        "json"
    }

    fn decoder(&self, want: &Arc<Projection>, props: &Props) -> Result<Box<dyn Decoder>, Diagnostic> {
        Ok(Box::new(decode::JsonDecoder::new(want, super::zone(props)?)))
    }

    fn encoder(&self, props: &Props) -> Result<Box<dyn Encoder>, Diagnostic> {
        Ok(Box::new(encode::JsonEncoder::new(super::zone(props)?)))
    }
}
