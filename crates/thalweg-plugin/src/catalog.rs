//! Which plugins there are, who owns which symbol, and the channels of functions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use thalweg_core::registry::Registry;
use thalweg_expr::function::CallSite;

use crate::channel::Timing;
use crate::config::HostConfig;
use crate::function::FunctionChannel;
use crate::linger::Linger;
use crate::manifest::{Kind, Manifest};
use crate::plugin::Plugin;
use crate::sink::SinkConnector;
use crate::source::SourceConnector;

/// Shared between the host and the functions that rules hold.
pub(crate) struct Catalog {
    pub(crate) config: Arc<HostConfig>,
    entries: RwLock<Entries>,
    channels: Mutex<BTreeMap<String, Arc<FunctionChannel>>>,
    /// How many of them have been opened.
    n_opened: AtomicU64,
    linger: Arc<Linger>,
    /// Which rule calls which function at which node, and from how many places there.
    callers: Mutex<BTreeMap<(String, String, String), usize>>,
}

#[derive(Default)]
pub(crate) struct Entries {
    /// Also those that were deleted: their status stays readable.
    pub(crate) plugins: BTreeMap<String, Arc<Plugin>>,
    owners: BTreeMap<(Kind, String), String>,
    /// What hosts of Python distributions offer.
    hosted: BTreeMap<(Kind, String), Hosted>,
}

/// Who offers a symbol of a Python distribution.
#[derive(Debug, Clone)]
pub(crate) struct Hosted {
    pub(crate) plugin: String,
    /// Goes before a plugin from a zip.
    pub(crate) is_preferred: bool,
    /// Further hosts that a function may be called in at the same time.
    pub(crate) workers: Vec<String>,
}

impl Entries {
    /// The symbols that another plugin owns already, each with that plugin.
    pub(crate) fn taken(&self, manifest: &Manifest) -> Vec<(Kind, String, String)> {
        let all = Kind::ALL
            .iter()
            .flat_map(|kind| manifest.symbols(*kind).iter().map(|name| (*kind, name.clone())));
        let taken = all.filter_map(|key| {
            let owner = self.owners.get(&key).filter(|owner| **owner != manifest.name)?;
            Some((key.0, key.1, owner.clone()))
        });
        taken.collect()
    }

    /// The plugin that has a symbol.
    pub(crate) fn owner(&self, kind: Kind, symbol: &str) -> Option<&String> {
        let key = (kind, symbol.to_owned());
        match (self.owners.get(&key), self.hosted.get(&key)) {
            (Some(_), Some(hosted)) if hosted.is_preferred => Some(&hosted.plugin),
            (Some(owner), _) => Some(owner),
            (None, hosted) => hosted.map(|hosted| &hosted.plugin),
        }
    }

    /// The plugin from a zip that has a symbol or would have it.
    pub(crate) fn zip_owner(&self, kind: Kind, symbol: &str) -> Option<&String> {
        self.owners.get(&(kind, symbol.to_owned()))
    }

    /// Says anew what hosts of Python distributions offer. Returns all symbols that one of them has or had.
    pub(crate) fn host(&mut self, hosted: BTreeMap<(Kind, String), Hosted>) -> BTreeSet<(Kind, String)> {
        let before = std::mem::replace(&mut self.hosted, hosted);
        before.into_keys().chain(self.hosted.keys().cloned()).collect()
    }

    /// The further hosts of a function, if the first is the one that has it.
    fn workers(&self, function: &str) -> &[String] {
        let key = (Kind::Function, function.to_owned());
        let Some(hosted) = self.hosted.get(&key) else { return &[] };
        if self.owner(Kind::Function, function) == Some(&hosted.plugin) { &hosted.workers } else { &[] }
    }

    /// Gives symbols to a plugin.
    pub(crate) fn own(&mut self, kind: Kind, symbol: &str, plugin: &str) {
        self.owners.insert((kind, symbol.to_owned()), plugin.to_owned());
    }

    /// Takes all symbols of a plugin away.
    pub(crate) fn disown(&mut self, plugin: &str) -> Vec<(Kind, String)> {
        let (gone, kept) =
            std::mem::take(&mut self.owners).into_iter().partition(|(_, owner)| owner == plugin);
        self.owners = kept;
        let gone: BTreeMap<(Kind, String), String> = gone;
        gone.into_keys().collect()
    }
}

impl Catalog {
    pub(crate) fn new(config: Arc<HostConfig>) -> Arc<Self> {
        Arc::new(Self {
            config,
            entries: RwLock::default(),
            channels: Mutex::default(),
            n_opened: AtomicU64::new(0),
            linger: Arc::default(),
            callers: Mutex::default(),
        })
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, Entries> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, Entries> {
        self.entries.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn channels(&self) -> MutexGuard<'_, BTreeMap<String, Arc<FunctionChannel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The plugin that owns a function.
    pub(crate) fn function_owner(&self, function: &str) -> Option<Arc<Plugin>> {
        let entries = self.read();
        let owner = entries.owner(Kind::Function, function)?;
        entries.plugins.get(owner).cloned()
    }

    /// All functions.
    pub(crate) fn function_names(&self) -> Vec<String> {
        let entries = self.read();
        let all: BTreeSet<_> = entries.owners.keys().chain(entries.hosted.keys()).collect();
        all.into_iter().filter(|(kind, _)| *kind == Kind::Function).map(|(_, name)| name.clone()).collect()
    }

    /// The plugin of this name, made where there is none.
    pub(crate) fn plugin(&self, name: &str) -> Arc<Plugin> {
        let mut entries = self.write();
        let made = || Plugin::new(name, Arc::clone(&self.config));
        Arc::clone(entries.plugins.entry(name.to_owned()).or_insert_with(made))
    }

    /// Lets rules find a source or sink at the plugin that has it now. Functions are looked up with each call.
    pub(crate) fn publish(&self, registry: &Registry, kind: Kind, symbol: &str) {
        let entries = self.read();
        let plugin = entries.owner(kind, symbol).and_then(|owner| entries.plugins.get(owner));
        let key = format!("{}:{symbol}", kind.wire_name());
        match (kind, plugin) {
            (Kind::Function, _) => {}
            (Kind::Source, Some(plugin)) => {
                registry.add_plugin(&key, Arc::new(SourceConnector::new(plugin, symbol)))
            }
            (Kind::Sink, Some(plugin)) => {
                registry.add_plugin(&key, Arc::new(SinkConnector::new(plugin, symbol)))
            }
            (_, None) => registry.remove_plugin(&key),
        }
    }

    /// The channel of a function, opened on first use.
    pub(crate) fn channel(&self, function: &str) -> Result<Arc<FunctionChannel>, String> {
        self.channel_to(function, 0)
    }

    /// In how many processes a function may be called at the same time.
    pub(crate) fn n_hosts(&self, function: &str) -> usize {
        self.read().workers(function).len() + 1
    }

    /// The channel of a function to one of the processes that serve it.
    pub(crate) fn channel_to(&self, function: &str, host: usize) -> Result<Arc<FunctionChannel>, String> {
        let plugin = match host {
            0 => self.function_owner(function),
            _ => {
                let entries = self.read();
                let worker = entries.workers(function).get(host - 1);
                worker.and_then(|worker| entries.plugins.get(worker).cloned())
            }
        };
        let Some(plugin) = plugin else {
            return Err(format!("no plugin offers function {function}"));
        };
        let address = address(function, host);
        let mut channels = self.channels();
        if let Some(channel) = channels.get(&address) {
            if Arc::ptr_eq(channel.plugin(), &plugin) {
                return Ok(Arc::clone(channel));
            }
            // Another plugin has taken over the name.
            channel.close();
        }
        let channel =
            Arc::new(FunctionChannel::open(function, &address, plugin, self.n_opened.fetch_add(1, Relaxed))?);
        channels.insert(address, Arc::clone(&channel));
        Ok(channel)
    }

    /// The open channels to a plugin.
    pub(crate) fn channels_of(&self, plugin: &Arc<Plugin>) -> Vec<Arc<FunctionChannel>> {
        let channels = self.channels();
        channels.values().filter(|channel| Arc::ptr_eq(channel.plugin(), plugin)).cloned().collect()
    }

    /// A rule has got a function.
    pub(crate) fn enter(&self, function: &str) {
        self.linger.enter(function);
    }

    /// A rule has given a function up: after the last one its channel is closed, a while later.
    pub(crate) fn leave(self: &Arc<Self>, function: &str) {
        let catalog = Arc::downgrade(self);
        self.linger.leave(function, self.config.function_linger, move |function| {
            if let Some(catalog) = catalog.upgrade() {
                catalog.close_unused(function);
            }
        });
    }

    fn callers(&self) -> MutexGuard<'_, BTreeMap<(String, String, String), usize>> {
        self.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A rule calls a function.
    pub(crate) fn note_caller(&self, function: &str, rule: &str, node: &str) {
        let key = (rule.to_owned(), node.to_owned(), function.to_owned());
        *self.callers().entry(key).or_default() += 1;
    }

    /// One place of a rule does not call a function any more.
    pub(crate) fn forget_caller(&self, function: &str, rule: &str, node: &str) {
        let key = (rule.to_owned(), node.to_owned(), function.to_owned());
        let mut callers = self.callers();
        if let Some(places) = callers.get_mut(&key) {
            *places -= 1;
            if *places == 0 {
                callers.remove(&key);
            }
        }
    }

    /// The functions that a rule has called, each with its node.
    pub(crate) fn functions_of(&self, rule: &str) -> Vec<(String, String)> {
        let callers = self.callers();
        let own = callers.keys().filter(|(caller, _, _)| caller == rule);
        own.map(|(_, node, function)| (node.clone(), function.clone())).collect()
    }

    fn close_unused(&self, function: &str) {
        // Under the lock: whoever comes now opens the channel anew, after this one has freed its path.
        let mut channels = self.channels();
        if !self.linger.is_used(function) {
            let addresses = (0..).map(|host| address(function, host));
            for channel in addresses.map_while(|address| channels.remove(&address)) {
                channel.abandon();
            }
        }
    }

    /// How long calls of a function of this plugin have taken, while its channel is open.
    pub(crate) fn timing(&self, function: &str, plugin: &str) -> Option<Timing> {
        let channels = self.channels();
        let channel = channels.get(function).filter(|channel| *channel.plugin().name == *plugin)?;
        Some(channel.timing())
    }

    /// Forgets what was cached about the functions of a plugin whose package has changed.
    pub(crate) fn refresh(&self, plugin: &Arc<Plugin>) {
        self.channels()
            .values()
            .filter(|channel| Arc::ptr_eq(channel.plugin(), plugin))
            .for_each(|c| c.refresh());
    }

    /// A rule that called a function has ended.
    pub(crate) fn forget_site(&self, function: &str, site: &CallSite<'_>) {
        let channels = self.channels();
        let of_function = (0..).map(|host| address(function, host));
        for channel in of_function.map_while(|address| channels.get(&address)) {
            channel.forget(site);
        }
    }

    /// Closes the channels to a plugin of functions that it does not offer any more.
    pub(crate) fn abandon_channels(&self, plugin: &Arc<Plugin>, is_gone: &dyn Fn(&str) -> bool) {
        self.channels().retain(|_, channel| {
            let stays = !Arc::ptr_eq(channel.plugin(), plugin) || !is_gone(channel.name());
            if !stays {
                channel.abandon();
            }
            stays
        });
    }

    /// Closes the channels of a plugin (of all plugins when `None`).
    pub(crate) fn close_channels(&self, plugin: Option<&Arc<Plugin>>) {
        if plugin.is_none() {
            self.linger.end();
        }
        let mut channels = self.channels();
        let (gone, kept): (BTreeMap<_, _>, _) = std::mem::take(&mut *channels)
            .into_iter()
            .partition(|(_, channel)| plugin.is_none_or(|plugin| Arc::ptr_eq(channel.plugin(), plugin)));
        *channels = kept;
        drop(channels);
        gone.into_values().for_each(|channel| channel.close());
    }
}

/// What the socket of a function is called in one of the processes that serve it (12.8, workers).
fn address(function: &str, host: usize) -> String {
    if host == 0 { function.to_owned() } else { format!("{function}.w{}", host + 1) }
}
