//! `thalweg plugin install` and `upgrade`: what the word means, and how the engine gets it.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use thalweg_plugin::name_in;

use super::{Engine, Failure, InstallArgs, Scratch, package, progress};
use crate::cli::client::segment;

/// What is to be installed.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// A package of its own; where the engine finds it.
    Zip { name: String, file: String },
    /// A distribution, as pip takes it.
    Requirement(String),
    /// A wheel; where the engine finds it.
    Wheel { distribution: String, file: String },
}

pub(super) fn install(engine: &Engine, args: &InstallArgs) -> Result<String, Failure> {
    let scratch = Scratch::new()?;
    let target = target(args, &scratch)?;
    let said = match &target {
        Target::Zip { .. } => engine.client.post("/plugins/portables", &body(&target, args)),
        _ => {
            python_is_there(engine)?;
            progress("pip is at work, which may take a while");
            engine.client.post("/plugins/python", &body(&target, args))
        }
    };
    Ok(engine.done(&said.map_err(|failure| advised(failure, &target))?))
}

pub(super) fn upgrade(engine: &Engine, args: &InstallArgs) -> Result<String, Failure> {
    let scratch = Scratch::new()?;
    let target = target(args, &scratch)?;
    let (path, name) = match &target {
        Target::Zip { name, .. } => ("/plugins/portables", name.clone()),
        Target::Requirement(text) => ("/plugins/python", distribution(text)),
        Target::Wheel { distribution, .. } => ("/plugins/python", distribution.clone()),
    };
    if path == "/plugins/python" {
        python_is_there(engine)?;
    }
    let path = format!("{path}/{}", segment(&name));
    if engine.client.find(&path)?.is_none() {
        let text = format!("{name} is not installed; thalweg plugin install {}", args.what);
        return Err(Failure::Refused(text));
    }
    let said = engine.client.put(&path, &body(&target, args));
    Ok(engine.done(&said.map_err(|failure| advised(failure, &target))?))
}

/// Refuses what an engine without `/plugins/python` would answer with a page that is not there.
fn python_is_there(engine: &Engine) -> Result<(), Failure> {
    match engine.client.find("/plugins/python")? {
        Some(_) => Ok(()),
        None => Err(Failure::Refused(format!(
            "the engine at {} installs no distributions (it has no /plugins/python); pack the plugin as a zip",
            engine.client.url()
        ))),
    }
}

fn target(args: &InstallArgs, scratch: &Scratch) -> Result<Target, Failure> {
    let what = args.what.as_str();
    let path = Path::new(what);
    if what.contains("://") {
        return at_url(what, args);
    }
    if path.is_dir() {
        return if package::is_project(path) {
            progress("building the wheel");
            of_file(&package::wheel(path, &scratch.0, args.python.as_ref())?, args)
        } else {
            let bundle = package::bundle(path)?;
            let zip = scratch.0.join(format!("{}.zip", bundle.name()));
            package::write(&bundle, &zip)?;
            of_file(&zip, args)
        };
    }
    if path.is_file() {
        return of_file(path, args);
    }
    if what.contains('/') || [".zip", ".whl", ".json", ".py"].iter().any(|ending| what.ends_with(ending)) {
        return Err(Failure::Usage(format!("there is no file or folder {what}")));
    }
    Ok(Target::Requirement(what.to_owned()))
}

fn at_url(url: &str, args: &InstallArgs) -> Result<Target, Failure> {
    let file_name = url.rsplit('/').next().unwrap_or_default();
    if let Some(stem) = file_name.strip_suffix(".zip") {
        return Ok(Target::Zip { name: args.name.clone().unwrap_or(stem.to_owned()), file: url.to_owned() });
    }
    if file_name.ends_with(".whl") {
        return Ok(Target::Wheel { distribution: distribution_of(file_name), file: url.to_owned() });
    }
    Err(Failure::Usage(format!("{url} must end in .zip or .whl")))
}

fn of_file(path: &Path, args: &InstallArgs) -> Result<Target, Failure> {
    let absolute = path.canonicalize();
    let path: PathBuf = absolute.map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))?;
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let file = file_url(&path);
    if file_name.ends_with(".whl") {
        return Ok(Target::Wheel { distribution: distribution_of(&file_name), file });
    }
    if !file_name.ends_with(".zip") {
        let text =
            format!("{} is neither a .zip nor a .whl; name the folder to have it packed", path.display());
        return Err(Failure::Usage(text));
    }
    let name = match &args.name {
        Some(name) => name.clone(),
        None => name_in(&path).map_err(Failure::Refused)?,
    };
    Ok(Target::Zip { name, file })
}

/// An absolute path as URL.
fn file_url(path: &Path) -> String {
    let parts = path.to_string_lossy();
    let parts: Vec<String> = parts.split('/').map(segment).collect();
    format!("file://{}", parts.join("/"))
}

fn body(target: &Target, args: &InstallArgs) -> String {
    let mut body = match target {
        Target::Zip { name, file } => json!({"name": name, "file": file}),
        Target::Requirement(text) => json!({"package": text}),
        Target::Wheel { file, .. } => json!({"file": file}),
    };
    if let Target::Zip { .. } = target {
        if !args.shell_paras.is_empty() {
            body["shellParas"] = Json::from(args.shell_paras.clone());
        }
        if args.replace {
            body["replace"] = Json::Bool(true);
        }
    } else if let Some(env) = &args.env {
        body["env"] = Json::from(env.clone());
    }
    body.to_string()
}

/// What to do about the engine's refusal, where that is known.
fn advised(failure: Failure, target: &Target) -> Failure {
    let Failure::Refused(text) = failure else { return failure };
    let is_file = match target {
        Target::Zip { file, .. } | Target::Wheel { file, .. } => file.starts_with("file://"),
        Target::Requirement(_) => false,
    };
    let advice = if text.contains(": duplicate") {
        "; replace it with thalweg plugin upgrade"
    } else if text.contains("belongs to plugin") {
        "; take it over with --replace"
    } else if is_file && (text.contains("o such file") || text.contains("is not allowed")) {
        "; the engine must see the file under this path: give it a URL that it can fetch"
    } else {
        ""
    };
    Failure::Refused(text + advice)
}

/// `acme-math` of `acme-math==1.2.0` or `acme-math[fast]>=1`.
fn distribution(requirement: &str) -> String {
    let ends = |letter: char| "=<>!~;[@ (".contains(letter);
    requirement.split(ends).next().unwrap_or_default().to_owned()
}

/// `acme-math` of `acme_math-1.2.0-py3-none-any.whl`.
fn distribution_of(wheel: &str) -> String {
    wheel.split('-').next().unwrap_or_default().replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(what: &str) -> InstallArgs {
        let (name, env, python) = (None, None, None);
        InstallArgs { what: what.to_owned(), name, env, replace: false, shell_paras: Vec::new(), python }
    }

    fn meant(what: &str) -> Result<Target, Failure> {
        target(&args(what), &Scratch(PathBuf::from("/nowhere/thalweg")))
    }

    #[test]
    fn words_are_urls_files_or_what_pip_takes() {
        let zip = Target::Zip { name: "a".to_owned(), file: "http://x/y/a.zip".to_owned() };
        assert_eq!(meant("http://x/y/a.zip"), Ok(zip));
        let file = "https://x/acme_math-1.2.0-py3-none-any.whl".to_owned();
        assert_eq!(
            meant(&file),
            Ok(Target::Wheel { distribution: "acme-math".to_owned(), file: file.clone() })
        );
        assert_eq!(meant("acme-math==1.2.0"), Ok(Target::Requirement("acme-math==1.2.0".to_owned())));
        for wrong in ["http://x/a.tar", "./gone", "gone.zip", "gone.whl", "dir/gone"] {
            assert_eq!(meant(wrong).map_err(|failure| failure.status()), Err(2), "{wrong}");
        }
    }

    #[test]
    fn the_name_of_a_distribution_is_cut_out_of_what_pip_takes() {
        for text in [
            "acme-math",
            "acme-math==1",
            "acme-math>=1,<2",
            "acme-math[fast]",
            "acme-math ; x",
            "acme-math@u",
        ] {
            assert_eq!(distribution(text), "acme-math");
        }
    }

    #[test]
    fn paths_are_safe_in_urls() {
        assert_eq!(file_url(Path::new("/a b/c%.zip")), "file:///a%20b/c%25.zip");
    }

    #[test]
    fn refusals_come_with_what_to_do() {
        let zip = Target::Zip { name: "a".to_owned(), file: "file:///a.zip".to_owned() };
        for (text, advice) in [
            ("invalid name a: duplicate", "plugin upgrade"),
            ("function f belongs to plugin b already", "--replace"),
            ("fail to download: No such file or directory", "a URL that it can fetch"),
        ] {
            let told = advised(Failure::Refused(text.to_owned()), &zip);
            assert!(told.text().starts_with(text) && told.text().contains(advice), "{told:?}");
        }
    }
}
