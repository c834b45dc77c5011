//! Finding a function by name: built-ins first, then whatever plugins bring (portable-plugins.md 1).

use std::sync::Arc;

use thalweg_core::Diagnostic;

use crate::builtin;
use crate::function::{Function, FunctionRef, RemoteFunction};

/// Where functions that live elsewhere are found.
pub trait RemoteFunctions: Send + Sync {
    /// The function of this (case-sensitive) name, if somebody offers it. May start its host.
    ///
    /// # Errors
    /// It is offered, but its host does not come up.
    fn resolve(&self, name: &str) -> Result<Option<Arc<dyn RemoteFunction>>, Diagnostic>;

    /// All names offered, for hints.
    fn names(&self) -> Vec<String>;
}

/// All functions that a statement may call.
#[derive(Clone, Default)]
pub struct FunctionRegistry {
    remote: Vec<Arc<dyn RemoteFunctions>>,
}

impl FunctionRegistry {
    /// Built-ins, then these in order.
    pub fn new(remote: Vec<Arc<dyn RemoteFunctions>>) -> Self {
        Self { remote }
    }

    /// The function of this name: built-ins in any case, others exactly.
    ///
    /// # Errors
    /// It exists, but cannot be used now.
    pub fn resolve(&self, name: &str) -> Result<Option<FunctionRef>, Diagnostic> {
        if let Some(function) = builtin(name) {
            return Ok(Some(FunctionRef::Builtin(function)));
        }
        for remote in &self.remote {
            if let Some(function) = remote.resolve(name)? {
                return Ok(Some(FunctionRef::Remote(function)));
            }
        }
        Ok(None)
    }

    /// All names, for hints.
    pub fn names(&self) -> Vec<String> {
        let builtin =
            builtin::TABLES.iter().copied().flatten().flat_map(|f| f.aliases.iter().copied().chain([f.name]));
        builtin.map(str::to_owned).chain(self.remote.iter().flat_map(|remote| remote.names())).collect()
    }
}

/// The built-in of this name or alias, in any case.
pub fn builtin(name: &str) -> Option<&'static Function> {
    builtin::TABLES.iter().copied().flatten().find(|function| {
        function.name.eq_ignore_ascii_case(name)
            || function.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    })
}
