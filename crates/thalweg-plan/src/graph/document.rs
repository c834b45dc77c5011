//! The `graph` of a rule document as written (rules.md 6.1): nodes, and how they are wired.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value as Json;
use thalweg_core::diagnostic::nearest;
use thalweg_core::{Diagnostic, Props};

use super::operator::Operator;

/// A graph.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The nodes by name.
    pub nodes: BTreeMap<Arc<str>, Node>,
    /// `topo.sources`.
    pub sources: Vec<Arc<str>>,
    /// `topo.edges`: for each node the nodes behind each of its outlets. All but a switch have one outlet.
    pub edges: Edges,
}

/// For each node the nodes behind each of its outlets.
pub type Edges = BTreeMap<Arc<str>, Vec<Vec<Arc<str>>>>;

/// A node of a graph.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Where rows come from.
    Source(Source),
    /// What is done with them.
    Operator(Operator),
    /// Where results go.
    Sink {
        /// The sink type.
        kind: String,
        /// Its properties.
        props: Props,
    },
}

/// A source node (R6.1).
#[derive(Debug, Clone, PartialEq)]
pub enum Source {
    /// A stream of the graph's own.
    Inline {
        /// The source type.
        kind: String,
        /// Its stream options, by their names in JSON.
        props: Props,
    },
    /// A stream or table that exists.
    Named {
        /// The source type, which must be the stream's.
        kind: String,
        /// Its name.
        name: Arc<str>,
        /// Whether it is a table.
        is_table: bool,
    },
}

impl Graph {
    /// Reads the value of `graph`.
    ///
    /// # Errors
    /// All mistakes of its nodes, else the first of its topology.
    pub fn read(value: &Json) -> Result<Self, Vec<Diagnostic>> {
        let whole = object(value, "graph").map_err(|why| vec![why])?;
        let nodes = section(&whole, "nodes").map_err(|why| vec![why])?;
        let (mut read, mut mistakes) = (BTreeMap::new(), Vec::new());
        for (name, node) in nodes.iter() {
            match Node::read(name, node) {
                Ok(node) => drop(read.insert(Arc::from(name), node)),
                Err(why) => mistakes.extend(why),
            }
        }
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let topology = section(&whole, "topo").map_err(|why| vec![why])?;
        let (sources, edges) = (sources(&topology), edges(&topology));
        Ok(Self {
            nodes: read,
            sources: sources.map_err(|why| vec![why])?,
            edges: edges.map_err(|why| vec![why])?,
        })
    }

    /// The source nodes by name.
    pub fn source_nodes(&self) -> impl Iterator<Item = (&Arc<str>, &Source)> {
        self.nodes.iter().filter_map(|(name, node)| match node {
            Node::Source(source) => Some((name, source)),
            _ => None,
        })
    }

    /// The sinks by name, with type and properties.
    pub fn sinks(&self) -> impl Iterator<Item = (&Arc<str>, &str, &Props)> {
        self.nodes.iter().filter_map(|(name, node)| match node {
            Node::Sink { kind, props } => Some((name, kind.as_str(), props)),
            _ => None,
        })
    }
}

impl Source {
    /// The name under which expressions know its rows: the stream's, or the node's own.
    pub fn emitter<'a>(&'a self, node: &'a Arc<str>) -> &'a Arc<str> {
        match self {
            Self::Inline { .. } => node,
            Self::Named { name, .. } => name,
        }
    }

    fn read(node: &str, kind: String, props: Props) -> Result<Self, Diagnostic> {
        let refuse = |why: Diagnostic| Diagnostic {
            message: format!("parse source {node} error: {}", why.message),
            ..why
        };
        let text = |name: &str| props.text(name).map(|text| text.unwrap_or_default().to_owned());
        let (word, name) = (text("sourceType").map_err(refuse)?, text("sourceName").map_err(refuse)?);
        let is_table = match word.as_str() {
            "" | "stream" => false,
            "table" => true,
            other => {
                let mistake = Diagnostic::plain(format!("source type {other} not supported"));
                return Err(refuse(mistake.help("sourceType is stream or table")));
            }
        };
        if !name.is_empty() {
            let kind = if kind.is_empty() { "mqtt".to_owned() } else { kind };
            return Ok(Self::Named { kind, name: Arc::from(name), is_table });
        }
        if is_table {
            let mistake = Diagnostic::plain("a table needs property sourceName");
            return Err(refuse(mistake.help("tables are made with CREATE TABLE and named here")));
        }
        Ok(Self::Inline { kind, props })
    }
}

impl Node {
    fn read(name: &str, node: &Json) -> Result<Self, Vec<Diagnostic>> {
        let place = |why: Diagnostic| {
            let at = format!("at /graph/nodes/{name}");
            let help = why.help.clone().map_or(at.clone(), |help| match help.strip_prefix("at props/") {
                Some(rest) => format!("{at}/props/{rest}"),
                None => format!("{at}; {help}"),
            });
            why.help(help)
        };
        let one = |why: Diagnostic| vec![place(why)];
        let node = object(node, &format!("node {name}")).map_err(one)?;
        let text = |field| node.text(field).map(|text| text.unwrap_or_default().to_owned()).map_err(one);
        let (role, kind) = (text("type")?, text("nodeType")?);
        let props = match node.get("props") {
            None | Some(Json::Null) => Props::new(),
            Some(props) => object(props, &format!("props of node {name}")).map_err(one)?,
        };
        match role.as_str() {
            "source" => Source::read(name, kind, props).map(Self::Source).map_err(one),
            "sink" => Ok(Self::Sink { kind, props }),
            "operator" => Operator::read(name, &kind, &props)
                .map(Self::Operator)
                .map_err(|all| all.into_iter().map(place).collect()),
            other => {
                let mistake = Diagnostic::plain(format!("unknown node type {other}"));
                let near = nearest(other, ["source", "operator", "sink"]);
                let help = near.map(|near| format!("did you mean {near}?"));
                let help = help.unwrap_or_else(|| "a node is a source, an operator or a sink".to_owned());
                Err(one(mistake.help(help)))
            }
        }
    }
}

fn object(value: &Json, what: &str) -> Result<Props, Diagnostic> {
    match value {
        Json::Object(members) => Ok(Props::from(members.clone())),
        other => Err(Diagnostic::plain(format!("{what} must be an object, not {other}"))),
    }
}

fn section(graph: &Props, name: &str) -> Result<Props, Diagnostic> {
    let example = r#"write "graph": {"nodes": {…}, "topo": {"sources": […], "edges": {…}}}"#;
    match graph.get(name) {
        None | Some(Json::Null) => Err(Diagnostic::plain(format!("the graph has no {name}")).help(example)),
        Some(value) => object(value, &format!("{name} of the graph")),
    }
}

fn sources(topology: &Props) -> Result<Vec<Arc<str>>, Diagnostic> {
    match topology.get("sources") {
        Some(Json::Array(names)) => names.iter().map(|name| node_name(name, "sources")).collect(),
        None | Some(Json::Null) => Ok(Vec::new()),
        Some(other) => Err(Diagnostic::plain(format!("sources must be a list of names, not {other}"))
            .help("at /graph/topo/sources")),
    }
}

fn node_name(name: &Json, place: &str) -> Result<Arc<str>, Diagnostic> {
    let wrong = || Diagnostic::plain(format!("{name} is no name of a node"));
    name.as_str().map(Arc::from).ok_or_else(|| wrong().help(format!("at /graph/topo/{place}")))
}

fn edges(topology: &Props) -> Result<Edges, Diagnostic> {
    let all = match topology.get("edges") {
        None | Some(Json::Null) => return Ok(BTreeMap::new()),
        Some(edges) => object(edges, "edges")?,
    };
    let mut read = BTreeMap::new();
    for (from, to) in all.iter() {
        let place = format!("edges/{from}");
        let Json::Array(to) = to else {
            let mistake = Diagnostic::plain(format!("the edges of {from} must be a list of names, not {to}"));
            return Err(mistake.help(format!("at /graph/topo/{place}")));
        };
        let mut outlets: Vec<Vec<Arc<str>>> = vec![Vec::new()];
        for (at, to) in to.iter().enumerate() {
            match to {
                Json::Array(names) => {
                    outlets.resize(outlets.len().max(at + 1), Vec::new());
                    for name in names {
                        outlets[at].push(node_name(name, &place)?);
                    }
                }
                name => outlets[0].push(node_name(name, &place)?),
            }
        }
        read.insert(Arc::from(from), outlets);
    }
    Ok(read)
}
