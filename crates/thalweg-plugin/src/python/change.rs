//! Changing an environment: a copy, pip in it, a trial, and only then the switch. Whatever fails before leaves what
//! runs as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use thalweg_fetch::decode;
use tracing::{info, warn};

use super::claims::Claims;
use super::folder::{Generation, Placement, Record};
use super::name::{check_environment, normal, of_requirement, of_wheel};
use super::pip::{self, Request};
use super::show::Changed;
use super::{DEFAULT, Environment, PythonError, PythonPlugins, Users, hosts, lost};

/// What is to be installed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum What {
    /// Nothing: where and how it runs changes, or what the lock lists is installed.
    #[default]
    Nothing,
    /// One requirement.
    Package(String),
    /// The newest version of what is installed.
    Newest,
    /// The url of a wheel.
    Url(String),
    /// A wheel on this machine, under its right name.
    File(PathBuf),
    /// A project's folder.
    Editable(String),
}

/// A request to install, or to install another version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Install {
    /// The environment; empty for the usual one.
    pub env: String,
    /// Of this distribution, if it must be there already.
    pub distribution: Option<String>,
    /// See there.
    pub what: What,
    /// Requirements with hashes.
    pub lock: Option<String>,
    /// The url of such a list.
    pub lock_file: Option<String>,
    /// In a process of its own.
    pub isolate: Option<bool>,
    /// Processes for functions that may be called in parallel.
    pub workers: Option<u32>,
    /// Even if rules use what would be gone.
    pub force: bool,
}

/// A change on its way.
struct Change<'a> {
    env: &'a str,
    force: bool,
    users: Users<'a>,
}

impl PythonPlugins {
    /// Installs, in a new environment where there is none of this name.
    ///
    /// # Errors
    /// What pip, an import or the new host has said. Nothing is changed.
    pub fn install(&self, request: &Install, users: Users<'_>) -> Result<Changed, PythonError> {
        let env = named(&request.env)?;
        check_workers(request.workers.unwrap_or(1))?;
        let _busy = self.occupy(env)?;
        let change = Change { env, force: request.force, users };
        let wanted = request.distribution.as_deref().map(normal);
        if let Some(wanted) = &wanted {
            self.known(env, wanted)?;
        }
        if request.what == What::Nothing && request.lock.is_none() && request.lock_file.is_none() {
            return self.place(&change, wanted.as_deref(), request);
        }
        let incoming = Incoming::new(self.root().join(format!(".{env}")))?;
        let args = self.args(request, wanted.as_deref(), &incoming)?;
        let lock = self.lock(request, &incoming)?;
        self.change(&change, true, &mut |generation, record| {
            let before = generation.installed();
            if let Some((name, version)) = &args.wheel
                && before.get(&normal(name)) == Some(version)
            {
                // Otherwise pip would not look at a wheel of the version that is there.
                pip::uninstall(generation, name, self.config())?;
            }
            let wheels = lock.as_ref().and(args.wheel.as_ref()).map(|_| incoming.dir.as_path());
            let args = if lock.is_some() { Vec::new() } else { args.pip.clone() };
            let request_of_pip = Request { args, lock: lock.as_deref(), wheels };
            pip::install(generation, &request_of_pip, self.config())?;
            let after = generation.installed();
            for name in after.keys().filter(|name| Some(*name) == wanted.as_ref() || named_by(request, name))
            {
                set_placement(record, name, request);
            }
            Ok(())
        })
    }

    /// Removes a distribution.
    ///
    /// # Errors
    /// It is not installed, or rules use it, or others do not load without it.
    pub fn remove(
        &self,
        env: &str,
        name: &str,
        force: bool,
        users: Users<'_>,
    ) -> Result<Changed, PythonError> {
        let env = named(env)?;
        let _busy = self.occupy(env)?;
        let wanted = normal(name);
        self.known(env, &wanted)?;
        let rules = self.rules_of(env, &wanted, users);
        if !rules.is_empty() && !force {
            let text = format!(
                "{name} is used by {}: stop or delete them first, or add ?force=1",
                listed("rule", &rules)
            );
            return Err(PythonError::InUse(text));
        }
        self.change(&Change { env, force, users }, false, &mut |generation, record| {
            record.placements.remove(&wanted);
            pip::uninstall(generation, &wanted, self.config())
        })
    }

    /// Looks again at an environment in which pip was run by hand.
    ///
    /// # Errors
    /// As for an installation; what runs goes on.
    pub fn reload(&self, env: &str, force: bool, users: Users<'_>) -> Result<Changed, PythonError> {
        let env = named(env)?;
        let _busy = self.occupy(env)?;
        let Environment { generation, record } = self.environment(env)?;
        let mut record = Record::clone(&record);
        self.look(env, &generation, &mut record)?;
        self.adopt(&Change { env, force, users }, generation, record)
    }

    /// Goes back to the generation before.
    ///
    /// # Errors
    /// There is none, or it does not load any more.
    pub fn roll_back(&self, env: &str, force: bool, users: Users<'_>) -> Result<Changed, PythonError> {
        let env = named(env)?;
        let _busy = self.occupy(env)?;
        let current = self.environment(env)?;
        let none = || PythonError::Refused(format!("environment {env} has no generation to go back to"));
        let generation = self.folder(env).generation(current.record.from.ok_or_else(none)?);
        let mut record = generation.record().map_err(|_| none())?;
        record.from = Some(current.generation.number);
        record.manifest = pip::describe(env, &generation, self.config())?;
        record.installed = generation.installed();
        self.adopt(&Change { env, force, users }, generation, record)
    }

    /// Changes only where and how a distribution runs.
    fn place(
        &self,
        change: &Change<'_>,
        wanted: Option<&str>,
        request: &Install,
    ) -> Result<Changed, PythonError> {
        let Some(wanted) = wanted.filter(|_| request.isolate.is_some() || request.workers.is_some()) else {
            let text = "nothing to install: \"package\", \"file\", \"editable\" or \"lock\" says what";
            return Err(PythonError::Refused(text.to_owned()));
        };
        let Environment { generation, record } = self.environment(change.env)?;
        let mut record = Record::clone(&record);
        set_placement(&mut record, wanted, request);
        self.adopt(change, generation, record)
    }

    /// A new generation, made by `edit`.
    fn change(
        &self,
        change: &Change<'_>,
        may_create: bool,
        edit: &mut dyn FnMut(&Generation, &mut Record) -> Result<(), String>,
    ) -> Result<Changed, PythonError> {
        let env = change.env;
        let folder = self.folder(env);
        let before = self.environments().get(env).cloned();
        if before.is_none() && !may_create {
            return Err(PythonError::NotFound(format!("there is no environment {env}")));
        }
        let root = folder.dir.display();
        fs::create_dir_all(&folder.dir).map_err(|error| format!("cannot make {root}: {error}"))?;
        let generation = folder.generation(folder.next());
        let result = self.make(before.as_ref(), &generation, env, edit);
        let result = result
            .map_err(PythonError::from)
            .and_then(|record| self.adopt(change, generation.clone(), record));
        if result.is_err() {
            generation.remove();
            if before.is_none() {
                folder.tidy();
            }
        } else {
            folder.tidy();
        }
        result
    }

    /// Fills a generation; the record is what it holds, checked by loading everything.
    fn make(
        &self,
        before: Option<&Environment>,
        generation: &Generation,
        env: &str,
        edit: &mut dyn FnMut(&Generation, &mut Record) -> Result<(), String>,
    ) -> Result<Record, String> {
        match before {
            Some(before) => generation.copy_from(&before.generation)?,
            None => pip::create(generation, self.config())?,
        }
        pip::note_sdk(generation, self.config())?;
        let mut record = before.map(|before| Record::clone(&before.record)).unwrap_or_default();
        record.from = before.map(|before| before.generation.number);
        edit(generation, &mut record)?;
        self.look(env, generation, &mut record)?;
        Ok(record)
    }

    /// Loads everything. What loaded before and does not load now is an error.
    fn look(&self, env: &str, generation: &Generation, record: &mut Record) -> Result<(), String> {
        let manifest = pip::describe(env, generation, self.config())?;
        let mistakes = manifest.new_mistakes(&record.manifest);
        if !mistakes.is_empty() {
            return Err(mistakes.join(" | "));
        }
        record.manifest = manifest;
        record.installed = generation.installed();
        Ok(())
    }

    /// Puts a generation in force: trial, commit, switch of the processes.
    fn adopt(
        &self,
        change: &Change<'_>,
        generation: Generation,
        record: Record,
    ) -> Result<Changed, PythonError> {
        let env = change.env;
        let before = self.environments().get(env).cloned();
        let old_claims = self.claims();
        let claims = self.claims_with(Some((env, &record)));
        if !change.force {
            self.check_users(change, &old_claims, &claims)?;
        }
        let after = Environment { generation, record: Arc::new(record) };
        let (old_plans, plans) = (
            before.as_ref().map(|before| before.plan(env, &old_claims)).unwrap_or_default(),
            after.plan(env, &claims),
        );
        hosts::try_out(&self.catalog, &plans)?;
        let folder = self.folder(env);
        after.generation.write_record(&after.record)?;
        let committed = folder.switch(after.generation.number);
        committed.map_err(|error| format!("cannot switch {}: {error}", folder.dir.display()))?;
        self.environments().insert(env.to_owned(), after.clone());
        if let Err(error) = hosts::swap(&self.catalog, &old_plans, &plans, &|| self.publish(&claims)) {
            self.restore(env, before.as_ref());
            hosts::put_back(&self.catalog, &old_plans, &plans);
            return Err(PythonError::Refused(format!("the new host does not come up: {error}")));
        }
        info!(env, generation = after.generation.number, "environment {env} is changed");
        let installed = match before {
            Some(before) => before.record.installed.clone(),
            // What comes with every environment is no news.
            None => after.record.installed.iter().filter(came_along).map(owned).collect(),
        };
        let warnings = lost(&claims, env);
        Ok(self.changed(env, &installed, &after, warnings, change.users))
    }

    /// After a switch that failed.
    fn restore(&self, env: &str, before: Option<&Environment>) {
        let put_back = match before {
            None => {
                self.environments().remove(env);
                Ok(())
            }
            Some(before) => {
                self.environments().insert(env.to_owned(), before.clone());
                let switched = self.folder(env).switch(before.generation.number);
                switched.map_err(|error| error.to_string()).and_then(|()| {
                    // A change of the same generation has overwritten it.
                    before.generation.write_record(&before.record)
                })
            }
        };
        if let Err(error) = put_back {
            warn!(env, "the environment of before cannot be put back: {error}");
        }
        self.publish(&self.claims());
    }

    /// Rules must not lose what they use.
    fn check_users(&self, change: &Change<'_>, old: &Claims, new: &Claims) -> Result<(), PythonError> {
        for ((kind, symbol), claim) in old.winners.iter().filter(|(_, claim)| claim.env == change.env) {
            let key = (*kind, symbol.clone());
            if new.winners.contains_key(&key) || self.catalog.read().zip_owner(*kind, symbol).is_some() {
                continue;
            }
            let rules = (change.users)(kind.noun(), symbol);
            if !rules.is_empty() {
                let text = format!(
                    "{} {symbol} of {} would be gone, and is used by {}: stop or delete them first, or add ?force=1",
                    kind.noun(),
                    claim.distribution,
                    listed("rule", &rules)
                );
                return Err(PythonError::InUse(text));
            }
        }
        Ok(())
    }

    pub(super) fn environment(&self, env: &str) -> Result<Environment, PythonError> {
        let found = self.environments().get(env).cloned();
        found.ok_or_else(|| PythonError::NotFound(format!("there is no environment {env}")))
    }

    pub(super) fn known(&self, env: &str, wanted: &str) -> Result<Environment, PythonError> {
        let environment = self.environment(env)?;
        if environment.record.installed.contains_key(wanted) {
            return Ok(environment);
        }
        Err(PythonError::NotFound(format!("{wanted} is not installed in environment {env}")))
    }

    /// What pip is told, and the wheel among it.
    fn args(
        &self,
        request: &Install,
        wanted: Option<&str>,
        incoming: &Incoming,
    ) -> Result<Args, PythonError> {
        let fits = |name: &str| match wanted {
            Some(wanted) if normal(name) != wanted => {
                Err(PythonError::Refused(format!("{name} is not {wanted}")))
            }
            _ => Ok(()),
        };
        match &request.what {
            What::Nothing => Ok(Args::default()),
            What::Newest => Ok(Args {
                pip: vec!["--upgrade".to_owned(), wanted.unwrap_or_default().to_owned()],
                wheel: None,
            }),
            What::Package(package) => {
                fits(of_requirement(package)?)?;
                Ok(Args { pip: vec![package.trim().to_owned()], wheel: None })
            }
            What::Url(url) => {
                let file = decode(url.split(['?', '#']).next().unwrap_or_default());
                let file = file.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
                let (name, version) = of_wheel(&file)?;
                fits(&name)?;
                let target = incoming.dir.join(&file);
                self.config()
                    .fetch()
                    .download(url, &target)
                    .map_err(|why| format!("fail to download file {url}: {why}"))?;
                Ok(Args { pip: vec![target.display().to_string()], wheel: Some((name, version)) })
            }
            What::File(path) => {
                let file = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let (name, version) = of_wheel(file)?;
                fits(&name)?;
                let target = incoming.dir.join(file);
                fs::copy(path, &target)
                    .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
                Ok(Args { pip: vec![target.display().to_string()], wheel: Some((name, version)) })
            }
            What::Editable(folder) => {
                let path = Path::new(folder);
                if !path.is_absolute() || !path.is_dir() {
                    let text = format!("{folder} is not the absolute path of a project's folder");
                    return Err(PythonError::Refused(text));
                }
                self.config().fetch().check(path)?;
                Ok(Args { pip: vec!["--editable".to_owned(), folder.clone()], wheel: None })
            }
        }
    }

    fn lock(&self, request: &Install, incoming: &Incoming) -> Result<Option<PathBuf>, PythonError> {
        let target = incoming.dir.join("lock.txt");
        if let Some(url) = &request.lock_file {
            self.config()
                .fetch()
                .download(url, &target)
                .map_err(|why| format!("fail to download file {url}: {why}"))?;
        } else if let Some(text) = &request.lock {
            fs::write(&target, text).map_err(|error| format!("cannot write the lock: {error}"))?;
        } else {
            return Ok(None);
        }
        let text = fs::read_to_string(&target).map_err(|error| format!("the lock is no text: {error}"))?;
        let lists = |wanted: &str| {
            text.lines()
                .filter_map(|line| of_requirement(line).ok())
                .any(|name| normal(name) == normal(wanted))
        };
        // It could lead pip elsewhere.
        let mut options =
            text.lines().map(str::trim).filter(|line| line.starts_with('-') && !line.starts_with("--hash"));
        if let (Some(option), true) = (options.next(), self.config().python.offline.is_some()) {
            let text = format!(
                "the lock holds \"{option}\": with plugins.python.offline it may hold requirements only"
            );
            return Err(PythonError::Refused(text));
        }
        let named = match &request.what {
            What::Package(package) => Some(of_requirement(package)?.to_owned()),
            _ => request.distribution.clone(),
        };
        match named.filter(|name| !lists(name)) {
            Some(name) => Err(PythonError::Refused(format!("the lock does not list {name}"))),
            None => Ok(Some(target)),
        }
    }
}

#[derive(Default)]
struct Args {
    pip: Vec<String>,
    /// Name and version.
    wheel: Option<(String, String)>,
}

/// A folder for what is on its way, which goes with it.
struct Incoming {
    dir: PathBuf,
}

impl Incoming {
    fn new(dir: PathBuf) -> Result<Self, String> {
        // Left by an engine that was killed.
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).map_err(|error| format!("cannot make {}: {error}", dir.display()))?;
        Ok(Self { dir })
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

fn named(env: &str) -> Result<&str, PythonError> {
    let env = if env.is_empty() { DEFAULT } else { env };
    check_environment(env)?;
    Ok(env)
}

/// Whether the request speaks of this distribution.
fn named_by(request: &Install, installed: &str) -> bool {
    let name = match &request.what {
        What::Package(package) => of_requirement(package).ok().map(str::to_owned),
        What::Url(url) => {
            let file = url.split(['?', '#']).next().and_then(|url| url.rsplit('/').next());
            file.and_then(|file| of_wheel(file).ok()).map(|(name, _)| name)
        }
        What::File(path) => {
            let file = path.file_name().and_then(|name| name.to_str());
            file.and_then(|file| of_wheel(file).ok()).map(|(name, _)| name)
        }
        _ => None,
    };
    name.is_some_and(|name| normal(&name) == installed)
}

fn set_placement(record: &mut Record, name: &str, request: &Install) {
    let before = record.placements.get(name).copied().unwrap_or_default();
    let placement = Placement {
        isolate: request.isolate.unwrap_or(before.isolate),
        workers: request.workers.unwrap_or(before.workers),
    };
    if placement == Placement::default() {
        record.placements.remove(name);
    } else {
        record.placements.insert(name.to_owned(), placement);
    }
}

fn check_workers(workers: u32) -> Result<(), String> {
    match workers {
        1..=64 => Ok(()),
        other => Err(format!("\"workers\" must be 1 to 64, not {other}")),
    }
}

fn came_along((name, _): &(&String, &String)) -> bool {
    ["pip", "setuptools", "wheel", "thalweg-sdk"].contains(&name.as_str())
}

fn owned((name, version): (&String, &String)) -> (String, String) {
    (name.clone(), version.clone())
}

/// `rule r1`, `rules r1, r2`.
fn listed(what: &str, names: &[String]) -> String {
    format!("{what}{} {}", if names.len() == 1 { "" } else { "s" }, names.join(", "))
}

/// What differs between two states of an environment.
pub(super) fn differences(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<(String, Option<String>, Option<String>)> {
    let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
    names.sort();
    names.dedup();
    let differs = |name: &&String| before.get(*name) != after.get(*name);
    let difference = |name: &String| (name.clone(), before.get(name).cloned(), after.get(name).cloned());
    names.into_iter().filter(differs).map(difference).collect()
}
