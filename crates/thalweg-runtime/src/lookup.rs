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

impl Waiter {
    fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T, IoError> {
        let late = |_| IoError::transient("lookup did not answer in 30s");
        match self {
            Self::Io(handle) => {
                handle.block_on(async { tokio::time::timeout(LIMIT, future).await }).map_err(late)
            }
            Self::Here => {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let runtime = runtime.map_err(|error| IoError::transient(error.to_string()))?;
                Ok(runtime.block_on(future))
            }
        }
    }
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
        let ask = || self.waiter.wait(self.source.lookup(fields, keys, values)).and_then(|answer| answer);
        let Some(cache) = &mut self.cache else { return ask() };
        let (key, now) = (key(fields, values), self.clock.now());
        if let Some((since, rows)) = cache.answers.get(&key)
            && (cache.ttl <= 0 || now.0 - since.0 < cache.ttl)
        {
            return Ok(rows.clone());
        }
        let rows = ask()?;
        if cache.answers.len() >= CACHED {
            cache.answers.clear();
        }
        if !rows.is_empty() || cache.keeps_misses {
            cache.answers.insert(key, (now, rows.clone()));
        }
        Ok(rows)
    }
}

fn key(fields: &[Arc<str>], values: &[Value]) -> Vec<u8> {
    let mut writer = StateWriter::new();
    fields.iter().for_each(|field| writer.text(field));
    values.iter().for_each(|value| writer.value(value));
    writer.finish()
}
