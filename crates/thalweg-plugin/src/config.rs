//! What the host needs to know about the machine and the configuration (`configuration.md` 2.6, `portable`).

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thalweg_fetch::Fetch;

use crate::greeting::PluginSettings;
use crate::limits::PluginLimits;

/// Folders, interpreter and patience.
#[derive(Debug, Clone)]
pub struct HostConfig {
    /// One folder for each plugin: `<home>/plugins/portable`.
    pub plugin_dir: PathBuf,
    /// `<home>/data`: metadata of symbols, uploads, the bundled SDK.
    pub data_dir: PathBuf,
    /// `<home>/etc`: metadata and configuration of symbols.
    pub etc_dir: PathBuf,
    /// `portable.pythonBin`.
    pub python_bin: String,
    /// `portable.initTimeout`: from the start of a process to its handshake.
    pub init_timeout: Duration,
    /// `portable.sendTimeout`: until a call is handed over.
    pub send_timeout: Duration,
    /// `portable.recvTimeout`: until its answer.
    pub recv_timeout: Duration,
    /// How long the channel of a function is kept after the last rule that used it.
    pub function_linger: Duration,
    /// For a command on the control channel.
    pub control_timeout: Duration,
    /// `portable.installTimeout`: for `install.sh`.
    pub install_timeout: Duration,
    /// How long a process may take to end after SIGTERM.
    pub stop_timeout: Duration,
    /// `portable.useBundledSdk`: put our `ekuiper` module first on PYTHONPATH.
    pub use_bundled_sdk: bool,
    /// The engine's own PYTHONPATH, which plugins find behind our module.
    pub python_path: Option<OsString>,
    /// `basic.allowExternalFileAccess`: `file://` urls outside of `data/uploads`.
    pub allow_external_files: bool,
    /// `basic.enablePrivateNet`: urls of hosts at private addresses (N6.7).
    pub allow_private_net: bool,
    /// `portable.heartbeat`: how often a process is asked for a sign of life, and how long it may take over it.
    pub heartbeat: Duration,
    /// `portable.limits`: what each plugin may use that does not say so itself.
    pub limits: PluginLimits,
    /// `portable.maxUnpacked`: the bytes that a package may have when it is unpacked.
    pub max_unpacked: u64,
    /// The largest message that a plugin may send.
    pub max_message: usize,
    /// `portable.batchRows`: the most rows, or groups, in one message to a function.
    pub batch_rows: usize,
    /// Whether large messages may lie in shared memory.
    pub shared_memory: bool,
    /// `portable.batchBytes`: about how many bytes of arguments, unless one row alone has more.
    pub batch_bytes: usize,
    /// `plugins.python`.
    pub python: PythonConfig,
    /// `portable.config` and `portable.secrets`, by plugin.
    pub settings: BTreeMap<String, PluginSettings>,
}

/// Distributions that pip installs (`portable-plugins.md` 11).
#[derive(Debug, Clone, Default)]
pub struct PythonConfig {
    /// `plugins.python.offline`: wheels come from this folder and from nowhere else.
    pub offline: Option<PathBuf>,
    /// `plugins.python.prefer`: the distribution that has a name which several want.
    pub prefer: BTreeMap<String, String>,
}

impl HostConfig {
    /// The defaults, for an engine in this folder.
    pub fn in_home(home: &Path) -> Self {
        Self {
            plugin_dir: home.join("plugins").join("portable"),
            data_dir: home.join("data"),
            etc_dir: home.join("etc"),
            python_bin: "python".to_owned(),
            init_timeout: Duration::from_secs(60),
            send_timeout: Duration::from_secs(5),
            recv_timeout: Duration::from_secs(5),
            function_linger: Duration::from_secs(60),
            control_timeout: Duration::from_secs(60),
            install_timeout: Duration::from_secs(600),
            stop_timeout: Duration::from_secs(2),
            use_bundled_sdk: true,
            python_path: None,
            allow_external_files: true,
            allow_private_net: true,
            heartbeat: Duration::from_secs(5),
            limits: PluginLimits::default(),
            max_unpacked: 4 << 30,
            max_message: 256 << 20,
            shared_memory: true,
            batch_rows: 4096,
            batch_bytes: 1 << 20,
            settings: BTreeMap::new(),
            python: PythonConfig::default(),
        }
    }

    /// Where packages may come from.
    pub(crate) fn fetch(&self) -> Fetch {
        Fetch {
            uploads: self.data_dir.join("uploads"),
            allow_external_files: self.allow_external_files,
            allow_private_net: self.allow_private_net,
            largest: None,
        }
    }

    /// What tells this engine from others on the machine: the folder of its data, which it has alone.
    pub(crate) fn engine(&self) -> String {
        let folder = std::path::absolute(&self.data_dir).unwrap_or_else(|_| self.data_dir.clone());
        folder.display().to_string()
    }
}
