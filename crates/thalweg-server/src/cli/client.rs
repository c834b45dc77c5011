//! The client side of the REST interface, for commands that ask a running engine.

use std::time::Duration;

use serde_json::Value as Json;

/// Why a command came to nothing; each has an exit status of its own (`decisions.md`).
#[derive(Debug, PartialEq, Eq)]
pub enum Failure {
    /// The engine said no.
    Refused(String),
    /// The command line makes no sense.
    Usage(String),
    /// There is no engine at the address.
    Unreachable(String),
}

impl Failure {
    /// The exit status.
    pub fn status(&self) -> u8 {
        match self {
            Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
        }
    }

    /// What to tell the user.
    pub fn text(&self) -> &str {
        match self {
            Self::Refused(text) | Self::Usage(text) | Self::Unreachable(text) => text,
        }
    }
}

const BYTES: &str = "application/octet-stream";

/// A client of one engine.
#[derive(Debug)]
pub struct Client {
    url: String,
    agent: ureq::Agent,
}

impl Client {
    /// A client of the engine at this address, such as `http://127.0.0.1:9081`.
    pub fn new(url: &str) -> Self {
        Self::waiting(url, Duration::from_secs(60))
    }

    fn waiting(url: &str, patience: Duration) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(patience)).build().new_agent();
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        Self { url: url.trim_end_matches('/').to_owned(), agent }
    }

    /// A client that also waits for installations, which download and compile.
    pub fn patient(url: &str) -> Self {
        Self::waiting(url, Duration::from_secs(30 * 60))
    }

    /// The address.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The body of a GET.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn get(&self, path: &str) -> Result<String, Failure> {
        let answer = self.agent.get(format!("{}{path}", self.url)).call();
        self.body(answer)
    }

    /// The body of a GET; nothing for what is not there.
    ///
    /// # Errors
    /// There is no answer, or it is another refusal.
    pub fn find(&self, path: &str) -> Result<Option<String>, Failure> {
        match self.agent.get(format!("{}{path}", self.url)).call() {
            Ok(answer) if answer.status() == 404 => Ok(None),
            answer => self.body(answer).map(Some),
        }
    }

    /// The body of the answer to a PUT.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn put(&self, path: &str, body: &str) -> Result<String, Failure> {
        let answer = self.agent.put(format!("{}{path}", self.url)).send(body);
        self.body(answer)
    }

    /// The body of the answer to a POST of bytes.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn post_bytes(&self, path: &str, bytes: &[u8]) -> Result<String, Failure> {
        let request = self.agent.post(format!("{}{path}", self.url));
        self.body(request.header("Content-Type", BYTES).send(bytes))
    }

    /// The body of the answer to a PUT of bytes.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn put_bytes(&self, path: &str, bytes: &[u8]) -> Result<String, Failure> {
        let request = self.agent.put(format!("{}{path}", self.url));
        self.body(request.header("Content-Type", BYTES).send(bytes))
    }

    /// Puts a file among the engine's uploads (13); its path there.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn upload(&self, name: &str, bytes: &[u8]) -> Result<String, Failure> {
        let boundary = (0u32..).map(|n| format!("thalweg-{n:08x}"));
        let is_free = |text: &String| !bytes.windows(text.len()).any(|part| part == text.as_bytes());
        let boundary = boundary.into_iter().find(is_free).unwrap_or_default();
        let name = name.replace(['"', '\r', '\n', '\\'], "_");
        let head = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"uploadFile\"; filename=\"{name}\"\r\n\
             Content-Type: {BYTES}\r\n\r\n"
        );
        let body = [head.as_bytes(), bytes, format!("\r\n--{boundary}--\r\n").as_bytes()].concat();
        let request = self.agent.post(format!("{}/config/uploads", self.url));
        self.body(
            request.header("Content-Type", format!("multipart/form-data; boundary={boundary}")).send(&body),
        )
    }

    /// Whether the engine is on this machine, so that it may see the same files.
    pub fn is_local(&self) -> bool {
        let host = self.url.split("://").nth(1).unwrap_or_default();
        ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local))
    }

    /// The body of the answer to a DELETE.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn delete(&self, path: &str) -> Result<String, Failure> {
        let answer = self.agent.delete(format!("{}{path}", self.url)).call();
        self.body(answer)
    }

    /// The body of the answer to a POST.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn post(&self, path: &str, body: &str) -> Result<String, Failure> {
        let answer = self.agent.post(format!("{}{path}", self.url)).send(body);
        self.body(answer)
    }

    fn body(&self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<String, Failure> {
        let lost = |why: ureq::Error| {
            let advice = "is it running? (thalweg serve; another address with --url)";
            Failure::Unreachable(format!("cannot reach an engine at {}: {why}; {advice}", self.url))
        };
        let mut answer = answer.map_err(lost)?;
        let text = answer.body_mut().read_to_string().map_err(lost)?;
        if answer.status().is_success() { Ok(text) } else { Err(Failure::Refused(message(&text))) }
    }
}

/// The text of a refusal: `message` of the one error shape (1.5), or the body as it is.
fn message(body: &str) -> String {
    let document: Json = serde_json::from_str(body).unwrap_or_default();
    document["message"].as_str().unwrap_or(body.trim_end()).to_owned()
}

/// A name as one segment of a path.
pub(super) fn segment(name: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(byte);
    name.bytes()
        .map(|byte| if is_plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_read_in_either_shape_and_names_are_safe_in_paths() {
        assert_eq!(message("{\"error\":1000,\"message\":\"no\"}\n"), "no");
        assert_eq!(message("404 page not found\n"), "404 page not found");
        assert_eq!(segment("r 1/é"), "r%201%2F%C3%A9");
    }

    #[test]
    fn an_engine_that_is_not_there_is_told_with_its_address() {
        let failure = Client::new("127.0.0.1:1").get("/").expect_err("nobody listens on port 1");
        assert_eq!(failure.status(), 3);
        assert!(failure.text().starts_with("cannot reach an engine at http://127.0.0.1:1: "), "{failure:?}");
    }
}
