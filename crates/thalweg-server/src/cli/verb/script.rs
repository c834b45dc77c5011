//! JavaScript functions (`cli.md` 8).

use serde_json::Value as Json;

use super::{Call, FILE, Failure, Reply, Verb, names_or, object, reworded};
use crate::cli::client::segment;
use crate::cli::shown;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        kind: "script",
        words: "'JSON'",
        about: "Add a JavaScript function: thalweg create script '{\"id\": \"area\", \"script\": \"function area(x, y) { return x * y; }\"}'",
        names: "",
        flags: &[FILE],
        run: create,
    },
    Verb {
        name: "show",
        kind: "scripts",
        words: "",
        about: "The JavaScript functions",
        names: "",
        flags: &[],
        run: |call| names_or(&call.client.get("/udf/javascript")?, "No JavaScript functions are found."),
    },
    Verb {
        name: "describe",
        kind: "script",
        words: "NAME",
        about: "A JavaScript function",
        names: "scripts",
        flags: &[],
        run: describe,
    },
    Verb {
        name: "drop",
        kind: "script",
        words: "NAME",
        about: "Remove a JavaScript function",
        names: "scripts",
        flags: &[],
        run: drop,
    },
];

/// The cause behind the words of the REST interface.
fn cause(why: &str) -> &str {
    why.split_once(" error: ").map_or(why, |(_, cause)| cause)
}

fn create(call: &Call<'_>) -> Result<Reply, Failure> {
    let given = call.file("script")?;
    let text = match (&given, call.words.as_slice()) {
        (Some(text), []) | (None, [text]) => text,
        _ => return Err(call.usage("Expect JavaScript function definition JSON.")),
    };
    let parsed = object(text);
    let body = parsed.map_err(|why| Failure::Refused(format!("Parse JavaScript function error : {why}.")))?;
    let id = shown::text(body.get("id").unwrap_or(&Json::Null));
    call.client.post("/udf/javascript", text).map_err(|failure| {
        reworded(failure, |why| format!("Create JavaScript function error: {}", cause(why)))
    })?;
    Ok(Reply::text(format!("JavaScript function {id} is created.")))
}

fn describe(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = call.name("Expect JavaScript function name.")?;
    let body = call.client.get(&format!("/udf/javascript/{}", segment(name))).map_err(|failure| {
        reworded(failure, |why| format!("Describe JavaScript function error : {}.", cause(why)))
    })?;
    Ok(Reply::document(&body))
}

fn drop(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = call.name("Expect script name.")?;
    call.client.delete(&format!("/udf/javascript/{}", segment(name))).map_err(|failure| {
        reworded(failure, |why| format!("Drop JavaScript function error : {}.", cause(why)))
    })?;
    Ok(Reply::text(format!("JavaScript function {name} is dropped")))
}
