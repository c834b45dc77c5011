//! Puts the parts together: registry, store, runtime, plugins, engine. The only place that knows them all.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use thalweg_core::connector::Spawner;
use thalweg_core::polled::Poller;
use thalweg_core::registry::Shared;
use thalweg_core::time::BoxFuture;
use thalweg_core::{Clock, Diagnostic, Props, SystemClock};
use thalweg_engine::store::{DiskStore, Snapshots, Store};
use thalweg_engine::{Engine, EngineConfig, Surroundings};
use thalweg_expr::registry::{FunctionRegistry, RemoteFunctions};
use thalweg_plugin::{HostConfig, PluginHost, PluginSettings, PythonConfig};
use thalweg_runtime::{Runtime, RuntimeConfig};
use thalweg_service::{SchemaRegistry, ServiceConfig, ServiceHost};
use tokio::runtime::Handle;

use crate::config::Config;
use crate::environment::Environment;
use crate::home::Home;
use crate::profiles::FileProfiles;

/// The parts that REST talks to.
pub(crate) struct Parts {
    pub(crate) engine: Engine,
    pub(crate) plugins: Arc<PluginHost>,
    #[cfg(feature = "javascript")]
    pub(crate) scripts: Arc<thalweg_script::ScriptHost>,
    pub(crate) services: Arc<ServiceHost>,
    pub(crate) schemas: SchemaRegistry,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) shared: Arc<Shared>,
    /// A thread that waits for sockets.
    pub(crate) poller: Arc<dyn Poller>,
}

/// Builds everything; rules do not run yet.
///
/// # Errors
/// The store cannot be opened or read.
pub(crate) fn connect(home: &Home, config: &Config, environment: &Environment) -> Result<Parts, String> {
    let store: Arc<dyn Store> =
        Arc::new(DiskStore::open(&home.join("data/thalweg.redb")).map_err(|why| why.to_string())?);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::default());
    let registry = Arc::new(thalweg_connectors::registry());
    let shared = Arc::new(Shared::default());
    let runtime = Runtime::start(RuntimeConfig {
        shards: std::thread::available_parallelism().map_or(1, usize::from),
        registry: Arc::clone(&registry),
        shared: Arc::clone(&shared),
        clock: Arc::clone(&clock),
        home: home.base().to_owned(),
        instance: instance(&home.join("data/instance"))?,
        snapshots: Arc::new(Snapshots::new(Arc::clone(&store))),
        traces: config.trace_capacity,
    })
    .map_err(|why| why.to_string())?;
    let plugins = PluginHost::new(host_config(home, config, environment)?, Arc::clone(&registry));
    // In the order in which names are looked up: portable plugins, JavaScript, external services (functions.md 1.5).
    let mut functions = vec![Arc::clone(&plugins) as Arc<dyn RemoteFunctions>];
    #[cfg(feature = "javascript")]
    let scripts = crate::scripts::open(&store, &config.javascript)?;
    #[cfg(feature = "javascript")]
    functions.push(Arc::clone(&scripts) as Arc<dyn RemoteFunctions>);
    let services = ServiceConfig {
        data_dir: home.join("data"),
        etc_dir: home.join("etc"),
        allow_external_files: config.external_files,
        allow_private_net: config.private_net,
        io: Handle::current(),
    };
    let schemas = SchemaRegistry::open(services.clone());
    let services = ServiceHost::open(services);
    functions.push(Arc::clone(&services) as Arc<dyn RemoteFunctions>);
    let poller = runtime.poller();
    let around = Surroundings {
        registry,
        shared: Arc::clone(&shared),
        clock: Arc::clone(&clock),
        home: home.base().to_owned(),
        spawner: Arc::new(OnTokio(Handle::current(), Arc::clone(&poller))),
    };
    let engine = Engine::open(EngineConfig {
        store,
        around,
        functions: FunctionRegistry::new(functions),
        profiles: Arc::new(FileProfiles::new(home, environment.clone())),
        runner: Arc::new(runtime),
        rule_defaults: config.rule.clone(),
        sink_defaults: config.sink.clone(),
        zone: config.zone.clone(),
        ignore_case: config.ignore_case,
        props: crate::environment::props(environment),
        patrol: config.patrol,
    })
    .map_err(|why| why.to_string())?;
    Ok(Parts {
        engine,
        plugins,
        #[cfg(feature = "javascript")]
        scripts,
        services,
        schemas,
        clock,
        shared,
        poller,
    })
}

/// The name by which brokers tell this engine from others: made once, kept with the data.
fn instance(file: &Path) -> Result<Arc<str>, String> {
    let kept = std::fs::read_to_string(file).unwrap_or_default();
    let kept = kept.trim();
    if kept.len() == 16 && kept.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(Arc::from(kept));
    }
    let made = format!("{:016x}", RandomState::new().build_hasher().finish());
    std::fs::write(file, &made).map_err(|why| format!("cannot write {}: {why}", file.display()))?;
    Ok(Arc::from(made))
}

/// The section `portable` (configuration.md 2.6).
fn host_config(home: &Home, config: &Config, environment: &Environment) -> Result<HostConfig, String> {
    let wrong = |why: Diagnostic| format!("configuration: portable: {}", why.message);
    let mut host = HostConfig::in_home(home.base());
    (host.plugin_dir, host.data_dir) = (home.join("plugins/portable"), home.join("data"));
    host.etc_dir = home.join("etc");
    if let Some(python) = config.portable.text("pythonBin").map_err(wrong)? {
        python.clone_into(&mut host.python_bin);
    }
    for (name, place) in [
        ("initTimeout", &mut host.init_timeout),
        ("sendTimeout", &mut host.send_timeout),
        ("recvTimeout", &mut host.recv_timeout),
        ("installTimeout", &mut host.install_timeout),
        ("heartbeat", &mut host.heartbeat),
    ] {
        let millis = config.portable.millis(name).map_err(wrong)?;
        if let Some(millis) =
            millis.and_then(|millis| u64::try_from(millis).ok()).filter(|millis| *millis > 0)
        {
            *place = Duration::from_millis(millis);
        }
    }
    if let Some(bytes) = config.portable.int("maxUnpacked").map_err(wrong)? {
        host.max_unpacked = u64::try_from(bytes).unwrap_or(host.max_unpacked);
    }
    if let Some(limits) = config.portable.get("limits") {
        host.limits =
            host.limits.changed_by(limits).map_err(|why| format!("configuration: portable: {why}"))?;
    }
    for (name, place) in [("batchRows", &mut host.batch_rows), ("batchBytes", &mut host.batch_bytes)] {
        let most = config.portable.int(name).map_err(wrong)?.and_then(|most| usize::try_from(most).ok());
        if let Some(most) = most.filter(|most| *most > 0) {
            *place = most;
        }
    }
    host.use_bundled_sdk = config.portable.bool("useBundledSdk").map_err(wrong)?.unwrap_or(true);
    host.python_path = environment.get("PYTHONPATH").map(Into::into);
    host.settings = plugin_settings(&config.portable).map_err(wrong)?;
    host.allow_external_files = config.external_files;
    host.allow_private_net = config.private_net;
    host.python = python_config(home, config)?;
    Ok(host)
}

/// `portable.config` and `portable.secrets`: what plugins find as `ctx.config` and `ctx.secret(name)`.
fn plugin_settings(portable: &Props) -> Result<BTreeMap<String, PluginSettings>, Diagnostic> {
    let mut all: BTreeMap<String, PluginSettings> = BTreeMap::new();
    for section in ["config", "secrets"] {
        let Some(plugins) = portable.get(section).filter(|plugins| !plugins.is_null()) else { continue };
        let wrong =
            |what: &str| Diagnostic::plain(format!("{section}{what} must hold names with values below it"));
        for (plugin, values) in plugins.as_object().ok_or_else(|| wrong(""))? {
            let values = values.as_object().ok_or_else(|| wrong(&format!(".{plugin}")))?;
            let of = all.entry(plugin.clone()).or_default();
            for (name, value) in values {
                if section == "config" {
                    of.config.insert(name.clone(), value.clone());
                } else {
                    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                    of.secrets.insert(name.clone(), text);
                }
            }
        }
    }
    Ok(all)
}

/// `plugins.python` (portable-plugins.md 11).
fn python_config(home: &Home, config: &Config) -> Result<PythonConfig, String> {
    let section = |props: &Props, path: &str, name: &str| match props.get(name) {
        None | Some(Json::Null) => Ok(Props::new()),
        Some(Json::Object(members)) => Ok(Props::from(members.clone())),
        Some(other) => Err(format!("configuration: {path} must be a section, not {other}")),
    };
    let wrong = |why: Diagnostic| format!("configuration: plugins.python: {}", why.message);
    let python = section(&config.plugins, "plugins.python", "python")?;
    let offline = python.text("offline").map_err(wrong)?.filter(|folder| !folder.is_empty());
    let prefer = section(&python, "plugins.python.prefer", "prefer")?;
    let choices = prefer.iter().map(|(name, _)| {
        let distribution = prefer.text(name).map_err(wrong)?.unwrap_or_default();
        Ok((name.to_owned(), distribution.to_owned()))
    });
    Ok(PythonConfig {
        offline: offline.map(|folder| home.join(folder)),
        prefer: choices.collect::<Result<_, String>>()?,
    })
}

/// Background tasks of connections, and the thread that their sockets wait on.
struct OnTokio(Handle, Arc<dyn Poller>);

impl Spawner for OnTokio {
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.0.spawn(task);
    }

    fn poller(&self) -> Option<Arc<dyn Poller>> {
        Some(Arc::clone(&self.1))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_of_plugins_are_read_by_plugin_and_what_is_no_table_is_refused() {
        let mut portable = Props::new();
        assert_eq!(plugin_settings(&portable).unwrap(), BTreeMap::new());
        portable.set("config", json!({"p": {"level": 3}}));
        portable.set("secrets", json!({"p": {"token": "x", "pin": 12}, "q": {}}));
        let settings = plugin_settings(&portable).unwrap();
        assert_eq!(settings["p"].config["level"], json!(3));
        assert_eq!(
            (settings["p"].secrets["token"].as_str(), settings["p"].secrets["pin"].as_str()),
            ("x", "12")
        );
        assert_eq!(settings["q"], PluginSettings::default());
        portable.set("config", json!({"p": 5}));
        let why = plugin_settings(&portable).unwrap_err();
        assert_eq!(why.message, "config.p must hold names with values below it");
    }
}
