//! Documents whose keys keep their order: what clients compare as text (`rest-api.md` 1.4).

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value as Json;

/// A JSON document with keys in the order given.
#[derive(Debug, Clone, PartialEq)]
pub enum Document {
    /// Any JSON value.
    Plain(Json),
    /// Members in this order.
    Object(Vec<(String, Document)>),
    /// Items.
    List(Vec<Document>),
}

impl Document {
    /// An object without members.
    pub fn object() -> Self {
        Self::Object(Vec::new())
    }

    /// The same object with one more member at its end. Anything but an object stays as it is.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<Document>) -> Self {
        self.push(name, value);
        self
    }

    /// Adds a member at the end of an object.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Document>) {
        if let Self::Object(members) = self {
            members.push((name.into(), value.into()));
        }
    }

    /// The same with a member unless it is empty text, zero, false or null (Go's `omitempty`).
    pub fn with_some(self, name: &str, value: impl Into<Json>) -> Self {
        let value = value.into();
        let empty = match &value {
            Json::Null | Json::Bool(false) => true,
            Json::Number(number) => number.as_f64() == Some(0.0),
            Json::String(text) => text.is_empty(),
            Json::Array(items) => items.is_empty(),
            Json::Object(members) => members.is_empty(),
            Json::Bool(true) => false,
        };
        if empty { self } else { self.with(name, value) }
    }

    /// The member of this name.
    pub fn get(&self, name: &str) -> Option<&Document> {
        match self {
            Self::Object(members) => members.iter().find(|(key, _)| key == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// The same with the keys of its objects in alphabetical order.
    pub fn sorted(self) -> Self {
        match self {
            Self::Plain(value) => Self::Plain(value),
            Self::List(items) => Self::List(items.into_iter().map(Self::sorted).collect()),
            Self::Object(mut members) => {
                members.sort_by(|a, b| a.0.cmp(&b.0));
                Self::Object(members.into_iter().map(|(name, value)| (name, value.sorted())).collect())
            }
        }
    }

    /// As compact text.
    pub fn compact(&self) -> String {
        // A document holds only text, numbers and text keys, none of which can fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// As text indented by two spaces.
    pub fn pretty(&self) -> String {
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

impl<T: Into<Json>> From<T> for Document {
    fn from(value: T) -> Self {
        Self::Plain(value.into())
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (name, value) in members {
                    map.serialize_entry(name, value)?;
                }
                map.end()
            }
            Self::List(items) => {
                let mut list = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_keep_their_order_and_empty_ones_can_be_left_out() {
        let document =
            Document::object().with("z", 1).with("a", "x").with_some("none", "").with_some("b", true);
        assert_eq!(document.compact(), r#"{"z":1,"a":"x","b":true}"#);
        assert_eq!(Document::List(vec![document]).pretty().lines().count(), 7);
    }
}
