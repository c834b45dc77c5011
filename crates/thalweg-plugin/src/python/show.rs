//! Environments and distributions as the API shows them (`rest-api.md` 11.3).

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Map, Value as Json, json};

use super::change::differences;
use super::claims::{Claims, Conflict};
use super::folder::Generation;
use super::manifest::{Distribution, Offer};
use super::name::normal;
use super::{DEFAULT, Environment, PythonError, PythonPlugins, Users, hosts};
use crate::manifest::Kind;
use crate::output::PluginLog;

/// What a request has changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Changed {
    /// The environment.
    pub env: String,
    /// The generation in force.
    pub generation: u64,
    /// Distributions that came, went or have another version.
    pub changes: Vec<Json>,
    /// Those of them that offer symbols.
    pub distributions: Vec<Json>,
    /// What whoever asked should know.
    pub warnings: Vec<String>,
}

impl PythonPlugins {
    /// All environments.
    pub fn list(&self, users: Users<'_>) -> Json {
        let claims = self.claims();
        let environments = self.environments().clone();
        let shown = environments.iter().map(|(env, environment)| {
            let record = &environment.record;
            let folder = self.folder(env);
            let before = record.from.filter(|number| folder.generation(*number).dir.is_dir());
            let hosts: Vec<Json> =
                environment.plan(env, &claims).iter().map(|plan| self.host(plan)).collect();
            let all: Vec<Json> = record
                .manifest
                .distributions
                .iter()
                .map(|distribution| self.short(env, environment, distribution, &claims, users))
                .collect();
            json!({
                "env": env,
                "python": record.manifest.python,
                "interpreter": environment.generation.python().display().to_string(),
                "generation": environment.generation.number,
                "previous": before,
                "hosts": hosts,
                "distributions": all,
            })
        });
        Json::Array(shown.collect())
    }

    fn host(&self, plan: &hosts::HostPlan) -> Json {
        let status = self.catalog.read().plugins.get(&plan.name).and_then(|plugin| plugin.status());
        let mut shown = json!({
            "name": plan.name,
            "status": "initializing",
            "errMsg": "",
            "pid": null,
            "restarts": 0,
            "distributions": plan.distributions,
        });
        if let Some(status) = status {
            shown["status"] = status.status.into();
            shown["errMsg"] = status.err_msg.into();
            shown["pid"] = status.pid.into();
            shown["restarts"] = status.restarts.into();
        }
        shown
    }

    fn short(
        &self,
        env: &str,
        environment: &Environment,
        distribution: &Distribution,
        claims: &Claims,
        users: Users<'_>,
    ) -> Json {
        let placement = hosts::placement(&environment.record, &distribution.name);
        let host = hosts::host_name(env, &distribution.name, placement);
        let health = self.catalog.read().plugins.get(&host).and_then(|plugin| plugin.status());
        let health = health.map(|status| status.status);
        let served = |kind: Kind| -> Vec<&str> {
            let offers = distribution.offers(kind).iter();
            let has = offers.filter(|offer| has(claims, env, distribution, kind, offer));
            has.map(|offer| offer.name.as_str()).collect()
        };
        json!({
            "name": distribution.name,
            "version": distribution.version,
            "summary": distribution.summary,
            "functions": served(Kind::Function),
            "sources": served(Kind::Source),
            "sinks": served(Kind::Sink),
            "errors": distribution.mistakes(),
            "isolate": placement.isolate,
            "workers": placement.workers,
            "host": host,
            "health": health,
            "rules": self.rules_of(env, &normal(&distribution.name), users),
        })
    }

    /// The rules that use what a distribution has.
    pub(super) fn rules_of(&self, env: &str, wanted: &str, users: Users<'_>) -> Vec<String> {
        let claims = self.claims();
        let own = claims.winners.iter().filter(|((kind, symbol), claim)| {
            let is_below = !claim.is_preferred && self.catalog.read().zip_owner(*kind, symbol).is_some();
            claim.env == env && normal(&claim.distribution) == wanted && !is_below
        });
        let mut rules: Vec<String> = own.flat_map(|((kind, symbol), _)| users(kind.noun(), symbol)).collect();
        rules.sort();
        rules.dedup();
        rules
    }

    /// One distribution with everything that is known of it.
    ///
    /// # Errors
    /// It is not installed.
    pub fn describe(&self, env: &str, name: &str, users: Users<'_>) -> Result<Json, PythonError> {
        let env = if env.is_empty() { DEFAULT } else { env };
        let wanted = normal(name);
        let environment = self.known(env, &wanted)?;
        let claims = self.claims();
        let bare = Distribution {
            name: wanted.clone(),
            version: environment.record.installed.get(&wanted).cloned().unwrap_or_default(),
            ..Distribution::default()
        };
        let distribution = environment.record.manifest.distribution(&wanted).unwrap_or(&bare);
        let mut shown = self.short(env, &environment, distribution, &claims, users);
        for kind in Kind::ALL {
            let offers = distribution.offers(kind).iter().map(|offer| {
                let mut shown = serde_json::to_value(offer).unwrap_or_default();
                shown["served"] = has(&claims, env, distribution, kind, offer).into();
                shown
            });
            shown[kind.folder()] = offers.collect();
        }
        shown["env"] = env.into();
        for (key, value) in metadata(&environment.generation, &wanted) {
            shown[key] = value;
        }
        Ok(shown)
    }

    /// The last lines that the process of a distribution printed, at most so many; other distributions of its
    /// environment may be in the same one.
    ///
    /// # Errors
    /// It is not installed.
    pub fn logs(&self, env: &str, name: &str, n_lines: usize) -> Result<PluginLog, PythonError> {
        let env = if env.is_empty() { DEFAULT } else { env };
        let wanted = normal(name);
        let environment = self.known(env, &wanted)?;
        let host = hosts::host_name(env, &wanted, hosts::placement(&environment.record, &wanted));
        let host = self.catalog.read().plugins.get(&host).cloned();
        // One that offers nothing has none.
        Ok(host.map(|host| host.output.tail(n_lines)).unwrap_or_default())
    }

    /// Names that more than one wants.
    pub fn conflicts(&self) -> Json {
        self.claims().conflicts.iter().map(Conflict::show).collect()
    }

    /// What user interfaces want to know about the functions of distributions: what the distribution says itself
    /// (`thalweg.metadata`), else what is known from its code.
    pub fn metadata(&self) -> Vec<Json> {
        let claims = self.claims();
        let environments = self.environments().clone();
        let mut all = Vec::new();
        for (env, environment) in &environments {
            let manifest = &environment.record.manifest;
            for distribution in &manifest.distributions {
                let own = distribution.functions.iter();
                let own = own.filter(|offer| has(&claims, env, distribution, Kind::Function, offer));
                let functions: Vec<Json> = own.map(|offer| of_function(&manifest.metadata, offer)).collect();
                if !functions.is_empty() {
                    all.push(json!({
                        "about": {
                            "trial": false,
                            "author": {"name": "", "email": "", "company": "", "website": ""},
                            "helpUrl": both(""),
                            "description": both(&distribution.summary),
                        },
                        "name": distribution.name,
                        "version": distribution.version,
                        "type": "portable",
                        "functions": functions,
                    }));
                }
            }
        }
        all
    }

    /// The functions of distributions, each with its distribution.
    pub fn functions(&self) -> Vec<(String, String)> {
        let winners = self.claims().winners.into_iter().filter(|((kind, symbol), claim)| {
            *kind == Kind::Function
                && (claim.is_preferred || self.catalog.read().zip_owner(*kind, symbol).is_none())
        });
        winners.map(|((_, symbol), claim)| (symbol, claim.distribution)).collect()
    }

    pub(super) fn changed(
        &self,
        env: &str,
        before: &BTreeMap<String, String>,
        after: &Environment,
        warnings: Vec<String>,
        users: Users<'_>,
    ) -> Changed {
        let claims = self.claims();
        let changes = differences(before, &after.record.installed);
        let touched = after.record.manifest.distributions.iter().filter(|distribution| {
            let name = normal(&distribution.name);
            changes.iter().any(|(changed, _, _)| *changed == name)
        });
        let distributions =
            touched.map(|distribution| self.short(env, after, distribution, &claims, users)).collect();
        let changes =
            changes.into_iter().map(|(name, from, to)| json!({"name": name, "from": from, "to": to}));
        Changed {
            env: env.to_owned(),
            generation: after.generation.number,
            changes: changes.collect(),
            distributions,
            warnings,
        }
    }
}

/// Upstream has each text in two languages.
fn both(text: &str) -> Json {
    json!({"en_US": text, "zh_CN": text})
}

fn of_function(told: &Json, offer: &Offer) -> Json {
    let told = told.get(&offer.name).filter(|told| told.is_object() && told.get("error").is_none());
    if let Some(told) = told {
        let mut told = told.clone();
        told["name"] = offer.name.as_str().into();
        return told;
    }
    let detail = |name: &str| offer.details.get(name).cloned().unwrap_or_default();
    let text = |name: &str| detail(name).as_str().unwrap_or_default().to_owned();
    let usage = text("usage");
    json!({
        "name": offer.name,
        "example": if usage.is_empty() { format!("{}()", offer.name) } else { usage },
        "aggregate": detail("agg") == json!(true),
        "hint": both(&text("doc")),
        "node": {"category": "function", "icon": "iconPath", "label": both(&offer.name)},
    })
}

/// Whether a distribution has the name of what it offers.
fn has(claims: &Claims, env: &str, distribution: &Distribution, kind: Kind, offer: &Offer) -> bool {
    claims.winners.get(&(kind, offer.name.clone())).is_some_and(|claim| {
        claim.env == env && claim.distribution == distribution.name && claim.object == offer.object
    })
}

/// What the distribution says of itself in its metadata folder.
fn metadata(generation: &Generation, wanted: &str) -> Map<String, Json> {
    let folder = folder_of(generation, wanted);
    let read = |name: &str| {
        folder.as_ref().and_then(|dir| fs::read_to_string(dir.join(name)).ok()).unwrap_or_default()
    };
    let (metadata, record, origin) = (read("METADATA"), read("RECORD"), read("direct_url.json"));
    let head = metadata.split("\n\n").next().unwrap_or_default();
    let all = |key: &str| -> Vec<&str> {
        head.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(": ")).map(str::trim).collect()
    };
    let one = |key: &str| all(key).first().copied().unwrap_or_default().to_owned();
    let files: Vec<&str> = record
        .lines()
        .filter_map(|line| line.rsplitn(3, ',').nth(2))
        .filter(|file| !file.ends_with(".pyc") && !file.contains(".dist-info/"))
        .collect();
    let origin: Json = serde_json::from_str(&origin).unwrap_or_default();
    let members = [
        ("license", json!(one("License"))),
        ("author", json!(one("Author"))),
        ("homepage", json!(one("Home-page"))),
        ("requires", json!(all("Requires-Dist"))),
        ("files", json!(files)),
        ("editable", json!(origin["dir_info"]["editable"] == json!(true))),
    ];
    members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn folder_of(generation: &Generation, wanted: &str) -> Option<PathBuf> {
    let entries = fs::read_dir(generation.site_packages().ok()?).ok()?.flatten();
    let mut folders = entries.map(|entry| entry.path()).filter(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let stem = name.strip_suffix(".dist-info");
        stem.and_then(|stem| stem.split_once('-')).is_some_and(|(name, _)| normal(name) == wanted)
    });
    folders.next()
}
