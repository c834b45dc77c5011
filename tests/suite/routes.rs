//! The calls of the server, its document of them (`/openapi.json`) and the index of `docs/compat/rest-api.md` 2 are the
//! same, and each call answers what the document says, whatever it is sent.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value as Json;
use thalweg_tests::instance::Instance;

/// Calls of the index that are not built yet. This list may only shrink.
const NOT_BUILT: &[&str] = &["GET /rules/{}/scantables", "POST /tracer"];

/// Calls that cannot be tried without an end: they stop the instance.
const ENDS: [&str; 2] = ["GET /stop", "POST /stop"];

/// Method and path with the names of parameters left out.
fn plain(method: &str, path: &str) -> String {
    let segments = path.split('/').map(|segment| if segment.starts_with('{') { "{}" } else { segment });
    format!("{method} {}", segments.collect::<Vec<_>>().join("/"))
}

/// `/a/{b|c}/{name}` is `/a/b/{name}` and `/a/c/{name}`.
fn alternatives(path: &str) -> Vec<String> {
    let Some((before, rest)) = path.split_once('{').filter(|(_, rest)| rest.contains('|')) else {
        return vec![path.to_owned()];
    };
    let (inside, after) = rest.split_once('}').expect("braces are closed");
    assert!(inside.contains('|'), "{path}: alternatives stand before parameters");
    inside.split('|').flat_map(|one| alternatives(&format!("{before}{one}{after}"))).collect()
}

/// The rows that are written in words.
fn in_words(numbers: &str) -> Option<Vec<(&'static str, String)>> {
    let mut calls = Vec::new();
    match numbers {
        "13–19" => {
            let all = [("GET", "/tables"), ("POST", "/tables"), ("GET", "/tabledetails")];
            let one = ["GET", "PUT", "DELETE"].map(|method| (method, "/tables/{name}"));
            let all = all.into_iter().chain(one).chain([("GET", "/tables/{name}/schema")]);
            calls.extend(all.map(|(method, path)| (method, path.to_owned())));
        }
        "110–124" => {
            for kind in ["sources", "sinks", "functions"] {
                calls.extend(["GET", "POST"].map(|method| (method, format!("/plugins/{kind}"))));
                let one =
                    ["GET", "PUT", "DELETE"].map(|method| (method, format!("/plugins/{kind}/{{name}}")));
                calls.extend(one);
            }
        }
        _ => return None,
    }
    Some(calls)
}

/// All calls of the index but those of the profiler, which are 404.
fn index() -> BTreeSet<String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compat/rest-api.md");
    let text = fs::read_to_string(file).expect("the specification is in the repository");
    let chapter = text.split_once("\n## 2. Route index").expect("chapter 2").1;
    let chapter = chapter.split_once("\n### 2.1").expect("2.1").0;
    let (mut calls, mut n_upstream) = (Vec::new(), 0);
    for line in chapter.lines().filter(|line| line.starts_with('|')) {
        let line = line.replace("\\|", "\u{1}");
        let cells: Vec<String> = line.split('|').map(|cell| cell.trim().replace('\u{1}', "|")).collect();
        let (numbers, methods, paths) = (&cells[1], &cells[2], &cells[3]);
        if !paths.contains('`') || paths.contains("/debug/pprof") {
            continue;
        }
        let n_before = calls.len();
        if let Some(more) = in_words(numbers) {
            calls.extend(more.into_iter().map(|(method, path)| plain(method, &path)));
            n_upstream += calls.len() - n_before;
            continue;
        }
        let methods = methods.split(", ").map(|method| method.split(' ').next().unwrap_or_default());
        let methods: Vec<&str> = methods.collect();
        for path in paths.split('`').skip(1).step_by(2).flat_map(alternatives) {
            calls.extend(methods.iter().map(|method| plain(method, &path)));
        }
        // Rows of ours have a T before their numbers.
        if !numbers.starts_with('T') {
            n_upstream += calls.len() - n_before;
        }
    }
    let unique: BTreeSet<String> = calls.iter().cloned().collect();
    assert_eq!(n_upstream, 141 + 1, "141 calls and /metrics");
    assert_eq!(unique.len(), calls.len(), "a call stands twice in the index");
    unique
}

/// An instance with `/metrics` on the management interface.
fn instance(token: Option<&str>) -> Instance {
    Instance::start(
        token,
        &[("KUIPER__BASIC__PROMETHEUSPORT", "0"), ("KUIPER__BASIC__RESTPORT", "0")],
        |_| {},
    )
}

fn document(instance: &Instance) -> Json {
    let answer = instance.call("GET", "/openapi.json", &[], "");
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
    serde_json::from_str(&answer.body).expect("it is JSON")
}

/// Each call of the document: method, path, what is said of it.
fn calls(document: &Json) -> Vec<(String, String, Json)> {
    let paths = document["paths"].as_object().expect("it has paths");
    let of_path = |(path, calls): (&String, &Json)| {
        let calls = calls.as_object().expect("a path has calls").clone();
        let path = path.clone();
        calls.into_iter().map(move |(method, call)| (method.to_uppercase(), path.clone(), call))
    };
    paths.iter().flat_map(of_path).collect()
}

#[test]
fn the_server_knows_the_calls_of_the_index_and_no_others() {
    let index = index();
    let instance = instance(None);
    let served: BTreeSet<String> =
        calls(&document(&instance)).iter().map(|(method, path, _)| plain(method, path)).collect();
    let not_built: BTreeSet<String> = NOT_BUILT.iter().map(|call| (*call).to_owned()).collect();
    let missing: Vec<_> =
        index.iter().filter(|call| !served.contains(*call) && !not_built.contains(*call)).collect();
    assert!(missing.is_empty(), "calls of the index that the server does not have: {missing:#?}");
    let built: Vec<_> =
        not_built.iter().filter(|call| served.contains(*call) || !index.contains(*call)).collect();
    assert!(built.is_empty(), "take them off NOT_BUILT: {built:#?}");
    let unknown: Vec<_> = served.iter().filter(|call| !index.contains(*call)).collect();
    assert!(unknown.is_empty(), "calls that the index of rest-api.md 2 does not have: {unknown:#?}");
    for call in &not_built {
        let (method, path) = call.split_once(' ').expect("a method and a path");
        let answer = instance.call(method, &path.replace("{}", "x"), &[], "");
        assert!([404, 405].contains(&answer.status), "{call}: {}", answer.status);
    }
    for profile in ["", "cmdline", "profile", "symbol", "trace", "goroutine", "heap"] {
        let answer = instance.call("GET", &format!("/debug/pprof/{profile}"), &[], "");
        assert_eq!(answer.all(), (404, "text/plain; charset=utf-8", "404 page not found\n"), "{profile}");
    }
    // What clients try and must not find (20).
    for (method, path) in [("GET", "/uploads"), ("POST", "/uploads"), ("GET", "/schemas")] {
        assert_eq!(instance.call(method, path, &[], "").status, 404, "{method} {path}");
    }
}

/// What is sent to every call that takes a body: nothing, broken JSON, every type, members of the wrong types, deep JSON,
/// what is no UTF-8 text but for its bytes, and the body of Kubernetes tools (20).
fn bodies() -> Vec<String> {
    let members =
        ["id", "name", "sql", "tags", "content", "file", "typ", "props", "script", "type", "params"];
    let wrong = |value: &str| {
        let members: Vec<String> = members.iter().map(|name| format!("\"{name}\":{value}")).collect();
        format!("{{{}}}", members.join(","))
    };
    let mut bodies: Vec<String> =
        ["", "null", "{", "{}", "[]", "[{}]", "5", "\"x\"", "true", "\u{fffd}\u{0}", "{\"sql\":\"\\u0000\"}"]
            .map(str::to_owned)
            .into();
    bodies.extend(
        ["5", "null", "true", "[]", "[1]", "{}", "\"\"", "\"../../x\"", "\"x y\"", "1e400"].map(wrong),
    );
    bodies.push("[".repeat(100_000));
    bodies
}

#[test]
fn every_call_answers_as_documented_whatever_it_is_sent() {
    let instance = instance(None);
    let document = document(&instance);
    for (method, path, call) in calls(&document) {
        if ENDS.contains(&format!("{method} {path}").as_str()) {
            continue;
        }
        let takes_body = call.get("requestBody").is_some();
        let bodies = if takes_body { bodies() } else { vec![String::new(), "null".to_owned()] };
        for id in ["unknown", "bad%20id", "%C3%A4%27%22%3C", &"a".repeat(5_000)] {
            if !path.contains('{') && id != "unknown" {
                continue;
            }
            let path = path.split('/').map(|part| if part.starts_with('{') { id } else { part });
            let path = path.collect::<Vec<_>>().join("/");
            for body in &bodies {
                let json = [("content-type", "application/json")];
                let answer = instance.call(&method, &path, &json, body);
                let shown: String = body.chars().take(200).collect();
                let said = &call["responses"][answer.status.to_string()];
                assert!(
                    said.is_object(),
                    "{method} {path} {shown}: {} is not documented: {}",
                    answer.status,
                    answer.body
                );
                let media =
                    answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
                let known = said.get("content").and_then(Json::as_object);
                let fits = known.map_or(media.is_empty(), |known| known.contains_key(media));
                assert!(fits, "{method} {path} {shown}: {} with {media:?} is not documented", answer.status);
                if answer.status == 400 {
                    // 1.5: one shape for refusals.
                    let error: Json = serde_json::from_str(&answer.body).unwrap_or_default();
                    let message = error["message"].as_str().unwrap_or_default();
                    assert!(
                        error["error"].is_u64() && !message.is_empty(),
                        "{method} {path}: {}",
                        answer.body
                    );
                    // The one call whose refusals are JSON by their content type ends them without a line break.
                    let end = if media == "application/json" { "}" } else { "}\n" };
                    assert!(answer.body.ends_with(end), "{method} {path}: {}", answer.body);
                }
            }
        }
    }
    assert_eq!(instance.call("GET", "/ping", &[], "").status, 200, "it lives");
}

#[test]
fn every_call_but_those_that_are_open_asks_for_the_token() {
    let instance = instance(Some("sesame"));
    let document = document(&instance);
    for (method, path, call) in calls(&document) {
        if ENDS.contains(&format!("{method} {path}").as_str()) {
            continue;
        }
        let answer = instance.call(&method, &path.replace(['{', '}'], ""), &[], "");
        let is_open = ["/", "/ping", "/docs", "/openapi.json"].contains(&path.as_str());
        assert_eq!(answer.status == 401, !is_open, "{method} {path}: {}", answer.status);
        assert_eq!(call.get("security").is_some(), !is_open, "{method} {path}");
        assert_eq!(call["responses"].get("401").is_some(), !is_open, "{method} {path}");
    }
}

#[test]
fn bodies_without_an_end_are_cut_off() {
    // Issue 6, "bad input": a huge body is refused before all of it is kept.
    let instance = instance(None);
    let body = format!("{{\"sql\":\"{}\"}}", "a".repeat(17 << 20));
    let agent = ureq::Agent::config_builder().http_status_as_error(false).build().new_agent();
    for path in [
        "/streams",
        "/rules",
        "/rules/validate",
        "/batch/req",
        "/plugins/portables",
        "/config/uploads",
        "/data/import",
        "/async/data/import",
        "/data/export",
    ] {
        let url = format!("http://127.0.0.1:{}{path}", instance.server().port());
        let sent = agent.post(&url).header("content-type", "application/json").send(&body);
        // The engine may hang up while the client still writes; an answer that arrives is this one.
        if let Ok(mut answer) = sent {
            let text = answer.body_mut().read_to_string().unwrap_or_default();
            assert_eq!(answer.status().as_u16(), 413, "{path}: {text}");
            assert!(
                text.starts_with("{\"error\":1000,\"message\":\"request body is larger than 16 MB"),
                "{text}"
            );
        }
    }
    assert_eq!(instance.call("GET", "/ping", &[], "").status, 200, "it lives");
}

#[test]
fn the_page_shows_the_document_and_loads_nothing_from_elsewhere() {
    let instance = instance(None);
    let page = instance.call("GET", "/docs", &[], "");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(
        page.header("content-security-policy").is_some_and(|policy| policy.contains("default-src 'none'"))
    );
    assert!(
        page.body.contains("/openapi.json")
            && !page.body.contains("http://")
            && !page.body.contains("https://")
    );
    assert!(!page.body.contains("src=") && !page.body.contains("<link"), "it is self-contained");
}

#[test]
fn rows_of_the_index_are_read() {
    assert_eq!(alternatives("/m/{a|b}/{name}"), ["/m/a/{name}", "/m/b/{name}"]);
    assert_eq!(alternatives("/m/{name}"), ["/m/{name}"]);
    assert_eq!(plain("GET", "/m/{name}/x"), "GET /m/{}/x");
}
