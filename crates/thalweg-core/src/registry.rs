//! Registries of connectors and formats, and what connectors of one engine share.

use std::any::{Any, TypeId};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::connector::{Connector, ConnectorKind};
use crate::diagnostic::Diagnostic;
use crate::format::Format;
use crate::props::Props;
use crate::spec::{self, PropSpec, Roles};

/// One value per type, made on first use: memory topics, MQTT clients shared by address … There is no global state,
/// so two engines in one process share nothing.
#[derive(Default)]
pub struct Shared {
    parts: Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>,
}

impl Shared {
    /// The engine's `T`.
    pub fn get<T: Any + Send + Sync + Default>(&self) -> Arc<T> {
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts.entry(TypeId::of::<T>()).or_insert_with(|| Arc::new(T::default()));
        Arc::clone(part).downcast().unwrap_or_default()
    }
}

/// Holds back what must not begin before all rules are there, when the engine starts: a broker that has kept a session
/// sends at once, and what nobody listens to would be lost.
#[derive(Default)]
pub struct Gate {
    /// What waits, while the gate is closed.
    waiting: Mutex<Option<Vec<Waiting>>>,
}

type Waiting = Box<dyn FnOnce() + Send>;

impl Gate {
    /// Closes it.
    pub fn close(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default();
    }

    /// Opens it for good, or until it is closed again.
    pub fn open(&self) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        waiting.into_iter().flatten().for_each(|begin| begin());
    }

    /// Does this now, or when the gate is opened.
    pub fn pass(&self, begin: impl FnOnce() + Send + 'static) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.as_mut() {
            return waiting.push(Box::new(begin));
        }
        drop(waiting);
        begin();
    }
}

/// The connectors and formats that rules may name: the static tables and what plugins bring.
pub struct Registry {
    connectors: &'static [Connector],
    formats: &'static [&'static dyn Format],
    common: [&'static [PropSpec]; 2],
    plugins: RwLock<BTreeMap<String, Arc<dyn ConnectorKind>>>,
}

/// A connector found by name.
#[derive(Clone)]
pub enum ConnectorRef {
    /// From the static table.
    Builtin(&'static Connector),
    /// From a plugin.
    Plugin(Arc<dyn ConnectorKind>),
}

impl std::ops::Deref for ConnectorRef {
    type Target = dyn ConnectorKind;

    fn deref(&self) -> &Self::Target {
        match self {
            Self::Builtin(connector) => *connector,
            Self::Plugin(connector) => connector.as_ref(),
        }
    }
}

impl Registry {
    /// A registry over these tables.
    pub fn new(connectors: &'static [Connector], formats: &'static [&'static dyn Format]) -> Self {
        Self { connectors, formats, common: [&[], &[]], plugins: RwLock::default() }
    }

    /// The same with the properties that every source and every sink understands beside its own.
    pub fn with_common(self, sources: &'static [PropSpec], sinks: &'static [PropSpec]) -> Self {
        Self { common: [sources, sinks], ..self }
    }

    /// Checks the values of the properties that every source or every sink understands. `owner` begins the message.
    ///
    /// # Errors
    /// The first value whose type or range is wrong.
    pub fn check_common(&self, owner: &str, role: Roles, props: &Props) -> Result<(), Diagnostic> {
        spec::check(owner, self.common(role), role, props)
    }

    /// The properties that neither the connector nor every source or sink understands, each with the nearest name.
    /// None for plugins, whose properties are not known.
    pub fn unknown<'p>(
        &self,
        connector: &ConnectorRef,
        role: Roles,
        props: &'p Props,
    ) -> Vec<(&'p str, Option<&'static str>)> {
        let ConnectorRef::Builtin(connector) = connector else { return Vec::new() };
        let own = connector.props.iter().filter(|spec| spec.roles.contains(role));
        let all: Vec<PropSpec> = own.chain(self.common(role)).copied().collect();
        spec::unknown(&all, props)
    }

    /// The properties that are known and have no effect, with what holds instead. None for plugins.
    pub fn inert(&self, connector: &ConnectorRef, role: Roles, props: &Props) -> Vec<String> {
        let own = match connector {
            ConnectorRef::Builtin(connector) => connector.props,
            ConnectorRef::Plugin(_) => &[],
        };
        let own = own.iter().filter(|spec| spec.roles.contains(role));
        let is_own = |common: &&PropSpec| own.clone().any(|spec| spec.name == common.name);
        let common = self.common(role).iter().filter(|common| !is_own(common));
        spec::inert(&own.clone().chain(common).copied().collect::<Vec<_>>(), props)
    }

    /// The properties that every source or every sink understands.
    pub fn common(&self, role: Roles) -> &'static [PropSpec] {
        if role == Roles::SINK { self.common[1] } else { self.common[0] }
    }

    /// The source connector of this name: built-in first, then plugins.
    pub fn source(&self, name: &str) -> Option<ConnectorRef> {
        self.find(name, |connector| connector.has_source())
    }

    /// The sink connector of this name.
    pub fn sink(&self, name: &str) -> Option<ConnectorRef> {
        self.find(name, |connector| connector.has_sink())
    }

    /// The lookup connector of this name.
    pub fn lookup(&self, name: &str) -> Option<ConnectorRef> {
        self.find(name, |connector| connector.has_lookup())
    }

    /// The connector of this name that makes connections.
    pub fn connector(&self, name: &str) -> Option<ConnectorRef> {
        self.find(name, |_| true)
    }

    /// The format of this name, in any case.
    pub fn format(&self, name: &str) -> Option<&'static dyn Format> {
        self.formats.iter().copied().find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// The names of all formats.
    pub fn format_names(&self) -> Vec<String> {
        self.formats.iter().map(|format| format.name().to_owned()).collect()
    }

    /// The names of all connectors for which `role` holds, sorted.
    pub fn names(&self, role: fn(&dyn ConnectorKind) -> bool) -> Vec<String> {
        let builtin = self
            .connectors
            .iter()
            .filter(|connector| role(*connector))
            .map(|connector| connector.name.to_owned());
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        let plugged =
            plugins.values().filter(|connector| role(connector.as_ref())).map(|c| c.name().to_owned());
        let mut names: Vec<String> = builtin.chain(plugged).collect();
        names.sort();
        names.dedup();
        names
    }

    /// Adds or replaces a plugin's connector. Names are case-sensitive; `source:` and `sink:` of one name may come
    /// from different plugins, so `key` tells them apart.
    pub fn add_plugin(&self, key: &str, connector: Arc<dyn ConnectorKind>) {
        self.plugins.write().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), connector);
    }

    /// Removes a plugin's connector.
    pub fn remove_plugin(&self, key: &str) {
        self.plugins.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    fn find(&self, name: &str, role: impl Fn(&dyn ConnectorKind) -> bool) -> Option<ConnectorRef> {
        let builtin = self.connectors.iter().find(|c| c.name.eq_ignore_ascii_case(name) && role(*c));
        if let Some(connector) = builtin {
            return Some(ConnectorRef::Builtin(connector));
        }
        let plugins = self.plugins.read().unwrap_or_else(PoisonError::into_inner);
        let found = plugins.values().find(|connector| connector.name() == name && role(connector.as_ref()));
        found.map(|connector| ConnectorRef::Plugin(Arc::clone(connector)))
    }
}
