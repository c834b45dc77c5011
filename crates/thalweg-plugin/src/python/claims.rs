//! Who has a name that several distributions want (`portable-plugins.md` 11.1).
//!
//! Built-in before zip plugin before entry point before module of the namespace; among equals the distribution that
//! sorts first. `plugins.python.prefer` goes before all but built-ins. What cannot be loaded takes no name from what
//! can.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use super::manifest::Manifest;
use super::name::normal;
use crate::manifest::Kind;

/// A symbol that a distribution has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) env: String,
    /// As it writes itself.
    pub(crate) distribution: String,
    pub(crate) object: String,
    /// Goes before a plugin from a zip.
    pub(crate) is_preferred: bool,
    pub(crate) is_parallel: bool,
}

/// The outcome over all environments.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Claims {
    pub(crate) winners: BTreeMap<(Kind, String), Claim>,
    pub(crate) conflicts: Vec<Conflict>,
}

/// A name that more than one wants.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Conflict {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    /// As the API shows it.
    pub(crate) winner: Json,
    pub(crate) losers: Vec<Claim>,
}

/// Who has a name before all distributions.
pub(crate) enum Prior {
    Builtin,
    /// From a zip.
    Plugin(String),
}

/// In this order they are given a name; the last is what decides among equals.
type Rank = (bool, bool, bool, bool, String, String, String);
/// Whether it is an alias is told once more.
type Candidate = (Rank, bool, Claim);

/// Decides over everything that the environments offer.
pub(crate) fn decide(
    manifests: &[(String, &Manifest)],
    prefer: &BTreeMap<String, String>,
    prior: &dyn Fn(Kind, &str) -> Option<Prior>,
) -> Claims {
    let mut wanted: BTreeMap<(Kind, String), Vec<Candidate>> = BTreeMap::new();
    for (env, manifest) in manifests {
        for distribution in &manifest.distributions {
            for (kind, offer) in distribution.all() {
                let chosen = prefer.get(&offer.name).map(|name| normal(name));
                let is_preferred = chosen.is_some_and(|chosen| chosen == normal(&distribution.name));
                let is_alias = offer.alias_of.is_some();
                let rank = (
                    offer.error.is_some(),
                    !is_preferred,
                    is_alias,
                    offer.origin != "entry-point",
                    distribution.name.clone(),
                    offer.object.clone(),
                    env.clone(),
                );
                let claim = Claim {
                    env: env.clone(),
                    distribution: distribution.name.clone(),
                    object: offer.object.clone(),
                    is_preferred,
                    is_parallel: offer.is_parallel(),
                };
                wanted.entry((kind, offer.name.clone())).or_default().push((rank, is_alias, claim));
            }
        }
    }
    let mut claims = Claims::default();
    for ((kind, name), mut candidates) in wanted {
        candidates.sort_by(|a, b| a.0.cmp(&b.0));
        award(&mut claims, kind, name.clone(), candidates, prior(kind, &name));
    }
    claims
}

fn award(claims: &mut Claims, kind: Kind, name: String, candidates: Vec<Candidate>, prior: Option<Prior>) {
    let mut candidates = candidates.into_iter();
    let is_preferred = candidates.as_slice().first().is_some_and(|(_, _, claim)| claim.is_preferred);
    let winner = match prior {
        Some(Prior::Builtin) => json!({"builtin": true}),
        Some(Prior::Plugin(plugin)) if !is_preferred => {
            // It gets the name when the other plugin is removed.
            if let Some((_, _, first)) = candidates.as_slice().first() {
                claims.winners.insert((kind, name.clone()), first.clone());
            }
            json!({"plugin": plugin})
        }
        _ => {
            let Some((_, _, first)) = candidates.next() else { return };
            let shown = first.show();
            claims.winners.insert((kind, name.clone()), first);
            shown
        }
    };
    // A short form that is not free is nobody's loss.
    let losers: Vec<Claim> =
        candidates.filter(|(_, is_alias, _)| !is_alias).map(|(_, _, claim)| claim).collect();
    if !losers.is_empty() {
        claims.conflicts.push(Conflict { kind, name, winner, losers });
    }
}

impl Claim {
    fn show(&self) -> Json {
        json!({"distribution": self.distribution, "env": self.env, "object": self.object})
    }
}

impl Conflict {
    /// As the API shows it.
    pub(crate) fn show(&self) -> Json {
        json!({
            "kind": self.kind.noun(),
            "name": self.name,
            "winner": self.winner,
            "losers": self.losers.iter().map(Claim::show).collect::<Vec<_>>(),
        })
    }

    /// As the log says it.
    pub(crate) fn text(&self, loser: &Claim) -> String {
        let of = |name: &str| self.winner.get(name).and_then(Json::as_str).map(str::to_owned);
        let winner = match (of("distribution"), of("plugin")) {
            (Some(distribution), _) => distribution,
            (None, Some(plugin)) => format!("plugin {plugin}"),
            _ => "the engine".to_owned(),
        };
        let (kind, name) = (self.kind.noun(), &self.name);
        format!(
            "{kind} {name} of {} is not used: {winner} has the name (plugins.python.prefer decides otherwise)",
            loser.distribution
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::{Distribution, Offer};
    use super::*;

    fn offer(name: &str, object: &str, origin: &str) -> Offer {
        let (name, object, origin) = (name.to_owned(), object.to_owned(), origin.to_owned());
        Offer { name, object, origin, ..Offer::default() }
    }

    fn manifest(distributions: &[(&str, Vec<Offer>)]) -> Manifest {
        let made = |(name, functions): &(&str, Vec<Offer>)| Distribution {
            name: (*name).to_owned(),
            functions: functions.clone(),
            ..Distribution::default()
        };
        Manifest { distributions: distributions.iter().map(made).collect(), ..Manifest::default() }
    }

    fn winner(claims: &Claims, name: &str) -> Option<String> {
        Some(claims.winners.get(&(Kind::Function, name.to_owned()))?.distribution.clone())
    }

    #[test]
    fn entry_points_go_before_the_namespace_then_the_name_that_sorts_first_and_preferences_before_all() {
        let manifest = manifest(&[
            ("a", vec![offer("f", "a:F", "namespace")]),
            ("b", vec![offer("f", "b:f", "entry-point"), offer("g", "b:g", "entry-point")]),
            ("c", vec![offer("f", "c:f", "entry-point")]),
        ]);
        let all = [("e".to_owned(), &manifest)];
        let claims = decide(&all, &BTreeMap::new(), &|_, _| None);
        assert_eq!(
            (winner(&claims, "f").as_deref(), winner(&claims, "g").as_deref()),
            (Some("b"), Some("b"))
        );
        let losers: Vec<&str> = claims.conflicts[0].losers.iter().map(|l| l.distribution.as_str()).collect();
        assert_eq!((claims.conflicts.len(), losers), (1, vec!["c", "a"]));
        let prefer = BTreeMap::from([("f".to_owned(), "A".to_owned())]);
        let zip = |_: Kind, _: &str| Some(Prior::Plugin("z".to_owned()));
        let claims = decide(&all, &prefer, &zip);
        assert_eq!(winner(&claims, "f").as_deref(), Some("a"));
        assert_eq!(claims.conflicts[1].winner, json!({"plugin": "z"}), "g is the zip's");
        let text = claims.conflicts[1].text(&claims.conflicts[1].losers[0]);
        assert!(text.starts_with("function g of b is not used: plugin z has the name"), "{text}");
    }

    #[test]
    fn nobody_takes_a_name_from_the_engine_and_the_broken_none_from_the_sound() {
        let mut broken = offer("f", "a:f", "entry-point");
        broken.error = Some("ImportError: x".to_owned());
        let mut alias = offer("g", "b:G", "namespace");
        alias.alias_of = Some("b.G".to_owned());
        let manifest = manifest(&[
            ("a", vec![broken, offer("g", "a:g", "entry-point")]),
            ("b", vec![offer("f", "b:f", "entry-point"), alias, offer("avg", "b:avg", "entry-point")]),
        ]);
        let builtin = |_: Kind, name: &str| (name == "avg").then_some(Prior::Builtin);
        let claims = decide(&[("e".to_owned(), &manifest)], &BTreeMap::new(), &builtin);
        assert_eq!(winner(&claims, "f").as_deref(), Some("b"));
        assert_eq!((winner(&claims, "g").as_deref(), winner(&claims, "avg")), (Some("a"), None));
        let names: Vec<&str> = claims.conflicts.iter().map(|conflict| conflict.name.as_str()).collect();
        assert_eq!(names, ["avg", "f"], "an alias that is not free is no conflict");
    }
}
