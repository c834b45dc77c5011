//! The commands of upstream's client (`cli.md`): a verb, a kind of thing, its name. One table says what there is; the
//! command line, its help and its completion are made of it.
//!
//! As `thalweg` a command prints what `cli.md` says, errors go to standard error, and the exit status tells (0 done,
//! 1 refused, 2 usage, 3 not reachable). As `kuiper` everything is as upstream's client has it; see [`super::upstream`].

mod plugin;
mod rule;
mod script;
mod service;
mod stream;
mod transfer;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};

use clap::{Arg, ArgAction, ArgMatches, Command, FromArgMatches, value_parser};
use serde_json::{Value as Json, json};

use super::client::{Client, Failure, Target};
use super::shown::{self, Output};

/// A flag of a verb.
pub(super) struct Flag {
    /// Its name, which is also its place in [`Call::flag`].
    name: &'static str,
    /// Its short form.
    short: Option<char>,
    /// Another name.
    alias: &'static str,
    /// What stands for its value in the help; nothing: a flag without a value.
    value: &'static str,
    about: &'static str,
}

impl Flag {
    const fn new(name: &'static str, value: &'static str, about: &'static str) -> Self {
        Self { name, short: None, alias: "", value, about }
    }

    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = alias;
        self
    }
}

/// `-f FILE` of what is created.
const FILE: Flag = Flag::new("file", "FILE", "Read it from this file").short('f');

/// One command.
pub(super) struct Verb {
    /// `create`, `show`, …
    pub(super) name: &'static str,
    /// `stream`, `rules`, …
    pub(super) kind: &'static str,
    /// What follows, for the help.
    words: &'static str,
    about: &'static str,
    /// What the first word names, for completion.
    pub(super) names: &'static str,
    flags: &'static [Flag],
    run: fn(&Call<'_>) -> Result<Reply, Failure>,
}

/// The verbs, with what they mean.
pub(super) const VERBS: &[(&str, &str)] = &[
    ("create", "Make a stream, table, rule, plugin, service, schema or script"),
    ("show", "List what there is"),
    ("describe", "Show one definition"),
    ("drop", "Remove one"),
    ("start", "Start a rule"),
    ("stop", "Stop a rule"),
    ("restart", "Stop a rule and start it again"),
    ("getstatus", "Show how a rule does, or what an import came to"),
    ("gettopo", "Show the graph of a rule's nodes"),
    ("validate", "Check a rule without creating it"),
    ("register", "Name the functions of a native plugin"),
    ("import", "Bring definitions in from a file"),
    ("export", "Write definitions to a file"),
];

/// All commands.
pub(super) fn all() -> impl Iterator<Item = &'static Verb> {
    [stream::VERBS, rule::VERBS, plugin::VERBS, service::VERBS, script::VERBS, transfer::VERBS]
        .into_iter()
        .flatten()
}

/// The parsers of all commands.
pub(super) fn commands() -> impl Iterator<Item = Command> {
    VERBS.iter().map(|(verb, about)| {
        let kinds = all().filter(|of| of.name == *verb).map(Verb::command);
        Command::new(*verb)
            .about(*about)
            .subcommand_required(true)
            .arg_required_else_help(true)
            .subcommands(kinds)
    })
}

impl Verb {
    fn command(&self) -> Command {
        let words = Arg::new("words").num_args(0..).value_name(self.words).hide(self.words.is_empty());
        let command = Command::new(self.kind).about(self.about).arg(words);
        let with_flags = self.flags.iter().fold(command, |command, flag| {
            let action = if flag.value.is_empty() { ArgAction::SetTrue } else { ArgAction::Set };
            let arg = Arg::new(flag.name).long(flag.name).help(flag.about).action(action);
            let arg = if flag.value.is_empty() { arg } else { arg.value_name(flag.value) };
            let arg = if flag.alias.is_empty() { arg } else { arg.visible_alias(flag.alias) };
            command.arg(flag.short.map_or(arg.clone(), |short| arg.short(short)))
        });
        let output = Arg::new("output").long("output").value_parser(value_parser!(Output));
        let output = output
            .help("For people or for programs. Default: as eKuiper's client has it, at a terminal a table");
        <Target as clap::Args>::augment_args(with_flags.arg(output))
    }

    fn flags(&self, matches: &ArgMatches) -> BTreeMap<&'static str, String> {
        let value = |flag: &Flag| match flag.value.is_empty() {
            true => matches.get_flag(flag.name).then(|| "true".to_owned()),
            false => matches.get_one::<String>(flag.name).cloned(),
        };
        self.flags.iter().filter_map(|flag| Some((flag.name, value(flag)?))).collect()
    }
}

/// One command as it was typed.
pub(super) struct Call<'a> {
    verb: &'static Verb,
    client: &'a Client,
    words: Vec<String>,
    flags: BTreeMap<&'static str, String>,
    is_upstream: bool,
}

/// What a command came to.
pub(super) struct Reply {
    /// As upstream's client prints it, without the last line end.
    text: String,
    /// For programs, if that is more than the text.
    document: Option<String>,
    /// For people, if that is more than the text.
    table: Option<String>,
}

impl Reply {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), document: None, table: None }
    }

    /// A document of the engine, which upstream's client indents.
    fn document(json: &str) -> Self {
        Self { text: shown::indented(json, "  "), document: Some(json.to_owned()), table: None }
    }

    fn with_document(self, json: impl Into<String>) -> Self {
        Self { document: Some(json.into()), ..self }
    }

    fn with_table(self, table: impl Into<String>) -> Self {
        Self { table: Some(table.into()), ..self }
    }

    /// What `thalweg` prints.
    fn printed(self, output: Option<Output>, is_terminal: bool) -> String {
        let text = self.text.trim_end();
        match output {
            Some(Output::Json) => match self.document {
                Some(json) => shown::indented(&json, "  ") + "\n",
                None => shown::pretty(&json!({"message": text})),
            },
            Some(Output::Table) => self.table.unwrap_or_else(|| format!("{text}\n")),
            None => self.table.filter(|_| is_terminal).unwrap_or_else(|| format!("{text}\n")),
        }
    }
}

impl Call<'_> {
    fn flag(&self, name: &str) -> Option<&str> {
        self.flags.get(name).map(String::as_str)
    }

    /// A flag that must say true or false.
    fn truth(&self, name: &str, short: char) -> Result<Option<bool>, Failure> {
        match self.flag(name) {
            None => Ok(None),
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(_) => Err(self.usage(&format!("Expect {short} flag to be a boolean value."))),
        }
    }

    /// The words, of which there must be so many.
    fn words<const N: usize>(&self, missing: &str) -> Result<[&str; N], Failure> {
        let words: Vec<&str> = self.words.iter().map(String::as_str).collect();
        let found = format!("But found {} args:[{}].", words.len(), words.join(" "));
        // Upstream counts what it found where a definition is wanted beside the name.
        let counted = missing.contains(" and json") && !words.is_empty();
        let text = if counted { format!("{missing}\n{found}") } else { missing.to_owned() };
        <[&str; N]>::try_from(words).map_err(|_| self.usage(&text))
    }

    /// The name, which is the only word.
    fn name(&self, missing: &str) -> Result<&str, Failure> {
        let [name] = self.words(missing)?;
        Ok(name)
    }

    /// A mistake of usage, with the form of the command.
    fn usage(&self, text: &str) -> Failure {
        let Verb { name, kind, words, .. } = self.verb;
        let form = format!("thalweg {name} {kind} {words}");
        let hint = if self.is_upstream { String::new() } else { format!("\nusage: {}", form.trim_end()) };
        Failure::Usage(format!("{text}{hint}"))
    }

    /// What stands in the file of `-f`; nothing without that flag.
    fn file(&self, kind: &str) -> Result<Option<String>, Failure> {
        let Some(file) = self.flag("file") else { return Ok(None) };
        self.say(&format!("Creating a new {kind} from file {file}."));
        let read = std::fs::read_to_string(file).map_err(|why| {
            Failure::Refused(match (self.is_upstream, why.kind()) {
                (true, std::io::ErrorKind::NotFound) => {
                    format!("The specified {kind} defenition file {file} is not existed.")
                }
                (true, _) => format!("Failed to read from {kind} definition file {file}."),
                (false, _) => format!("cannot read {file}: {why}"),
            })
        });
        read.map(Some)
    }

    /// Says what upstream's client says before it asks.
    fn say(&self, text: &str) {
        if self.is_upstream {
            let _ = writeln!(std::io::stdout(), "{text}");
        }
    }
}

/// Whether the command line is one of these.
pub fn is_verb(name: &str) -> bool {
    VERBS.iter().any(|(verb, _)| *verb == name)
}

fn call<'a>(
    name: &str,
    matches: &ArgMatches,
    client: &'a Client,
    is_upstream: bool,
) -> Option<(Call<'a>, Option<Output>)> {
    let (kind, matches) = matches.subcommand()?;
    let verb = all().find(|verb| verb.name == name && verb.kind == kind)?;
    let words = matches.get_many::<String>("words").into_iter().flatten().cloned().collect();
    let output = matches.get_one::<Output>("output").copied();
    Some((Call { verb, client, words, flags: verb.flags(matches), is_upstream }, output))
}

/// Which engine a command means.
pub(super) fn target(matches: &ArgMatches) -> Target {
    let matches = matches.subcommand().map_or(matches, |(_, matches)| matches);
    Target::from_arg_matches(matches).unwrap_or_default()
}

/// Does what the words say, and gives what to print.
///
/// # Errors
/// The words make no sense, the engine refuses, or there is none.
pub fn run(name: &str, matches: &ArgMatches) -> Result<String, Failure> {
    let client = target(matches).patient();
    let unknown = || Failure::Usage(format!("{name} what? see thalweg {name} --help"));
    let (call, output) = call(name, matches, &client, false).ok_or_else(unknown)?;
    Ok((call.verb.run)(&call)?.printed(output, std::io::stdout().is_terminal()))
}

/// The same for upstream's client.
pub(super) fn run_as_upstream(name: &str, matches: &ArgMatches, client: &Client) -> Result<String, Failure> {
    let unknown = || Failure::Usage(String::new());
    let (call, output) = call(name, matches, client, true).ok_or_else(unknown)?;
    let reply = (call.verb.run)(&call)?;
    Ok(if output.is_some() { reply.printed(output, false) } else { reply.text + "\n" })
}

/// The cause behind the prefix that the REST interface puts before it.
fn without<'a>(text: &'a str, prefixes: &[&str]) -> &'a str {
    prefixes.iter().find_map(|prefix| text.strip_prefix(prefix)).unwrap_or(text)
}

/// A refusal in other words; other failures stay.
fn reworded(failure: Failure, words: impl Fn(&str) -> String) -> Failure {
    match failure {
        Failure::Refused(text) => Failure::Refused(words(&text)),
        other => other,
    }
}

/// A list of names as a document, or the text for none.
fn names_or(body: &str, none: &str) -> Result<Reply, Failure> {
    let names = shown::array(shown::parsed(body)?);
    if names.is_empty() {
        return Ok(Reply::text(none).with_document("[]"));
    }
    let lines: String = names.iter().map(|name| shown::text(name) + "\n").collect();
    Ok(Reply::document(body).with_table(lines))
}

/// An object of a word of the command line.
fn object(text: &str) -> Result<serde_json::Map<String, Json>, String> {
    match serde_json::from_str(text) {
        Ok(Json::Object(members)) => Ok(members),
        Ok(_) => Err("it must be an object".to_owned()),
        Err(why) => Err(why.to_string()),
    }
}
