//! Calls to the management interface.

use std::time::Duration;

use serde_json::{Value as Json, json};

use crate::wait;

/// A client of one instance.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    agent: ureq::Agent,
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The header `Content-Type`.
    pub content_type: String,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// Asserts status and body.
    #[track_caller]
    pub fn is(&self, status: u16, body: &str) {
        assert_eq!((self.status, self.body.as_str()), (status, body));
    }
}

impl Api {
    /// A client of the instance on this port.
    pub fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(Duration::from_secs(60))).build().new_agent();
        Self { base: format!("http://127.0.0.1:{port}"), agent }
    }

    /// The address of the instance.
    pub fn url(&self) -> &str {
        &self.base
    }

    /// Any call.
    ///
    /// # Errors
    /// There is no answer.
    pub fn try_call(&self, method: &str, path: &str, body: &str) -> Result<Answer, String> {
        let wrong = |why: &dyn std::fmt::Display| format!("{method} {path}: {why}");
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let is_json = body.starts_with(['{', '[']);
        let request = if is_json { request.header("content-type", "application/json") } else { request };
        let request = request.body(body.to_owned()).map_err(|why| wrong(&why))?;
        let request = self.agent.configure_request(request).allow_non_standard_methods(true).build();
        let mut answer = self.agent.run(request).map_err(|why| wrong(&why))?;
        let content_type = answer.headers().get("content-type").and_then(|value| value.to_str().ok());
        Ok(Answer {
            status: answer.status().as_u16(),
            content_type: content_type.unwrap_or_default().to_owned(),
            body: answer.body_mut().read_to_string().map_err(|why| wrong(&why))?,
        })
    }

    /// Any call.
    ///
    /// # Panics
    /// When there is no answer.
    #[track_caller]
    pub fn call(&self, method: &str, path: &str, body: &str) -> Answer {
        match self.try_call(method, path, body) {
            Ok(answer) => answer,
            Err(why) => panic!("{why}"),
        }
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.call("GET", path, "")
    }

    /// POST.
    #[track_caller]
    pub fn post(&self, path: &str, body: &Json) -> Answer {
        self.call("POST", path, &body.to_string())
    }

    /// Executes a statement about streams or tables.
    #[track_caller]
    pub fn sql(&self, sql: &str) {
        let answer = self.post("/streams", &json!({ "sql": sql }));
        assert_eq!(answer.status, 201, "{sql}: {}", answer.body);
    }

    /// Creates a rule with one action.
    #[track_caller]
    pub fn rule(&self, id: &str, sql: &str, action: Json) {
        self.rule_with(id, sql, action, json!({}));
    }

    /// Creates a rule with one action and options.
    #[track_caller]
    pub fn rule_with(&self, id: &str, sql: &str, action: Json, options: Json) {
        let answer =
            self.post("/rules", &json!({"id": id, "sql": sql, "actions": [action], "options": options}));
        answer.is(201, &format!("Rule {id} was created successfully."));
    }

    /// The status of a rule.
    #[track_caller]
    pub fn status(&self, rule: &str) -> Json {
        self.get(&format!("/rules/{rule}/status")).json()
    }

    /// The status of a rule as soon as it is as wanted.
    ///
    /// # Panics
    /// When it does not get there; with the last status.
    #[track_caller]
    pub fn status_when(&self, rule: &str, wanted: impl Fn(&Json) -> bool) -> Json {
        let mut last = Json::Null;
        let found = wait::within(wait::LIMIT, || {
            last = self.status(rule);
            wanted(&last).then(|| last.clone())
        });
        match found {
            Some(status) => status,
            None => panic!("rule {rule} does not get there: {last:#}"),
        }
    }

    /// Waits until source and sinks of a rule are connected, so that nothing published from now on is missed.
    #[track_caller]
    pub fn connected(&self, rule: &str) {
        self.status_when(rule, |status| {
            let fields = status.as_object().into_iter().flatten();
            let mut connections = fields.filter(|(key, _)| key.ends_with("_connection_status")).peekable();
            connections.peek().is_some() && connections.all(|(_, value)| *value == 1)
        });
    }
}
