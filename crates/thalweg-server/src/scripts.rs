//! JavaScript functions of this instance: their limits out of the configuration, their place in the store.

use std::sync::Arc;
use std::time::Duration;

use thalweg_core::{Diagnostic, Props};
use thalweg_engine::store::{Change, Store, Table};
use thalweg_script::{Limits, Script, ScriptHost, Shelf};
use tracing::error;

/// The scripts of the store.
pub(crate) fn open(store: &Arc<dyn Store>, section: &Props) -> Result<Arc<ScriptHost>, String> {
    ScriptHost::open(limits(section)?, Box::new(InStore(Arc::clone(store))))
}

/// The section `javascript`: `timeLimit`, and in bytes `memoryLimit` and `stackLimit`.
fn limits(section: &Props) -> Result<Limits, String> {
    let wrong = |why: Diagnostic| format!("configuration: javascript: {}", why.message);
    let whole =
        |value: Option<i64>| value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0);
    let mut limits = Limits::default();
    if let Some(millis) = whole(section.millis("timeLimit").map_err(wrong)?) {
        limits.time = Duration::from_millis(millis);
    }
    let bytes = |name: &str, least: usize| -> Result<Option<usize>, String> {
        let bytes = whole(section.int(name).map_err(wrong)?)
            .map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        match bytes.filter(|bytes| *bytes < least) {
            Some(bytes) => {
                Err(format!("configuration: javascript.{name} must be at least {least} bytes, not {bytes}"))
            }
            None => Ok(bytes),
        }
    };
    if let Some(bytes) = bytes("memoryLimit", 1 << 20)? {
        limits.memory = bytes;
    }
    // Worker threads have 2 MiB, and the engine needs some of it above and below a script.
    if let Some(bytes) = bytes("stackLimit", 64 << 10)? {
        limits.stack = bytes.min(1 << 20);
    }
    Ok(limits)
}

/// Name → script as JSON, in the table `script` (configuration.md 8).
struct InStore(Arc<dyn Store>);

impl Shelf for InStore {
    fn load(&self) -> Result<Vec<Script>, String> {
        let read = |(name, bytes): (String, Vec<u8>)| match serde_json::from_slice(&bytes) {
            Ok(script) => Some(script),
            // No reason not to start.
            Err(why) => {
                error!(script = %name, %why, "a JavaScript function in the store cannot be read and is left out");
                None
            }
        };
        let all = self.0.scan(Table::Script, "").map_err(|why| why.to_string())?;
        Ok(all.into_iter().filter_map(read).collect())
    }

    fn put(&self, script: &Script) -> Result<(), String> {
        let bytes = serde_json::to_vec(script).map_err(|why| why.to_string())?;
        self.0.write(&[Change::Put(Table::Script, script.id.clone(), bytes)]).map_err(|why| why.to_string())
    }

    fn remove(&self, name: &str) -> Result<(), String> {
        self.0.write(&[Change::Delete(Table::Script, name.to_owned())]).map_err(|why| why.to_string())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(section: serde_json::Value) -> Result<Limits, String> {
        limits(&Props::from(section.as_object().expect("a section").clone()))
    }

    #[test]
    fn limits_are_read_and_those_that_cannot_work_are_refused_by_name() {
        let written = of(json!({"timeLimit": "250ms", "memoryLimit": 2_000_000, "stackLimit": 100_000_000}));
        let written = written.expect("they can work");
        assert_eq!((written.time, written.memory), (Duration::from_millis(250), 2_000_000));
        assert_eq!(written.stack, 1 << 20, "a thread has no more");
        assert_eq!(of(json!({"timeLimit": 0, "memoryLimit": 0})), Ok(Limits::default()), "0: the default");
        for (section, part) in [
            (
                json!({"memoryLimit": 1_000}),
                "javascript.memoryLimit must be at least 1048576 bytes, not 1000",
            ),
            (json!({"stackLimit": 5}), "javascript.stackLimit must be at least 65536 bytes, not 5"),
            (json!({"timeLimit": "soon"}), "configuration: javascript: "),
        ] {
            let error = of(section).expect_err("it cannot work");
            assert!(error.contains(part), "{error}");
        }
    }
}
