//! Calls over gRPC: unary, without TLS, one HTTP/2 connection an interface.

use std::sync::{Arc, mpsc};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use h2::client::{self, SendRequest};
use http::{HeaderMap, Request};
use prost::Message;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use thalweg_core::Value;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::time::timeout;

use crate::ServiceConfig;
use crate::address::Address;
use crate::gate::{Failing, Gate};
use crate::interface::CallOptions;
use crate::{decode, encode};

/// The largest answer.
const LARGEST: usize = 64 << 20;

/// The line to a gRPC service.
pub(crate) struct Grpc {
    shared: Arc<Shared>,
    io: Handle,
}

struct Shared {
    host: String,
    options: CallOptions,
    gate: Gate,
    connection: tokio::sync::Mutex<Option<SendRequest<Bytes>>>,
}

/// Why a call has no answer.
enum Failure {
    /// The way is to blame.
    Way(Failing, String),
    /// The service said no.
    Said(String),
    /// Others have found out that there is no way.
    Closed(String),
}

impl Grpc {
    pub(crate) fn open(address: &Address, options: CallOptions, config: &ServiceConfig) -> Self {
        let (host, connection) = (address.host.clone(), tokio::sync::Mutex::default());
        let shared = Shared { host, options, gate: Gate::default(), connection };
        Self { shared: Arc::new(shared), io: config.io.clone() }
    }

    /// Calls once a row; at most so many at once, answers in order.
    pub(crate) fn call(&self, rpc: &MethodDescriptor, rows: &[Vec<Value>]) -> Vec<Result<Value, String>> {
        let requests: Vec<Result<Bytes, String>> = rows.iter().map(|args| frame(rpc, args)).collect();
        let (shared, rpc, n_rows) = (Arc::clone(&self.shared), rpc.clone(), rows.len());
        let (sender, receiver) = mpsc::channel();
        self.io.spawn(async move {
            let calls = requests.into_iter().map(|request| {
                let (shared, rpc) = (&shared, &rpc);
                async move { shared.one(rpc, request?).await }
            });
            let answers: Vec<_> =
                futures_util::stream::iter(calls).buffered(shared.options.max_in_flight).collect().await;
            // The caller waits for it.
            let _ = sender.send(answers);
        });
        let ended = |_| (0..n_rows).map(|_| Err("the engine is ending".to_owned())).collect();
        receiver.recv().unwrap_or_else(ended)
    }
}

/// A message with the head that gRPC wants: not compressed, its length.
fn frame(rpc: &MethodDescriptor, args: &[Value]) -> Result<Bytes, String> {
    let message = encode::message(&rpc.input(), args)?;
    let len = message.encoded_len();
    let mut out = BytesMut::with_capacity(len + 5);
    out.put_u8(0);
    out.put_u32(u32::try_from(len).map_err(|_| "the message is larger than 4 GB".to_owned())?);
    message.encode(&mut out).map_err(|why| why.to_string())?;
    Ok(out.freeze())
}

impl Shared {
    async fn one(&self, rpc: &MethodDescriptor, request: Bytes) -> Result<Value, String> {
        let passed = self.gate.pass()?;
        let answer = match self.answer(rpc, request, passed).await {
            Ok(answer) => answer,
            Err(Failure::Said(why)) => {
                self.gate.answered();
                return Err(why);
            }
            Err(Failure::Way(failing, why)) => {
                self.gate.failed(failing, &why);
                return Err(why);
            }
            Err(Failure::Closed(why)) => return Err(why),
        };
        self.gate.answered();
        let message = DynamicMessage::decode(rpc.output(), answer)
            .map_err(|why| format!("error parsing method {} result: {why}", rpc.name()))?;
        decode::message(&message)
    }

    async fn answer(&self, rpc: &MethodDescriptor, request: Bytes, passed: u64) -> Result<Bytes, Failure> {
        let limit = self.options.timeout;
        let late = |_| {
            let (name, millis) = (rpc.name(), limit.as_millis());
            Failure::Way(Failing::Answer, format!("invoke {name} timeout: no answer within {millis} ms"))
        };
        let mut connection = self.connected(passed).await?;
        let answered =
            timeout(limit, self.exchange(&mut connection, rpc, request)).await.map_err(late).flatten();
        if let Err(Failure::Way(..)) = &answered {
            // The next call connects anew: nobody says when a machine behind a cable is gone.
            *self.connection.lock().await = None;
        }
        answered
    }

    /// The connection, made if there is none that works. Calls that wait for one that cannot be made end with it.
    async fn connected(&self, passed: u64) -> Result<SendRequest<Bytes>, Failure> {
        let limit = self.options.timeout;
        let mut kept = self.connection.lock().await;
        if let Some(connection) = kept.take()
            && let Ok(Ok(ready)) = timeout(limit, connection.ready()).await
        {
            return Ok(kept.insert(ready).clone());
        }
        if let Some(why) = self.gate.closed_since(passed) {
            return Err(Failure::Closed(why));
        }
        let connect = async {
            let stream = TcpStream::connect(&self.host).await.map_err(|why| why.to_string())?;
            stream.set_nodelay(true).map_err(|why| why.to_string())?;
            client::handshake(stream).await.map_err(|why| why.to_string())
        };
        let (sender, connection) = timeout(limit, connect)
            .await
            .unwrap_or_else(|_| Err(format!("no connection within {} ms", limit.as_millis())))
            .map_err(|why| Failure::Way(Failing::Connect, why))?;
        // It ends with the last that uses it, or when the other side closes.
        tokio::spawn(async move { drop(connection.await) });
        Ok(kept.insert(sender).clone())
    }

    async fn exchange(
        &self,
        connection: &mut SendRequest<Bytes>,
        rpc: &MethodDescriptor,
        body: Bytes,
    ) -> Result<Bytes, Failure> {
        let broken = |why: h2::Error| Failure::Way(Failing::Answer, why.to_string());
        let uri = format!("http://{}/{}/{}", self.host, rpc.parent_service().full_name(), rpc.name());
        let request = Request::post(uri)
            .version(http::Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", "thalweg")
            .header("grpc-timeout", format!("{}m", self.options.timeout.as_millis().min(99_999_999)))
            .body(())
            .map_err(|why| Failure::Said(why.to_string()))?;
        let mut ready = connection.clone().ready().await.map_err(broken)?;
        let (response, mut stream) = ready.send_request(request, false).map_err(broken)?;
        stream.send_data(body, true).map_err(broken)?;
        let response = response.await.map_err(broken)?;
        if response.status() != 200 {
            return Err(Failure::Said(format!("http return code: {}", response.status().as_u16())));
        }
        let (head, mut body) = response.into_parts();
        let mut answer = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(broken)?;
            if answer.len() + chunk.len() > LARGEST {
                return Err(Failure::Said(format!("its answer is larger than {} MB", LARGEST >> 20)));
            }
            answer.extend_from_slice(&chunk);
            body.flow_control().release_capacity(chunk.len()).map_err(broken)?;
        }
        let trailers = body.trailers().await.map_err(broken)?;
        status(trailers.as_ref().unwrap_or(&head.headers), rpc)?;
        unframe(answer.freeze())
    }
}

/// The status that stands behind an answer.
fn status(headers: &HeaderMap, rpc: &MethodDescriptor) -> Result<(), Failure> {
    let text = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    match text("grpc-status").as_deref() {
        Some("0") => Ok(()),
        None => Err(Failure::Said("its answer has no grpc-status".to_owned())),
        Some(code) => {
            let message = decode_percent(&text("grpc-message").unwrap_or_default());
            let (name, word) = (rpc.name(), code_name(code));
            Err(Failure::Said(format!(
                "error invoking method {name} in proto: rpc error: code = {word} desc = {message}"
            )))
        }
    }
}

/// The names that Go prints.
fn code_name(code: &str) -> &str {
    const NAMES: [&str; 17] = [
        "OK",
        "Canceled",
        "Unknown",
        "InvalidArgument",
        "DeadlineExceeded",
        "NotFound",
        "AlreadyExists",
        "PermissionDenied",
        "ResourceExhausted",
        "FailedPrecondition",
        "Aborted",
        "OutOfRange",
        "Unimplemented",
        "Internal",
        "Unavailable",
        "DataLoss",
        "Unauthenticated",
    ];
    code.parse().ok().and_then(|code: usize| NAMES.get(code).copied()).unwrap_or(code)
}

fn decode_percent(text: &str) -> String {
    let (mut out, mut rest) = (Vec::new(), text.as_bytes());
    while let Some((first, behind)) = rest.split_first() {
        let code = behind.get(..2).filter(|_| *first == b'%').and_then(|code| std::str::from_utf8(code).ok());
        match code.and_then(|code| u8::from_str_radix(code, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                rest = &behind[2..];
            }
            None => {
                out.push(*first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The one message of an answer.
fn unframe(mut answer: Bytes) -> Result<Bytes, Failure> {
    let wrong = |why: &str| Failure::Said(why.to_owned());
    if answer.len() < 5 {
        return Err(wrong("its answer holds no message"));
    }
    if answer.get_u8() != 0 {
        return Err(wrong("its answer is compressed, which was not asked for"));
    }
    let len = answer.get_u32() as usize;
    if answer.len() != len {
        return Err(wrong("its answer does not hold one whole message"));
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_errors_are_readable() {
        assert_eq!(decode_percent("a%20b%zz%C3%BC%"), "a b%zzü%");
        assert_eq!((code_name("14"), code_name("99")), ("Unavailable", "99"));
    }
}
