//! Lookup tables as operators see them: a question that waits for its answer, with a cache in front (L2, L3).

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use thalweg_core::connector::LookupSource;
use thalweg_core::state::StateWriter;
use thalweg_core::{Clock, Diagnostic, Fields, IoError, Props, Timestamp, Value};
use tokio::runtime::Handle;

use crate::op::LookupRows;

/// How long one question may take.
const LIMIT: Duration = Duration::from_secs(30);

/// Answers kept at most; then the cache starts anew.
const CACHED: usize = 10_000;

/// Where async parts of a rule are waited for.
#[derive(Clone)]
pub(crate) enum Waiter {
    /// On the runtime's I/O threads.
    Io(Handle),
    /// Right here (the rig, which has no threads).
    Here,
}

fn late() -> IoError {
    IoError::transient("lookup did not answer in 30s")
}

/// A lookup table of one rule.
pub(crate) struct BlockingLookup {
    source: Arc<dyn LookupSource>,
    waiter: Waiter,
    clock: Arc<dyn Clock>,
    cache: Option<Cache>,
}

struct Cache {
    /// Milliseconds; 0: for ever.
    ttl: i64,
    keeps_misses: bool,
    /// Answers by typed key and wanted fields.
    answers: HashMap<Vec<u8>, (Timestamp, Vec<Arc<Fields>>)>,
}

impl BlockingLookup {
    /// The answers of the other side, each of which may take its time; the thread waits once for all of them.
    fn ask(
        &self,
        fields: &[Arc<str>],
        keys: &[Arc<str>],
        questions: &[Vec<Value>],
    ) -> Vec<Result<Vec<Arc<Fields>>, IoError>> {
        let all = async |limit: Option<Duration>| {
            let mut answers = Vec::with_capacity(questions.len());
            for values in questions {
                let answer = self.source.lookup(fields, keys, values);
                answers.push(match limit {
                    Some(limit) => tokio::time::timeout(limit, answer).await.unwrap_or_else(|_| Err(late())),
                    None => answer.await,
                });
            }
            answers
        };
        match &self.waiter {
            Waiter::Io(handle) => handle.block_on(all(Some(LIMIT))),
            Waiter::Here => match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime.block_on(all(None)),
                Err(error) => questions.iter().map(|_| Err(IoError::transient(error.to_string()))).collect(),
            },
        }
    }

    /// A lookup with the cache that `props` ask for (object `lookup`).
    ///
    /// # Errors
    /// A cache property of the wrong type.
    pub(crate) fn new(
        source: Arc<dyn LookupSource>,
        props: &Props,
        waiter: Waiter,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Diagnostic> {
        let cache = match props.get("lookup") {
            Some(serde_json::Value::Object(options)) => {
                let options = Props::from(options.clone());
                let cache = Cache {
                    ttl: options.millis("cacheTtl")?.unwrap_or(0),
                    keeps_misses: options.bool("cacheMissingKey")?.unwrap_or(false),
                    answers: HashMap::new(),
                };
                options.bool("cache")?.unwrap_or(false).then_some(cache)
            }
            _ => None,
        };
        Ok(Self { source, waiter, clock, cache })
    }
}

impl LookupRows for BlockingLookup {
    fn rows(
        &mut self,
        fields: &[Arc<str>],
        keys: &[Arc<str>],
        values: &[Value],
    ) -> Result<Vec<Arc<Fields>>, IoError> {
        self.answers(fields, keys, &[values.to_vec()]).pop().unwrap_or_else(|| Ok(Vec::new()))
    }

    /// What the cache has not is asked for in one go.
    fn answers(
        &mut self,
        fields: &[Arc<str>],
        keys: &[Arc<str>],
        questions: &[Vec<Value>],
    ) -> Vec<Result<Vec<Arc<Fields>>, IoError>> {
        let Some(cache) = &self.cache else { return self.ask(fields, keys, questions) };
        let now = self.clock.now();
        let cached: Vec<_> = questions.iter().map(|values| cache.find(&key(fields, values), now)).collect();
        let unknown = questions.iter().zip(&cached).filter(|(_, cached)| cached.is_none());
        let unknown: Vec<Vec<Value>> = unknown.map(|(values, _)| values.clone()).collect();
        let asked = if unknown.is_empty() { Vec::new() } else { self.ask(fields, keys, &unknown) };
        if let Some(cache) = &mut self.cache {
            for (values, answer) in unknown.iter().zip(&asked) {
                if let Ok(rows) = answer {
                    cache.keep(key(fields, values), now, rows);
                }
            }
        }
        let mut asked = asked.into_iter();
        let answer = |cached: Option<Vec<Arc<Fields>>>| match cached {
            Some(rows) => Ok(rows),
            None => asked.next().unwrap_or_else(|| Ok(Vec::new())),
        };
        cached.into_iter().map(answer).collect()
    }
}

impl Cache {
    /// The answer, unless it is too old.
    fn find(&self, key: &[u8], now: Timestamp) -> Option<Vec<Arc<Fields>>> {
        let (since, rows) = self.answers.get(key)?;
        (self.ttl <= 0 || now.0 - since.0 < self.ttl).then(|| rows.clone())
    }

    fn keep(&mut self, key: Vec<u8>, now: Timestamp, rows: &[Arc<Fields>]) {
        if self.answers.len() >= CACHED {
            self.answers.clear();
        }
        if !rows.is_empty() || self.keeps_misses {
            self.answers.insert(key, (now, rows.to_vec()));
        }
    }
}

fn key(fields: &[Arc<str>], values: &[Value]) -> Vec<u8> {
    let mut writer = StateWriter::new();
    fields.iter().for_each(|field| writer.text(field));
    values.iter().for_each(|value| writer.value(value));
    writer.finish()
}
