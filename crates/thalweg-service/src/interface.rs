//! An interface that can be called: its rpcs, its options, and the line to its address.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use prost_reflect::MethodDescriptor;
use prost_reflect::prost_types::method_options::IdempotencyLevel;
use thalweg_core::{Props, Value};
use tracing::warn;

use crate::ServiceConfig;
use crate::definition::{Definition, Interface as Described, Protocol};
use crate::http_rule::HttpRule;
use crate::msgpack::Msgpack;
use crate::resolver::Resolver;
use crate::rest::{Rest, RestMethod};
use crate::schema::Schema;

/// As upstream: for the connection and for the answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Calls of one batch that may be under way at once.
const MAX_IN_FLIGHT: usize = 8;
/// Nobody needs more at once.
const MOST_IN_FLIGHT: i64 = 256;

/// What all protocols need to know.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CallOptions {
    pub(crate) timeout: Duration,
    pub(crate) max_in_flight: usize,
}

/// One interface, ready to be called.
pub(crate) struct Interface {
    pub(crate) described: Described,
    /// What messages call it: `service sample at tcp://host:1`.
    title: String,
    /// rpcs by the names of their functions.
    methods: BTreeMap<String, Method>,
    /// The functions in the order of the schema.
    pub(crate) functions: Vec<String>,
    line: Line,
    pub(crate) schema_files: std::collections::BTreeSet<String>,
}

/// An rpc.
pub(crate) struct Method {
    /// The rpc's name.
    pub(crate) name: String,
    /// Its description; absent without a schema.
    rpc: Option<MethodDescriptor>,
    /// How it maps to HTTP, for REST.
    rule: Option<HttpRule>,
}

enum Line {
    Rest(Rest),
    Msgpack(Msgpack),
    #[cfg(feature = "grpc")]
    Grpc(crate::grpc::Grpc),
}

impl Interface {
    /// Compiles its schema and prepares the line; nothing is connected yet.
    pub(crate) fn open(
        (service, name): (&str, &str),
        described: &Described,
        resolver: &Resolver,
        config: &ServiceConfig,
    ) -> Result<Self, String> {
        let wrong = |why: String| format!("interface {name}: {why}");
        let (mut methods, mut schema_files) = (Vec::new(), Default::default());
        match &described.schema_file {
            None => methods.push((name.to_owned(), Method { name: name.to_owned(), rpc: None, rule: None })),
            Some(file) => {
                let schema = Schema::compile(file, resolver.clone())
                    .map_err(|why| wrong(format!("fail to parse schema file {file}: {why}")))?;
                methods = rpcs(described, &schema).map_err(wrong)?;
                schema_files = schema.files;
            }
        }
        let options = Props::from(described.options.clone().unwrap_or_default());
        let line = open_line(described, &options, config).map_err(wrong)?;
        let title = format!("service {service} at {}", described.address.shown);
        let functions = methods.iter().map(|(function, _)| function.clone()).collect();
        let methods = methods.into_iter().collect();
        Ok(Self { described: described.clone(), title, methods, functions, line, schema_files })
    }

    /// All interfaces of a definition.
    pub(crate) fn open_all(
        service: &str,
        definition: &Definition,
        resolver: &Resolver,
        config: &ServiceConfig,
    ) -> Result<BTreeMap<String, Self>, String> {
        let opened = definition.interfaces.iter().map(|(name, described)| {
            Ok((name.clone(), Self::open((service, name), described, resolver, config)?))
        });
        opened.collect()
    }

    /// Its functions with their rpcs.
    pub(crate) fn methods(&self) -> &BTreeMap<String, Method> {
        &self.methods
    }

    /// Calls a function once for each of these lists of arguments, and answers in their order.
    pub(crate) fn call(&self, function: &str, rows: &[Vec<Value>]) -> Vec<Result<Value, String>> {
        let titled = |why: String| format!("{}: {why}", self.title);
        let Some(method) = self.methods.get(function) else {
            let why = titled(format!("there is no rpc for function {function} any more"));
            return rows.iter().map(|_| Err(why.clone())).collect();
        };
        let answers = match (&self.line, &method.rpc) {
            (Line::Rest(rest), rpc) => {
                let target = match (rpc, &method.rule) {
                    (Some(rpc), Some(rule)) => RestMethod::Rpc(rpc, rule),
                    _ => RestMethod::Free,
                };
                rest.call(target, rows)
            }
            (Line::Msgpack(line), Some(rpc)) => line.call(rpc, rows),
            #[cfg(feature = "grpc")]
            (Line::Grpc(line), Some(rpc)) => line.call(rpc, rows),
            (_, None) => rows.iter().map(|_| Err("it has no schema".to_owned())).collect(),
        };
        answers.into_iter().map(|answer| answer.map_err(titled)).collect()
    }
}

impl Method {
    /// Whether the schema says that a call changes nothing: HTTP's GET, or `idempotency_level = NO_SIDE_EFFECTS`.
    pub(crate) fn only_reads(&self) -> bool {
        let options = self.rpc.as_ref().and_then(|rpc| rpc.method_descriptor_proto().options.as_ref());
        let is_declared =
            options.is_some_and(|options| options.idempotency_level() == IdempotencyLevel::NoSideEffects);
        is_declared || self.rule.as_ref().is_some_and(HttpRule::only_reads)
    }

    /// Why calls cannot work, if so.
    pub(crate) fn refusal(&self) -> Option<String> {
        let streams =
            self.rpc.as_ref().is_some_and(|rpc| rpc.is_client_streaming() || rpc.is_server_streaming());
        streams.then(|| format!("rpc {} streams; only calls with one answer can be functions", self.name))
    }
}

/// The functions that the rpcs of a schema make, in its order.
fn rpcs(described: &Described, schema: &Schema) -> Result<Vec<(String, Method)>, String> {
    let mut methods: Vec<(String, Method)> = Vec::new();
    for rpc in schema.methods() {
        let function =
            described.aliases.get(rpc.name()).map_or_else(|| rpc.name(), String::as_str).to_owned();
        let rule = (described.protocol == Protocol::Rest).then(|| HttpRule::of(&rpc)).transpose()?;
        let method = Method { name: rpc.name().to_owned(), rpc: Some(rpc.clone()), rule };
        if methods.iter().any(|(known, _)| *known == function) {
            return Err(format!(
                "two rpcs make the function {function}; give one another name in \"functions\""
            ));
        }
        methods.push((function, method));
    }
    if methods.is_empty() {
        return Err("its schema defines no rpc".to_owned());
    }
    if let Some(unknown) =
        described.aliases.keys().find(|rpc| !methods.iter().any(|(_, method)| method.name == **rpc))
    {
        warn!("\"functions\" names {unknown}, which the schema does not define");
    }
    Ok(methods)
}

fn open_line(described: &Described, props: &Props, config: &ServiceConfig) -> Result<Line, String> {
    let wrong = |why: thalweg_core::Diagnostic| format!("options: {}", why.message);
    let millis = props.millis("timeout").map_err(wrong)?;
    let timeout = match millis {
        None => TIMEOUT,
        Some(millis) => u64::try_from(millis)
            .ok()
            .filter(|millis| *millis > 0)
            .map(Duration::from_millis)
            .ok_or_else(|| format!("options: property \"timeout\" must be positive, not {millis}"))?,
    };
    let max_in_flight = match props.int("maxInFlight").map_err(wrong)? {
        None => MAX_IN_FLIGHT,
        Some(wanted) if (1..=MOST_IN_FLIGHT).contains(&wanted) => wanted as usize,
        Some(wanted) => {
            let range = format!("from 1 to {MOST_IN_FLIGHT}");
            return Err(format!("options: property \"maxInFlight\" must be {range}, not {wanted}"));
        }
    };
    let options = CallOptions { timeout, max_in_flight };
    match described.protocol {
        Protocol::Rest => Ok(Line::Rest(Rest::open(&described.address, props, options, config)?)),
        Protocol::MsgpackRpc => Ok(Line::Msgpack(Msgpack::open(&described.address, options))),
        #[cfg(feature = "grpc")]
        Protocol::Grpc => Ok(Line::Grpc(crate::grpc::Grpc::open(&described.address, options, config))),
        #[cfg(not(feature = "grpc"))]
        Protocol::Grpc => Err("this build has no gRPC; build it with the cargo feature grpc".to_owned()),
    }
}

impl fmt::Debug for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)
    }
}
