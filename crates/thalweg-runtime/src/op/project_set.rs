//! unnest and extract: several rows from one (F-1 to F-3).
//!
//! Elements that are objects spread into columns and override selected ones; others become the set's own column.

use std::sync::Arc;

use thalweg_core::{Batch, Cell, Column, Fields, Schema, Selection, Slot, Tag, Unit, Value};
use thalweg_expr::{FunctionKind, FunctionRef};
use thalweg_plan::{Kind, Node};

use crate::op::members::Members;
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
    items: Members,
    /// Objects spread to columns of their own, while their names stay the same.
    spread: Option<Spread>,
}

/// The columns of rows whose elements are spread.
struct Spread {
    input: Arc<Schema>,
    /// Of the elements' members.
    names: Vec<Arc<str>>,
    schema: Arc<Schema>,
    /// For each column, that of the input and that of the members, which overrides.
    from: Vec<(Option<usize>, Option<usize>)>,
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
            items: Members::new(&column),
            column,
            is_refused,
            limit,
            rows: Vec::new(),
            spread: None,
        }
    }

    /// Takes the elements of one row, up to `limit`. Null, missing and empty ones have none (F-3, S5).
    fn take(&mut self, cell: Cell<'_>, limit: usize) -> Result<(), String> {
        if self.is_refused {
            let name = self.function.name();
            return Err(format!("run Select error: {name} needs GROUP BY columns beside aggregates"));
        }
        let FunctionRef::Builtin(function) = &self.function else {
            return Err(format!("{} cannot make rows", self.function.name()));
        };
        match (function.kind, cell) {
            (_, Cell::Missing | Cell::Null) => {}
            (_, Cell::Error(error)) => return Err(error.to_string()),
            (FunctionKind::Multi(_), Cell::Json(raw))
                if function.name == "unnest" && raw.first() == Some(&b'[') =>
            {
                self.items.push_array(raw, limit);
            }
            (FunctionKind::Multi(apply), cell) => match cell.to_value() {
                Value::Map(fields) if fields.is_empty() => {}
                value => {
                    // Upstream names the column.
                    let items = apply(&value)
                        .map_err(|error| format!("the argument for the {} function {error}", self.column))?;
                    items.iter().take(limit).for_each(|item| self.items.push(item));
                }
            },
            _ => return Err(format!("{} cannot make rows", function.name)),
        }
        Ok(())
    }

    /// The new rows, with the objects among the elements spread.
    fn result(&mut self, batch: &Batch) -> Batch {
        let set = self.set.index();
        let mut rest = batch.clone();
        rest.columns[set] = Arc::new(Column::missing(batch.n_rows));
        let mut result = reshape::gather_rows(&rest, &self.rows);
        if !self.items.has_objects() {
            if let Some(elements) = self.items.take_columns().into_iter().next() {
                result.columns[set] = Arc::new(elements);
            }
            return result;
        }
        let known = self
            .spread
            .take()
            .filter(|spread| Arc::ptr_eq(&spread.input, &batch.schema) && spread.names == self.items.names());
        self.spread = known.or_else(|| Spread::new(&batch.schema, self.set, self.items.names()));
        let has_errors = result.columns.iter().any(|column| column.seen().contains(Tag::Error));
        let is_tabular = self.items.is_tabular() && !has_errors;
        match &self.spread {
            Some(spread) if is_tabular => spread.result(&result, self.items.take_columns()),
            _ => self.objects(&result),
        }
    }

    /// Takes the room of the members' columns back, unless somebody keeps them.
    fn recycle(&mut self, result: Batch) {
        let Some(spread) = self.spread.as_ref().filter(|spread| Arc::ptr_eq(&spread.schema, &result.schema))
        else {
            return;
        };
        let column = |(column, from): (Arc<Column>, &(Option<usize>, Option<usize>))| match from {
            (None, Some(at)) => Some((*at, Arc::try_unwrap(column).ok()?)),
            _ => None,
        };
        self.items.give_back(result.columns.into_iter().zip(&spread.from).filter_map(column));
    }

    /// Whole rows as objects in one column `*`.
    fn objects(&self, rows: &Batch) -> Batch {
        let mut column = Column::new();
        for row in 0..self.items.len() {
            let mut fields = members(rows, row, self.set);
            fields.extend(self.items.of(row));
            column.push_value(&Value::map(fields));
        }
        let schema = Arc::new(Schema::computed(["*"]));
        reshape::with_columns(rows, &schema, vec![Arc::new(column)])
    }
}

impl Spread {
    /// `None` where the columns are not known from the names: beside `*`, or names that are equal but for their case.
    fn new(input: &Arc<Schema>, set: Slot, members: &[Arc<str>]) -> Option<Self> {
        let mut columns: Vec<(Arc<str>, Option<usize>, Option<usize>)> = Vec::new();
        for (slot, field) in input.fields.iter().enumerate().filter(|(slot, _)| *slot != set.index()) {
            columns.push((Arc::clone(&field.name), Some(slot), None));
        }
        for (at, member) in members.iter().enumerate() {
            match columns.iter_mut().find(|(name, ..)| name == member) {
                Some((.., from)) => *from = Some(at),
                None => columns.push((Arc::clone(member), None, Some(at))),
            }
        }
        let mut folded: Vec<String> = columns.iter().map(|(name, ..)| name.to_lowercase()).collect();
        folded.sort_unstable();
        if folded.windows(2).any(|pair| pair[0] == pair[1]) || folded.iter().any(|name| name == "*") {
            return None;
        }
        Some(Self {
            input: Arc::clone(input),
            names: members.to_vec(),
            schema: Arc::new(Schema::computed(columns.iter().map(|(name, ..)| &**name))),
            from: columns.into_iter().map(|(_, input, member)| (input, member)).collect(),
        })
    }

    fn result(&self, rows: &Batch, members: Vec<Column>) -> Batch {
        let members: Vec<Arc<Column>> = members.into_iter().map(Arc::new).collect();
        let column = |(input, member): &(Option<usize>, Option<usize>)| {
            let member = member.map(|at| &members[at]);
            match (input.map(|slot| &rows.columns[slot]), member) {
                (Some(input), Some(member)) => Arc::new(overridden(input, member)),
                (Some(one), None) | (None, Some(one)) => Arc::clone(one),
                (None, None) => Arc::new(Column::missing(rows.n_rows)),
            }
        };
        reshape::with_columns(rows, &self.schema, self.from.iter().map(column).collect())
    }
}

/// A column of the input, but where the element has a member of that name the member.
fn overridden(input: &Column, member: &Column) -> Column {
    let mut out = Column::new();
    for row in 0..member.len() {
        let from = if member.tag(row) == Tag::Missing { input } else { member };
        out.push_cell(from.cell(row));
    }
    out
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
            // LIMIT cuts each message: a single row's, or the collection's.
            let used = if batch.unit == Unit::Rows { 0 } else { self.items.len() };
            match self.take(batch.column(self.set).cell(row), self.limit.saturating_sub(used)) {
                Ok(()) => self.rows.resize(self.items.len(), row as u32),
                Err(message) if batch.unit == Unit::Rows => {
                    bad.extend(cx.fail(self.items.len(), &message, Some(batch.times[row])));
                }
                Err(message) => {
                    let failed = (faults::time_of(batch), rows);
                    return faults::fail_all(&message, failed, &batch.schema, out, cx);
                }
            }
        }
        let n_rows = self.items.len();
        if n_rows > 0 || batch.unit == Unit::Collection && self.limit > 0 {
            let live = Selection::all(n_rows).live;
            let result = self.result(batch);
            out.batch(0, &result, &Selection { live, faults: bad });
            self.recycle(result);
        } else {
            faults::send(bad, 0, &batch.schema, out);
        }
    }
}
