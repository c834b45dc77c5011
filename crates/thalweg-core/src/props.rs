//! Properties as the user wrote them: names match in any case, values are JSON.

use serde_json::{Map, Value as Json};

use crate::diagnostic::{Diagnostic, ErrorCode};
use crate::time::parse_duration;

/// A property document. Order and spelling are kept for export; look-ups ignore the case of names (R1.1).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Props {
    entries: Map<String, Json>,
}

impl Props {
    /// No properties.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of a property.
    pub fn get(&self, name: &str) -> Option<&Json> {
        self.entries.get(name).or_else(|| {
            self.entries.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    }

    /// Sets a property, replacing one whose name differs only in case.
    pub fn set(&mut self, name: &str, value: impl Into<Json>) {
        let known = self.entries.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
        self.entries.insert(known.unwrap_or_else(|| name.to_owned()), value.into());
    }

    /// Takes a property out.
    pub fn remove(&mut self, name: &str) -> Option<Json> {
        let known = self.entries.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned()?;
        self.entries.remove(&known)
    }

    /// Lays `over` on top of these.
    pub fn merge(&mut self, over: &Props) {
        for (name, value) in over.iter() {
            self.set(name, value.clone());
        }
    }

    /// All properties in the order written.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.entries.iter().map(|(name, value)| (name.as_str(), value))
    }

    /// The document.
    pub fn to_json(&self) -> Json {
        Json::Object(self.entries.clone())
    }

    /// Text, or an error that names the property.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Diagnostic> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(name, "a string", other)),
        }
    }

    /// An integer (a whole JSON number), or an error that names the property.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Diagnostic> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Number(number)) => {
                let whole = number
                    .as_i64()
                    .or_else(|| number.as_f64().filter(|f| f.fract() == 0.0).map(|f| f as i64));
                whole.map(Some).ok_or_else(|| wrong(name, "a whole number", &Json::Number(number.clone())))
            }
            Some(other) => Err(wrong(name, "a whole number", other)),
        }
    }

    /// A boolean, or an error that names the property.
    pub fn bool(&self, name: &str) -> Result<Option<bool>, Diagnostic> {
        match self.get(name) {
            None | Some(Json::Null) => Ok(None),
            Some(Json::Bool(value)) => Ok(Some(*value)),
            Some(other) => Err(wrong(name, "true or false", other)),
        }
    }

    /// A duration in milliseconds: a whole number of milliseconds or Go text (R1.7).
    pub fn millis(&self, name: &str) -> Result<Option<i64>, Diagnostic> {
        match self.get(name) {
            Some(Json::String(text)) => match parse_duration(text) {
                Some(millis) => Ok(Some(millis)),
                None => Err(wrong(
                    name,
                    "a duration such as \"10s\" or milliseconds",
                    &Json::String(text.clone()),
                )),
            },
            _ => self.int(name),
        }
    }
}

impl From<Map<String, Json>> for Props {
    fn from(entries: Map<String, Json>) -> Self {
        Self { entries }
    }
}

fn wrong(name: &str, expected: &str, got: &Json) -> Diagnostic {
    Diagnostic::new(ErrorCode::Executor, format!("property \"{name}\" must be {expected}, not {got}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_in_any_case_and_types_are_strict() {
        let mut props = Props::new();
        props.set("SendSingle", true);
        props.set("qos", 1);
        props.set("interval", "10s");
        assert_eq!(props.bool("sendSingle"), Ok(Some(true)));
        props.set("sendsingle", false);
        assert_eq!(props.bool("sendSingle"), Ok(Some(false)));
        assert_eq!(props.millis("interval"), Ok(Some(10_000)));
        assert_eq!(props.int("absent"), Ok(None));
        let error = props.text("qos").expect_err("a number is no text");
        assert_eq!(error.message, "property \"qos\" must be a string, not 1");
    }
}
