//! The Markdown of the pages.

use std::fmt::Write as _;

use thalweg_expr::function::{Arg, ArgKind, FunctionKind, Nulls};
use thalweg_expr::{Family, Function};

use super::file;
use super::proof::{Proof, Proofs};

const MADE: &str = "<!-- Made by `cargo xtask docs` from crates/thalweg-expr; do not edit. -->\n\n";

/// The page of a family.
pub(super) fn family(family: Family, functions: &[&Function]) -> String {
    let mut out = format!("{MADE}# {}\n\n", family.title());
    let links: Vec<String> =
        functions.iter().map(|function| format!("[`{}`](#{})", function.name, anchor(function))).collect();
    _ = writeln!(out, "{}\n", links.join(" · "));
    functions.iter().for_each(|function| section(&mut out, function));
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

fn anchor(function: &Function) -> String {
    function.name.to_lowercase()
}

fn section(out: &mut String, function: &Function) {
    let manual = function.manual();
    _ = writeln!(out, "## {}\n", function.name);
    _ = writeln!(out, "`{}` → {}\n", function.signature(), manual.returns);
    _ = writeln!(out, "{}", function.doc.summary);
    if !manual.remark.is_empty() {
        _ = writeln!(out, "{}", manual.remark);
    }
    let mut facts = Vec::new();
    if !function.aliases.is_empty() {
        let names: Vec<String> = function.aliases.iter().map(|alias| format!("`{alias}`")).collect();
        facts.push(format!("Also called {}.", names.join(", ")));
    }
    facts.extend(kind(function).map(str::to_owned));
    facts.extend(nulls(function.nulls).map(str::to_owned));
    if !facts.is_empty() {
        _ = writeln!(out, "\n{}", facts.join(" "));
    }
    arguments(out, function);
    examples(out, function);
    out.push('\n');
}

fn kind(function: &Function) -> Option<&'static str> {
    match function.kind {
        FunctionKind::Aggregate(_) => Some("Aggregate: one value for the rows of a group."),
        FunctionKind::Analytic(_) if function.is_scalar_with_state() => {
            Some("Keeps state from row to row of the result.")
        }
        FunctionKind::Analytic(_) => {
            Some("Analytic: one value for each event, before WHERE; takes `OVER (PARTITION BY … WHEN …)`.")
        }
        _ => None,
    }
}

fn nulls(nulls: Nulls) -> Option<&'static str> {
    match nulls {
        Nulls::Null => Some("Null if an argument is null, `[]` or `{}`."),
        Nulls::False => Some("False if an argument is null, `[]` or `{}`."),
        Nulls::Zero => Some("0 if an argument is null, `[]` or `{}`."),
        Nulls::MinusOne => Some("-1 if an argument is null, `[]` or `{}`."),
        Nulls::Own => None,
    }
}

fn arguments(out: &mut String, function: &Function) {
    if function.args.is_empty() {
        return;
    }
    out.push_str("\n| argument | kind | |\n|---|---|---|\n");
    for arg in function.args {
        let given = match (arg.optional, arg.repeated) {
            (true, true) => "any number",
            (false, true) => "one or more",
            (true, false) => "optional",
            (false, false) => "",
        };
        _ = writeln!(out, "| `{}` | {} | {given} |", arg.name, argument_kind(arg));
    }
}

fn argument_kind(arg: &Arg) -> &'static str {
    match arg.kind {
        ArgKind::Any => "any",
        ArgKind::Number => "number",
        ArgKind::Int => "integer",
        ArgKind::Text => "text",
        ArgKind::Bool => "boolean",
        ArgKind::Array => "array",
        ArgKind::Object => "object",
        ArgKind::Time => "time: datetime, epoch milliseconds or text",
        ArgKind::LiteralInt => "integer, written in the statement",
        ArgKind::LiteralText => "text, written in the statement",
        ArgKind::LiteralBool => "true or false, written in the statement",
    }
}

fn examples(out: &mut String, function: &Function) {
    if !function.doc.examples.is_empty() {
        match function.kind {
            FunctionKind::Aggregate(_) => {
                out.push_str("\nEach argument is the list of its values in the group:\n");
            }
            FunctionKind::Analytic(_) => {
                out.push_str(
                    "\nEach argument is the list of its values over the events, as is the result:\n",
                );
            }
            _ => {}
        }
        out.push_str("\n| example | result |\n|---|---|\n");
        for (call, result) in function.doc.examples {
            let result = match *result {
                "ERR" => "an error".to_owned(),
                "-" => "null".to_owned(),
                other => code(other),
            };
            _ = writeln!(out, "| {} | {result} |", code(call));
        }
    }
    for statement in function.manual().statements {
        _ = writeln!(out, "\n```\n{statement}\n```");
    }
}

/// Code in a table's cell.
fn code(text: &str) -> String {
    let fence = if text.contains('`') { "``" } else { "`" };
    format!("{fence}{}{fence}", text.replace('|', "\\|").replace('\n', "\\n"))
}

/// The README: how to read the pages, and the proof of each function.
pub(super) fn overview(families: &[Family], functions: &[&Function], proofs: &Proofs) -> String {
    let mut out = format!(
        "{MADE}# Functions\n\n\
         Names are known in any case, except for those that eKuiper ships as plugins. Every example on these pages is a \
         test. Statements with rows are in the form of [`tests/golden`](../../../tests/src/golden.rs): `demo {{…}}` is a \
         message of the stream `demo`, `out […]` what the rule sends, `at 5s` when. In the tables of examples the \
         arguments are values as columns bring them; as literals a statement may refuse some (a number for a text).\n\n"
    );
    for family in families {
        let n = functions.iter().filter(|function| function.doc.family == *family).count();
        _ = writeln!(out, "- [{}]({}) ({n})", family.title(), file(*family));
    }
    out.push_str(
        "\n## What proves them\n\n\
         The [conformance cases](../../../tests/conformance/README.md) that are about a function, by file, and whether \
         Thalweg gives the expected results. *By decision*: cases whose expected result is not eKuiper's, with the id \
         in [decisions.md](../../compat/decisions.md) or [functions.md 21](../../compat/functions.md#21-surprises). \
         *Examples*: calls and statements on these pages.\n\n\
         | function | conformance cases | by decision | examples | status |\n|---|---|---|---|---|\n",
    );
    for function in functions {
        let proof = proofs.of(function);
        let areas: Vec<String> = proof.by_area.iter().map(|(area, n)| format!("{area} {n}")).collect();
        let n_examples = function.doc.examples.len() + function.manual().statements.len();
        let link = format!("[`{}`]({}#{})", function.name, file(function.doc.family), anchor(function));
        let (areas, decisions) = (areas.join(", "), proof.decisions.join(", "));
        _ = writeln!(out, "| {link} | {areas} | {decisions} | {n_examples} | {} |", status(&proof));
    }
    out
}

fn status(proof: &Proof) -> String {
    match (proof.by_area.is_empty(), proof.differing.is_empty()) {
        (true, _) => "no recorded case; its examples hold".to_owned(),
        (false, true) => "agrees".to_owned(),
        (false, false) => format!("differs: {}", proof.differing.join(", ")),
    }
}
