//! Environment variables as configuration: `FILE__LEVEL1__LEVEL2=value` (configuration.md 3).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

/// The variables of the process, taken once.
pub type Environment = BTreeMap<String, String>;

/// What the variables of one file say, as a tree with lower-case names.
pub fn tree(environment: &Environment, file: &str) -> Json {
    let prefix = format!("{}__", file.to_uppercase());
    let mut tree = Json::Object(Map::new());
    for (name, value) in environment {
        let Some(path) = name.to_uppercase().strip_prefix(&prefix).map(str::to_lowercase) else { continue };
        let mut place = &mut tree;
        for level in path.split("__") {
            // A level that is a value already gives way to the deeper one (trap 4).
            if !place.is_object() {
                *place = Json::Object(Map::new());
            }
            place = &mut place[level];
        }
        *place = typed(value.trim());
    }
    tree
}

/// What `props(name)` answers: `KUIPER_PROPS_<NAME>`, over it `THALWEG_PROPS_<NAME>`, by name in lower case.
pub fn props(environment: &Environment) -> BTreeMap<String, String> {
    let of = |prefix: &'static str| {
        environment
            .iter()
            .filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?.to_lowercase(), value.clone())))
    };
    of("KUIPER_PROPS_").chain(of("THALWEG_PROPS_")).collect()
}

/// `[a,1,true]` is a list; else integer, boolean, float, text, whichever fits first.
fn typed(text: &str) -> Json {
    if let Some(items) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return items.split(',').map(|item| typed(item.trim())).collect();
    }
    if let Ok(whole) = text.parse::<i64>() {
        return Json::from(whole);
    }
    match text {
        "true" | "TRUE" | "True" | "t" | "T" => Json::Bool(true),
        "false" | "FALSE" | "False" | "f" | "F" => Json::Bool(false),
        _ => text
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite())
            .map_or_else(|| Json::from(text), Json::from),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p1_7_variables_give_a_tree_of_typed_values() {
        let environment = Environment::from(
            [
                ("KUIPER__BASIC__RESTPORT", "9082"),
                ("KUIPER__BASIC__DEBUG", "true"),
                ("KUIPER__X__KEY", "YWJj="),
                ("KUIPER__BASIC__RESTPORT__DEEPER", "1"),
                ("KUIPER_HOME", "/kuiper"),
                ("OTHER__A", "1"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        let tree = tree(&environment, "kuiper");
        assert_eq!(tree["basic"]["debug"], Json::Bool(true));
        assert_eq!(tree["x"]["key"], Json::from("YWJj="));
        assert_eq!(tree["basic"]["restport"]["deeper"], Json::from(1));
        assert_eq!(tree.as_object().map(Map::len), Some(2));
        assert_eq!(typed("[a, 1,true]"), serde_json::json!(["a", 1, true]));
    }
}
