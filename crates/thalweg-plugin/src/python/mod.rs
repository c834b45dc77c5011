//! Plugins that pip installs: environments, what they offer, and the processes that run it (`portable-plugins.md` 11).
//!
//! A host process is a plugin like one from a zip, whose package is an environment and whose symbols are what the
//! environment's distributions offer; so all that is true of plugins (restarts, status, limits) is true of hosts. What
//! is new here is how an environment changes: see [`change`].

mod change;
mod claims;
mod folder;
mod hosts;
mod manifest;
mod name;
pub(crate) mod pip;
mod show;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use thalweg_core::registry::{ConnectorRef, Registry};
use thalweg_expr::registry::builtin;
use thiserror::Error;
use tracing::warn;

use self::claims::{Claims, Prior};
use self::folder::{Folder, Generation, Record};
use self::hosts::HostPlan;
use crate::catalog::{Catalog, Hosted};
use crate::config::HostConfig;
use crate::manifest::Kind;

pub use change::{Install, What};
pub use show::Changed;

/// The environment of those who name none.
pub(crate) const DEFAULT: &str = "default";

/// Which rules use a symbol: given `function`, `source` or `sink` and its name.
pub type Users<'a> = &'a dyn Fn(&str, &str) -> Vec<String>;

/// Why a request about distributions was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PythonError {
    /// There is no such environment, distribution or generation.
    #[error("{0}")]
    NotFound(String),
    /// Rules or another request are in the way.
    #[error("{0}")]
    InUse(String),
    /// The request, the distribution or the machine is at fault.
    #[error("{0}")]
    Refused(String),
}

impl From<String> for PythonError {
    fn from(text: String) -> Self {
        Self::Refused(text)
    }
}

/// All environments of one engine. Its methods block: call them from where that is allowed.
pub struct PythonPlugins {
    catalog: Arc<Catalog>,
    registry: Arc<Registry>,
    environments: Mutex<BTreeMap<String, Environment>>,
    /// Environments that are being changed.
    busy: Mutex<BTreeSet<String>>,
}

/// One environment as it is in force.
#[derive(Debug, Clone)]
struct Environment {
    generation: Generation,
    record: Arc<Record>,
}

impl PythonPlugins {
    pub(crate) fn new(catalog: Arc<Catalog>, registry: Arc<Registry>) -> Self {
        Self { catalog, registry, environments: Mutex::default(), busy: Mutex::default() }
    }

    fn config(&self) -> &HostConfig {
        &self.catalog.config
    }

    fn environments(&self) -> MutexGuard<'_, BTreeMap<String, Environment>> {
        self.environments.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn folder(&self, env: &str) -> Folder {
        Folder { dir: self.root().join(env) }
    }

    fn root(&self) -> PathBuf {
        let data = &self.config().data_dir;
        data.canonicalize().unwrap_or_else(|_| data.clone()).join("pyenvs")
    }

    /// At boot: finishes what was interrupted, offers what is installed, and starts the hosts in the background.
    /// Returns what is wrong.
    pub(crate) fn start_all(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let entries = fs::read_dir(self.root()).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        for env in names {
            if env.starts_with('.') {
                // Files on their way into an environment when the engine ended.
                let _ = fs::remove_dir_all(self.root().join(&env));
            } else if name::check_environment(&env).is_ok() {
                self.folder(&env).tidy();
                if let Some(environment) = self.read(&env, &mut problems) {
                    self.environments().insert(env, environment);
                }
            }
        }
        let claims = self.claims();
        self.publish(&claims);
        for conflict in &claims.conflicts {
            problems.extend(conflict.losers.iter().map(|loser| conflict.text(loser)));
        }
        for (env, environment) in self.environments().clone() {
            let plans = environment.plan(&env, &claims);
            if let Err(error) = hosts::start(&self.catalog, &plans) {
                problems.push(format!("environment {env}: {error}"));
            }
        }
        problems
    }

    /// What is in force, described anew when it is not what was described.
    fn read(&self, env: &str, problems: &mut Vec<String>) -> Option<Environment> {
        let generation = self.folder(env).current()?;
        let mut record = generation.record().unwrap_or_default();
        let installed = generation.installed();
        let seen = pip::note_sdk(&generation, self.config()).and_then(|()| {
            if record.installed == installed {
                return Ok(());
            }
            record.manifest = pip::describe(env, &generation, self.config())?;
            record.installed = generation.installed();
            generation.write_record(&record)
        });
        problems.extend(seen.err().map(|error| format!("environment {env}: {error}")));
        Some(Environment { generation, record: Arc::new(record) })
    }

    /// Who has which name, over all environments.
    fn claims(&self) -> Claims {
        self.claims_with(None)
    }

    /// The same as if an environment were in this state.
    fn claims_with(&self, other: Option<(&str, &Record)>) -> Claims {
        let environments = self.environments().clone();
        let mut records: BTreeMap<&str, &Record> =
            environments.iter().map(|(env, environment)| (env.as_str(), &*environment.record)).collect();
        records.extend(other);
        let manifests: Vec<_> =
            records.into_iter().map(|(env, record)| (env.to_owned(), &record.manifest)).collect();
        claims::decide(&manifests, &self.config().python.prefer, &|kind, name| self.prior(kind, name))
    }

    fn prior(&self, kind: Kind, symbol: &str) -> Option<Prior> {
        let is_builtin = |found: Option<ConnectorRef>| matches!(found, Some(ConnectorRef::Builtin(_)));
        let is_ours = match kind {
            Kind::Function => builtin(symbol).is_some(),
            Kind::Source => is_builtin(self.registry.source(symbol)),
            Kind::Sink => is_builtin(self.registry.sink(symbol)),
        };
        if is_ours {
            return Some(Prior::Builtin);
        }
        self.catalog.read().zip_owner(kind, symbol).map(|owner| Prior::Plugin(owner.clone()))
    }

    /// Lets rules find what the environments in force offer.
    fn publish(&self, claims: &Claims) {
        let environments = self.environments().clone();
        let mut hosted = BTreeMap::new();
        for (key, claim) in &claims.winners {
            if let Some(environment) = environments.get(&claim.env) {
                let placement = hosts::placement(&environment.record, &claim.distribution);
                let plugin = hosts::host_name(&claim.env, &claim.distribution, placement);
                let workers: Vec<String> = match (key.0, claim.is_parallel) {
                    (Kind::Function, true) => {
                        hosts::workers(&claim.env, &claim.distribution, placement).collect()
                    }
                    _ => Vec::new(),
                };
                // They must be there before somebody looks them up.
                for name in workers.iter().chain([&plugin]) {
                    self.catalog.plugin(name);
                }
                let is_preferred = claim.is_preferred;
                hosted.insert(key.clone(), Hosted { plugin, is_preferred, workers });
            }
        }
        let all = self.catalog.write().host(hosted);
        for (kind, symbol) in all {
            self.catalog.publish(&self.registry, kind, &symbol);
        }
    }

    fn occupy(&self, env: &str) -> Result<Busy<'_>, PythonError> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(env.to_owned()) {
            let text = format!("environment {env} is being changed by another request");
            return Err(PythonError::InUse(text));
        }
        Ok(Busy { plugins: self, env: env.to_owned() })
    }
}

impl Environment {
    fn plan(&self, env: &str, claims: &Claims) -> Vec<HostPlan> {
        hosts::plan(env, &self.generation, &self.record, claims)
    }
}

/// While it lives, nobody else changes the environment.
struct Busy<'a> {
    plugins: &'a PythonPlugins,
    env: String,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.plugins.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.env);
    }
}

/// Names that were lost, for the answer and the log.
fn lost(claims: &Claims, env: &str) -> Vec<String> {
    let of_env = claims.conflicts.iter().flat_map(|conflict| {
        conflict.losers.iter().filter(|loser| loser.env == env).map(|loser| conflict.text(loser))
    });
    let texts: Vec<String> = of_env.collect();
    texts.iter().for_each(|text| warn!(env, "{text}"));
    texts
}
