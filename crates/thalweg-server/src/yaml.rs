//! YAML files as JSON trees, and trees laid over each other.

use std::borrow::Cow;
use std::path::Path;

use saphyr::{LoadableYamlNode, Scalar, Yaml, YamlEmitter};
use serde_json::{Map, Value as Json};

/// A YAML text as JSON. An empty text is null.
///
/// # Errors
/// What is wrong and where.
pub fn parse(text: &str) -> Result<Json, String> {
    let documents = Yaml::load_from_str(text).map_err(|why| why.to_string())?;
    documents.first().map_or(Ok(Json::Null), json)
}

/// A YAML file as JSON; `None` when there is no such file.
///
/// # Errors
/// It cannot be read or parsed; the message names the file.
pub fn read(path: &Path) -> Result<Option<Json>, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => parse(&text).map(Some).map_err(|why| format!("{}: {why}", path.display())),
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(why) => Err(format!("{}: {why}", path.display())),
    }
}

fn json(node: &Yaml<'_>) -> Result<Json, String> {
    Ok(match node {
        Yaml::Value(Scalar::Null) => Json::Null,
        Yaml::Value(Scalar::Boolean(value)) => Json::Bool(*value),
        Yaml::Value(Scalar::Integer(value)) => Json::from(*value),
        Yaml::Value(Scalar::FloatingPoint(value)) => Json::from(value.into_inner()),
        Yaml::Value(Scalar::String(text)) => Json::from(text.as_ref()),
        Yaml::Representation(text, ..) => Json::from(text.as_ref()),
        Yaml::Sequence(items) => Json::Array(items.iter().map(json).collect::<Result<_, _>>()?),
        Yaml::Mapping(members) => {
            let mut object = Map::new();
            for (key, value) in members {
                object.insert(key_text(key)?, json(value)?);
            }
            Json::Object(object)
        }
        Yaml::Tagged(_, inner) => json(inner)?,
        _ => return Err("aliases and bad values are not supported".to_owned()),
    })
}

fn key_text(key: &Yaml<'_>) -> Result<String, String> {
    match json(key)? {
        Json::String(text) => Ok(text),
        Json::Number(number) => Ok(number.to_string()),
        Json::Bool(value) => Ok(value.to_string()),
        other => Err(format!("a key must be text, not {other}")),
    }
}

/// A JSON tree as YAML.
///
/// # Errors
/// Never for trees of text, numbers and lists.
pub fn write(tree: &Json) -> Result<String, String> {
    let mut text = String::new();
    let mut emitter = YamlEmitter::new(&mut text);
    emitter.dump(&node(tree)).map_err(|why| why.to_string())?;
    text.push('\n');
    // The mark before the first document says nothing.
    Ok(text.strip_prefix("---\n").map(str::to_owned).unwrap_or(text))
}

fn node(tree: &Json) -> Yaml<'_> {
    match tree {
        Json::Null => Yaml::Value(Scalar::Null),
        Json::Bool(value) => Yaml::Value(Scalar::Boolean(*value)),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Yaml::Value(Scalar::Integer(whole)),
            (None, Some(value)) => Yaml::Value(Scalar::FloatingPoint(value.into())),
            (None, None) => Yaml::Value(Scalar::Null),
        },
        Json::String(text) => Yaml::Value(Scalar::String(text.into())),
        Json::Array(items) => Yaml::Sequence(items.iter().map(node).collect()),
        Json::Object(members) => {
            let text = |name| Yaml::Value(Scalar::String(Cow::Borrowed(name)));
            Yaml::Mapping(members.iter().map(|(name, value)| (text(name.as_str()), node(value))).collect())
        }
    }
}

/// Lays a tree over another: objects member by member with names in any case, all else replaced.
pub fn overlay(under: &mut Json, over: &Json) {
    match (under, over) {
        (_, Json::Null) => {}
        (Json::Object(under), Json::Object(over)) => {
            for (name, value) in over {
                let known = under.keys().find(|key| key.eq_ignore_ascii_case(name)).cloned();
                overlay(under.entry(known.unwrap_or_else(|| name.clone())).or_insert(Json::Null), value);
            }
        }
        (under, over) => *under = over.clone(),
    }
}

/// The member of an object, in any case.
pub fn member<'a>(tree: &'a Json, name: &str) -> Option<&'a Json> {
    let members = tree.as_object()?;
    members
        .get(name)
        .or_else(|| members.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_reads_as_the_same_tree() {
        let texts = [
            "",
            " a",
            "a: b",
            "- x",
            "yes",
            "null",
            "1",
            "1.5",
            "~",
            "a #b",
            "'",
            "\"",
            "{",
            "*a",
            "&a",
            "!x",
            "line\nline\n",
            "tab\t",
            "\u{e4}\u{1f600}",
            "a\\b",
            "SELECT * FROM \"x\" WHERE a > 'b'",
            "\u{7f}",
            "0x1F",
            "|",
        ];
        let entry = |text: &&str| (format!("k{text}"), json!({ "v": text, "l": [text, {"m": text}] }));
        let tree: Json = texts.iter().map(entry).collect::<Map<_, _>>().into();
        let tree = json!({"texts": tree, "n": [1, -2, 1.5, true, null, [], {}, [[1], [2]]], "": {"": ""}});
        let text = write(&tree).expect("it can be written");
        assert_eq!(parse(&text).as_ref(), Ok(&tree), "{text}");
    }

    #[test]
    fn yaml_becomes_json_and_trees_are_laid_over_each_other_in_any_case() {
        let mut tree = parse("basic:\n  restPort: 9081\n  debug: false\nlist: [1, a, 2.5]\n").expect("YAML");
        assert_eq!(tree["list"], serde_json::json!([1, "a", 2.5]));
        overlay(&mut tree, &parse("basic: {RESTPORT: 1}").expect("YAML"));
        assert_eq!(member(&tree, "Basic").and_then(|basic| member(basic, "restport")), Some(&Json::from(1)));
        assert_eq!(parse(""), Ok(Json::Null));
        assert!(parse("a: [").is_err());
    }
}
