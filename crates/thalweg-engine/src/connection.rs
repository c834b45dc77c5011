//! Named connections: stored, opened at start, shared by sources and sinks (N6.1 to N6.3).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};

use serde_json::{Map, Value as Json, json};
use thalweg_core::connector::{BuildCx, Connection, ConnectionStatus, Spawner};
use thalweg_core::registry::{Registry, Shared};
use thalweg_core::{Clock, ErrorCode, Props};
use tokio::sync::Mutex;
use tracing::error;

use crate::document::Document;
use crate::error::EngineError;
use crate::id::check_id;
use crate::rule::blocking;
use crate::store::{Change, Store, Table};

/// What connectors need to be built.
#[derive(Clone)]
pub struct Surroundings {
    /// Connectors and formats.
    pub registry: Arc<Registry>,
    /// What connectors share.
    pub shared: Arc<Shared>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Relative paths start here.
    pub home: PathBuf,
    /// Runs background tasks.
    pub spawner: Arc<dyn Spawner>,
}

impl Surroundings {
    /// What a connection looks at when it is built.
    pub(crate) fn for_connection(&self, id: &str, props: Props) -> BuildCx {
        BuildCx {
            props,
            rule: Arc::from("$$connection"),
            node: Arc::from(id),
            connection: None,
            shared: Arc::clone(&self.shared),
            clock: Arc::clone(&self.clock),
            home: self.home.clone(),
            session: None,
            part: None,
            spawner: Arc::clone(&self.spawner),
        }
    }
}

/// A connection as defined.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionDef {
    /// Its type, lower case.
    pub kind: String,
    /// Its properties.
    pub props: Props,
}

struct Named {
    def: ConnectionDef,
    connection: Arc<dyn Connection>,
}

/// The named connections of an engine.
pub struct Connections {
    pub(crate) around: Surroundings,
    store: Arc<dyn Store>,
    named: RwLock<BTreeMap<String, Named>>,
    /// Held by whoever changes one, so that those who ask at once for the same id come one after the other.
    writing: Mutex<()>,
}

impl Connections {
    /// Opens all stored connections. One that cannot be built is logged and left out.
    pub fn load(around: Surroundings, store: Arc<dyn Store>) -> Result<Self, EngineError> {
        let connections = Self { around, store, named: RwLock::default(), writing: Mutex::default() };
        for (id, bytes) in connections.store.scan(Table::Connection, "")? {
            let opened = parse(&bytes).and_then(|(_, def)| Ok((connections.build(&id, &def)?, def)));
            match opened {
                Ok((connection, def)) => drop(connections.lock_named().insert(id, Named { def, connection })),
                Err(why) => error!(connection = %id, %why, "stored connection cannot be opened"),
            }
        }
        Ok(connections)
    }

    fn build(&self, id: &str, def: &ConnectionDef) -> Result<Arc<dyn Connection>, EngineError> {
        let unknown = || {
            let help = "at /typ; it is the type of the sources and actions that use it, such as mqtt";
            EngineError::plain(format!("unknown connection type {} ({help})", def.kind))
        };
        let connector = self.around.registry.connector(&def.kind).ok_or_else(unknown)?;
        let cx = self.around.for_connection(id, def.props.clone());
        connector.connect(&cx).ok_or_else(unknown)?.map_err(EngineError::from)
    }

    /// Makes and stores a connection from `{"id","typ","props"}`. Dialing goes on in the background.
    ///
    /// # Errors
    /// A wrong document, an unknown type, or an id that exists.
    pub async fn create(&self, body: &[u8]) -> Result<(), EngineError> {
        let (id, def) = parse(body)?;
        check_id(&id)?;
        let _turn = self.writing.lock().await;
        let refuse = |why: String| EngineError::plain(format!("create connection failed: {why}"));
        if def.kind.is_empty() {
            return Err(refuse(format!("connection id and type should be defined ({CONNECTION})")));
        }
        if self.open(&id).is_some() {
            return Err(refuse(format!("connection {id} already been created")));
        }
        let connection = self.build(&id, &def).map_err(|why| refuse(why.message))?;
        let stored = self.write(Change::Put(Table::Connection, id.clone(), encode(&id, &def))).await;
        if stored.is_err() {
            connection.close().await;
            return stored;
        }
        self.lock_named().insert(id, Named { def, connection });
        Ok(())
    }

    /// Replaces a connection, unless rules use it: drop and create. The id of the body does not count.
    ///
    /// # Errors
    /// There is none, it is in use, or the new one cannot be made; then the old one stays.
    pub async fn update(&self, id: &str, body: &[u8], users: &[String]) -> Result<(), EngineError> {
        let refuse = |why: String| EngineError::plain(format!("update connection failed: {why}"));
        let _turn = self.writing.lock().await;
        if self.open(id).is_none() {
            return Err(refuse(format!("connection {id} not existed")));
        }
        if !users.is_empty() {
            return Err(refuse(in_use(id, users)));
        }
        let (_, def) = parse(body)?;
        if def.kind.is_empty() {
            return Err(refuse(format!("connection id and type should be defined ({CONNECTION})")));
        }
        let connection = self.build(id, &def).map_err(|why| refuse(why.message))?;
        let stored = self.write(Change::Put(Table::Connection, id.to_owned(), encode(id, &def))).await;
        if stored.is_err() {
            connection.close().await;
            return stored;
        }
        let old = self.lock_named().insert(id.to_owned(), Named { def, connection });
        if let Some(old) = old {
            old.connection.close().await;
        }
        Ok(())
    }

    /// The stored connections of a type, by id: what will be there after a restart (`rest-api.md` 8.2). Nothing if there
    /// are none of this type at all.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn stored(&self, kind: &str) -> Result<Option<Map<String, Json>>, EngineError> {
        let mut all = Map::new();
        for (id, bytes) in self.store.scan(Table::Connection, "")? {
            if let Ok((_, def)) = parse(&bytes)
                && def.kind.eq_ignore_ascii_case(kind)
            {
                all.insert(id, def.props.to_json());
            }
        }
        let connector = self.around.registry.connector(kind);
        let is_known = connector.is_some_and(|connector| connector.has_connection());
        Ok((is_known || !all.is_empty()).then_some(all))
    }

    /// All stored connections by type: their properties by id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn all_stored(&self) -> Result<BTreeMap<String, Map<String, Json>>, EngineError> {
        let mut all: BTreeMap<String, Map<String, Json>> = BTreeMap::new();
        for (id, bytes) in self.store.scan(Table::Connection, "")? {
            if let Ok((_, def)) = parse(&bytes) {
                all.entry(def.kind).or_default().insert(id, def.props.to_json());
            }
        }
        Ok(all)
    }

    /// Whether there are connections of a type.
    pub fn can_open(&self, kind: &str) -> bool {
        let connector = self.around.registry.connector(&kind.to_lowercase());
        connector.is_some_and(|connector| connector.has_connection())
    }

    /// Stores a connection without opening it: it is there after the next start.
    ///
    /// # Errors
    /// The id is none, or is that of a connection of another type.
    pub async fn store(&self, kind: &str, id: &str, props: Props) -> Result<(), EngineError> {
        check_id(id).map_err(|why| why.prefixed("Invalid confKey: "))?;
        crate::profile::check_type(kind)?;
        let kind = kind.to_lowercase();
        let _turn = self.writing.lock().await;
        let stored = self.store.get(Table::Connection, id)?.and_then(|bytes| parse(&bytes).ok());
        if let Some((_, there)) = stored.filter(|(_, there)| there.kind != kind) {
            let text = format!("connection {id} is there already, and of type {}", there.kind);
            return Err(EngineError::new(ErrorCode::ConfKey, text));
        }
        let def = ConnectionDef { props: crate::profile::normalized(&kind, props), kind };
        self.write(Change::Put(Table::Connection, id.to_owned(), encode(id, &def))).await
    }

    /// Forgets a stored connection; an open one stays until the next start. Whether it was stored.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn forget(&self, kind: &str, id: &str) -> Result<bool, EngineError> {
        let _turn = self.writing.lock().await;
        let stored = self.store.get(Table::Connection, id)?.and_then(|bytes| parse(&bytes).ok());
        if !stored.is_some_and(|(_, there)| there.kind.eq_ignore_ascii_case(kind)) {
            return Ok(false);
        }
        self.write(Change::Delete(Table::Connection, id.to_owned())).await?;
        Ok(true)
    }

    async fn write(&self, change: Change) -> Result<(), EngineError> {
        let store = Arc::clone(&self.store);
        blocking(move || Ok(store.write(&[change])?)).await
    }

    fn lock_named(&self) -> RwLockWriteGuard<'_, BTreeMap<String, Named>> {
        self.named.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops a connection, unless rules use it. Dropping one that does not exist is no error.
    ///
    /// # Errors
    /// It is in use.
    pub async fn delete(&self, id: &str, users: &[String]) -> Result<(), EngineError> {
        if !users.is_empty() {
            return Err(EngineError::plain(format!("drop connection failed: {}", in_use(id, users))));
        }
        let _turn = self.writing.lock().await;
        self.write(Change::Delete(Table::Connection, id.to_owned())).await?;
        let removed = self.lock_named().remove(id);
        if let Some(named) = removed {
            named.connection.close().await;
        }
        Ok(())
    }

    /// The connection of an id.
    pub(crate) fn open(&self, id: &str) -> Option<(Arc<dyn Connection>, ConnectionDef)> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        named.get(id).map(|named| (Arc::clone(&named.connection), named.def.clone()))
    }

    /// All named connections. `users` counts the references of an id.
    pub fn list(&self, users: impl Fn(&str) -> usize) -> Vec<Shown> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        named.iter().map(|(id, named)| shown(id, named, users(id))).collect()
    }

    /// The state of each connection.
    pub fn statuses(&self) -> Vec<(String, ConnectionStatus)> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        named.iter().map(|(id, named)| (id.clone(), named.connection.status())).collect()
    }

    /// One named connection.
    pub fn describe(&self, id: &str, users: usize) -> Option<Shown> {
        let named = self.named.read().unwrap_or_else(PoisonError::into_inner);
        named.get(id).map(|named| shown(id, named, users))
    }

    /// Disconnects all.
    pub async fn close(&self) {
        let all = std::mem::take(&mut *self.lock_named());
        for named in all.into_values() {
            named.connection.close().await;
        }
    }
}

fn in_use(id: &str, users: &[String]) -> String {
    format!("connection {id} can't be dropped due to rule references [{}]", users.join(" "))
}

/// A connection as it is shown.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Its id.
    pub id: String,
    /// Its type.
    pub kind: String,
    /// Its properties.
    pub props: Props,
    /// Whether somebody has given it a name; otherwise it belongs to a node of a rule.
    pub is_named: bool,
    /// Its state.
    pub status: ConnectionStatus,
    /// How many nodes use it.
    pub users: usize,
}

impl Shown {
    /// As a document (`rest-api.md` 7).
    pub fn document(&self) -> Document {
        let (status, why) = match &self.status {
            ConnectionStatus::Connecting => ("connecting", ""),
            ConnectionStatus::Connected => ("connected", ""),
            ConnectionStatus::Disconnected(why) => ("disconnected", why.as_ref()),
        };
        Document::object()
            .with("id", self.id.as_str())
            .with("typ", self.kind.as_str())
            .with("props", self.props.to_json())
            .with("isNamed", self.is_named)
            .with("status", status)
            .with_some("err", why)
            .with_some("refCount", self.users)
    }
}

fn shown(id: &str, named: &Named, users: usize) -> Shown {
    let ConnectionDef { kind, props } = named.def.clone();
    Shown { id: id.to_owned(), kind, props, is_named: true, status: named.connection.status(), users }
}

/// What a connection looks like.
const CONNECTION: &str =
    r#"such as {"id": "c1", "typ": "mqtt", "props": {"server": "tcp://127.0.0.1:1883"}}"#;

fn parse(body: &[u8]) -> Result<(String, ConnectionDef), EngineError> {
    let wrong =
        |why: &dyn std::fmt::Display| EngineError::plain(format!("invalid connection document: {why}"));
    let document: Map<String, Json> = serde_json::from_slice(body).map_err(|why| wrong(&why))?;
    let document = Props::from(document);
    let text = |name| document.text(name).map(Option::unwrap_or_default).map_err(|why| wrong(&why));
    let props = match document.get("props") {
        None | Some(Json::Null) => Props::new(),
        Some(Json::Object(props)) => Props::from(props.clone()),
        Some(other) => {
            return Err(wrong(&format!("property \"props\" must be an object, not {other} ({CONNECTION})")));
        }
    };
    Ok((text("id")?.to_owned(), ConnectionDef { kind: text("typ")?.to_lowercase(), props }))
}

fn encode(id: &str, def: &ConnectionDef) -> Vec<u8> {
    json!({"id": id, "typ": def.kind, "props": def.props.to_json()}).to_string().into_bytes()
}
