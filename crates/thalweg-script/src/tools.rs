//! What the border needs of an interpreter (`tools.js`), and the loop over rows.

use rquickjs::context::EvalOptions;
use rquickjs::{Ctx, Function, JsLifetime, Object, Persistent, Result};

/// Functions for use while the interpreter is at work.
pub(crate) struct Tools<'js> {
    pub(crate) bytes: Function<'js>,
    pub(crate) date: Function<'js>,
    pub(crate) is_bytes: Function<'js>,
    pub(crate) decimal: Function<'js>,
    pub(crate) sound: Function<'js>,
    pub(crate) show: Function<'js>,
    pub(crate) open: Function<'js>,
    pub(crate) fault: Function<'js>,
    /// The name of the script's file in stacks.
    pub(crate) file: String,
}

/// The same between two batches.
pub(crate) struct KeptTools {
    functions: [Persistent<Function<'static>>; 8],
    file: String,
}

impl<'js> Tools<'js> {
    /// Takes them from an interpreter in which no script has run yet.
    pub(crate) fn take(ctx: &Ctx<'js>, file: String) -> Result<Self> {
        let all: Object<'js> = own(ctx, include_str!("tools.js"))?;
        Ok(Self {
            bytes: all.get("bytes")?,
            date: all.get("date")?,
            is_bytes: all.get("isBytes")?,
            decimal: all.get("decimal")?,
            sound: all.get("sound")?,
            show: all.get("show")?,
            open: all.get("open")?,
            fault: all.get("fault")?,
            file,
        })
    }

    pub(crate) fn keep(self, ctx: &Ctx<'js>) -> KeptTools {
        let Self { bytes, date, is_bytes, decimal, sound, show, open, fault, file } = self;
        let functions = [bytes, date, is_bytes, decimal, sound, show, open, fault];
        KeptTools { functions: functions.map(|function| Persistent::save(ctx, function)), file }
    }
}

impl KeptTools {
    pub(crate) fn at_work<'js>(&self, ctx: &Ctx<'js>) -> Result<Tools<'js>> {
        let [bytes, date, is_bytes, decimal, sound, show, open, fault] =
            self.functions.each_ref().map(|kept| kept.clone().restore(ctx));
        Ok(Tools {
            bytes: bytes?,
            date: date?,
            is_bytes: is_bytes?,
            decimal: decimal?,
            sound: sound?,
            show: show?,
            open: open?,
            fault: fault?,
            file: self.file.clone(),
        })
    }
}

/// Runs text of ours.
pub(crate) fn own<'js, V: rquickjs::FromJs<'js>>(ctx: &Ctx<'js>, text: &str) -> Result<V> {
    ctx.eval_with_options(text, options("thalweg"))
}

/// A script runs as upstream runs it: in the global scope, not strict unless it says so.
pub(crate) fn options(file: &str) -> EvalOptions {
    let mut options = EvalOptions::default();
    options.strict = false;
    options.filename = Some(file.to_owned());
    options
}

/// Keeps a value between two batches.
pub(crate) fn keep<'js, T: JsLifetime<'js>>(ctx: &Ctx<'js>, value: T) -> Persistent<T::Changed<'static>> {
    Persistent::save(ctx, value)
}

/// What the loop writes down about a row.
pub(crate) mod kind {
    pub(crate) const NUMBER: f64 = 1.0;
    pub(crate) const TRUE: f64 = 2.0;
    pub(crate) const FALSE: f64 = 3.0;
    pub(crate) const VALUE: f64 = 4.0;
    pub(crate) const THROWN: f64 = 5.0;
}

/// The loop over rows for a call with so many arguments. It returns the row at which it wants to go on: early when it
/// holds many values, so that a batch needs no more memory than a part of it.
pub(crate) fn rows_loop<'js>(ctx: &Ctx<'js>, n_args: usize) -> Result<Function<'js>> {
    let names: Vec<String> = (0..n_args).map(|arg| format!("a{arg}")).collect();
    let cells: Vec<String> = names.iter().map(|name| format!("{name}[i]")).collect();
    let (names, cells) = (names.join(", "), cells.join(", "));
    let text = format!(
        "(function (call, from, end, at, numbers, kinds, values, {names}) {{
  'use strict';
  let held = 0;
  for (let i = from; i < end; i++) {{
    at[0] = i;
    try {{
      const value = call({cells});
      if (typeof value === 'number') {{ numbers[i] = value; kinds[i] = 1; }}
      else if (value === null || value === undefined) kinds[i] = 0;
      else if (value === true) kinds[i] = 2;
      else if (value === false) kinds[i] = 3;
      else {{
        values[i] = value;
        kinds[i] = 4;
        held += typeof value === 'string' ? 1 + (value.length >> 10) : 16;
        if (held >= 512) return i + 1;
      }}
    }} catch (thrown) {{
      values[i] = thrown;
      kinds[i] = 5;
      held += 16;
      if (held >= 512) return i + 1;
    }}
  }}
  return end;
}})"
    );
    own(ctx, &text)
}
