//! Calls to an engine's management interface.

use std::time::Duration;

/// A client of one engine; its connection is kept.
pub(crate) struct Api {
    base: String,
    agent: ureq::Agent,
}

impl Api {
    /// The engine at this address, `http://127.0.0.1:9081` say.
    pub(crate) fn new(base: &str) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(Duration::from_secs(60))).build().new_agent();
        Self { base: base.trim_end_matches('/').to_owned(), agent }
    }

    /// Status and body.
    pub(crate) fn call(&self, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
        let fail = |why: &dyn std::fmt::Display| format!("{method} {}{path}: {why}", self.base);
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header("Content-Type", "application/json").body(body.to_owned());
        let request = request.map_err(|why| fail(&why))?;
        let request = self.agent.configure_request(request).allow_non_standard_methods(true).build();
        let mut answer = self.agent.run(request).map_err(|why| fail(&why))?;
        // The status of a rule set is longer than the client's usual limit.
        let body = answer.body_mut().with_config().limit(1 << 28).read_to_string();
        Ok((answer.status().as_u16(), body.map_err(|why| fail(&why))?))
    }

    /// Like [`Self::call`], but anything other than 2xx is an error.
    pub(crate) fn expect(&self, method: &str, path: &str, body: &str) -> Result<String, String> {
        match self.call(method, path, body)? {
            (200..=299, body) => Ok(body),
            (status, body) => Err(format!("{method} {path}: {status} {body}")),
        }
    }
}
