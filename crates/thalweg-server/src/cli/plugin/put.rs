//! `thalweg plugin install`, `upgrade` and `rollback`: what the word means, and how the engine gets it.
//!
//! A file is named to an engine on this machine, which reads it itself, and handed over to any other.

use std::path::{Path, PathBuf};

use serde_json::{Value as Json, json};
use thalweg_plugin::name_in;

use super::{Engine, Failure, InstallArgs, Output, RollbackArgs, Scratch, package, pretty, progress};
use crate::cli::client::segment;

/// What is to be installed.
#[derive(Debug, PartialEq, Eq)]
enum Target {
    /// A package of its own.
    Zip { name: String, place: Place },
    /// A wheel.
    Wheel { distribution: String, place: Place },
    /// A distribution, as pip takes it.
    Requirement(String),
    /// A folder with a project, used where it is.
    Editable { distribution: String, folder: String },
}

/// Where a file is.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    Url(String),
    File(PathBuf),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Install,
    Upgrade,
}

pub(super) fn install(engine: &Engine, args: &InstallArgs) -> Result<String, Failure> {
    let scratch = Scratch::new()?;
    let target = target(args, &scratch)?;
    if target.is_for_pip() {
        python_is_there(engine)?;
        progress("pip is at work, which may take a while");
    }
    Request { engine, args, verb: Verb::Install, target: &target }.send()
}

pub(super) fn upgrade(engine: &Engine, args: &InstallArgs) -> Result<String, Failure> {
    let scratch = Scratch::new()?;
    let target = target(args, &scratch)?;
    if target.is_for_pip() {
        python_is_there(engine)?;
    }
    let request = Request { engine, args, verb: Verb::Upgrade, target: &target };
    if engine.client.find(&request.path())?.is_none() {
        let text = format!("{} is not installed; thalweg plugin install {}", target.name(), args.what);
        return Err(Failure::Refused(text));
    }
    request.send()
}

pub(super) fn rollback(engine: &Engine, args: &RollbackArgs) -> Result<String, Failure> {
    python_is_there(engine)?;
    let force = if args.force { "&force=1" } else { "" };
    let path = format!("/plugins/python/rollback?env={}{force}", segment(&args.env));
    changed(engine, &engine.client.post(&path, "")?)
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

/// One change of what is installed.
struct Request<'a> {
    engine: &'a Engine,
    args: &'a InstallArgs,
    verb: Verb,
    target: &'a Target,
}

impl Request<'_> {
    fn path(&self) -> String {
        let whole = if self.target.is_for_pip() { "/plugins/python" } else { "/plugins/portables" };
        let env = match &self.args.env {
            Some(env) if self.target.is_for_pip() => format!("?env={}", segment(env)),
            _ => String::new(),
        };
        match self.verb {
            Verb::Install => whole.to_owned(),
            Verb::Upgrade => format!("{whole}/{}{env}", segment(&self.target.name())),
        }
    }

    fn send(&self) -> Result<String, Failure> {
        let Some(file) = self.target.file() else { return self.call(self.target.url()) };
        if self.engine.client.is_local() {
            match self.call(&file_url(file)) {
                // An engine in a container does not see the files of its host.
                Err(Failure::Refused(text)) if is_out_of_sight(&text) => {}
                done => return done,
            }
        }
        let bytes =
            std::fs::read(file).map_err(|why| Failure::Refused(format!("{}: {why}", file.display())))?;
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        match self.target {
            Target::Zip { .. } => self.by_upload(&name, &bytes),
            _ => self.hand_over(&name, &bytes),
        }
    }

    /// Asks with this url for the file.
    fn call(&self, url: &str) -> Result<String, Failure> {
        let body = body(self.target, url, self.args, self.verb);
        let path = self.forced(self.path());
        let said = match self.verb {
            Verb::Install => self.engine.client.post(&path, &body),
            Verb::Upgrade => self.engine.client.put(&path, &body),
        };
        self.told(said)
    }

    /// Puts the zip among the engine's uploads for as long as it is needed.
    fn by_upload(&self, name: &str, bytes: &[u8]) -> Result<String, Failure> {
        let place = self.engine.client.upload(name, bytes)?;
        let done = self.call(&file_url(Path::new(place.trim_end())));
        // A file that stays there does no harm.
        let _ = self.engine.client.delete(&format!("/config/uploads/{}", segment(name)));
        done
    }

    /// Sends the wheel itself as the body.
    fn hand_over(&self, name: &str, bytes: &[u8]) -> Result<String, Failure> {
        let path = self.forced(self.path());
        let joined = if path.contains('?') { '&' } else { '?' };
        let env = match (&self.args.env, self.verb) {
            (Some(env), Verb::Install) => format!("&env={}", segment(env)),
            _ => String::new(),
        };
        let path = format!("{path}{joined}file={}{env}", segment(name));
        self.told(match self.verb {
            Verb::Install => self.engine.client.post_bytes(&path, bytes),
            Verb::Upgrade => self.engine.client.put_bytes(&path, bytes),
        })
    }

    fn forced(&self, path: String) -> String {
        match (self.args.force && self.target.is_for_pip(), path.contains('?')) {
            (false, _) => path,
            (true, true) => path + "&force=1",
            (true, false) => path + "?force=1",
        }
    }

    fn told(&self, said: Result<String, Failure>) -> Result<String, Failure> {
        let said = said.map_err(advised)?;
        if self.target.is_for_pip() { changed(self.engine, &said) } else { Ok(self.engine.done(&said)) }
    }
}

impl Target {
    fn is_for_pip(&self) -> bool {
        !matches!(self, Self::Zip { .. })
    }

    fn name(&self) -> String {
        match self {
            Self::Zip { name, .. } => name.clone(),
            Self::Wheel { distribution, .. } | Self::Editable { distribution, .. } => distribution.clone(),
            Self::Requirement(text) => distribution(text),
        }
    }

    fn file(&self) -> Option<&Path> {
        match self {
            Self::Zip { place: Place::File(path), .. } | Self::Wheel { place: Place::File(path), .. } => {
                Some(path)
            }
            _ => None,
        }
    }

    fn url(&self) -> &str {
        match self {
            Self::Zip { place: Place::Url(url), .. } | Self::Wheel { place: Place::Url(url), .. } => url,
            _ => "",
        }
    }
}

fn target(args: &InstallArgs, scratch: &Scratch) -> Result<Target, Failure> {
    let what = args.what.as_str();
    let path = Path::new(what);
    if what.contains("://") {
        return at_url(what, args);
    }
    if path.is_dir() {
        return of_folder(path, args, scratch);
    }
    if args.editable {
        return Err(Failure::Usage(format!(
            "--editable is for the folder of a project; there is none at {what}"
        )));
    }
    if path.is_file() {
        return of_file(path, args);
    }
    if what.contains('/') || [".zip", ".whl", ".json", ".py"].iter().any(|ending| what.ends_with(ending)) {
        return Err(Failure::Usage(format!("there is no file or folder {what}")));
    }
    Ok(Target::Requirement(what.to_owned()))
}

fn of_folder(folder: &Path, args: &InstallArgs, scratch: &Scratch) -> Result<Target, Failure> {
    match (package::is_project(folder), args.editable) {
        (true, true) => {
            let absolute = folder
                .canonicalize()
                .map_err(|why| Failure::Usage(format!("{}: {why}", folder.display())))?;
            let distribution = package::project_name(folder)?;
            Ok(Target::Editable { distribution, folder: absolute.display().to_string() })
        }
        (true, false) => {
            progress("building the wheel");
            of_file(&package::wheel(folder, &scratch.0, args.python.as_ref())?, args)
        }
        (false, true) => {
            let text = format!("--editable needs a pyproject.toml, and {} has none", folder.display());
            Err(Failure::Usage(text))
        }
        (false, false) => {
            let bundle = package::bundle(folder)?;
            let zip = scratch.0.join(format!("{}.zip", bundle.name()));
            package::write(&bundle, &zip)?;
            of_file(&zip, args)
        }
    }
}

fn at_url(url: &str, args: &InstallArgs) -> Result<Target, Failure> {
    let file_name = url.rsplit('/').next().unwrap_or_default();
    let place = Place::Url(url.to_owned());
    if let Some(stem) = file_name.strip_suffix(".zip") {
        return Ok(Target::Zip { name: args.name.clone().unwrap_or(stem.to_owned()), place });
    }
    if file_name.ends_with(".whl") {
        return Ok(Target::Wheel { distribution: distribution_of(file_name), place });
    }
    Err(Failure::Usage(format!("{url} must end in .zip or .whl")))
}

fn of_file(path: &Path, args: &InstallArgs) -> Result<Target, Failure> {
    let absolute = path.canonicalize();
    let path: PathBuf = absolute.map_err(|why| Failure::Usage(format!("{}: {why}", path.display())))?;
    let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if file_name.ends_with(".whl") {
        return Ok(Target::Wheel { distribution: distribution_of(&file_name), place: Place::File(path) });
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
    Ok(Target::Zip { name, place: Place::File(path) })
}

/// An absolute path as URL.
fn file_url(path: &Path) -> String {
    let parts = path.to_string_lossy();
    let parts: Vec<String> = parts.split('/').map(segment).collect();
    format!("file://{}", parts.join("/"))
}

fn body(target: &Target, url: &str, args: &InstallArgs, verb: Verb) -> String {
    let mut body = match target {
        Target::Zip { name, .. } => json!({"name": name, "file": url}),
        Target::Wheel { .. } => json!({"file": url}),
        Target::Editable { folder, .. } => json!({"editable": folder}),
        // The name alone is the newest version.
        Target::Requirement(text) if verb == Verb::Upgrade && distribution(text) == *text => json!({}),
        Target::Requirement(text) => json!({"package": text}),
    };
    if target.is_for_pip() {
        if let Some(env) = &args.env {
            body["env"] = Json::from(env.clone());
        }
        return body.to_string();
    }
    if !args.shell_paras.is_empty() {
        body["shellParas"] = Json::from(args.shell_paras.clone());
    }
    if args.replace {
        body["replace"] = Json::Bool(true);
    }
    body.to_string()
}

/// What pip has changed, a line for each distribution.
pub(super) fn changed(engine: &Engine, said: &str) -> Result<String, Failure> {
    let wrong = |why| Failure::Refused(format!("the engine's answer is no JSON: {why}: {said}"));
    let document: Json = serde_json::from_str(said).map_err(wrong)?;
    Ok(match engine.output {
        Output::Json => pretty(&document),
        Output::Table => told(&document),
    })
}

fn told(document: &Json) -> String {
    let list = |key: &str| document[key].as_array().cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for change in list("changes") {
        let name = change["name"].as_str().unwrap_or_default();
        lines.push(match (change["from"].as_str(), change["to"].as_str()) {
            (None, Some(to)) => format!("{name} {to} is installed"),
            (Some(from), Some(to)) => format!("{name} {from} is now {to}"),
            (from, None) => format!("{name} {} is removed", from.unwrap_or_default()),
        });
    }
    if lines.is_empty() {
        lines.push("nothing has changed".to_owned());
    }
    for distribution in list("distributions") {
        for error in distribution["errors"].as_array().into_iter().flatten() {
            lines.push(format!("error: {}", error.as_str().unwrap_or_default()));
        }
    }
    lines.extend(
        list("warnings").iter().map(|text| format!("warning: {}", text.as_str().unwrap_or_default())),
    );
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Whether the engine cannot see a file that is there.
fn is_out_of_sight(text: &str) -> bool {
    text.contains("o such file") || text.contains("is not allowed") || text.contains("file access denied")
}

/// What to do about the engine's refusal, where that is known.
fn advised(failure: Failure) -> Failure {
    let Failure::Refused(text) = failure else { return failure };
    let advice = if text.contains(": duplicate") {
        "; replace it with thalweg plugin upgrade"
    } else if text.contains("belongs to plugin") {
        "; take it over with --replace"
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

    fn meant(what: &str) -> Result<Target, Failure> {
        target(&InstallArgs::of(what), &Scratch(PathBuf::from("/nowhere/thalweg")))
    }

    #[test]
    fn words_are_urls_files_or_what_pip_takes() {
        let place = Place::Url("http://x/y/a.zip".to_owned());
        assert_eq!(meant("http://x/y/a.zip"), Ok(Target::Zip { name: "a".to_owned(), place }));
        let file = "https://x/acme_math-1.2.0-py3-none-any.whl".to_owned();
        let wheel = Target::Wheel { distribution: "acme-math".to_owned(), place: Place::Url(file.clone()) };
        assert_eq!(meant(&file), Ok(wheel));
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
    fn an_upgrade_by_the_name_alone_is_one_to_the_newest_version() {
        let body =
            |what: &str, verb| body(&Target::Requirement(what.to_owned()), "", &InstallArgs::of(what), verb);
        assert_eq!(body("acme", Verb::Upgrade), "{}");
        assert_eq!(body("acme", Verb::Install), r#"{"package":"acme"}"#);
        assert_eq!(body("acme==2", Verb::Upgrade), r#"{"package":"acme==2"}"#);
    }

    #[test]
    fn paths_are_safe_in_urls() {
        assert_eq!(file_url(Path::new("/a b/c%.zip")), "file:///a%20b/c%25.zip");
    }

    #[test]
    fn what_pip_has_changed_is_told_with_errors_and_warnings() {
        let document = json!({"changes": [
            {"name": "a", "from": null, "to": "1"}, {"name": "b", "from": "1", "to": "2"}, {"name": "c", "from": "3", "to": null}],
            "distributions": [{"errors": ["a: torn"]}], "warnings": ["b has f"]});
        let expected = "a 1 is installed\nb 1 is now 2\nc 3 is removed\nerror: a: torn\nwarning: b has f\n";
        assert_eq!(told(&document), expected);
        assert_eq!(told(&json!({})), "nothing has changed\n");
    }

    #[test]
    fn refusals_come_with_what_to_do() {
        for (text, advice) in [
            ("invalid name a: duplicate", "plugin upgrade"),
            ("function f belongs to plugin b already", "--replace"),
        ] {
            let told = advised(Failure::Refused(text.to_owned()));
            assert!(told.text().starts_with(text) && told.text().contains(advice), "{told:?}");
        }
    }
}
