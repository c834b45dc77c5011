//! The JSON file of a service: who made it, and its interfaces with address, protocol and schema.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};
use thalweg_core::Props;

use crate::address::Address;

/// How an interface is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Rest,
    Grpc,
    MsgpackRpc,
}

impl Protocol {
    /// As files and REST name it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rest => "rest",
            Self::Grpc => "grpc",
            Self::MsgpackRpc => "msgpack-rpc",
        }
    }

    fn schemes(self) -> &'static [&'static str] {
        match self {
            Self::Rest => &["http", "https"],
            Self::Grpc => &["tcp", "grpc", "http"],
            Self::MsgpackRpc => &["tcp"],
        }
    }
}

/// A service as its file describes it.
#[derive(Debug, Clone)]
pub(crate) struct Definition {
    /// Kept as written, for those who ask.
    pub(crate) about: Option<Props>,
    pub(crate) interfaces: BTreeMap<String, Interface>,
}

/// One interface.
#[derive(Debug, Clone)]
pub(crate) struct Interface {
    pub(crate) description: Option<Props>,
    pub(crate) address: Address,
    pub(crate) protocol: Protocol,
    /// The file below `schemas`; absent when the interface has no schema.
    pub(crate) schema_file: Option<String>,
    /// Function names by the rpc they stand for.
    pub(crate) aliases: BTreeMap<String, String>,
    pub(crate) options: Option<Map<String, Json>>,
}

impl Definition {
    /// Reads the file.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, String> {
        let document: Json = serde_json::from_slice(text).map_err(|why| why.to_string())?;
        let document = object(document, "the file")?.unwrap_or_default();
        let about = member_object(&document, "about")?;
        let written = member_object(&document, "interfaces")?.unwrap_or_default();
        let mut interfaces = BTreeMap::new();
        for (name, interface) in written.iter() {
            let parsed = object(interface.clone(), "it")
                .and_then(|props| Interface::parse(&props.unwrap_or_default()))
                .map_err(|why| format!("interface {name}: {why}"))?;
            interfaces.insert(name.to_owned(), parsed);
        }
        if interfaces.is_empty() {
            return Err("it has no \"interfaces\"".to_owned());
        }
        Ok(Self { about, interfaces })
    }
}

impl Interface {
    fn parse(props: &Props) -> Result<Self, String> {
        let text = |name| props.text(name).map(Option::unwrap_or_default).map_err(|why| why.message);
        let protocol = match text("protocol")? {
            "rest" => Protocol::Rest,
            "grpc" => Protocol::Grpc,
            "msgpack-rpc" => Protocol::MsgpackRpc,
            other => return Err(format!("unsupported protocol {other}; use rest, grpc or msgpack-rpc")),
        };
        let mut address = Address::parse(text("address")?)?;
        if !protocol.schemes().contains(&&*address.scheme) {
            let (schemes, name) = (protocol.schemes().join(" or "), protocol.name());
            return Err(format!("invalid address {:?}: protocol {name} wants {schemes}", address.text));
        }
        if protocol != Protocol::Rest {
            address = address.with_port()?;
        }
        let is_schemaless = props.bool("schemaless").map_err(|why| why.message)?.unwrap_or_default();
        let schema_file = schema_file(text("schemaType")?, text("schemaFile")?, is_schemaless)?;
        if is_schemaless && protocol != Protocol::Rest {
            return Err(format!("protocol {} needs a schema; only rest works without one", protocol.name()));
        }
        Ok(Self {
            description: member_object(props, "description")?,
            address,
            protocol,
            schema_file,
            aliases: aliases(props)?,
            options: member_object(props, "options")?.map(|options| members(&options)),
        })
    }
}

fn schema_file(kind: &str, file: &str, is_schemaless: bool) -> Result<Option<String>, String> {
    match (kind, is_schemaless) {
        ("", true) if file.is_empty() => Ok(None),
        ("", true) => Err("schemaless type does not support schema files".to_owned()),
        ("protobuf", false) if file.is_empty() => Err("property \"schemaFile\" is missing".to_owned()),
        ("protobuf", false) => Ok(Some(file.to_owned())),
        ("protobuf", true) => Err(format!("unsupported schema {kind} for schemaless type")),
        _ => Err(format!(
            "unsupported schema {kind:?}; set \"schemaType\" to \"protobuf\", or \"schemaless\" to true"
        )),
    }
}

/// The list `functions`.
fn aliases(props: &Props) -> Result<BTreeMap<String, String>, String> {
    let mut aliases = BTreeMap::new();
    let list = match props.get("functions") {
        None | Some(Json::Null) => return Ok(aliases),
        Some(Json::Array(list)) => list,
        Some(other) => return Err(format!("property \"functions\" must be a list, not {other}")),
    };
    for mapping in list {
        let mapping = object(mapping.clone(), "an entry of \"functions\"")?.unwrap_or_default();
        let field = |name| match mapping.text(name).map_err(|why| why.message)? {
            Some(text) if !text.is_empty() => Ok(text.to_owned()),
            _ => Err(format!("an entry of \"functions\" has no \"{name}\"")),
        };
        aliases.insert(field("serviceName")?, field("name")?);
    }
    Ok(aliases)
}

fn object(json: Json, what: &str) -> Result<Option<Props>, String> {
    match json {
        Json::Null => Ok(None),
        Json::Object(members) => Ok(Some(Props::from(members))),
        other => Err(format!("{what} must be an object, not {other}")),
    }
}

fn member_object(props: &Props, name: &str) -> Result<Option<Props>, String> {
    match props.get(name) {
        None => Ok(None),
        Some(json) => object(json.clone(), &format!("property \"{name}\"")),
    }
}

fn members(props: &Props) -> Map<String, Json> {
    props.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(interface: &str) -> Result<Definition, String> {
        Definition::parse(format!(r#"{{"interfaces":{{"i":{interface}}}}}"#).as_bytes())
    }

    #[test]
    fn keys_match_in_any_case_and_rpcs_get_other_names() {
        let definition = with(
            r#"{"Address":"tcp://h:1","protocol":"grpc","schemaType":"protobuf","schemafile":"a.proto",
                "functions":[{"name":"f","serviceName":"F"}]}"#,
        );
        let interface = &definition.unwrap().interfaces["i"];
        assert_eq!(interface.schema_file.as_deref(), Some("a.proto"));
        assert_eq!(interface.aliases["F"], "f");
    }

    #[test]
    fn what_cannot_work_is_refused_with_the_interface() {
        for (interface, part) in [
            (r#"{"protocol":"soap"}"#, "interface i: unsupported protocol soap"),
            (r#"{"protocol":"rest"}"#, "invalid address \"\""),
            (r#"{"protocol":"rest","address":"tcp://a:1"}"#, "protocol rest wants http or https"),
            (r#"{"protocol":"grpc","address":"tcp://a"}"#, "the port is missing"),
            (r#"{"protocol":"rest","address":"http://a"}"#, "unsupported schema \"\""),
            (
                r#"{"protocol":"rest","address":"http://a","schemaType":"avro"}"#,
                "unsupported schema \"avro\"",
            ),
            (
                r#"{"protocol":"rest","address":"http://a","schemaType":"protobuf"}"#,
                "\"schemaFile\" is missing",
            ),
            (
                r#"{"protocol":"rest","address":"http://a","schemaless":true,"schemaFile":"x"}"#,
                "schemaless type does not support schema files",
            ),
            (r#"{"protocol":"grpc","address":"tcp://a:1","schemaless":true}"#, "grpc needs a schema"),
            (r#"{"protocol":5}"#, "property \"protocol\" must be a string, not 5"),
            (
                r#"{"protocol":"rest","address":"http://a","schemaless":true,"functions":[{"name":"f"}]}"#,
                "has no \"serviceName\"",
            ),
            ("7", "must be an object, not 7"),
        ] {
            let error = with(interface).unwrap_err();
            assert!(error.contains(part), "{interface}: {error}");
        }
        assert!(Definition::parse(b"{\"interfaces\":").unwrap_err().contains("line 1"));
        assert_eq!(Definition::parse(b"{}").unwrap_err(), "it has no \"interfaces\"");
    }
}
