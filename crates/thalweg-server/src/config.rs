//! The instance's configuration: built-in defaults ← `etc/kuiper.yaml` ← `etc/thalweg.yaml` ← environment ← flags.

mod keys;
mod layers;

use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value as Json};
use thalweg_core::Props;
use thalweg_core::time::parse_duration;
use tracing::warn;

use crate::environment::Environment;
use crate::secure::TlsFiles;
use crate::yaml;

pub(crate) use layers::{Layers, leaves};

/// The main file as shipped.
const SHIPPED: &str = include_str!("../../../etc/kuiper.yaml");

/// What the instance is told. One immutable value.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `basic.restIp`.
    pub rest_ip: String,
    /// `basic.restPort`.
    pub rest_port: u16,
    /// `basic.restTls`: HTTPS.
    pub rest_tls: Option<TlsFiles>,
    /// `basic.authentication`: callers show a web token.
    pub authentication: bool,
    /// `source.httpServerIp`.
    pub data_ip: String,
    /// `source.httpServerPort`.
    pub data_port: u16,
    /// `source.httpServerTls`: HTTPS on the data port.
    pub data_tls: Option<TlsFiles>,
    /// `basic.logLevel`, or debug with `basic.debug`.
    pub log_level: String,
    /// `basic.consoleLog`.
    pub console_log: bool,
    /// `basic.fileLog`.
    pub file_log: bool,
    /// `basic.timezone`, as an IANA name.
    pub zone: String,
    /// `basic.ignoreCase`.
    pub ignore_case: bool,
    /// `basic.rulePatrolInterval`; at least a second.
    pub patrol: Duration,
    /// `basic.ResourceProfileConfig.interval`, when that is enabled.
    pub profiling: Option<Duration>,
    /// `basic.metricsDumpConfig`: whether metrics are kept, and for how long.
    pub metrics_dump: (bool, Duration),
    /// `openTelemetry.localTraceCapacity`: how many traces are kept in memory.
    pub trace_capacity: usize,
    /// `basic.prometheus`: metrics of all nodes.
    pub prometheus: bool,
    /// `basic.prometheusPort`: where `/metrics` is; on the management interface if the ports are equal.
    pub prometheus_port: u16,
    /// `basic.gracefulShutdownTimeout`.
    pub grace: Duration,
    /// `basic.enableRestAuditLog`.
    pub audit_log: bool,
    /// `basic.allowExternalFileAccess`.
    pub external_files: bool,
    /// `basic.enablePrivateNet`: whether REST services and downloads may be at private addresses (N6.7: they may).
    pub private_net: bool,
    /// `rule:`.
    pub rule: Props,
    /// `sink:`.
    pub sink: Props,
    /// `portable:`.
    pub portable: Props,
    /// `javascript:`.
    pub javascript: Props,
    /// `plugins:`.
    pub plugins: Props,
}

impl Config {
    /// Reads the configuration of a home folder.
    ///
    /// # Errors
    /// A file that cannot be read, or a value of the wrong type; the message names file and key.
    pub fn load(etc: &Path, environment: &Environment) -> Result<Self, String> {
        Self::from_layers(&Layers::read(etc, environment)?, environment)
    }

    /// The same of what was read already.
    ///
    /// # Errors
    /// A value of the wrong type.
    pub(crate) fn from_layers(layers: &Layers, environment: &Environment) -> Result<Self, String> {
        Self::of(&Tree(&layers.merged()), environment)
    }

    fn of(tree: &Tree<'_>, environment: &Environment) -> Result<Self, String> {
        let level = tree.text("basic", "logLevel", "info")?;
        let patrol = tree.duration("basic", "rulePatrolInterval", 10_000)?;
        Ok(Self {
            rest_ip: tree.text("basic", "restIp", "0.0.0.0")?,
            rest_port: tree.port("basic", "restPort", 9081)?,
            rest_tls: tls_files(tree, "basic", "restTls")?,
            authentication: tree.flag("basic", "authentication", false)?,
            data_ip: tree.text("source", "httpServerIp", "0.0.0.0")?,
            data_port: tree.port("source", "httpServerPort", 10081)?,
            data_tls: tls_files(tree, "source", "httpServerTls")?,
            log_level: if tree.flag("basic", "debug", false)? { "debug".to_owned() } else { level },
            console_log: tree.flag("basic", "consoleLog", false)?,
            file_log: tree.flag("basic", "fileLog", false)?,
            zone: zone(&tree.text("basic", "timezone", "Local")?, environment)?,
            ignore_case: tree.flag("basic", "ignoreCase", false)?,
            // R4.9: below a second it is ten.
            patrol: if patrol < Duration::from_secs(1) { Duration::from_secs(10) } else { patrol },
            profiling: profiling(tree)?,
            metrics_dump: metrics_dump(tree)?,
            trace_capacity: tree.count("openTelemetry", "localTraceCapacity", 2_048)?,
            prometheus: tree.flag("basic", "prometheus", false)?,
            prometheus_port: tree.port("basic", "prometheusPort", 20499)?,
            grace: tree.duration("basic", "gracefulShutdownTimeout", 3_000)?,
            audit_log: tree.flag("basic", "enableRestAuditLog", false)?,
            external_files: tree.flag("basic", "allowExternalFileAccess", false)?,
            private_net: tree.flag("basic", "enablePrivateNet", true)?,
            rule: tree.section("rule")?,
            sink: repaired(tree.section("sink")?),
            portable: tree.section("portable")?,
            javascript: tree.section("javascript")?,
            plugins: tree.section("plugins")?,
        })
    }
}

/// A section with `certfile` and `keyfile`; both or none.
fn tls_files(tree: &Tree<'_>, section: &str, key: &str) -> Result<Option<TlsFiles>, String> {
    let Some(of) = tree.get(section, key) else { return Ok(None) };
    let name = format!("{section}.{key}");
    let of = serde_json::json!({ &name: of });
    let of = Tree(&of);
    let (certificates, private) = (of.text(&name, "certfile", "")?, of.text(&name, "keyfile", "")?);
    match (certificates.is_empty(), private.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Ok(Some(TlsFiles { certificates: certificates.into(), key: private.into() })),
        _ => Err(format!("configuration: {name} needs both certfile and keyfile")),
    }
}

/// `basic.ResourceProfileConfig`: the interval of accounting, when that is enabled.
fn profiling(tree: &Tree<'_>) -> Result<Option<Duration>, String> {
    let section = "basic.ResourceProfileConfig";
    let Some(of) = tree.get("basic", "ResourceProfileConfig") else { return Ok(None) };
    let of = serde_json::json!({ section: of });
    let of = Tree(&of);
    let interval = of.duration(section, "interval", 5_000)?;
    let interval = if interval.is_zero() { Duration::from_secs(5) } else { interval };
    Ok(of.flag(section, "enable", false)?.then_some(interval))
}

/// `basic.metricsDumpConfig`: `enable` and `retainedDuration`.
fn metrics_dump(tree: &Tree<'_>) -> Result<(bool, Duration), String> {
    let section = "basic.metricsDumpConfig";
    let of = tree.get("basic", "metricsDumpConfig").cloned().unwrap_or_default();
    let of = serde_json::json!({ section: of });
    let of = Tree(&of);
    Ok((of.flag(section, "enable", false)?, of.duration(section, "retainedDuration", 21_600_000)?))
}

/// Cache sizes of the instance that do not fit are repaired (configuration.md 2.3); those of an action are refused.
fn repaired(mut sink: Props) -> Props {
    let size = |sink: &Props, name: &str| sink.int(name).ok().flatten();
    let page = size(&sink, "bufferPageSize").filter(|page| *page > 0).unwrap_or(256);
    for (name, smallest) in [("bufferPageSize", 1), ("memoryCacheThreshold", page), ("maxDiskCache", page)] {
        let Some(written) = sink.get(name).filter(|value| !value.is_null()).cloned() else { continue };
        let whole = size(&sink, name).filter(|size| *size >= smallest).unwrap_or(page);
        let fits =
            if smallest == 1 { whole } else { (whole.saturating_add(page - 1) / page).saturating_mul(page) };
        if written != fits {
            warn!("configuration: sink.{name} is {written}, which does not fit; {fits} is used");
            sink.set(name, fits);
        }
    }
    sink
}

/// `Local` is the machine's zone: `TZ`, else what `/etc/localtime` points to, else UTC.
fn zone(name: &str, environment: &Environment) -> Result<String, String> {
    let is_zone = |name: &str| name.parse::<chrono_tz::Tz>().is_ok();
    if !name.eq_ignore_ascii_case("local") && !name.is_empty() {
        let unknown =
            || format!("basic.timezone: unknown time zone {name}; use an IANA name such as Europe/Berlin");
        return is_zone(name).then(|| name.to_owned()).ok_or_else(unknown);
    }
    let from_link = || {
        let target = std::fs::read_link("/etc/localtime").ok()?;
        let target = target.to_str()?;
        target.split_once("zoneinfo/").map(|(_, name)| name.to_owned())
    };
    let written = environment.get("TZ").map(|zone| zone.trim_start_matches(':').to_owned());
    let local = written.filter(|zone| is_zone(zone)).or_else(from_link).filter(|zone| is_zone(zone));
    Ok(local.unwrap_or_else(|| "UTC".to_owned()))
}

/// Typed look-ups that name the key when a value is wrong. Environment variables bring numbers for flags and the
/// like (configuration.md 3, trap 2), so related types are accepted.
struct Tree<'a>(&'a Json);

impl Tree<'_> {
    fn get(&self, section: &str, key: &str) -> Option<&Json> {
        yaml::member(self.0, section)
            .and_then(|section| yaml::member(section, key))
            .filter(|value| !value.is_null())
    }

    fn wrong<T>(section: &str, key: &str, expected: &str, value: &Json) -> Result<T, String> {
        Err(format!(
            "configuration: {section}.{key} must be {expected}, not {value} (etc/kuiper.yaml, etc/thalweg.yaml or environment)"
        ))
    }

    fn text(&self, section: &str, key: &str, default: &str) -> Result<String, String> {
        match self.get(section, key) {
            None => Ok(default.to_owned()),
            Some(Json::String(text)) => Ok(text.clone()),
            Some(value @ (Json::Number(_) | Json::Bool(_))) => Ok(value.to_string()),
            Some(value) => Self::wrong(section, key, "a text", value),
        }
    }

    fn flag(&self, section: &str, key: &str, default: bool) -> Result<bool, String> {
        match self.get(section, key) {
            None => Ok(default),
            Some(Json::Bool(value)) => Ok(*value),
            Some(Json::Number(number)) if number.as_i64().is_some_and(|n| n == 0 || n == 1) => {
                Ok(number.as_i64() == Some(1))
            }
            Some(value) => Self::wrong(section, key, "true or false", value),
        }
    }

    fn port(&self, section: &str, key: &str, default: u16) -> Result<u16, String> {
        match self.get(section, key) {
            None => Ok(default),
            Some(value) => match value.as_u64().and_then(|port| u16::try_from(port).ok()) {
                Some(port) => Ok(port),
                None => Self::wrong(section, key, "a port number", value),
            },
        }
    }

    /// A number of things.
    fn count(&self, section: &str, key: &str, default: usize) -> Result<usize, String> {
        let Some(value) = self.get(section, key) else { return Ok(default) };
        let text = value.as_str().map(str::to_owned).unwrap_or_else(|| value.to_string());
        text.parse().or_else(|_| Self::wrong(section, key, "a number that is not negative", value))
    }

    fn duration(&self, section: &str, key: &str, default: u64) -> Result<Duration, String> {
        let millis = match self.get(section, key) {
            None => return Ok(Duration::from_millis(default)),
            Some(Json::String(text)) => parse_duration(text),
            Some(value) => value.as_i64(),
        };
        match millis.and_then(|millis| u64::try_from(millis).ok()) {
            Some(millis) => Ok(Duration::from_millis(millis)),
            None => Self::wrong(
                section,
                key,
                "a duration such as 10s",
                self.get(section, key).unwrap_or(&Json::Null),
            ),
        }
    }

    fn section(&self, name: &str) -> Result<Props, String> {
        match yaml::member(self.0, name) {
            None | Some(Json::Null) => Ok(Props::from(Map::new())),
            Some(Json::Object(members)) => Ok(Props::from(members.clone())),
            Some(value) => Err(format!("configuration: {name} must be a section, not {value}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(written: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("kuiper.yaml"), written).expect("written");
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::load(folder.path(), &variables.collect())
    }

    #[test]
    fn cache_sizes_of_the_instance_are_repaired() {
        let config = load("sink: {bufferPageSize: 100, memoryCacheThreshold: 101, maxDiskCache: 0}", &[]);
        let sink = config.expect("it can be repaired").sink;
        let sizes = ["bufferPageSize", "memoryCacheThreshold", "maxDiskCache"].map(|name| sink.int(name));
        assert_eq!(sizes, [Ok(Some(100)), Ok(Some(200)), Ok(Some(100))]);
        let shipped = load("", &[]).expect("it is right").sink;
        assert_eq!(shipped.int("memoryCacheThreshold"), Ok(Some(1_024)));
        assert_eq!(shipped.bool("enableCache"), Ok(None), "decisions.md: on for remote sinks unless written");
    }

    #[test]
    fn environment_wins_over_files_and_files_over_what_is_shipped() {
        let config = load(
            "basic: {restport: 1, timezone: Asia/Tokyo}\nrule: {qos: 1}",
            &[("KUIPER__BASIC__RESTPORT", "2")],
        );
        let config = config.expect("it is right");
        assert_eq!((config.rest_port, config.data_port, config.zone.as_str()), (2, 10081, "Asia/Tokyo"));
        assert_eq!(config.rule.int("QOS"), Ok(Some(1)));
        assert_eq!(config.rule.text("checkpointInterval"), Ok(Some("300s")));
        let config = load(
            "",
            &[
                ("KUIPER__BASIC__RESTPORT", "2"),
                ("THALWEG__BASIC__RESTPORT", "3"),
                ("TZ", "UTC"),
                ("KUIPER__BASIC__DEBUG", "1"),
            ],
        );
        let config = config.expect("it is right");
        assert_eq!((config.rest_port, config.zone.as_str(), config.log_level.as_str()), (3, "UTC", "debug"));
    }

    #[test]
    fn a_value_of_the_wrong_type_is_named() {
        for (written, part) in [
            ("basic: {restPort: x}", "basic.restPort must be a port number"),
            ("basic: {timezone: Mars/Base}", "unknown time zone Mars/Base"),
            ("basic: {debug: maybe}", "basic.debug must be true or false"),
            ("basic: {rulePatrolInterval: soon}", "a duration"),
            ("rule: 5", "rule must be a section"),
            ("basic: {restTls: {certfile: a.pem}}", "basic.restTls needs both certfile and keyfile"),
            ("basic: [", "kuiper.yaml"),
        ] {
            let error = load(written, &[]).expect_err(written);
            assert!(error.contains(part), "{written}: {error}");
        }
    }
}
