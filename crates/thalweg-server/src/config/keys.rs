//! Every key of the main file (configuration.md 2): what is built in, and whether it does anything.
//!
//! A test holds this table to the code beside it: a key that is read must be here, and not as one without effect. What a
//! key means stands in the guide (`docs/guide/configuration.md`).

use thalweg_core::diagnostic::nearest;
use thalweg_engine::rule::RuleOptions;

/// One key.
pub(crate) struct Key {
    /// The path, in upstream's letters.
    pub(crate) path: &'static str,
    /// What holds when no file says anything; empty: nothing.
    pub(crate) built_in: &'static str,
    /// Why it has no effect; empty: it has.
    pub(crate) idle: &'static str,
}

const fn key(path: &'static str, built_in: &'static str) -> Key {
    Key { path, built_in, idle: "" }
}

const fn idle(path: &'static str, idle: &'static str) -> Key {
    Key { path, built_in: "", idle }
}

const ROTATION: &str = "log/stream.log is not rotated; use logrotate with copytruncate";
const NO_SYSLOG: &str = "there is no syslog; use basic.consoleLog and the journal of the system";
const NO_PROFILER: &str = "there is no Go profiler";
const ONE_STORE: &str = "there is one store, data/thalweg.redb";
const NO_COLLECTOR: &str = "traces are kept in memory and sent nowhere; read them with GET /trace/{id}";
const NO_ENCRYPTION: &str = "there is no encryption of messages yet";

/// All keys but those of `rule:`, which are the options of rules.
pub(crate) const KEYS: &[Key] = &[
    key("basic.logLevel", "info"),
    key("basic.debug", "false"),
    key("basic.consoleLog", "false"),
    key("basic.fileLog", "false"),
    idle("basic.logDisableTimestamp", "log lines always have their time"),
    idle("basic.syslog.enable", NO_SYSLOG),
    idle("basic.syslog.network", NO_SYSLOG),
    idle("basic.syslog.address", NO_SYSLOG),
    idle("basic.syslog.level", NO_SYSLOG),
    idle("basic.syslog.tag", NO_SYSLOG),
    idle("basic.rotateTime", ROTATION),
    idle("basic.maxAge", ROTATION),
    idle("basic.rotateSize", ROTATION),
    idle("basic.rotateCount", ROTATION),
    idle("basic.ip", "eKuiper's own protocol is not served; thalweg and kuiper speak REST"),
    idle("basic.port", "eKuiper's own protocol is not served; thalweg and kuiper speak REST"),
    key("basic.restIp", "0.0.0.0"),
    key("basic.restPort", "9081"),
    key("basic.restTls.certfile", ""),
    key("basic.restTls.keyfile", ""),
    key("basic.timezone", "Local"),
    key("basic.authentication", "false"),
    key("basic.prometheus", "false"),
    key("basic.prometheusPort", "20499"),
    idle("basic.pprof", NO_PROFILER),
    idle("basic.pprofIp", NO_PROFILER),
    idle("basic.pprofPort", NO_PROFILER),
    idle("basic.pluginHosts", "there are no native plugins to download"),
    key("basic.ignoreCase", "false"),
    idle("basic.sql.maxConnections", "there are no SQL connectors yet"),
    key("basic.rulePatrolInterval", "10s"),
    idle("basic.enableOpenZiti", "there is no OpenZiti"),
    idle("basic.aesKey", NO_ENCRYPTION),
    key("basic.gracefulShutdownTimeout", "3s"),
    idle(
        "basic.connection.backoffMaxElapsedDuration",
        "connections are tried again for ever, as upstream does",
    ),
    key("basic.ResourceProfileConfig.enable", "false"),
    key("basic.ResourceProfileConfig.interval", "5s"),
    key("basic.metricsDumpConfig.enable", "false"),
    key("basic.metricsDumpConfig.retainedDuration", "6h"),
    key("basic.enableRestAuditLog", "false"),
    key("basic.enablePrivateNet", "true"),
    key("basic.allowExternalFileAccess", "false"),
    idle("basic.cfgStorageType", "stored configuration is in data/thalweg.redb"),
    key("sink.enableCache", ""),
    key("sink.memoryCacheThreshold", "1024"),
    idle("sink.maxDiskCache", "there is no cache on disk yet; memoryCacheThreshold is the limit"),
    key("sink.bufferPageSize", "256"),
    key("sink.resendInterval", "0s"),
    key("sink.cleanCacheAtStop", "false"),
    key("sink.resendAlterQueue", "false"),
    key("sink.resendPriority", "0"),
    idle("sink.resendIndicatorField", "resent messages are as they were"),
    idle("sink.resendDestination", "failed messages are resent to where they were meant for"),
    key("source.httpServerIp", "0.0.0.0"),
    key("source.httpServerPort", "10081"),
    key("source.httpServerTls.certfile", ""),
    key("source.httpServerTls.keyfile", ""),
    idle("store.type", ONE_STORE),
    idle("store.extStateType", ONE_STORE),
    idle("store.redis", ONE_STORE),
    idle("store.sqlite", ONE_STORE),
    idle("store.fdb", ONE_STORE),
    idle("store.pebble", ONE_STORE),
    key("portable.pythonBin", "python"),
    key("portable.initTimeout", "60s"),
    key("portable.sendTimeout", "5s"),
    key("portable.recvTimeout", "5s"),
    key("portable.installTimeout", "10m"),
    key("portable.heartbeat", ""),
    key("portable.batchRows", "4096"),
    key("portable.batchBytes", "1048576"),
    key("portable.useBundledSdk", "true"),
    key("portable.maxUnpacked", ""),
    key("portable.limits", ""),
    key("portable.config", ""),
    key("portable.secrets", ""),
    key("plugins.python.offline", ""),
    key("plugins.python.prefer", ""),
    key("javascript.timeLimit", "1s"),
    key("javascript.memoryLimit", "67108864"),
    key("javascript.stackLimit", "524288"),
    idle("openTelemetry.serviceName", NO_COLLECTOR),
    idle("openTelemetry.enableRemoteCollector", NO_COLLECTOR),
    idle("openTelemetry.remoteEndpoint", NO_COLLECTOR),
    key("openTelemetry.localTraceCapacity", "2048"),
    idle("openTelemetry.enableLocalStorage", NO_COLLECTOR),
    idle("security.encryption", NO_ENCRYPTION),
    idle("security.tls", "TLS properties stand at each connection, source and sink"),
    idle("hack.cold", "nothing uses it, upstream either"),
    idle("connection.backoffMaxElapsedDuration", "connections are tried again for ever, as upstream does"),
];

/// Whether these are the same, whatever the case.
fn same(a: &str, b: &str) -> bool {
    a.eq_ignore_ascii_case(b)
}

/// The key of a path: the one of this name, or the one that holds it.
pub(crate) fn find(path: &str) -> Option<&'static Key> {
    let holds = |key: &&Key| {
        let rest = path.get(key.path.len()..).unwrap_or_default();
        path.get(..key.path.len()).is_some_and(|start| same(start, key.path))
            && (rest.is_empty() || rest.starts_with('.'))
    };
    KEYS.iter().find(holds)
}

/// Whether a path is an option of rules, which all may be in `rule:`.
pub(crate) fn is_rule_option(path: &str) -> bool {
    let option = path.split_once('.').filter(|(section, _)| same(section, "rule")).map(|(_, option)| option);
    option.is_some_and(|option| {
        RuleOptions::names().iter().any(|name| {
            let rest = option.get(name.len()..).unwrap_or_default();
            option.get(..name.len()).is_some_and(|start| same(start, name))
                && (rest.is_empty() || rest.starts_with('.'))
        })
    })
}

/// What is wrong with a path that is none of the keys.
pub(crate) fn unknown(path: &str) -> String {
    let options: Vec<String> = RuleOptions::names().iter().map(|name| format!("rule.{name}")).collect();
    let all = || KEYS.iter().map(|key| key.path).chain(options.iter().map(String::as_str));
    let (section, name) = path.rsplit_once('.').unwrap_or(("", path));
    // First among those that stand in the same section, then anywhere.
    let beside: Vec<&str> = all()
        .filter_map(|known| {
            let (other, last) = known.rsplit_once('.')?;
            same(other, section).then_some(last)
        })
        .collect();
    let near = nearest(name, beside).map(|near| format!("{section}.{near}"));
    let near = near.or_else(|| {
        all().find(|known| known.rsplit('.').next().is_some_and(|last| same(last, name))).map(str::to_owned)
    });
    let near = near.or_else(|| nearest(path, all()).map(str::to_owned));
    match near {
        Some(near) => format!("{path} is no key; did you mean {near}?"),
        None => format!("{path} is no key; thalweg config check --all lists those that there are"),
    }
}

/// Whether values of this key are not to be shown.
pub(crate) fn is_secret(path: &str) -> bool {
    let path = path.to_lowercase();
    let name = path.rsplit('.').next().unwrap_or_default();
    let is_place = name.ends_with("file") || name.ends_with("path") || name == "authentication";
    let words = ["password", "pass", "token", "secret", "key", "credential", "auth", "kuiper_props"];
    !is_place && (path.contains(".secrets.") || words.iter().any(|word| name.contains(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_is_named_with_the_one_that_is_meant() {
        for (path, near) in [
            ("basic.restProt", "basic.restPort"),
            ("basic.loglevl", "basic.logLevel"),
            ("restPort", "basic.restPort"),
            ("rule.checkpointIntervall", "rule.checkpointInterval"),
            ("basics.restPort", "basic.restPort"),
        ] {
            assert_eq!(unknown(path), format!("{path} is no key; did you mean {near}?"));
        }
        assert!(
            unknown("x.quite.else")
                .ends_with("is no key; thalweg config check --all lists those that there are")
        );
    }

    #[test]
    fn what_the_code_reads_is_in_the_table() {
        let code = include_str!("../config.rs").split("mod tests").next().unwrap_or_default();
        let mut read = Vec::new();
        for section in ["basic", "source"] {
            for rest in code.split(&format!("(\"{section}\", \"")).skip(1) {
                let name = rest.split('"').next().unwrap_or_default();
                read.push(format!("{section}.{name}"));
            }
        }
        assert!(read.len() > 15, "the code is written in another way: {read:?}");
        for path in &read {
            let holds = |key: &&Key| key.path.starts_with(path.as_str()) && key.idle.is_empty();
            assert!(KEYS.iter().any(|key| holds(&key)), "{path} is read, and not told so");
        }
    }

    #[test]
    fn keys_are_found_in_any_case_and_below_open_ones() {
        assert!(find("BASIC.restport").is_some_and(|key| key.path == "basic.restPort"));
        assert!(find("portable.limits.memory").is_some() && find("store.redis.host").is_some());
        assert!(find("basic.restPorts").is_none() && find("basic").is_none());
        assert!(is_rule_option("rule.QOS") && is_rule_option("rule.restartStrategy.attempts"));
        assert!(!is_rule_option("rule.quality"));
    }

    #[test]
    fn secrets_are_not_shown_and_places_of_files_are() {
        for path in ["store.redis.password", "basic.aesKey", "portable.secrets.p.pin", "default.accessToken"]
        {
            assert!(is_secret(path), "{path}");
        }
        for path in ["basic.restTls.keyfile", "basic.authentication", "basic.restPort", "basic.restIp"] {
            assert!(!is_secret(path), "{path}");
        }
    }
}
