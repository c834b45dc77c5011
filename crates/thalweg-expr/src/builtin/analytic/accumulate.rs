//! acc_sum, acc_count, acc_avg, acc_min, acc_max: running values over the life of a rule.

use std::fmt;

use thalweg_core::cast::{described, number};
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, RowError, Value};

use crate::analytic::Analytic;
use crate::expr::EvalCx;

/// What the running values are made of.
#[derive(Debug, Default, Clone)]
pub(super) struct Totals {
    count: u64,
    sum: f64,
    least: f64,
    greatest: f64,
}

/// Which of them a function shows.
pub(super) trait Shown: Default + fmt::Debug + Send {
    const NAME: &'static str;
    /// Whether anything that is not null counts, numbers or not.
    const ANY_KIND: bool = false;
    fn show(totals: &Totals) -> Value;
}

macro_rules! shown {
    ($type:ident, $name:literal, $any:literal, $show:expr) => {
        #[doc = concat!("`", $name, "`.")]
        #[derive(Debug, Default)]
        pub(super) struct $type;

        impl Shown for $type {
            const NAME: &'static str = $name;
            const ANY_KIND: bool = $any;
            fn show(totals: &Totals) -> Value {
                $show(totals)
            }
        }
    };
}

shown!(Sum, "acc_sum", false, |totals: &Totals| Value::Float(totals.sum));
shown!(Count, "acc_count", true, |totals: &Totals| Value::Int(totals.count as i64));
shown!(Average, "acc_avg", false, |totals: &Totals| Value::Float(match totals.count {
    0 => 0.0,
    count => totals.sum / count as f64,
}));
shown!(Least, "acc_min", false, |totals: &Totals| Value::Float(totals.least));
shown!(Greatest, "acc_max", false, |totals: &Totals| Value::Float(totals.greatest));

/// `acc_f(x)`, `acc_f(x, begin, reset)`.
#[derive(Debug, Default)]
pub(super) struct Accumulate<S> {
    totals: Totals,
    /// Whether `begin` came and `reset` did not.
    started: bool,
    shown: std::marker::PhantomData<S>,
}

impl<S: Shown> Accumulate<S> {
    /// Null is ignored (A-9 as decided).
    fn take(&mut self, value: &Value) -> Result<(), RowError> {
        let cell = Cell::of(value);
        let value = match number(&cell) {
            _ if cell.is_nothing() => return Ok(()),
            Some(value) => value,
            None if S::ANY_KIND => 0.0,
            None => {
                let text =
                    format!("call func {} error: requires a number but found {}", S::NAME, described(&cell));
                return Err(RowError::text(text));
            }
        };
        let totals = &mut self.totals;
        let first = totals.count == 0;
        totals.count += 1;
        totals.sum += value;
        totals.least = if first || value < totals.least { value } else { totals.least };
        totals.greatest = if first || value > totals.greatest { value } else { totals.greatest };
        Ok(())
    }

    fn flag(&self, name: &str, value: &Value) -> Result<bool, RowError> {
        match value {
            Value::Bool(flag) => Ok(*flag),
            other => {
                let found = described(&Cell::of(other));
                Err(RowError::text(format!(
                    "call func {} error: {name} must be a bool but found {found}",
                    S::NAME
                )))
            }
        }
    }
}

impl<S: Shown> Analytic for Accumulate<S> {
    fn next(&mut self, args: &[Value], valid: bool, _cx: &mut EvalCx<'_>) -> Result<Value, RowError> {
        if !valid {
            return Ok(S::show(&self.totals));
        }
        match args {
            [value, begin, reset] => {
                let (begin, reset) = (self.flag("begin", begin)?, self.flag("reset", reset)?);
                if !self.started {
                    self.totals = Totals::default();
                }
                self.started |= begin;
                if self.started {
                    self.take(value)?;
                }
                self.started &= !reset;
            }
            [value, ..] => self.take(value)?,
            [] => {}
        }
        Ok(S::show(&self.totals))
    }

    fn save(&self, out: &mut StateWriter) {
        out.section(S::NAME, 1);
        out.u64(self.totals.count);
        [self.totals.sum, self.totals.least, self.totals.greatest]
            .into_iter()
            .for_each(|value| out.f64(value));
        out.bool(self.started);
    }

    fn load(&mut self, from: &mut StateReader<'_>) -> Result<(), StateError> {
        from.section(S::NAME, 1)?;
        self.totals =
            Totals { count: from.u64()?, sum: from.f64()?, least: from.f64()?, greatest: from.f64()? };
        self.started = from.bool()?;
        Ok(())
    }
}
