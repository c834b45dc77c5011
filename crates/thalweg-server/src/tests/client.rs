//! An instance on a free port with a home of its own, and calls to it.

use serde_json::Value as Json;
use tempfile::TempDir;

use crate::{RunningServer, ServeOptions, start};

/// A running instance.
pub(super) struct Instance {
    server: RunningServer,
    home: TempDir,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: String,
    pub(super) body: String,
}

impl Answer {
    /// The body as JSON.
    pub(super) fn json(&self) -> Json {
        serde_json::from_str(&self.body).expect("JSON")
    }

    /// Status and body.
    pub(super) fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body));
    }

    /// An error in the one shape, with this status, number and beginning of the message.
    pub(super) fn fails(&self, status: u16, code: u64, message: &str) {
        assert_eq!(self.status, status, "{self:?}");
        assert!(self.body.ends_with("}\n") && self.content_type == "text/plain; charset=utf-8", "{self:?}");
        let document = self.json();
        assert_eq!(document["error"], code, "{self:?}");
        let text = document["message"].as_str().expect("a text");
        assert!(text.starts_with(message), "{text} does not start with {message}");
    }
}

impl Instance {
    pub(super) async fn start() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        let server = start(options(&home)).await.expect("it starts");
        Self { server, home }
    }

    /// Ends it and starts another one on the same home.
    pub(super) async fn restart(self) -> Self {
        self.server.stop().await;
        let server = start(options(&self.home)).await.expect("it starts again");
        Self { server, home: self.home }
    }

    pub(super) fn home(&self) -> &std::path::Path {
        self.home.path()
    }

    pub(super) fn port(&self) -> u16 {
        self.server.port()
    }

    pub(super) fn device_port(&self) -> u16 {
        self.server.device_port().expect("it was asked for")
    }

    pub(super) async fn stop(self) {
        self.server.stop().await;
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "").await
    }

    pub(super) async fn post(&self, path: &str, body: &str) -> Answer {
        self.call("POST", path, body).await
    }

    pub(super) async fn put(&self, path: &str, body: &str) -> Answer {
        self.call("PUT", path, body).await
    }

    pub(super) async fn delete(&self, path: &str) -> Answer {
        self.call("DELETE", path, "").await
    }

    pub(super) async fn sql(&self, sql: &str) -> Answer {
        self.post("/streams", &serde_json::json!({"sql": sql}).to_string()).await
    }

    /// The status of a rule as soon as it is as wanted; it is asked for again and again, but not for ever.
    pub(super) async fn status_when(&self, rule: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        let mut last = Json::Null;
        for _ in 0..2_000 {
            last = self.get(&format!("/rules/{rule}/status")).await.json();
            if wanted(&last) {
                return last;
            }
        }
        panic!("rule {rule} did not get there: {last:#}");
    }

    /// What a path answers as soon as it is as wanted; it is asked for again and again, but not for ever.
    pub(super) async fn until(&self, path: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
        let mut last = self.get(path).await;
        for _ in 0..2_000 {
            if wanted(&last) {
                return last;
            }
            last = self.get(path).await;
        }
        panic!("{path} did not get there: {last:?}");
    }

    pub(super) async fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        let url = format!("http://127.0.0.1:{}{path}", self.port());
        let (method, body) = (method.to_owned(), body.to_owned());
        tokio::task::spawn_blocking(move || call(&method, &url, body)).await.expect("no panic")
    }
}

fn options(home: &TempDir) -> ServeOptions {
    let variables = [("KUIPER__BASIC__RESTIP", "127.0.0.1"), ("KUIPER__BASIC__TIMEZONE", "UTC")];
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    ServeOptions {
        home: home.path().to_owned(),
        port: Some(0),
        mqtt_ingest: Some(0),
        environment,
        ..ServeOptions::default()
    }
}

fn call(method: &str, url: &str, body: String) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = ureq::http::Request::builder().method(method).uri(url);
    let request = request.body(body).expect("a request");
    let mut answer = agent
        .run(ureq::Agent::configure_request(&agent, request).allow_non_standard_methods(true).build())
        .expect("an answer");
    let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
    Answer {
        status: answer.status().as_u16(),
        content_type: content_type.unwrap_or_default().to_owned(),
        body: answer.body_mut().read_to_string().expect("text"),
    }
}
