//! Moves bytes: sources, sinks, lookups, formats and codecs.
//!
//! Everything that rules may name is a row of one of the tables below. A connector knows the outside world and
//! [`thalweg_core::connector`], nothing of SQL, rules or stages.

pub mod broker;
mod file;
pub mod format;
mod inbox;
mod log;
mod memory;
mod mqtt;
mod nop;
pub mod outlet;
pub mod pipeline;
mod property;
mod simulator;
mod sse;
#[cfg(test)]
mod testing;
mod tls;

pub use mqtt::listen;
use thalweg_core::connector::Connector;
use thalweg_core::format::Format;
use thalweg_core::registry::Registry;

/// All connectors.
pub static CONNECTORS: &[Connector] = &[
    file::CONNECTOR,
    log::CONNECTOR,
    memory::CONNECTOR,
    mqtt::CONNECTOR,
    mqtt::listen::CONNECTOR,
    nop::CONNECTOR,
    simulator::CONNECTOR,
    sse::CONNECTOR,
];

/// All formats.
pub static FORMATS: &[&dyn Format] = &[
    &format::binary::FORMAT,
    &format::delimited::FORMAT,
    &format::json::FORMAT,
    &format::urlencoded::FORMAT,
];

/// All of them, with the properties that every source and every sink understands.
pub fn registry() -> Registry {
    Registry::new(CONNECTORS, FORMATS).with_common(pipeline::SOURCE_PROPS, pipeline::SINK_PROPS)
}

/// All tables of properties, by connector; `every source` and `every sink` hold those that all have.
pub fn properties() -> Vec<(&'static str, &'static [thalweg_core::spec::PropSpec])> {
    let own = CONNECTORS.iter().map(|connector| (connector.name, connector.props));
    own.chain([("every source", pipeline::SOURCE_PROPS), ("every sink", pipeline::SINK_PROPS)]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use thalweg_core::connector::{BuildCx, Connector};
    use thalweg_core::props::Props;
    use thalweg_core::spec::{PropSpec, Roles, check};

    use super::{CONNECTORS, FORMATS};

    fn defaults(specs: &[PropSpec]) -> Props {
        let mut props = Props::new();
        for spec in specs {
            if let Some(default) = spec.default {
                let value: serde_json::Value = serde_json::from_str(default).expect(spec.name);
                props.set(spec.name, value);
            }
        }
        props
    }

    #[test]
    fn names_are_unique_and_everything_is_described() {
        let mut names = BTreeSet::new();
        for connector in CONNECTORS {
            assert!(names.insert(connector.name.to_lowercase()), "{} twice", connector.name);
            assert!(connector.summary.ends_with('.'), "{}", connector.name);
        }
        for (owner, specs) in super::properties() {
            let mut names = BTreeSet::new();
            for spec in specs {
                assert!(names.insert(spec.name.to_lowercase()), "{owner}: {} twice", spec.name);
                assert!(spec.help.ends_with('.'), "{owner}: {}", spec.name);
            }
        }
        let formats: BTreeSet<_> = FORMATS.iter().map(|format| format.name()).collect();
        assert_eq!(formats.len(), FORMATS.len());
    }

    #[test]
    fn p1_5_what_every_stream_and_action_may_have_is_known_and_a_slip_gets_the_nearest_name() {
        let registry = super::registry();
        let mut props = Props::new();
        // P1.1 (5): set from the WITH options of every stream.
        for name in ["format", "key", "datasource", "schemaId", "delimiter", "retainSize", "strictValidation"]
        {
            props.set(name, serde_json::Value::Null);
        }
        props.set("timestamp", "ts");
        props.set("TimestampFormat", "YYYY");
        let mqtt = registry.source("mqtt").unwrap();
        assert_eq!(registry.unknown(&mqtt, Roles::SOURCE, &props), []);
        props.set("decompresion", "gzip");
        let slip = registry.unknown(&mqtt, Roles::SOURCE, &props);
        assert_eq!(slip, [("decompresion", Some("decompression"))]);
        let mut action = Props::new();
        action.set("tableDataField", "o");
        action.set("sendSingel", true);
        let sink = registry.sink("mqtt").unwrap();
        assert_eq!(registry.unknown(&sink, Roles::SINK, &action), [("sendSingel", Some("sendSingle"))]);
    }

    #[test]
    fn every_default_passes_its_own_check() {
        for (owner, specs) in super::properties() {
            for role in [Roles::SOURCE, Roles::SINK, Roles::LOOKUP] {
                check(owner, specs, role, &defaults(specs)).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }

    /// What has no default and yet must be there.
    fn with_required(connector: &Connector, home: &std::path::Path) -> Props {
        let mut props = defaults(connector.props);
        std::fs::write(home.join("in.json"), "[]").unwrap();
        let place = match connector.name {
            "file" => "in.json",
            // A path of the data port.
            "sse" => "/t",
            _ => "t",
        };
        props.set("datasource", place);
        for spec in connector.props.iter().filter(|spec| spec.required) {
            props.set(spec.name, if spec.name == "server" { "tcp://127.0.0.1:1" } else { "t" });
        }
        props
    }

    /// Whether each part can be built from these properties.
    fn builds(connector: &Connector, cx: &BuildCx) -> Vec<(Roles, bool)> {
        let source = connector.source.map(|build| (Roles::SOURCE, build(cx).is_ok()));
        let sink = connector.sink.map(|build| (Roles::SINK, build(cx).is_ok()));
        let lookup = connector.lookup.map(|build| (Roles::LOOKUP, build(cx).is_ok()));
        [source, sink, lookup].into_iter().flatten().collect()
    }

    #[tokio::test]
    async fn what_is_marked_as_required_is_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        for connector in CONNECTORS {
            for spec in connector.props.iter().filter(|spec| spec.required) {
                assert!(spec.default.is_none(), "{}: {}", connector.name, spec.name);
                let mut cx = super::testing::cx("{}");
                cx.props = with_required(connector, folder.path());
                cx.props.remove(spec.name);
                for (role, is_built) in builds(connector, &cx) {
                    assert_eq!(is_built, !spec.roles.contains(role), "{}: {}", connector.name, spec.name);
                }
            }
        }
    }

    #[tokio::test]
    async fn a_connection_is_made_of_the_properties_that_are_marked_so() {
        let folder = tempfile::tempdir().unwrap();
        for connector in CONNECTORS {
            let of_connection = connector.props.iter().filter(|spec| spec.of_connection);
            let names: BTreeSet<_> = of_connection.map(|spec| spec.name).collect();
            assert_eq!(connector.connect.is_some(), !names.is_empty(), "{}", connector.name);
            let Some(connect) = connector.connect else { continue };
            let mut cx = super::testing::cx("{}");
            for (name, value) in with_required(connector, folder.path()).iter() {
                if names.contains(name) {
                    cx.props.set(name, value.clone());
                }
            }
            connect(&cx).map(drop).unwrap_or_else(|error| panic!("{}: {error}", connector.name));
        }
    }

    #[tokio::test]
    async fn every_build_accepts_a_document_of_defaults() {
        let folder = tempfile::tempdir().unwrap();
        for connector in CONNECTORS {
            let mut cx = super::testing::cx("{}");
            cx.home = folder.path().to_owned();
            cx.props = with_required(connector, folder.path());
            if connector.name == "file" {
                cx.props.set("path", ".");
            }
            let name = connector.name;
            if let Some(build) = connector.source {
                build(&cx).map(drop).unwrap_or_else(|error| panic!("{name} source: {error}"));
            }
            if name == "file" {
                cx.props.set("path", "out.txt");
                cx.props.set("fileType", "lines");
            }
            if let Some(build) = connector.sink {
                build(&cx).map(drop).unwrap_or_else(|error| panic!("{name} sink: {error}"));
            }
            if let Some(build) = connector.lookup {
                build(&cx).map(drop).unwrap_or_else(|error| panic!("{name} lookup: {error}"));
            }
            if let Some(build) = connector.connect {
                build(&cx).map(drop).unwrap_or_else(|error| panic!("{name} connection: {error}"));
            }
        }
    }
}
