//! Calls over msgpack-rpc: requests `[0, id, method, [args]]`, answers `[1, id, error, result]`, over TCP.
//!
//! Several requests of a batch are under way on one connection; answers may come in any order. Connections are kept.

mod codec;
mod line;

use std::sync::{Mutex, PoisonError};

use prost_reflect::MethodDescriptor;
use thalweg_core::Value;

use crate::address::Address;
use crate::encode;
use crate::gate::{Failing, Gate};
use crate::interface::CallOptions;
use crate::{decode, schema};
use line::Connection;

/// The line to a msgpack-rpc service.
#[derive(Debug)]
pub(crate) struct Msgpack {
    host: String,
    options: CallOptions,
    gate: Gate,
    /// Connections that nobody uses now.
    idle: Mutex<Vec<Connection>>,
}

impl Msgpack {
    pub(crate) fn open(address: &Address, options: CallOptions) -> Self {
        Self { host: address.host.clone(), options, gate: Gate::default(), idle: Mutex::default() }
    }

    /// Calls once a row; at most so many at once, answers in order.
    pub(crate) fn call(&self, rpc: &MethodDescriptor, rows: &[Vec<Value>]) -> Vec<Result<Value, String>> {
        let mut batch = Batch {
            line: self,
            rpc,
            answers: vec![None; rows.len()],
            connection: None,
            under_way: Vec::new(),
        };
        for (at, args) in rows.iter().enumerate() {
            match params(rpc, args) {
                Ok(params) => batch.send(at, &params),
                Err(why) => batch.settle(at, Err(why)),
            }
            while batch.under_way.len() >= self.options.max_in_flight {
                batch.receive();
            }
        }
        while !batch.under_way.is_empty() {
            batch.receive();
        }
        self.keep(batch.connection.take());
        batch
            .answers
            .into_iter()
            .map(|answer| answer.unwrap_or_else(|| Err("it was not called".to_owned())))
            .collect()
    }

    /// A connection that was used before, if it is still open, else a new one.
    fn connection(&self) -> Result<Connection, String> {
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            match kept {
                Some(kept) if kept.is_open() => return Ok(kept),
                Some(_) => {}
                None => return Connection::open(&self.host, self.options.timeout),
            }
        }
    }

    fn keep(&self, connection: Option<Connection>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.options.max_in_flight {
            idle.extend(connection);
        }
    }
}

/// The fields of the message in their order; those that the object of the call does not have are null.
fn params(rpc: &MethodDescriptor, args: &[Value]) -> Result<Vec<Value>, String> {
    let values = encode::values(&rpc.input(), args)?;
    values.iter().map(|(_, value)| value.as_ref().map_or(Ok(Value::Null), decode::scalar)).collect()
}

fn answer(rpc: &MethodDescriptor, result: &Value) -> Result<Value, String> {
    let output = rpc.output();
    if output.full_name() == "google.protobuf.Empty" || (result.is_null() && schema::is_wrapper(&output)) {
        return Ok(if result.is_null() { Value::Null } else { result.clone() });
    }
    decode::document(&output, result)
}

/// The calls of one batch.
struct Batch<'a> {
    line: &'a Msgpack,
    rpc: &'a MethodDescriptor,
    answers: Vec<Option<Result<Value, String>>>,
    connection: Option<Connection>,
    /// Calls without an answer yet: their numbers and rows.
    under_way: Vec<(u32, usize)>,
}

impl Batch<'_> {
    fn settle(&mut self, at: usize, answer: Result<Value, String>) {
        if let Some(place) = self.answers.get_mut(at) {
            *place = Some(answer);
        }
    }

    fn send(&mut self, at: usize, params: &[Value]) {
        if let Err(why) = self.line.gate.pass() {
            return self.settle(at, Err(why));
        }
        if self.connection.is_none() {
            match self.line.connection() {
                Ok(connection) => self.connection = Some(connection),
                Err(why) => {
                    self.line.gate.failed(Failing::Connect, &why);
                    return self.settle(at, Err(why));
                }
            }
        }
        let Some(connection) = &mut self.connection else { return };
        let sent = connection.send(self.rpc.name(), params);
        match sent {
            Ok(id) => self.under_way.push((id, at)),
            Err(why) => {
                self.settle(at, Err(why.clone()));
                self.broken(&why);
            }
        }
    }

    /// Waits for one answer.
    fn receive(&mut self) {
        let Some(connection) = &mut self.connection else {
            return self.broken("the connection is closed");
        };
        match connection.receive() {
            Ok((id, result)) => {
                self.line.gate.answered();
                let Some(found) = self.under_way.iter().position(|(waiting, _)| *waiting == id) else {
                    return;
                };
                let (_, at) = self.under_way.swap_remove(found);
                let rpc = self.rpc;
                self.settle(at, result.and_then(|result| answer(rpc, &result)));
            }
            Err(why) => self.broken(&why),
        }
    }

    /// The connection is of no use any more.
    fn broken(&mut self, why: &str) {
        self.connection = None;
        self.line.gate.failed(Failing::Answer, why);
        for (_, at) in std::mem::take(&mut self.under_way) {
            self.settle(at, Err(why.to_owned()));
        }
    }
}
