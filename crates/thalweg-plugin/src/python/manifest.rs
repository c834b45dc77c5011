//! What an environment offers, as `python -m thalweg_sdk.host --describe --load` says it (`portable-plugins.md` 13).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::manifest::Kind;

/// All distributions of an environment that offer symbols.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Manifest {
    /// The version of the interpreter.
    pub(crate) python: String,
    pub(crate) distributions: Vec<Distribution>,
    /// Texts for user interfaces by symbol.
    pub(crate) metadata: Json,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Distribution {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) summary: String,
    pub(crate) functions: Vec<Offer>,
    pub(crate) sources: Vec<Offer>,
    pub(crate) sinks: Vec<Offer>,
    /// What could not be loaded and belongs to no symbol.
    pub(crate) errors: Vec<String>,
}

/// One symbol.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Offer {
    pub(crate) name: String,
    /// `module:object`.
    pub(crate) object: String,
    /// `entry-point` or `namespace`.
    pub(crate) origin: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) alias_of: Option<String>,
    /// Why it cannot be loaded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<String>,
    /// Signature, documentation and the like.
    #[serde(flatten)]
    pub(crate) details: Map<String, Json>,
}

impl Offer {
    /// Whether calls may be spread over several processes.
    pub(crate) fn is_parallel(&self) -> bool {
        self.details.get("parallel") == Some(&Json::Bool(true))
    }
}

impl Distribution {
    /// The symbols of a kind.
    pub(crate) fn offers(&self, kind: Kind) -> &[Offer] {
        match kind {
            Kind::Function => &self.functions,
            Kind::Sink => &self.sinks,
            Kind::Source => &self.sources,
        }
    }

    /// All symbols.
    pub(crate) fn all(&self) -> impl Iterator<Item = (Kind, &Offer)> {
        Kind::ALL.into_iter().flat_map(|kind| self.offers(kind).iter().map(move |offer| (kind, offer)))
    }

    /// Whatever is wrong, each with what it is wrong with.
    pub(crate) fn mistakes(&self) -> Vec<String> {
        let of_symbols =
            self.all().filter(|(_, offer)| offer.alias_of.is_none()).filter_map(|(kind, offer)| {
                let error = offer.error.as_ref()?;
                Some(format!("{} {}: {error}", kind.noun(), offer.name))
            });
        self.errors.iter().cloned().chain(of_symbols).collect()
    }
}

impl Manifest {
    /// Reads what the host has printed.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| format!("the host's description is unreadable: {error}"))
    }

    /// The distribution of this name in its one spelling.
    pub(crate) fn distribution(&self, normal: &str) -> Option<&Distribution> {
        self.distributions.iter().find(|distribution| super::name::normal(&distribution.name) == normal)
    }

    /// What is wrong here and was not wrong before, each with its distribution.
    pub(crate) fn new_mistakes(&self, before: &Self) -> Vec<String> {
        let known = |distribution: &Distribution| {
            let old = before.distribution(&super::name::normal(&distribution.name));
            old.filter(|old| old.version == distribution.version)
                .map(Distribution::mistakes)
                .unwrap_or_default()
        };
        let of_one = |distribution: &Distribution| {
            let (known, name) =
                (known(distribution), format!("{} {}", distribution.name, distribution.version));
            let new = distribution.mistakes().into_iter().filter(move |mistake| !known.contains(mistake));
            new.map(move |mistake| format!("{name}: {mistake}")).collect::<Vec<_>>()
        };
        self.distributions.iter().flat_map(of_one).collect()
    }
}
