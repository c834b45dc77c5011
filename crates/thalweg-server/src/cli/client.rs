//! The client side of the REST interface, for commands that ask a running engine.

use std::time::Duration;

use clap::Args;
use serde_json::Value as Json;

/// Where an engine is asked that nobody named.
const NEAREST: &str = "http://127.0.0.1:9081";

/// Which engine a command asks.
#[derive(Debug, Clone, Default, Args)]
pub struct Target {
    /// Where the engine's REST interface is. Default: THALWEG_URL, else http://127.0.0.1:9081.
    #[arg(long, global = true, value_name = "URL")]
    pub url: Option<String>,
    /// The token of an engine that asks for one. Default: THALWEG_TOKEN.
    #[arg(long, global = true, value_name = "TEXT")]
    pub token: Option<String>,
}

impl Target {
    /// A client for calls that are answered at once.
    pub fn client(&self) -> Client {
        self.waiting(Duration::from_secs(60))
    }

    /// A client that also waits for installations, which download and compile.
    pub fn patient(&self) -> Client {
        self.waiting(Duration::from_secs(30 * 60))
    }

    /// The token, if there is one.
    pub fn token(&self) -> Option<String> {
        told(&self.token, "THALWEG_TOKEN")
    }

    /// A client that waits so long.
    pub(super) fn waiting(&self, patience: Duration) -> Client {
        let url = told(&self.url, "THALWEG_URL").unwrap_or_else(|| NEAREST.to_owned());
        Client::new(&url, self.token(), patience)
    }
}

/// A flag, else a variable.
fn told(flag: &Option<String>, name: &str) -> Option<String> {
    flag.clone().or_else(|| std::env::var(name).ok()).filter(|text| !text.is_empty())
}

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

/// The longest answer that is read: exports may be long.
const MOST: u64 = 1 << 30;

/// A client of one engine.
#[derive(Debug)]
pub struct Client {
    url: String,
    token: Option<String>,
    agent: ureq::Agent,
}

impl Client {
    /// A client of the engine at this address, such as `http://127.0.0.1:9081`, that waits so long for an answer.
    pub fn new(url: &str, token: Option<String>, patience: Duration) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(patience)).build().new_agent();
        let url = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        Self { url: url.trim_end_matches('/').to_owned(), token, agent }
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
        self.send("GET", path, None, &[])
    }

    /// The body of a GET; nothing for what is not there.
    ///
    /// # Errors
    /// There is no answer, or it is another refusal.
    pub fn find(&self, path: &str) -> Result<Option<String>, Failure> {
        match self.ask("GET", path, None, &[])? {
            (404, _) => Ok(None),
            (status, body) => judged(status, body).map(Some),
        }
    }

    /// The body of the answer to a PUT.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn put(&self, path: &str, body: &str) -> Result<String, Failure> {
        self.send("PUT", path, None, body.as_bytes())
    }

    /// The body of the answer to a POST.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn post(&self, path: &str, body: &str) -> Result<String, Failure> {
        self.send("POST", path, None, body.as_bytes())
    }

    /// The body of the answer to a DELETE.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn delete(&self, path: &str) -> Result<String, Failure> {
        self.send("DELETE", path, None, &[])
    }

    /// The body of the answer to a POST of bytes.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn post_bytes(&self, path: &str, bytes: &[u8]) -> Result<String, Failure> {
        self.send("POST", path, Some(BYTES), bytes)
    }

    /// The body of the answer to a PUT of bytes.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn put_bytes(&self, path: &str, bytes: &[u8]) -> Result<String, Failure> {
        self.send("PUT", path, Some(BYTES), bytes)
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
        self.send(
            "POST",
            "/config/uploads",
            Some(&format!("multipart/form-data; boundary={boundary}")),
            &body,
        )
    }

    /// Whether the engine is on this machine, so that it may see the same files.
    pub fn is_local(&self) -> bool {
        let host = self.url.split("://").nth(1).unwrap_or_default();
        ["127.", "localhost", "[::1]"].iter().any(|local| host.starts_with(local))
    }

    /// The server-sent events of a path on the data port, which is on the same machine. They may take as long as they
    /// like.
    ///
    /// # Errors
    /// There is no answer, or it is a refusal.
    pub fn events(&self, port: u64, path: &str) -> Result<impl std::io::Read + Send + 'static, Failure> {
        let (_, place) = self.url.split_once("://").unwrap_or(("", &self.url));
        let place = place.split('/').next().unwrap_or_default();
        // An address in brackets has colons of its own.
        let host =
            place.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(place, |(host, _)| host);
        let url = format!("http://{host}:{port}{path}");
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_connect(Some(Duration::from_secs(10))).build().new_agent();
        let lost =
            |why: ureq::Error| Failure::Unreachable(format!("cannot reach the data port at {url}: {why}"));
        let mut answer = agent.get(&url).call().map_err(lost)?;
        if answer.status().is_success() {
            return Ok(answer.into_body().into_reader());
        }
        let text = answer.body_mut().read_to_string().map_err(lost)?;
        Err(Failure::Refused(format!("the data port at {url} answers: {}", text.trim_end())))
    }

    fn send(&self, method: &str, path: &str, kind: Option<&str>, body: &[u8]) -> Result<String, Failure> {
        let (status, body) = self.ask(method, path, kind, body)?;
        judged(status, body)
    }

    /// Status and body of the answer.
    fn ask(
        &self,
        method: &str,
        path: &str,
        kind: Option<&str>,
        body: &[u8],
    ) -> Result<(u16, String), Failure> {
        let lost = |why: &dyn std::fmt::Display| {
            let advice = "is it running? (thalweg serve; another address with --url)";
            Failure::Unreachable(format!("cannot reach an engine at {}: {why}; {advice}", self.url))
        };
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(kind) = kind {
            request = request.header("Content-Type", kind);
        }
        if let Some(token) = &self.token {
            // Web tokens go bare (1.8).
            let is_web = token.starts_with("eyJ") && token.split('.').count() == 3;
            let shown = if is_web { token.clone() } else { format!("Bearer {token}") };
            request = request.header("Authorization", shown);
        }
        let answer = match method {
            "GET" | "DELETE" => {
                request.body(()).map_err(|why| lost(&why)).map(|request| self.agent.run(request))
            }
            _ => request.body(body).map_err(|why| lost(&why)).map(|request| self.agent.run(request)),
        };
        let mut answer = answer?.map_err(|why| lost(&why))?;
        let limit = answer.body_mut().with_config().limit(MOST);
        let text = limit.read_to_string().map_err(|why| lost(&why))?;
        Ok((answer.status().as_u16(), text))
    }
}

/// The body of an answer, or the refusal that it is.
fn judged(status: u16, body: String) -> Result<String, Failure> {
    match status {
        200..300 => Ok(body),
        401 => Err(Failure::Refused(format!(
            "{}; this engine asks for a token: --token, or the variable THALWEG_TOKEN",
            message(&body)
        ))),
        _ => Err(Failure::Refused(message(&body))),
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
        let failure = Client::new("127.0.0.1:1", None, Duration::from_secs(5))
            .get("/")
            .expect_err("nobody listens on port 1");
        assert_eq!(failure.status(), 3);
        assert!(failure.text().starts_with("cannot reach an engine at http://127.0.0.1:1: "), "{failure:?}");
    }
}
