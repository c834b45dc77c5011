//! One HTTP request over a socket of its own.

use std::io::{Read, Write};
use std::net::TcpStream;

/// Status and body.
pub(crate) fn call(base: &str, method: &str, path: &str, body: &str) -> Result<(u16, String), String> {
    let address = base.trim_start_matches("http://").trim_end_matches('/');
    let fail = |error: std::io::Error| format!("{method} {base}{path}: {error}");
    let mut socket = TcpStream::connect(address).map_err(fail)?;
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    socket.write_all(head.as_bytes()).map_err(fail)?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).map_err(fail)?;
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body).to_owned();
    status.map(|status| (status, body)).ok_or_else(|| format!("{method} {base}{path}: no HTTP answer"))
}

/// Like [`call`], but anything other than 2xx is an error.
pub(crate) fn expect(base: &str, method: &str, path: &str, body: &str) -> Result<String, String> {
    match call(base, method, path, body)? {
        (200..=299, body) => Ok(body),
        (status, body) => Err(format!("{method} {path}: {status} {body}")),
    }
}
