//! `temperature > 50 AND humidity < 80`, then `temperature*1.8+32`: columns beside rows of hash maps (hot-path.md 3).

use std::collections::HashMap;
use std::sync::Arc;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Batch, BinaryOp, Column, Live, Schema, Selection, Slot, Timestamp, Unit, Value};
use thalweg_expr::filter::Filtered;
use thalweg_expr::{EvalCx, Expr};

use crate::measure::{Variant, nanos_per_item};
use crate::report::Report;

const SIZES: &[usize] = &[1, 16, 256, 1_024];

fn binary(op: BinaryOp, left: Expr, right: Expr) -> Expr {
    Expr::Binary(op, Box::new(left), Box::new(right))
}

fn number(value: f64) -> Expr {
    Expr::literal(Value::Float(value))
}

fn column(slot: u32) -> Expr {
    Expr::Column(Slot(slot))
}

fn condition() -> Expr {
    let warm = binary(BinaryOp::Gt, column(0), number(50.0));
    binary(BinaryOp::And, warm, binary(BinaryOp::Lt, column(1), number(80.0)))
}

fn fahrenheit() -> Expr {
    binary(BinaryOp::Plus, binary(BinaryOp::Multiply, column(0), number(1.8)), number(32.0))
}

fn reading(row: usize) -> (f64, f64) {
    ((row * 7 % 90 + 10) as f64, (row * 11 % 90 + 10) as f64)
}

/// The context of a rule that calls no function of its surroundings.
pub(super) fn cx(metrics: &NodeMetrics) -> EvalCx<'_> {
    EvalCx {
        now: Timestamp(0),
        zone: chrono_tz::Tz::UTC,
        rule: "bench",
        node: "bench",
        rule_start: Timestamp(0),
        window: None,
        instance: None,
        clock: None,
        hits: thalweg_expr::expr::Hits::default(),
        metrics,
    }
}

fn batch(rows: usize) -> Batch {
    let readings: Vec<(f64, f64)> = (0..rows).map(reading).collect();
    let columns = [
        Column::from_floats(readings.iter().map(|reading| reading.0)),
        Column::from_floats(readings.iter().map(|reading| reading.1)),
    ];
    Batch {
        schema: Arc::new(Schema::computed(["temperature", "humidity"])),
        columns: columns.into_iter().map(Arc::new).collect(),
        n_rows: rows,
        times: vec![Timestamp(0); rows],
        unit: Unit::Rows,
        window: None,
    }
}

/// All batch sizes.
pub(crate) fn run(report: &Report) {
    for &size in SIZES {
        let (batch, condition, fahrenheit) = (batch(size), condition(), fahrenheit());
        let rows: Vec<HashMap<String, f64>> = (0..size).map(row_map).collect();
        let plain = || rows.iter().filter_map(by_row).map(|value| value as u64).sum::<u64>();
        let metrics = NodeMetrics::default();
        // As the operators do: what is computed takes the room of the batch before.
        let (mut said, mut result) = (Filtered::default(), Column::new());
        let columns = || {
            let mut cx = cx(&metrics);
            condition.filter_into(&batch, &Selection::all(size), &mut cx, &mut said);
            let kept = Selection::rows(std::mem::take(&mut said.passed));
            fahrenheit.eval_into(&batch, &kept, &mut cx, &mut result);
            let sum = kept.iter().map(|row| result.words()[row] & 1).sum::<u64>();
            if let Live::Rows(passed) = kept.live {
                said.passed = passed;
            }
            sum
        };
        let variants = vec![Variant::new("row maps", plain), Variant::new("columns", columns)];
        report.compare(&format!("filter_{size}"), &nanos_per_item(size, variants));
    }
}

fn row_map(row: usize) -> HashMap<String, f64> {
    let (temperature, humidity) = reading(row);
    HashMap::from([("temperature".to_owned(), temperature), ("humidity".to_owned(), humidity)])
}

/// The yardstick: look-ups by name, row by row, a new row for the result.
fn by_row(row: &HashMap<String, f64>) -> Option<f64> {
    let (temperature, humidity) = (*row.get("temperature")?, *row.get("humidity")?);
    if temperature > 50.0 && humidity < 80.0 {
        let out =
            HashMap::from([("f".to_owned(), temperature * 1.8 + 32.0), ("humidity".to_owned(), humidity)]);
        return out.get("f").copied();
    }
    None
}
