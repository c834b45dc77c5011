//! Plugins and native functions (`cli.md` 5). What authors of plugins do is `thalweg plugin …`.

use std::path::Path;

use serde_json::{Value as Json, json};

use super::{Call, FILE, Failure, Flag, Reply, Verb, names_or, object, reworded, without};
use crate::cli::client::segment;
use crate::cli::shown;

const ZIP: Flag = Flag::new("zipfile", "ZIP", "Send this package to the engine").alias("zf");
const STOP: Flag =
    Flag::new("stop", "true|false", "Whether the engine is to end, so that a native plugin is really gone")
        .short('s');

pub(super) const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        kind: "plugin",
        words: "TYPE NAME 'JSON'",
        about: "Install a plugin; TYPE: source, sink, function or portable. See also thalweg plugin install",
        names: "",
        flags: &[FILE, ZIP],
        run: create,
    },
    Verb {
        name: "show",
        kind: "plugins",
        words: "TYPE",
        about: "The plugins of a type: source, sink, function or portable",
        names: "plugin-types",
        flags: &[],
        run: show,
    },
    Verb {
        name: "describe",
        kind: "plugin",
        words: "TYPE NAME",
        about: "What a plugin has",
        names: "plugin-types",
        flags: &[],
        run: describe,
    },
    Verb {
        name: "drop",
        kind: "plugin",
        words: "TYPE NAME",
        about: "Remove a plugin",
        names: "plugin-types",
        flags: &[STOP],
        run: drop,
    },
    Verb {
        name: "register",
        kind: "plugin",
        words: "function NAME '{\"functions\": [\"f1\", \"f2\"]}'",
        about: "Name the functions of a native plugin",
        names: "",
        flags: &[FILE],
        run: register,
    },
    Verb {
        name: "show",
        kind: "udfs",
        words: "",
        about: "The functions of plugins",
        names: "",
        flags: &[],
        run: show_functions,
    },
    Verb {
        name: "describe",
        kind: "udf",
        words: "NAME",
        about: "The plugin that a function comes from",
        names: "udfs",
        flags: &[],
        run: describe_function,
    },
];

/// The family of routes of a type.
fn family(call: &Call<'_>, kind: &str) -> Result<&'static str, Failure> {
    match kind {
        "source" => Ok("/plugins/sources"),
        "sink" => Ok("/plugins/sinks"),
        "function" => Ok("/plugins/functions"),
        "portable" => Ok("/plugins/portables"),
        "wasm" => Err(Failure::Refused(
            "plugins of the type wasm are not supported; write a portable plugin, see thalweg plugin new".to_owned(),
        )),
        _ => Err(call.usage(&format!(
            "Invalid plugin type {kind}, should be \"source\", \"sink\", \"function\" or \"portable\" or \"wasm\"."
        ))),
    }
}

/// `Create plugin error: …`, without the words that the REST interface puts before the cause.
fn failed(call: &'static str) -> impl Fn(Failure) -> Failure {
    move |failure| {
        reworded(failure, |why| {
            let cause = why.split_once(" error: ").filter(|(before, _)| before.contains("plugin"));
            format!("{call} plugin error: {}", cause.map_or(why, |(_, cause)| cause))
        })
    }
}

fn create(call: &Call<'_>) -> Result<Reply, Failure> {
    if call.words.len() < 2 {
        return Err(call.usage("Expect plugin type and name."));
    }
    let (file, zip) = (call.flag("file"), call.flag("zipfile"));
    if file.is_some() && zip.is_some() {
        return Err(call.usage("Got both zipefile and file flags, should use just one."));
    }
    let missing = if file.or(zip).is_some() {
        "Expect plugin type, name."
    } else {
        "Expect plugin type, name and json."
    };
    let found = || format!("{missing}\nBut found {} args:[{}].", call.words.len(), call.words.join(" "));
    let wanted = if file.or(zip).is_some() { 2 } else { 3 };
    if call.words.len() != wanted {
        return Err(call.usage(&found()));
    }
    let words: Vec<&str> = call.words.iter().map(String::as_str).collect();
    let [kind, name] = [words[0], words[1]];
    let family = family(call, kind)?;
    if let Some(zip) = zip {
        return create_from(call, family, name, Path::new(zip));
    }
    let text =
        call.file("plugin")?.or_else(|| words.get(2).map(|text| (*text).to_owned())).unwrap_or_default();
    let refused = |why: &str| Failure::Refused(format!("Create plugin error: {why}"));
    let mut body = object(&text).map_err(|why| refused(&format!("Parse plugin {name} error : {why}.")))?;
    if body.get("file").and_then(Json::as_str).is_none_or(str::is_empty) {
        return Err(refused("Missing plugin file url."));
    }
    body.insert("name".to_owned(), name.into());
    call.client.post(family, &Json::Object(body).to_string()).map_err(failed("Create"))?;
    Ok(Reply::text(format!("Plugin {name} is created.")))
}

/// The engine may not see our files, so that the package is sent to it.
fn create_from(call: &Call<'_>, family: &str, name: &str, zip: &Path) -> Result<Reply, Failure> {
    let lost = |why: std::io::Error| {
        let text = format!("The specified zip file {} could not be found.", zip.display());
        Failure::Refused(if call.is_upstream { text } else { format!("{text} ({why})") })
    };
    let bytes = std::fs::read(zip).map_err(lost)?;
    let upload = format!("{name}.zip");
    let place = call.client.upload(&upload, &bytes)?;
    let body = json!({"name": name, "file": format!("file://{place}")});
    let created = call.client.post(family, &body.to_string()).map_err(failed("Create"));
    // It was for this only.
    let _ = call.client.delete(&format!("/config/uploads/{}", segment(&upload)));
    created.map(|_| Reply::text(format!("Plugin {name} is created.")))
}

fn show(call: &Call<'_>) -> Result<Reply, Failure> {
    let kind = call.name("Expect plugin type.")?;
    let body = call.client.get(family(call, kind)?)?;
    let plugins = shown::array(shown::parsed(&body)?);
    let name = |plugin: &Json| shown::text(plugin.get("name").unwrap_or(plugin)) + "\n";
    let names: String = plugins.iter().map(name).collect();
    Ok(match kind {
        "portable" => Reply::text(&body).with_document(&body).with_table(names),
        _ if plugins.is_empty() => Reply::text("No plugin is found.").with_document("[]"),
        _ => Reply::text(names.trim_end()).with_document(&body),
    })
}

fn describe(call: &Call<'_>) -> Result<Reply, Failure> {
    let missing = if call.words.is_empty() { "Expect plugin type and name." } else { "Expect plugin name." };
    let [kind, name] = call.words(missing)?;
    let path = format!("{}/{}", family(call, kind)?, segment(name));
    Ok(Reply::document(&call.client.get(&path).map_err(failed("Describe"))?))
}

fn drop(call: &Call<'_>) -> Result<Reply, Failure> {
    let missing = if call.words.is_empty() { "Expect plugin type and name." } else { "Expect plugin name." };
    let [kind, name] = call.words(missing)?;
    let stop = match call.truth("stop", 's')? {
        None if call.is_upstream => return Err(call.usage("Expect s flag to be a boolean value.")),
        stop => stop.unwrap_or_default(),
    };
    let is_portable = kind == "portable";
    let query = if stop && !is_portable { "?stop=1" } else { "" };
    let path = format!("{}/{}{query}", family(call, kind)?, segment(name));
    call.client.delete(&path).map_err(failed("Drop"))?;
    Ok(Reply::text(match (is_portable, stop) {
        (true, _) => format!("Plugin {name} is dropped ."),
        (false, true) => format!("Plugin {name} is dropped and Kuiper will be stopped."),
        (false, false) => {
            format!("Plugin {name} is dropped and Kuiper must restart for the change to take effect.")
        }
    }))
}

fn register(call: &Call<'_>) -> Result<Reply, Failure> {
    let given = call.file("plugin")?;
    let (kind, name, text) = match (&given, call.words.as_slice()) {
        (Some(text), [kind, name]) => (kind, name, text),
        (None, [kind, name, text]) => (kind, name, text),
        _ => return Err(call.usage("Expect plugin type, name and json.")),
    };
    if kind != "function" {
        return Err(call.usage("Plugin type must be function."));
    }
    let refused = |why: &str| Failure::Refused(format!("Register plugin functions error: {why}"));
    let body = object(text).map_err(|why| refused(&why))?;
    if body.get("functions").and_then(Json::as_array).is_none_or(Vec::is_empty) {
        return Err(refused("Missing function list."));
    }
    let path = format!("/plugins/functions/{}/register", segment(name));
    let registered = call.client.post(&path, text);
    registered
        .map_err(|failure| reworded(failure, |why| format!("Register plugin functions error: {why}")))?;
    Ok(Reply::text(format!("Plugin {name} is created.")))
}

fn show_functions(call: &Call<'_>) -> Result<Reply, Failure> {
    let body = call.client.get("/plugins/udfs")?;
    let mut reply = names_or(&body, "No udf is found.")?;
    // One a line, where other lists are JSON.
    if let Some(lines) = reply.table.take() {
        lines.trim_end().clone_into(&mut reply.text);
    }
    Ok(reply)
}

fn describe_function(call: &Call<'_>) -> Result<Reply, Failure> {
    let name = call.name("Expect udf name.")?;
    let body = call.client.get(&format!("/plugins/udfs/{}", segment(name))).map_err(|failure| {
        let prefix = format!("describe function {name} error: ");
        reworded(failure, |why| format!("Describe udf error: {}", without(why, &[&prefix])))
    })?;
    Ok(Reply::document(&body))
}
