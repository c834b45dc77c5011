//! `thalweg explain rule ID`, `thalweg explain "SELECT …"`: the plan for people to read.

use serde_json::Value as Json;

use super::ExplainArgs;
use super::client::{Failure, segment};

/// The sections, in the order in which they are shown.
const SECTIONS: &[(&str, &str)] = &[
    ("Node", "Plan"),
    ("Decoder", "Read by the decoder"),
    ("SourceFilter", "Asked at the source"),
    ("ComputedOnce", "Computed once per row"),
    ("SharedStream", "Shared streams, with the other rules that read them"),
    ("SharedCondition", "Asked once for several rules"),
    ("SharedWindow", "Windows that several rules have in common"),
    ("EventTimeGroup", "Put in order once for several rules"),
    ("Warning", "Warnings"),
];

/// Asks the engine, and gives what to print.
///
/// # Errors
/// The words are neither form, the engine refuses, or there is none.
pub fn run(args: &ExplainArgs) -> Result<String, Failure> {
    let client = args.target.client();
    let body = match args.words.as_slice() {
        [kind, id] if kind.eq_ignore_ascii_case("rule") => {
            client.get(&format!("/rules/{}/explain", segment(id)))?
        }
        words if is_query(words) => client.post("/rules/explain", &words.join(" "))?,
        _ => {
            let usage =
                "explain takes `rule ID` or a SELECT in quotes: thalweg explain \"SELECT a FROM demo\"";
            return Err(Failure::Usage(usage.to_owned()));
        }
    };
    Ok(if args.raw { body + "\n" } else { pretty(&body) })
}

fn is_query(words: &[String]) -> bool {
    let first = words.first().and_then(|text| text.split_whitespace().next()).unwrap_or_default();
    ["SELECT", "WITH", "EXPLAIN"].iter().any(|word| first.eq_ignore_ascii_case(word))
}

/// The lines of the answer by section; those of upstream's form are left to `--raw`.
fn pretty(body: &str) -> String {
    let lines: Vec<(usize, String, String)> = body.lines().filter_map(read).collect();
    let mut text = String::new();
    for (op, title) in SECTIONS {
        let own: Vec<&(usize, String, String)> = lines.iter().filter(|(_, own, _)| own == op).collect();
        if own.is_empty() {
            continue;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&format!("{title}\n"));
        own.iter().for_each(|(depth, _, info)| text.push_str(&format!("{}{info}\n", "  ".repeat(depth + 1))));
    }
    text
}

/// Depth (a line is indented by 2d-1 tabs), op and info.
fn read(line: &str) -> Option<(usize, String, String)> {
    let text = line.trim_start_matches('\t');
    let document: Json = serde_json::from_str(text).ok()?;
    let field = |name: &str| document[name].as_str().map(str::to_owned);
    Some(((line.len() - text.len()).div_ceil(2), field("op")?, field("info")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::client::Target;

    #[test]
    fn sections_are_shown_in_order_and_upstreams_lines_are_not() {
        let body = concat!(
            "{\"op\":\"ProjectPlan_0\",\"info\":\"Fields:[ a ]\"}\n\n",
            "{\"op\":\"Node\",\"info\":\"4_project Project\"}\n",
            "\t{\"op\":\"Node\",\"info\":\"3_filter Filter\"}\n",
            "\t\t\t{\"op\":\"Node\",\"info\":\"demo Scan [a]\"}\n",
            "{\"op\":\"Decoder\",\"info\":\"demo: a\"}",
        );
        let expected = "Plan\n  4_project Project\n    3_filter Filter\n      demo Scan [a]\n\nRead by the decoder\n  demo: a\n";
        assert_eq!(pretty(body), expected);
    }

    #[test]
    fn words_that_are_neither_a_rule_nor_a_select_are_a_mistake_of_usage() {
        let args = |words: &[&str]| ExplainArgs {
            words: words.iter().map(|word| (*word).to_owned()).collect(),
            target: Target { url: Some("http://127.0.0.1:1".to_owned()), token: None },
            raw: false,
        };
        for words in [&["stream", "x"][..], &["rule"], &["DELETE x"]] {
            assert_eq!(run(&args(words)).map_err(|failure| failure.status()), Err(2), "{words:?}");
        }
        assert_eq!(run(&args(&["select 1"])).map_err(|failure| failure.status()), Err(3));
    }
}
