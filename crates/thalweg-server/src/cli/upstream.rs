//! Run under the name `kuiper`: what scripts for upstream's client rely on (`cli.md` 10). The same commands, its output,
//! exit status 0 whatever the engine says, the address out of `etc/client.yaml`.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Command;
use clap::error::ErrorKind;
use serde_json::Value as Json;

use super::client::{Client, Failure};
use super::verb;
use crate::environment::{self, Environment};
use crate::yaml;

/// Upstream's port for its own protocol, which we do not serve: whoever names it means the REST interface.
const RPC_PORT: &str = "20498";

/// Flags that Go takes with one dash.
const LONG: &[&str] = &[
    "file",
    "zipfile",
    "zf",
    "stop",
    "partial",
    "rules",
    "json",
    "output",
    "url",
    "token",
    "etc",
    "loadFileType",
    "help",
];

/// The words with every long flag written with two dashes.
pub fn with_two_dashes(args: Vec<OsString>) -> Vec<OsString> {
    let two = |arg: OsString| {
        let text = arg.to_str().and_then(|text| text.strip_prefix('-'));
        let name = text.map(|text| text.split('=').next().unwrap_or_default());
        match (text, name) {
            (Some(text), Some(name)) if LONG.contains(&name) => format!("--{text}").into(),
            _ => arg,
        }
    };
    args.into_iter().map(two).collect()
}

fn command() -> Command {
    let place = |name: &'static str, value: &'static str| {
        clap::Arg::new(name).long(name).value_name(value).global(true)
    };
    Command::new("kuiper")
        .about("The command line tool for EMQ X Kuiper.")
        .arg(place("loadFileType", "relative|absolute").help("How the folder etc is found"))
        .arg(place("etc", "DIR").help("The folder with client.yaml, with -loadFileType absolute"))
        .subcommands(verb::commands())
}

/// Does what the words say. The exit status.
pub fn run(args: Vec<OsString>, environment: &Environment, current: &Path, say: &mut dyn FnMut(&str)) -> u8 {
    let mut command = command();
    if args.len() < 2 {
        say(&command.render_help().to_string());
        return 0;
    }
    let matches = match command.try_get_matches_from(with_two_dashes(args)) {
        Ok(matches) => matches,
        Err(why) => {
            say(&why.to_string());
            let asked = [ErrorKind::DisplayHelp, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand];
            return if asked.contains(&why.kind()) { 0 } else { 2 };
        }
    };
    let place = |name: &str| matches.get_one::<String>(name).map(String::as_str);
    let is_absolute = place("loadFileType") == Some("absolute");
    let etc = match place("etc").filter(|_| is_absolute) {
        Some(told) => Some(PathBuf::from(told)),
        None if is_absolute => Some(PathBuf::from("/etc/kuiper")),
        None => above("etc", environment, current),
    };
    let named = address(etc.as_deref(), environment);
    let Some((name, of)) = matches.subcommand() else { return 0 };
    let target = verb::target(of);
    let (shown, url) = match (&target.url, &named) {
        (Some(url), _) => (url.clone(), url.clone()),
        (None, Some((host, port))) => (format!("{host}:{port}"), served(host, port)),
        (None, None) => {
            say("No basic config in client.yaml, will use the default configuration.\n");
            (format!("127.0.0.1:{RPC_PORT}"), served("127.0.0.1", RPC_PORT))
        }
    };
    say(&format!("Connecting to {shown}... \n"));
    let client = Client::new(&url, target.token(), Duration::from_secs(30 * 60));
    let done = client.get("/ping").and_then(|_| verb::run_as_upstream(name, of, &client));
    say(&match done {
        Ok(text) => text,
        Err(Failure::Unreachable(_)) => "Failed to connect the server, please start the server.\n".to_owned(),
        Err(failure) => format!("{}\n", failure.text()),
    });
    0
}

/// The address of the REST interface.
fn served(host: &str, port: &str) -> String {
    format!("http://{host}:{}", if port == RPC_PORT { "9081" } else { port })
}

/// A folder under the base, or the nearest one above it (configuration.md 1.1).
pub fn above(folder: &str, environment: &Environment, current: &Path) -> Option<PathBuf> {
    let base = environment.get("KuiperBaseKey").filter(|base| !base.is_empty());
    let base = base.map_or_else(|| current.to_owned(), PathBuf::from);
    base.ancestors().map(|above| above.join(folder)).find(|path| path.is_dir())
}

/// Host and port as `client.yaml` and the variables `CLIENT__BASIC__…` have them; nothing if neither says anything.
fn address(etc: Option<&Path>, environment: &Environment) -> Option<(String, String)> {
    let written = etc.and_then(|etc| yaml::read(&etc.join("client.yaml")).ok().flatten());
    let mut tree = written.unwrap_or_else(|| Json::Object(serde_json::Map::new()));
    yaml::overlay(&mut tree, &environment::tree(environment, "client"));
    let basic = yaml::member(&tree, "basic").filter(|basic| basic.is_object())?;
    let text = |name: &str, default: &str| match yaml::member(basic, name) {
        Some(Json::String(text)) => text.clone(),
        Some(Json::Number(number)) => number.to_string(),
        _ => default.to_owned(),
    };
    Some((text("host", "127.0.0.1"), text("port", RPC_PORT)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(variables: &[(&str, &str)]) -> Environment {
        variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_address_comes_from_the_file_with_the_environment_on_top_and_20498_means_9081() {
        let home = tempfile::tempdir().expect("a folder");
        let etc = home.path().join("etc");
        std::fs::create_dir_all(home.path().join("bin")).expect("made");
        std::fs::create_dir_all(&etc).expect("made");
        let none = environment(&[]);
        assert_eq!(address(Some(&etc), &none), None);
        std::fs::write(etc.join("client.yaml"), "basic:\n  host: box\n  port: 20498\n").expect("written");
        let found = above("etc", &none, &home.path().join("bin")).expect("it is above");
        let of = |variables| address(Some(&found), &environment(variables)).expect("it has basic");
        assert_eq!(of(&[]), ("box".to_owned(), "20498".to_owned()));
        assert_eq!(of(&[("CLIENT__BASIC__PORT", "9082"), ("CLIENT_ID", "x")]).1, "9082");
        assert_eq!(served("box", "20498"), "http://box:9081");
        assert_eq!(served("box", "9082"), "http://box:9082");
        let base = environment(&[("KuiperBaseKey", home.path().to_str().expect("a plain path"))]);
        assert_eq!(above("etc", &base, Path::new("/")), Some(etc));
    }

    #[test]
    fn long_flags_may_have_one_dash_as_go_takes_them() {
        let args = ["kuiper", "-zf", "a.zip", "-f", "x", "-json", "-stop=true", "--file", "-1"];
        let shown: Vec<OsString> = with_two_dashes(args.map(OsString::from).to_vec());
        assert_eq!(shown, ["kuiper", "--zf", "a.zip", "-f", "x", "--json", "--stop=true", "--file", "-1"]);
    }

    #[test]
    fn without_an_engine_the_status_is_zero_and_the_text_upstreams() {
        let mut said = String::new();
        let args = ["kuiper", "show", "streams"].map(OsString::from).to_vec();
        let told = environment(&[("CLIENT__BASIC__PORT", "1")]);
        let status = run(args, &told, Path::new("/"), &mut |text| said.push_str(text));
        let expected =
            "Connecting to 127.0.0.1:1... \nFailed to connect the server, please start the server.\n";
        assert_eq!((status, said.as_str()), (0, expected));
    }
}
