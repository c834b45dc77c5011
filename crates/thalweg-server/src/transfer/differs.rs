//! What of an import is not here as it was where it came from: told in the answer beside upstream's members.

use thalweg_engine::{Document, ProfileKind};

use super::items::Section;
use crate::server::App;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    section: Section,
    name: String,
    text: String,
}

impl Difference {
    pub(super) fn new(section: Section, name: &str, text: impl Into<String>) -> Self {
        Self { section, name: name.to_owned(), text: text.into() }
    }
}

/// `[{"section","name","text"}]`
pub(super) fn document(differences: &[Difference]) -> Document {
    let one = |of: &Difference| {
        Document::object()
            .with("section", of.section.name())
            .with("name", of.name.as_str())
            .with("text", of.text.as_str())
    };
    Document::List(differences.iter().map(one).collect())
}

/// Native plugins of upstream whose work is built in.
const BUILT_IN: [(&str, &str, &str); 4] = [
    ("sources", "random", "the source simulator is"),
    ("sinks", "file", "the sink file is"),
    ("functions", "image", "the functions resize and thumbnail are"),
    ("functions", "geohash", "the functions geohashEncode, geohashDecode and the like are"),
];

/// What is built in, in place of a native plugin.
pub(crate) fn built_in(kind: &str, name: &str) -> Option<String> {
    let known = BUILT_IN.iter().find(|(of, known, _)| *of == kind && *known == name);
    known.map(|(_, _, what)| format!("{what} built in: no plugin is needed"))
}

/// Why a native plugin is not installed; the second says whether nothing is missing without it.
pub(super) fn native(key: &str) -> (String, bool) {
    let text = "native Go plugins are not supported; use a portable plugin";
    match key.split_once('_').and_then(|(kind, name)| built_in(kind, name)) {
        Some(what) => (format!("{text}; {what}"), true),
        None => (text.to_owned(), false),
    }
}

/// What differs of something that was imported.
pub(super) async fn of(app: &App, section: Section, name: &str) -> Vec<Difference> {
    let texts = match section {
        Section::Rules => app.engine.rules().notes(name).await,
        Section::Streams | Section::Tables => {
            let lacks = app.engine.catalog().lacks_source(name).into_iter();
            lacks
                .map(|kind| format!("there is no source of type {kind} here; rules that read it fail"))
                .collect()
        }
        Section::SourceConfig => profiles(app, ProfileKind::Source, name),
        Section::SinkConfig => profiles(app, ProfileKind::Sink, name),
        _ => Vec::new(),
    };
    texts.into_iter().map(|text| Difference::new(section, name, text)).collect()
}

fn profiles(app: &App, kind: ProfileKind, of: &str) -> Vec<String> {
    let profiles = app.engine.profiles();
    let keys = profiles.all_stored(kind).remove(of).unwrap_or_default().into_keys();
    let told = |key: String| {
        let notes = profiles.notes(kind, of, &key);
        notes.into_iter().map(move |note| format!("{key}: {note}"))
    };
    keys.flat_map(told).collect()
}
