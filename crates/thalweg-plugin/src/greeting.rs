//! What a plugin says about itself in its first request on a channel (`portable-plugins.md` 12.1 and 12.8).
//!
//! Nothing in a greeting is believed beyond what it is for: whatever cannot be understood is as if it were not there,
//! and a peer that says nothing gets the protocol of old.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value as Json, json};

/// A longer greeting is not read.
const LONGEST: usize = 1 << 20;
/// The version of the extension that we speak.
const PROTOCOL: u64 = 1;

/// Something beyond the protocol of old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(crate) enum Cap {
    /// `ExecBatch`, `messages`, batches to sinks.
    Batch = 1,
    /// Column frames.
    Cols = 1 << 1,
    /// Columns in shared memory.
    Shm = 1 << 2,
    /// Arrow IPC in frames.
    Arrow = 1 << 3,
    /// `ping`.
    Ping = 1 << 4,
    /// `Save`, `Restore`, `Forget`; `save` and `saved` of sources.
    State = 1 << 5,
    /// Accumulators that outlive a message.
    Acc = 1 << 6,
    /// Sources emit only as much as there is room for.
    Credit = 1 << 7,
    /// Sources say how they ended.
    Eof = 1 << 8,
    /// `shutdown`.
    Shutdown = 1 << 9,
}

impl Cap {
    const ALL: [(Self, &'static str); 10] = [
        (Self::Batch, "batch"),
        (Self::Cols, "cols"),
        (Self::Shm, "shm"),
        (Self::Arrow, "arrow"),
        (Self::Ping, "ping"),
        (Self::State, "state"),
        (Self::Acc, "acc"),
        (Self::Credit, "credit"),
        (Self::Eof, "eof"),
        (Self::Shutdown, "shutdown"),
    ];
}

/// A set of capabilities.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Caps(u16);

impl Caps {
    /// These.
    pub(crate) const fn of(caps: &[Cap]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < caps.len() {
            bits |= caps[index] as u16;
            index += 1;
        }
        Self(bits)
    }

    /// Those of a JSON list that we know.
    pub(crate) fn read(names: Option<&Json>) -> Self {
        let names = names.and_then(Json::as_array).map(Vec::as_slice).unwrap_or_default();
        let known = Cap::ALL.iter().filter(|(_, name)| names.iter().any(|given| given == name));
        Self(known.fold(0, |bits, (cap, _)| bits | *cap as u16))
    }

    pub(crate) fn has(self, cap: Cap) -> bool {
        self.0 & cap as u16 != 0
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What both sides can do.
    pub(crate) fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// As both sides write them.
    pub(crate) fn names(self) -> Vec<&'static str> {
        Cap::ALL.iter().filter(|(cap, _)| self.has(*cap)).map(|(_, name)| *name).collect()
    }
}

impl fmt::Debug for Caps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

/// What a peer has said. That of a peer of old has nothing in it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Greeting {
    /// Which SDK it is, with its version.
    pub(crate) sdk: String,
    /// What it advertises.
    pub(crate) caps: Caps,
    /// The plugin's name, on the control channel.
    pub(crate) plugin: Option<String>,
    /// What the process has, on the control channel.
    pub(crate) symbols: Symbols,
    /// The function, on its channel.
    pub(crate) function: FunctionTraits,
}

/// What a process has to offer.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Symbols {
    pub(crate) sources: Vec<String>,
    pub(crate) sinks: BTreeMap<String, SinkTraits>,
    pub(crate) functions: Vec<String>,
}

/// What is known about a sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct SinkTraits {
    /// It takes decoded rows rather than encoded messages.
    pub(crate) rows: bool,
}

/// What is known about a function before it is called.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct FunctionTraits {
    /// Its name.
    pub(crate) name: String,
    /// Whether it is an aggregate.
    pub(crate) is_aggregate: Option<bool>,
    /// It takes whole columns: `numpy`, `groups` or `arrow`.
    pub(crate) vector: Option<String>,
    /// Rows may be spread over several processes.
    pub(crate) is_parallel: bool,
    /// The least number of arguments and the greatest, if there is one.
    pub(crate) args: Option<(usize, Option<usize>)>,
    /// The column types of its arguments, as far as they are annotated.
    pub(crate) arg_types: Vec<Option<String>>,
    /// That of its result.
    pub(crate) result_type: Option<String>,
    /// For people.
    pub(crate) usage: Option<String>,
    /// It remembers something, which belongs into checkpoints.
    pub(crate) is_stateful: bool,
    /// What its accumulators can do; all false when it has none.
    pub(crate) acc: AccTraits,
}

/// What the accumulators of a function can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AccTraits {
    pub(crate) add: bool,
    pub(crate) retract: bool,
    pub(crate) merge: bool,
}

impl Greeting {
    /// Reads a first request. Whatever it is, it is a greeting.
    pub(crate) fn parse(message: &[u8]) -> Self {
        let Some(document) = message.strip_prefix(b"handshake ").filter(|text| text.len() <= LONGEST) else {
            return Self::default();
        };
        // What is nested too deeply is no JSON to the parser.
        let Ok(Json::Object(document)) = serde_json::from_slice(document) else {
            return Self::default();
        };
        if document.get("thalweg").and_then(Json::as_u64).is_none_or(|version| version < PROTOCOL) {
            return Self::default();
        }
        Self {
            sdk: text(document.get("sdk")).unwrap_or_default(),
            caps: Caps::read(document.get("caps")),
            plugin: text(document.get("plugin")),
            symbols: document.get("symbols").map(Symbols::read).unwrap_or_default(),
            function: FunctionTraits::read(&document),
        }
    }
}

impl Symbols {
    fn read(document: &Json) -> Self {
        let sinks = document.get("sinks").and_then(Json::as_object);
        let traits = |sink: &Json| SinkTraits { rows: is_true(sink.get("rows")) };
        Self {
            sources: texts(document.get("sources")),
            sinks: sinks.into_iter().flatten().map(|(name, sink)| (name.clone(), traits(sink))).collect(),
            functions: texts(document.get("functions")),
        }
    }
}

impl FunctionTraits {
    fn read(document: &Map<String, Json>) -> Self {
        let get = |name: &str| document.get(name);
        let types = get("types");
        let arg_types = types.and_then(|types| types.get("args")).and_then(Json::as_array);
        let acc = texts(get("acc"));
        let has = |step: &str| acc.iter().any(|name| name == step);
        Self {
            name: text(get("fn")).unwrap_or_default(),
            is_aggregate: get("agg").and_then(Json::as_bool),
            vector: text(get("vector")),
            is_parallel: is_true(get("parallel")),
            args: get("args").and_then(arity),
            arg_types: arg_types.into_iter().flatten().map(|name| text(Some(name))).collect(),
            result_type: types.and_then(|types| text(types.get("result"))),
            usage: text(get("usage")),
            is_stateful: is_true(get("stateful")),
            acc: AccTraits { add: has("add"), retract: has("retract"), merge: has("merge") },
        }
    }
}

/// `[least, most]`, where `most` may be null.
fn arity(document: &Json) -> Option<(usize, Option<usize>)> {
    let [least, most] = document.as_array()?.as_slice() else { return None };
    let number = |json: &Json| json.as_u64().and_then(|number| usize::try_from(number).ok());
    let least = number(least)?;
    match most {
        Json::Null => Some((least, None)),
        most => number(most).filter(|most| *most >= least).map(|most| (least, Some(most))),
    }
}

fn is_true(json: Option<&Json>) -> bool {
    json.and_then(Json::as_bool).unwrap_or(false)
}

fn text(json: Option<&Json>) -> Option<String> {
    json.and_then(Json::as_str).map(str::to_owned)
}

fn texts(json: Option<&Json>) -> Vec<String> {
    let items = json.and_then(Json::as_array);
    items.into_iter().flatten().filter_map(|item| text(Some(item))).collect()
}

/// What a plugin's functions, sources and sinks find as `ctx.config` and `ctx.secret(name)`.
#[derive(Clone, PartialEq, Default)]
pub struct PluginSettings {
    /// `portable.config.<plugin>`.
    pub config: BTreeMap<String, Json>,
    /// `portable.secrets.<plugin>`.
    pub secrets: BTreeMap<String, String>,
}

impl fmt::Debug for PluginSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secrets: BTreeMap<&String, &str> = self.secrets.keys().map(|name| (name, "***")).collect();
        f.debug_struct("PluginSettings").field("config", &self.config).field("secrets", &secrets).finish()
    }
}

impl PluginSettings {
    /// Neither.
    pub(crate) const fn nothing() -> Self {
        Self { config: BTreeMap::new(), secrets: BTreeMap::new() }
    }

    /// What `hello` and `Hello` say: the capabilities offered, the largest message, and these.
    pub(crate) fn hello(&self, offered: Caps, max_message: usize) -> Json {
        let mut document = json!({
            "engine": concat!("thalweg/", env!("CARGO_PKG_VERSION")),
            "proto": PROTOCOL,
            "caps": offered.names(),
            "maxMessage": max_message,
        });
        if !self.config.is_empty() {
            document["config"] = json!(self.config);
        }
        if !self.secrets.is_empty() {
            document["secrets"] = json!(self.secrets);
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_of_a_control_channel_names_what_the_process_has() {
        let greeting = Greeting::parse(
            br#"handshake {"thalweg":1,"sdk":"thalweg-python/0.1.0","pid":7,"caps":["batch","credit","magic"],
                "plugin":"p","symbols":{"sources":["s"],"sinks":{"k":{"rows":true},"l":{}},"functions":["f"]},"x":1}"#,
        );
        assert_eq!(greeting.sdk, "thalweg-python/0.1.0");
        assert_eq!(greeting.caps, Caps::of(&[Cap::Batch, Cap::Credit]));
        assert_eq!(greeting.plugin.as_deref(), Some("p"));
        assert_eq!(
            (greeting.symbols.sources, greeting.symbols.functions),
            (vec!["s".to_owned()], vec!["f".to_owned()])
        );
        let sinks: Vec<_> =
            greeting.symbols.sinks.into_iter().map(|(name, sink)| (name, sink.rows)).collect();
        assert_eq!(sinks, [("k".to_owned(), true), ("l".to_owned(), false)]);
    }

    #[test]
    fn the_greeting_of_a_function_says_how_it_is_called() {
        let greeting = Greeting::parse(
            br#"handshake {"thalweg":1,"sdk":"s","caps":["cols","acc"],"fn":"pyavg","agg":true,"args":[1,null],
                "vector":"numpy","parallel":true,"types":{"args":["f64",null],"result":"f64"},"usage":"pyavg(x)",
                "stateful":true,"acc":["add","merge"]}"#,
        );
        let function = greeting.function;
        assert_eq!((function.name.as_str(), function.is_aggregate), ("pyavg", Some(true)));
        assert_eq!(function.args, Some((1, None)));
        assert_eq!(function.arg_types, [Some("f64".to_owned()), None]);
        assert_eq!(
            (function.result_type.as_deref(), function.vector.as_deref()),
            (Some("f64"), Some("numpy"))
        );
        assert!(function.is_parallel && function.is_stateful);
        assert_eq!(function.acc, AccTraits { add: true, retract: false, merge: true });
    }

    #[test]
    fn peers_of_old_and_hostile_ones_have_said_nothing() {
        let deep = format!("handshake {}{}", "[".repeat(100_000), "]".repeat(100_000));
        let long = format!(r#"handshake {{"thalweg":1,"caps":["batch"],"x":"{}"}}"#, "x".repeat(LONGEST));
        for message in [
            "handshake",
            "hello",
            "",
            "handshake {",
            "handshake []",
            "handshake {\"caps\":[\"batch\"]}",
            "handshake {\"thalweg\":\"1\",\"caps\":[\"batch\"]}",
            "handshake {\"thalweg\":-1,\"caps\":[\"batch\"]}",
            &deep,
            &long,
        ] {
            assert_eq!(Greeting::parse(message.as_bytes()), Greeting::default(), "{:.40}", message);
        }
        assert_eq!(Greeting::parse(b"handshake \xff"), Greeting::default());
    }

    #[test]
    fn keys_of_the_wrong_shape_are_as_if_they_were_not_there() {
        let greeting = Greeting::parse(
            br#"handshake {"thalweg":9,"sdk":[],"caps":{"batch":1},"plugin":3,"symbols":[1],"fn":{},"agg":"yes",
                "args":[2,1],"types":5,"acc":"add","stateful":1,"parallel":null,"vector":false,"usage":[]}"#,
        );
        assert_eq!(greeting, Greeting::default());
        let odd = br#"handshake {"thalweg":1,"caps":["ping",4,null,["cols"]],"args":[-1,2],
                      "symbols":{"sources":"s","sinks":[1],"functions":[1,"f"]}}"#;
        let greeting = Greeting::parse(odd);
        assert_eq!(greeting.caps.names(), ["ping"]);
        assert_eq!(greeting.function.args, None);
        assert_eq!(greeting.symbols, Symbols { functions: vec!["f".to_owned()], ..Symbols::default() });
    }

    #[test]
    fn hello_offers_by_name_and_secrets_stay_out_of_logs() {
        let mut settings = PluginSettings::default();
        let hello = settings.hello(Caps::of(&[Cap::Shutdown, Cap::Ping]), 1024);
        assert_eq!(hello["caps"], json!(["ping", "shutdown"]));
        assert_eq!((&hello["proto"], &hello["maxMessage"]), (&json!(1), &json!(1024)));
        assert!(hello.get("config").is_none() && hello.get("secrets").is_none());
        settings.config.insert("level".to_owned(), json!(3));
        settings.secrets.insert("token".to_owned(), "hunter2".to_owned());
        let hello = settings.hello(Caps::default(), 1);
        assert_eq!((&hello["config"]["level"], &hello["secrets"]["token"]), (&json!(3), &json!("hunter2")));
        let text = format!("{settings:?}");
        assert!(text.contains("***") && !text.contains("hunter2"), "{text}");
    }
}
