//! JavaScript functions: a call through the engine's border beside a loop that never leaves the interpreter.

use std::sync::Arc;

use rquickjs::{Context, Function, Persistent, Runtime};
use thalweg_core::metrics::NodeMetrics;
use thalweg_core::{Column, ColumnRef, Selection, Timestamp, Value};
use thalweg_expr::function::{CallCx, Frame, RemoteFunction};
use thalweg_expr::registry::RemoteFunctions;
use thalweg_script::{Limits, Script, ScriptHost, Shelf};

use crate::measure::{Variant, nanos_per_item};
use crate::report::Report;

const SIZES: &[usize] = &[1, 16, 256, 1_024];

/// A script, its arguments as JavaScript makes them in a loop over `i`, and as columns have them.
struct Case {
    name: &'static str,
    script: &'static str,
    plain: &'static str,
    columns: fn(usize) -> Vec<Column>,
}

const CASES: &[Case] = &[
    Case {
        name: "area",
        script: "function f(x, y) { return x * y; }",
        plain: "(i) => [i % 90 + 10.5, i % 70 + 0.25]",
        columns: |rows| {
            let numbers =
                |of: usize, and: f64| Column::from_floats((0..rows).map(move |i| (i % of) as f64 + and));
            vec![numbers(90, 10.5), numbers(70, 0.25)]
        },
    },
    Case {
        name: "scale",
        script: "function f(x) { if (x > 4000) { return -1; } return (x & 15) + (x % 7) * 3; }",
        plain: "(i) => [i * 5]",
        columns: |rows| vec![Column::from_ints((0..rows as i64).map(|i| i * 5))],
    },
    Case {
        name: "label",
        script: "function f(s) { return s.toUpperCase() + ':' + s.length; }",
        plain: "(i) => ['device-' + i]",
        columns: |rows| {
            let names: Vec<Value> = (0..rows).map(|i| Value::text(format!("device-{i}"))).collect();
            vec![Column::from_values(&names)]
        },
    },
    Case {
        name: "object",
        script: "function f(m) { return { sum: m.a + m.b, id: m.id }; }",
        plain: "(i) => [{ a: i, b: 0.5, id: 'x' + i }]",
        columns: |rows| {
            let mut column = Column::new();
            (0..rows).for_each(|i| {
                column.push_json(format!("{{\"a\":{i},\"b\":0.5,\"id\":\"x{i}\"}}").as_bytes())
            });
            vec![column]
        },
    },
];

/// Keeps nothing.
struct Nowhere;

impl Shelf for Nowhere {
    fn load(&self) -> Result<Vec<Script>, String> {
        Ok(Vec::new())
    }

    fn put(&self, _: &Script) -> Result<(), String> {
        Ok(())
    }

    fn remove(&self, _: &str) -> Result<(), String> {
        Ok(())
    }
}

fn function(script: &str, is_agg: bool) -> Arc<dyn RemoteFunction> {
    let host = ScriptHost::open(Limits::default(), Box::new(Nowhere)).expect("nothing is kept");
    let script = Script { id: "f".to_owned(), script: script.into(), is_agg, ..Script::default() };
    host.create(script).expect("the script is right");
    host.resolve("f").expect("it can be asked for").expect("it is there")
}

/// A loop in an interpreter over values that are there already: results written to an array, as many as `rows`.
struct Plain {
    /// Dropped before its interpreter.
    run: Persistent<Function<'static>>,
    context: Context,
}

impl Plain {
    fn new(script: &str, args: &str, rows: usize) -> Self {
        let runtime = Runtime::new().expect("memory for an interpreter");
        let context = Context::full(&runtime).expect("memory for an interpreter");
        let text = format!(
            "(function () {{ {script}
            const make = {args}, rows = [], out = new Array({rows}).fill(null);
            for (let i = 0; i < {rows}; i++) rows.push(make(i));
            const [a, b] = [rows.map((row) => row[0]), rows.map((row) => row[1])];
            return () => {{ for (let i = 0; i < {rows}; i++) out[i] = f(a[i], b[i]); return out.length; }}; }})()"
        );
        let run = context.with(|ctx| {
            let run: Function<'_> = ctx.eval(text).expect("the text is right");
            Persistent::save(&ctx, run)
        });
        Self { run, context }
    }

    fn run(&self) -> u64 {
        self.context.with(|ctx| {
            let run = self.run.clone().restore(&ctx).expect("of this interpreter");
            run.call::<_, f64>(()).expect("it ran before") as u64
        })
    }
}

/// All scripts and batch sizes, then an aggregate of a thousand values.
pub(crate) fn run(report: &Report) {
    let metrics = NodeMetrics::default();
    let cx = CallCx { rule: "bench", node: "bench", call_id: 0, now: Timestamp(0), metrics: &metrics };
    for case in CASES {
        for &size in SIZES {
            let plain = Plain::new(case.script, case.plain, size);
            let function = function(case.script, false);
            let columns = (case.columns)(size);
            let args: Vec<ColumnRef<'_>> = columns.iter().map(ColumnRef::borrowed).collect();
            let rows = Selection::all(size);
            let mut out = Column::new();
            let engine = || {
                out.clear(None);
                function.call(&Frame { args: &args, rows: &rows, groups: None }, &mut out, &cx);
                out.len() as u64
            };
            let variants = vec![Variant::new("bare loop", || plain.run()), Variant::new("function", engine)];
            report.compare(&format!("script/{}/{size}", case.name), &nanos_per_item(size, variants));
        }
    }
    aggregate(report, &cx);
}

fn aggregate(report: &Report, cx: &CallCx<'_>) {
    const VALUES: usize = 1_000;
    let script =
        "function f(xs) { let sum = 0; for (let i = 0; i < xs.length; i++) sum += xs[i]; return sum; }";
    let list = format!("() => [Array.from({{ length: {VALUES} }}, (_, i) => i + 0.5)]");
    let plain = Plain::new(script, &list, 1);
    let function = function(script, true);
    let column = Column::from_floats((0..VALUES).map(|i| i as f64 + 0.5));
    let (args, rows, groups) = ([ColumnRef::borrowed(&column)], Selection::all(VALUES), vec![0; VALUES]);
    let mut out = Column::new();
    let engine = || {
        out.clear(None);
        function.call(&Frame { args: &args, rows: &rows, groups: Some((&groups, 1)) }, &mut out, cx);
        out.len() as u64
    };
    let variants = vec![Variant::new("bare loop", || plain.run()), Variant::new("function", engine)];
    report.compare("script/aggregate of 1,000", &nanos_per_item(VALUES, variants));
}
