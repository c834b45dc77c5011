//! Finding a function by name: built-ins first, then whatever plugins bring (portable-plugins.md 1).

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::Diagnostic;

use crate::builtin;
use crate::function::{Function, FunctionRef, RemoteFunction};

/// Why a rule suffers from a host of functions, sources or sinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostTrouble {
    /// The node of the rule.
    pub node: String,
    /// For machines, `plugin_hung` say.
    pub cause: &'static str,
    /// For so long.
    pub lasting: Duration,
    /// Nothing gets through, rather than not everything.
    pub is_failing: bool,
    /// For people.
    pub hint: String,
}

/// Where functions that live elsewhere are found.
pub trait RemoteFunctions: Send + Sync {
    /// The function of this (case-sensitive) name, if somebody offers it. May start its host.
    ///
    /// # Errors
    /// It is offered, but its host does not come up.
    fn resolve(&self, name: &str) -> Result<Option<Arc<dyn RemoteFunction>>, Diagnostic>;

    /// All names offered, for hints.
    fn names(&self) -> Vec<String>;

    /// What is wrong now with the hosts that a rule uses. Must be quick.
    fn troubles(&self, _rule: &str) -> Vec<HostTrouble> {
        Vec::new()
    }
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

    /// The function of this name: built-ins in any case, others exactly. A plugin goes before a function of its name
    /// that upstream, too, has only as a plugin.
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
        Ok(shipped(name).map(FunctionRef::Builtin))
    }

    /// What is wrong now with the hosts that a rule uses.
    pub fn troubles(&self, rule: &str) -> Vec<HostTrouble> {
        self.remote.iter().flat_map(|remote| remote.troubles(rule)).collect()
    }

    /// All names, for hints.
    pub fn names(&self) -> Vec<String> {
        let builtin =
            builtin::TABLES.iter().copied().flatten().flat_map(|f| f.aliases.iter().copied().chain([f.name]));
        let shipped = builtin::SHIPPED.iter().copied().flatten().map(|function| function.name);
        builtin
            .chain(shipped)
            .map(str::to_owned)
            .chain(self.remote.iter().flat_map(|remote| remote.names()))
            .collect()
    }
}

/// The function of exactly this name that upstream ships as a plugin.
pub fn shipped(name: &str) -> Option<&'static Function> {
    builtin::SHIPPED.iter().copied().flatten().find(|function| function.name == name)
}

/// The built-in of this name or alias, in any case.
pub fn builtin(name: &str) -> Option<&'static Function> {
    builtin::TABLES.iter().copied().flatten().find(|function| {
        function.name.eq_ignore_ascii_case(name)
            || function.aliases.iter().any(|alias| alias.eq_ignore_ascii_case(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::function::{ArgShape, CallCx, Frame};

    #[derive(Debug)]
    struct Plugin;

    impl RemoteFunction for Plugin {
        fn name(&self) -> &str {
            "echo"
        }

        fn host(&self) -> &str {
            "plugin"
        }

        fn is_aggregate(&self) -> Result<bool, Diagnostic> {
            Ok(false)
        }

        fn validate(&self, _args: &[ArgShape]) -> Result<(), Diagnostic> {
            Ok(())
        }

        fn call(&self, _frame: &Frame<'_>, _out: &mut thalweg_core::Column, _cx: &CallCx<'_>) {}
    }

    impl RemoteFunctions for Plugin {
        fn resolve(&self, name: &str) -> Result<Option<Arc<dyn RemoteFunction>>, Diagnostic> {
            Ok((name == "echo" || name == "abs").then(|| Arc::new(Plugin) as Arc<dyn RemoteFunction>))
        }

        fn names(&self) -> Vec<String> {
            vec!["echo".to_owned()]
        }
    }

    /// functions.md 1.5 and 19.
    #[test]
    fn built_ins_win_over_plugins_and_plugins_over_what_upstream_ships_as_a_plugin() {
        let kind = |registry: &FunctionRegistry, name: &str| match registry.resolve(name) {
            Ok(Some(FunctionRef::Builtin(_))) => "ours",
            Ok(Some(FunctionRef::Remote(_))) => "the plugin's",
            _ => "none",
        };
        let (alone, with_plugin) =
            (FunctionRegistry::default(), FunctionRegistry::new(vec![Arc::new(Plugin)]));
        assert_eq!(kind(&with_plugin, "ABS"), "ours");
        assert_eq!(kind(&with_plugin, "abs"), "ours");
        assert_eq!(kind(&with_plugin, "echo"), "the plugin's");
        assert_eq!(kind(&alone, "echo"), "ours");
        assert_eq!(kind(&alone, "Echo"), "none");
        assert_eq!(kind(&alone, "geohashEncode"), "ours");
        assert_eq!(kind(&alone, "geohashencode"), "none");
    }
}
