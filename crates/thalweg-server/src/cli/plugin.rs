//! `thalweg plugin …`: everything that the author and the user of a plugin do at a shell.
//!
//! `new`, `test` and `pack` need no engine; the others speak to one over REST. Exit status: 0 done, 1 refused or a test
//! failed, 2 usage, 3 not reachable.

mod installed;
mod new;
mod package;
mod put;
mod trial;

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::client::{Client, Failure, Target};
use super::shown::{Output, pretty};

/// Words and flags of `thalweg plugin`.
#[derive(Debug, Args)]
pub struct PluginArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: PluginCommand,
    /// The engine.
    #[command(flatten)]
    pub target: Target,
    /// For people or for programs.
    #[arg(long, global = true, value_enum, default_value = "table")]
    pub output: Output,
}

/// The commands below `thalweg plugin`.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Write a folder with a plugin that works, its test and a page about it.
    New(NewArgs),
    /// Try a plugin out without an engine, and run its tests.
    Test(TestArgs),
    /// Check a folder and make the package of it: a zip, or a wheel if it has a pyproject.toml.
    Pack(PackArgs),
    /// Install a folder, a zip, a wheel, their URL, or a distribution by the name that pip knows.
    Install(InstallArgs),
    /// Replace an installed plugin by another version while its rules go on; takes the words of `install`.
    Upgrade(InstallArgs),
    /// Take an environment of pip back to what it was before its last change.
    Rollback(RollbackArgs),
    /// What is installed.
    List,
    /// Everything about one plugin: version, symbols, state.
    Info(NameArgs),
    /// The last lines that a plugin has printed.
    Logs(LogsArgs),
    /// Remove a plugin.
    Remove(RemoveArgs),
}

/// What a new plugin does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// A function of the values of one row.
    Function,
    /// A function of the values of a group.
    Aggregate,
    /// Where rows come from.
    Source,
    /// Where rows go to.
    Sink,
}

/// Words of `plugin new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// The plugin's name; also that of the folder.
    pub name: String,
    /// What it does.
    #[arg(long, value_enum, default_value = "function")]
    pub kind: Kind,
    /// A distribution for pip instead of a folder to zip.
    #[arg(long)]
    pub python_package: bool,
    /// The folder in which the new one is made. Default: the current one.
    #[arg(long, value_name = "DIR")]
    pub r#in: Option<PathBuf>,
}

/// Words of `plugin test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The plugin's folder.
    #[arg(default_value = ".", value_name = "DIR")]
    pub folder: PathBuf,
    /// The interpreter. Default: that of the plugin's own environment, else python3.
    #[arg(long, value_name = "PYTHON")]
    pub python: Option<PathBuf>,
}

/// Words of `plugin pack`.
#[derive(Debug, Args)]
pub struct PackArgs {
    /// The plugin's folder.
    #[arg(default_value = ".", value_name = "DIR")]
    pub folder: PathBuf,
    /// The zip to write, or the folder for the wheel. Default: `<name>.zip` or `dist` in the plugin's folder.
    #[arg(long, value_name = "PATH")]
    pub to: Option<PathBuf>,
    /// The interpreter that builds a wheel. Default: python3.
    #[arg(long, value_name = "PYTHON")]
    pub python: Option<PathBuf>,
}

/// Words of `plugin install` and `plugin upgrade`.
#[derive(Debug, Args)]
pub struct InstallArgs {
    /// A folder, a .zip, a .whl, the URL of one, or what pip takes, such as acme-math==1.2.0.
    pub what: String,
    /// The plugin's name, if it is not that of the zip.
    #[arg(long)]
    pub name: Option<String>,
    /// The environment for a distribution of pip.
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
    /// Take over symbols that another plugin has.
    #[arg(long)]
    pub replace: bool,
    /// Upgrade a distribution even if the other version lacks what rules use.
    #[arg(long)]
    pub force: bool,
    /// Use the folder of a project where it is, so that changes of its files count after a reload.
    #[arg(long)]
    pub editable: bool,
    /// An argument for the package's install.sh; may be repeated.
    #[arg(long = "shell-para", value_name = "TEXT", allow_hyphen_values = true)]
    pub shell_paras: Vec<String>,
    /// The interpreter that builds a wheel of a folder. Default: python3.
    #[arg(long, value_name = "PYTHON")]
    pub python: Option<PathBuf>,
}

#[cfg(test)]
impl InstallArgs {
    fn of(what: &str) -> Self {
        Self {
            what: what.to_owned(),
            name: None,
            env: None,
            replace: false,
            force: false,
            editable: false,
            shell_paras: Vec::new(),
            python: None,
        }
    }
}

/// Words of `plugin rollback`.
#[derive(Debug, Args)]
pub struct RollbackArgs {
    /// The environment.
    #[arg(default_value = "default")]
    pub env: String,
    /// Even if what was there before lacks what rules use.
    #[arg(long)]
    pub force: bool,
}

/// Words of `plugin info`.
#[derive(Debug, Args)]
pub struct NameArgs {
    /// The plugin or distribution.
    pub name: String,
    /// The environment of a distribution. Default: default.
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
}

/// Words of `plugin logs`.
#[derive(Debug, Args)]
pub struct LogsArgs {
    /// The plugin or distribution.
    pub name: String,
    /// The environment of a distribution. Default: default.
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
    /// At most so many lines.
    #[arg(long, short = 'n', value_name = "N", default_value_t = 50)]
    pub lines: usize,
}

/// Words of `plugin remove`.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    /// The plugin or distribution.
    pub name: String,
    /// The environment of a distribution. Default: default.
    #[arg(long, value_name = "ENV")]
    pub env: Option<String>,
    /// Even if rules use a distribution.
    #[arg(long)]
    pub force: bool,
}

/// Does what the words say, and gives what to print.
///
/// # Errors
/// The words make no sense, a test or check fails, the engine refuses, or there is none.
pub fn run(args: &PluginArgs) -> Result<String, Failure> {
    let engine = Engine { client: args.target.patient(), output: args.output };
    match &args.command {
        PluginCommand::New(args) => new::run(args),
        PluginCommand::Test(args) => trial::run(args),
        PluginCommand::Pack(args) => package::run(args),
        PluginCommand::Install(args) => put::install(&engine, args),
        PluginCommand::Upgrade(args) => put::upgrade(&engine, args),
        PluginCommand::Rollback(args) => put::rollback(&engine, args),
        PluginCommand::List => installed::list(&engine),
        PluginCommand::Info(args) => installed::info(&engine, args),
        PluginCommand::Logs(args) => installed::logs(&engine, args),
        PluginCommand::Remove(args) => installed::remove(&engine, args),
    }
}

/// The engine that is asked, and how its answers are shown.
struct Engine {
    client: Client,
    output: Output,
}

impl Engine {
    /// What has been done, in the engine's words.
    fn done(&self, message: &str) -> String {
        let message = message.trim_end();
        match self.output {
            Output::Table => format!("{message}\n"),
            Output::Json => pretty(&json!({"message": message})),
        }
    }
}

/// The interpreter for tests and wheels: the one told, else python3 or python, whichever can be run.
fn interpreter(told: Option<&PathBuf>) -> Result<PathBuf, Failure> {
    let candidates = match told {
        Some(path) => vec![path.clone()],
        None => vec![PathBuf::from("python3"), PathBuf::from("python")],
    };
    let runs = |python: &PathBuf| {
        Command::new(python).arg("-c").arg("").status().is_ok_and(|status| status.success())
    };
    candidates.iter().find(|python| runs(python)).cloned().ok_or_else(|| {
        let name = told.map_or("python3".to_owned(), |path| path.display().to_string());
        Failure::Refused(format!(
            "cannot run {name}; install Python 3.9 or newer (sudo apt-get install -y python3), or name one with --python"
        ))
    })
}

/// A folder for temporary files, removed when it is dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("thalweg-plugin-{}", std::process::id()));
        match std::fs::create_dir_all(&path) {
            Ok(()) => Ok(Self(path)),
            Err(why) => Err(Failure::Refused(format!("cannot make {}: {why}", path.display()))),
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Says something while a command still works.
fn progress(text: &str) {
    // Nobody may be looking.
    let _ = writeln!(std::io::stderr(), "{text}");
}
