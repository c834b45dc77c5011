//! Memory that Rust and a script's loop both see: rows of numbers go in and out without a call each.
#![allow(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use rquickjs::{ArrayBuffer, Ctx, Object, Result, TypedArray};

/// So many rows are handed over at once.
pub(crate) const ROWS: usize = 1_024;

/// A fixed number of words. JavaScript has them as a `Float64Array` or an `Int32Array`.
#[derive(Debug, Clone)]
pub(crate) struct Words(Arc<[AtomicU64]>);

impl Words {
    pub(crate) fn new(len: usize) -> Self {
        Self((0..len).map(|_| AtomicU64::new(0)).collect())
    }

    /// The bits of a word; 0 where there is none.
    pub(crate) fn bits(&self, index: usize) -> u64 {
        self.0.get(index).map_or(0, |word| word.load(Relaxed))
    }

    pub(crate) fn float(&self, index: usize) -> f64 {
        f64::from_bits(self.bits(index))
    }

    pub(crate) fn set_float(&self, index: usize, value: f64) {
        if let Some(word) = self.0.get(index) {
            word.store(value.to_bits(), Relaxed);
        }
    }

    /// Writes floats from the front.
    pub(crate) fn fill(&self, values: impl Iterator<Item = f64>) {
        self.0.iter().zip(values).for_each(|(word, value)| word.store(value.to_bits(), Relaxed));
    }

    /// Writes integers from the front, two a word.
    pub(crate) fn fill_ints(&self, values: &[i32]) {
        for (word, pair) in self.0.iter().zip(values.chunks(2)) {
            let [a, b, c, d] = pair.first().copied().unwrap_or_default().to_ne_bytes();
            let [e, f, g, h] = pair.get(1).copied().unwrap_or_default().to_ne_bytes();
            word.store(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), Relaxed);
        }
    }

    /// The words as floats.
    pub(crate) fn floats<'js>(&self, ctx: &Ctx<'js>) -> Result<Object<'js>> {
        let buffer = ArrayBuffer::from_source(ctx.clone(), Source(self.clone()))?;
        Ok(TypedArray::<f64>::from_arraybuffer(buffer)?.into_object())
    }

    /// The words as integers, two each.
    pub(crate) fn ints<'js>(&self, ctx: &Ctx<'js>) -> Result<Object<'js>> {
        let buffer = ArrayBuffer::from_source(ctx.clone(), Source(self.clone()))?;
        Ok(TypedArray::<i32>::from_arraybuffer(buffer)?.into_object())
    }
}

/// Keeps the words alive for as long as JavaScript has an array of them.
struct Source(Words);

// SAFETY: the pointer is that of a slice behind an `Arc` that `self` holds, so it is valid for `len` bytes until `self`
// is dropped and does not move with it. The slice is made of atomics, so both sides may write although the `Arc` is
// shared. They never do so at the same time: an interpreter belongs to one `Vm`, which is used by whoever holds it
// exclusively, and JavaScript runs only inside of its methods, on their thread.
unsafe impl rquickjs::ArrayBufferSource for Source {
    fn as_ptr(&self) -> *mut u8 {
        self.0.0.as_ptr().cast_mut().cast()
    }

    fn len(&self) -> usize {
        size_of_val(&*self.0.0)
    }
}
