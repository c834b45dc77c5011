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
    about: Option<About>,
    interfaces: BTreeMap<String, InterfaceInfo>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct About {
    author: Option<Author>,
    help_url: Option<Language>,
    description: Option<Language>,
}

#[derive(Debug, Clone, Serialize)]
struct Author {
    name: Json,
    email: Json,
    company: Json,
    website: Json,
}

#[derive(Debug, Clone, Serialize)]
struct Language {
    #[serde(rename = "en_US")]
    english: Json,
    #[serde(rename = "zh_CN")]
    chinese: Json,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
struct InterfaceInfo {
    desc: Option<Language>,
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
                functions: interface.functions.clone(),
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

/// A member, or an empty text where nothing is written.
fn text(props: &Props, name: &str) -> Json {
    props.get(name).cloned().unwrap_or_else(|| Json::from(""))
}

fn language(props: Option<&Props>) -> Option<Language> {
    let props = props?;
    Some(Language { english: text(props, "en_US"), chinese: text(props, "zh_CN") })
}

fn about(props: Option<&Props>) -> Option<About> {
    let props = props?;
    let member = |name: &str| props.get(name).and_then(Json::as_object).cloned().map(Props::from);
    let author = |props: Props| Author {
        name: text(&props, "name"),
        email: text(&props, "email"),
        company: text(&props, "company"),
        website: text(&props, "website"),
    };
    Some(About {
        author: member("author").map(author),
        help_url: language(member("helpUrl").as_ref()),
        description: language(member("description").as_ref()),
    })
}
