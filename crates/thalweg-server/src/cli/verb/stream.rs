//! Streams and tables (`cli.md` 2): statements, put together of the words and run by the engine.

use serde_json::json;

use super::{Call, FILE, Failure, Flag, Reply, Verb};
use crate::cli::shown;

const JSON: Flag = Flag::new("json", "", "As JSON");

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        kind: "stream",
        words: "NAME '(FIELDS) WITH (OPTIONS)'",
        about: "Define a stream: thalweg create stream demo '(id BIGINT) WITH (DATASOURCE=\"demo\", TYPE=\"mqtt\")'",
        names: "",
        flags: &[FILE],
        run: create,
    },
    Verb {
        name: "create",
        kind: "table",
        words: "NAME '(FIELDS) WITH (OPTIONS)'",
        about: "Define a table: thalweg create table t '(id BIGINT) WITH (DATASOURCE=\"t.json\", TYPE=\"file\")'",
        names: "",
        flags: &[FILE],
        run: create,
    },
    Verb { name: "show", kind: "streams", words: "", about: "The streams", names: "", flags: &[], run: show },
    Verb { name: "show", kind: "tables", words: "", about: "The tables", names: "", flags: &[], run: show },
    Verb {
        name: "describe",
        kind: "stream",
        words: "NAME",
        about: "Fields and options of a stream",
        names: "streams",
        flags: &[JSON],
        run: describe,
    },
    Verb {
        name: "describe",
        kind: "table",
        words: "NAME",
        about: "Fields and options of a table",
        names: "tables",
        flags: &[JSON],
        run: describe,
    },
    Verb {
        name: "drop",
        kind: "stream",
        words: "NAME",
        about: "Remove a stream, also where rules use it",
        names: "streams",
        flags: &[],
        run: alone,
    },
    Verb {
        name: "drop",
        kind: "table",
        words: "NAME",
        about: "Remove a table, also where rules use it",
        names: "tables",
        flags: &[],
        run: alone,
    },
];

/// The engine's answer to a statement.
fn execute(call: &Call<'_>, sql: &str) -> Result<String, Failure> {
    call.client.post("/streams", &json!({ "sql": sql }).to_string())
}

fn create(call: &Call<'_>) -> Result<Reply, Failure> {
    let kind = call.verb.kind;
    let sql = match call.file(kind)? {
        // The file starts at the name; a whole statement does as well.
        Some(text) if begins_with_create(&text) => text,
        Some(text) => format!("CREATE {}  {text}", kind.to_uppercase()),
        None if call.words.is_empty() => return Err(call.usage(&format!("Expect {kind} name."))),
        None => format!("CREATE {} {}", kind.to_uppercase(), call.words.join(" ")),
    };
    Ok(Reply::text(execute(call, &sql)? + "\n"))
}

fn begins_with_create(text: &str) -> bool {
    text.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case("create"))
}

/// `drop stream NAME` and the like are statements as they are.
fn alone(call: &Call<'_>) -> Result<Reply, Failure> {
    let kind = call.verb.kind;
    let name = call.name(&format!("Expect {kind} name."))?;
    let sql = format!("{} {} {name}", call.verb.name.to_uppercase(), kind.to_uppercase());
    Ok(Reply::text(execute(call, &sql)? + "\n"))
}

fn show(call: &Call<'_>) -> Result<Reply, Failure> {
    let kind = call.verb.kind;
    let text = execute(call, &format!("SHOW {}", kind.to_uppercase()))?;
    let details = call.client.get(if kind == "tables" { "/tabledetails" } else { "/streamdetails" })?;
    let entries = shown::array(shown::parsed(&details)?);
    let reply = Reply::text(format!("{text}\n")).with_document(details);
    if entries.is_empty() {
        return Ok(reply);
    }
    let heading = ["name", "type", "format"];
    let rows = entries.iter().map(|entry| heading.map(|key| shown::text(&entry[key])));
    let rows: Vec<[String; 3]> = [heading.map(str::to_owned)].into_iter().chain(rows).collect();
    Ok(reply.with_table(shown::table(&rows)))
}

fn describe(call: &Call<'_>) -> Result<Reply, Failure> {
    let kind = call.verb.kind;
    let name = call.name(&format!("Expect {kind} name."))?;
    let text = execute(call, &format!("DESCRIBE {} {name}", kind.to_uppercase()))?;
    let json = as_json(&text);
    Ok(match call.flag("json") {
        Some(_) => Reply::text(shown::indented(&json, "\t") + "\n").with_document(json),
        None => Reply::text(format!("{text}\n\n")).with_document(json).with_table(format!("{text}\n")),
    })
}

/// What the text says, in the form that upstream's client makes of it: options keep their colon, their values lose
/// their blanks.
fn as_json(text: &str) -> String {
    let mut fields = Vec::new();
    let mut options = Vec::new();
    for line in text.lines().skip(2) {
        let mut cells = line.split('\t');
        match (cells.next(), cells.next()) {
            (Some(name), Some(kind)) => fields.push(json!({"Name": name, "Type": kind}).to_string()),
            _ => {
                let Some((name, value)) = line.split_once(": ") else { continue };
                let value: String = value.split_whitespace().collect();
                options.push(format!("{}:{}", json!(format!("{name}:")), json!(value)));
            }
        }
    }
    format!("{{\"Fields\":[{}],\"Options\":{{{}}}}}", fields.join(","), options.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_description_becomes_json_with_options_in_their_order() {
        let rule = "-".repeat(80);
        let text = format!(
            "Fields\n{rule}\nid\tbigint\nlevel\tstring\tDEFAULT\tlow\n\nDATASOURCE: sensors/+\nEXTRA: {{\"a\": 1}}"
        );
        let expected = r#"{"Fields":[{"Name":"id","Type":"bigint"},{"Name":"level","Type":"string"}],"Options":{"DATASOURCE:":"sensors/+","EXTRA:":"{\"a\":1}"}}"#;
        assert_eq!(as_json(&text), expected);
        let none = format!("Fields\n{rule}\n\nTYPE: memory");
        assert_eq!(as_json(&none), r#"{"Fields":[],"Options":{"TYPE:":"memory"}}"#, "without fields");
    }
}
