//! `thalweg plugin list`, `info`, `logs` and `remove`, for packages and for distributions.

use serde_json::{Value as Json, json};

use super::{Engine, Failure, LogsArgs, NameArgs, Output, RemoveArgs, pretty, put};
use crate::cli::client::segment;
use crate::cli::shown::{array, first_line, parsed, table, text, told};

const KINDS: [&str; 3] = ["functions", "sources", "sinks"];

pub(super) fn list(engine: &Engine) -> Result<String, Failure> {
    let mut packages = Vec::new();
    for package in array(parsed(&engine.client.get("/plugins/portables")?)?) {
        let path = format!("/plugins/portables/{}/status", segment(&text(&package["name"])));
        let status = engine.client.find(&path)?.map_or(Ok(Json::Null), |body| parsed(&body))?;
        packages.push(json!({"plugin": package, "status": status}));
    }
    let environments = engine.client.find("/plugins/python")?.map_or(Ok(Json::Null), |body| parsed(&body))?;
    if engine.output == Output::Json {
        return Ok(pretty(&json!({"portables": packages, "python": environments})));
    }
    let mut rows = Vec::new();
    for package in &packages {
        let plugin = &package["plugin"];
        let state = &package["status"];
        let state = match text(&state["errMsg"]) {
            none if none.is_empty() => text(&state["status"]),
            why => format!("{}: {}", text(&state["status"]), first_line(&why)),
        };
        rows.push([
            text(&plugin["name"]),
            text(&plugin["version"]),
            "zip".to_owned(),
            state,
            symbols(plugin),
        ]);
    }
    rows.extend(distributions(&environments));
    if rows.is_empty() {
        return Ok("no plugin is installed; thalweg plugin new writes one to start from\n".to_owned());
    }
    let heading = ["name", "version", "kind", "state", "symbols"].map(str::to_owned);
    Ok(table(&[vec![heading], rows].concat()))
}

/// A line for each distribution of each environment, with the state of the process that serves it.
fn distributions(environments: &Json) -> Vec<[String; 5]> {
    let mut rows = Vec::new();
    for environment in array(environments.clone()) {
        let hosts = array(environment["hosts"].clone());
        for distribution in array(environment["distributions"].clone()) {
            let (own, version) = (text(&distribution["name"]), text(&distribution["version"]));
            let serves = |host: &&Json| array(host["distributions"].clone()).iter().any(|name| *name == own);
            let host = hosts.iter().find(serves);
            let mut state = host.map(|host| text(&host["status"])).unwrap_or_default();
            let errors = array(distribution["errors"].clone());
            let wrong = errors.first().map(text).or(host.map(|host| text(&host["errMsg"])));
            if let Some(why) = wrong.filter(|why| !why.is_empty()) {
                state = format!("{state}: {}", first_line(&why));
            }
            let kind = format!("pip ({})", text(&environment["env"]));
            rows.push([own, version, kind, state, symbols(&distribution)]);
        }
    }
    rows
}

pub(super) fn info(engine: &Engine, args: &NameArgs) -> Result<String, Failure> {
    let path = format!("/plugins/portables/{}", segment(&args.name));
    let document = match engine.client.find(&path)? {
        Some(body) => {
            let status = engine.client.find(&format!("{path}/status"))?;
            json!({"plugin": parsed(&body)?, "status": status.map_or(Ok(Json::Null), |body| parsed(&body))?})
        }
        None => match engine.client.find(&of_pip(&args.name, args.env.as_deref()))? {
            Some(body) => parsed(&body)?,
            None => return Err(not_installed(&args.name)),
        },
    };
    match engine.output {
        Output::Json => Ok(pretty(&document)),
        Output::Table => Ok(told(&document)),
    }
}

/// The path of a distribution.
fn of_pip(name: &str, env: Option<&str>) -> String {
    let env = env.map(|env| format!("?env={}", segment(env))).unwrap_or_default();
    format!("/plugins/python/{}{env}", segment(name))
}

pub(super) fn logs(engine: &Engine, args: &LogsArgs) -> Result<String, Failure> {
    let (name, lines) = (segment(&args.name), args.lines);
    let mut found = None;
    if args.env.is_none() {
        found = engine.client.find(&format!("/plugins/portables/{name}/logs?lines={lines}"))?;
    }
    if found.is_none() {
        let env = args.env.as_deref().map(|env| format!("&env={}", segment(env))).unwrap_or_default();
        found = engine.client.find(&format!("/plugins/python/{name}/logs?lines={lines}{env}"))?;
    }
    let found = found.ok_or_else(|| not_installed(&args.name))?;
    if engine.output == Output::Json {
        return Ok(pretty(&parsed(&found)?));
    }
    let document = parsed(&found)?;
    let mut shown: String =
        array(document["lines"].clone()).iter().map(|line| text(&line["text"]) + "\n").collect();
    if document["suppressedLines"].as_u64().is_some_and(|n| n > 0) {
        shown
            .push_str(&format!("({} lines did not go into the engine's log)\n", document["suppressedLines"]));
    }
    Ok(shown)
}

pub(super) fn remove(engine: &Engine, args: &RemoveArgs) -> Result<String, Failure> {
    let path = format!("/plugins/portables/{}", segment(&args.name));
    if engine.client.find(&path)?.is_some() {
        return Ok(engine.done(&engine.client.delete(&path)?));
    }
    let path = of_pip(&args.name, args.env.as_deref());
    if engine.client.find(&path)?.is_none() {
        return Err(not_installed(&args.name));
    }
    let force = match (args.force, path.contains('?')) {
        (false, _) => "",
        (true, false) => "?force=1",
        (true, true) => "&force=1",
    };
    put::changed(engine, &engine.client.delete(&format!("{path}{force}"))?)
}

fn not_installed(name: &str) -> Failure {
    Failure::Refused(format!("plugin {name} is not installed; thalweg plugin list shows what is"))
}

/// The symbols of a plugin or distribution, which lists names or objects with a name.
fn symbols(plugin: &Json) -> String {
    let name = |symbol: &Json| text(symbol.get("name").unwrap_or(symbol));
    KINDS
        .iter()
        .flat_map(|kind| array(plugin[*kind].clone()))
        .map(|symbol| name(&symbol))
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_are_listed_with_their_environment_and_errors() {
        let document = json!([{"env": "default", "hosts": [{"status": "running", "errMsg": "", "distributions": ["acme"]}],
            "distributions": [{"name": "acme", "version": "1", "functions": [{"name": "f"}], "sinks": ["s"], "errors": ["bad"]}]}]);
        let row = ["acme", "1", "pip (default)", "running: bad", "f s"].map(str::to_owned);
        assert_eq!(distributions(&document), [row]);
        assert_eq!(distributions(&Json::Null), Vec::<[String; 5]>::new());
    }
}
