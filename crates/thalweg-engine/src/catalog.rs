//! The streams and tables of an engine: one name space, one store (D-3), definitions that never change in place.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde_json::{Value as Json, json};
use thalweg_core::Diagnostic;
use thalweg_core::diagnostic::nearest;
use thalweg_core::registry::Registry;
use thalweg_sql::ast::{CreateSource, Name, SourceKind, Statement};
use tracing::error;

use crate::document::Document;
use crate::error::EngineError;
use crate::id::may_replace;
use crate::store::{Change, Store, Table};
use crate::stream::{self, StreamEntry, capital, word};

type Entries = BTreeMap<String, Arc<StreamEntry>>;

/// All definitions. Readers see one consistent set; writers take turns.
pub struct Catalog {
    registry: Arc<Registry>,
    store: Arc<dyn Store>,
    entries: ArcSwap<Entries>,
    writing: Mutex<()>,
}

impl Catalog {
    /// Reads all stored definitions. One that cannot be understood is logged and left out, but stays stored.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn load(registry: Arc<Registry>, store: Arc<dyn Store>) -> Result<Self, EngineError> {
        let mut entries = Entries::new();
        for (name, bytes) in store.scan(Table::Stream, "")? {
            match decode(&bytes).and_then(|statement| read(&statement, &registry)) {
                Ok(entry) => drop(entries.insert(name, Arc::new(entry))),
                Err(why) => error!(stream = %name, %why, "stored definition cannot be read"),
            }
        }
        Ok(Self { registry, store, entries: ArcSwap::from_pointee(entries), writing: Mutex::new(()) })
    }

    /// The definition of a name.
    pub fn get(&self, name: &str) -> Option<Arc<StreamEntry>> {
        self.entries.load().get(name).cloned()
    }

    /// All names of both kinds.
    pub fn all_names(&self) -> Vec<String> {
        self.entries.load().keys().cloned().collect()
    }

    /// The names of a kind; tables may be filtered by `scan` or `lookup` (anything else: all).
    pub fn names(&self, kind: SourceKind, filter: Option<&str>) -> Vec<String> {
        self.select(kind, filter).iter().map(|entry| entry.def.name.to_string()).collect()
    }

    /// Name, type and format of each (`/streamdetails`).
    pub fn details(&self, kind: SourceKind, filter: Option<&str>) -> Document {
        let details = |entry: &Arc<StreamEntry>| {
            let or = |value: &str, default: &str| {
                if value.is_empty() { default.to_owned() } else { value.to_lowercase() }
            };
            let written = crate::props::option(&entry.create, "TYPE").unwrap_or_default();
            Document::object()
                .with("name", entry.def.name.as_ref())
                .with("type", or(written, "mqtt"))
                .with("format", or(&entry.def.format, "json"))
        };
        Document::List(self.select(kind, filter).iter().map(details).collect())
    }

    fn select(&self, kind: SourceKind, filter: Option<&str>) -> Vec<Arc<StreamEntry>> {
        let filter = filter.map(str::to_lowercase).filter(|filter| filter == "scan" || filter == "lookup");
        let matches = |entry: &&Arc<StreamEntry>| {
            entry.def.kind == kind && filter.as_deref().is_none_or(|filter| entry.table_kind() == filter)
        };
        self.entries.load().values().filter(matches).cloned().collect()
    }

    /// Runs any statement about streams and tables and gives its text (D-6).
    ///
    /// # Errors
    /// It does not parse, or is refused.
    pub fn execute(&self, sql: &str) -> Result<String, EngineError> {
        match parse(sql)? {
            Statement::Create(create) => self.create(sql, *create),
            Statement::Show(kind) => {
                let names = self.names(kind, None);
                let none = format!("No {} definitions are found.", word(kind));
                Ok(if names.is_empty() { none } else { names.join("\n") })
            }
            Statement::Describe(kind, name) => {
                let found = self.find(kind, &name.text).map(|entry| stream::describe_text(&entry));
                found.map_err(|error| self.missing(sql, kind, &name, error))
            }
            Statement::Explain(..) => Ok("TO BE SUPPORTED".to_owned()),
            Statement::Drop(kind, name) => {
                let missing = |error: EngineError| {
                    let text = format!("Drop {} fails: {}.", word(kind), error.message);
                    EngineError::stream(text)
                };
                let removed = self.remove(kind, &name.text).map_err(missing);
                removed.map_err(|error| self.missing(sql, kind, &name, error))?;
                Ok(format!("{} {} is dropped.", capital(kind), name.text))
            }
            Statement::Query(_) => {
                Err(EngineError::stream("a SELECT is a rule, not a stream definition; post it to /rules"))
            }
        }
    }

    /// The same error with the place of the name, and the name that may be meant.
    fn missing(&self, sql: &str, kind: SourceKind, name: &Name, error: EngineError) -> EngineError {
        let names = self.names(kind, None);
        let mistake = Diagnostic::new(error.code, error.message).at(name.span);
        let other = if kind == SourceKind::Stream { SourceKind::Table } else { SourceKind::Stream };
        let mistake = match nearest(&name.text, names.iter().map(String::as_str)) {
            _ if self.get(&name.text).is_some() => {
                mistake.help(format!("{} is a {}", name.text, word(other)))
            }
            Some(near) => mistake.help(format!("did you mean {near}?")),
            None => mistake.help(format!("SHOW {}S lists those that there are", word(kind).to_uppercase())),
        };
        EngineError::from_text(sql, &[mistake])
    }

    fn create(&self, sql: &str, create: CreateSource) -> Result<String, EngineError> {
        let kind = create.kind;
        let entry = StreamEntry::new(sql, create, &self.registry)?;
        let name = entry.def.name.to_string();
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.get(&name).is_some() {
            return Err(EngineError::stream(format!(
                "Create {} fails: Item {name} already exists.",
                word(kind)
            )));
        }
        self.put(entry)?;
        Ok(format!("{} {name} is created.", capital(kind)))
    }

    /// Replaces a definition, or makes it (D-10). Running rules keep the old one until their next start.
    ///
    /// # Errors
    /// Another name or kind, a change of SHARED, TEMP, or a version that is not greater.
    pub fn replace(&self, kind: SourceKind, name: &str, sql: &str) -> Result<String, EngineError> {
        let Statement::Create(create) = parse(sql)? else {
            return Err(EngineError::stream(format!(
                "Replace {name} fails: the sql statement must be a CREATE statement."
            )));
        };
        let entry = StreamEntry::new(sql, *create, &self.registry)?;
        let refuse = |why: &str| Err(EngineError::stream(format!("Replace {name} fails: {why}")));
        if entry.def.name.as_ref() != name {
            return refuse(&format!("the sql statement must update the {name} source."));
        }
        if entry.def.kind != kind {
            return Err(EngineError::not_found(format!("{} {name} is not found", word(kind))));
        }
        if entry.def.temp {
            return refuse("cannot replace with temp option.");
        }
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(old) = self.get(name) {
            if old.def.kind != kind {
                return Err(EngineError::not_found(format!("{} {name} is not found", word(kind))));
            }
            if old.def.shared != entry.def.shared {
                return refuse(&format!("do not support to change {} SHARED option.", word(kind)));
            }
            let (was, is) = (&old.def.version, &entry.def.version);
            if !may_replace(was, is) {
                let text =
                    format!("source {name} already exists with version ({was}), new version ({is}) is lower");
                return Err(EngineError::stream(text));
            }
        }
        self.put(entry)?;
        Ok(format!("{} {name} is replaced.", capital(kind)))
    }

    /// Drops a definition. Whether rules use it is the caller's question.
    ///
    /// # Errors
    /// There is none of this kind.
    pub fn remove(&self, kind: SourceKind, name: &str) -> Result<(), EngineError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let found = self.get(name).filter(|entry| entry.def.kind == kind);
        let entry =
            found.ok_or_else(|| EngineError::not_found(format!("{} {name} is not found", word(kind))))?;
        if !entry.def.temp {
            self.store.write(&[Change::Delete(Table::Stream, name.to_owned())])?;
        }
        self.change(|entries| drop(entries.remove(name)));
        Ok(())
    }

    /// Drops all definitions in one write, those that could not be read among them.
    ///
    /// # Errors
    /// The store cannot be read or written; then nothing is dropped.
    pub fn clear(&self) -> Result<(), EngineError> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.store.keys(Table::Stream, "")?;
        let changes: Vec<_> = stored.into_iter().map(|name| Change::Delete(Table::Stream, name)).collect();
        self.store.write(&changes)?;
        self.change(Entries::clear);
        Ok(())
    }

    /// The source type of a definition, if there is no such source here: rules that read it cannot start.
    pub fn lacks_source(&self, name: &str) -> Option<String> {
        let entry = self.get(name)?;
        let kind = &entry.def.source_type;
        let found = if entry.def.is_lookup { self.registry.lookup(kind) } else { self.registry.source(kind) };
        found.is_none().then(|| kind.to_string())
    }

    /// The describe document.
    ///
    /// # Errors
    /// There is none of this kind.
    pub fn describe(&self, kind: SourceKind, name: &str) -> Result<Document, EngineError> {
        self.find(kind, name).map(|entry| stream::describe(&entry))
    }

    /// The declared columns as a JSON schema.
    ///
    /// # Errors
    /// There is none of this kind.
    pub fn schema(&self, kind: SourceKind, name: &str) -> Result<Json, EngineError> {
        self.find(kind, name).map(|entry| stream::schema(&entry))
    }

    fn find(&self, kind: SourceKind, name: &str) -> Result<Arc<StreamEntry>, EngineError> {
        match self.get(name) {
            None => Err(EngineError::stream(format!("Describe {} fails, {name} is not found.", word(kind)))),
            Some(entry) if entry.def.kind != kind => {
                let kind = word(kind);
                Err(EngineError::stream(format!("Describe {kind} fails, {kind} {name} is not found.")))
            }
            Some(entry) => Ok(entry),
        }
    }

    /// Stores and shows a definition; temporary ones are only shown.
    fn put(&self, entry: StreamEntry) -> Result<(), EngineError> {
        let name = entry.def.name.to_string();
        if !entry.def.temp {
            self.store.write(&[Change::Put(Table::Stream, name.clone(), encode(&entry))])?;
        }
        self.change(|entries| drop(entries.insert(name, Arc::new(entry))));
        Ok(())
    }

    /// Only called by the writer whose turn it is.
    fn change(&self, change: impl FnOnce(&mut Entries)) {
        let mut entries = Entries::clone(&self.entries.load());
        change(&mut entries);
        self.entries.store(Arc::new(entries));
    }
}

fn parse(sql: &str) -> Result<Statement, EngineError> {
    thalweg_sql::parse(sql)
        .map_err(|mistakes| EngineError::from_text(sql, &mistakes).with_code(thalweg_core::ErrorCode::Stream))
}

fn read(statement: &str, registry: &Registry) -> Result<StreamEntry, EngineError> {
    match parse(statement)? {
        Statement::Create(create) => StreamEntry::new(statement, *create, registry),
        _ => Err(EngineError::stream("it is no CREATE statement")),
    }
}

fn encode(entry: &StreamEntry) -> Vec<u8> {
    let kind = u8::from(entry.def.kind == SourceKind::Table);
    let table = if kind == 1 { entry.table_kind() } else { "" };
    json!({"streamType": kind, "streamKind": table, "statement": entry.statement}).to_string().into_bytes()
}

fn decode(bytes: &[u8]) -> Result<String, EngineError> {
    let stored: Json = serde_json::from_slice(bytes).map_err(|why| EngineError::stream(why.to_string()))?;
    let statement = stored.get("statement").and_then(Json::as_str);
    statement.map(str::to_owned).ok_or_else(|| EngineError::stream("it has no statement"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    fn catalog() -> Catalog {
        let registry = Arc::new(Registry::new(&[], &[]));
        Catalog::load(registry, Arc::new(MemoryStore::default())).expect("an empty store can be read")
    }

    /// The text of each statement, or of its refusal, behind which place and advice may stand.
    fn check(catalog: &Catalog, cases: &[(&str, &str)]) {
        for (sql, expected) in cases {
            let said = catalog.execute(sql).unwrap_or_else(|error| error.message.to_string());
            let is_placed = said.starts_with(&format!("{expected} (line "));
            assert!(said == *expected || is_placed, "{sql}: {said}, not {expected}");
        }
    }

    #[test]
    fn d6_statements_answer_with_upstreams_texts() {
        check(
            &catalog(),
            &[
                ("SHOW STREAMS", "No stream definitions are found."),
                ("SHOW TABLES", "No table definitions are found."),
                ("CREATE STREAM s () WITH ()", "Stream s is created."),
                ("create table t () with (DATASOURCE='t')", "Table t is created."),
                ("CREATE TABLE s () WITH ()", "Create table fails: Item s already exists."),
                ("CREATE STREAM b () WITH ();", "Stream b is created."),
                ("SHOW STREAMS", "b\ns"),
                ("show tables;", "t"),
                ("EXPLAIN STREAM s", "TO BE SUPPORTED"),
                ("DESCRIBE STREAM zz", "Describe stream fails, zz is not found."),
                ("DROP STREAM s", "Stream s is dropped."),
                ("DROP STREAM s", "Drop stream fails: stream s is not found."),
            ],
        );
    }

    #[test]
    fn d8_a_statement_of_the_other_kind_changes_nothing() {
        let catalog = catalog();
        check(
            &catalog,
            &[
                ("CREATE STREAM s () WITH ()", "Stream s is created."),
                ("DROP TABLE s", "Drop table fails: table s is not found."),
                ("DESCRIBE TABLE s", "Describe table fails, table s is not found."),
                ("SHOW STREAMS", "s"),
            ],
        );
    }

    #[test]
    fn d7_describe_lists_columns_and_the_options_that_were_written() {
        let catalog = catalog();
        let sql = "CREATE STREAM s (a BIGINT DEFAULT 7, l ARRAY(STRING), o STRUCT(x BIGINT, y STRUCT(z STRING))) \
                   WITH (TYPE=\"memory\", DATASOURCE=\"t/#\", CONF_KEY=\"c\", KEY=\"a\", STRICT_VALIDATION=TRUE, \
                   SHARED=\"false\", TIMESTAMP=\"a\", TIMESTAMP_FORMAT=\"YYYY\", KIND=\"scan\", RETAIN_SIZE=3, \
                   EXTRA=\"{}\", VERSION=\"V1\")";
        let expected = format!(
            "Fields\n{}\na\tbigint\tDEFAULT\t7\nl\tarray(string)\no\tstruct(x bigint, y struct(z string))\n\n\
             CONF_KEY: c\nDATASOURCE: t/#\nKEY: a\nRETAIN_SIZE: 3\nSTRICT_VALIDATION: true\nTIMESTAMP: a\n\
             TIMESTAMP_FORMAT: YYYY\nTYPE: memory\nEXTRA: {{}}\nVERSION: v1",
            "-".repeat(80)
        );
        check(&catalog, &[(sql, "Stream s is created."), ("DESCRIBE STREAM s", &expected)]);
    }

    #[test]
    fn d10_a_definition_is_replaced_by_one_of_its_name_and_kind_with_a_greater_version() {
        let catalog = catalog();
        let with = |options: &str| format!("CREATE STREAM s () WITH ({options})");
        catalog.execute(&with("VERSION=\"2\"")).expect("it is new");
        let replace = |sql: &str| {
            let replaced = catalog.replace(SourceKind::Stream, "s", sql);
            replaced.unwrap_or_else(|error| error.message.to_string())
        };
        assert_eq!(replace(&with("VERSION=\"3\"")), "Stream s is replaced.");
        for (sql, expected) in [
            (with("VERSION=\"3\""), "source s already exists with version (3), new version (3) is lower"),
            (
                with("VERSION=\"4\", SHARED=TRUE"),
                "Replace s fails: do not support to change stream SHARED option.",
            ),
            (with("VERSION=\"4\", TEMP=TRUE"), "Replace s fails: cannot replace with temp option."),
            (
                "CREATE STREAM x () WITH ()".to_owned(),
                "Replace s fails: the sql statement must update the s source.",
            ),
            ("DROP STREAM s".to_owned(), "Replace s fails: the sql statement must be a CREATE statement."),
        ] {
            assert_eq!(replace(&sql), expected);
        }
    }

    #[test]
    fn d4_temporary_definitions_are_not_stored() {
        let store = Arc::new(MemoryStore::default());
        let load =
            || Catalog::load(Arc::new(Registry::new(&[], &[])), store.clone()).expect("it can be read");
        let catalog = load();
        catalog.execute("CREATE STREAM kept () WITH ()").expect("it is new");
        catalog.execute("CREATE STREAM gone () WITH (TEMP=\"true\")").expect("it is new");
        assert_eq!(catalog.all_names(), ["gone", "kept"]);
        assert_eq!(load().all_names(), ["kept"]);
    }
}
