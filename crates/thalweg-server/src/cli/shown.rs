//! How answers look: JSON with the engine's order of keys, tables, documents told line by line.

use clap::ValueEnum;
use serde_json::Value as Json;

use super::client::Failure;

/// How results are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Lines of text.
    Table,
    /// One JSON document.
    Json,
}

/// A JSON text with each member on a line of its own; keys stay in their order, empty lists and objects on one line.
pub(super) fn indented(json: &str, indent: &str) -> String {
    let mut shown = String::with_capacity(json.len() * 2);
    let mut depth = 0usize;
    let mut rest = json;
    while let Some(next) = rest.chars().next() {
        if next == '"' {
            let end = text_end(rest);
            shown.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        rest = &rest[next.len_utf8()..];
        match next {
            '{' | '[' => {
                shown.push(next);
                let inside = rest.trim_start();
                if let Some(after) = inside.strip_prefix(['}', ']']) {
                    shown.push_str(&inside[..1]);
                    rest = after;
                } else {
                    depth += 1;
                    line(&mut shown, indent, depth);
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut shown, indent, depth);
                shown.push(next);
            }
            ',' => {
                shown.push(',');
                line(&mut shown, indent, depth);
            }
            ':' => shown.push_str(": "),
            blank if blank.is_ascii_whitespace() => {}
            other => shown.push(other),
        }
    }
    shown
}

fn line(shown: &mut String, indent: &str, depth: usize) {
    shown.push('\n');
    (0..depth).for_each(|_| shown.push_str(indent));
}

/// Where the text that begins here ends, its quotes included.
fn text_end(json: &str) -> usize {
    let mut escaped = false;
    let end = json.bytes().enumerate().skip(1).find(|(_, byte)| {
        let ends = *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        ends
    });
    end.map_or(json.len(), |(at, _)| at + 1)
}

/// A document with each member on a line of its own.
pub(super) fn pretty(document: &Json) -> String {
    format!("{document:#}\n")
}

/// A document as lines `key  value`, what is inside indented below its key.
pub(super) fn told(document: &Json) -> String {
    let mut lines = Vec::new();
    tell(document, 0, &mut lines);
    let width =
        lines.iter().map(|(key, value)| if value.is_empty() { 0 } else { key.len() }).max().unwrap_or(0);
    lines.iter().map(|(key, value)| format!("{key:width$}  {value}").trim_end().to_owned() + "\n").collect()
}

fn tell(value: &Json, depth: usize, lines: &mut Vec<(String, String)>) {
    let indent = "  ".repeat(depth);
    let members: Vec<(String, &Json)> = match value {
        Json::Object(members) => members.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Json::Array(items) => items.iter().map(|item| ("-".to_owned(), item)).collect(),
        _ => Vec::new(),
    };
    for (key, value) in members {
        match value {
            Json::Null => {}
            Json::Array(items) if items.iter().all(|item| !item.is_object() && !item.is_array()) => {
                if !items.is_empty() {
                    lines.push((
                        format!("{indent}{key}"),
                        items.iter().map(text).collect::<Vec<_>>().join(", "),
                    ));
                }
            }
            Json::Object(_) | Json::Array(_) => {
                let mut inside = Vec::new();
                tell(value, depth + 1, &mut inside);
                if !inside.is_empty() {
                    lines.push((format!("{indent}{key}"), String::new()));
                    lines.append(&mut inside);
                }
            }
            plain => {
                let plain = text(plain);
                if !plain.is_empty() {
                    lines.push((format!("{indent}{key}"), plain));
                }
            }
        }
    }
}

pub(super) fn parsed(body: &str) -> Result<Json, Failure> {
    let wrong =
        |why| Failure::Refused(format!("the engine's answer is no JSON: {why}: {}", first_line(body)));
    serde_json::from_str(body).map_err(wrong)
}

pub(super) fn array(value: Json) -> Vec<Json> {
    match value {
        Json::Array(items) => items,
        _ => Vec::new(),
    }
}

/// A value for people.
pub(super) fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

pub(super) fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// Columns side by side, each as wide as its widest cell.
pub(super) fn table(rows: &[impl AsRef<[String]>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (column, cell) in row.as_ref().iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    let line = |row: &[String]| {
        let cells: String = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
        cells.trim_end().to_owned() + "\n"
    };
    rows.iter().map(|row| line(row.as_ref())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_indented_without_a_change_of_order_or_of_texts() {
        let shown = indented(r#"{"b":1,"a":[{"x":"a, {b}: \" \\"}, 2],"e":{},"l":[ ],"n":null}"#, "  ");
        let expected = "{\n  \"b\": 1,\n  \"a\": [\n    {\n      \"x\": \"a, {b}: \\\" \\\\\"\n    },\n    2\n  ],\n  \
                        \"e\": {},\n  \"l\": [],\n  \"n\": null\n}";
        assert_eq!(shown, expected);
        assert_eq!(indented("\"open", "  "), "\"open", "what is no JSON stays what it is");
        assert_eq!(indented(&shown, "  "), expected, "twice is once");
    }

    #[test]
    fn a_table_is_as_wide_as_its_cells() {
        let rows = [["id", "state"], ["a-long-one", "on"], ["b", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "id          state\na-long-one  on\nb\n");
    }

    #[test]
    fn a_document_is_told_line_by_line_without_what_is_empty() {
        let document = json!({"name": "a", "sinks": null, "list": ["x", "y"], "bare": {"x": {}}, "in": {"n": 1, "none": "", "deep": [{"k": 2}]}});
        assert_eq!(told(&document), "in\n  deep\n    -\n      k  2\n  n      1\nlist     x, y\nname     a\n");
    }
}
