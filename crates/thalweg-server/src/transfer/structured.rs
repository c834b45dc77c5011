//! The same document as a tree: entries instead of texts (`rest-api.md` 14.5).

use serde_json::{Map, Value as Json, json};
use thalweg_core::Props;

use super::items::{Items, Section};

/// The sections of a tree that are texts elsewhere, with their names here. There are no scripts in it upstream; ours are.
const PLAIN: [(Section, &str); 6] = [
    (Section::NativePlugins, "nativePlugins"),
    (Section::PortablePlugins, "portablePlugins"),
    (Section::Service, "service"),
    (Section::Schema, "schema"),
    (Section::Uploads, "uploads"),
    (Section::Scripts, "scripts"),
];

/// Those whose entries are called `sources.mqtt.key1`.
const PROFILES: [(Section, &str, &str); 3] = [
    (Section::SourceConfig, "sourceConfig", "sources"),
    (Section::SinkConfig, "sinkConfig", "sinks"),
    (Section::ConnectionConfig, "connectionConfig", "connections"),
];

/// As a tree. Streams and rules are always in it, the others when there are any.
pub(crate) fn tree(items: &Items) -> Json {
    let mut tree = Map::new();
    for (section, name, word) in PROFILES {
        let mut entries = Map::new();
        for (of, text) in items.of(section) {
            let keys: Map<String, Json> = serde_json::from_str(text).unwrap_or_default();
            entries.extend(keys.into_iter().map(|(key, props)| (format!("{word}.{of}.{key}"), props)));
        }
        add(&mut tree, name, entries);
    }
    let parsed = |section| items.of(section).map(|(name, text)| (name.to_owned(), read(text))).collect();
    for (section, name) in PLAIN {
        add(&mut tree, name, parsed(section));
    }
    let statements =
        |section| items.of(section).map(|(name, sql)| (name.to_owned(), json!({ "sql": sql }))).collect();
    tree.insert("streams".to_owned(), Json::Object(statements(Section::Streams)));
    add(&mut tree, "tables", statements(Section::Tables));
    tree.insert("rules".to_owned(), Json::Object(parsed(Section::Rules)));
    Json::Object(tree)
}

fn add(tree: &mut Map<String, Json>, name: &str, entries: Map<String, Json>) {
    if !entries.is_empty() {
        tree.insert(name.to_owned(), Json::Object(entries));
    }
}

fn read(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// Out of a tree.
///
/// # Errors
/// A section or an entry is of the wrong kind; the text says which.
pub(crate) fn items(tree: &Json) -> Result<Items, String> {
    let mut items = Items::default();
    let Json::Object(tree) = tree else {
        return Err("the document must have sections such as streams and rules".to_owned());
    };
    let tree = Props::from(tree.clone());
    for (section, name, word) in PROFILES {
        let mut types: std::collections::BTreeMap<String, Map<String, Json>> = Default::default();
        for (key, props) in entries(&tree, name)? {
            let place = key.strip_prefix(&format!("{word}.")).and_then(|rest| rest.rsplit_once('.'));
            let (of, key) = place
                .ok_or_else(|| format!("{name}: {key} isn't valid conf key; it is {word}.<type>.<key>"))?;
            types.entry(of.to_owned()).or_default().insert(key.to_owned(), props.clone());
        }
        for (of, keys) in types {
            items.put(section, of, Json::Object(keys).to_string());
        }
    }
    for (section, name) in PLAIN.into_iter().chain([(Section::Rules, "rules")]) {
        for (key, entry) in entries(&tree, name)? {
            let Json::Object(members) = entry else {
                return Err(format!("{name}: {key} must hold members, not {entry}"));
            };
            let mut members = members.clone();
            // Upstream's YAML has another name for it than its JSON.
            if section == Section::Uploads
                && let Some(file) = members.remove("filePath")
            {
                members.insert("file".to_owned(), file);
            }
            if section == Section::PortablePlugins
                && let Some(paras) = members.remove("shellparas")
            {
                members.insert("shellParas".to_owned(), paras);
            }
            items.put(section, key, Json::Object(members).to_string());
        }
    }
    for (section, name) in [(Section::Streams, "streams"), (Section::Tables, "tables")] {
        for (key, entry) in entries(&tree, name)? {
            let sql = entry
                .as_object()
                .and_then(|entry| Props::from(entry.clone()).text("sql").ok()?.map(str::to_owned));
            let sql = sql.ok_or_else(|| format!("{name}: {key} must hold sql, not {entry}"))?;
            items.put(section, key, sql);
        }
    }
    Ok(items)
}

fn entries<'a>(tree: &'a Props, name: &str) -> Result<Vec<(&'a String, &'a Json)>, String> {
    match tree.get(name) {
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(Json::Object(entries)) => Ok(entries.iter().collect()),
        Some(other) => Err(format!("{name} must hold entries, not {other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_becomes_a_tree_becomes_the_same_items_again() {
        let mut all = Items::default();
        all.put(Section::Streams, "demo", "CREATE STREAM demo ()");
        all.put(Section::Tables, "t", "CREATE TABLE t ()");
        all.put(Section::Rules, "r", r#"{"actions":[{"log":{}}],"id":"r","sql":"SELECT 1 FROM demo"}"#);
        all.put(Section::SourceConfig, "mqtt", r#"{"k1":{"qos":1},"k2":{}}"#);
        all.put(Section::ConnectionConfig, "mqtt", r#"{"c":{"server":"x"}}"#);
        all.put(Section::Uploads, "a.txt", r#"{"content":"x: y","name":"a.txt"}"#);
        let tree = tree(&all);
        assert_eq!(tree["sourceConfig"]["sources.mqtt.k1"], json!({"qos": 1}));
        assert_eq!(tree["streams"]["demo"]["sql"], "CREATE STREAM demo ()");
        assert_eq!(items(&tree), Ok(all));
        assert_eq!(super::tree(&Items::default()), json!({"streams": {}, "rules": {}}));
    }

    #[test]
    fn entries_of_the_wrong_kind_are_refused_by_name() {
        for (tree, part) in [
            (json!([]), "must have sections"),
            (json!({"streams": 5}), "streams must hold entries, not 5"),
            (json!({"streams": {"s": {}}}), "streams: s must hold sql"),
            (json!({"rules": {"r": "x"}}), "rules: r must hold members"),
            (json!({"sinkConfig": {"mqtt": {}}}), "sinkConfig: mqtt isn't valid conf key"),
        ] {
            let why = items(&tree).expect_err("it is refused");
            assert!(why.contains(part), "{why}");
        }
    }
}
