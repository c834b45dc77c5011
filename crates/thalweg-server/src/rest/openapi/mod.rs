//! The document of the interface (OpenAPI 3.1) and a page that shows it. It holds the routes that this server has, no
//! others, each described by its line of `calls.txt`.

mod calls;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value as Json, json};
use thalweg_engine::EngineError;

use super::auth::OPEN;
use super::routes::{Routes, get};
use super::{Answer, Failure};
use crate::server::App;
use calls::{Call, Given};

/// Schemas and parameters that calls name.
const COMPONENTS: &str = include_str!("components.json");

/// The page.
const VIEWER: &str = include_str!("viewer.html");

/// What the page may do: run what is in it, and call this server.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The two calls, told of all others.
pub(super) fn routes(others: Vec<(Method, String)>) -> Routes {
    let own = ["/openapi.json", "/docs"].map(|path| (Method::GET, path.to_owned()));
    let all: Arc<[(Method, String)]> = others.into_iter().chain(own).collect();
    let answer = move |State(app): State<Arc<App>>| async move {
        let document = document(&all, !app.auth.is_off());
        let document =
            document.map_err(|why| Failure::from(EngineError::plain(format!("internal error: {why}"))));
        document.map(|document| Answer::json(&document))
    };
    Routes::new().route("/openapi.json", get(answer)).route("/docs", get(viewer))
}

async fn viewer() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (StatusCode::OK, headers, VIEWER).into_response()
}

/// The document for these routes.
fn document(routes: &[(Method, String)], asks: bool) -> Result<Json, String> {
    let known = calls::all()?;
    let mut paths: Map<String, Json> = Map::new();
    let mut groups: Vec<&str> = Vec::new();
    for call in known.iter().filter(|call| is_served(call, routes)) {
        if !groups.contains(&call.group) {
            groups.push(call.group);
        }
        let path = paths.entry(call.path).or_insert_with(|| json!({}));
        path[call.method.to_lowercase()] = operation(call, asks);
    }
    // What nobody has described yet is not left out; a test refuses it.
    for (method, path) in routes {
        let method = method.as_str().to_lowercase();
        let entry = paths.entry(path.as_str()).or_insert_with(|| json!({}));
        if entry.get(&method).is_none() {
            entry[method] = json!({"summary": "not described yet", "responses": {}});
        }
    }
    let mut components: Json = serde_json::from_str(COMPONENTS).map_err(|why| why.to_string())?;
    components["securitySchemes"] = json!({
        "bearer": {"type": "http", "scheme": "bearer", "description": "the token of --token or THALWEG_TOKEN"},
        "web": {"type": "apiKey", "in": "header", "name": "Authorization",
                "description": "a web token (RS256) of a signer in etc/mgmt, without the word Bearer"},
    });
    let tags: Vec<Json> = groups.iter().map(|group| json!({"name": group})).collect();
    Ok(json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Thalweg",
            "version": env!("CARGO_PKG_VERSION"),
            "summary": "Streams, rules, plugins and everything else of an instance. As eKuiper's management interface.",
            "license": {"name": "Apache 2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": tags,
        "paths": paths,
        "components": components,
    }))
}

fn is_served(call: &Call, routes: &[(Method, String)]) -> bool {
    routes.iter().any(|(method, path)| method.as_str() == call.method && path == call.path)
}

fn operation(call: &Call, asks: bool) -> Json {
    // In metadata a name is that of a kind of source or sink; ids of trials, tasks and traces are not checked (1.6).
    let group = call.path.split('/').nth(1).unwrap_or_default();
    let named = |name: &str| {
        let name = match (group, name) {
            ("metadata", "name") => "kindOf",
            ("ruletest" | "async" | "trace", "id") => "anyId",
            _ => name,
        };
        json!({"$ref": format!("#/components/parameters/{name}")})
    };
    let parameters: Vec<Json> =
        calls::in_path(call.path).chain(call.query.iter().copied()).map(named).collect();
    let mut answers: Map<String, Json> =
        call.answers.iter().map(|answer| (answer.status.to_owned(), described(answer))).collect();
    let refusals = [
        ("400", "a refusal", true),
        ("401", "no token, or a wrong one", asks && !OPEN.contains(&call.path)),
        ("413", "the body is too large", !call.bodies.is_empty()),
    ];
    for (status, text, _) in refusals.iter().filter(|(_, _, is_possible)| *is_possible) {
        answers.entry(*status).or_insert_with(|| refusal(text));
    }
    let mut operation = json!({
        "tags": [call.group],
        "summary": call.summary,
        "operationId": operation_id(call),
        "responses": answers,
    });
    if !parameters.is_empty() {
        operation["parameters"] = Json::from(parameters);
    }
    if !call.bodies.is_empty() {
        let content: Map<String, Json> = call.bodies.iter().map(|body| content(body)).collect();
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    if asks && !OPEN.contains(&call.path) {
        operation["security"] = json!([{"bearer": []}, {"web": []}]);
    }
    operation
}

/// `get_rules_id_status`: stable, and good as a name in generated clients.
fn operation_id(call: &Call) -> String {
    let path = call.path.replace(['{', '}'], "").replace(['/', '.', '-'], "_");
    format!("{}{}", call.method.to_lowercase(), if path == "_" { "_root" } else { path.as_str() })
}

fn refusal(text: &str) -> Json {
    json!({"description": text, "content": {"text/plain": {"schema": {"type": "string"}}}})
}

fn described(answer: &Given) -> Json {
    let text = match answer.status {
        "200" => "done",
        "201" => "created",
        "204" => "done",
        "404" => "there is none of this name",
        "409" => "it is in use, or being changed by another request",
        "415" => "a body of another kind is needed",
        "422" => "the rule could not be created; why",
        _ => "see the text",
    };
    let schema = || match answer.schema {
        None | Some("Any") => json!({}),
        Some(name) => json!({"$ref": format!("#/components/schemas/{name}")}),
    };
    let of_kind = |kind: &&str| {
        let (media, schema) = match *kind {
            "json" => ("application/json", schema()),
            "file" => ("application/octet-stream", json!({})),
            "yaml" => ("application/yaml", json!({"type": "string"})),
            "html" => ("text/html", json!({"type": "string"})),
            "none" => return None,
            // JSON that upstream calls a text is a text to those who read by content type.
            _ => ("text/plain", json!({"type": "string"})),
        };
        Some((media.to_owned(), json!({ "schema": schema })))
    };
    let content: Map<String, Json> = answer.kinds.iter().filter_map(of_kind).collect();
    let mut described = json!({ "description": text });
    if !content.is_empty() {
        described["content"] = Json::from(content);
    }
    described
}

fn content(body: &str) -> (String, Json) {
    let (media, schema) = match body {
        "any" => ("application/json", json!({})),
        "bytes" => ("application/octet-stream", json!({})),
        "form" => {
            let file = json!({"contentMediaType": "application/octet-stream"});
            let properties = json!({"uploadFile": file, "file": file, "version": {"type": "string"}});
            ("multipart/form-data", json!({"type": "object", "properties": properties}))
        }
        name => ("application/json", json!({"$ref": format!("#/components/schemas/{name}")})),
    };
    (media.to_owned(), json!({ "schema": schema }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_route_of_the_server_has_a_line_and_each_line_is_unique() {
        let known = calls::all().expect("the table can be read");
        let lines: Vec<String> = known.iter().map(|call| format!("{} {}", call.method, call.path)).collect();
        for (index, line) in lines.iter().enumerate() {
            assert!(!lines[..index].contains(line), "{line} stands twice in calls.txt");
        }
        let served = super::super::described_routes();
        for (method, path) in &served {
            let line = format!("{method} {path}");
            assert!(lines.contains(&line), "describe {line} in src/rest/openapi/calls.txt");
        }
    }

    #[test]
    fn what_lines_name_is_among_the_components() {
        let components: Json = serde_json::from_str(COMPONENTS).expect("it is JSON");
        for call in calls::all().expect("the table can be read") {
            for parameter in calls::in_path(call.path).chain(call.query.iter().copied()) {
                assert!(components["parameters"][parameter].is_object(), "{}: {parameter}", call.path);
            }
            let bodies = call.bodies.iter().copied().filter(|body| !["any", "form", "bytes"].contains(body));
            for schema in bodies.chain(call.answers.iter().filter_map(|answer| answer.schema)) {
                assert!(components["schemas"][schema].is_object(), "{}: {schema}", call.path);
            }
            for kind in call.answers.iter().flat_map(|answer| &answer.kinds) {
                let known = ["json", "jtext", "text", "file", "yaml", "html", "metrics", "none"];
                assert!(known.contains(kind), "{}: {kind}", call.path);
            }
        }
    }

    #[test]
    fn tokens_are_asked_for_where_the_server_asks() {
        let routes = [(Method::GET, "/rules".to_owned()), (Method::GET, "/ping".to_owned())];
        let asked = document(&routes, true).expect("it can be made");
        assert!(asked["paths"]["/rules"]["get"]["security"].is_array());
        assert!(asked["paths"]["/rules"]["get"]["responses"]["401"].is_object());
        assert!(asked["paths"]["/ping"]["get"]["security"].is_null());
        let open = document(&routes, false).expect("it can be made");
        assert!(open["paths"]["/rules"]["get"]["security"].is_null());
        assert_eq!(open["paths"].as_object().map(Map::len), Some(2));
    }
}
