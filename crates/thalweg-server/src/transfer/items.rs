//! The sections of a document.

use std::collections::BTreeMap;

use serde_json::Value as Json;
use thalweg_core::Props;
use thalweg_engine::Document;

/// A section.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Section {
    /// Name → CREATE STREAM.
    Streams,
    /// Name → CREATE TABLE.
    Tables,
    /// Id → rule document.
    Rules,
    /// `<kind>_<name>` → install request.
    NativePlugins,
    /// Name → install request.
    PortablePlugins,
    /// Type → profiles by key.
    SourceConfig,
    /// Type → profiles by key.
    SinkConfig,
    /// Type → connections by id.
    ConnectionConfig,
    /// Name → install request.
    Service,
    /// `<type>_<name>` → create request.
    Schema,
    /// Name → upload request.
    Uploads,
    /// Id → JavaScript function.
    Scripts,
}

impl Section {
    /// All, in the order of upstream's documents.
    pub(crate) const ALL: [Self; 12] = [
        Self::Streams,
        Self::Tables,
        Self::Rules,
        Self::NativePlugins,
        Self::PortablePlugins,
        Self::SourceConfig,
        Self::SinkConfig,
        Self::ConnectionConfig,
        Self::Service,
        Self::Schema,
        Self::Uploads,
        Self::Scripts,
    ];

    /// Its name in documents. Two begin with a capital.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Streams => "streams",
            Self::Tables => "tables",
            Self::Rules => "rules",
            Self::NativePlugins => "nativePlugins",
            Self::PortablePlugins => "portablePlugins",
            Self::SourceConfig => "sourceConfig",
            Self::SinkConfig => "sinkConfig",
            Self::ConnectionConfig => "connectionConfig",
            Self::Service => "Service",
            Self::Schema => "Schema",
            Self::Uploads => "uploads",
            Self::Scripts => "scripts",
        }
    }
}

/// The texts of all sections by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Items(BTreeMap<Section, BTreeMap<String, String>>);

impl Items {
    /// Reads a document. Sections that are left out are empty; names of sections are taken in any case.
    ///
    /// # Errors
    /// It is no JSON, or something in it is no text.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let refused = |why: &str| format!("configuration unmarshal with error {why}");
        let document: Json = serde_json::from_str(text).map_err(|why| match why.is_eof() {
            true => refused("unexpected end of JSON input"),
            false => refused(&why.to_string()),
        })?;
        let Json::Object(document) = document else {
            return Err(refused(&format!("the document must be an object, not {}", short(&document))));
        };
        let document = Props::from(document);
        let mut items = Self::default();
        for section in Section::ALL {
            let name = section.name();
            match document.get(name) {
                None | Some(Json::Null) => {}
                Some(Json::Object(members)) => {
                    for (key, value) in members {
                        let Json::String(text) = value else {
                            let what = format!("{name}.{key} must be a text, not {}", short(value));
                            return Err(refused(&what));
                        };
                        items.put(section, key, text.clone());
                    }
                }
                Some(other) => {
                    let what = format!("{name} must be an object of texts, not {}", short(other));
                    return Err(refused(&what));
                }
            }
        }
        Ok(items)
    }

    /// The texts of a section.
    pub(crate) fn of(&self, section: Section) -> impl Iterator<Item = (&str, &str)> {
        self.0.get(&section).into_iter().flatten().map(|(name, text)| (name.as_str(), text.as_str()))
    }

    /// Adds a text, or replaces the one of its name.
    pub(crate) fn put(&mut self, section: Section, name: impl Into<String>, text: impl Into<String>) {
        self.0.entry(section).or_default().insert(name.into(), text.into());
    }

    /// Whether there is nothing in it.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.values().all(BTreeMap::is_empty)
    }

    /// How many texts there are.
    pub(crate) fn len(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// All sections, empty ones too.
    pub(crate) fn document(&self) -> Document {
        let texts = |section| self.of(section).map(|(name, text)| (name.to_owned(), text.into())).collect();
        let sections =
            Section::ALL.map(|section| (section.name().to_owned(), Document::Object(texts(section))));
        Document::Object(sections.into())
    }
}

/// A value in a message, not all of it when it is long.
fn short(value: &Json) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_has_its_twelve_sections_in_upstreams_order_and_spelling() {
        let empty = r#"{"streams":{},"tables":{},"rules":{},"nativePlugins":{},"portablePlugins":{},"sourceConfig":{},"sinkConfig":{},"connectionConfig":{},"Service":{},"Schema":{},"uploads":{},"scripts":{}}"#;
        let items = Items::read(empty).expect("it can be read");
        assert!(items.is_empty());
        assert_eq!(items.document().compact(), empty);
        assert_eq!(Items::read("{\"service\":{\"a\":\"b\"}}").expect("any case").len(), 1);
    }

    #[test]
    fn what_is_no_document_is_refused_with_its_place() {
        for (text, why) in [
            ("{", "unexpected end of JSON input"),
            ("", "unexpected end of JSON input"),
            ("[]", "the document must be an object, not []"),
            (r#"{"streams":5}"#, "streams must be an object of texts, not 5"),
            (r#"{"rules":{"r":{"id":"r"}}}"#, r#"rules.r must be a text, not {"id":"r"}"#),
        ] {
            assert_eq!(Items::read(text), Err(format!("configuration unmarshal with error {why}")));
        }
    }
}
