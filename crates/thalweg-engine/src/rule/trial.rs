//! Trials: rules that are tried out, with rows of their own if they bring any (`rest-api.md` 6).
//!
//! A trial is no rule: nobody lists it, nothing is stored, and it ends by itself. Its results go to a place of the data
//! port; who owns that place hands over something to hold on to for as long as the trial is there.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Json, json};
use thalweg_core::{Clock, Diagnostic, Props};
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::actor::blocking;
use super::build::Builder;
use super::run::{Ready, Run};
use crate::error::EngineError;

/// So long a trial is there (`decisions.md`, "length of a trial rule").
const LENGTH: Duration = Duration::from_secs(300);

/// How long it may take to drain.
const GRACE: Duration = Duration::from_secs(5);

/// So long nobody may listen to a trial that is there for its listeners (`cli.md` 3).
const UNHEARD: Duration = Duration::from_secs(10);

/// The place of a trial's results, kept for as long as this is.
pub trait Place: Send + Sync {
    /// Whether somebody listens there.
    fn is_heard(&self) -> bool;
}

/// The trials of an engine, by id.
pub struct Trials {
    builder: Arc<Builder>,
    clock: Arc<dyn Clock>,
    defaults: Arc<Props>,
    known: Mutex<HashMap<String, Trial>>,
}

struct Trial {
    /// What was built, until it is started.
    ready: Option<Box<dyn Ready>>,
    run: Option<Arc<dyn Run>>,
    /// When it ends, in microseconds of the monotonic clock.
    until: u64,
    /// Whether it lasts as long as somebody listens, however long, and no longer.
    is_attended: bool,
    place: Arc<dyn Place>,
}

/// What was posted.
struct Request {
    id: String,
    sql: String,
    mocks: BTreeMap<Arc<str>, Props>,
    sink: Props,
    options: Props,
    is_attended: bool,
}

/// Where the results of a trial go.
fn path(id: &str) -> String {
    format!("/test/{id}")
}

impl Trials {
    pub(crate) fn new(builder: Arc<Builder>, clock: Arc<dyn Clock>, defaults: Arc<Props>) -> Self {
        Self { builder, clock, defaults, known: Mutex::default() }
    }

    /// Reads and builds a trial; one of the same id ends. `place` makes what keeps the path of its results. Its id.
    ///
    /// # Errors
    /// The document cannot be read, or the rule cannot be built.
    pub async fn prepare(
        &self,
        text: String,
        place: impl FnOnce(&str) -> Arc<dyn Place> + Send,
    ) -> Result<String, EngineError> {
        let unreadable = |why: Diagnostic| {
            EngineError::plain(format!("fail to parse rule definition {text}: {}", why.message))
        };
        let request = Request::read(&text).map_err(unreadable)?;
        let (id, is_attended) = (request.id.clone(), request.is_attended);
        let place = place(&path(&id));
        let (builder, defaults) = (Arc::clone(&self.builder), Arc::clone(&self.defaults));
        let built = blocking(move || build(&builder, &defaults, request)).await;
        // Upstream's code is 1000 whatever was wrong.
        let ready = built.map_err(|why| {
            let message = why.message.replace("at /actions/0/sse", "at /sinkProps");
            EngineError::plain(format!("fail to run rule {id}: {message}"))
        })?;
        let until = self.until(is_attended);
        let trial = Trial { ready: Some(ready), run: None, until, is_attended, place };
        let old = self.known.lock().await.insert(id.clone(), trial);
        end(old).await;
        Ok(id)
    }

    /// Lets the rows of a trial flow. One that has been started goes on.
    ///
    /// # Errors
    /// There is none of this id.
    pub async fn start(&self, id: &str) -> Result<(), EngineError> {
        let mut known = self.known.lock().await;
        let trial = known
            .get_mut(id)
            .ok_or_else(|| EngineError::plain(format!("try to start test rule {id} but it is not found")))?;
        if let Some(ready) = trial.ready.take() {
            let run = blocking(move || Ok(ready.launch(None))).await?;
            let name = id.to_owned();
            run.when_ended(Box::new(move |outcome| info!(trial = %name, ?outcome, "the trial has ended")));
            trial.run = Some(run);
            trial.until = self.until(trial.is_attended);
        }
        Ok(())
    }

    /// Ends a trial, if there is one.
    pub async fn stop(&self, id: &str) {
        let trial = self.known.lock().await.remove(id);
        end(trial).await;
    }

    /// Ends those whose time is over.
    pub async fn expire(&self) {
        let now = self.clock.monotonic_micros();
        let mut known = self.known.lock().await;
        for trial in known.values_mut().filter(|trial| trial.is_attended && trial.place.is_heard()) {
            trial.until = self.until(true);
        }
        let over: Vec<String> =
            known.iter().filter(|(_, trial)| trial.until <= now).map(|(id, _)| id.clone()).collect();
        for id in over {
            warn!(trial = %id, "the trial has lasted as long as it may, or nobody listens, and is ended");
            end(known.remove(&id)).await;
        }
    }

    /// Ends all.
    pub(crate) async fn shutdown(&self) {
        let all = std::mem::take(&mut *self.known.lock().await);
        for trial in all.into_values() {
            end(Some(trial)).await;
        }
    }

    fn until(&self, is_attended: bool) -> u64 {
        let length = if is_attended { UNHEARD } else { LENGTH };
        self.clock.monotonic_micros().saturating_add(length.as_micros() as u64)
    }
}

async fn end(trial: Option<Trial>) {
    if let Some(run) = trial.and_then(|trial| trial.run) {
        run.part();
        run.stop(GRACE).await;
    }
}

fn build(builder: &Builder, defaults: &Props, request: Request) -> Result<Box<dyn Ready>, EngineError> {
    let Request { id, sql, mocks, mut sink, mut options, is_attended: _ } = request;
    sink.set("path", path(&id));
    sink.set("errorAsText", true);
    options.set("sendError", true);
    options.set("qos", 0);
    let rule = json!({
        "id": "trial",
        "sql": sql,
        "actions": [{"sse": sink.to_json()}],
        "options": options.to_json(),
        "temp": true,
    });
    let mut definition = builder.read(&rule.to_string(), None, defaults)?;
    // No rule can have this id.
    definition.id = Arc::from(format!("$$trial_{id}"));
    definition.mocks = mocks;
    Ok(builder.build(&definition)?.ready)
}

impl Request {
    fn read(text: &str) -> Result<Self, Diagnostic> {
        let wrong = |why: String| Diagnostic::plain(why);
        let document: Map<String, Json> =
            serde_json::from_str(text).map_err(|why| wrong(format!("a trial is an object: {why}")))?;
        let document = Props::from(document);
        let text = |name: &str| document.text(name).map(|text| text.unwrap_or_default().to_owned());
        let object = |name: &str| match document.get(name) {
            None | Some(Json::Null) => Ok(Props::new()),
            Some(Json::Object(members)) => Ok(Props::from(members.clone())),
            Some(other) => Err(wrong(format!("property \"{name}\" must be an object, not {other}"))),
        };
        let id = text("id")?;
        if id.is_empty() {
            return Err(wrong("property \"id\" is missing: results are shown at /test/<id>".to_owned()));
        }
        let mut mocks = BTreeMap::new();
        for (stream, props) in object("mockSource")?.iter() {
            let Json::Object(props) = props else {
                let advice = r#"such as {"data": [{"a": 1}], "interval": 100, "loop": true}"#;
                return Err(wrong(format!("mockSource.{stream} must be an object {advice}, not {props}")));
            };
            mocks.insert(Arc::from(stream), Props::from(props.clone()));
        }
        let is_attended = document.bool("attended")?.unwrap_or_default();
        let (sql, sink, options) = (text("sql")?, object("sinkProps")?, object("options")?);
        Ok(Self { id, sql, mocks, sink, options, is_attended })
    }
}
