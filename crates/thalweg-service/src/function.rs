//! A function of a service as expressions see it.

use std::fmt;
use std::sync::Arc;

use thalweg_core::{Column, Diagnostic, RowError, Value};
use thalweg_expr::function::{ArgShape, CallCx, Frame, RemoteFunction};

use crate::host::Catalog;

/// A function by its name. It finds its service anew with each batch, because an update may have replaced it.
pub(crate) struct ServiceFunction {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) name: String,
    pub(crate) host: String,
    /// When the rule was planned.
    pub(crate) only_reads: bool,
}

impl fmt::Debug for ServiceFunction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.name, self.host)
    }
}

impl RemoteFunction for ServiceFunction {
    fn name(&self) -> &str {
        &self.name
    }

    fn host(&self) -> &str {
        &self.host
    }

    fn is_aggregate(&self) -> Result<bool, Diagnostic> {
        Ok(false)
    }

    /// As upstream, which learns from the first call (functions.md 19).
    fn validate(&self, _: &[ArgShape]) -> Result<(), Diagnostic> {
        Ok(())
    }

    /// Calls that only read may be left out where the result does not matter.
    fn may_keep_state(&self) -> bool {
        !self.only_reads
    }

    fn call(&self, frame: &Frame<'_>, out: &mut Column, _: &CallCx<'_>) {
        if let Some((_, n_groups)) = frame.groups {
            let why = RowError::text(format!("call func {} error: it is no aggregate", self.name));
            (0..n_groups).for_each(|_| out.push_error(why.clone()));
            return;
        }
        let rows: Vec<Vec<Value>> = frame
            .rows
            .iter()
            .map(|row| frame.args.iter().map(|arg| arg.cell(row).to_value()).collect())
            .collect();
        for answer in self.catalog.call(&self.name, &rows) {
            match answer {
                Ok(value) => out.push_value(&value),
                Err(why) => out.push_error(RowError::text(format!("call func {} error: {why}", self.name))),
            }
        }
    }
}
