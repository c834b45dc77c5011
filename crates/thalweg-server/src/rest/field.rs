//! Properties and documents as user interfaces read them (`rest-api.md` 8.1): from our tables, or from a file that came
//! with a plugin.

use serde_json::{Value as Json, json};
use thalweg_core::spec::{PropKind, PropSpec};
use thalweg_engine::Document;

/// One text in the languages that clients know. Ours has one.
pub(super) fn both(text: &str) -> Document {
    Document::object().with("en", text).with("zh", text)
}

/// A property of a connector. `of_connection`: as a property of the connection itself, which nothing else can bring.
pub(super) fn of_spec(spec: &PropSpec, of_connection: bool) -> Document {
    let (kind, control, values, empty) = shape(&spec.kind, spec.default);
    let default = spec.default.and_then(|text| serde_json::from_str(text).ok()).unwrap_or(empty);
    let needed = spec.required && (of_connection || !spec.of_connection);
    Document::object()
        .with("exist", false)
        .with("name", spec.name)
        .with("default", default)
        .with("type", kind)
        .with("control", control)
        .with("connection_related", spec.of_connection)
        .with("optional", !needed)
        .with("values", values)
        .with("hint", both(spec.help))
        .with("label", both(&label(spec.name)))
}

/// Type, control, values, and what stands for nothing.
fn shape(kind: &PropKind, default: Option<&str>) -> (&'static str, &'static str, Json, Json) {
    match kind {
        PropKind::Text | PropKind::Secret | PropKind::Url | PropKind::Duration => {
            ("string", "text", Json::Null, "".into())
        }
        PropKind::Int { min, max } if max.checked_sub(*min).is_some_and(|range| range < 10) => {
            ("int", "select", (*min..=*max).collect(), Json::Null)
        }
        PropKind::Int { .. } => ("int", "text", Json::Null, Json::Null),
        PropKind::Float => ("float", "text", Json::Null, Json::Null),
        PropKind::Bool => ("bool", "radio", json!([true, false]), Json::Bool(false)),
        PropKind::OneOf(names) => ("string", "select", names.iter().copied().collect(), "".into()),
        PropKind::List if default.is_some_and(|default| default.starts_with("[{")) => {
            ("list_object", "list", Json::Null, json!([]))
        }
        PropKind::List => ("list_string", "list", Json::Null, json!([])),
        PropKind::Object => ("object", "text", Json::Null, json!({})),
    }
}

/// `protocolVersion` as `Protocol version`.
pub(super) fn label(name: &str) -> String {
    let mut label = String::with_capacity(name.len() + 4);
    let mut before = None::<char>;
    for letter in name.chars() {
        match before {
            None => label.extend(letter.to_uppercase()),
            Some(before) if letter.is_ascii_uppercase() && !before.is_ascii_uppercase() => {
                label.push(' ');
                label.push(letter.to_ascii_lowercase());
            }
            Some(_) => label.push(letter),
        }
        before = Some(letter);
    }
    label
}

/// `about` of something of ours.
pub(super) fn about(description: &str) -> Document {
    let author =
        Document::object().with("name", "Thalweg").with("email", "").with("company", "").with("website", "");
    Document::object()
        .with("trial", false)
        .with("installed", true)
        .with("author", author)
        .with("helpUrl", both(""))
        .with("description", both(description))
}

/// A property as a file has it.
pub(super) fn of_file(field: &Json) -> Document {
    let text = |name: &str| field[name].as_str().unwrap_or_default();
    let flag = |name: &str| field[name].as_bool().unwrap_or(false);
    let default = match &field["default"] {
        // Properties below properties.
        Json::Array(fields) if fields.iter().all(|field| field["name"].is_string()) && !fields.is_empty() => {
            Document::List(fields.iter().map(of_file).collect())
        }
        other => other.clone().into(),
    };
    Document::object()
        .with("exist", false)
        .with("name", text("name"))
        .with("default", default)
        .with("type", text("type"))
        .with("control", text("control"))
        .with("connection_related", flag("connection_related"))
        .with("optional", flag("optional"))
        .with("values", field["values"].clone())
        .with("hint", language(&field["hint"]))
        .with("label", language(&field["label"]))
}

/// `about` as a file has it.
pub(super) fn about_of_file(about: &Json) -> Document {
    let author = match &about["author"] {
        Json::Object(_) => {
            ["name", "email", "company", "website"].into_iter().fold(Document::object(), |author, name| {
                author.with(name, about["author"][name].as_str().unwrap_or_default())
            })
        }
        _ => Json::Null.into(),
    };
    Document::object()
        .with("trial", about["trial"].as_bool().unwrap_or(false))
        .with("installed", true)
        .with("author", author)
        .with("helpUrl", language(&about["helpUrl"]))
        .with("description", language(&about["description"]))
}

/// `en_US` and `zh_CN` become `en` and `zh`.
fn language(texts: &Json) -> Document {
    if !texts.is_object() {
        return Json::Null.into();
    }
    let text = |name: &str| texts[name].as_str().unwrap_or_default();
    Document::object().with("en", text("en_US")).with("zh", text("zh_CN"))
}

#[cfg(test)]
mod tests {
    use thalweg_core::spec::Roles;

    use super::*;

    #[test]
    fn a_row_of_a_table_becomes_a_field() {
        let qos = PropSpec::new("qosLevel", PropKind::Int { min: 0, max: 2 }, Roles::SOURCE, "How sure.")
            .default("1");
        let expected = r#"{"exist":false,"name":"qosLevel","default":1,"type":"int","control":"select","connection_related":false,"optional":true,"values":[0,1,2],"hint":{"en":"How sure.","zh":"How sure."},"label":{"en":"Qos level","zh":"Qos level"}}"#;
        assert_eq!(of_spec(&qos, false).compact(), expected);
    }

    #[test]
    fn what_a_connection_needs_a_source_on_it_does_not() {
        let server = PropSpec::new("server", PropKind::Url, Roles::BOTH, "Where.").required().of_connection();
        assert_eq!(of_spec(&server, false).get("optional"), Some(&true.into()));
        assert_eq!(of_spec(&server, true).get("optional"), Some(&false.into()));
        let topic = PropSpec::new("topic", PropKind::Text, Roles::BOTH, "Where.").required();
        assert_eq!(of_spec(&topic, false).get("optional"), Some(&false.into()));
    }

    #[test]
    fn names_become_labels() {
        for (name, expected) in [("clientid", "Clientid"), ("rootCARaw", "Root cARaw"), ("a", "A"), ("", "")]
        {
            assert_eq!(label(name), expected);
        }
    }

    #[test]
    fn fields_of_files_may_hold_fields_and_may_be_anything_else() {
        let field =
            json!({"name": "f", "default": [{"name": "g"}], "hint": {"en_US": "h"}, "optional": "yes"});
        let shown: Json = serde_json::from_str(&of_file(&field).compact()).unwrap();
        assert_eq!((&shown["default"][0]["name"], &shown["hint"]["en"]), (&json!("g"), &json!("h")));
        assert_eq!((&shown["optional"], &shown["label"]), (&json!(false), &Json::Null));
        for other in [json!(null), json!([1]), json!("x")] {
            assert!(of_file(&other).get("name").is_some());
            assert!(about_of_file(&other).get("author").is_some());
        }
    }
}
