//! count, sum, avg and the variances: what a few running numbers can hold.
//!
//! Integers are summed exactly in 128 bits and leave as such; a sum beyond 64 bits, or one with floats, is a float
//! (S12, S13). Null and missing are skipped (O-16).

use thalweg_core::cast::described;
use thalweg_core::state::{StateError, StateReader, StateWriter};
use thalweg_core::{Cell, Column, RowError};

use super::fold::Fold;
use crate::expr::EvalCx;

/// `count(x)`, `count(*)`: rows whose argument is not null; without an argument, or with whole rows, all rows.
#[derive(Debug, Clone, Default)]
pub(crate) struct Count(u64);

impl Fold for Count {
    const NAME: &'static str = "count";

    #[inline]
    fn add(&mut self, args: &[Cell<'_>], _cx: &EvalCx<'_>) {
        self.0 += u64::from(!args.first().is_some_and(Cell::is_nothing));
    }

    fn merge(&mut self, later: &Self) {
        self.0 += later.0;
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        out.push_int(self.0 as i64);
    }

    fn save(&self, out: &mut StateWriter) {
        out.u64(self.0);
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        from.u64().map(Self)
    }
}

/// The running numbers of sum and avg: small while all of them are of one kind, as there may be very many groups.
#[derive(Debug, Clone)]
enum Total {
    Floats {
        sum: f64,
        n: u64,
    },
    Ints {
        sum: i64,
        n: u64,
    },
    /// Anything else.
    Parts(Box<Parts>),
}

impl Default for Total {
    fn default() -> Self {
        Self::Floats { sum: 0.0, n: 0 }
    }
}

impl Total {
    fn add(&mut self, args: &[Cell<'_>]) {
        match args.first().unwrap_or(&Cell::Missing) {
            Cell::Missing | Cell::Null => {}
            Cell::Int(value) => self.add_int(*value),
            Cell::Float(value) => self.add_float(*value),
            other => self.at_length(|parts| parts.fail(other)),
        }
    }

    #[inline]
    fn add_float(&mut self, value: f64) {
        match self {
            Self::Floats { sum, n } => {
                *sum += value;
                *n += 1;
            }
            _ => self.at_length(|parts| parts.add_float(value)),
        }
    }

    #[inline]
    fn add_int(&mut self, value: i64) {
        match self {
            Self::Floats { n: 0, .. } => *self = Self::Ints { sum: value, n: 1 },
            Self::Ints { sum, n } if let Some(more) = sum.checked_add(value) => {
                *sum = more;
                *n += 1;
            }
            _ => self.at_length(|parts| parts.add_int(value)),
        }
    }

    fn merge(&mut self, later: &Self) {
        match (&mut *self, later) {
            (_, Self::Floats { n: 0, .. }) => {}
            (Self::Floats { n: 0, .. }, later) => *self = later.clone(),
            (Self::Ints { sum, n }, Self::Ints { sum: later, n: more })
                if let Some(whole) = sum.checked_add(*later) =>
            {
                *sum = whole;
                *n += more;
            }
            (Self::Floats { sum, n }, Self::Floats { sum: later, n: more }) => {
                *sum += later;
                *n += more;
            }
            _ => self.at_length(|parts| parts.merge(&later.to_parts())),
        }
    }

    /// The same at length.
    fn to_parts(&self) -> Parts {
        match self {
            Self::Floats { sum, n } => Parts { floats: *sum, n_floats: *n, ..Parts::default() },
            Self::Ints { sum, n } => Parts { ints: i128::from(*sum), n_ints: *n, ..Parts::default() },
            Self::Parts(parts) => Parts::clone(parts),
        }
    }

    fn at_length(&mut self, change: impl FnOnce(&mut Parts)) {
        let mut parts = match std::mem::take(self) {
            Self::Parts(parts) => parts,
            small => Box::new(small.to_parts()),
        };
        change(&mut parts);
        *self = Self::Parts(parts);
    }
}

/// Numbers of both kinds.
#[derive(Debug, Clone, Default)]
struct Parts {
    ints: i128,
    n_ints: u64,
    floats: f64,
    n_floats: u64,
    failure: Option<Box<NoNumber>>,
}

/// The first value that was no number, and what was there before it: the text names what was expected.
#[derive(Debug, Clone)]
struct NoNumber {
    found: String,
    after_ints: bool,
    after_floats: bool,
}

impl NoNumber {
    fn error(&self) -> RowError {
        let kind = if self.after_ints && !self.after_floats { "int64" } else { "float64" };
        RowError::text(format!("requires {kind} but found {}", self.found))
    }

    fn save(&self, out: &mut StateWriter) {
        out.text(&self.found);
        out.bool(self.after_ints);
        out.bool(self.after_floats);
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        Ok(Self { found: from.text()?.to_owned(), after_ints: from.bool()?, after_floats: from.bool()? })
    }
}

impl Parts {
    fn fail(&mut self, found: &Cell<'_>) {
        let (after_ints, after_floats) = (self.n_ints > 0, self.n_floats > 0);
        let failure = || NoNumber { found: described(found), after_ints, after_floats };
        self.failure.get_or_insert_with(|| Box::new(failure()));
    }

    #[inline]
    fn add_int(&mut self, value: i64) {
        self.ints += i128::from(value);
        self.n_ints += 1;
    }

    #[inline]
    fn add_float(&mut self, value: f64) {
        self.floats += value;
        self.n_floats += 1;
    }

    fn merge(&mut self, later: &Self) {
        if let (None, Some(failure)) = (&self.failure, &later.failure) {
            let mut failure = failure.clone();
            failure.after_ints |= self.n_ints > 0;
            failure.after_floats |= self.n_floats > 0;
            self.failure = Some(failure);
        }
        self.ints += later.ints;
        self.n_ints += later.n_ints;
        self.floats += later.floats;
        self.n_floats += later.n_floats;
    }

    fn all(&self) -> f64 {
        self.floats + self.ints as f64
    }

    fn into_total(self) -> Total {
        match self {
            Self { n_ints: 0, failure: None, .. } => Total::Floats { sum: self.floats, n: self.n_floats },
            other => Total::Parts(Box::new(other)),
        }
    }

    fn save(&self, out: &mut StateWriter) {
        out.bytes(&self.ints.to_le_bytes());
        out.u64(self.n_ints);
        out.f64(self.floats);
        out.u64(self.n_floats);
        out.bool(self.failure.is_some());
        if let Some(failure) = &self.failure {
            failure.save(out);
        }
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        let ints = from.bytes()?.try_into().map_err(|_| StateError("a sum has 16 bytes".to_owned()))?;
        Ok(Self {
            ints: i128::from_le_bytes(ints),
            n_ints: from.u64()?,
            floats: from.f64()?,
            n_floats: from.u64()?,
            failure: if from.bool()? { Some(Box::new(NoNumber::load(from)?)) } else { None },
        })
    }
}

/// Writes the error that a group has met.
pub(super) fn save_failure(failure: Option<&RowError>, out: &mut StateWriter) {
    out.bool(failure.is_some());
    if let Some(failure) = failure {
        out.text(&failure.to_string());
    }
}

/// Reads it.
pub(super) fn load_failure(from: &mut StateReader<'_>) -> Result<Option<Box<RowError>>, StateError> {
    Ok(if from.bool()? { Some(Box::new(RowError::text(from.text()?))) } else { None })
}

/// Makes a [`Fold`] of a type with a `Total` inside.
macro_rules! total_fold {
    ($type:ident, $name:literal, $finish:expr) => {
        impl Fold for $type {
            const NAME: &'static str = $name;

            fn add(&mut self, args: &[Cell<'_>], _cx: &EvalCx<'_>) {
                self.0.add(args);
            }

            #[inline]
            fn add_float(&mut self, value: f64, _cx: &EvalCx<'_>) {
                self.0.add_float(value);
            }

            #[inline]
            fn add_int(&mut self, value: i64, _cx: &EvalCx<'_>) {
                self.0.add_int(value);
            }

            fn merge(&mut self, later: &Self) {
                self.0.merge(&later.0);
            }

            fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
                match &self.0.to_parts() {
                    Parts { failure: Some(failure), .. } => {
                        out.push_error(super::named($name, &failure.error()))
                    }
                    Parts { n_ints: 0, n_floats: 0, .. } => out.push_null(),
                    total => $finish(total, out),
                }
            }

            fn memory(&self) -> usize {
                if matches!(self.0, Total::Parts(_)) { size_of::<Parts>() } else { 0 }
            }

            fn save(&self, out: &mut StateWriter) {
                self.0.to_parts().save(out);
            }

            fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
                Parts::load(from).map(Parts::into_total).map(Self)
            }
        }
    };
}

/// `sum(x)`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Sum(Total);

total_fold!(Sum, "sum", |total: &Parts, out: &mut Column| match i64::try_from(total.ints) {
    Ok(sum) if total.n_floats == 0 => out.push_int(sum),
    _ => out.push_float(total.all()),
});

/// `avg(x)`: of integers an integer, cut off towards zero (S11).
#[derive(Debug, Clone, Default)]
pub(crate) struct Avg(Total);

total_fold!(Avg, "avg", |total: &Parts, out: &mut Column| {
    if total.n_floats == 0 {
        // An average lies between values of 64 bits.
        out.push_int((total.ints / i128::from(total.n_ints)) as i64);
    } else {
        out.push_float(total.all() / (total.n_ints + total.n_floats) as f64);
    }
});

/// Count, mean and the sum of squared distances from it (Welford).
#[derive(Debug, Clone, Default)]
pub(crate) struct Spread<const SAMPLE: bool, const ROOT: bool> {
    n: u64,
    mean: f64,
    squares: f64,
    failure: Option<Box<RowError>>,
}

impl<const SAMPLE: bool, const ROOT: bool> Spread<SAMPLE, ROOT> {
    const fn function() -> &'static str {
        match (SAMPLE, ROOT) {
            (false, true) => "stddev",
            (true, true) => "stddevs",
            (false, false) => "var",
            (true, false) => "vars",
        }
    }
}

impl<const SAMPLE: bool, const ROOT: bool> Fold for Spread<SAMPLE, ROOT> {
    const NAME: &'static str = Self::function();

    fn add(&mut self, args: &[Cell<'_>], cx: &EvalCx<'_>) {
        match args.first().unwrap_or(&Cell::Missing) {
            Cell::Missing | Cell::Null => {}
            Cell::Int(value) => self.add_float(*value as f64, cx),
            Cell::Float(value) => self.add_float(*value, cx),
            other => {
                let text = format!("requires float64 slice but found {}", described(other));
                self.failure.get_or_insert_with(|| Box::new(RowError::text(text)));
            }
        }
    }

    #[inline]
    fn add_float(&mut self, value: f64, _cx: &EvalCx<'_>) {
        self.n += 1;
        let distance = value - self.mean;
        self.mean += distance / self.n as f64;
        self.squares += distance * (value - self.mean);
    }

    fn merge(&mut self, later: &Self) {
        self.failure = self.failure.take().or_else(|| later.failure.clone());
        if later.n == 0 {
            return;
        }
        // Nothing and a huge value have no distance, which squared would be infinite.
        if self.n == 0 {
            (self.n, self.mean, self.squares) = (later.n, later.mean, later.squares);
            return;
        }
        let (n, m) = (self.n as f64, later.n as f64);
        let distance = later.mean - self.mean;
        self.mean += distance * m / (n + m);
        self.squares += later.squares + distance * distance * n * m / (n + m);
        self.n += later.n;
    }

    fn finish(&self, out: &mut Column, _cx: &EvalCx<'_>) {
        if let Some(error) = &self.failure {
            return out.push_error(super::named(Self::NAME, error));
        }
        // S16: the sample forms of one value are null.
        let divisor = if SAMPLE { self.n.saturating_sub(1) } else { self.n };
        match divisor {
            0 => out.push_null(),
            divisor if ROOT => out.push_float((self.squares / divisor as f64).sqrt()),
            divisor => out.push_float(self.squares / divisor as f64),
        }
    }

    fn save(&self, out: &mut StateWriter) {
        out.u64(self.n);
        out.f64(self.mean);
        out.f64(self.squares);
        save_failure(self.failure.as_deref(), out);
    }

    fn load(from: &mut StateReader<'_>) -> Result<Self, StateError> {
        Ok(Self { n: from.u64()?, mean: from.f64()?, squares: from.f64()?, failure: load_failure(from)? })
    }
}
