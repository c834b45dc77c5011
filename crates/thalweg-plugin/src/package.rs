//! An unpacked plugin in its folder, and the command that runs it (`portable-plugins.md` 3).

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::config::HostConfig;
use crate::group;
use crate::limits::PluginLimits;
use crate::manifest::{Manifest, PluginInfo};
use crate::python::pip;
use crate::sdk;
use crate::sockets;
use crate::sys;

/// Always this, whatever is configured.
const ARGUMENT: &str = r#"{"sendTimeout":1000}"#;

/// What a process is started with besides its package.
pub(crate) struct Launch<'a> {
    pub(crate) config: &'a HostConfig,
    pub(crate) limits: PluginLimits,
    /// Where its sockets are.
    pub(crate) sockets: PathBuf,
}

/// A plugin that could be started.
#[derive(Debug, Clone)]
pub(crate) struct Package {
    pub(crate) manifest: Manifest,
    pub(crate) dir: PathBuf,
    executable: PathBuf,
    /// For the interpreter of an environment: what it is to run.
    host_args: Option<Vec<OsString>>,
}

impl Package {
    /// Reads and checks the plugin that lies in `dir`, whose name is the folder's.
    pub(crate) fn load(dir: &Path, name: &str) -> Result<Self, String> {
        let path = dir.join(format!("{name}.json"));
        let text = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        Self::new(Manifest::parse(&text, name)?, dir)
    }

    fn new(manifest: Manifest, dir: &Path) -> Result<Self, String> {
        let inside = Path::new(&manifest.executable)
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if !inside {
            return Err(format!("executable {} is not inside the plugin's folder", manifest.executable));
        }
        let executable: PathBuf = dir.join(&manifest.executable).components().collect();
        if !executable.is_file() {
            return Err(format!("missing {}", manifest.executable));
        }
        Ok(Self { manifest, dir: dir.to_owned(), executable, host_args: None })
    }

    /// The host of an environment's distributions: this interpreter, which gets these arguments.
    pub(crate) fn host(manifest: Manifest, dir: &Path, python: PathBuf, args: Vec<OsString>) -> Self {
        Self { manifest, dir: dir.to_owned(), executable: python, host_args: Some(args) }
    }

    /// Whether it is a host rather than something that was installed from a zip.
    pub(crate) fn is_host(&self) -> bool {
        self.host_args.is_some()
    }

    /// As the API shows it.
    pub(crate) fn info(&self) -> PluginInfo {
        self.manifest.info(&self.executable)
    }

    /// The command that runs it: own process group, output in pipes, our SDK first unless it is not wanted.
    pub(crate) fn command(&self, launch: &Launch<'_>, interpreter: &str) -> Result<Command, String> {
        let config = launch.config;
        let mut command = match (&self.host_args, self.manifest.language.as_str()) {
            (Some(args), _) => {
                let mut command = Command::new(&self.executable);
                command.arg("-u").args(args);
                command
            }
            (None, "go") => Command::new(&self.executable),
            _ => self.python(interpreter),
        };
        command.arg(ARGUMENT);
        let folder = self.executable.parent().unwrap_or(&self.dir);
        command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.is_host() {
            pip::alone(&mut command, config)?;
        } else if self.wants_bundled_sdk(config) {
            sdk::put_first(&mut command, config)?;
        }
        if launch.sockets != Path::new(sockets::USUAL) {
            command.env(sockets::VARIABLE, &launch.sockets);
        }
        command.env(group::MARK, group::mark(&config.engine(), &self.manifest.name));
        sys::detach(&mut command);
        if let Some(n_files) = launch.limits.open_files {
            sys::limit_open_files(&mut command, n_files);
        }
        Ok(command)
    }

    fn wants_bundled_sdk(&self, config: &HostConfig) -> bool {
        self.manifest.language == "python" && self.manifest.use_bundled_sdk.unwrap_or(config.use_bundled_sdk)
    }

    /// Whether its process will run on the bundled SDK, as far as can be told: a module beside the script goes before
    /// it.
    pub(crate) fn is_on_bundled_sdk(&self, config: &HostConfig) -> bool {
        let folder = self.executable.parent().unwrap_or(&self.dir);
        let brings_own = ["ekuiper", "ekuiper.py"].iter().any(|module| folder.join(module).exists());
        self.is_host() || (self.wants_bundled_sdk(config) && !brings_own)
    }

    fn python(&self, interpreter: &str) -> Command {
        let env = &self.manifest.env;
        if self.manifest.virtual_env_type == "conda" {
            let mut command = Command::new("conda");
            command.args(["run", "-n", env, interpreter]).arg(&self.executable);
            return command;
        }
        let mut command = match self.manifest.virtual_env_type.as_str() {
            "venv" => Command::new(self.dir.join(env).join("bin").join("python")),
            _ => Command::new(interpreter),
        };
        command.arg("-u").arg(&self.executable);
        command
    }

    /// Starts it. `python` is also tried under the name `python3`.
    pub(crate) fn spawn(&self, launch: &Launch<'_>) -> Result<Child, String> {
        let config = launch.config;
        let spawned = self.command(launch, &config.python_bin)?.spawn();
        let spawned = match spawned {
            Err(error) if error.kind() == io::ErrorKind::NotFound && config.python_bin == "python" => {
                self.command(launch, "python3")?.spawn()
            }
            other => other,
        };
        spawned.map_err(|error| match self.manifest.language.as_str() {
            "python"
                if error.kind() == io::ErrorKind::NotFound && self.manifest.virtual_env_type.is_empty() =>
            {
                let python = &config.python_bin;
                format!(
                    "cannot find the Python interpreter {python}; install python3 or set portable.pythonBin"
                )
            }
            "go" => format!("cannot run {}: {error}", self.executable.display()),
            _ => {
                let program = self.python(&config.python_bin).get_program().to_owned();
                format!("cannot run {} with {}: {error}", self.executable.display(), program.display())
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executable_outside_of_the_folder_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let json = r#"{"language":"python","executable":"../../bin/sh","functions":["f"]}"#;
        fs::write(dir.path().join("p.json"), json).unwrap();
        let error = Package::load(dir.path(), "p").unwrap_err();
        assert_eq!(error, "executable ../../bin/sh is not inside the plugin's folder");
    }
}
