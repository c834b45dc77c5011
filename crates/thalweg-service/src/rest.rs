//! Calls over HTTP: one request a call, connections kept alive, several requests of a batch at once.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use prost_reflect::MethodDescriptor;
use thalweg_core::json::{self, Numbers};
use thalweg_core::{Props, Value};
use ureq::http;

use thalweg_fetch::{Client, agent};

use crate::ServiceConfig;
use crate::address::Address;
use crate::decode;
use crate::gate::{Failing, Gate};
use crate::http_rule::{HttpRule, Request};
use crate::interface::CallOptions;

/// The largest answer that is read.
const LARGEST: u64 = 64 << 20;
/// Of an answer that is an error, so much is told.
const TOLD: usize = 512;

/// The line to a REST service.
#[derive(Debug)]
pub(crate) struct Rest {
    agent: ureq::Agent,
    address: String,
    headers: Vec<(String, String)>,
    options: CallOptions,
    attempts: u64,
    between: Duration,
    gate: Gate,
}

/// What is called.
#[derive(Clone, Copy)]
pub(crate) enum RestMethod<'a> {
    /// An rpc of the schema.
    Rpc(&'a MethodDescriptor, &'a HttpRule),
    /// No schema: the first two arguments are method and path.
    Free,
}

impl Rest {
    /// Reads the options that only REST has.
    pub(crate) fn open(
        address: &Address,
        props: &Props,
        options: CallOptions,
        config: &ServiceConfig,
    ) -> Result<Self, String> {
        let wrong = |why: thalweg_core::Diagnostic| format!("options: {}", why.message);
        let insecure = props.bool("insecureSkipVerify").map_err(wrong)?.unwrap_or_default();
        let attempts = props.int("retryCount").map_err(wrong)?.unwrap_or_default();
        let between = props.millis("retryInterval").map_err(wrong)?.unwrap_or_default();
        Ok(Self {
            agent: agent(
                &Client { timeout: options.timeout, insecure, n_idle: options.max_in_flight },
                config.allow_private_net,
            ),
            address: address.text.trim_end_matches('/').to_owned(),
            headers: headers(props)?,
            options,
            attempts: u64::try_from(attempts).unwrap_or_default().max(1),
            between: Duration::from_millis(u64::try_from(between).unwrap_or_default()),
            gate: Gate::default(),
        })
    }

    /// Calls once a row; at most so many at once, answers in order.
    pub(crate) fn call(&self, method: RestMethod<'_>, rows: &[Vec<Value>]) -> Vec<Result<Value, String>> {
        let (next, answers) = (AtomicUsize::new(0), Mutex::new(vec![None; rows.len()]));
        let work = || {
            while let Some((at, args)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                rows.get(at).map(|args| (at, args))
            } {
                let answer = self.one(method, args);
                if let Some(place) = answers.lock().unwrap_or_else(PoisonError::into_inner).get_mut(at) {
                    *place = Some(answer);
                }
            }
        };
        let others = self.options.max_in_flight.min(rows.len()).saturating_sub(1);
        std::thread::scope(|scope| {
            for _ in 0..others {
                // Where no thread is to be had, this one does the work alone.
                let _ =
                    std::thread::Builder::new().name("thalweg-service".to_owned()).spawn_scoped(scope, work);
            }
            work();
        });
        let answers = answers.into_inner().unwrap_or_else(PoisonError::into_inner);
        answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Err("it was not called".to_owned())))
            .collect()
    }

    fn one(&self, method: RestMethod<'_>, args: &[Value]) -> Result<Value, String> {
        let request = match method {
            RestMethod::Rpc(rpc, rule) => rule.request(&rpc.input(), args)?,
            RestMethod::Free => free(args)?,
        };
        let request = self.build(&request)?;
        self.gate.pass()?;
        let mut attempt = 1;
        loop {
            match self.send(request.clone()) {
                Ok(answer) => {
                    self.gate.answered();
                    return answer.value(method);
                }
                Err((Some(_), _)) if attempt < self.attempts => {
                    std::thread::sleep(self.between);
                    attempt += 1;
                }
                Err((failing, why)) => {
                    match failing {
                        Some(failing) => self.gate.failed(failing, &why),
                        None => self.gate.answered(),
                    }
                    return Err(why);
                }
            }
        }
    }

    fn build(&self, request: &Request) -> Result<http::Request<Option<Vec<u8>>>, String> {
        let mut built = http::Request::builder()
            .method(&*request.method)
            .uri(format!("{}{}", self.address, request.target));
        let has_type = self.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if !has_type {
            built = built.header("Content-Type", "application/json");
        }
        for (name, value) in &self.headers {
            built = built.header(name, value);
        }
        built.body(request.body.clone()).map_err(|why| format!("no request can be made: {why}"))
    }

    fn send(&self, request: http::Request<Option<Vec<u8>>>) -> Result<Answer, (Option<Failing>, String)> {
        let (parts, body) = request.into_parts();
        let sent = match body {
            Some(body) => self.agent.run(http::Request::from_parts(parts, body)),
            None => self.agent.run(http::Request::from_parts(parts, ())),
        };
        let failed = |why: ureq::Error| self.explain(why);
        let mut response = sent.map_err(failed)?;
        let kind = response.headers().get("content-type").and_then(|kind| kind.to_str().ok());
        let kind = kind.unwrap_or_default().to_owned();
        let status = response.status().as_u16();
        let body = response.body_mut().with_config().limit(LARGEST).read_to_vec().map_err(failed)?;
        Ok(Answer { status, kind, body })
    }

    /// Whether the way is to blame, and the text.
    fn explain(&self, why: ureq::Error) -> (Option<Failing>, String) {
        let timeout = self.options.timeout.as_millis();
        match why {
            ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                (Some(Failing::Connect), format!("no connection within {timeout} ms"))
            }
            ureq::Error::Timeout(_) => (Some(Failing::Answer), format!("no answer within {timeout} ms")),
            ureq::Error::HostNotFound => (Some(Failing::Connect), "its host is not found".to_owned()),
            ureq::Error::ConnectionFailed => (Some(Failing::Connect), "no connection".to_owned()),
            ureq::Error::Io(why) => {
                let failing = match why.kind() {
                    std::io::ErrorKind::PermissionDenied => None,
                    std::io::ErrorKind::ConnectionReset
                    | std::io::ErrorKind::BrokenPipe
                    | std::io::ErrorKind::UnexpectedEof
                    | std::io::ErrorKind::ConnectionAborted => Some(Failing::Answer),
                    _ => Some(Failing::Connect),
                };
                (failing, why.to_string())
            }
            other => (None, other.to_string()),
        }
    }
}

/// `headers`: texts by name.
fn headers(props: &Props) -> Result<Vec<(String, String)>, String> {
    let wrong = || "options: property \"headers\" must be an object of texts".to_owned();
    match props.get("headers") {
        None | Some(serde_json::Value::Null) => Ok(Vec::new()),
        Some(serde_json::Value::Object(members)) => members
            .iter()
            .map(|(name, value)| {
                let is_sound = http::HeaderName::try_from(name).is_ok();
                let value = value.as_str().filter(|value| http::HeaderValue::try_from(*value).is_ok());
                match value {
                    Some(value) if is_sound => Ok((name.clone(), value.to_owned())),
                    _ => Err(format!("options: header \"{name}\" is no valid header")),
                }
            })
            .collect(),
        Some(_) => Err(wrong()),
    }
}

/// Without a schema: method, path, and what becomes the body.
fn free(args: &[Value]) -> Result<Request, String> {
    let [method, path, rest @ ..] = args else {
        return Err("its first two arguments are the HTTP method and the path".to_owned());
    };
    let text = |value: &Value, what| match value {
        Value::Str(text) => Ok(text.as_ref().to_owned()),
        other => Err(format!(
            "its {what} argument, the HTTP {}, must be a string, not {}",
            if what == "first" { "method" } else { "path" },
            crate::kinds::refuse(other, "string")
        )),
    };
    let (method, target) = (text(method, "first")?.to_uppercase(), text(path, "second")?);
    let mut body = Vec::new();
    match rest {
        [] => return Ok(Request { method, target, body: None }),
        [one] => write(&mut body, one)?,
        several => write(&mut body, &Value::list(several.to_vec()))?,
    }
    Ok(Request { method, target, body: Some(body) })
}

fn write(out: &mut Vec<u8>, value: &Value) -> Result<(), String> {
    json::write_value(out, value, chrono_tz::UTC).map_err(|why| why.to_string())
}

/// What came back.
struct Answer {
    status: u16,
    kind: String,
    body: Vec<u8>,
}

impl Answer {
    fn value(self, method: RestMethod<'_>) -> Result<Value, String> {
        if !(200..300).contains(&self.status) {
            let told = String::from_utf8_lossy(&self.body);
            let told: String = told.trim().chars().take(TOLD).collect();
            return Err(format!("http return code: {} and error message {told}", self.status));
        }
        let output = match method {
            RestMethod::Rpc(rpc, _) => Some(rpc.output()),
            RestMethod::Free => None,
        };
        let is_empty = self.body.iter().all(u8::is_ascii_whitespace);
        if is_empty && output.as_ref().is_none_or(|output| output.full_name() == "google.protobuf.Empty") {
            return Ok(output.map_or(Value::Null, |_| Value::map(thalweg_core::Fields::new())));
        }
        let parsed = || {
            let numbers = if output.is_some() { Numbers::Whole } else { Numbers::Float };
            json::parse(&self.body, numbers).map_err(|why| format!("its answer is no JSON: {why}"))
        };
        let kind = self.kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        // Upstream knows application/json only.
        if kind.ends_with("/json") || kind.ends_with("+json") {
            let value = parsed()?;
            return output.map_or(Ok(value.clone()), |output| decode::document(&output, &value));
        }
        if kind != "text/plain" {
            let kind = if kind.is_empty() { "none" } else { &kind };
            return Err(format!("unsupported response content type {kind}"));
        }
        let text = String::from_utf8_lossy(&self.body);
        match output {
            Some(output) => decode::text(&output, &text),
            None => Ok(parsed().unwrap_or_else(|_| Value::text(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_schema_the_arguments_are_method_path_and_body() {
        let args = ["post", "/a?b=1", "x"].map(Value::text);
        let request = free(&args).unwrap();
        assert_eq!((&*request.method, &*request.target), ("POST", "/a?b=1"));
        assert_eq!(request.body.as_deref(), Some(&b"\"x\""[..]));
        assert_eq!(free(&args[..2]).unwrap().body, None);
        let several = [args.to_vec(), vec![Value::Int(1)]].concat();
        assert_eq!(free(&several).unwrap().body.as_deref(), Some(&b"[\"x\",1]"[..]));
        assert!(free(&args[..1]).is_err());
        assert!(free(&[Value::Int(1), Value::text("/")]).unwrap_err().contains("first argument"));
    }
}
