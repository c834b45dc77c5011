//! avg, min, max and count of a float column by 100 groups, beside a hash map of lists that is folded at the end.

use std::collections::HashMap;

use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Column, ColumnRef, Selection};
use thalweg_expr::{Accumulator, FunctionKind, GroupId};

use super::filter::cx;
use crate::measure::{Variant, nanos_per_item};
use crate::report::Report;

const ROWS: usize = 1_024;
const GROUPS: usize = 100;
const NAMES: [&str; 4] = ["avg", "min", "max", "count"];

fn accumulators() -> Vec<Box<dyn Accumulator>> {
    let new = |name: &&str| match thalweg_expr::registry::builtin(name)?.kind {
        FunctionKind::Aggregate(new) => Some(new()),
        _ => None,
    };
    NAMES.iter().filter_map(new).collect()
}

/// One window of 1,024 rows, its results included.
pub(crate) fn run(report: &Report) {
    let values: Vec<f64> = (0..ROWS).map(|row| (row * 7 % 90) as f64 + 0.5).collect();
    let groups: Vec<GroupId> = (0..ROWS).map(|row| (row * 31 % GROUPS) as GroupId).collect();
    let all: Vec<GroupId> = (0..GROUPS as GroupId).collect();
    let column = Column::from_floats(values.iter().copied());
    let metrics = NodeMetrics::default();
    let mut accumulators = accumulators();
    let plain = || {
        let mut lists: HashMap<GroupId, Vec<f64>> = HashMap::new();
        groups.iter().zip(&values).for_each(|(group, value)| lists.entry(*group).or_default().push(*value));
        lists.values().map(|list| fold(list)).sum()
    };
    let folds = || {
        let mut cx = cx(&metrics);
        let mut sum = 0;
        for accumulator in &mut accumulators {
            accumulator.reset();
            let arguments = [ColumnRef::borrowed(&column)];
            accumulator.update(&groups, &arguments, &Selection::all(ROWS), &mut cx);
            let mut out = Column::new();
            accumulator.finish(&all, &mut out, &mut cx);
            sum += out.words()[0] & 1;
        }
        sum
    };
    let variants = vec![Variant::new("lists by group", plain), Variant::new("folds", folds)];
    report.compare("aggregate_100", &nanos_per_item(ROWS, variants));
}

fn fold(list: &[f64]) -> u64 {
    let sum: f64 = list.iter().sum();
    let min = list.iter().copied().fold(f64::INFINITY, f64::min);
    let max = list.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    (sum / list.len() as f64 + min + max) as u64 + list.len() as u64
}
