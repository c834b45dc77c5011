//! Windows: lengths in milliseconds, conditions bound (chapter 9).

use thalweg_core::{Diagnostic, Span};
use thalweg_expr::Expr;
use thalweg_sql::ast::{self, TimeUnit};

use super::function::in_parsing;
use super::{Binder, Clause, Place};
use crate::logical::{Window, WindowKind};
use crate::rewrite;

/// A bound window and the filter before it, once for each stream.
#[derive(Debug)]
pub(super) struct BoundWindow {
    pub window: Window,
    /// The source and its condition.
    pub filters: Vec<(usize, Expr)>,
}

impl<'q> Binder<'q, '_> {
    pub(super) fn window(&mut self) -> Option<BoundWindow> {
        let written = self.select.window.as_ref()?;
        let kind = self.window_kind(written);
        let trigger =
            self.of_each_stream(written.when.iter(), |binder, when, place| binder.expr(when, place));
        let partition_by = std::iter::once(&written.partition_by[..]);
        let partition_by = self.of_each_stream(partition_by, |binder, by, place| binder.exprs(by, place));
        let filters = self.window_filters(written);
        let (kind, mut trigger, mut partition_by, filters) = (kind?, trigger?, partition_by?, filters?);
        // W-11a: accepted anywhere, of use here only.
        if !matches!(kind, WindowKind::Sliding { .. }) {
            trigger.clear();
        }
        if !matches!(kind, WindowKind::State { .. }) {
            partition_by.clear();
        }
        if self.asks_for_hits(&kind, &partition_by) {
            let message =
                "last_hit_count and last_hit_time are supported in OVER(WHEN ...), not in the window";
            return self.fail(Diagnostic::plain(message).at(written.span));
        }
        let window = Window { kind, trigger, partition_by, event_time: self.options.event_time, fold: None };
        Some(BoundWindow { window, filters })
    }

    fn asks_for_hits(&self, kind: &WindowKind, partition_by: &[Vec<Expr>]) -> bool {
        let conditions: Vec<&Expr> = match kind {
            WindowKind::State { begin, emit } => begin.iter().chain(emit).collect(),
            _ => Vec::new(),
        };
        conditions.into_iter().chain(partition_by.iter().flatten()).any(rewrite::asks_for_hits)
    }

    /// What is written, if it is, once for each stream, as its events see it.
    fn of_each_stream<A: Copy, T>(
        &mut self,
        written: impl Iterator<Item = A>,
        bind: impl Fn(&mut Self, A, Place<'q>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let (streams, is_joined) = (self.streams(), self.sources.len() > 1);
        let mut bound = Vec::new();
        for written in written {
            for source in &streams {
                let only = is_joined.then_some(*source);
                bound.push(bind(self, written, Place { only, ..Place::of(Clause::Window) })?);
            }
        }
        Some(bound)
    }

    /// W-10: FILTER looks at single events, of each stream for itself.
    fn window_filters(&mut self, written: &'q ast::Window) -> Option<Vec<(usize, Expr)>> {
        let Some(filter) = &written.filter else { return Some(Vec::new()) };
        let streams = self.streams();
        let is_joined = self.sources.len() > 1;
        let mut filters = Vec::new();
        for source in streams {
            let only = is_joined.then_some(source);
            filters.push((source, self.expr(filter, Place { only, ..Place::of(Clause::WindowFilter) })?));
        }
        Some(filters)
    }

    fn window_kind(&mut self, written: &'q ast::Window) -> Option<WindowKind> {
        let span = written.span;
        Some(match &written.kind {
            &ast::WindowKind::Tumbling { unit, length } => WindowKind::Tumbling {
                unit,
                length: self.length("length of tumblingwindow", unit, length, 1, span)?,
            },
            &ast::WindowKind::Hopping { unit, length, hop } => {
                let length = self.length("length of hoppingwindow", unit, length, 1, span);
                let hop = self.length("hop of hoppingwindow", unit, hop, 1, span);
                WindowKind::Hopping { unit, length: length?, hop: hop? }
            }
            &ast::WindowKind::Sliding { unit, length, delay } => {
                let length = self.length("length of slidingwindow", unit, length, 0, span);
                let delay = self.length("delay of slidingwindow", unit, delay.unwrap_or(0), 0, span);
                let (length, delay) = (length?, delay?);
                WindowKind::Sliding { length, delay, twice: self.options.sliding_twice && delay > 0 }
            }
            &ast::WindowKind::Session { unit, max_duration, timeout } => {
                let max_duration =
                    self.length("maximum duration of sessionwindow", unit, max_duration, 1, span);
                let timeout = self.length("timeout of sessionwindow", unit, timeout, 1, span);
                WindowKind::Session { unit, max_duration: max_duration?, timeout: timeout? }
            }
            &ast::WindowKind::Count { length, step } => self.count(length, step, span)?,
            ast::WindowKind::State { begin, emit } => {
                let expr = |binder: &mut Self, written, place| binder.expr(written, place);
                let begin = self.of_each_stream(std::iter::once(begin), expr);
                let emit = self.of_each_stream(emit.iter(), expr);
                WindowKind::State { begin: begin?, emit: emit? }
            }
        })
    }

    /// A length in milliseconds (W-21).
    fn length(&mut self, what: &str, unit: TimeUnit, n_units: i64, least: i64, span: Span) -> Option<i64> {
        if n_units < least {
            let message = format!("the {what} must be at least {least}, not {n_units}");
            return self.fail(in_parsing(message).at(span));
        }
        match n_units.checked_mul(unit.millis()) {
            Some(millis) => Some(millis),
            None => {
                let mistake = in_parsing(format!("the {what} is too long")).at(span);
                self.fail(mistake.help("at most 9,223,372,036,854,775,807 milliseconds"))
            }
        }
    }

    /// W-14: step 0 means the length.
    fn count(&mut self, length: i64, step: Option<i64>, span: Span) -> Option<WindowKind> {
        let step = step.filter(|step| *step != 0).unwrap_or(length);
        if length < 1 || step < 1 {
            let wrong = if length < 1 { length } else { step };
            return self.fail(in_parsing(format!("Invalid parameter value {wrong}.")).at(span));
        }
        if step > length {
            let message = format!(
                "The second parameter value {step} should be less than the first parameter {length}."
            );
            return self.fail(in_parsing(message).at(span));
        }
        Some(WindowKind::Count { length: length.unsigned_abs(), step: step.unsigned_abs() })
    }
}
