//! An HTTP server that answers with what a closure says, and keeps connections alive.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a client asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Status, content type, body.
pub(crate) type Reply = (u16, &'static str, String);

pub(crate) fn json(body: impl Into<String>) -> Reply {
    (200, "application/json", body.into())
}

pub(crate) struct HttpServer {
    port: u16,
    pub(crate) connections: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl HttpServer {
    pub(crate) fn start(answer: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Self::on(listener, answer)
    }

    pub(crate) fn on(listener: TcpListener, answer: impl Fn(Asked) -> Reply + Send + Sync + 'static) -> Self {
        let port = listener.local_addr().unwrap().port();
        let (connections, ended) = (Arc::<AtomicUsize>::default(), Arc::<AtomicBool>::default());
        let (counted, stop, answer) = (Arc::clone(&connections), Arc::clone(&ended), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = Arc::clone(&answer);
                std::thread::spawn(move || serve(stream.unwrap(), &*answer));
            }
        });
        Self { port, connections, ended }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        // Wakes the listener.
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// Answers what comes over one connection.
pub(crate) fn serve(stream: impl Read + Write, answer: &dyn Fn(Asked) -> Reply) {
    let mut stream = BufReader::new(stream);
    while let Some(asked) = read(&mut stream) {
        let (status, kind, body) = answer(asked);
        let kind = if kind.is_empty() { String::new() } else { format!("Content-Type: {kind}\r\n") };
        let head = format!("HTTP/1.1 {status} X\r\n{kind}Content-Length: {}\r\n\r\n", body.len());
        if stream.get_mut().write_all((head + &body).as_bytes()).is_err() {
            return;
        }
    }
}

fn read(from: &mut impl BufRead) -> Option<Asked> {
    let mut line = String::new();
    if from.read_line(&mut line).ok()? == 0 {
        return None;
    }
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        from.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let len = headers.iter().find(|(name, _)| name == "content-length").map_or("0", |(_, value)| value);
    let mut body = vec![0; len.parse().ok()?];
    from.read_exact(&mut body).ok()?;
    Some(Asked { method, target, headers, body: String::from_utf8(body).ok()? })
}
