//! What a plugin's processes may use (`portable-plugins.md` 3.1).

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value as Json};
use thalweg_core::Props;

/// The limits of one plugin. What is `None` has no limit.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PluginLimits {
    /// Bytes of memory of its own, of all processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How many cores all its processes may keep busy, on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Files and sockets that each process may have open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u64>,
    /// Processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
    /// Until a call is answered, instead of `portable.recvTimeout`.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    pub call_timeout: Option<Duration>,
    /// A process that does not answer for so long is ended and started again.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "millis")]
    pub hang_timeout: Option<Duration>,
}

fn millis<S: serde::Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    let millis = duration.map_or(0, |duration| duration.as_millis());
    to.serialize_u64(u64::try_from(millis).unwrap_or(u64::MAX))
}

const KEYS: [&str; 6] = ["memory", "cpu", "openFiles", "processes", "callTimeout", "hangTimeout"];

impl PluginLimits {
    /// These with the keys of `document` in place of their own; null takes a limit away.
    ///
    /// # Errors
    /// A key or value that means nothing, by its name: a limit must not be missing because of a slip of the pen.
    pub fn changed_by(mut self, document: &Json) -> Result<Self, String> {
        let entries = match document {
            Json::Null => &Map::new(),
            Json::Object(entries) => entries,
            other => {
                return Err(format!(
                    "limits must be an object such as {{\"memory\":\"512MiB\"}}, not {other}"
                ));
            }
        };
        for (key, value) in entries {
            let known = KEYS.into_iter().find(|known| known.eq_ignore_ascii_case(key));
            let Some(known) = known else {
                return Err(format!("limits have no key \"{key}\"; there are {}", KEYS.join(", ")));
            };
            self.set(known, value)?;
        }
        Ok(self)
    }

    fn set(&mut self, key: &str, value: &Json) -> Result<(), String> {
        let wrong = |wanted: &str| format!("limits: {key} must be {wanted}, not {value}");
        if value.is_null() {
            match key {
                "memory" => self.memory = None,
                "cpu" => self.cpu = None,
                "openFiles" => self.open_files = None,
                "processes" => self.processes = None,
                "callTimeout" => self.call_timeout = None,
                _ => self.hang_timeout = None,
            }
            return Ok(());
        }
        let count = || value.as_u64().filter(|n| *n > 0).ok_or_else(|| wrong("a whole number above 0"));
        match key {
            "memory" => {
                let bytes = size(value).filter(|bytes| *bytes > 0);
                self.memory = Some(bytes.ok_or_else(|| wrong("a size such as \"512MiB\" or bytes"))?);
            }
            "cpu" => {
                let cores = value.as_f64().filter(|cores| *cores >= 0.01);
                self.cpu = Some(cores.ok_or_else(|| wrong("a number of cores from 0.01 up"))?);
            }
            "openFiles" => self.open_files = Some(count()?),
            "processes" => self.processes = Some(count()?),
            _ => {
                let mut props = Props::new();
                props.set(key, value.clone());
                let millis = props.millis(key).ok().flatten().and_then(|millis| u64::try_from(millis).ok());
                let millis = millis.filter(|millis| *millis > 0);
                let duration = millis.map(Duration::from_millis);
                let duration =
                    Some(duration.ok_or_else(|| wrong("a duration such as \"2s\" or milliseconds"))?);
                if key == "callTimeout" { self.call_timeout = duration } else { self.hang_timeout = duration }
            }
        }
        Ok(())
    }

    /// Why a process was ended that used more memory.
    pub(crate) fn memory_exceeded(&self) -> String {
        format!("went over its memory limit of {}", shown(self.memory.unwrap_or_default()))
    }

    /// Whether somebody must look at the processes from time to time.
    pub(crate) fn needs_watch(&self) -> bool {
        self.memory.is_some() || self.cpu.is_some() || self.processes.is_some() || self.hang_timeout.is_some()
    }
}

/// Bytes: a number, or a number with a unit. `K`, `M` and `G` alone are powers of 1024, as container tools have them.
fn size(value: &Json) -> Option<u64> {
    if let Some(bytes) = value.as_u64() {
        return Some(bytes);
    }
    let text = value.as_str()?.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

/// A size for people.
fn shown(bytes: u64) -> String {
    match bytes {
        0..0x100000 => format!("{bytes} bytes"),
        _ => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_plugins_own_limits_replace_those_of_the_configuration_key_by_key() {
        let common = PluginLimits::default()
            .changed_by(
                &json!({"Memory": "512MiB", "cpu": 1.5, "openFiles": 64, "processes": 4, "hangTimeout": 100}),
            )
            .unwrap();
        let own = common.changed_by(&json!({"memory": 1000, "callTimeout": "2s", "cpu": null})).unwrap();
        assert_eq!(
            own,
            PluginLimits {
                memory: Some(1000),
                cpu: None,
                call_timeout: Some(Duration::from_secs(2)),
                ..common
            }
        );
        assert_eq!(common.memory, Some(512 << 20));
        assert_eq!(common.changed_by(&Json::Null), Ok(common));
        assert_eq!(
            serde_json::to_value(own).unwrap(),
            json!({"memory": 1000, "openFiles": 64, "processes": 4, "callTimeout": 2000, "hangTimeout": 100})
        );
    }

    #[test]
    fn a_wrong_limit_is_named() {
        for (document, expected) in [
            (json!(5), "limits must be an object such as {\"memory\":\"512MiB\"}, not 5"),
            (
                json!({"ram": 1}),
                "limits have no key \"ram\"; there are memory, cpu, openFiles, processes, callTimeout, hangTimeout",
            ),
            (
                json!({"memory": "5 parsecs"}),
                "limits: memory must be a size such as \"512MiB\" or bytes, not \"5 parsecs\"",
            ),
            (
                json!({"memory": "99999999999G"}),
                "limits: memory must be a size such as \"512MiB\" or bytes, not \"99999999999G\"",
            ),
            (json!({"cpu": 0}), "limits: cpu must be a number of cores from 0.01 up, not 0"),
            (json!({"processes": -1}), "limits: processes must be a whole number above 0, not -1"),
            (
                json!({"callTimeout": "soon"}),
                "limits: callTimeout must be a duration such as \"2s\" or milliseconds, not \"soon\"",
            ),
        ] {
            assert_eq!(PluginLimits::default().changed_by(&document).unwrap_err(), expected);
        }
    }

    #[test]
    fn sizes_have_the_usual_units() {
        for (text, bytes) in
            [("512MiB", 512 << 20), ("1 g", 1 << 30), ("2kb", 2_000), ("7", 7), ("3GB", 3_000_000_000)]
        {
            assert_eq!(size(&json!(text)), Some(bytes), "{text}");
        }
    }
}
