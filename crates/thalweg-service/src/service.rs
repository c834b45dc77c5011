//! An installed service, and how REST shows it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value as Json};
use thalweg_core::Props;

use crate::ServiceConfig;
use crate::definition::Definition;
use crate::interface::Interface;
use crate::resolver::Resolver;

/// A service with its interfaces open.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    about: Option<Props>,
    pub(crate) interfaces: BTreeMap<String, Interface>,
}

/// A service as `GET /services/{name}` shows it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ServiceInfo {
    about: Json,
    interfaces: BTreeMap<String, InterfaceInfo>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InterfaceInfo {
    desc: Json,
    addr: String,
    protocol: &'static str,
    schema: SchemaInfo,
    functions: Vec<String>,
    options: Option<Map<String, Json>>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SchemaInfo {
    schema_type: &'static str,
    schema_file: String,
    schemaless: bool,
}

/// A function as `GET /services/functions/{name}` shows it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct FunctionInfo {
    /// Its name in SQL.
    pub func_name: String,
    /// The service that it belongs to.
    pub service_name: String,
    /// The interface of that service.
    pub interface_name: String,
    /// Where it is called.
    pub addr: String,
    /// The rpc that it stands for.
    pub method_name: String,
}

impl Service {
    /// Compiles and opens all of it.
    pub(crate) fn open(
        name: &str,
        text: &[u8],
        resolver: &Resolver,
        config: &ServiceConfig,
    ) -> Result<Self, String> {
        let definition = Definition::parse(text)
            .map_err(|why| format!("parse services file {name}.json failed: {why}"))?;
        let interfaces = Interface::open_all(name, &definition, resolver, config)?;
        let service = Self { name: name.to_owned(), about: definition.about, interfaces };
        let mut owners = BTreeMap::new();
        for (interface, opened) in &service.interfaces {
            for function in opened.methods().keys() {
                if let Some(other) = owners.insert(function, interface) {
                    return Err(format!(
                        "function {function} is defined by interfaces {other} and {interface}; give one another name in \"functions\""
                    ));
                }
            }
        }
        Ok(service)
    }

    /// The schema files that it is made of.
    pub(crate) fn schema_files(&self) -> BTreeSet<&str> {
        self.interfaces
            .values()
            .flat_map(|interface| interface.schema_files.iter().map(String::as_str))
            .collect()
    }

    /// Its functions.
    pub(crate) fn functions(&self) -> impl Iterator<Item = FunctionInfo> {
        self.interfaces.iter().flat_map(|(name, interface)| {
            interface.methods().iter().map(|(function, method)| FunctionInfo {
                func_name: function.clone(),
                service_name: self.name.clone(),
                interface_name: name.clone(),
                addr: interface.described.address.text.clone(),
                method_name: method.name.clone(),
            })
        })
    }

    pub(crate) fn info(&self) -> ServiceInfo {
        let interface = |(name, interface): (&String, &Interface)| {
            let described = &interface.described;
            let info = InterfaceInfo {
                desc: language(described.description.as_ref()),
                addr: described.address.text.clone(),
                protocol: described.protocol.name(),
                schema: SchemaInfo {
                    schema_type: if described.schema_file.is_some() { "protobuf" } else { "" },
                    schema_file: described.schema_file.clone().unwrap_or_default(),
                    schemaless: described.schema_file.is_none(),
                },
                functions: interface.methods().keys().cloned().collect(),
                options: described.options.clone(),
            };
            (name.clone(), info)
        };
        ServiceInfo {
            about: about(self.about.as_ref()),
            interfaces: self.interfaces.iter().map(interface).collect(),
        }
    }
}

/// The members that upstream knows, in its order, with empty texts where nothing is written.
fn fixed(props: Option<&Props>, names: &[&str]) -> Json {
    let Some(props) = props else { return Json::Null };
    let text = |name: &&str| props.get(name).cloned().unwrap_or_else(|| Json::from(""));
    Json::Object(names.iter().map(|name| ((*name).to_owned(), text(name))).collect())
}

fn language(props: Option<&Props>) -> Json {
    fixed(props, &["en_US", "zh_CN"])
}

fn about(props: Option<&Props>) -> Json {
    let Some(props) = props else { return Json::Null };
    let member = |name: &str| props.get(name).and_then(Json::as_object).cloned().map(Props::from);
    let mut about = Map::new();
    about.insert(
        "author".to_owned(),
        fixed(member("author").as_ref(), &["name", "email", "company", "website"]),
    );
    about.insert("helpUrl".to_owned(), language(member("helpUrl").as_ref()));
    about.insert("description".to_owned(), language(member("description").as_ref()));
    Json::Object(about)
}
