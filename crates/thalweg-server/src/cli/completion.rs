//! `thalweg completion bash`: scripts for shells. They ask `thalweg complete-words` at each press of the key, so that
//! what is offered is what this version knows, and the names are those that the engine has.

use std::time::Duration;

use clap::{Args, Command, ValueEnum};
use serde_json::Value as Json;

use super::client::Target;
use super::{shown, verb};

/// Words of `thalweg completion`.
#[derive(Debug, Args)]
pub struct CompletionArgs {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Shells that can be completed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// `source <(thalweg completion bash)` in ~/.bashrc.
    Bash,
    /// `source <(thalweg completion zsh)` in ~/.zshrc, behind compinit.
    Zsh,
    /// `thalweg completion fish > ~/.config/fish/completions/thalweg.fish`.
    Fish,
}

/// Words of `thalweg complete-words`.
#[derive(Debug, Args)]
pub struct WordsArgs {
    /// The command line up to the cursor, the program's name first.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub words: Vec<String>,
}

const BASH: &str = r#"# Completion of thalweg in bash: source <(thalweg completion bash)
_thalweg() {
    local IFS=$'\n'
    local current="${COMP_WORDS[COMP_CWORD]}"
    local found="$("${COMP_WORDS[0]}" complete-words -- "${COMP_WORDS[@]:0:COMP_CWORD+1}" 2>/dev/null)"
    COMPREPLY=($(compgen -W "$found" -- "$current"))
}
complete -o default -F _thalweg thalweg
"#;

const ZSH: &str = r#"#compdef thalweg
# Completion of thalweg in zsh: source <(thalweg completion zsh)
_thalweg() {
    local -a found
    found=(${(f)"$("${words[1]}" complete-words -- "${(@)words[1,CURRENT]}" 2>/dev/null)"})
    if (( ${#found} )); then
        compadd -a found
    else
        _files
    fi
}
compdef _thalweg thalweg
"#;

const FISH: &str = r#"# Completion of thalweg in fish: thalweg completion fish > ~/.config/fish/completions/thalweg.fish
function __thalweg_words
    set -l line (commandline -opc)
    $line[1] complete-words -- $line (commandline -ct) 2>/dev/null
end
complete -c thalweg -a '(__thalweg_words)'
"#;

/// The script of a shell.
pub fn script(args: &CompletionArgs) -> &'static str {
    match args.shell {
        Shell::Bash => BASH,
        Shell::Zsh => ZSH,
        Shell::Fish => FISH,
    }
}

/// What may stand at the cursor, one a line. Nothing where a file belongs.
pub fn words(args: &WordsArgs) -> String {
    let mut root = super::command();
    root.build();
    let found = candidates(&root, args.words.get(1..).unwrap_or_default(), &names);
    found.iter().map(|word| format!("{word}\n")).collect()
}

/// Candidates for the last of these words.
fn candidates(root: &Command, words: &[String], names: &dyn Fn(&str) -> Vec<String>) -> Vec<String> {
    let Some((current, before)) = words.split_last() else { return Vec::new() };
    let mut command = root;
    let (mut path, mut places) = (Vec::new(), Vec::new());
    let mut open = None;
    for word in before {
        if open.take().is_some() {
            continue;
        }
        if word.starts_with('-') {
            open = flag_with_value(command, word);
        } else if let Some(below) = command.find_subcommand(word) {
            path.push(below.get_name());
            command = below;
        } else {
            places.push(word.as_str());
        }
    }
    let found: Vec<String> = match open {
        Some("output") => ["json", "table"].map(str::to_owned).to_vec(),
        Some("stop" | "partial") => ["true", "false"].map(str::to_owned).to_vec(),
        Some(_) => Vec::new(),
        None if current.starts_with('-') => flags(command),
        None if command.has_subcommands() => {
            let shown = command.get_subcommands().filter(|below| !below.is_hide_set());
            shown.map(|below| below.get_name().to_owned()).collect()
        }
        None => placed(command, &path, &places, names),
    };
    found.into_iter().filter(|word| word.starts_with(current.as_str())).collect()
}

/// What may stand where a word belongs.
fn placed(
    command: &Command,
    path: &[&str],
    places: &[&str],
    names: &dyn Fn(&str) -> Vec<String>,
) -> Vec<String> {
    let verb = match path {
        [name, kind] => verb::all().find(|verb| verb.name == *name && verb.kind == *kind),
        _ => None,
    };
    match (path, places, verb) {
        (["explain"], [], _) => vec!["rule".to_owned()],
        (["explain"], ["rule"], _) => names("rules"),
        (_, [], Some(verb)) => names(verb.names),
        (_, [], None) => {
            let first = command.get_positionals().next();
            let values = first.map(clap::Arg::get_possible_values).unwrap_or_default();
            values.iter().map(|value| value.get_name().to_owned()).collect()
        }
        _ => Vec::new(),
    }
}

fn flags(command: &Command) -> Vec<String> {
    let shown = command.get_arguments().filter(|arg| !arg.is_hide_set());
    shown.filter_map(|arg| arg.get_long()).map(|long| format!("--{long}")).collect()
}

/// The flag that this word is, if its value is to follow.
fn flag_with_value<'a>(command: &'a Command, word: &str) -> Option<&'a str> {
    let is_meant = |arg: &&clap::Arg| {
        let long = word.strip_prefix("--").map_or(word.strip_prefix('-'), Some);
        let is_long = arg.get_long().is_some_and(|name| Some(name) == long);
        is_long || arg.get_short().is_some_and(|short| word == format!("-{short}"))
    };
    let arg = command.get_arguments().find(is_meant)?;
    arg.get_action().takes_values().then(|| arg.get_id().as_str())
}

/// The names of a kind that the engine has. No engine, no names: completion must never wait long or complain.
fn names(kind: &str) -> Vec<String> {
    let (path, member) = match kind {
        "plugin-types" => return ["source", "sink", "function", "portable"].map(str::to_owned).to_vec(),
        "schema-types" => return ["protobuf", "custom"].map(str::to_owned).to_vec(),
        "streams" => ("/streams", ""),
        "tables" => ("/tables", ""),
        "rules" => ("/rules", "id"),
        "udfs" => ("/plugins/udfs", ""),
        "services" => ("/services", ""),
        "service_funcs" => ("/services/functions", "FuncName"),
        "scripts" => ("/udf/javascript", ""),
        _ => return Vec::new(),
    };
    let body = Target::default().waiting(Duration::from_secs(1)).get(path);
    let listed = body.ok().and_then(|body| shown::parsed(&body).ok()).unwrap_or(Json::Null);
    shown::array(listed).iter().map(|item| shown::text(item.get(member).unwrap_or(item))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(line: &str) -> Vec<String> {
        let mut root = super::super::command();
        root.build();
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        candidates(&root, &words, &|kind| vec![format!("a-{kind}"), format!("b-{kind}")])
    }

    #[test]
    fn commands_flags_and_names_are_offered_where_they_may_stand() {
        for (line, expected) in [
            ("des", &["describe"][..]),
            ("drop s", &["stream", "service", "schema", "script"]),
            ("drop rule ", &["a-rules", "b-rules"]),
            ("drop rule --url x b", &["b-rules"]),
            ("drop rule r1 ", &[]),
            ("show streams --out", &["--output"]),
            ("show streams --output ", &["json", "table"]),
            ("create rule r1 -f ", &[]),
            ("explain ", &["rule"]),
            ("explain rule a", &["a-rules"]),
            ("completion f", &["fish"]),
            ("plugin rol", &["rollback"]),
            ("complete-w", &[]),
        ] {
            let found: Vec<String> = at(line);
            let found: Vec<&str> = found.iter().map(String::as_str).collect();
            assert_eq!(found, expected, "{line:?}");
        }
    }
}
