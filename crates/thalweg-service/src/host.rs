//! The catalog of services: installing, updating, deleting, and finding their functions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use thalweg_core::{Diagnostic, ErrorCode, Value};
use thalweg_expr::function::RemoteFunction;
use thalweg_expr::registry::RemoteFunctions;
use thalweg_fetch::Fetch;
use tracing::{error, info};

use crate::ServiceConfig;
use crate::archive::Package;
use crate::error::ServiceError;
use crate::folder::{Folder, Record};
use crate::function::ServiceFunction;
use crate::interface::Method;
use crate::resolver::Resolver;
use crate::service::{FunctionInfo, Service, ServiceInfo};

/// What POST and PUT ask for.
#[derive(Debug, Clone, Default)]
pub struct InstallRequest {
    /// The service's name, already checked to be an id.
    pub name: String,
    /// The url of its zip.
    pub file: String,
}

/// All services.
#[derive(Debug)]
pub struct ServiceHost {
    config: ServiceConfig,
    folder: Folder,
    catalog: Arc<Catalog>,
    /// Held by whoever changes the catalog.
    changing: Mutex<()>,
}

/// What there is now; readers never wait.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    entries: ArcSwap<Entries>,
}

#[derive(Debug, Default, Clone)]
struct Entries {
    services: BTreeMap<String, Arc<Service>>,
    /// Each function with its service and interface.
    functions: BTreeMap<String, FunctionInfo>,
}

impl Entries {
    fn of(services: BTreeMap<String, Arc<Service>>) -> Self {
        let functions = services.values().flat_map(|service| service.functions());
        let functions = functions.map(|function| (function.func_name.clone(), function)).collect();
        Self { services, functions }
    }

    /// A function that another service has as well.
    fn clash(&self, service: &Service) -> Option<String> {
        service.functions().find_map(|function| {
            let owner = self.functions.get(&function.func_name)?;
            (owner.service_name != service.name).then(|| {
                let (name, owner) = (&function.func_name, &owner.service_name);
                format!("function {name} is already defined by service {owner}; give it another name in \"functions\"")
            })
        })
    }
}

impl Catalog {
    /// Calls a function once for each of these lists of arguments.
    pub(crate) fn call(&self, name: &str, rows: &[Vec<Value>]) -> Vec<Result<Value, String>> {
        let entries = self.entries.load_full();
        let found = entries.functions.get(name).and_then(|function| {
            entries.services.get(&function.service_name)?.interfaces.get(&function.interface_name)
        });
        match found {
            Some(interface) => interface.call(name, rows),
            None => rows.iter().map(|_| Err("no service offers it any more".to_owned())).collect(),
        }
    }
}

impl ServiceHost {
    /// Loads what lies in `data/services`. What is wrong there is logged, and left out.
    pub fn open(config: ServiceConfig) -> Arc<Self> {
        let folder = Folder::new(&config);
        let mut entries = Entries::default();
        for (name, text) in folder.definitions() {
            let resolver = resolver(&folder, &config, BTreeMap::new());
            let opened = text
                .map_err(|why| why.to_string())
                .and_then(|text| Service::open(&name, &text, &resolver, &config))
                .and_then(|service| entries.clash(&service).map_or(Ok(service), Err));
            match opened {
                Ok(service) => {
                    entries.services.insert(name, Arc::new(service));
                    entries = Entries::of(entries.services);
                }
                Err(why) => error!(service = %name, "the service is not available: {why}"),
            }
        }
        let catalog = Arc::new(Catalog { entries: ArcSwap::from_pointee(entries) });
        Arc::new(Self { config, folder, catalog, changing: Mutex::default() })
    }

    fn entries(&self) -> Arc<Entries> {
        self.catalog.entries.load_full()
    }

    /// The names of all services.
    pub fn list(&self) -> Vec<String> {
        self.entries().services.keys().cloned().collect()
    }

    /// One service.
    pub fn describe(&self, name: &str) -> Option<ServiceInfo> {
        Some(self.entries().services.get(name)?.info())
    }

    /// All functions.
    pub fn functions(&self) -> Vec<FunctionInfo> {
        self.entries().functions.values().cloned().collect()
    }

    /// One function.
    pub fn function(&self, name: &str) -> Option<FunctionInfo> {
        self.entries().functions.get(name).cloned()
    }

    /// The requests by which services were installed, as JSON texts by name (for export).
    pub fn installed(&self) -> BTreeMap<String, String> {
        let records = self.list().into_iter().filter_map(|name| {
            let record = self.folder.record(&name)?;
            Some((name, serde_json::json!({ "name": record.name, "file": record.file }).to_string()))
        });
        records.collect()
    }

    /// Installs a new service.
    ///
    /// # Errors
    /// The name is taken, or the package cannot be had or used; then nothing has changed.
    pub fn install(&self, request: &InstallRequest) -> Result<(), ServiceError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.entries().services.contains_key(&request.name) {
            return Err(ServiceError::Refused(format!("service {} exist", request.name)));
        }
        self.put(request)
    }

    /// Replaces a service; rules that use it go on with the new one.
    ///
    /// # Errors
    /// There is none, or the package cannot be had or used; then the old one stays.
    pub fn update(&self, request: &InstallRequest) -> Result<(), ServiceError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.entries().services.contains_key(&request.name) {
            return Err(ServiceError::NotFound(request.name.clone()));
        }
        self.put(request)
    }

    fn put(&self, request: &InstallRequest) -> Result<(), ServiceError> {
        let service = self.prepare(request).map_err(ServiceError::Refused)?;
        let mut services = self.entries().services.clone();
        info!(service = %request.name, "the service is installed");
        services.insert(request.name.clone(), Arc::new(service));
        self.catalog.entries.store(Arc::new(Entries::of(services)));
        Ok(())
    }

    /// Everything that can fail: fetch, unpack, compile, check, write.
    fn prepare(&self, request: &InstallRequest) -> Result<Service, String> {
        let InstallRequest { name, file } = request;
        if !is_url(file) {
            return Err(format!("invalid file path {file}"));
        }
        let zip = self.folder.fetched(name).map_err(|why| why.to_string())?;
        let package = fetch(&self.config)
            .download(file, &zip)
            .map_err(|why| format!("fail to download file {file}: {why}"))
            .and_then(|()| Package::read(&zip, name));
        // It is made anew by the next installation.
        let _ = std::fs::remove_file(&zip);
        let package = package?;
        let resolver = resolver(&self.folder, &self.config, package.schemas.clone());
        let service = Service::open(name, &package.definition, &resolver, &self.config)?;
        let entries = self.entries();
        if let Some(why) = entries.clash(&service) {
            return Err(why);
        }
        for (schema, content) in &package.schemas {
            let has_other = self.folder.schema(schema).is_some_and(|there| there != *content);
            if has_other && let Some(user) = user_of(&entries, schema, name) {
                return Err(format!(
                    "schemas/{schema} differs from the one that service {user} uses; rename it"
                ));
            }
        }
        let schemas = package.schemas.keys().cloned().collect();
        let record = Record { name: name.clone(), file: file.clone(), schemas };
        self.folder.write(&record, &package)?;
        Ok(service)
    }

    /// Deletes a service. Rules that use it get an error for each row until it is there again.
    ///
    /// # Errors
    /// There is none, or its file cannot be removed.
    pub fn delete(&self, name: &str) -> Result<(), ServiceError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let entries = self.entries();
        if !entries.services.contains_key(name) {
            return Err(ServiceError::NotFound(name.to_owned()));
        }
        let removed = self.folder.remove(name, |schema| user_of(&entries, schema, name).is_some());
        removed.map_err(|why| ServiceError::Refused(format!("cannot remove its file: {why}")))?;
        let mut services = entries.services.clone();
        services.remove(name);
        self.catalog.entries.store(Arc::new(Entries::of(services)));
        info!(service = %name, "the service is deleted");
        Ok(())
    }
}

fn resolver(folder: &Folder, config: &ServiceConfig, packed: BTreeMap<String, Vec<u8>>) -> Resolver {
    let folders = vec![folder.schemas(), config.etc_dir.join("services/schemas")];
    Resolver { packed: Arc::new(packed), folders }
}

/// Another service that uses this schema.
fn user_of<'a>(entries: &'a Entries, schema: &str, but: &str) -> Option<&'a str> {
    let others = entries.services.values().filter(|service| service.name != but);
    others.map(Arc::as_ref).find(|service| service.schema_files().contains(schema)).map(|user| &*user.name)
}

impl RemoteFunctions for ServiceHost {
    fn resolve(&self, name: &str) -> Result<Option<Arc<dyn RemoteFunction>>, Diagnostic> {
        let entries = self.entries();
        let Some(function) = entries.functions.get(name) else { return Ok(None) };
        let service = entries.services.get(&function.service_name);
        let interface = service.and_then(|service| service.interfaces.get(&function.interface_name));
        let method = interface.and_then(|interface| interface.methods().get(name));
        if let Some(why) = method.and_then(Method::refusal) {
            return Err(Diagnostic::new(ErrorCode::Executor, format!("function {name}: {why}")));
        }
        Ok(Some(Arc::new(ServiceFunction {
            catalog: Arc::clone(&self.catalog),
            name: name.to_owned(),
            host: format!("service-{}", function.service_name),
            only_reads: method.is_some_and(Method::only_reads),
        })))
    }

    fn names(&self) -> Vec<String> {
        self.entries().functions.keys().cloned().collect()
    }
}
/// The largest package.
const LARGEST: u64 = 64 << 20;

/// Where packages may come from.
pub(crate) fn fetch(config: &ServiceConfig) -> Fetch {
    Fetch {
        uploads: config.data_dir.join("uploads"),
        allow_external_files: config.allow_external_files,
        allow_private_net: config.allow_private_net,
        largest: Some(LARGEST),
    }
}

/// Whether an url can name a file at all.
pub(crate) fn is_url(url: &str) -> bool {
    match url.split_once("://") {
        Some(("http" | "https", rest)) => !rest.is_empty() && !rest.starts_with('/'),
        Some(("file", path)) => path.starts_with('/') && path.len() > 1,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_told_from_paths() {
        for good in ["http://x/a.zip", "https://x", "file:///tmp/a.zip"] {
            assert!(is_url(good), "{good}");
        }
        for bad in ["", "a.zip", "ftp://x/a.zip", "http://", "file://a", "file:///", "http:///x"] {
            assert!(!is_url(bad), "{bad}");
        }
    }
}
