//! unnest and extract: several rows from one (F-1 to F-3).
//!
//! Elements that are objects spread into columns and override selected ones; others become the set's own column.

use std::sync::Arc;

use thalweg_core::{Batch, Cell, Column, Fields, Schema, Selection, Slot, Unit, Value};
use thalweg_expr::{FunctionKind, FunctionRef};
use thalweg_plan::{Kind, Node};

use crate::op::{faults, reshape};
use crate::operator::{Emit, OpCx, Operator};

/// Takes one column apart.
pub(crate) struct ProjectSet {
    set: Slot,
    function: FunctionRef,
    /// What the set is called in the result.
    column: Arc<str>,
    /// F-3: not with aggregates without GROUP BY columns.
    is_refused: bool,
    limit: usize,
    /// The rows to make: the row they come from and their element.
    rows: Vec<u32>,
    items: Vec<Value>,
}

impl ProjectSet {
    pub(crate) fn new(node: &Node, set: Slot, function: &FunctionRef, limit: Option<u64>) -> Self {
        let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
        let is_refused = is_ungrouped(node);
        let column = node
            .schema
            .fields
            .get(set.index())
            .map_or_else(|| Arc::from(""), |field| Arc::clone(&field.name));
        Self {
            set,
            function: function.clone(),
            column,
            is_refused,
            limit,
            rows: Vec::new(),
            items: Vec::new(),
        }
    }

    /// The elements of one row. Null, missing and empty ones have none (F-3, S5).
    fn elements(&self, cell: Cell<'_>) -> Result<Vec<Value>, String> {
        if self.is_refused {
            let name = self.function.name();
            return Err(format!("run Select error: {name} needs GROUP BY columns beside aggregates"));
        }
        let FunctionRef::Builtin(function) = &self.function else {
            return Err(format!("{} cannot make rows", self.function.name()));
        };
        match (function.kind, cell) {
            (_, Cell::Missing | Cell::Null) => Ok(Vec::new()),
            (_, Cell::Error(error)) => Err(error.to_string()),
            (FunctionKind::Multi(apply), cell) => match cell.to_value() {
                Value::Map(fields) if fields.is_empty() => Ok(Vec::new()),
                // Upstream names the column.
                value => apply(&value)
                    .map_err(|error| format!("the argument for the {} function {error}", self.column)),
            },
            _ => Err(format!("{} cannot make rows", function.name)),
        }
    }

    /// The new rows, with the objects among the elements spread.
    fn result(&self, batch: &Batch) -> Batch {
        let has_objects = self.items.iter().any(|item| matches!(item, Value::Map(_)));
        let gathered = reshape::gather_rows(batch, &self.rows);
        if has_objects {
            return self.spread(&gathered);
        }
        let mut result = gathered;
        result.columns[self.set.index()] = Arc::new(Column::from_values(&self.items));
        result
    }

    /// Whole rows as objects in one column `*`.
    fn spread(&self, rows: &Batch) -> Batch {
        let mut column = Column::new();
        for (row, item) in self.items.iter().enumerate() {
            let mut fields = members(rows, row, self.set);
            match item {
                Value::Map(members) => {
                    fields.extend(members.iter().map(|(name, value)| (Arc::clone(name), value.clone())))
                }
                other => {
                    let name = &rows.schema.fields[self.set.index()].name;
                    fields.insert(Arc::clone(name), other.clone());
                }
            }
            column.push_value(&Value::map(fields));
        }
        let schema = Arc::new(Schema::computed(["*"]));
        reshape::with_columns(rows, &schema, vec![Arc::new(column)])
    }
}

/// Whether rows are made from the only group of an aggregate query.
fn is_ungrouped(node: &Node) -> bool {
    match &node.kind {
        Kind::Aggregate { keys, .. } => keys.is_empty(),
        Kind::ProjectSet { .. } | Kind::Project(_) | Kind::Having { .. } | Kind::Sort(_) | Kind::Limit(_) => {
            node.inputs.first().is_some_and(is_ungrouped)
        }
        _ => false,
    }
}

/// The members of a row: what `*` brings yields to named columns (P-15).
fn members(batch: &Batch, row: usize, without: Slot) -> Fields {
    let (mut spread, mut named) = (Fields::new(), Fields::new());
    for (slot, field) in batch.schema.fields.iter().enumerate() {
        match batch.columns[slot].cell(row) {
            _ if slot == without.index() => {}
            Cell::Missing | Cell::Error(_) => {}
            cell if &*field.name == "*" => {
                if let Value::Map(members) = cell.to_value() {
                    spread.extend(members.iter().map(|(name, value)| (Arc::clone(name), value.clone())));
                }
            }
            cell => {
                named.insert(Arc::clone(&field.name), cell.to_value());
            }
        }
    }
    spread.extend(named);
    spread
}

impl Operator for ProjectSet {
    fn on_batch(
        &mut self,
        _input: usize,
        batch: &Batch,
        rows: &Selection,
        out: &mut dyn Emit,
        cx: &mut OpCx<'_>,
    ) {
        if let Some(runs) = faults::runs(batch, rows) {
            return runs.iter().for_each(|run| self.on_batch(0, batch, run, out, cx));
        }
        self.rows.clear();
        self.items.clear();
        let mut bad = rows.faults.clone();
        for row in rows {
            match self.elements(batch.column(self.set).cell(row)) {
                Ok(items) => {
                    // LIMIT cuts each message: a single row's, or the collection's.
                    let used = if batch.unit == Unit::Rows { 0 } else { self.items.len() };
                    let items = items.into_iter().take(self.limit.saturating_sub(used));
                    self.items.extend(items);
                    self.rows.resize(self.items.len(), row as u32);
                }
                Err(message) if batch.unit == Unit::Rows => bad.extend(cx.fail(self.items.len(), &message)),
                Err(message) => return faults::fail_all(&message, rows, &batch.schema, out, cx),
            }
        }
        if !self.items.is_empty() || batch.unit == Unit::Collection && self.limit > 0 {
            let live = Selection::all(self.items.len()).live;
            out.batch(0, &self.result(batch), &Selection { live, faults: bad });
        } else {
            faults::send(bad, 0, &batch.schema, out);
        }
    }
}
