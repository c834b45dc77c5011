//! The interpreter of one call site: the script in it, and the rows that go through.

use std::sync::Arc;

use rquickjs::{Array, Context, Ctx, Function, Object, Persistent, Runtime, Value as Js};
use thalweg_core::{Cell, Column, ColumnRef, RowError};

use crate::board::{ROWS, Words};
use crate::fault::Fault;
use crate::from_js::{Reader, number};
use crate::into_js;
use crate::limits::Limits;
use crate::logs::Log;
use crate::script::{Script, Start};
use crate::tools::{KeptTools, Tools, keep, kind, options, own, rows_loop};
use crate::watch::Watch;

/// What one part of a batch may weigh in the interpreter, if it has more than one row.
const PART: usize = 256 << 10;

/// An interpreter with a script in it.
pub(crate) struct Vm {
    name: String,
    is_agg: bool,
    limits: Limits,
    watch: Arc<Watch>,
    log: Log,
    parts: Parts,
}

/// Everything that belongs to one interpreter and must be used by one thread at a time. Fields are dropped in this
/// order: values before the interpreter.
struct Parts {
    tools: Option<KeptTools>,
    call: Option<Persistent<Function<'static>>>,
    desk: Option<Desk>,
    context: Context,
    runtime: Runtime,
}

// SAFETY: an interpreter is not bound to the thread that made it; only no two may use it at once. `Parts` holds the
// runtime, the context and every handle to their values. It is private to `Vm`, which hands none of them out, uses them
// in `&mut self` methods only, and is dropped by whoever owns it.
#[allow(unsafe_code)]
unsafe impl Send for Parts {}

/// What a call with so many arguments needs: the loop, and the places of its rows.
struct Desk {
    rows: Persistent<Function<'static>>,
    at: Persistent<Object<'static>>,
    numbers: (Words, Persistent<Object<'static>>),
    kinds: (Words, Persistent<Object<'static>>),
    /// A list of [`ROWS`] members that are there, so that writing one meets nothing of the script's.
    values: Persistent<Array<'static>>,
    lanes: Vec<Lane>,
}

/// The place of an argument's numbers.
struct Lane {
    words: Words,
    floats: Persistent<Object<'static>>,
    ints: Persistent<Object<'static>>,
}

/// The rows of one call: each a list of rows of the batch. Scalars get the cell of their one row.
pub(crate) enum Calls<'a> {
    /// One call a row.
    Rows(&'a [u32]),
    /// One call a group, with lists.
    Groups(&'a [Vec<u32>]),
}

impl Vm {
    /// Runs the script.
    pub(crate) fn new(script: &Script, limits: &Limits, log: Log) -> Result<Self, Start> {
        let broken = |why: rquickjs::Error| Start::NotRead(Fault::plain(why.to_string()));
        let runtime = Runtime::new().map_err(broken)?;
        let watch = Watch::new(limits.time);
        runtime.set_memory_limit(limits.memory);
        runtime.set_max_stack_size(limits.stack);
        runtime.set_interrupt_handler(Some(Box::new(watch.guard())));
        let context = Context::full(&runtime).map_err(broken)?;
        let (tools, call) = context.with(|ctx| start(&ctx, script, &watch, &log))?;
        let parts = Parts { tools: Some(tools), call: Some(call), desk: None, context, runtime };
        Ok(Self { name: script.id.clone(), is_agg: script.is_agg, limits: *limits, watch, log, parts })
    }

    /// One result a call, in their order; a call that fails makes an error cell.
    pub(crate) fn run(&mut self, args: &[ColumnRef<'_>], calls: &Calls<'_>, out: &mut Column, now: i64) {
        self.log.tick(now);
        let n_calls = calls.len();
        let wanted = out.len() + n_calls;
        let Self { name, is_agg, limits, watch, parts, .. } = self;
        let Parts { tools, call, desk, context, runtime } = parts;
        let ran = context.with(|ctx| -> Result<(), Fault> {
            let broken = |why: rquickjs::Error| Fault::plain(why.to_string());
            let (Some(tools), Some(call)) = (tools.as_ref(), call.as_ref()) else { return Ok(()) };
            let tools = tools.at_work(&ctx).map_err(broken)?;
            let call = call.clone().restore(&ctx).map_err(broken)?;
            // The border itself fails when there is no memory left for it, or when the script has spoiled arrays.
            let explain = |why: rquickjs::Error| match why {
                rquickjs::Error::Exception => Fault::caught(&ctx, &tools, watch),
                other => Fault::plain(other.to_string()),
            };
            if desk.as_ref().is_none_or(|desk| desk.lanes.len() != args.len()) {
                *desk = Some(Desk::new(&ctx, watch, args.len()).map_err(explain)?);
            }
            let Some(desk) = desk.as_ref() else { return Ok(()) };
            let limit = limits.memory;
            let reader = Reader { ctx: &ctx, tools: &tools, watch, limit, left: limit };
            let mut batch = Batch { name, is_agg: *is_agg, args, reader, desk, call, out };
            let mut from = 0;
            while from < n_calls {
                from = batch.part(calls, from).map_err(explain)?;
            }
            Ok(())
        });
        finish_jobs(runtime, watch);
        if let Err(why) = ran {
            let text = format!("call func {name} error: {why}");
            (out.len()..wanted).for_each(|_| out.push_error(RowError::text(&text)));
        }
    }
}

/// Promises that the script has made go on between two batches, as long as one call may take.
fn finish_jobs(runtime: &Runtime, watch: &Watch) {
    /// Jobs may make jobs for ever.
    const MOST: usize = 100_000;
    watch.begin();
    for _ in 0..MOST {
        match runtime.execute_pending_job() {
            Ok(true) => {}
            Ok(false) => break,
            Err(failed) => {
                failed.0.with(|ctx| drop(ctx.catch()));
                if watch.has_fired() {
                    break;
                }
            }
        }
    }
}

fn start(
    ctx: &Ctx<'_>,
    script: &Script,
    watch: &Watch,
    log: &Log,
) -> Result<(KeptTools, Persistent<Function<'static>>), Start> {
    let broken = |why: rquickjs::Error| Start::NotRead(Fault::plain(why.to_string()));
    let file = format!("{}.js", script.id);
    let tools = Tools::take(ctx, file.clone()).map_err(broken)?;
    log.install(ctx, &tools).map_err(broken)?;
    let before: Vec<String> = ctx.globals().keys().flatten().collect();
    watch.begin();
    if let Err(why) = ctx.eval_with_options::<Js<'_>, _>(&*script.script, options(&file)) {
        let fault = match why {
            rquickjs::Error::Exception => Fault::caught(ctx, &tools, watch),
            other => Fault::plain(other.to_string()),
        };
        return Err(Start::NotRead(fault));
    }
    watch.begin();
    match declared(ctx, &script.id) {
        Some(found) if found.is_function() => match found.into_function() {
            Some(call) => Ok((tools.keep(ctx), keep(ctx, call))),
            None => Err(Start::NoFunction(String::new())),
        },
        Some(other) => Err(Start::NoFunction(format!(
            "; {} is there, but is no function: {}",
            script.id,
            other.type_name()
        ))),
        None => Err(Start::NoFunction(others(ctx, &before))),
    }
}

/// What the script has under this name: a member of the global object, or declared by `const`, `let` or `class`.
fn declared<'js>(ctx: &Ctx<'js>, name: &str) -> Option<Js<'js>> {
    let member = ctx.globals().get::<_, Js<'js>>(name).ok().filter(|member| !member.is_undefined());
    let is_word = !name.contains('-') && !name.starts_with(|first: char| first.is_ascii_digit());
    let found = member.or_else(|| {
        is_word.then(|| own(ctx, &format!("typeof {name} === 'undefined' ? undefined : {name}")).ok())?
    });
    drop(ctx.catch());
    found.filter(|found: &Js<'js>| !found.is_undefined())
}

/// The functions that a script declares instead of the one looked for.
fn others(ctx: &Ctx<'_>, before: &[String]) -> String {
    let globals = ctx.globals();
    let is_new = |name: &String| {
        !before.contains(name)
            && globals.get::<_, Js<'_>>(name.as_str()).is_ok_and(|member| member.is_function())
    };
    let names: Vec<String> = globals.keys::<String>().flatten().filter(is_new).take(5).collect();
    if names.is_empty() {
        return "; it declares no function".to_owned();
    }
    format!("; it declares {}: a function must have the name that is its id", names.join(", "))
}

impl Desk {
    fn new(ctx: &Ctx<'_>, watch: &Watch, n_args: usize) -> rquickjs::Result<Self> {
        let place = |len| -> rquickjs::Result<_> {
            let words = Words::new(len);
            let floats = keep(ctx, words.floats(ctx)?);
            Ok((words, floats))
        };
        let lane = |_| -> rquickjs::Result<Lane> {
            let (words, floats) = place(ROWS)?;
            let ints = keep(ctx, words.ints(ctx)?);
            Ok(Lane { words, floats, ints })
        };
        let values = Array::new(ctx.clone())?;
        for row in 0..ROWS {
            values.set(row, Js::new_null(ctx.clone()))?;
        }
        Ok(Self {
            rows: keep(ctx, rows_loop(ctx, n_args)?),
            at: keep(ctx, watch.at().floats(ctx)?),
            numbers: place(ROWS)?,
            kinds: place(ROWS)?,
            values: keep(ctx, values),
            lanes: (0..n_args).map(lane).collect::<rquickjs::Result<_>>()?,
        })
    }
}

impl Calls<'_> {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Rows(rows) => rows.len(),
            Self::Groups(groups) => groups.len(),
        }
    }
}

/// One batch on its way through.
struct Batch<'a, 'js> {
    name: &'a str,
    is_agg: bool,
    args: &'a [ColumnRef<'a>],
    reader: Reader<'a, 'js>,
    desk: &'a Desk,
    call: Function<'js>,
    out: &'a mut Column,
}

impl<'js> Batch<'_, 'js> {
    /// Calls for some of the rows or groups; returns the first that is left.
    fn part(&mut self, calls: &Calls<'_>, from: usize) -> rquickjs::Result<usize> {
        let end = (from + ROWS).min(calls.len());
        let end = from + self.light_enough(calls, from, end);
        let ctx = self.reader.ctx;
        let mut args: Vec<Js<'js>> = Vec::with_capacity(self.args.len());
        for (arg, lane) in self.args.iter().zip(&self.desk.lanes) {
            let ready = match calls {
                Calls::Rows(rows) => self.scalars(arg, lane, &rows[from..end]),
                Calls::Groups(groups) => self.lists(arg, &groups[from..end]),
            };
            match ready {
                Ok(ready) => args.push(ready),
                // Too much for its memory: each row has the cause.
                Err(_) => {
                    let fault = Fault::caught(ctx, self.reader.tools, self.reader.watch);
                    (from..end).for_each(|_| self.fail(&fault));
                    return Ok(end);
                }
            }
        }
        self.calls(args, end - from)?;
        Ok(end)
    }

    /// How many of these calls go together: at least one, and no more than [`PART`] holds.
    fn light_enough(&self, calls: &Calls<'_>, from: usize, end: usize) -> usize {
        if matches!(calls, Calls::Rows(_)) && self.args.iter().all(|arg| into_js::is_numeric(arg.column())) {
            return end - from;
        }
        let row = |row: usize| self.args.iter().map(|arg| into_js::weight(arg.cell(row))).sum::<usize>();
        let mut weight = 0;
        for call in from..end {
            weight += match calls {
                Calls::Rows(rows) => row(rows[call] as usize),
                Calls::Groups(groups) => groups[call].iter().map(|at| row(*at as usize)).sum(),
            };
            if weight > PART {
                return (call - from).max(1);
            }
        }
        end - from
    }

    /// The cells of an argument: numbers in place, everything else as a list.
    fn scalars(&self, arg: &ColumnRef<'_>, lane: &Lane, rows: &[u32]) -> rquickjs::Result<Js<'js>> {
        let Reader { ctx, tools, .. } = self.reader;
        let column = arg.column();
        if !self.is_agg && into_js::is_numeric(column) {
            let at = |row: &u32| if arg.is_constant() { 0 } else { *row as usize };
            let number = |row| into_js::number(column, at(row));
            let small: Option<Vec<i32>> = rows.iter().map(|row| into_js::small(number(row))).collect();
            return Ok(match small {
                Some(small) => {
                    lane.words.fill_ints(&small);
                    lane.ints.clone().restore(ctx)?.into_value()
                }
                None => {
                    lane.words.fill(rows.iter().map(number));
                    lane.floats.clone().restore(ctx)?.into_value()
                }
            });
        }
        let list = Array::new(ctx.clone())?;
        for (index, row) in rows.iter().enumerate() {
            let cell = into_js::cell(arg.cell(*row as usize), ctx, tools)?;
            if self.is_agg {
                // Outside of a window an aggregate gets lists of one.
                let alone = Array::new(ctx.clone())?;
                alone.set(0, cell)?;
                list.set(index, alone)?;
            } else {
                list.set(index, cell)?;
            }
        }
        Ok(list.into_value())
    }

    /// A list of lists.
    fn lists(&self, arg: &ColumnRef<'_>, groups: &[Vec<u32>]) -> rquickjs::Result<Js<'js>> {
        let Reader { ctx, tools, .. } = self.reader;
        let lists = Array::new(ctx.clone())?;
        for (index, group) in groups.iter().enumerate() {
            let list = Array::new(ctx.clone())?;
            for (place, row) in group.iter().enumerate() {
                list.set(place, into_js::cell(arg.cell(*row as usize), ctx, tools)?)?;
            }
            lists.set(index, list)?;
        }
        Ok(lists.into_value())
    }

    /// Goes through the rows; whatever ends the loop ends one row only.
    fn calls(&mut self, args: Vec<Js<'js>>, n_calls: usize) -> rquickjs::Result<()> {
        let ctx = self.reader.ctx;
        let rows = self.desk.rows.clone().restore(ctx)?;
        let at = self.desk.at.clone().restore(ctx)?;
        let numbers = self.desk.numbers.1.clone().restore(ctx)?;
        let kinds = self.desk.kinds.1.clone().restore(ctx)?;
        let values = self.desk.values.clone().restore(ctx)?;
        let mut from = 0;
        while from < n_calls {
            let mut call = rquickjs::function::Args::new(ctx.clone(), 7 + args.len());
            call.push_arg(self.call.clone())?;
            call.push_arg(from as i32)?;
            call.push_arg(n_calls as i32)?;
            call.push_arg(at.clone())?;
            call.push_arg(numbers.clone())?;
            call.push_arg(kinds.clone())?;
            call.push_arg(values.clone())?;
            call.push_args(args.iter().cloned())?;
            let watch = self.reader.watch;
            watch.at().set_float(0, from as f64);
            watch.begin();
            match rows.call_arg::<i32>(call) {
                Ok(next) => {
                    let next = usize::try_from(next).unwrap_or(n_calls).clamp(from + 1, n_calls);
                    self.take(from, next, &values)?;
                    from = next;
                }
                Err(_) => {
                    let stuck = watch.at().float(0) as usize;
                    let stuck = stuck.clamp(from, n_calls - 1);
                    let fault = Fault::caught(ctx, self.reader.tools, watch);
                    self.take(from, stuck, &values)?;
                    self.fail(&fault);
                    from = stuck + 1;
                }
            }
        }
        Ok(())
    }

    /// Takes results out.
    fn take(&mut self, from: usize, to: usize, values: &Array<'js>) -> rquickjs::Result<()> {
        let (numbers, kinds) = (&self.desk.numbers.0, &self.desk.kinds.0);
        for row in from..to {
            let kind = kinds.float(row);
            if kind == kind::NUMBER {
                let value = numbers.float(row);
                if value.is_finite() {
                    self.out.push_cell(Cell::of(&number(value)));
                } else {
                    let name = if value.is_nan() { "NaN" } else { "Inf" };
                    self.fail(&Fault::plain(format!("result is {name}")));
                }
            } else if kind == kind::TRUE || kind == kind::FALSE {
                self.out.push_bool(kind == kind::TRUE);
            } else if kind == kind::VALUE || kind == kind::THROWN {
                let value = values.get::<Js<'js>>(row)?;
                values.set(row, Js::new_null(self.reader.ctx.clone()))?;
                let Reader { ctx, tools, watch, .. } = self.reader;
                let result = match kind == kind::VALUE {
                    true => self.reader.result(value),
                    false => Err(Fault::of(value, ctx, tools, watch)),
                };
                match result {
                    Ok(value) => self.out.push_value(&value),
                    Err(fault) => self.fail(&fault),
                }
            } else {
                self.out.push_null();
            }
        }
        Ok(())
    }

    fn fail(&mut self, fault: &Fault) {
        self.out.push_error(RowError::text(format!("call func {} error: {fault}", self.name)));
    }
}
