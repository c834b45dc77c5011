//! The command line: what it takes, and the commands that ask a running engine.

pub mod apply;
pub mod check;
pub mod client;
pub mod completion;
pub mod explain;
pub mod plugin;
pub mod query;
pub mod shown;
pub mod upstream;
pub mod verb;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// What `--help` says below the list of commands.
const HELP: &str = "\
First steps:
  thalweg serve                                           an engine on port 9081
  thalweg create stream demo '() WITH (TYPE=\"simulator\")'
  thalweg create rule r1 '{\"sql\": \"SELECT * FROM demo\", \"actions\": [{\"log\": {}}]}'
  thalweg getstatus rule r1

Exit status: 0 done, 1 refused, 2 usage, 3 no engine. Errors go to standard error.
Another engine: --url URL or THALWEG_URL; its token: --token TEXT or THALWEG_TOKEN.
Each command has a --help of its own, such as thalweg create rule --help.";

/// What was asked.
pub enum Asked {
    /// A command of ours.
    Own(Command),
    /// A verb of upstream's client, with its words.
    Verb(String, ArgMatches),
}

/// The whole command line.
fn command() -> clap::Command {
    Cli::command().after_help(HELP).subcommands(verb::commands())
}

/// Reads the command line.
///
/// # Errors
/// It makes no sense, or asks for help.
pub fn parse(args: Vec<OsString>) -> Result<Asked, clap::Error> {
    let is_verb = args.get(1).and_then(|name| name.to_str()).is_some_and(verb::is_verb);
    let args = if is_verb { upstream::with_two_dashes(args) } else { args };
    let mut matches = command().try_get_matches_from(args)?;
    if !matches.subcommand_name().is_some_and(verb::is_verb) {
        return Cli::from_arg_matches(&matches).map(|cli| Asked::Own(cli.command));
    }
    let missing = || Cli::command().error(clap::error::ErrorKind::MissingSubcommand, "say what to do");
    matches.remove_subcommand().map(|(name, of)| Asked::Verb(name, of)).ok_or_else(missing)
}

/// A stream-processing engine with SQL rules; a drop-in replacement for LF Edge eKuiper.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run an engine until SIGTERM, SIGINT or POST /stop.
    Serve(ServeArgs),
    /// Show how a running engine runs a rule, or would run a SELECT: `explain rule ID`, `explain "SELECT …"`.
    Explain(ExplainArgs),
    /// Write, test, pack and install plugins, and look after those that are installed.
    Plugin(plugin::PluginArgs),
    /// Try SELECTs out: one with its results, or a shell with history and completion.
    Query(query::QueryArgs),
    /// Bring an engine to what files say: `rule apply -f folder`.
    Rule(apply::RuleArgs),
    /// Look at the configuration: `config check`.
    Config(check::ConfigArgs),
    /// Write the completion script of a shell: source <(thalweg completion bash)
    Completion(completion::CompletionArgs),
    /// What may stand at the cursor, for the scripts of `completion`.
    #[command(name = "complete-words", hide = true)]
    CompleteWords(completion::WordsArgs),
    /// See the main job at work: simulated devices, an MQTT broker, a rule with Python functions, results on the screen.
    Demo(DemoArgs),
}

/// Words and flags of `thalweg explain`. Exit status: 0 done, 1 refused, 2 usage, 3 not reachable.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// `rule` and its id, or a SELECT.
    #[arg(required = true, value_name = "rule ID | SELECT")]
    pub words: Vec<String>,
    /// The engine.
    #[command(flatten)]
    pub target: client::Target,
    /// The answer of the engine as it is: one JSON object a line, upstream's plan first.
    #[arg(long)]
    pub raw: bool,
}

/// Flags of `thalweg demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// End after so many seconds, with status 0 only when results of the Python functions arrived. Default: Ctrl-C.
    #[arg(long, value_name = "N")]
    pub seconds: Option<u64>,
    /// The port of the REST interface. Default: 9081 if it is free, else any.
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
}

/// Flags of `thalweg serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The folder with etc, data, log and plugins; missing ones are made. Default: the current folder (in a checkout of
    /// thalweg: .thalweg).
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// The port of the REST interface; 0: any free one. Default: basic.restPort (9081).
    #[arg(long, value_name = "N")]
    pub port: Option<u16>,
    /// What callers of the REST interface must show, as `Authorization: Bearer TOKEN`. Others see the flags of a process:
    /// THALWEG_TOKEN does the same. Default: basic.authentication decides.
    #[arg(long, value_name = "TOKEN")]
    pub token: Option<String>,
    /// The port for results over HTTP (trials, sse). Default: source.httpServerPort (10081).
    #[arg(long, value_name = "N")]
    pub data_port: Option<u16>,
    /// Also run an MQTT broker in this process, for trials.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "1883")]
    pub mqtt: Option<u16>,
    /// Take MQTT messages of devices straight in, for streams of TYPE "mqttlisten": no broker, nobody can subscribe.
    #[arg(long, value_name = "PORT")]
    pub mqtt_ingest: Option<u16>,
}
