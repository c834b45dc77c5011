//! What wins, what is kept, and what clients get back.

use serde_json::json;

use super::*;
use crate::store::MemoryStore;

/// A file for mqtt with two sections.
struct Files;

impl Profiles for Files {
    fn sections(&self, source_type: &str) -> Option<Map<String, Json>> {
        let file = json!({"default": {"server": "tcp://a:1", "qos": 1}, "demo": {"qos": 0}, "empty": null});
        (source_type == "mqtt").then(|| file.as_object().cloned().unwrap_or_default())
    }
}

fn profiles(store: &Arc<MemoryStore>) -> StoredProfiles {
    let store: Arc<dyn Store> = Arc::clone(store) as _;
    StoredProfiles::load(Arc::new(Files), Arc::new(Registry::new(&[], &[])), store).expect("it can be read")
}

fn props(json: Json) -> Props {
    Props::from(json.as_object().cloned().unwrap_or_default())
}

#[test]
fn stored_properties_lie_over_those_of_the_file_one_by_one_and_outlive_the_engine() {
    let store = Arc::new(MemoryStore::default());
    let (source, of) = (ProfileKind::Source, "mqtt");
    let before = profiles(&store);
    before.put(source, of, "default", props(json!({"QOS": 2}))).expect("it is right");
    before.put(source, of, "own", props(json!({"server": "tcp://b:1"}))).expect("it is right");
    before.put(source, of, "own", props(json!({"qos": 2}))).expect("it is right");
    let after = profiles(&store);
    let shown = Json::from(after.all(source, of).expect("it is known"));
    let expected = json!({
        "default": {"server": "tcp://a:1", "qos": 2},
        "demo": {"qos": 0}, "empty": {},
        // A profile is replaced as a whole.
        "own": {"qos": 2},
    });
    assert_eq!(shown, expected);
    assert_eq!(after.get(source, "MQTT", "own").map(|own| own.to_json()), Some(json!({"qos": 2})));
    assert_eq!(after.get(source, of, "Own"), None);
    assert_eq!(after.remove(source, of, "default"), Ok(true));
    assert_eq!(after.get(source, of, "default").map(|props| props.int("qos")), Some(Ok(Some(1))));
    for none in ["default", "demo", "nothing"] {
        assert_eq!(after.remove(source, of, none), Ok(false), "{none} is not stored");
    }
    assert_eq!(after.all(source, "nobody"), None);
}

#[test]
fn kinds_and_types_are_kept_apart_also_where_names_have_dots() {
    let store = Arc::new(MemoryStore::default());
    let before = profiles(&store);
    before.put(ProfileKind::Source, "a.b", "k", props(json!({"n": 1}))).expect("it is right");
    before.put(ProfileKind::Sink, "a.b", "k", props(json!({"n": 2}))).expect("it is right");
    let after = profiles(&store);
    let of = |kind| after.get(kind, "a.b", "k").and_then(|props| props.int("n").ok().flatten());
    assert_eq!((of(ProfileKind::Source), of(ProfileKind::Sink)), (Some(1), Some(2)));
    assert_eq!(after.all_stored(ProfileKind::Sink)["a.b"].keys().collect::<Vec<_>>(), ["k"]);
}

#[test]
fn what_could_be_no_name_is_refused() {
    let profiles = profiles(&Arc::default());
    for (of, key, expected) in [
        ("mqtt", "a/b", "Invalid confKey: id 'a/b' contains invalid characters"),
        ("mqtt", "", "Invalid confKey: id cannot be empty"),
        ("../x", "k", "Invalid type: \"../x\""),
        ("", "k", "Invalid type: \"\""),
        ("a\nb", "k", "Invalid type: \"a\\nb\""),
    ] {
        let why = profiles.put(ProfileKind::Source, of, key, Props::new()).expect_err(of);
        assert!(why.message.starts_with(expected), "{}", why.message);
    }
    assert!(profiles.all_stored(ProfileKind::Source).is_empty());
}

#[test]
fn durations_and_old_names_are_rewritten_before_they_are_stored() {
    let given = json!({
        "interval": 1000, "timeout": "1500", "cacheTtl": "5m", "expiration": 0.5,
        "lookup": {"cacheTtl": 60000, "cache": true}, "saslPassword": "x", "url": "u",
    });
    let mut expected = json!({
        "interval": "1s", "timeout": "1.5s", "cacheTtl": "5m", "expiration": 0.5,
        "lookup": {"cacheTtl": "1m0s", "cache": true}, "password": "x", "url": "u",
    });
    assert_eq!(normalized("kafka", props(given.clone())).to_json(), expected);
    expected["dburl"] =
        expected.as_object_mut().and_then(|members| members.remove("url")).unwrap_or_default();
    assert_eq!(normalized("sql", props(given)).to_json(), expected);
}

#[test]
fn what_cannot_be_read_is_left_out_and_stays_stored() {
    let store = Arc::new(MemoryStore::default());
    let put = |key: &str, text: &str| Change::Put(Table::Profile, key.to_owned(), text.as_bytes().to_vec());
    let written = [put("sources.mqtt.bad", "{"), put("nonsense", "{}"), put("sources.x", "{}")];
    store.write(&written).expect("written");
    assert!(profiles(&store).all_stored(ProfileKind::Source).is_empty());
    assert_eq!(store.keys(Table::Profile, "").map(|keys| keys.len()), Ok(3));
}
