//! A connection that carries msgpack-rpc.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use thalweg_core::Value;

use super::codec::{self, ReadError};
use crate::gate::Deadline;

/// The largest answer that is waited for.
const LARGEST: usize = 64 << 20;

/// The number of a request, and its result or the error of the server.
pub(super) type Response = (u32, Result<Value, String>);

/// Requests out, answers in.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    timeout: Duration,
    next_id: u32,
    /// What has been read and not yet taken.
    read: Vec<u8>,
    out: Vec<u8>,
}

impl Connection {
    /// Connects.
    pub(super) fn open(host: &str, timeout: Duration) -> Result<Self, String> {
        let mut why = "its host is not found".to_owned();
        for address in host.to_socket_addrs().map_err(|why| why.to_string())? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    let set = stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(timeout)));
                    set.map_err(|why| why.to_string())?;
                    return Ok(Self { stream, timeout, next_id: 0, read: Vec::new(), out: Vec::new() });
                }
                Err(failed) if failed.kind() == ErrorKind::TimedOut => {
                    why = format!("no connection within {} ms", timeout.as_millis());
                }
                Err(failed) => why = failed.to_string(),
            }
        }
        Err(why)
    }

    /// Whether the other side still listens; what it has sent unasked makes the connection useless.
    pub(super) fn is_open(&self) -> bool {
        let mut byte = [0];
        let is_open = self.stream.set_nonblocking(true).is_ok()
            && matches!(self.stream.peek(&mut byte), Err(why) if why.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).is_ok() && is_open && self.read.is_empty()
    }

    /// Sends a request and says its number.
    pub(super) fn send(&mut self, method: &str, params: &[Value]) -> Result<u32, String> {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.out.clear();
        codec::write_list_head(&mut self.out, 4);
        codec::write_int(&mut self.out, 0);
        codec::write_int(&mut self.out, i64::from(id));
        codec::write_text(&mut self.out, method);
        codec::write_list_head(&mut self.out, params.len());
        params.iter().for_each(|param| codec::write(&mut self.out, param));
        self.stream.write_all(&self.out).map_err(|why| self.explain(&why))?;
        Ok(id)
    }

    /// Waits for the next answer: the number of its request, and the result or the server's error.
    pub(super) fn receive(&mut self) -> Result<Response, String> {
        let deadline = Deadline::after(self.timeout);
        loop {
            if !self.read.is_empty() {
                let mut rest = &self.read[..];
                match codec::read(&mut rest) {
                    Ok(message) => {
                        let taken = self.read.len() - rest.len();
                        self.read.drain(..taken);
                        match response(message)? {
                            Some(response) => return Ok(response),
                            // Notifications are nobody's answer.
                            None => continue,
                        }
                    }
                    Err(ReadError::Wrong(why)) => return Err(why.to_owned()),
                    Err(ReadError::Short) if self.read.len() > LARGEST => {
                        return Err(format!("its answer is larger than {} MB", LARGEST >> 20));
                    }
                    Err(ReadError::Short) => {}
                }
            }
            let left = deadline.left().ok_or_else(|| self.late())?;
            self.stream.set_read_timeout(Some(left)).map_err(|why| why.to_string())?;
            let before = self.read.len();
            self.read.resize(before + before.clamp(4 << 10, 1 << 20), 0);
            let got = self.stream.read(&mut self.read[before..]);
            self.read.truncate(before + got.as_ref().copied().unwrap_or_default());
            match got {
                Ok(0) => return Err("it closed the connection".to_owned()),
                Ok(_) => {}
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                Err(why) => return Err(self.explain(&why)),
            }
        }
    }

    fn explain(&self, why: &std::io::Error) -> String {
        match why.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => self.late(),
            _ => why.to_string(),
        }
    }

    fn late(&self) -> String {
        format!("no answer within {} ms", self.timeout.as_millis())
    }
}

fn response(message: Value) -> Result<Option<Response>, String> {
    let wrong = || "its answer is no msgpack-rpc".to_owned();
    let Value::List(parts) = message else { return Err(wrong()) };
    match &*parts {
        [Value::Int(1), Value::Int(id), error, result] => {
            let id = u32::try_from(*id).map_err(|_| wrong())?;
            let result = match error {
                Value::Null => Ok(result.clone()),
                Value::Str(why) => Err(why.as_ref().to_owned()),
                other => Err(thalweg_core::cast::go_text(other)),
            };
            Ok(Some((id, result)))
        }
        [Value::Int(2), ..] => Ok(None),
        _ => Err(wrong()),
    }
}
