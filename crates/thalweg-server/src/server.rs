//! A running instance: started in process by tests and the demo, by `main` for `thalweg serve`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use rustls::ServerConfig;
use thalweg_connectors::listen::{DevicePort, ReservedPort};
use thalweg_core::Clock;
use thalweg_core::registry::Shared;
use thalweg_engine::Engine;
use thalweg_plugin::PluginHost;
use thalweg_service::{SchemaRegistry, ServiceHost};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::config::{Config, Layers};
use crate::data_port::DataPort;
use crate::environment::Environment;
use crate::home::Home;
use crate::logging::Logging;
use crate::metrics_dump::MetricsDump;
use crate::rest::{Auth, Front};
use crate::secure::{SecureListener, TlsFiles};
use crate::transfer::{self, Tasks};
use crate::usage::Usage;
use crate::{home, logging, metrics_dump, provision, rest, secure, wiring};

/// How `thalweg serve` is called.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// The home folder; see [`home::find`].
    pub home: PathBuf,
    /// Folders that are not below the home.
    pub places: home::Places,
    /// `--port`, over the configuration. 0: any free one.
    pub port: Option<u16>,
    /// `--data-port`, over the configuration.
    pub data_port: Option<u16>,
    /// `--mqtt`: the port of an embedded broker. 0: any free one.
    pub mqtt: Option<u16>,
    /// `--mqtt-ingest`: the port that devices connect to. 0: any free one.
    pub mqtt_ingest: Option<u16>,
    /// `--token` or `THALWEG_TOKEN`: what callers of the management interface must show.
    pub token: Option<String>,
    /// The variables that may hold configuration.
    pub environment: Environment,
    /// Whether this instance sets up logging for the process.
    pub log: bool,
}

/// What handlers share.
pub(crate) struct App {
    pub(crate) engine: Engine,
    pub(crate) plugins: Arc<PluginHost>,
    #[cfg(feature = "javascript")]
    pub(crate) scripts: Arc<thalweg_script::ScriptHost>,
    pub(crate) services: Arc<ServiceHost>,
    pub(crate) schemas: SchemaRegistry,
    pub(crate) audit_log: bool,
    pub(crate) auth: Auth,
    /// Whether other machines can reach the management interface and none has to say who it is.
    pub(crate) is_exposed: bool,
    pub(crate) home: Home,
    /// Whether `/metrics` is on the management interface, and then whether it tells of nodes.
    pub(crate) metrics_here: Option<bool>,
    /// Set when CPU time is accounted for.
    pub(crate) usage: Option<Usage>,
    /// `None` when somebody else sets up logging.
    pub(crate) logging: Option<Logging>,
    pub(crate) metrics_dump: Arc<MetricsDump>,
    /// What connectors share.
    pub(crate) shared: Arc<Shared>,
    pub(crate) data_port: Arc<DataPort>,
    clock: Arc<dyn Clock>,
    counter: AtomicU64,
    started: u64,
    /// Held by the import that is under way.
    pub(crate) importing: tokio::sync::Mutex<()>,
    /// Imports in the background.
    pub(crate) tasks: Tasks,
    /// With which status the process is to end.
    status: AtomicU8,
    stop: watch::Sender<bool>,
}

impl App {
    /// How long the instance has been up.
    pub(crate) fn uptime(&self) -> Duration {
        Duration::from_micros(self.clock.monotonic_micros().saturating_sub(self.started))
    }

    /// Seconds since 1970.
    pub(crate) fn seconds(&self) -> i64 {
        self.clock.now().0.div_euclid(1_000)
    }

    /// A number that no other call has got.
    pub(crate) fn unique(&self) -> u64 {
        self.counter.fetch_add(1, Ordering::Relaxed)
    }

    /// As [`App::ask_to_stop_soon`]; the process ends with this status, which a supervisor takes for "start it again".
    pub(crate) fn ask_to_stop_soon_with(&self, status: u8) {
        self.status.store(status, Ordering::Relaxed);
        self.ask_to_stop_soon();
    }

    /// Ends the instance a second from now, so that the answer gets out.
    pub(crate) fn ask_to_stop_soon(&self) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            stop.send_replace(true);
        });
    }
}

/// What is said, loudly, of an instance that anybody on the network may command (`decisions.md`, "authentication").
pub(crate) const EXPOSED: &str = "anybody who can reach this machine can change and stop what runs here: the API is open to the \
network without authentication; use --token or THALWEG_TOKEN, basic.authentication: true, or basic.restIp: 127.0.0.1";

/// A running instance.
pub struct RunningServer {
    app: Arc<App>,
    address: SocketAddr,
    home: Home,
    config: Config,
    rest: JoinHandle<()>,
    broker: Option<Broker>,
    devices: Option<DevicePort>,
}

/// Starts an instance: configuration, store, plugins, connections, rules, REST, in this order.
///
/// # Errors
/// One line that says what is wrong and what to do.
pub async fn start(options: ServeOptions) -> Result<RunningServer, String> {
    let home = home::prepare(&options.home, &options.places)?;
    let layers = Layers::read(&home.join("etc"), &options.environment)?;
    let mut config = Config::from_layers(&layers, &options.environment)?;
    config.rest_port = options.port.unwrap_or(config.rest_port);
    config.data_port = options.data_port.unwrap_or(config.data_port);
    let logging = options.log.then(|| logging::start(&config, &home)).transpose()?;
    layers.of_environment().iter().for_each(|set| info!("{set}"));
    layers.warnings().iter().for_each(|wrong| warn!("configuration: {wrong}"));
    // The port is taken before anything runs, so that a second engine by mistake disturbs nothing.
    let listener = listen((&config.rest_ip, config.rest_port), "--port (0: any free one)").await?;
    let (tls, data_tls) = (
        tls(config.rest_tls.as_ref(), &home, "basic.restTls")?,
        tls(config.data_tls.as_ref(), &home, "source.httpServerTls")?,
    );
    let metrics = listen_for_metrics(&config).await?;
    let address = listener.local_addr().map_err(|why| why.to_string())?;
    let broker = start_broker(options.mqtt).await?;
    let devices = reserve(options.mqtt_ingest).await?;
    let parts = wiring::connect(&home, &config, &options.environment)?;
    let devices =
        devices.map(|port| port.open(&parts.shared, Arc::clone(&parts.clock), Arc::clone(&parts.poller)));
    let plugins = Arc::clone(&parts.plugins);
    // Logged there, and no reason not to start.
    drop(blocking(move || plugins.start_all()).await?);
    let pending = provision::before_rules(&parts.engine, &home, &options.environment).await;
    parts.engine.boot().await.map_err(|why| why.to_string())?;
    pending.after_rules(&parts.engine).await;
    let (keeps_metrics, retained) = config.metrics_dump;
    let stop = watch::Sender::new(false);
    let data_port = DataPort::new(&config, data_tls, parts.shared.get(), stop.clone());
    let auth = Auth::new(options.token.as_deref(), config.authentication.then(|| home.join("etc/mgmt")));
    let tasks = Tasks::open(Arc::clone(parts.engine.store()), Arc::clone(&parts.clock))?;
    let app = Arc::new(App {
        engine: parts.engine,
        plugins: parts.plugins,
        #[cfg(feature = "javascript")]
        scripts: parts.scripts,
        services: parts.services,
        schemas: parts.schemas,
        audit_log: config.audit_log,
        is_exposed: auth.is_off() && !address.ip().is_loopback(),
        auth,
        metrics_here: (config.prometheus_port == config.rest_port).then_some(config.prometheus),
        usage: config.profiling.map(|_| Usage::default()),
        home: home.clone(),
        started: parts.clock.monotonic_micros(),
        clock: parts.clock,
        counter: AtomicU64::new(0),
        shared: parts.shared,
        logging,
        metrics_dump: Arc::new(MetricsDump::new(home.join("data/metrics"), keeps_metrics, retained)),
        data_port,
        importing: tokio::sync::Mutex::default(),
        tasks,
        status: AtomicU8::new(0),
        stop,
    });
    transfer::resume(&app).await;
    go_on(&app, config.profiling, metrics);
    let router = router(rest::front(&app));
    let stop = app.stop.subscribe();
    let rest = match tls {
        None => tokio::spawn(serve(listener, router, stop)),
        Some(tls) => {
            let listener = SecureListener::new(listener, tls).map_err(|why| why.to_string())?;
            tokio::spawn(serve(listener, router, stop))
        }
    };
    if app.is_exposed {
        warn!("{EXPOSED}");
    }
    info!(%address, %home, "the management interface is up");
    Ok(RunningServer { app, address, home, config, rest, broker, devices })
}

/// A port of its own for metrics, if there is to be one.
async fn listen_for_metrics(config: &Config) -> Result<Option<TcpListener>, String> {
    if !config.prometheus || config.prometheus_port == config.rest_port {
        return Ok(None);
    }
    listen((&config.rest_ip, config.prometheus_port), "basic.prometheusPort").await.map(Some)
}

/// Begins what goes on beside the calls: accounts, the end of trials, the port of metrics.
fn go_on(app: &Arc<App>, profiling: Option<Duration>, metrics: Option<TcpListener>) {
    if let Some(interval) = profiling {
        tokio::spawn(account(Arc::downgrade(app), interval));
    }
    if let Some(listener) = metrics {
        let table = rest::prometheus::routes(true).with_state(app);
        let front = Front::open(Arc::clone(app), table);
        tokio::spawn(serve(listener, router(front), app.stop.subscribe()));
    }
    tokio::spawn(end_trials(Arc::downgrade(app)));
    tokio::spawn(metrics_dump::keep(Arc::downgrade(app)));
}

fn tls(files: Option<&TlsFiles>, home: &Home, section: &str) -> Result<Option<Arc<ServerConfig>>, String> {
    files.map(|files| secure::config(files, home, section)).transpose()
}

/// Notes at every interval how much time the rules have taken.
async fn account(app: Weak<App>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        let Some(app) = app.upgrade() else { return };
        let times = app.engine.rules().cpu();
        app.usage.iter().for_each(|usage| usage.note(times.clone()));
    }
}

/// Ends trials whose time is over.
async fn end_trials(app: Weak<App>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(5));
    loop {
        ticks.tick().await;
        let Some(app) = app.upgrade() else { return };
        app.engine.trials().expire().await;
    }
}

async fn start_broker(port: Option<u16>) -> Result<Option<Broker>, String> {
    let Some(port) = port else { return Ok(None) };
    let broker = blocking(move || Broker::start((Ipv4Addr::UNSPECIFIED, port).into())).await?;
    broker.map(Some).map_err(|why| format!("{why}; choose another port with --mqtt PORT"))
}

async fn reserve(port: Option<u16>) -> Result<Option<ReservedPort>, String> {
    let Some(port) = port else { return Ok(None) };
    let reserved = DevicePort::reserve((Ipv4Addr::UNSPECIFIED, port).into()).await;
    reserved.map(Some).map_err(|why| format!("{why}; choose another port with --mqtt-ingest PORT"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.map_err(|why| format!("internal error: {why}"))
}

pub(crate) async fn listen((ip, port): (&str, u16), way_out: &str) -> Result<TcpListener, String> {
    TcpListener::bind((ip, port)).await.map_err(|why| match why.kind() {
        std::io::ErrorKind::AddrInUse => format!("port {port} is in use; choose another with {way_out}"),
        _ => format!("cannot listen on {ip}:{port}: {why}; see {way_out}, and the address beside it"),
    })
}

/// Serves until the instance ends.
pub(crate) async fn serve<L>(listener: L, router: axum::Router, mut stop: watch::Receiver<bool>)
where
    L: axum::serve::Listener,
    L::Addr: std::fmt::Debug,
{
    let stopped = async move { drop(stop.wait_for(|stop| *stop).await) };
    if let Err(why) = axum::serve(listener, router).with_graceful_shutdown(stopped).await {
        warn!(%why, "a port is not answered any more");
    }
}

/// Everything goes to the front.
fn router(front: Front) -> axum::Router {
    let front = Arc::new(front);
    let answer = move |request| {
        let front = Arc::clone(&front);
        async move { front.answer(request).await }
    };
    axum::Router::new().fallback(answer)
}

impl RunningServer {
    /// The port of the management interface, as given by the system if 0 was asked for.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The port of the embedded broker, if there is one.
    pub fn mqtt_port(&self) -> Option<u16> {
        self.broker.as_ref().map(Broker::port)
    }

    /// The port that devices connect to, if there is one.
    pub fn device_port(&self) -> Option<u16> {
        self.devices.as_ref().map(DevicePort::port)
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http`, or `https` with `basic.restTls`.
    pub fn scheme(&self) -> &'static str {
        if self.config.rest_tls.is_some() { "https" } else { "http" }
    }

    /// What whoever starts it should know about who may call; `None` when nothing is wrong.
    pub fn warning(&self) -> Option<&'static str> {
        self.app.is_exposed.then_some(EXPOSED)
    }

    /// The home folder.
    pub fn home(&self) -> &Home {
        &self.home
    }

    /// Its configuration, flags included.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Resolves when somebody asked for the end over REST.
    pub async fn stop_requested(&self) {
        let _ = self.app.stop.subscribe().wait_for(|stop| *stop).await;
    }

    /// With which status the process should end.
    pub fn exit_status(&self) -> u8 {
        self.app.status.load(Ordering::Relaxed)
    }

    /// Ends it: REST first, then rules within the configured grace, then what they used.
    pub async fn stop(self) {
        self.app.stop.send_replace(true);
        drop(self.devices);
        // Idle connections end at once; a client that keeps one busy does not hold up the end.
        let mut rest = self.rest;
        if tokio::time::timeout(Duration::from_secs(1), &mut rest).await.is_err() {
            rest.abort();
        }
        if tokio::time::timeout(self.config.grace, self.app.engine.shutdown()).await.is_err() {
            warn!("rules did not end in time and are left behind");
        }
        let plugins = Arc::clone(&self.app.plugins);
        let _ = blocking(move || plugins.shutdown()).await;
        if let Some(broker) = self.broker {
            let _ = blocking(move || broker.stop()).await;
        }
        let app = self.app;
        let _ = blocking(move || app.engine.close_store()).await;
        info!("stopped");
    }
}
