//! The `thalweg` binary.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use thalweg_server::cli::client::Failure;
use thalweg_server::cli::{
    self, Asked, Command, DemoArgs, ServeArgs, apply, check, completion, explain, plugin, query, upstream,
    verb,
};
use thalweg_server::demo::{self, DemoOptions};
use thalweg_server::environment::Environment;
use thalweg_server::{RunningServer, ServeOptions, UPSTREAM_VERSION, home, start};
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    let called = args.first().and_then(|path| Path::new(path).file_name()?.to_str());
    if called == Some("kuiperd") {
        return run(daemon(args));
    }
    if called == Some("kuiper") {
        let current = std::env::current_dir().unwrap_or_default();
        return ExitCode::from(upstream::run(args, &environment(), &current, &mut say));
    }
    let command = match cli::parse(args) {
        Ok(Asked::Own(command)) => command,
        Ok(Asked::Verb(name, words)) => return answer(verb::run(&name, &words)),
        Err(why) => why.exit(),
    };
    match command {
        Command::Explain(args) => answer(explain::run(&args)),
        Command::Plugin(args) => answer(plugin::run(&args)),
        Command::Query(args) => answer(query::run(&args)),
        Command::Rule(args) => {
            let apply::RuleCommand::Apply(args) = args.command;
            answer(apply::run(&args))
        }
        Command::Config(args) => {
            let check::ConfigCommand::Check(args) = args.command;
            let current = std::env::current_dir().unwrap_or_default();
            answer(check::run(&args, &environment(), &home::find(args.home.clone(), &current)))
        }
        Command::Completion(args) => answer(Ok(completion::script(&args).to_owned())),
        Command::CompleteWords(args) => answer(Ok(completion::words(&args))),
        Command::Serve(args) => run(serve(args)),
        Command::Demo(args) => run(show(args)),
    }
}

/// Runs an engine.
fn run(work: impl Future<Output = Result<ExitCode, String>>) -> ExitCode {
    // The control runtime: REST, store, the life of rules. Data runs on threads of its own.
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return fail(&format!("cannot start threads: {why}")),
    };
    let done = runtime.block_on(work);
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    done.unwrap_or_else(|why| fail(&why))
}

async fn show(args: DemoArgs) -> Result<ExitCode, String> {
    let options = DemoOptions { seconds: args.seconds, port: args.port, environment: environment() };
    match demo::run(options).await? {
        true => Ok(ExitCode::SUCCESS),
        false => Err("no result of a Python function arrived".to_owned()),
    }
}

fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// Prints what a command came to: results on stdout, failures on stderr.
fn answer(done: Result<String, Failure>) -> ExitCode {
    match done {
        Ok(text) => {
            say(&text);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "thalweg: {}", failure.text());
            ExitCode::from(failure.status())
        }
    }
}

fn fail(why: &str) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "thalweg: {why}");
    ExitCode::FAILURE
}

fn environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

async fn serve(args: ServeArgs) -> Result<ExitCode, String> {
    let current = std::env::current_dir().map_err(|why| format!("cannot see the current folder: {why}"))?;
    let environment = environment();
    run_until_told(ServeOptions {
        home: home::find(args.home, &current),
        token: args.token.or_else(|| environment.get("THALWEG_TOKEN").cloned()),
        port: args.port,
        data_port: args.data_port,
        mqtt: args.mqtt,
        mqtt_ingest: args.mqtt_ingest,
        environment,
        log: true,
        ..ServeOptions::default()
    })
    .await
}

/// The same as upstream's server is called.
async fn daemon(args: Vec<OsString>) -> Result<ExitCode, String> {
    let current = std::env::current_dir().map_err(|why| format!("cannot see the current folder: {why}"))?;
    let environment = environment();
    let Some(called) = upstream::server(args, &environment, &current)? else {
        say(upstream::SERVER_HELP);
        return Ok(ExitCode::SUCCESS);
    };
    for unknown in &called.unknown {
        let _ = writeln!(std::io::stderr(), "kuiperd: flag provided but not defined: {unknown}");
    }
    run_until_told(ServeOptions {
        home: called.home,
        places: called.places,
        token: environment.get("THALWEG_TOKEN").cloned(),
        environment,
        log: true,
        ..ServeOptions::default()
    })
    .await
}

/// Runs an engine until a signal or POST /stop; the status that the process is to end with.
async fn run_until_told(options: ServeOptions) -> Result<ExitCode, String> {
    // Set up first, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate()).map_err(|why| why.to_string())?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|why| why.to_string())?;
    let server = tokio::select! {
        started = start(options) => started?,
        _ = terminate.recv() => return Ok(ExitCode::SUCCESS),
        _ = interrupt.recv() => return Ok(ExitCode::SUCCESS),
    };
    announce(&server);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = server.stop_requested() => {}
    }
    let status = server.exit_status();
    server.stop().await;
    Ok(ExitCode::from(status))
}

/// The start-up line that scripts look for (`rest-api.md` 1.1), then where things are.
fn announce(server: &RunningServer) {
    let (address, port) = (server.address(), server.port());
    let reachable =
        if address.ip().is_unspecified() { "127.0.0.1".to_owned() } else { address.ip().to_string() };
    let mqtt =
        server.mqtt_port().map_or_else(String::new, |port| format!("  MQTT  tcp://127.0.0.1:{port}\n"));
    let devices = server.device_port().map_or_else(String::new, |port| {
        format!("  MQTT  tcp://{reachable}:{port}  (devices, for streams of TYPE=\"mqttlisten\")\n")
    });
    let warning = server.warning().map_or_else(String::new, |warning| format!("\n  WARNING: {warning}\n"));
    let lines = format!(
        "Serving kuiper (version - {UPSTREAM_VERSION}) on port 20498, and restful api on {scheme}://{address}.\n\
         (thalweg {version}; port 20498 is not served: every tool of ours speaks the REST API)\n\n  \
         API   {scheme}://{reachable}:{port}\n\
         {mqtt}{devices}  \
         home  {home}  (definitions in data, logs in log)\n  \
         stop  Ctrl-C\n{warning}",
        version = env!("CARGO_PKG_VERSION"),
        scheme = server.scheme(),
        home = server.home(),
    );
    let _ = std::io::stdout().write_all(lines.as_bytes()).and_then(|()| std::io::stdout().flush());
}
