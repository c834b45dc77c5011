//! What is written and has no effect: told in the log, in EXPLAIN and in the rule's status, and refused by nobody.
//!
//! The reader's table of all options is `docs/guide/options.md`; a test posts each row of it. Properties of connectors
//! say for themselves that they are without effect (`PropSpec::inert`).

use serde_json::Value as Json;
use thalweg_core::Props;
use thalweg_core::diagnostic::nearest;

use crate::props::{OF_OPTIONS, extra_props, option};
use crate::stream::StreamEntry;

/// The names of options (`rest-api.md` 5.1), ours, and those of upstream's documentation that do nothing there.
const OPTIONS: &[&str] = &[
    "debug",
    "logFilename",
    "isEventTime",
    "lateTolerance",
    "lateData",
    "concurrency",
    "bufferLength",
    "sendMetaToSink",
    "sendNilField",
    "sendError",
    "qos",
    "checkpointInterval",
    "restartStrategy",
    "cron",
    "duration",
    "cronDatetimeRange",
    "planOptimizeStrategy",
    "notifySub",
    "disableBufferFullDiscard",
    "enableSaveStateBeforeStop",
    "latencyBudgetUs",
    "forceExitTimeout",
    "experiment",
    "enableRuleTracer",
];

/// The options that hold options.
const NESTED: &[(&str, &[&str])] = &[
    ("restartStrategy", &["attempts", "delay", "multiplier", "maxDelay", "jitterFactor"]),
    (
        "planOptimizeStrategy",
        &[
            "enableIncrementalWindow",
            "enableAliasPushdown",
            "disableAliasRefCal",
            "optimizeControl",
            "windowOption",
        ],
    ),
    ("planOptimizeStrategy.optimizeControl", &["disableOptimizeRules"]),
    ("planOptimizeStrategy.windowOption", &["windowVersion", "enableSendSlidingWindowTwice"]),
    ("experiment", &["useSliceTuple"]),
];

/// Options that are known and change nothing, and what holds instead.
const INERT: &[(&str, &str)] = &[
    ("debug", "the log level is that of the instance (basic.debug)"),
    ("logFilename", "rules write to the log of the instance, each line with rule=<id>"),
    ("concurrency", "the operators of a rule run one after the other, rules beside each other"),
    ("restartStrategy.delay", "a failed rule is started again at the next patrol"),
    ("restartStrategy.multiplier", "a failed rule is started again at the next patrol"),
    ("restartStrategy.maxDelay", "a failed rule is started again at the next patrol"),
    ("restartStrategy.jitterFactor", "a failed rule is started again at the next patrol"),
    (
        "planOptimizeStrategy.disableAliasRefCal",
        "an alias is seen by the fields on its right, and on its left where no column has its name",
    ),
    ("notifySub", "there is no control topic"),
    ("forceExitTimeout", "a rule stops when its last batch is through"),
    ("enableRuleTracer", "a rule is traced by POST /rules/{id}/trace/start"),
];

/// The options of rules, those in others with the path to them.
pub(super) fn names() -> Vec<String> {
    let nested =
        NESTED.iter().flat_map(|(path, names)| names.iter().map(move |name| format!("{path}.{name}")));
    let all = OPTIONS.iter().map(|name| (*name).to_owned()).chain(nested);
    all.filter(|name| NESTED.iter().all(|(path, _)| path != name)).collect()
}

/// What has no effect among a rule's own options.
pub(super) fn options(own: &Props) -> Vec<String> {
    let mut notes = unknown("", own, OPTIONS);
    for (path, names) in NESTED {
        if let Some(Json::Object(inner)) = at(own, path) {
            notes.extend(unknown(&format!("{path}."), &Props::from(inner), names));
        }
    }
    let written = INERT.iter().filter(|(path, _)| at(own, path).is_some_and(|value| !is_default(&value)));
    notes.extend(written.map(|(path, instead)| format!("option {path} has no effect: {instead}")));
    notes
}

/// What has no effect among the options of a definition.
pub(super) fn definition(entry: &StreamEntry) -> Vec<String> {
    let def = &entry.def;
    let written = |name: &str| option(&entry.create, name).is_some_and(|value| !value.is_empty());
    let is_on =
        |name: &str| option(&entry.create, name).is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let is_table = def.kind == thalweg_plan::SourceKind::Table;
    let notes = [
        (written("SCHEMAID"), "SCHEMAID", format!("format {} has no schemas", def.format)),
        (
            written("DELIMITER") && &*def.format != "delimited",
            "DELIMITER",
            format!("it is for FORMAT=\"delimited\", and this one is {}", def.format),
        ),
        (
            written("RETAIN_SIZE") && (!is_table || def.is_lookup),
            "RETAIN_SIZE",
            "only tables of KIND=\"scan\" keep rows".to_owned(),
        ),
        (written("KIND") && !is_table, "KIND", "it is for tables".to_owned()),
        (written("KEY") && !def.is_lookup, "KEY", "it is for tables of KIND=\"lookup\"".to_owned()),
        (is_on("SHARED") && is_table, "SHARED", "it is for streams".to_owned()),
        (
            is_on("STRICT_VALIDATION") && def.columns.is_none(),
            "STRICT_VALIDATION",
            "no columns are declared that rows could be checked against".to_owned(),
        ),
    ];
    let kind = if is_table { "table" } else { "stream" };
    let told = notes.into_iter().filter(|(is_inert, ..)| *is_inert);
    let told = told.map(|(_, name, why)| format!("{kind} {}: option {name} has no effect: {why}", def.name));
    told.chain(extra(entry)).collect()
}

/// What has no effect in EXTRA.
fn extra(entry: &StreamEntry) -> Vec<String> {
    let (def, text) = (&entry.def, option(&entry.create, "EXTRA").unwrap_or_default());
    let Some(extra) = extra_props(text).ok() else { return Vec::new() };
    let tell = |name: &str, why: String| format!("stream {}: property {name} has no effect: {why}", def.name);
    let written = OF_OPTIONS.iter().filter(|(name, _)| extra.get(name).is_some());
    let mut notes: Vec<String> =
        written.map(|(name, option)| tell(name, format!("write the option {option}"))).collect();
    if !def.is_lookup && extra.get("lookup").is_some() {
        notes.push(tell("lookup", "it is for tables of KIND=\"lookup\"".to_owned()));
    }
    notes
}

/// The names that no table knows. `before` is the path to them.
fn unknown(before: &str, own: &Props, known: &[&str]) -> Vec<String> {
    let is_known = |name: &str| known.iter().any(|known| known.eq_ignore_ascii_case(name));
    let told = own.iter().filter(|(name, _)| !is_known(name)).map(|(name, _)| {
        let near = nearest(name, known.iter().copied());
        let help = near.map_or_else(String::new, |near| format!(" (did you mean {near}?)"));
        format!("unknown option {before}{name} has no effect{help}")
    });
    told.collect()
}

/// The value at a path of names.
fn at(own: &Props, path: &str) -> Option<Json> {
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    let value = own.get(first)?;
    match rest {
        None => Some(value.clone()),
        Some(rest) => at(&Props::from(value.as_object()?.clone()), rest),
    }
}

/// Whether the value asks for nothing.
fn is_default(value: &Json) -> bool {
    match value {
        Json::Null | Json::Bool(false) => true,
        Json::Number(number) => number.as_f64().is_some_and(|number| number == 0.0 || number == 1.0),
        Json::String(text) => text.is_empty(),
        _ => false,
    }
}
