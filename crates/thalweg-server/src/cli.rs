//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

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
    /// See the main job at work: simulated devices, an MQTT broker, a rule with Python functions, results on the screen.
    Demo(DemoArgs),
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
    /// The port for sources that are pushed to over HTTP. Default: source.httpServerPort (10081).
    #[arg(long, value_name = "N")]
    pub data_port: Option<u16>,
    /// Also run an MQTT broker in this process, for trials.
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "1883")]
    pub mqtt: Option<u16>,
}
