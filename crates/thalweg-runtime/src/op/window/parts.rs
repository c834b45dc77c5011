//! The windows of a split stream, put together: each part has the groups of its own rows (`contracts.md` 8).
//!
//! Every part closes every window, empty ones too, in order and by the same clock, so a window is whole when each part has
//! given its groups. A part whose time has jumped leaves windows out; they are then made of what the others have.

use std::collections::VecDeque;
use std::sync::Arc;

use thalweg_core::WindowRange;
use thalweg_core::state::StateReader;

use super::panes::{Folding, Pane};
use crate::operator::{Emit, OpCx, Partial};

pub(super) struct Parts {
    folding: Arc<Folding>,
    /// What each part has given that others have not yet.
    waiting: Vec<VecDeque<(WindowRange, Pane)>>,
    whole: Pane,
}

impl Parts {
    pub(super) fn new(folding: &Arc<Folding>, n: usize) -> Self {
        let waiting = (0..n).map(|_| VecDeque::new()).collect();
        Self { folding: Arc::clone(folding), waiting, whole: Pane::new(folding) }
    }

    /// Takes the groups of one part and emits the windows that are whole by them.
    pub(super) fn take(&mut self, part: usize, partial: &Partial, out: &mut dyn Emit, cx: &OpCx<'_>) {
        let loaded = Pane::load(&self.folding, &mut StateReader::new(&partial.groups));
        let pane = loaded.unwrap_or_else(|why| {
            // Written by this very program a moment ago; were it not readable, it must not be silent.
            cx.metrics.exception(&format!("a window lacks the groups of a part: {}", why.0), cx.now);
            Pane::new(&self.folding)
        });
        self.waiting[part].push_back((partial.window, pane));
        while let Some((window, panes)) = self.next() {
            let Self { folding, whole, .. } = self;
            whole.merge_parts(folding, &panes, cx);
            whole.emit(folding, window, out, cx);
            whole.reset();
        }
    }

    /// The earliest window and the parts' groups of it, once every part has given that window or a later one.
    fn next(&mut self) -> Option<(WindowRange, Vec<Pane>)> {
        let heads = self.waiting.iter().map(|part| part.front().map(|(window, _)| *window));
        let heads: Vec<WindowRange> = heads.collect::<Option<_>>()?;
        let first = heads.into_iter().min_by_key(|window| window.end)?;
        let mut panes = Vec::with_capacity(self.waiting.len());
        for part in &mut self.waiting {
            if part.front().is_some_and(|(window, _)| window.end == first.end) {
                panes.extend(part.pop_front().map(|(_, pane)| pane));
            }
        }
        Some((first, panes))
    }
}
