//! The processes of an environment: which there are, whether new ones would come up, and the change to them.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use tracing::warn;

use super::claims::Claims;
use super::folder::{Generation, Placement, Record};
use super::name::normal;
use crate::catalog::Catalog;
use crate::channel::socket_path_fits;
use crate::manifest::{Kind, Manifest};
use crate::package::Package;
use crate::plugin::Plugin;
use crate::sockets;

/// For calls that do not end by themselves others must not wait too long.
const QUIET: Duration = Duration::from_secs(2);

/// One process to be.
#[derive(Debug, Clone)]
pub(crate) struct HostPlan {
    /// Of the plugin behind it, and of its control channel.
    pub(crate) name: String,
    env: String,
    /// Distributions by the one spelling of their names.
    pub(crate) distributions: BTreeSet<String>,
    symbols: BTreeMap<Kind, Vec<String>>,
    /// Who has the names that several want.
    prefer: BTreeMap<String, String>,
    generation: Generation,
}

/// The name of the process that runs a distribution.
pub(crate) fn host_name(env: &str, distribution: &str, placement: Placement) -> String {
    if placement.isolate { format!("{env}-{}-host", normal(distribution)) } else { format!("{env}-host") }
}

/// The names of the further processes for a distribution's functions that may be called in parallel.
pub(crate) fn workers(env: &str, distribution: &str, placement: Placement) -> impl Iterator<Item = String> {
    let distribution = normal(distribution);
    (2..=placement.workers).map(move |number| format!("{env}-{distribution}-host-w{number}"))
}

/// Where a distribution runs.
pub(crate) fn placement(record: &Record, distribution: &str) -> Placement {
    record.placements.get(&normal(distribution)).copied().unwrap_or_default()
}

/// The processes of one environment: none where nothing is offered.
pub(crate) fn plan(env: &str, generation: &Generation, record: &Record, claims: &Claims) -> Vec<HostPlan> {
    let mut plans: BTreeMap<String, HostPlan> = BTreeMap::new();
    for ((kind, symbol), claim) in claims.winners.iter().filter(|(_, claim)| claim.env == env) {
        let placement = placement(record, &claim.distribution);
        let mut names = vec![host_name(env, &claim.distribution, placement)];
        if *kind == Kind::Function && claim.is_parallel {
            names.extend(workers(env, &claim.distribution, placement));
        }
        for name in names {
            let plan = plans.entry(name.clone()).or_insert_with(|| HostPlan {
                name,
                env: env.to_owned(),
                distributions: BTreeSet::new(),
                symbols: BTreeMap::new(),
                prefer: BTreeMap::new(),
                generation: generation.clone(),
            });
            plan.distributions.insert(normal(&claim.distribution));
            plan.symbols.entry(*kind).or_default().push(symbol.clone());
            plan.prefer.insert(symbol.clone(), claim.distribution.clone());
        }
    }
    plans.into_values().collect()
}

impl HostPlan {
    fn manifest(&self) -> Manifest {
        let of = |kind: Kind| self.symbols.get(&kind).cloned();
        Manifest {
            name: self.name.clone(),
            language: "python".to_owned(),
            sources: of(Kind::Source),
            sinks: of(Kind::Sink),
            functions: of(Kind::Function),
            ..Manifest::default()
        }
    }

    /// What runs it under this name on the control channel.
    fn package(&self, control: &str) -> Arc<Package> {
        // Texts, which cannot fail.
        let prefer = serde_json::to_string(&self.prefer).unwrap_or_default();
        let args = ["-m", "thalweg_sdk.host", "--env", &self.env, "--control", control, "--prefer", &prefer];
        let args = args.map(OsString::from).to_vec();
        Arc::new(Package::host(self.manifest(), &self.generation.dir, self.generation.python(), args))
    }

    fn check(&self) -> Result<(), String> {
        // The name of the trial is the longest.
        if socket_path_fits(&sockets::usual_control(&format!("{}-next", self.name))) {
            return Ok(());
        }
        Err(format!(
            "the name {} is too long for a socket: choose a shorter name for the environment",
            self.name
        ))
    }
}

/// Starts these processes beside those that run, and ends them after their handshakes.
pub(crate) fn try_out(catalog: &Catalog, plans: &[HostPlan]) -> Result<(), String> {
    plans.iter().try_for_each(HostPlan::check)?;
    let mut trials = Vec::new();
    let mut result = Ok(());
    for plan in plans {
        let name = format!("{}-next", plan.name);
        let plugin = Plugin::new(&name, Arc::clone(&catalog.config));
        result = result.and_then(|()| plugin.start(plan.package(&name)));
        trials.push(plugin);
    }
    for plugin in &trials {
        result = result.and_then(|()| plugin.wait_ready(false).map(drop));
    }
    for plugin in trials {
        plugin.stop();
        plugin.remove();
    }
    result.map_err(|error| format!("the new host does not come up: {error}"))
}

/// Starts processes at boot, without waiting for them.
pub(crate) fn start(catalog: &Catalog, plans: &[HostPlan]) -> Result<(), String> {
    for plan in plans {
        plan.check()?;
        catalog.plugin(&plan.name).start(plan.package(&plan.name))?;
    }
    Ok(())
}

/// Puts these processes in the place of the others; `publish` lets rules find them. Calls that come meanwhile wait.
pub(crate) fn swap(
    catalog: &Catalog,
    before: &[HostPlan],
    plans: &[HostPlan],
    publish: &dyn Fn(),
) -> Result<(), String> {
    let all: Vec<Arc<Plugin>> = plans.iter().map(|plan| catalog.plugin(&plan.name)).collect();
    let both = || plans.iter().zip(&all);
    let (running, fresh): (Vec<_>, Vec<_>) = both().partition(|(_, plugin)| plugin.package().is_some());
    for (plan, plugin) in fresh {
        plugin.start(plan.package(&plan.name))?;
    }
    running.iter().for_each(|(_, plugin)| quiet(catalog, plugin));
    publish();
    for (plan, plugin) in running {
        plugin.stop_for_next();
        let functions = plan.symbols.get(&Kind::Function);
        catalog.abandon_channels(plugin, &|name| {
            functions.is_none_or(|functions| !functions.iter().any(|function| function == name))
        });
        catalog.refresh(plugin);
        plugin.start(plan.package(&plan.name))?;
    }
    all.iter().try_for_each(|plugin| plugin.wait_ready(false).map(drop))?;
    for gone in before.iter().filter(|old| plans.iter().all(|plan| plan.name != old.name)) {
        end(catalog, &gone.name);
    }
    Ok(())
}

/// Lets the calls in hand end and those that come wait, and keeps what stateful functions remember.
fn quiet(catalog: &Catalog, plugin: &Arc<Plugin>) {
    plugin.hold(QUIET);
    for channel in catalog.channels_of(plugin) {
        if let Err(error) = channel.hand_down() {
            warn!(plugin = %plugin.name, "what a function remembers is that of the last checkpoint: {error}");
        }
    }
}

/// After a swap that failed.
pub(crate) fn put_back(catalog: &Catalog, before: &[HostPlan], plans: &[HostPlan]) {
    if let Err(error) = swap(catalog, plans, before, &|| {}) {
        warn!("the hosts of before cannot be started again: {error}");
    }
}

fn end(catalog: &Catalog, name: &str) {
    let Some(plugin) = catalog.read().plugins.get(name).cloned() else { return };
    plugin.stop();
    catalog.close_channels(Some(&plugin));
    plugin.remove();
    catalog.write().plugins.remove(name);
}
