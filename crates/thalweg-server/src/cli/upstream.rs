//! Run under the name `kuiper`: what scripts for upstream's client rely on (`cli.md` 10). The same commands, its output,
//! exit status 0 whatever the engine says, the address out of `etc/client.yaml`.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Command, FromArgMatches};
use serde_json::Value as Json;

use super::client::Target;
use super::client::{Client, Failure};
use super::{query, verb};
use crate::environment::{self, Environment};
use crate::home::Places;
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
        .subcommand(<Target as clap::Args>::augment_args(Command::new("query").about("Query against stream")))
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
    let target =
        if name == "query" { Target::from_arg_matches(of).unwrap_or_default() } else { verb::target(of) };
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
    let done = client.get("/ping").and_then(|_| match name {
        "query" => query::run_as_upstream(&client),
        _ => verb::run_as_upstream(name, of, &client),
    });
    say(&match done {
        Ok(text) => text,
        Err(Failure::Unreachable(_)) => "Failed to connect the server, please start the server.\n".to_owned(),
        Err(failure) => format!("{}\n", failure.text()),
    });
    0
}

/// How `kuiperd` was called.
#[derive(Debug, PartialEq, Eq)]
pub struct Daemon {
    /// The home folder, to which relative paths of rules refer.
    pub home: PathBuf,
    /// The folders.
    pub places: Places,
    /// Flags that mean nothing, which upstream reports and starts all the same.
    pub unknown: Vec<String>,
}

/// What `kuiperd -h` says.
pub const SERVER_HELP: &str = "\
kuiperd: run an engine, called as eKuiper's server is

  -loadFileType relative|absolute   how folders are found: below the current one, $KuiperBaseKey or above (relative,
                                    the default), or in /etc/kuiper, /var/lib/kuiper and /var/log/kuiper
  -etc DIR  -data DIR  -log DIR  -plugins DIR
                                    folders, with -loadFileType absolute

thalweg serve has more: thalweg serve --help
";

/// Reads the words behind `kuiperd` (configuration.md 1.1); nothing if they ask for help.
///
/// # Errors
/// A folder is not there.
pub fn server(
    args: Vec<OsString>,
    environment: &Environment,
    current: &Path,
) -> Result<Option<Daemon>, String> {
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    let mut unknown = Vec::new();
    let mut words = args.into_iter().skip(1).map(|word| word.to_string_lossy().into_owned());
    while let Some(word) = words.next() {
        let name = word.trim_start_matches('-');
        let (name, value) =
            name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value.to_owned())));
        match name {
            "h" | "help" => return Ok(None),
            "loadFileType" | "etc" | "data" | "log" | "plugins" => {
                let value = value.or_else(|| words.next()).ok_or_else(|| format!("-{name} needs a value"))?;
                told.insert(name.to_owned(), value);
            }
            _ => unknown.push(word),
        }
    }
    let is_absolute = told.get("loadFileType").is_some_and(|kind| kind == "absolute");
    let place = |name: &str, fixed: &str| -> Result<PathBuf, String> {
        match is_absolute {
            true => Ok(told.get(name).map_or_else(|| PathBuf::from(fixed), PathBuf::from)),
            false => above(name, environment, current)
                .ok_or_else(|| format!("dir {name} not found, please make sure it is created.")),
        }
    };
    let places = Places {
        etc: Some(place("etc", "/etc/kuiper")?),
        data: Some(place("data", "/var/lib/kuiper/data")?),
        log: Some(place("log", "/var/log/kuiper")?),
        plugins: Some(place("plugins", "/var/lib/kuiper/plugins")?),
    };
    let home = places.data.as_deref().and_then(Path::parent).unwrap_or(current).to_owned();
    Ok(Some(Daemon { home, places, unknown }))
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
    fn the_server_finds_its_folders_as_upstreams_does() {
        let home = tempfile::tempdir().expect("a folder");
        let call = |words: &[&str], current: &Path| {
            let words = ["kuiperd"].iter().chain(words).map(OsString::from).collect();
            server(words, &environment(&[]), current)
        };
        let missing = call(&[], home.path()).expect_err("there are no folders");
        assert!(missing.ends_with(" not found, please make sure it is created."), "{missing}");
        for folder in ["etc", "data", "log", "plugins", "bin"] {
            std::fs::create_dir(home.path().join(folder)).expect("made");
        }
        let found = call(&["-wrong"], &home.path().join("bin")).expect("they are above").expect("no help");
        assert_eq!((found.home.as_path(), found.places.log), (home.path(), Some(home.path().join("log"))));
        assert_eq!(found.unknown, ["-wrong"]);
        let told = call(&["-loadFileType", "absolute", "--data=/x/data", "-etc", "/y"], home.path());
        let told = told.expect("nothing is looked for").expect("no help");
        assert_eq!((told.home.to_str(), told.places.etc), (Some("/x"), Some(PathBuf::from("/y"))));
        assert_eq!(told.places.log, Some(PathBuf::from("/var/log/kuiper")));
        assert_eq!(call(&["-h"], home.path()), Ok(None));
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
