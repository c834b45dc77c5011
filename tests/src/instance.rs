//! An engine in the test's own process, and calls to it as they go over the wire.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use thalweg_server::{RunningServer, ServeOptions, start};
use tokio::runtime::Runtime;

use crate::wait;

/// An instance in this process.
pub struct Instance {
    home: tempfile::TempDir,
    runtime: Runtime,
    server: Option<RunningServer>,
}

impl Instance {
    /// Starts one with `--token` and environment variables; `prepare` may lay files into its home.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start(token: Option<&str>, variables: &[(&str, &str)], prepare: impl Fn(&Path)) -> Self {
        Self::try_start(token, variables, prepare).expect("it starts")
    }

    /// The same, where it may be refused.
    ///
    /// # Errors
    /// Why it does not start.
    pub fn try_start(
        token: Option<&str>,
        variables: &[(&str, &str)],
        prepare: impl Fn(&Path),
    ) -> Result<Self, String> {
        let home = tempfile::tempdir().expect("a folder can be made");
        prepare(home.path());
        let mut environment: Vec<(&str, &str)> = vec![("KUIPER__BASIC__RESTIP", "127.0.0.1")];
        environment.extend(variables);
        let options = ServeOptions {
            home: home.path().to_owned(),
            port: Some(0),
            data_port: Some(0),
            token: token.map(str::to_owned),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            ..ServeOptions::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("the system gives threads");
        let server = runtime.block_on(start(options))?;
        Ok(Self { home, runtime, server: Some(server) })
    }

    /// Its home folder.
    pub fn home(&self) -> &Path {
        self.home.path()
    }

    /// The instance.
    pub fn server(&self) -> &RunningServer {
        self.server.as_ref().expect("it is taken at the end only")
    }

    /// A call as it goes over the wire: nothing is tidied up on the way.
    pub fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> RawAnswer {
        call(self.server().port(), method, path, headers, body)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.stop());
        }
    }
}

/// What came back, header by header.
pub struct RawAnswer {
    /// The status.
    pub status: u16,
    headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl RawAnswer {
    /// A header by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// Status, content type and body.
    pub fn all(&self) -> (u16, &str, &str) {
        (self.status, self.header("content-type").unwrap_or_default(), &self.body)
    }
}

fn call(port: u16, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> RawAnswer {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    stream.set_read_timeout(Some(wait::LIMIT)).expect("a time-out can be set");
    let mut text = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(text.as_bytes()).expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers and closes the connection");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    let headers = headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect();
    RawAnswer { status, headers, body: body.to_owned() }
}
