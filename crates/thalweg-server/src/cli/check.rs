//! `thalweg config check`: what an instance would be told, where each value comes from, and what is wrong with it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::{Value as Json, json};
use thalweg_core::diagnostic::nearest;

use super::client::Failure;
use super::shown::{Output, pretty, table};
use crate::config::{Config, Layers, leaves};
use crate::environment::Environment;
use crate::yaml;

/// Words of `thalweg config`.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// The commands below `thalweg config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Read the configuration as an engine would, without one: values, where they come from, what is wrong.
    Check(CheckArgs),
}

/// Flags of `config check`. Exit status: 0 an engine would start, 1 it would not, or with --strict a warning.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The folder with kuiper.yaml and the others. Default: etc below the home.
    #[arg(long, value_name = "DIR")]
    pub etc: Option<PathBuf>,
    /// The home folder. Default: as for serve.
    #[arg(long, value_name = "DIR")]
    pub home: Option<PathBuf>,
    /// Also list keys that nobody has set and that are empty.
    #[arg(long)]
    pub all: bool,
    /// Warnings count as mistakes.
    #[arg(long)]
    pub strict: bool,
    /// For people or for programs.
    #[arg(long, value_enum, default_value = "table")]
    pub output: Output,
}

/// Reads everything, and gives what to print.
///
/// # Errors
/// An engine would not start with it, or there are warnings and those count.
pub fn run(args: &CheckArgs, environment: &Environment, home: &Path) -> Result<String, Failure> {
    let etc = args.etc.clone().unwrap_or_else(|| home.join("etc"));
    if !etc.is_dir() {
        let advice = "name it with --etc, or the home with --home";
        return Err(Failure::Refused(format!("there is no folder {}; {advice}", etc.display())));
    }
    let refused = |why: String| Failure::Refused(why);
    let layers = Layers::read(&etc, environment).map_err(refused)?;
    let mut mistakes: Vec<String> = Config::from_layers(&layers, environment).err().into_iter().collect();
    let mut warnings = layers.warnings();
    other_files(&etc, &mut mistakes, &mut warnings);
    let settings = layers.settings(args.all);
    let shown = match args.output {
        Output::Json => pretty(&json!({
            "etc": etc.display().to_string(),
            "settings": settings.iter().map(|setting| json!({
                "key": setting.path, "value": setting.value, "from": setting.source.text(&setting.path),
            })).collect::<Vec<Json>>(),
            "warnings": warnings,
            "mistakes": mistakes,
        })),
        Output::Table => {
            let heading = ["key", "value", "from"].map(str::to_owned);
            let rows = settings.iter().map(|setting| {
                [setting.path.clone(), setting.value.clone(), setting.source.text(&setting.path)]
            });
            let rows: Vec<[String; 3]> = [heading].into_iter().chain(rows).collect();
            let told: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
            let gap = if told.is_empty() { "" } else { "\n" };
            format!("{}{gap}{told}", table(&rows))
        }
    };
    match (mistakes.is_empty(), args.strict && !warnings.is_empty()) {
        (true, false) => Ok(shown),
        (true, true) => Err(Failure::Refused(warnings.join("\nthalweg: "))),
        (false, _) => Err(Failure::Refused(mistakes.join("\nthalweg: "))),
    }
}

/// Profiles of sources, connections, and the client's file.
fn other_files(etc: &Path, mistakes: &mut Vec<String>, warnings: &mut Vec<String>) {
    let mut files = vec![("mqtt".to_owned(), PathBuf::from("mqtt_source.yaml"))];
    let sources = std::fs::read_dir(etc.join("sources")).into_iter().flatten().flatten();
    for path in
        sources.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "yaml"))
    {
        if let Some(kind) = path.file_stem().and_then(|stem| stem.to_str()) {
            files.push((kind.to_owned(), PathBuf::from(format!("sources/{kind}.yaml"))));
        }
    }
    files.sort();
    for (kind, file) in files {
        let name = format!("etc/{}", file.display());
        match yaml::read(&etc.join(&file)) {
            Ok(Some(Json::Object(profiles))) => {
                for (profile, props) in &profiles {
                    warnings.extend(
                        unknown_props(&kind, props).map(|wrong| format!("{name}: {profile}.{wrong}")),
                    );
                }
            }
            Ok(None | Some(Json::Null)) => {}
            Ok(Some(_)) => mistakes.push(format!("{name}: it must hold profiles, such as default:")),
            Err(why) => mistakes.push(why),
        }
    }
    for file in ["connections/connection.yaml", "client.yaml"] {
        match yaml::read(&etc.join(file)) {
            Ok(None | Some(Json::Null | Json::Object(_))) => {}
            Ok(Some(_)) => mistakes.push(format!("etc/{file}: it must hold sections")),
            Err(why) => mistakes.push(why),
        }
    }
}

/// Properties of a profile that its source does not have. Types that are not built in may be plugins'.
fn unknown_props<'a>(kind: &str, props: &'a Json) -> impl Iterator<Item = String> + 'a {
    let tables = thalweg_connectors::properties();
    let of =
        |name: &str| tables.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, props)| *props);
    let own = of(kind);
    let every = of("every source").unwrap_or_default();
    let known: Vec<&str> = own.into_iter().flatten().chain(every).map(|prop| prop.name).collect();
    let leaves =
        leaves(props).into_iter().map(|(path, _)| path.split('.').next().unwrap_or_default().to_owned());
    let mut names: Vec<String> = leaves.collect();
    names.dedup();
    let unknown = names
        .into_iter()
        .filter(move |name| own.is_some() && !known.iter().any(|known| known.eq_ignore_ascii_case(name)));
    let known: Vec<&str> = own.into_iter().flatten().chain(every).map(|prop| prop.name).collect();
    unknown.map(move |name| match nearest(&name, known.iter().copied()) {
        Some(near) => format!("{name} is no property of this source; did you mean {near}?"),
        None => format!("{name} is no property of this source"),
    })
}
