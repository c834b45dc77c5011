//! inc_sum, inc_count …: running aggregates, one value per row (functions.md 4). Upstream's planner calls them; rules
//! may, too. They are the aggregates' own states.

use thalweg_core::cast::described;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, RowError, Value};

use crate::analytic::Analytic;
use crate::builtin::aggregate::fold::Fold;
use crate::eval::is_empty;
use crate::expr::EvalCx;

/// `FLOATS`: every number counts as a float, and so do texts that hold one, and booleans. Otherwise a value that does
/// not go with the others gives null.
#[derive(Debug, Default)]
pub(super) struct Running<F, const FLOATS: bool>(F);

impl<F: Fold, const FLOATS: bool> Analytic for Running<F, FLOATS> {
    /// A row with null gives null and leaves the state, as does one that the aggregate refuses.
    fn next(&mut self, args: &[Value], valid: bool, cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
        if args.iter().any(is_empty) {
            return Ok(Value::Null);
        }
        let mut after = self.0.clone();
        if valid {
            let cells: Vec<Cell<'_>> = args
                .iter()
                .map(|arg| match arg {
                    other if FLOATS => as_float(other).map_or(Cell::of(other), Cell::Float),
                    other => Cell::of(other),
                })
                .collect();
            if !F::accepts(&cells) {
                let given = cells.first().map(described).unwrap_or_default();
                return Err(RowError::text(format!("inc_{} does not take {given}", F::NAME)));
            }
            after.add(&cells, cx);
        }
        let mut out = Column::new();
        after.finish(&mut out, cx);
        match out.cell(0) {
            Cell::Error(_) if !FLOATS => Ok(Value::Null),
            Cell::Error(error) => Err(error.clone()),
            cell => {
                self.0 = after;
                Ok(cell.to_value())
            }
        }
    }

    fn memory(&self) -> usize {
        self.0.memory()
    }

    fn save(&self, out: &mut StateWriter) {
        out.section(F::NAME, 1);
        self.0.save(out);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section(F::NAME, 1)?;
        self.0 = F::load(from)?;
        Ok(())
    }
}

fn as_float(value: &Value) -> Option<f64> {
    match value {
        Value::Int(value) => Some(*value as f64),
        Value::Float(value) => Some(*value),
        Value::Bool(value) => Some(f64::from(u8::from(*value))),
        Value::Str(text) => text.parse().ok(),
        _ => None,
    }
}
