//! A document comes in (`rest-api.md` 14.3). Item by item, in upstream's order; what fails is told and stops nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::StreamExt;
use serde_json::{Map, Value as Json};
use thalweg_core::Props;
use thalweg_engine::store::{Change, Table};
use thalweg_engine::{Document, EngineError, ProfileKind};
use thalweg_service::{SchemaRequest, SchemaType};
use thalweg_sql::ast::SourceKind;
use tracing::{error, info, warn};

use super::differs::{self, Difference};
use super::items::{Items, Section};
use super::journal::{self, Begun};
use super::wipe::wipe;
use crate::rest::blocking;
use crate::server::App;
use crate::uploads::Upload;

/// How an import is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mode {
    /// What is there stays; otherwise it is removed first.
    pub(crate) partial: bool,
    /// Rules begin after the next start.
    pub(crate) stop: bool,
    /// What is named is removed before it comes in, and the first failure ends it.
    pub(crate) first: bool,
}

impl Mode {
    /// As documents in YAML come in (14.5).
    pub(crate) const FIRST: Self = Self { partial: true, stop: false, first: true };
}

/// What an import came to.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// What failed: its cause in place of its text.
    pub(crate) failures: Items,
    /// What is here otherwise than where it came from.
    differs: Vec<Difference>,
    /// Whether it was cut short.
    pub(crate) is_cancelled: bool,
}

impl Outcome {
    /// `{"ErrorMsg","ConfigResponse"}`, and `Differs` where something does.
    pub(crate) fn document(&self) -> Document {
        let error = if self.failures.is_empty() { "" } else { "process error" };
        let document =
            Document::object().with("ErrorMsg", error).with("ConfigResponse", self.failures.document());
        self.and_differs(document)
    }

    /// The sections of the failures, and `Differs` where something does.
    fn status(&self) -> Document {
        self.and_differs(self.failures.document())
    }

    fn and_differs(&self, document: Document) -> Document {
        match self.differences() {
            None => document,
            Some(differs) => document.with("Differs", differs),
        }
    }

    /// The first failure, with what it is about.
    pub(crate) fn first_failure(&self) -> Option<String> {
        let of = |section: Section| self.failures.of(section).next().map(|(name, why)| (section, name, why));
        let (section, name, why) = Section::ALL.into_iter().find_map(of)?;
        Some(format!("{} {name}: {why}", section.name()))
    }

    /// The differences, if there are any.
    pub(crate) fn differences(&self) -> Option<Document> {
        (!self.differs.is_empty()).then(|| differs::document(&self.differs))
    }
}

/// How many rules are built at once.
const AT_ONCE: usize = 8;

/// In which order sections come in.
fn order(mode: Mode) -> [Section; 12] {
    use Section::{
        ConnectionConfig, NativePlugins, PortablePlugins, Rules, Schema, Scripts, Service, SinkConfig,
        SourceConfig, Streams, Tables, Uploads,
    };
    let profiles = [SourceConfig, SinkConfig, ConnectionConfig];
    let parts = [Uploads, NativePlugins, Schema, PortablePlugins, Service, Scripts];
    let [a, b, c] = profiles;
    let [d, e, f, g, h, i] = parts;
    match mode.partial {
        true => [a, b, c, d, e, f, g, h, i, Streams, Tables, Rules],
        false => [d, e, f, g, h, i, a, b, c, Streams, Tables, Rules],
    }
}

/// Imports a document. One import at a time; another one waits.
///
/// # Errors
/// The document cannot be read, or the store does not work; then nothing has changed, or all of it is done once more at the
/// next start.
pub(crate) async fn import(
    app: &Arc<App>,
    text: String,
    mode: Mode,
    cancelled: &AtomicBool,
) -> Result<Outcome, EngineError> {
    let items = Items::read(&text).map_err(EngineError::plain)?;
    let _turn = app.importing.lock().await;
    run(app, items, Begun { text, mode, is_again: false }, cancelled).await
}

/// Does again what a crash has cut off, once.
pub(crate) async fn resume(app: &Arc<App>) {
    if let Err(why) = resume_or(app).await {
        error!(why = why.message, "the import that was cut off at the last end cannot be done again");
    }
}

async fn resume_or(app: &Arc<App>) -> Result<(), EngineError> {
    let Some(begun) = journal::unfinished(app.engine.store().as_ref())? else { return Ok(()) };
    if begun.is_again {
        journal::end(app.engine.store().as_ref(), None)?;
        return Err(EngineError::plain("the engine ended twice during it; import the document once more"));
    }
    warn!("an import was cut off when the engine ended last; it is done again");
    let items = Items::read(&begun.text).map_err(EngineError::plain)?;
    // The start that rules were to wait for is this one.
    let mode = Mode { stop: false, ..begun.mode };
    let begun = Begun { text: begun.text, mode, is_again: true };
    let outcome = run(app, items, begun, &AtomicBool::new(false)).await?;
    info!(failed = outcome.failures.len(), "the import is done");
    Ok(())
}

async fn run(
    app: &Arc<App>,
    items: Items,
    begun: Begun,
    cancelled: &AtomicBool,
) -> Result<Outcome, EngineError> {
    let mode = begun.mode;
    let for_start = Arc::clone(app);
    blocking(move || Ok(journal::begin(for_start.engine.store().as_ref(), &begun)?)).await?;
    if !mode.partial {
        wipe(app).await?;
    }
    let mut outcome = Outcome::default();
    'all: for section in order(mode) {
        let of_section: Vec<_> =
            items.of(section).map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        // Rules start beside each other; of all else one may need what came before it.
        let at_once = if section == Section::Rules && !mode.first { AT_ONCE } else { 1 };
        let work = of_section.into_iter().map(|(name, text)| async move {
            if cancelled.load(Ordering::Relaxed) {
                return None;
            }
            let done = one(app, section, &name, text, mode).await;
            let differs = match &done {
                Ok(note) => {
                    let own = note.iter().map(|text| Difference::new(section, &name, text.as_str()));
                    own.chain(differs::of(app, section, &name).await).collect()
                }
                Err(_) => Vec::new(),
            };
            Some((name, done, differs))
        });
        let mut work = futures_util::stream::iter(work).buffered(at_once);
        while let Some(done) = work.next().await {
            let Some((name, done, differs)) = done else {
                outcome.is_cancelled = true;
                continue;
            };
            outcome.differs.extend(differs);
            if let Err(why) = done {
                warn!(section = section.name(), name, why, "something is not imported");
                outcome.failures.put(section, name, why);
                if mode.first {
                    break 'all;
                }
            }
        }
    }
    let status = (!mode.partial).then(|| outcome.status().compact());
    let for_end = Arc::clone(app);
    blocking(move || Ok(journal::end(for_end.engine.store().as_ref(), status)?)).await?;
    Ok(outcome)
}

/// What is done about one item: nothing to say, or what differs.
type Done = Result<Option<String>, String>;

async fn one(app: &Arc<App>, section: Section, name: &str, text: String, mode: Mode) -> Done {
    let told = |why: EngineError| why.message;
    if mode.first && section == Section::Rules && app.engine.rules().definition(name).is_ok() {
        app.engine.rules().delete(name).await.map_err(told)?;
    }
    match section {
        Section::Rules if mode.stop => app.engine.rules().keep(name, text).await.map_err(told)?,
        Section::Rules => drop(app.engine.rules().update(name, text).await.map_err(told)?),
        Section::ConnectionConfig => return connections(app, name, &text).await,
        _ => {
            let (app, name) = (Arc::clone(app), name.to_owned());
            let done =
                blocking(move || direct(&app, section, &name, &text, mode).map_err(EngineError::plain));
            return done.await.map_err(told);
        }
    }
    Ok(None)
}

/// What waits for the disk, the network or a plugin.
fn direct(app: &App, section: Section, name: &str, text: &str, mode: Mode) -> Done {
    let told = |why: EngineError| why.message;
    if mode.first {
        remove(app, section, name);
    }
    match section {
        Section::Streams => drop(app.engine.catalog().replace(SourceKind::Stream, name, text).map_err(told)?),
        Section::Tables => drop(app.engine.catalog().replace(SourceKind::Table, name, text).map_err(told)?),
        Section::Uploads => {
            drop(Upload::read(&Props::from(object(text)?)).and_then(|upload| upload.store(app))?);
        }
        Section::NativePlugins => {
            let (text, is_fine) = differs::native(name);
            // As upstream, which skips them in a full import.
            let is_skipped = is_fine || mode == Mode::default();
            return if is_skipped { Ok(Some(text)) } else { Err(text) };
        }
        Section::PortablePlugins => return plugin(app, name, text, mode),
        Section::Service => {
            let request = thalweg_service::InstallRequest { name: name.to_owned(), file: file_of(text)? };
            thalweg_engine::check_id(name).map_err(told)?;
            app.services.install(&request).map_err(|why| why.to_string())?;
        }
        Section::Schema => return schema(app, name, text, mode),
        Section::Scripts => script(app, name, text)?,
        Section::SourceConfig => profiles(app, ProfileKind::Source, name, text)?,
        Section::SinkConfig => profiles(app, ProfileKind::Sink, name, text)?,
        Section::Rules | Section::ConnectionConfig => {}
    }
    Ok(None)
}

/// So that it can be made anew. What is not there, or stays, tells so when it is made.
fn remove(app: &App, section: Section, name: &str) {
    match section {
        Section::Streams => drop(app.engine.catalog().remove(SourceKind::Stream, name)),
        Section::Tables => drop(app.engine.catalog().remove(SourceKind::Table, name)),
        Section::Service => drop(app.services.delete(name)),
        Section::Schema => drop(delete_schema(app, name)),
        _ => {}
    }
}

fn object(text: &str) -> Result<Map<String, Json>, String> {
    serde_json::from_str(text).map_err(|why| format!("it must be an object: {why}"))
}

fn file_of(text: &str) -> Result<String, String> {
    let request = Props::from(object(text)?);
    request.text("file").map(|file| file.unwrap_or_default().to_owned()).map_err(|why| why.message)
}

/// A partial import leaves plugins that are there (14.3).
fn plugin(app: &App, name: &str, text: &str, mode: Mode) -> Done {
    let request: thalweg_plugin::InstallRequest =
        serde_json::from_str(text).map_err(|why| format!("it is no request: {why}"))?;
    let request = thalweg_plugin::InstallRequest { name: name.to_owned(), ..request };
    if mode.partial && !mode.first && app.plugins.describe(name).is_some() {
        return Ok(Some("it is installed already and stays as it is".to_owned()));
    }
    app.plugins.update(&request).map_err(|why| why.to_string())?;
    note_plugin(app, &request).map_err(|why| why.message)?;
    Ok(None)
}

/// `<type>_<name>`. A partial import leaves schemas that are there (14.3).
fn schema(app: &App, key: &str, text: &str, mode: Mode) -> Done {
    let named = key.split_once('_').and_then(|(kind, name)| Some((SchemaType::named(kind)?, name)));
    let (kind, name) =
        named.ok_or_else(|| format!("unsupported schema {key}: it is called protobuf_<name>"))?;
    thalweg_engine::check_id(name).map_err(|why| why.message)?;
    let request = Props::from(object(text)?);
    let of = |name: &str| {
        let text = request.text(name).map_err(|why| why.message)?;
        Ok::<_, String>(text.unwrap_or_default().to_owned())
    };
    let request = SchemaRequest {
        name: name.to_owned(),
        content: of("content")?,
        file: of("file")?,
        so_file: of("soFile")?,
        version: of("version")?,
    };
    if kind == SchemaType::Protobuf && request.content.is_empty() == request.file.is_empty() {
        return Err("it must have either content or file".to_owned());
    }
    if mode.partial && !mode.first && app.schemas.get(kind, name).is_ok() {
        return Ok(Some("it is there already and stays as it is".to_owned()));
    }
    app.schemas.replace(kind, &request)?;
    Ok(None)
}

/// Removes a schema by its key.
pub(super) fn delete_schema(app: &App, key: &str) -> Result<(), String> {
    match key.split_once('_').and_then(|(kind, name)| Some((SchemaType::named(kind)?, name))) {
        Some((kind, name)) => app.schemas.delete(kind, name),
        None => Ok(()),
    }
}

/// Notes how a plugin was installed, for export.
pub(crate) fn note_plugin(app: &App, request: &thalweg_plugin::InstallRequest) -> Result<(), EngineError> {
    let bytes = serde_json::to_vec(request).map_err(|why| EngineError::plain(why.to_string()))?;
    let change = Change::Put(Table::Plugin, request.name.trim().to_owned(), bytes);
    Ok(app.engine.store().write(&[change])?)
}

#[cfg(feature = "javascript")]
fn script(app: &App, name: &str, text: &str) -> Result<(), String> {
    let script: thalweg_script::Script =
        serde_json::from_str(text).map_err(|why| format!("it is no JavaScript function: {why}"))?;
    if script.id != name {
        return Err(format!("its id is {:?}, not {name:?}", script.id));
    }
    thalweg_engine::check_id(name).map_err(|why| why.message)?;
    app.scripts.update(script).map_err(|why| why.to_string())
}

#[cfg(not(feature = "javascript"))]
fn script(_: &App, _: &str, _: &str) -> Result<(), String> {
    Err("this thalweg is built without JavaScript".to_owned())
}

/// The profiles of a type: those that can be stored are, also beside others.
fn profiles(app: &App, kind: ProfileKind, of: &str, text: &str) -> Result<(), String> {
    let mut wrong = Vec::new();
    for (key, props) in object(text)? {
        let Json::Object(props) = props else {
            wrong.push(format!("{key}: it must be an object, not {props}"));
            continue;
        };
        if let Err(why) = app.engine.profiles().put(kind, of, &key, Props::from(props)) {
            wrong.push(format!("{key}: {}", why.message));
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("; ")) }
}

/// The connections of a type: opened at once, or only kept when nothing here has their type.
async fn connections(app: &Arc<App>, kind: &str, text: &str) -> Done {
    let (mut wrong, mut note) = (Vec::new(), None);
    let all = app.engine.connections();
    for (id, props) in object(text)? {
        let Json::Object(props) = props else {
            wrong.push(format!("{id}: it must be an object, not {props}"));
            continue;
        };
        let done = if !all.can_open(kind) {
            note = Some(format!(
                "there are no connections of type {kind} here; they are kept, and nothing uses them"
            ));
            all.store(kind, &id, Props::from(props)).await
        } else {
            let body = serde_json::json!({"id": id, "typ": kind, "props": props}).to_string();
            match app.engine.describe_connection(&id).is_ok() {
                true => app.engine.update_connection(&id, body.as_bytes()).await,
                false => app.engine.create_connection(body.as_bytes()).await,
            }
        };
        if let Err(why) = done {
            wrong.push(format!("{id}: {}", why.message));
        }
    }
    if wrong.is_empty() { Ok(note) } else { Err(wrong.join("; ")) }
}
