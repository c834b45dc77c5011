//! The yardstick: rows as shared maps, one at a time, expressions as a tree that is walked.
//!
//! Written as one would begin: rows are behind an `Arc`, because an operator, which a pool may run, must be able to go
//! to another thread. Nothing is copied that can be shared, a computed value is put into a small map beside
//! the row it belongs to, and a row that passes is passed on by pointer. It knows no nulls, no errors and no state to
//! save, which favors it.

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::cases::{Case, POOL};

/// A row.
pub(super) type Row = Arc<Map<String, Json>>;

/// A row, what was computed for it, and the row it was joined with.
#[derive(Clone)]
pub(super) struct Wide {
    pub(super) row: Row,
    pub(super) computed: Map<String, Json>,
    pub(super) other: Option<Row>,
}

/// An operator: a row and its time in, results out.
pub(super) type Step = Box<dyn FnMut(&Row, i64, &mut dyn FnMut(Out)) + Send>;

/// What an operator hands on.
pub(super) enum Out {
    One(Row),
    Wide(Wide),
    Many(Vec<Row>),
    Wides(Vec<Wide>),
}

/// An expression.
pub(super) enum Expr {
    Column(&'static str),
    Number(f64),
    Text(&'static str),
    Binary(char, Box<Expr>, Box<Expr>),
    Call(fn(&[Json]) -> Json, Vec<Expr>),
}

impl Expr {
    pub(super) fn binary(op: char, left: Expr, right: Expr) -> Self {
        Self::Binary(op, Box::new(left), Box::new(right))
    }

    /// The value for one row.
    pub(super) fn eval(&self, row: &Map<String, Json>) -> Json {
        match self {
            Self::Column(name) => row.get(*name).cloned().unwrap_or_default(),
            Self::Number(number) => Json::from(*number),
            Self::Text(text) => Json::from(*text),
            Self::Binary('&', left, right) => {
                Json::from(left.eval(row) == Json::Bool(true) && right.eval(row) == Json::Bool(true))
            }
            Self::Binary(op, left, right) => {
                let (left, right) = (left.eval(row), right.eval(row));
                let (Some(a), Some(b)) = (left.as_f64(), right.as_f64()) else { return Json::Null };
                match op {
                    '+' => Json::from(a + b),
                    '-' => Json::from(a - b),
                    '*' => Json::from(a * b),
                    '%' => Json::from(a % b),
                    '>' => Json::from(a > b),
                    '<' => Json::from(a < b),
                    _ => Json::from(a == b),
                }
            }
            Self::Call(function, args) => {
                let args: Vec<Json> = args.iter().map(|arg| arg.eval(row)).collect();
                function(&args)
            }
        }
    }

    fn is_true(&self, row: &Map<String, Json>) -> bool {
        self.eval(row) == Json::Bool(true)
    }
}

/// Feeds a yardstick with the case's rows, `batch` in a turn.
pub(super) struct Feeder {
    rows: Vec<Row>,
    step: Step,
    late: Vec<i64>,
    batch: usize,
    at: usize,
    now: i64,
    advance: i64,
}

impl Feeder {
    pub(super) fn new(case: &Case, batch: usize) -> Result<Self, String> {
        let n_rows = if case.step == 0 { batch } else { case.pool.max(POOL).max(batch) / batch * batch };
        let row = |at: usize| -> Result<Row, String> {
            serde_json::from_str(&(case.row)(at)).map(Arc::new).map_err(|why| why.to_string())
        };
        let rows: Vec<Row> = (0..n_rows).map(row).collect::<Result<_, _>>()?;
        let late = rows.iter().map(|row| row.get("late").and_then(Json::as_i64).unwrap_or(0)).collect();
        Ok(Self { rows, step: (case.plain)(batch), late, batch, at: 0, now: 0, advance: case.step })
    }

    /// Looks at the rows of so many turns.
    pub(super) fn prepare(&mut self, turns: usize) -> u64 {
        if self.advance == 0 {
            return 0;
        }
        let rows = self.rows.iter().cycle().skip(self.at).take((turns * self.batch).min(self.rows.len()));
        rows.flat_map(|row| row.iter()).map(|(name, value)| name.len() as u64 + looked_at(value)).sum()
    }

    pub(super) fn turn(&mut self) -> u64 {
        let mut count = 0;
        let rows = &self.rows[self.at..self.at + self.batch];
        for (row, late) in rows.iter().zip(&self.late[self.at..]) {
            (self.step)(row, self.now - late, &mut |out| count += size(&out));
            self.now += self.advance;
        }
        self.at = (self.at + self.batch) % self.rows.len();
        count
    }
}

fn looked_at(value: &Json) -> u64 {
    value.as_str().map_or(0, |text| text.bytes().map(u64::from).sum())
}

fn size(out: &Out) -> u64 {
    match out {
        Out::One(row) => row.len() as u64,
        Out::Wide(wide) => (wide.row.len() + wide.computed.len()) as u64 + u64::from(wide.other.is_some()),
        Out::Many(rows) => rows.len() as u64,
        Out::Wides(rows) => rows.len() as u64,
    }
}

/// Passes what a condition is true for.
pub(super) fn filter(condition: Expr) -> Step {
    Box::new(move |row, _, out| {
        if condition.is_true(row) {
            out(Out::One(Arc::clone(row)));
        }
    })
}

/// Makes a new row of named values.
pub(super) fn project(columns: Vec<(&'static str, Expr)>) -> Step {
    Box::new(move |row, _, out| {
        let values = columns.iter().map(|(name, expr)| ((*name).to_owned(), expr.eval(row)));
        out(Out::One(Arc::new(values.collect())));
    })
}

/// Puts a value beside a row.
pub(super) fn beside(name: &'static str, mut value: impl FnMut(&Row) -> Json + Send + 'static) -> Step {
    Box::new(move |row, _, out| {
        let computed = Map::from_iter([(name.to_owned(), value(row))]);
        out(Out::Wide(Wide { row: Arc::clone(row), computed, other: None }));
    })
}

/// Hands rows on.
pub(super) fn pass() -> Step {
    Box::new(|row, _, out| out(Out::One(Arc::clone(row))))
}

/// Keeps rows by time until the watermark passes them.
pub(super) fn reorder(tolerance: i64) -> Step {
    let mut waiting: VecDeque<(i64, Row)> = VecDeque::new();
    let mut mark = i64::MIN;
    Box::new(move |row, time, out| {
        if time < mark {
            return;
        }
        let at = waiting.partition_point(|(have, _)| *have <= time);
        waiting.insert(at, (time, Arc::clone(row)));
        mark = mark.max(time - tolerance);
        while waiting.front().is_some_and(|(time, _)| *time <= mark) {
            waiting.pop_front().into_iter().for_each(|(_, row)| out(Out::One(row)));
        }
    })
}

/// Collects the rows of each `length` milliseconds.
pub(super) fn tumbling(length: i64) -> Step {
    let (mut rows, mut end) = (Vec::new(), length);
    Box::new(move |row, time, out| {
        while time >= end {
            out(Out::Many(std::mem::take(&mut rows)));
            end += length;
        }
        rows.push(Arc::clone(row));
    })
}

/// Collects the rows of `length` milliseconds every `hop`.
pub(super) fn hopping(length: i64, hop: i64) -> Step {
    let (mut rows, mut end) = (VecDeque::<(i64, Row)>::new(), hop);
    Box::new(move |row, time, out| {
        while time >= end {
            while rows.front().is_some_and(|(time, _)| *time < end - length) {
                rows.pop_front();
            }
            out(Out::Many(rows.iter().map(|(_, row)| Arc::clone(row)).collect()));
            end += hop;
        }
        rows.push_back((time, Arc::clone(row)));
    })
}

/// Collects the last `length` milliseconds whenever a row comes for which `when` is true.
pub(super) fn sliding(length: i64, when: Expr) -> Step {
    let mut rows = VecDeque::<(i64, Row)>::new();
    Box::new(move |row, time, out| {
        rows.push_back((time, Arc::clone(row)));
        if when.is_true(row) {
            while rows.front().is_some_and(|(before, _)| *before < time - length) {
                rows.pop_front();
            }
            out(Out::Many(rows.iter().map(|(_, row)| Arc::clone(row)).collect()));
        }
    })
}

/// Collects rows until none comes for `timeout`, or for `longest`.
pub(super) fn session(longest: i64, timeout: i64) -> Step {
    let (mut rows, mut last, mut end) = (Vec::new(), 0, longest);
    Box::new(move |row, time, out| {
        if time - last > timeout || time >= end {
            out(Out::Many(std::mem::take(&mut rows)));
            end = time + longest;
        }
        last = time;
        rows.push(Arc::clone(row));
    })
}

/// Collects so many rows.
pub(super) fn count(length: usize) -> Step {
    let mut rows = Vec::new();
    Box::new(move |row, _, out| {
        rows.push(Arc::clone(row));
        if rows.len() == length {
            out(Out::Many(std::mem::take(&mut rows)));
        }
    })
}

/// Collects rows from one condition to another.
pub(super) fn state(begin: Expr, emit: Expr) -> Step {
    let mut rows: Option<Vec<Row>> = None;
    Box::new(move |row, _, out| {
        if rows.is_none() && begin.is_true(row) {
            rows = Some(Vec::new());
        }
        if let Some(open) = &mut rows {
            open.push(Arc::clone(row));
            if emit.is_true(row) {
                out(Out::Many(rows.take().unwrap_or_default()));
            }
        }
    })
}

/// avg, max and count by key over `length` milliseconds.
pub(super) fn aggregate(key: &'static str, value: &'static str, length: i64) -> Step {
    #[derive(Default)]
    struct Group {
        sum: f64,
        max: f64,
        count: u64,
    }
    let (mut groups, mut end) = (HashMap::<String, Group>::new(), length);
    Box::new(move |row, time, out| {
        while time >= end {
            let result = |(key, group): (String, Group)| {
                Arc::new(Map::from_iter([
                    ("key".to_owned(), Json::from(key)),
                    ("mean".to_owned(), Json::from(group.sum / group.count as f64)),
                    ("most".to_owned(), Json::from(group.max)),
                    ("count".to_owned(), Json::from(group.count)),
                ]))
            };
            out(Out::Many(groups.drain().map(result).collect()));
            end += length;
        }
        let (Some(Json::String(name)), Some(value)) = (row.get(key), row.get(value).and_then(Json::as_f64))
        else {
            return;
        };
        // Looked up first, so that only a new group copies its name.
        let group = match groups.get_mut(name) {
            Some(group) => group,
            None => groups.entry(name.clone()).or_default(),
        };
        group.sum += value;
        group.max = group.max.max(value);
        group.count += 1;
    })
}

/// Handles `n` rows together when the last one has come.
pub(super) fn collection(n: usize, handle: impl Fn(Vec<Row>) -> Out + Send + 'static) -> Step {
    let mut rows = Vec::with_capacity(n);
    Box::new(move |row, _, out| {
        rows.push(Arc::clone(row));
        if rows.len() == n {
            let full = std::mem::replace(&mut rows, Vec::with_capacity(n));
            out(handle(full));
        }
    })
}

/// Rows of a collection for which a condition is true.
pub(super) fn having(condition: Expr) -> impl Fn(Vec<Row>) -> Out + Send {
    move |mut rows| {
        rows.retain(|row| condition.is_true(row));
        Out::Many(rows)
    }
}

/// Rows of a collection above the mean of a column.
pub(super) fn above_mean(column: &'static str) -> impl Fn(Vec<Row>) -> Out + Send {
    let number = move |row: &Row| row.get(column).and_then(Json::as_f64).unwrap_or(0.0);
    move |rows| {
        let mean = Json::from(rows.iter().map(number).sum::<f64>() / rows.len() as f64);
        let wide = |row: Row| Wide {
            row,
            computed: Map::from_iter([("mean".to_owned(), mean.clone())]),
            other: None,
        };
        Out::Wides(rows.into_iter().map(wide).collect())
    }
}

/// A collection in the order of a number column and then a text column.
pub(super) fn sort(number: &'static str, text: &'static str) -> impl Fn(Vec<Row>) -> Out + Send {
    let of = move |row: &Row| row.get(number).and_then(Json::as_f64).unwrap_or(0.0);
    let name = move |row: &Row| row.get(text).and_then(Json::as_str).unwrap_or("").to_owned();
    move |mut rows| {
        rows.sort_by(|a, b| of(b).total_cmp(&of(a)).then_with(|| name(a).cmp(&name(b))));
        Out::Many(rows)
    }
}

/// The first rows of a collection.
pub(super) fn limit(n: usize) -> impl Fn(Vec<Row>) -> Out + Send {
    move |mut rows| {
        rows.truncate(n);
        Out::Many(rows)
    }
}

/// Numbers the rows of each partition.
pub(super) fn row_number(partition: &'static str) -> impl Fn(Vec<Row>) -> Out + Send {
    move |rows| {
        let mut counts: HashMap<String, u64> = HashMap::new();
        let number = |row: Row| {
            let key = row.get(partition).and_then(Json::as_str).unwrap_or("").to_owned();
            let count = counts.entry(key).or_insert(0);
            *count += 1;
            Wide { computed: Map::from_iter([("n".to_owned(), Json::from(*count))]), row, other: None }
        };
        Out::Wides(rows.into_iter().map(number).collect())
    }
}

/// Each row of a collection with the rows of a twin that have the same key.
pub(super) fn join(key: &'static str) -> impl Fn(Vec<Row>) -> Out + Send {
    let text = move |row: &Row| row.get(key).and_then(Json::as_str).unwrap_or("").to_owned();
    move |rows| {
        let mut right: HashMap<String, Vec<Row>> = HashMap::new();
        rows.iter().for_each(|row| right.entry(text(row)).or_default().push(Arc::clone(row)));
        let mut pairs = Vec::new();
        for row in rows {
            for other in right.get(&text(&row)).into_iter().flatten() {
                let (row, other) = (Arc::clone(&row), Some(Arc::clone(other)));
                pairs.push(Wide { row, computed: Map::new(), other });
            }
        }
        Out::Wides(pairs)
    }
}

/// Each row with the row of a table that has its key.
pub(super) fn lookup(key: &'static str) -> Step {
    let row = |device: usize| {
        let name = format!("dev-{device:02}");
        let fields = [
            ("device".to_owned(), Json::from(name.as_str())),
            ("room".to_owned(), Json::from(format!("room {}", device % 10))),
        ];
        (name, Arc::new(Map::from_iter(fields)))
    };
    let table: HashMap<String, Row> = (0..100).map(row).collect();
    Box::new(move |row, _, out| {
        let found = row.get(key).and_then(Json::as_str).and_then(|key| table.get(key));
        if let Some(found) = found {
            let wide = Wide { row: Arc::clone(row), computed: Map::new(), other: Some(Arc::clone(found)) };
            out(Out::Wides(vec![wide]));
        }
    })
}

/// One row for each object in a list.
pub(super) fn unnest(column: &'static str) -> Step {
    Box::new(move |row, _, out| {
        for item in row.get(column).and_then(Json::as_array).into_iter().flatten() {
            let computed = item.as_object().cloned().unwrap_or_default();
            out(Out::Wide(Wide { row: Arc::clone(row), computed, other: None }));
        }
    })
}

/// The value of a column in the row before.
pub(super) fn lag(column: &'static str) -> Step {
    let before = RefCell::new(Json::Null);
    beside("before", move |row| before.replace(row.get(column).cloned().unwrap_or_default()))
}
