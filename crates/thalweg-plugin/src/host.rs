//! The host: installs, removes and lists plugins, and offers what they declare.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thalweg_core::registry::Registry;
use thalweg_core::{Diagnostic, ErrorCode};
use thalweg_expr::function::RemoteFunction;
use thalweg_expr::registry::{HostTrouble, RemoteFunctions};
use tracing::{info, warn};

use crate::catalog::Catalog;
use crate::config::HostConfig;
use crate::control::Pulse;
use crate::error::PluginError;
use crate::function::PluginFunction;
use crate::group;
use crate::install::{self, Installation};
use crate::manifest::{Kind, Manifest, PluginInfo};
use crate::output::PluginLog;
use crate::package::Package;
use crate::plugin::Plugin;
use crate::python::PythonPlugins;
use crate::sdk;
use crate::sockets;
use crate::status::{CallTimes, PluginStatus};

/// The body of POST and PUT.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct InstallRequest {
    /// The plugin's name.
    pub name: String,
    /// The url of the zip.
    pub file: String,
    /// Arguments of `install.sh`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shell_paras: Option<Vec<String>>,
    /// Take over symbols that another plugin owns.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub replace: bool,
}

/// How long the status waits for what the plugin has counted.
const FRESH: Duration = Duration::from_millis(200);

/// Runs all portable plugins of one engine. Its methods block: call them from where that is allowed.
pub struct PluginHost {
    catalog: Arc<Catalog>,
    registry: Arc<Registry>,
    python: PythonPlugins,
    /// Plugins that are being installed, updated or removed.
    busy: Mutex<BTreeSet<String>>,
}

impl PluginHost {
    /// A host without plugins; see [`PluginHost::start_all`].
    pub fn new(config: HostConfig, registry: Arc<Registry>) -> Arc<Self> {
        let catalog = Catalog::new(Arc::new(config));
        let python = PythonPlugins::new(Arc::clone(&catalog), Arc::clone(&registry));
        Arc::new(Self { catalog, registry, python, busy: Mutex::default() })
    }

    /// What pip has installed.
    pub fn python(&self) -> &PythonPlugins {
        &self.python
    }

    fn config(&self) -> &HostConfig {
        &self.catalog.config
    }

    /// At boot, before the first rule: reads all installed plugins and starts their processes in the background.
    /// Whoever needs one waits for its handshake. Returns what is wrong, plugin by plugin; it is logged as well.
    pub fn start_all(&self) -> Vec<String> {
        let mut problems = Vec::new();
        group::end_orphans(&self.config().engine());
        sockets::sweep(self.config());
        if let Err(error) = fs::create_dir_all(&self.config().plugin_dir)
            .map_err(|error| error.to_string())
            .and_then(|()| sdk::unpack(&self.config().data_dir))
        {
            problems.push(error);
        }
        for (dir, name) in self.installed(&mut problems) {
            let started = Package::load(&dir, &name).and_then(|package| {
                let plugin = self.catalog.plugin(&name);
                problems.extend(self.register(&plugin, &package.manifest, false));
                plugin.start(Arc::new(package))
            });
            if let Err(error) = started {
                problems.push(format!("plugin {name}: {error}"));
            }
        }
        problems.extend(self.python.start_all());
        problems.iter().for_each(|problem| warn!("{problem}"));
        problems
    }

    /// The folders of plugins with their names, by name. A folder called `portables`, of which upstream's
    /// documentation speaks, is read too.
    fn installed(&self, problems: &mut Vec<String>) -> Vec<(PathBuf, String)> {
        let usual = &self.config().plugin_dir;
        let other = usual.with_file_name("portables");
        let folders = |base: &Path| {
            let entries = fs::read_dir(base).into_iter().flatten().flatten();
            let folders = entries.filter(|entry| entry.path().is_dir());
            let named =
                folders.filter_map(|entry| Some((entry.path(), entry.file_name().into_string().ok()?)));
            named.filter(|(_, name)| !name.starts_with('.')).collect::<Vec<_>>()
        };
        let mut found = folders(usual);
        for (dir, name) in folders(&other) {
            problems.push(format!(
                "plugin {name} is in {}; {} is the usual place",
                other.display(),
                usual.display()
            ));
            if !found.iter().any(|(_, there)| *there == name) {
                found.push((dir, name));
            }
        }
        found.sort_by(|a, b| a.1.cmp(&b.1));
        found
    }

    /// Ends all processes and closes all sockets.
    pub fn shutdown(&self) {
        let plugins: Vec<Arc<Plugin>> = self.catalog.read().plugins.values().cloned().collect();
        std::thread::scope(|scope| {
            for plugin in &plugins {
                scope.spawn(|| plugin.stop());
            }
        });
        self.catalog.close_channels(None);
        plugins.iter().for_each(|plugin| plugin.remove());
        sockets::sweep(self.config());
    }

    /// Copies what an url names (`http`, `https`, `file`) to a file, within what the configuration allows.
    ///
    /// # Errors
    /// It cannot be had or written, or is outside of what is allowed.
    pub fn fetch(&self, url: &str, target: &Path) -> Result<(), String> {
        self.config().fetch().download(url, target)
    }

    /// Installs a package and starts it: returns after the handshake.
    ///
    /// # Errors
    /// The texts of `rest-api.md` 11.1. Nothing is left behind.
    pub fn install(&self, request: &InstallRequest) -> Result<(), PluginError> {
        let name = checked_name(request)?;
        if self.describe(name).is_some() {
            return Err(PluginError::refused(format!("invalid name {name}: duplicate")));
        }
        let _busy = self.occupy(name)?;
        self.put(name, request)
    }

    /// Replaces an installed package by another one while rules go on; installs it if there is none. If the new
    /// one does not come up the old one is put back.
    ///
    /// # Errors
    /// As for [`PluginHost::install`].
    pub fn update(&self, request: &InstallRequest) -> Result<(), PluginError> {
        let name = checked_name(request)?;
        let _busy = self.occupy(name)?;
        self.put(name, request)
    }

    fn put(&self, name: &str, request: &InstallRequest) -> Result<(), PluginError> {
        let there = self.catalog.read().plugins.get(name).and_then(|plugin| plugin.package());
        if there.is_some_and(|package| package.is_host()) {
            let text = format!("invalid name {name}: a host of Python distributions is called so");
            return Err(PluginError::refused(text));
        }
        let config = self.config();
        let zip = config.plugin_dir.join(format!("{name}.zip"));
        let file = &request.file;
        let downloaded = fs::create_dir_all(&config.plugin_dir)
            .map_err(|error| error.to_string())
            .and_then(|()| config.fetch().download(file, &zip));
        let result = match downloaded {
            Err(why) => Err(format!("fail to download file {file}: {why}")),
            Ok(()) => {
                self.install_zip(&zip, name, request).map_err(|why| format!("fail to install plugin: {why}"))
            }
        };
        // It may never have been written.
        let _ = fs::remove_file(&zip);
        result.map_err(PluginError::Refused)
    }

    fn install_zip(&self, zip: &Path, name: &str, request: &InstallRequest) -> Result<(), String> {
        let (mut archive, manifest) = install::open(zip, name)?;
        if let Some((kind, symbol, owner)) = self.catalog.read().taken(&manifest).into_iter().next()
            && !request.replace
        {
            return Err(format!("{} {symbol} belongs to plugin {owner} already", kind.noun()));
        }
        let plugin = self.catalog.plugin(name);
        let old = plugin.package();
        let installation = Installation::unpack(&mut archive, &manifest, self.config())?;
        let started = installation
            .run_script(request.shell_paras.as_deref().unwrap_or_default(), self.config())
            .and_then(|()| Package::load(&self.config().plugin_dir.join(name), name))
            .and_then(|package| self.switch(&plugin, Arc::new(package)));
        match started {
            Ok(()) => {
                installation.keep();
                info!(plugin = name, "installed portable plugin {name} successfully");
                Ok(())
            }
            Err(error) => {
                if old.is_some() {
                    plugin.stop_for_next()
                } else {
                    plugin.stop()
                }
                installation.undo();
                self.put_back(&plugin, old);
                Err(error)
            }
        }
    }

    /// Ends the process of the version before, if there is one, and starts this one.
    fn switch(&self, plugin: &Arc<Plugin>, package: Arc<Package>) -> Result<(), String> {
        plugin.stop_for_next();
        self.unregister(plugin);
        self.register(plugin, &package.manifest, true);
        self.catalog.refresh(plugin);
        plugin.start(package)?;
        plugin.wait_ready(false).map(drop)
    }

    fn put_back(&self, plugin: &Arc<Plugin>, old: Option<Arc<Package>>) {
        self.unregister(plugin);
        match old {
            Some(package) => {
                self.register(plugin, &package.manifest, true);
                self.catalog.refresh(plugin);
                if let Err(error) = plugin.start(package) {
                    warn!(plugin = %plugin.name, "the version before cannot be started: {error}");
                }
            }
            None => {
                self.catalog.close_channels(Some(plugin));
                plugin.remove();
                self.catalog.write().plugins.remove(&*plugin.name);
            }
        }
    }

    /// Removes a plugin. Rules that use it see errors until its symbols are offered again.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn delete(&self, name: &str) -> Result<(), PluginError> {
        let not_found = || PluginError::NotFound(name.to_owned());
        let plugin = self.catalog.read().plugins.get(name).cloned().ok_or_else(not_found)?;
        let _busy = self.occupy(name)?;
        let package = plugin.package().filter(|package| !package.is_host()).ok_or_else(not_found)?;
        self.unregister(&plugin);
        plugin.stop();
        self.catalog.close_channels(Some(&plugin));
        plugin.remove();
        install::remove(&package, self.config());
        Ok(())
    }

    /// All installed plugins, by name.
    pub fn list(&self) -> Vec<PluginInfo> {
        let entries = self.catalog.read();
        let installed = entries.plugins.values().filter_map(|plugin| plugin.package());
        installed.filter(|package| !package.is_host()).map(|package| package.info()).collect()
    }

    /// One installed plugin.
    pub fn describe(&self, name: &str) -> Option<PluginInfo> {
        let plugin = self.catalog.read().plugins.get(name).cloned()?;
        plugin.package().filter(|package| !package.is_host()).map(|package| package.info())
    }

    /// The state of a plugin, also of one that was deleted; `None` if there was never one.
    pub fn status(&self, name: &str) -> Option<PluginStatus> {
        let plugin = self.catalog.read().plugins.get(name).cloned()?;
        // What its symbols have counted comes with the answer. A process that gives none is no hindrance.
        let _ = plugin.ping(FRESH);
        let mut status = plugin.status()?;
        for symbol in status.symbols.iter_mut().filter(|symbol| symbol.kind == Kind::Function.noun()) {
            let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
            symbol.times = self.catalog.timing(&symbol.name, name).map(|timing| CallTimes {
                calls: timing.calls,
                waiting_us: micros(timing.waiting),
                calling_us: micros(timing.calling),
            });
        }
        Some(status)
    }

    /// The last lines that a plugin printed, at most so many (200 are kept), also of one that was deleted; `None` if
    /// there was never one.
    pub fn logs(&self, name: &str, n_lines: usize) -> Option<PluginLog> {
        let plugin = self.catalog.read().plugins.get(name).cloned()?;
        Some(plugin.output.tail(n_lines))
    }

    /// Asks a plugin's process for a sign of life; `None` if there is no such plugin.
    pub fn ping(&self, name: &str, limit: Duration) -> Option<Result<Pulse, String>> {
        let plugin = self.catalog.read().plugins.get(name).cloned()?;
        Some(plugin.ping(limit))
    }

    /// Offers what a plugin declares. A name that another plugin owns is taken over or left, which is reported.
    fn register(&self, plugin: &Arc<Plugin>, manifest: &Manifest, takes_over: bool) -> Vec<String> {
        let taken = self.catalog.read().taken(manifest);
        let mut conflicts = Vec::new();
        for kind in Kind::ALL {
            for symbol in manifest.symbols(kind) {
                let other = taken.iter().find(|(taken_kind, name, _)| *taken_kind == kind && name == symbol);
                if let (Some((_, _, owner)), false) = (other, takes_over) {
                    conflicts.push(format!(
                        "plugin {}: {} {symbol} belongs to plugin {owner}",
                        plugin.name,
                        kind.noun()
                    ));
                    continue;
                }
                self.catalog.write().own(kind, symbol, &plugin.name);
                self.catalog.publish(&self.registry, kind, symbol);
            }
        }
        conflicts
    }

    fn unregister(&self, plugin: &Plugin) {
        let gone = self.catalog.write().disown(&plugin.name);
        for (kind, symbol) in gone {
            self.catalog.publish(&self.registry, kind, &symbol);
        }
    }

    fn occupy(&self, name: &str) -> Result<Busy<'_>, PluginError> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        if !busy.insert(name.to_owned()) {
            return Err(PluginError::refused(format!(
                "plugin {name} is being installed or removed by another request"
            )));
        }
        Ok(Busy { host: self, name: name.to_owned() })
    }
}

impl Drop for PluginHost {
    fn drop(&mut self) {
        self.shutdown();
    }
}

/// While it lives, nobody else changes the plugin.
struct Busy<'a> {
    host: &'a PluginHost,
    name: String,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.host.busy.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

fn checked_name(request: &InstallRequest) -> Result<&str, PluginError> {
    let name = request.name.trim();
    if name.is_empty() {
        return Err(PluginError::refused("invalid name : should not be empty"));
    }
    if name.contains(['/', '\\', '\0']) || name.starts_with('.') {
        return Err(PluginError::refused(format!(
            "invalid name {name}: it must be usable as a folder's name"
        )));
    }
    if !is_package_url(&request.file) {
        return Err(PluginError::refused(format!("invalid uri {}", request.file)));
    }
    Ok(name)
}

/// Whether an url can name a package at all.
fn is_package_url(url: &str) -> bool {
    let rest = ["http://", "https://", "file://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    rest.is_some_and(|rest| !rest.is_empty()) && url.ends_with(".zip")
}

impl RemoteFunctions for PluginHost {
    fn resolve(&self, name: &str) -> Result<Option<Arc<dyn RemoteFunction>>, Diagnostic> {
        let Some(plugin) = self.catalog.function_owner(name) else {
            return Ok(None);
        };
        plugin
            .wait_ready(true)
            .map_err(|error| Diagnostic::new(ErrorCode::Executor, format!("function {name}: {error}")))?;
        let function = PluginFunction::new(Arc::clone(&self.catalog), name, Arc::clone(&plugin.name));
        Ok(Some(Arc::new(function)))
    }

    fn names(&self) -> Vec<String> {
        self.catalog.function_names()
    }

    fn troubles(&self, rule: &str) -> Vec<HostTrouble> {
        self.catalog.troubles(rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n6_7_packages_do_not_come_from_private_addresses_when_they_must_not() {
        let home = tempfile::tempdir().unwrap();
        let config = HostConfig { allow_private_net: false, ..HostConfig::in_home(home.path()) };
        let error = config.fetch().download("http://127.0.0.1:1/a.zip", &home.path().join("t")).unwrap_err();
        assert!(error.contains("ip 127.0.0.1 is in internal network"), "{error}");
    }

    #[test]
    fn only_urls_of_zip_files_are_packages() {
        for good in ["http://x/a.zip", "https://x/a.zip", "file:///tmp/a.zip"] {
            assert!(is_package_url(good), "{good}");
        }
        for bad in ["", "a.zip", "ftp://x/a.zip", "http://x/a.tar", "file://", "/tmp/a.zip"] {
            assert!(!is_package_url(bad), "{bad}");
        }
    }
}
