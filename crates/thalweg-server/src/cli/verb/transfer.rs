//! Import and export (`cli.md` 9). Files are those of the one who types: upstream's server opens them itself.

use std::fs;

use serde_json::{Value as Json, json};

use super::{Call, Failure, Flag, Reply, Verb, reworded};
use crate::cli::shown;

const FILE: Flag = Flag::new("file", "FILE", "The file to import").short('f');
const STOP: Flag =
    Flag::new("stop", "true|false", "End the engine after the import, so that native plugins count")
        .short('s');
const PARTIAL: Flag =
    Flag::new("partial", "true|false", "true adds to what there is; false removes everything first")
        .short('p');
const RULES: Flag =
    Flag::new("rules", "'[\"r1\", \"r2\"]'", "Only these rules and what they need").short('r');

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "import",
        kind: "ruleset",
        words: "",
        about: "Streams, tables and rules of a file, added to what there is",
        names: "",
        flags: &[FILE],
        run: import_rules,
    },
    Verb {
        name: "import",
        kind: "data",
        words: "",
        about: "Everything that a file of export data has",
        names: "",
        flags: &[FILE, STOP, PARTIAL],
        run: import_data,
    },
    Verb {
        name: "getstatus",
        kind: "import",
        words: "",
        about: "What went wrong in the last import",
        names: "",
        flags: &[],
        run: |call| Ok(Reply::document(&call.client.get("/data/import/status")?)),
    },
    Verb {
        name: "export",
        kind: "ruleset",
        words: "FILE",
        about: "Write streams, tables and rules to a file",
        names: "",
        flags: &[],
        run: export_rules,
    },
    Verb {
        name: "export",
        kind: "data",
        words: "FILE",
        about: "Write everything to a file: definitions, plugins, services, schemas, scripts, configuration",
        names: "",
        flags: &[RULES],
        run: export_data,
    },
];

fn content(call: &Call<'_>, missing: &str) -> Result<String, Failure> {
    let file = call.flag("file").ok_or_else(|| call.usage(missing))?;
    let content = fs::read_to_string(file);
    content.map_err(|why| Failure::Refused(format!("fail to read file {file}: {why}")))
}

fn import_rules(call: &Call<'_>) -> Result<Reply, Failure> {
    let content = content(call, "Required ruleset json file to import")?;
    let body = json!({ "content": content }).to_string();
    let done = call.client.post("/ruleset/import", &body);
    done.map(Reply::text).map_err(|failure| reworded(failure, |why| format!("import ruleset error: {why}")))
}

fn import_data(call: &Call<'_>) -> Result<Reply, Failure> {
    let stop = match call.truth("stop", 's')? {
        None if call.is_upstream => return Err(call.usage("Expect s flag to be a boolean value.")),
        stop => stop.unwrap_or_default(),
    };
    // Never by default: false removes everything.
    let partial = call.truth("partial", 'p')?;
    let partial = partial.ok_or_else(|| call.usage("Expect p flag to be a boolean value."))?;
    let content = content(call, "Required configuration json file to import")?;
    let path = format!("/data/import?partial={}&stop={}", u8::from(partial), u8::from(stop));
    match call.client.post(&path, &json!({ "content": content }).to_string()) {
        Ok(body) => Ok(Reply::document(&body)),
        Err(Failure::Refused(why)) => {
            let text = shown::indented(&what_failed(&why), "  ");
            // Upstream's client prints what failed and is content.
            if call.is_upstream { Ok(Reply::text(text)) } else { Err(Failure::Refused(text)) }
        }
        Err(other) => Err(other),
    }
}

/// The refusal of an import, a map of what failed as a text, in the form of its success.
fn what_failed(why: &str) -> String {
    match serde_json::from_str::<Json>(why) {
        Ok(Json::Object(_)) => format!("{{\"ErrorMsg\":\"\",\"ConfigResponse\":{why}}}"),
        _ => format!("{{\"ErrorMsg\":{},\"ConfigResponse\":{{}}}}", json!(why)),
    }
}

fn write(file: &str, content: &str) -> Result<(), Failure> {
    fs::write(file, content).map_err(|why| Failure::Refused(format!("cannot write {file}: {why}")))
}

fn export_rules(call: &Call<'_>) -> Result<Reply, Failure> {
    let file = call.name("Require exported file name.")?;
    let content = call.client.post("/ruleset/export", "")?;
    write(file, &content)?;
    let document = shown::parsed(&content)?;
    let [streams, tables, rules] =
        ["streams", "tables", "rules"].map(|kind| document[kind].as_object().map_or(0, serde_json::Map::len));
    Ok(Reply::text(format!("exported {streams} streams, {tables} tables and {rules} rules")))
}

fn export_data(call: &Call<'_>) -> Result<Reply, Failure> {
    let file = call.name("Expect configuration file.")?;
    let content = match call.flag("rules") {
        None => call.client.get("/data/export")?,
        Some(rules) => {
            let named: Result<Vec<String>, _> = serde_json::from_str(rules);
            let wrong = |why| call.usage(&format!("rules {rules} unmarshal error {why}"));
            let named = named.map_err(wrong)?;
            call.client.post("/data/export", &json!(named).to_string())?
        }
    };
    write(file, &content)?;
    Ok(Reply::text("export configuration success"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_in_an_import_has_the_form_of_its_success() {
        assert_eq!(
            what_failed("{\"b\":1,\"a\":{}}"),
            "{\"ErrorMsg\":\"\",\"ConfigResponse\":{\"b\":1,\"a\":{}}}"
        );
        assert_eq!(what_failed("no \"json\""), "{\"ErrorMsg\":\"no \\\"json\\\"\",\"ConfigResponse\":{}}");
    }
}
