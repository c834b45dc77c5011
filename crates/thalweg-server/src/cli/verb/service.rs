//! External services and schemas (`cli.md` 6 and 7).

use serde_json::Value as Json;

use super::{Call, FILE, Failure, Reply, Verb, names_or, object, reworded};
use crate::cli::client::segment;

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        kind: "service",
        words: "NAME 'JSON'",
        about: "Add an external service: thalweg create service s '{\"name\": \"s\", \"file\": \"file:///tmp/s.zip\"}'",
        names: "",
        flags: &[FILE],
        run: create_service,
    },
    Verb {
        name: "show",
        kind: "services",
        words: "",
        about: "The external services",
        names: "",
        flags: &[],
        run: |call| names_or(&call.client.get("/services")?, "No service definitions are found."),
    },
    Verb {
        name: "show",
        kind: "service_funcs",
        words: "",
        about: "The functions of external services",
        names: "",
        flags: &[],
        run: |call| names_or(&call.client.get("/services/functions")?, "No service definitions are found."),
    },
    Verb {
        name: "describe",
        kind: "service",
        words: "NAME",
        about: "An external service",
        names: "services",
        flags: &[],
        run: |call| one(call, "/services", "Expect service name.", "Desc service error"),
    },
    Verb {
        name: "describe",
        kind: "service_func",
        words: "NAME",
        about: "A function of an external service",
        names: "service_funcs",
        flags: &[],
        run: |call| one(call, "/services/functions", "Expect service func name.", "Desc service func error"),
    },
    Verb {
        name: "drop",
        kind: "service",
        words: "NAME",
        about: "Remove an external service",
        names: "services",
        flags: &[],
        run: drop_service,
    },
    Verb {
        name: "create",
        kind: "schema",
        words: "TYPE NAME 'JSON'",
        about: "Add a schema: thalweg create schema protobuf book '{\"content\": \"message Book {…}\"}'",
        names: "schema-types",
        flags: &[FILE],
        run: create_schema,
    },
    Verb {
        name: "show",
        kind: "schemas",
        words: "TYPE",
        about: "The schemas of a type: protobuf or custom",
        names: "schema-types",
        flags: &[],
        run: show_schemas,
    },
    Verb {
        name: "describe",
        kind: "schema",
        words: "TYPE NAME",
        about: "A schema",
        names: "schema-types",
        flags: &[],
        run: describe_schema,
    },
    Verb {
        name: "drop",
        kind: "schema",
        words: "TYPE NAME",
        about: "Remove a schema",
        names: "schema-types",
        flags: &[],
        run: drop_schema,
    },
];

/// `Desc service error : ….`: the cause behind the words of the REST interface.
fn failed(call: &'static str) -> impl Fn(Failure) -> Failure {
    move |failure| {
        reworded(failure, |why| {
            let cause = why.split_once(" error: ").map_or(why, |(_, cause)| cause);
            format!("{call} : {cause}.")
        })
    }
}

/// `Create service error: …`
fn not_created(kind: &'static str) -> impl Fn(Failure) -> Failure {
    move |failure| {
        reworded(failure, |why| {
            let cause = why.strip_prefix(&format!("{kind} create command error: ")).unwrap_or(why);
            match cause.starts_with("Invalid body: ") {
                true => cause.to_owned(),
                false => format!("Create {kind} error: {cause}"),
            }
        })
    }
}

/// A definition whose name, if it has one, is that of the command.
fn definition(kind: &str, name: &str, text: &str) -> Result<serde_json::Map<String, Json>, Failure> {
    let refused = |why: &str| Failure::Refused(format!("Create {kind} error: {why}"));
    let mut body = object(text).map_err(|why| refused(&format!("Parse {kind} {name} error : {why}.")))?;
    match body.get("name").and_then(Json::as_str) {
        Some(written) if !written.is_empty() && written != name => Err(refused("name mismatch.")),
        _ => {
            body.insert("name".to_owned(), name.into());
            Ok(body)
        }
    }
}

fn create_service(call: &Call<'_>) -> Result<Reply, Failure> {
    let given = call.file("service")?;
    let (name, text) = match (&given, call.words.as_slice()) {
        (Some(text), [name]) | (None, [name, text]) => (name, text),
        _ => return Err(call.usage("Expect service name and json.")),
    };
    let body = definition("service", name, text)?;
    if body.get("file").and_then(Json::as_str).is_none_or(str::is_empty) {
        return Err(Failure::Refused("Create service error: Missing service file url.".to_owned()));
    }
    call.client.post("/services", &Json::Object(body).to_string()).map_err(not_created("service"))?;
    Ok(Reply::text(format!("Service {name} is created.")))
}

fn one(call: &Call<'_>, family: &str, missing: &str, error: &'static str) -> Result<Reply, Failure> {
    let name = call.name(missing)?;
    let body = call.client.get(&format!("{family}/{}", segment(name))).map_err(failed(error))?;
    Ok(Reply::document(&body))
}

fn drop_service(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = call.name("Expect service name.")?;
    let path = format!("/services/{}", segment(name));
    call.client.delete(&path).map_err(failed("Drop service error"))?;
    Ok(Reply::text(format!("Service {name} is dropped")))
}

fn create_schema(call: &Call<'_>) -> Result<Reply, Failure> {
    let given = call.file("schema")?;
    let (kind, name, text) = match (&given, call.words.as_slice()) {
        (Some(text), [kind, name]) | (None, [kind, name, text]) => (kind, name, text),
        // Upstream says plugin here.
        _ => return Err(call.usage("Expect plugin type, name and json.")),
    };
    let body = definition("schema", name, text)?;
    let has = |member: &str| body.get(member).and_then(Json::as_str).is_some_and(|text| !text.is_empty());
    if has("content") && has("file") {
        return Err(Failure::Refused("Invalid body: Cannot specify both content and file".to_owned()));
    }
    let path = format!("/schemas/{}", segment(kind));
    call.client.post(&path, &Json::Object(body).to_string()).map_err(not_created("schema"))?;
    Ok(Reply::text(format!("Schema {name} is created.")))
}

fn show_schemas(call: &Call<'_>) -> Result<Reply, Failure> {
    let kind = call.name("Expect schema type.")?;
    names_or(&call.client.get(&format!("/schemas/{}", segment(kind)))?, "No schema definitions are found.")
}

fn describe_schema(call: &Call<'_>) -> Result<Reply, Failure> {
    let [kind, name] = call.words("Expect schema type and name.")?;
    let path = format!("/schemas/{}/{}", segment(kind), segment(name));
    Ok(Reply::document(&call.client.get(&path).map_err(failed("Desc schema error"))?))
}

fn drop_schema(call: &Call<'_>) -> Result<Reply, Failure> {
    let [kind, name] = call.words("Expect schema type and name.")?;
    let path = format!("/schemas/{}/{}", segment(kind), segment(name));
    call.client.delete(&path).map_err(failed("Drop schema error"))?;
    Ok(Reply::text(format!("Schema {name} is dropped")))
}
