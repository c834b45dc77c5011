//! Table: the operators of graph rules, as user interfaces read them (`rest-api.md` 8.1, R6.3).

use serde_json::{Value as Json, json};
use thalweg_core::spec::{PropKind, PropSpec, Roles};

use super::field;

/// An operator.
struct Operator {
    name: &'static str,
    help: &'static str,
    props: &'static [PropSpec],
    /// What it takes and gives: type, rowType, collectionType.
    input: [&'static str; 3],
    output: &'static str,
    /// Whether several nodes may lead to it.
    joins: bool,
}

const fn prop(name: &'static str, kind: PropKind, help: &'static str) -> PropSpec {
    PropSpec::new(name, kind, Roles::ALL, help)
}

const ANY: [&str; 3] = ["any", "any", "any"];
const COLLECTION: [&str; 3] = ["collection", "any", "any"];

const WINDOWS: PropKind =
    PropKind::OneOf(&["tumblingwindow", "hoppingwindow", "slidingwindow", "sessionwindow", "countwindow"]);

const OPERATORS: &[Operator] = &[
    Operator {
        name: "aggfunc",
        help: "Adds a value to each group.",
        props: &[
            prop("expr", PropKind::Text, "The call of an aggregate, with an alias if wanted.").required()
        ],
        input: COLLECTION,
        output: "same",
        joins: false,
    },
    Operator {
        name: "filter",
        help: "Lets through what a condition holds for; behind a grouping it is HAVING.",
        props: &[prop("expr", PropKind::Text, "The condition.").required()],
        input: ANY,
        output: "same",
        joins: false,
    },
    Operator {
        name: "function",
        help: "Adds a column to each row.",
        props: &[prop("expr", PropKind::Text, "The call of a function, with an alias if wanted.").required()],
        input: ANY,
        output: "same",
        joins: false,
    },
    Operator {
        name: "groupby",
        help: "Groups a collection.",
        props: &[prop("dimensions", PropKind::List, "The expressions to group by.").required()],
        input: ["collection", "any", "any"],
        output: "collection",
        joins: false,
    },
    Operator {
        name: "join",
        help: "Joins streams of a window, or rows with a lookup table.",
        props: &[
            prop("from", PropKind::Text, "The first stream.").required(),
            prop("joins", PropKind::List, "The others: name, type (inner, left, right, full, cross) and on.")
                .required(),
        ],
        input: ANY,
        output: "collection",
        joins: false,
    },
    Operator {
        name: "orderby",
        help: "Sorts a collection.",
        props: &[prop("sorts", PropKind::List, "What to sort by: field, and desc.").required()],
        input: COLLECTION,
        output: "same",
        joins: false,
    },
    Operator {
        name: "pick",
        help: "Makes the columns of the result.",
        props: &[
            prop("fields", PropKind::List, "Columns and expressions.").required(),
            prop("isAgg", PropKind::Bool, "Whether groups become rows.").default("false"),
        ],
        input: ANY,
        output: "same",
        joins: false,
    },
    Operator {
        name: "switch",
        help: "Has one outlet for each condition.",
        props: &[
            prop("cases", PropKind::List, "The conditions.").required(),
            prop("stopAtFirstMatch", PropKind::Bool, "Whether a row leaves through the first outlet only.")
                .default("false"),
        ],
        input: ANY,
        output: "same",
        joins: false,
    },
    Operator {
        name: "watermark",
        help: "Follows the times of streams, in event time.",
        props: &[
            prop("emitters", PropKind::List, "The streams that it follows.").required(),
            prop("sendWatermark", PropKind::Bool, "Accepted for compatibility; watermarks are always sent.")
                .default("false")
                .inert(),
        ],
        input: ["row", "any", "any"],
        output: "same",
        joins: true,
    },
    Operator {
        name: "window",
        help: "Collects rows.",
        props: &[
            prop("type", WINDOWS, "The kind of window.").required(),
            prop("unit", PropKind::OneOf(&["ms", "ss", "mi", "hh", "dd"]), "The unit of size and interval.")
                .required(),
            prop("size", PropKind::Int { min: 1, max: i64::MAX }, "How long it is.").required(),
            prop(
                "interval",
                PropKind::Int { min: 0, max: i64::MAX },
                "How often it ends, or how long a gap may be.",
            ),
        ],
        input: ["row", "any", "any"],
        output: "collection",
        joins: true,
    },
];

/// All of them, as the files of upstream have them.
pub(super) fn described() -> Vec<Json> {
    OPERATORS.iter().map(describe).collect()
}

/// Whether the table has this operator.
pub(super) fn has(name: &str) -> bool {
    OPERATORS.iter().any(|operator| operator.name == name)
}

fn both(text: &str) -> Json {
    json!({"en_US": text, "zh_CN": text})
}

fn describe(operator: &Operator) -> Json {
    let [kind, row, collection] = operator.input;
    let properties: Vec<Json> = operator.props.iter().filter(|spec| !spec.inert).map(property).collect();
    json!({
        "about": {
            "trial": false,
            "author": {"name": "Thalweg", "email": "", "company": "", "website": ""},
            "helpUrl": both(""),
            "description": both(operator.help),
        },
        "properties": properties,
        "node": {
            "display": true,
            "category": "op",
            "input": {"type": kind, "rowType": row, "collectionType": collection, "allowMulti": operator.joins},
            "output": {"type": operator.output, "strategy": "keep"},
            "icon": "iconPath",
            "label": {"en": field::label(operator.name), "zh": field::label(operator.name)},
            "name": operator.name,
        },
    })
}

fn property(spec: &PropSpec) -> Json {
    let mut shown: Json = serde_json::from_str(&field::of_spec(spec, false).compact()).unwrap_or_default();
    if let Some(members) = shown.as_object_mut() {
        members.remove("exist");
        members.remove("connection_related");
        members.insert("hint".to_owned(), both(spec.help));
        members.insert("label".to_owned(), both(&field::label(spec.name)));
    }
    shown
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_operators_are_those_that_graphs_may_have() {
        let ours: BTreeSet<_> = OPERATORS.iter().map(|operator| operator.name).collect();
        let mut built: BTreeSet<_> = thalweg_plan::graph::OPERATORS.into_iter().collect();
        // Known to the planner, which says that it is not built yet.
        built.remove("script");
        assert_eq!(ours, built);
    }

    #[test]
    fn an_operator_is_described_as_upstreams_files_do() {
        let window = described().pop().unwrap();
        assert_eq!(window["properties"][0]["name"], "type");
        assert_eq!(window["properties"][0]["values"][0], "tumblingwindow");
        assert_eq!(window["properties"][0]["optional"], false);
        assert_eq!(window["properties"][3]["hint"]["en_US"], "How often it ends, or how long a gap may be.");
        assert_eq!(
            (&window["node"]["category"], &window["node"]["input"]["type"]),
            (&json!("op"), &json!("row"))
        );
    }
}
