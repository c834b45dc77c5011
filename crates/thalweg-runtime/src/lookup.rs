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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use serde_json::json;
    use thalweg_core::ManualClock;

    use super::*;

    /// Answers with what it was asked, and remembers it; knows nothing of "none", and fails for "broken".
    #[derive(Default)]
    struct Asked(Mutex<Vec<String>>);

    #[async_trait]
    impl LookupSource for Asked {
        async fn lookup(
            &self,
            fields: &[Arc<str>],
            _keys: &[Arc<str>],
            values: &[Value],
        ) -> Result<Vec<Arc<Fields>>, IoError> {
            let question = format!("{fields:?} {values:?}");
            self.0.lock().expect("no test panics here").push(question.clone());
            match values.first() {
                Some(Value::Str(text)) if &**text == "none" => Ok(Vec::new()),
                Some(Value::Str(text)) if &**text == "broken" => Err(IoError::transient("broken")),
                _ => Ok(vec![Arc::new(Fields::from([(Arc::from("q"), Value::text(question))]))]),
            }
        }
    }

    struct Bench {
        asked: Arc<Asked>,
        clock: Arc<ManualClock>,
        lookup: BlockingLookup,
    }

    fn bench(cache: serde_json::Value) -> Bench {
        let asked = Arc::new(Asked::default());
        let clock = ManualClock::at(Timestamp(1_000));
        let mut props = Props::new();
        props.set("lookup", cache);
        let given = Arc::clone(&clock) as Arc<dyn Clock>;
        let lookup =
            BlockingLookup::new(Arc::clone(&asked) as Arc<dyn LookupSource>, &props, Waiter::Here, given);
        Bench { asked, clock, lookup: lookup.expect("the properties are right") }
    }

    impl Bench {
        /// How often the source is asked when the operator asks these.
        fn asks(&mut self, fields: &[&str], questions: &[Value]) -> usize {
            let fields: Vec<Arc<str>> = fields.iter().map(|field| Arc::from(*field)).collect();
            let questions: Vec<Vec<Value>> = questions.iter().map(|value| vec![value.clone()]).collect();
            let before = self.asked.0.lock().expect("no test panics here").len();
            let answers = self.lookup.answers(&fields, &[Arc::from("id")], &questions);
            assert_eq!(answers.len(), questions.len());
            for (answer, question) in answers.iter().zip(&questions) {
                if let Some(row) = answer.iter().flatten().next() {
                    assert_eq!(
                        row["q"],
                        Value::text(format!("{fields:?} {question:?}")),
                        "an answer of another"
                    );
                }
            }
            self.asked.0.lock().expect("no test panics here").len() - before
        }
    }

    #[test]
    fn j15_a_cached_answer_is_not_asked_for_until_it_is_too_old() {
        let mut bench = bench(json!({"cache": true, "cacheTtl": 500}));
        assert_eq!(bench.asks(&["n"], &[Value::Int(1), Value::Int(2)]), 2);
        assert_eq!(bench.asks(&["n"], &[Value::Int(2), Value::Int(3), Value::Int(1)]), 1);
        bench.clock.advance_to(Timestamp(1_499));
        assert_eq!(bench.asks(&["n"], &[Value::Int(1), Value::Int(2)]), 0);
        bench.clock.advance_to(Timestamp(1_500));
        assert_eq!(bench.asks(&["n"], &[Value::Int(1), Value::Int(3)]), 2);
    }

    #[test]
    fn j15_without_a_ttl_an_answer_is_kept_for_ever_and_without_a_cache_not_at_all() {
        let mut kept = bench(json!({"cache": true}));
        assert_eq!(kept.asks(&[], &[Value::Int(1)]), 1);
        kept.clock.advance_to(Timestamp(1_000_000_000));
        assert_eq!(kept.asks(&[], &[Value::Int(1)]), 0);
        for cache in [json!({"cache": false, "cacheTtl": 500}), json!({"cacheTtl": 500}), json!(null)] {
            let mut bench = bench(cache);
            assert_eq!((bench.asks(&[], &[Value::Int(1)]), bench.asks(&[], &[Value::Int(1)])), (1, 1));
        }
    }

    #[test]
    fn j15_keys_of_the_cache_have_types_and_belong_to_the_columns_that_were_wanted() {
        let mut bench = bench(json!({"cache": true}));
        assert_eq!(bench.asks(&["n"], &[Value::Int(1), Value::text("1"), Value::Bool(true)]), 3);
        assert_eq!(bench.asks(&["m"], &[Value::Int(1)]), 1);
        assert_eq!(bench.asks(&["n"], &[Value::text("1")]), 0);
    }

    #[test]
    fn j15_what_is_not_there_is_kept_only_on_request_and_a_failure_never() {
        let bench_of = |keeps: bool| {
            let mut bench = bench(json!({"cache": true, "cacheMissingKey": keeps}));
            let questions = [Value::text("none"), Value::text("broken")];
            (bench.asks(&[], &questions), bench.asks(&[], &questions))
        };
        assert_eq!(bench_of(false), (2, 2));
        assert_eq!(bench_of(true), (2, 1));
    }

    #[test]
    fn j15_a_property_of_the_wrong_kind_is_refused() {
        let mut props = Props::new();
        props.set("lookup", json!({"cache": "yes"}));
        let clock: Arc<dyn Clock> = ManualClock::at(Timestamp(0));
        assert!(BlockingLookup::new(Arc::new(Asked::default()), &props, Waiter::Here, clock).is_err());
    }
}
