//! What can be planned and is hardly what was meant: warnings, shown by EXPLAIN and in the rule's status.

use thalweg_core::{Diagnostic, Span};
use thalweg_expr::Expr;

use super::Binder;
use crate::rewrite::{conjuncts, slots};

impl Binder<'_, '_> {
    /// W-7: without a window, what a window function tells is null.
    pub(super) fn advise_on_context(&mut self, function: &str, span: Span) {
        let is_of_window = matches!(function, "window_start" | "window_end" | "window_trigger");
        if is_of_window && self.select.window.is_none() {
            let warning =
                Diagnostic::plain(format!("{function} is null, the statement has no window")).at(span);
            self.advise(warning.help("write a window behind GROUP BY"));
        }
    }

    /// WHERE may compare rows with an aggregate. A condition of aggregates alone is no condition on rows: it keeps
    /// all rows of a collection or none.
    pub(super) fn advise_on_where(&mut self, written: Span, bound: &Expr) {
        let aggregates: Vec<_> = self.where_aggregates.iter().map(|site| site.slot).collect();
        let is_of_results = |part: &Expr| {
            let slots = slots(part);
            !slots.is_empty() && slots.iter().all(|slot| aggregates.contains(slot))
        };
        if !aggregates.is_empty() && conjuncts(bound.clone()).iter().any(is_of_results) {
            let message = "WHERE chooses rows, and this condition keeps all rows of a window or none";
            self.advise(Diagnostic::plain(message).at(written).help("to choose results, use HAVING"));
        }
    }

    fn advise(&mut self, warning: Diagnostic) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }
}
