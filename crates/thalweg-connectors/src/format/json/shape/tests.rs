//! Every message decoded by learned shapes beside the walker alone, and beside serde_json.

use std::sync::Arc;

use chrono_tz::Tz;
use proptest::prelude::*;
use thalweg_core::format::{Decoder, RawBatch};
use thalweg_core::json::{Numbers, from_json, parse};
use thalweg_core::projection::Strict;
use thalweg_core::{Batch, Cell, DataType, Fields, PathStep, Projection, Selection, Timestamp, Value, Want};

use super::super::decode::JsonDecoder;
use super::simd::{Anchors, Expected, scan};
use super::*;

/// The payloads one behind the other, with something before and behind them, and where each of them stands.
fn arena(payloads: &[Vec<u8>]) -> (Arc<Vec<u8>>, Vec<(u32, u32)>) {
    let mut arena = b"{\"a\":".to_vec();
    let mut spans = Vec::new();
    for payload in payloads {
        spans.push((arena.len() as u32, payload.len() as u32));
        arena.extend_from_slice(payload);
    }
    arena.extend_from_slice(b"1}");
    (Arc::new(arena), spans)
}

fn raw(arena: &Arc<Vec<u8>>, span: (u32, u32), index: usize) -> RawBatch {
    let topic = Fields::from([(Arc::from("topic"), Value::Int(index as i64))]);
    RawBatch {
        arena: Arc::clone(arena),
        spans: vec![span],
        times: vec![Timestamp(index as i64)],
        meta: vec![Some(Arc::new(topic))],
        ..RawBatch::default()
    }
}

/// What a decoder makes of each payload.
fn decode(decoder: &mut JsonDecoder, want: &Projection, payloads: &[Vec<u8>]) -> Vec<(Batch, Selection)> {
    let (arena, spans) = arena(payloads);
    let mut builder = BatchBuilder::new(Arc::new(want.schema()));
    let one = |(index, span): (usize, &(u32, u32))| {
        builder.begin(Some(Arc::clone(&arena)));
        decoder.decode(&raw(&arena, *span, index), &mut builder);
        builder.finish()
    };
    spans.iter().enumerate().map(one).collect()
}

/// As text: a row an entry, its time and cells, and the fault.
fn said((batch, rows): &(Batch, Selection)) -> Vec<String> {
    let cell = |row: usize| batch.columns.iter().map(move |column| format!("{:?}", column.cell(row)));
    let row = |row: usize| format!("{} {}", batch.times[row].0, cell(row).collect::<Vec<_>>().join(" "));
    let faults = rows.faults.iter().map(|fault| fault.message.to_string());
    (0..batch.n_rows).map(row).chain(faults).collect()
}

fn walked(want: &Projection, payloads: &[Vec<u8>]) -> Vec<Vec<String>> {
    let strict = Projection { strict_json: true, ..want.clone() };
    let mut walker = JsonDecoder::new(&Arc::new(strict), Tz::UTC);
    let outcomes = decode(&mut walker, want, payloads);
    assert_eq!(walker.shapes.hits, 0, "strictJson leaves everything to the walker");
    outcomes.iter().map(said).collect()
}

/// Every decoder agrees with the walker; gives the hits of the first one. Skeletons do not look into scalars that
/// nobody wants: what only they accept is as if something right had stood there.
fn check(want: &Projection, payloads: &[Vec<u8>]) -> u32 {
    let expected = walked(want, payloads);
    let repaired: Vec<Vec<u8>> = payloads.iter().map(|payload| repaired(payload)).collect();
    let lenient = walked(want, &repaired);
    let mut program = JsonDecoder::new(&Arc::new(want.clone()), Tz::UTC);
    program.shapes.small = (usize::MAX, usize::MAX);
    let outcomes: Vec<_> = decode(&mut program, want, payloads).iter().map(said).collect();
    for (index, outcome) in outcomes.iter().enumerate() {
        let text = String::from_utf8_lossy(&payloads[index]);
        assert_eq!(*outcome, expected[index], "program, {index}: {text}");
    }
    for instructions in Instructions::available() {
        let mut skeleton = JsonDecoder::new(&Arc::new(want.clone()), Tz::UTC);
        (skeleton.shapes.small, skeleton.shapes.instructions) = ((0, 0), instructions);
        let outcomes: Vec<_> = decode(&mut skeleton, want, payloads).iter().map(said).collect();
        for (index, outcome) in outcomes.iter().enumerate() {
            let text = String::from_utf8_lossy(&payloads[index]);
            if *outcome != expected[index] {
                let shown = String::from_utf8_lossy(&repaired[index]);
                assert_eq!(*outcome, lenient[index], "{instructions:?}, {index}: {text} as {shown}");
            }
        }
        let is_same_rate = skeleton.shapes.hits >= program.shapes.hits;
        assert!(is_same_rate, "{instructions:?} {} {}", skeleton.shapes.hits, program.shapes.hits);
    }
    program.shapes.hits
}

/// The same text with a zero for each thing that stands in the place of a scalar and is none.
fn repaired(payload: &[u8]) -> Vec<u8> {
    let (mut out, mut part, mut is_text, mut is_escaped) = (Vec::new(), Vec::new(), false, false);
    for &byte in payload {
        let is_structural = !is_text && b"{}[]:,".contains(&byte);
        if is_structural {
            let is_key = byte == b':';
            let is_blank = part.iter().all(u8::is_ascii_whitespace);
            let is_right = is_key || is_blank || parse(&part, Numbers::Float).is_ok();
            out.extend_from_slice(if is_right { &part } else { b"0" });
            out.push(byte);
            part.clear();
            is_escaped = false;
            continue;
        }
        is_text ^= byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        part.push(byte);
    }
    out.extend_from_slice(&part);
    out
}

fn column(path: &str) -> Want {
    Want::Column { path: path.split('.').map(Arc::from).collect(), data_type: None }
}

fn typed(name: &str, data_type: DataType) -> Want {
    Want::Column { path: vec![Arc::from(name)], data_type: Some(data_type) }
}

fn path(column: &str, below: &str) -> Want {
    let step = |step: &str| match step.parse() {
        Ok(index) => PathStep::Index(index),
        Err(_) => PathStep::Member(Arc::from(step)),
    };
    Want::Path { column: Arc::from(column), steps: below.split(' ').map(step).collect(), data_type: None }
}

fn projection(wants: impl IntoIterator<Item = Want>) -> Projection {
    let mut want = Projection::default();
    for wanted in wants {
        want.slot(wanted, None);
    }
    want
}

fn payloads(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Projections that ask for the same things in many ways.
fn projections() -> Vec<Projection> {
    let mut strict = projection([column("b")]);
    strict.slot(typed("a", DataType::Float), Some(Strict::default()));
    strict
        .slot(typed("c", DataType::String), Some(Strict { default: Some(Value::Int(7)), time_format: None }));
    strict.slot(Want::Meta, None);
    vec![
        projection([column("a")]),
        projection([column("a"), column("b"), column("c")]),
        projection([column("c"), column("a.b"), path("b", "0"), column("b")]),
        projection([path("a", "b 1"), path("a", "c"), column("a.a.a"), column("d.x"), path("c", "2")]),
        projection([Want::Everything, column("b")]),
        projection([typed("a", DataType::Float), typed("b", DataType::String), column("b")]),
        projection([typed("a", DataType::Boolean), typed("c", DataType::BigInt), Want::Meta]),
        Projection { whole_numbers: true, ..projection([column("a"), column("b"), path("c", "a")]) },
        Projection { ignore_case: true, ..projection([column("A"), column("b"), column("C.b")]) },
        strict,
        Projection::default(),
    ]
}

#[test]
fn what_comes_again_is_decoded_by_its_shape() {
    let texts = payloads(&[
        r#"{"a": 57, "b": "x", "c": {"b": [1, 2.5], "n": null}}"#,
        r#"{"a": -5.25, "b": "", "c": {"b": [10, 1e3], "n": true}}"#,
        r#"{"a": null, "b": "t\u00e9 \"x\"", "c": {"b": [0, -0], "n": "null"}}"#,
        r#"{"a": false, "b": 18446744073709551616, "c": {"b": [0.1, 123456789012345678], "n": 0}}"#,
    ]);
    for want in [
        projection([column("a"), column("b"), column("c.b"), path("c", "b 1"), column("c"), column("d")]),
        projection([Want::Everything]),
        projection([]),
    ] {
        assert_eq!(check(&want, &texts), 3);
    }
}

#[test]
fn t_10_a_key_moved_renamed_doubled_or_left_out_is_noticed() {
    let learned = r#"{"a":1,"b":2,"c":3}"#;
    let others = [
        r#"{"b":1,"a":2,"c":3}"#,
        r#"{"a":1,"a":2,"c":3}"#,
        r#"{"a":1,"b":2,"a":3}"#,
        r#"{"a":1,"b":2,"d":3}"#,
        r#"{"a":1,"b":2}"#,
        r#"{"a":1,"b":2,"c":3,"a":4}"#,
        r#"{"a":1,"b":2,"c":3,"\u0061":4}"#,
        r#"{"a":1,"b":{"a":2},"c":3}"#,
    ];
    for other in others {
        let texts = payloads(&[learned, other, learned, other]);
        for want in projections() {
            check(&want, &texts);
        }
        let hits = check(&projection([column("a")]), &texts);
        assert!(hits == 1 || hits == 2, "{other}: {hits}");
    }
}

#[test]
fn t_10_of_an_object_that_stands_twice_the_last_one_counts_also_for_what_only_the_first_one_has() {
    let texts = payloads(&[r#"{"p":{"x":0},"q":1,"p":{"p":{"x":1},"p":{}}}"#; 3]);
    for below in ["x", "p x", "p"] {
        check(&projection([path("p", below)]), &texts);
        check(&projection([path("p", below), column("q")]), &texts);
    }
}

#[test]
fn what_is_no_json_stays_none_after_a_shape_was_learned() {
    let learned = r#"{"a":1,"b":"x"}"#;
    for other in [
        r#"{"a":tru,"b":"x"}"#,
        r#"{"a":01,"b":"x"}"#,
        r#"{"a":1.,"b":"x"}"#,
        r#"{"a":1e999,"b":"x"}"#,
        r#"{"a":,"b":"x"}"#,
        r#"{"a":1,"b":"x}"#,
        "{\"a\":1,\"b\":\"\n\"}",
        r#"{"a":1,"b":"\q"}"#,
        r#"{"a":1,"b":"x"}}"#,
        r#"{"a":1,"b":"x"}{"#,
        r#"{"a":1,"b":"x""#,
        r#"{"a":1"#,
        r#"{"a"#,
        "",
    ] {
        let texts = payloads(&[learned, other, learned]);
        for want in projections() {
            check(&want, &texts);
        }
    }
}

#[test]
fn a_blank_is_no_scalar_after_a_shape_was_learned() {
    for other in [
        r#"{"b": ,"a":2}"#,
        r#"{"b":  ,"a":2}"#,
        "{\"b\":\n,\"a\":2}",
        r#"{"b":1,"a": }"#,
        r#"{"b":1 ,"a":2}"#,
    ] {
        let texts = payloads(&[r#"{"b":1,"a":2}"#, other, r#"{"b":1,"a":2}"#]);
        for want in projections() {
            check(&want, &texts);
        }
    }
}

#[test]
fn as_many_shapes_are_kept_as_there_are_places_and_the_ones_that_hit_stay() {
    let want = Arc::new(projection([column("a")]));
    let mut decoder = JsonDecoder::new(&want, Tz::UTC);
    let text = |shape: usize, row: usize| format!("{{\"k{shape}\":1,\"a\":{row}}}").into_bytes();
    let fleet = |row: usize| (0..SHAPES).map(|shape| text(shape, row)).collect::<Vec<_>>();
    decode(&mut decoder, &want, &[fleet(1), fleet(2), fleet(3)].concat());
    let told = |by_shape: usize, by_walker: usize| ShapeMetrics {
        by_shape: by_shape as u64,
        by_walker: by_walker as u64,
        kept: SHAPES as u64,
        is_paused: false,
    };
    assert_eq!(decoder.shapes(), Some(told(2 * SHAPES, SHAPES)));
    let strangers: Vec<_> = (0..2 * RARELY as usize).map(|row| text(SHAPES + row, row)).collect();
    decode(&mut decoder, &want, &strangers);
    decode(&mut decoder, &want, &fleet(4));
    assert_eq!(decoder.shapes(), Some(told(SHAPES - 1, 2 * RARELY as usize + 1)), "one made room for two");
}

#[test]
fn of_shapes_that_begin_alike_each_message_finds_its_own() {
    let fleet = [
        r#"{"a":1}"#,
        r#"{"a": 1}"#,
        r#"{"a":1 }"#,
        r#"{"a":1,"b":2}"#,
        r#"{"a":1,"b": 2}"#,
        r#"{"a":1,"b":[2]}"#,
        r#"{"a":1,"b":[2,3]}"#,
        r#"{"a":1,"b":2,"c":3}"#,
        r#"{"a":1,"b":{"c":3}}"#,
        r#"{"b":"x, y","a":1}"#,
        r#"{"b":"x, y","c":1}"#,
        r#"{}"#,
    ];
    let texts = payloads(&[fleet, fleet, fleet].concat());
    for want in projections() {
        check(&want, &texts);
    }
    let hits = check(&projection([column("a")]), &texts);
    assert!(hits >= 2 * fleet.len() as u32, "{hits}");
}

#[test]
fn learning_stops_when_hits_stay_low_and_goes_on_later() {
    let want = Arc::new(projection([column("a")]));
    let mut decoder = JsonDecoder::new(&want, Tz::UTC);
    let feed = |decoder: &mut JsonDecoder, texts: Vec<String>| {
        decode(decoder, &want, &texts.into_iter().map(String::into_bytes).collect::<Vec<_>>());
        (decoder.shapes.shapes.len(), decoder.shapes.pause)
    };
    let different = |n: u32| (0..n).map(|row| format!("{{\"k{row}\":1,\"a\":2}}")).collect::<Vec<_>>();
    assert_eq!(feed(&mut decoder, different(WINDOW)), (SHAPES, 0));
    assert_eq!(feed(&mut decoder, different(1)), (0, PAUSE));
    assert_eq!(feed(&mut decoder, vec!["{\"a\":1}".to_owned(); 3]), (0, PAUSE));
    (0..PAUSE).for_each(|_| decoder.shapes.judge());
    assert_eq!(feed(&mut decoder, vec!["{\"a\":1}".to_owned(); 3]), (1, 0));
}

#[test]
fn messages_of_a_length_that_came_before_fit_a_template_and_others_make_a_new_one() {
    let name = "n".repeat(64);
    let text = |value: u64| format!("{{\"{name}\":\"x\",\"a\":{value},\"b\":[true]}}").into_bytes();
    let want = Arc::new(projection([column("a")]));
    let mut decoder = JsonDecoder::new(&want, Tz::UTC);
    let hits = |decoder: &JsonDecoder| {
        let templates = &decoder.shapes.shapes[0].templates;
        templates.kept.iter().map(|template| (template.len, template.hits)).collect::<Vec<_>>()
    };
    decode(&mut decoder, &want, &[text(1), text(2), text(9)]);
    assert_eq!(hits(&decoder), [(89, 2)]);
    decode(&mut decoder, &want, &[text(10), text(20), text(30), text(40)]);
    assert_eq!(hits(&decoder), [(89, 0), (90, 0)], "the fourth one that fits none becomes one");
    decode(&mut decoder, &want, &[text(10), text(20), text(3)]);
    assert_eq!(hits(&decoder), [(89, 1), (90, 2)]);
    let lengths: Vec<u64> = (0..13).map(|power| 10u64.pow(power)).collect();
    (0..1000).for_each(|_| {
        drop(decode(&mut decoder, &want, &lengths.iter().map(|value| text(*value)).collect::<Vec<_>>()))
    });
    assert_eq!(hits(&decoder).len(), 4);
}

#[test]
fn a_template_refuses_what_would_change_the_structure_at_the_same_length() {
    let learned = format!("{{\"{}\":\"x\",\"b\":\"text\",\"c\":123,\"a\":true}}", "n".repeat(60));
    let texts = |from: &str, to: &str| {
        assert_eq!(from.len(), to.len());
        payloads(&[&learned, &learned.replace(from, to), &learned])
    };
    for (from, to) in [
        ("123", "1,2"),
        ("123", "\"1\""),
        ("123", " 12"),
        ("123", "[1]"),
        ("123", "1:2"),
        ("123", "{} "),
        ("123", "   "),
        ("123", "012"),
        ("123", "1e2"),
        ("123", "-.3"),
        ("text", "te\"t"),
        ("text", "t\",\""),
        ("text", "tex\\"),
        ("text", "te\\t"),
        ("text", "{,:}"),
        ("text", "\u{e9}\u{e9}"),
        ("\"text\"", "123456"),
        ("true", "null"),
        ("true", "trux"),
        ("true", "1234"),
        ("true", "\"tr\""),
        ("\"c\":", "\"a\":"),
        ("\"c\":", "\"b\":"),
        ("\"c\":", "\"c\" "),
        ("}", "]"),
        ("}", " "),
        ("}", ","),
    ] {
        for want in projections() {
            check(&want, &texts(from, to));
        }
    }
}

/// A scalar of any kind.
fn scalar() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => any::<i32>().prop_map(|value| value.to_string()),
        2 => (-1e6f64..1e6).prop_map(|value| value.to_string()),
        1 => any::<f64>().prop_filter("finite", |value| value.is_finite()).prop_map(|value| format!("{value:e}")),
        1 => "-?[0-9]{1,24}(\\.[0-9]{1,24})?([eE][+-]?[0-9]{1,3})?",
        2 => prop_oneof![Just("null".to_owned()), Just("true".to_owned()), Just("false".to_owned())],
        3 => "[a-c:,{}\\[\\] \u{e9}]{0,40}".prop_map(|text| serde_json::Value::from(text).to_string()),
        1 => "(\\\\u00e9|\\\\\"|\\\\\\\\|\\\\n|x|\\\\ud83d\\\\ude00|\\\\ud800){0,6}".prop_map(|text| format!("\"{text}\"")),
    ]
}

/// A document as parts: fixed text and scalars in turn.
fn document(depth: u32) -> BoxedStrategy<Vec<String>> {
    let leaf = scalar().prop_map(|scalar| vec![scalar]);
    if depth == 0 {
        return leaf.boxed();
    }
    let inner = || prop_oneof![3 => scalar().prop_map(|scalar| vec![scalar]), 1 => document(depth - 1)];
    let blank = || prop_oneof![4 => Just(""), 1 => Just(" "), 1 => Just("\n\t")];
    let members = prop::collection::vec(("[a-d]|longer name [a-b]{16}", blank(), inner()), 0..7);
    let object = members.prop_map(|members| {
        let mut parts = vec!["{".to_owned()];
        for (index, (name, blank, value)) in members.into_iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            parts.push(format!("{comma}{blank}\"{name}\"{blank}:{blank}"));
            parts.extend(value);
        }
        parts.push("}".to_owned());
        parts
    });
    if depth == TOP {
        return object.boxed();
    }
    let list = (blank(), prop::collection::vec(inner(), 0..4)).prop_map(|(blank, items)| {
        let mut parts = vec!["[".to_owned()];
        for (index, item) in items.into_iter().enumerate() {
            parts.push(format!("{}{blank}", if index == 0 { "" } else { "," }));
            parts.extend(item);
        }
        parts.push("]".to_owned());
        parts
    });
    prop_oneof![object, list].boxed()
}

const TOP: u32 = 3;

const BYTES: &[u8] = b"{}[]\",:\\ 0-+.eEtfnuax\0\x1f\x7f\xff\xc3\xed\xa0";

/// What happens to a document: another scalar in a place, a part left out, doubled, put elsewhere or renamed, a byte
/// changed, put in or taken out, the rest cut off.
fn changed(parts: &[String], change: &(u8, prop::sample::Index, prop::sample::Index, String, u8)) -> Vec<u8> {
    let (kind, one, other, scalar, byte) = change;
    let mut parts = parts.to_vec();
    let (one_part, other_part) = (one.index(parts.len()), other.index(parts.len()));
    let byte = BYTES[*byte as usize % BYTES.len()];
    match kind {
        0..8 => {
            let is_scalar = |part: &String| serde_json::from_str::<serde_json::Value>(part).is_ok();
            for part in parts.iter_mut().filter(|part| is_scalar(part)).take(one_part + 1) {
                part.clone_from(scalar);
            }
        }
        8 => drop(parts.remove(one_part)),
        9 => parts.insert(other_part, parts[one_part].clone()),
        10 => parts.swap(one_part, other_part),
        11 => parts[one_part] = parts[one_part].replace('a', "b"),
        12 => parts[one_part] = parts[one_part].replace('a', "\\u0061"),
        13 => parts[one_part].insert_str(0, scalar),
        _ => {}
    }
    let mut bytes = parts.concat().into_bytes();
    let at = one.index(bytes.len().max(1));
    match kind {
        14 => bytes.truncate(at),
        15 if at < bytes.len() => bytes[at] = byte,
        16 => bytes.insert(at, byte),
        17 if at < bytes.len() => drop(bytes.remove(at)),
        _ => {}
    }
    bytes
}

fn traffic() -> impl Strategy<Value = (Vec<Vec<u8>>, usize)> {
    let change = (0u8..20, any::<prop::sample::Index>(), any::<prop::sample::Index>(), scalar(), any::<u8>());
    let documents = prop::collection::vec(document(TOP), 1..4);
    (documents, prop::collection::vec(change, 1..12), 0..projections().len()).prop_map(
        |(documents, changes, want)| {
            let mut payloads: Vec<_> = documents.iter().map(|parts| parts.concat().into_bytes()).collect();
            for (index, change) in changes.iter().enumerate() {
                payloads.push(changed(&documents[index % documents.len()], change));
            }
            (payloads, want)
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn shapes_and_the_walker_agree_on_whatever_comes((payloads, want) in traffic()) {
        check(&projections()[want], &payloads);
    }

    #[test]
    fn templates_and_the_walker_agree_on_whatever_has_the_same_length(
        parts in document(TOP),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0usize..3), 1..20),
        want in 0..projections().len(),
    ) {
        let long = format!("{{\"{}\":\"x\"{}", "n".repeat(60), if parts.len() > 2 { "," } else { "" });
        let learned = [&long, &parts.concat()[1..]].concat().into_bytes();
        let mut payloads = vec![learned.clone(), learned.clone()];
        for change in &changes {
            let mut payload = learned.clone();
            let (at, byte, len) = change;
            let at = at.index(payload.len());
            payload.iter_mut().skip(at).take(len + 1).enumerate().for_each(|(index, place)| {
                *place = BYTES[(*byte as usize + index * 7) % BYTES.len()];
            });
            payloads.push(payload);
        }
        check(&projections()[want], &payloads);
    }

    #[test]
    fn shapes_and_serde_json_agree_on_whatever_comes((payloads, _) in traffic()) {
        let want = projection([column("a"), column("b"), column("c")]);
        let mut decoder = JsonDecoder::new(&Arc::new(want.clone()), Tz::UTC);
        for (payload, (batch, rows)) in payloads.iter().zip(decode(&mut decoder, &want, &payloads)) {
            let text = String::from_utf8_lossy(payload);
            let Ok(json) = serde_json::from_slice::<serde_json::Value>(payload) else {
                // Bad UTF-8 and lone surrogates become U+FFFD (F1.2), which serde_json refuses.
                let is_ours = text.contains('\u{fffd}') || text.contains("\\ud8");
                // A skeleton does not look into what nobody wants.
                let is_unwanted = parse(&repaired(payload), Numbers::Float).is_ok();
                prop_assert!(is_ours || is_unwanted || rows.faults.len() == 1, "{}", text);
                continue;
            };
            let Value::Map(fields) = from_json(&json, Numbers::Float) else { continue };
            prop_assert_eq!((batch.n_rows, rows.faults.len()), (1, 0), "{}", text);
            for (slot, name) in ["a", "b", "c"].into_iter().enumerate() {
                let cell = batch.columns[slot].cell(0);
                match fields.get(name) {
                    None => prop_assert_eq!(cell, Cell::Missing),
                    Some(value) => prop_assert!(is_same(&cell.to_value(), value), "{:?} {:?}", cell, value),
                }
            }
        }
    }

    #[test]
    fn all_instructions_find_what_a_plain_loop_finds(
        text in "[a{}\\[\\]:,\"\\\\ ]{0,200}", before in 0usize..70, behind in 0usize..70, only_colons in any::<bool>()
    ) {
        let arena = [&vec![b'"'; before], text.as_bytes(), &vec![b','; behind]].concat();
        let anchors = if only_colons { Anchors::Colons } else { Anchors::All };
        let (mut places, mut others, mut is_text, mut is_escaped) = (Vec::new(), 0, false, false);
        for (at, byte) in text.bytes().enumerate() {
            is_text ^= byte == b'"' && !is_escaped;
            is_escaped = byte == b'\\' && !is_escaped;
            if !is_text && (byte == b':' || (!only_colons && b"{}[],".contains(&byte))) {
                places.push(at as u32);
            }
            others += u32::from(!is_text && only_colons && b"{}[],".contains(&byte));
        }
        for instructions in Instructions::available() {
            let mut marks = Marks::default();
            let expected = Expected { anchors, count: places.len(), others };
            let found = scan(instructions, (&arena, before, before + text.len()), expected, &mut marks);
            prop_assert_eq!(found, !is_text, "{:?} {}", instructions, text);
            prop_assert_eq!(marks.places(), &places, "{:?} {}", instructions, text);
            let fewer = Expected { others: others + 1, ..expected };
            prop_assert!(!scan(instructions, (&arena, before, before + text.len()), fewer, &mut marks));
        }
    }
}

/// Equal up to the last bit of a float, which serde_json may round the other way.
fn is_same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Float(one), Value::Float(other)) => {
            one == other || ((one - other) / one).abs() < 1e-15 || (one - other).abs() < 1e-322
        }
        (Value::List(one), Value::List(other)) => {
            one.len() == other.len() && one.iter().zip(other.iter()).all(|(one, other)| is_same(one, other))
        }
        (Value::Map(one), Value::Map(other)) => {
            one.len() == other.len()
                && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| is_same(value, other)))
        }
        (one, other) => one == other,
    }
}
