//! Rules (`cli.md` 4).

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::{Call, FILE, Failure, Reply, Verb, object, reworded, without};
use crate::cli::client::segment;
use crate::cli::shown;

const fn of_one(
    name: &'static str,
    about: &'static str,
    run: fn(&Call<'_>) -> Result<Reply, Failure>,
) -> Verb {
    Verb { name, kind: "rule", words: "NAME", about, names: "rules", flags: &[], run }
}

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        kind: "rule",
        words: "NAME 'JSON'",
        about: "Create a rule: thalweg create rule r1 '{\"sql\": \"SELECT * FROM demo\", \"actions\": [{\"log\": {}}]}'",
        names: "",
        flags: &[FILE],
        run: create,
    },
    Verb {
        name: "validate",
        kind: "rule",
        words: "NAME 'JSON'",
        about: "Check a rule without creating it",
        names: "",
        flags: &[FILE],
        run: validate,
    },
    Verb {
        name: "show",
        kind: "rules",
        words: "",
        about: "The rules and their state",
        names: "",
        flags: &[],
        run: show,
    },
    of_one("describe", "A rule with all options filled in", describe),
    of_one("drop", "Stop and remove a rule", drop),
    of_one("start", "Start a rule, or start it anew", |call| change(call, "start", "was started")),
    of_one("stop", "Stop a rule", |call| change(call, "stop", "was stopped.")),
    of_one("restart", "Stop a rule and start it again", |call| change(call, "restart", "was restarted.")),
    of_one("getstatus", "State, counters and health of a rule", status),
    of_one("gettopo", "The graph of a rule's nodes", topology),
];

fn path(name: &str, call: &str) -> String {
    format!("/rules/{}{call}", segment(name))
}

/// Name and document of `create` and `validate`.
fn definition(call: &Call<'_>) -> Result<(String, String), Failure> {
    match call.file("rule")? {
        Some(text) => Ok((call.name("Expect rule name.")?.to_owned(), text)),
        None => {
            let [name, text] = call.words("Expect rule name and json.")?;
            Ok((name.to_owned(), text.to_owned()))
        }
    }
}

/// The document with the rule's id, which may be missing but not another one.
fn with_id(name: &str, text: &str) -> Result<String, Failure> {
    // What is no object is for the engine to refuse.
    let Ok(members) = object(text) else { return Ok(text.to_owned()) };
    let written =
        members.iter().find(|(key, _)| key.eq_ignore_ascii_case("id")).map(|(_, id)| shown::text(id));
    match written.filter(|id| !id.is_empty()) {
        Some(id) if id == name => Ok(text.to_owned()),
        Some(_) => {
            Err(Failure::Refused("invalid rule json: RuleId is not consistent with rule id.".to_owned()))
        }
        None => {
            let kept = members.into_iter().filter(|(key, _)| !key.eq_ignore_ascii_case("id"));
            Ok(Json::Object(kept.chain([("id".to_owned(), Json::from(name))]).collect()).to_string())
        }
    }
}

fn create(call: &Call<'_>) -> Result<Reply, Failure> {
    let (name, text) = definition(call)?;
    let created = with_id(&name, &text).and_then(|text| call.client.post("/rules", &text));
    created.map_err(|failure| {
        reworded(failure, |why| {
            // Upstream does not know the name of what it could not read.
            let named = if why.starts_with("invalid rule json") { "" } else { &name };
            format!("Create rule {named} error : {why}.")
        })
    })?;
    let program = if call.is_upstream { "bin/kuiper" } else { "thalweg" };
    Ok(Reply::text(format!(
        "Rule {name} was created successfully, please use '{program} getstatus rule {name}' command to get rule status."
    )))
}

fn validate(call: &Call<'_>) -> Result<Reply, Failure> {
    let (name, text) = definition(call)?;
    let body = with_id(&name, &text).and_then(|text| call.client.post("/rules/validate", &text))?;
    let text = "The rule has been successfully validated and is confirmed to be correct.";
    Ok(Reply::text(text).with_document(body))
}

fn show(call: &Call<'_>) -> Result<Reply, Failure> {
    let body = call.client.get("/rules")?;
    let rules = shown::array(shown::parsed(&body)?);
    if rules.is_empty() {
        return Ok(Reply::text("No rule definitions are found.").with_document("[]"));
    }
    let heading = ["id", "name", "status", "version", "tags"];
    let rows = rules.iter().map(|rule| {
        heading.map(|key| match &rule[key] {
            Json::Array(items) => items.iter().map(shown::text).collect::<Vec<_>>().join(","),
            other => shown::text(other),
        })
    });
    let rows: Vec<[String; 5]> = [heading.map(str::to_owned)].into_iter().chain(rows).collect();
    Ok(Reply::document(&body).with_table(shown::table(&rows)))
}

fn describe(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = call.name("Expect rule name.")?;
    let body = call.client.get(&path(name, "?filled=1"));
    let body = body.map_err(|failure| {
        reworded(failure, |why| format!("Desc rule error : {}.", without(why, &["Describe rule error: "])))
    })?;
    let mut reply = Reply::document(&body);
    reply.text.push('\n');
    Ok(reply)
}

fn drop(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = call.name("Expect rule name.")?;
    let text = call.client.delete(&path(name, "")).map_err(|failure| {
        reworded(failure, |why| format!("Drop rule error : {}.", without(why, &["Delete rule error: "])))
    })?;
    Ok(Reply::text(text))
}

fn change(call: &Call<'_>, verb: &str, done: &str) -> Result<Reply, Failure> {
    let name = call.name("Expect rule name.")?;
    let changed = call.client.post(&path(name, &format!("/{verb}")), "");
    changed.map_err(|failure| {
        let prefix = format!("{verb} rule error: ");
        reworded(failure, |why| without(why, &[&prefix]).to_owned())
    })?;
    Ok(Reply::text(format!("Rule {name} {done}")))
}

fn status(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = call.name("Expect rule name.")?;
    let body = call
        .client
        .get(&path(name, "/status"))
        .map_err(|failure| reworded(failure, |why| without(why, &["get rule status error: "]).to_owned()))?;
    let table = status_table(&shown::parsed(&body)?);
    Ok(Reply { text: body.clone(), document: Some(body), table: Some(table) })
}

/// What stands in the columns of the status, and the metrics it is read from.
const COLUMNS: &[(&str, &str)] = &[
    ("in", "records_in_total"),
    ("out", "records_out_total"),
    ("dropped", "dropped_total"),
    ("errors", "exceptions_total"),
    ("latency_us", "process_latency_us"),
    ("connected", "connection_status"),
    ("last error", "last_exception"),
];

/// The rule's own fields, then a line for each node.
fn status_table(status: &Json) -> String {
    let mut own = Vec::new();
    let mut nodes: BTreeMap<(u8, &str), Vec<String>> = BTreeMap::new();
    for (key, value) in status.as_object().into_iter().flatten() {
        let order = ["source_", "op_", "sink_"].iter().position(|prefix| key.starts_with(prefix));
        let place = order.zip(key.rfind("_0_").and_then(|at| Some((&key[..at], key.get(at + 3..)?))));
        let Some((order, (node, metric))) = place else {
            let text = shown::text(value);
            if !text.is_empty() && text != "0" {
                own.push([key.clone(), text]);
            }
            continue;
        };
        let node = nodes.entry((order as u8, node)).or_insert_with(|| vec![String::new(); COLUMNS.len()]);
        if let Some(cell) =
            COLUMNS.iter().position(|(_, name)| *name == metric).and_then(|at| node.get_mut(at))
        {
            *cell = match (metric, value.as_i64()) {
                ("connection_status", Some(1)) => "yes".to_owned(),
                ("connection_status", Some(0)) => "connecting".to_owned(),
                ("connection_status", Some(_)) => "no".to_owned(),
                _ => shown::text(value),
            };
        }
    }
    own.sort_by_key(|[key, _]| (key != "status", key != "message", key.clone()));
    let mut text = shown::table(&own);
    if !nodes.is_empty() {
        let heading = ["node"].into_iter().chain(COLUMNS.iter().map(|(title, _)| *title));
        let heading: Vec<String> = heading.map(str::to_owned).collect();
        let rows = nodes.into_iter().map(|((_, name), cells)| [vec![name.to_owned()], cells].concat());
        let rows: Vec<Vec<String>> = [heading].into_iter().chain(rows).collect();
        text = format!("{text}\n{}", shown::table(&rows));
    }
    text
}

fn topology(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = call.name("Expect rule name.")?;
    let body = call
        .client
        .get(&path(name, "/topo"))
        .map_err(|failure| reworded(failure, |why| without(why, &["get rule topo error: "]).to_owned()))?;
    Ok(Reply::document(&body))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_rule_gets_the_id_of_the_command_and_no_other() {
        assert_eq!(with_id("r", "{\"sql\":\"x\"}"), Ok("{\"id\":\"r\",\"sql\":\"x\"}".to_owned()));
        assert_eq!(with_id("r", "{ \"ID\": \"r\" }"), Ok("{ \"ID\": \"r\" }".to_owned()), "byte for byte");
        assert_eq!(with_id("r", "{"), Ok("{".to_owned()), "for the engine to refuse");
        assert!(with_id("r", "{\"id\":\"q\"}").is_err());
    }

    #[test]
    fn a_status_is_a_line_a_node_sources_first() {
        let status = json!({
            "status": "running", "message": "", "lastStopTimestamp": 0, "health": "ok",
            "sink_log_0_0_records_in_total": 3, "source_demo_0_records_in_total": 5,
            "source_demo_0_connection_status": 1, "op_2_project_0_exceptions_total": 2,
            "op_2_project_0_last_exception": "division",
        });
        let expected = "\
status  running
health  ok

node          in  out  dropped  errors  latency_us  connected  last error
source_demo   5                                     yes
op_2_project                    2                              division
sink_log_0    3
";
        assert_eq!(status_table(&status), expected);
    }
}
