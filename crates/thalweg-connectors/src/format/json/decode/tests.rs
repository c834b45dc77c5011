//! Decoding against the plain reading of the same text.

use proptest::prelude::*;
use thalweg_core::json::{self, Numbers};
use thalweg_core::path::follow;
use thalweg_core::projection::Strict;
use thalweg_core::schema::Slot;
use thalweg_core::{Batch, Cell, DataType, Fields, PathStep, Selection, Timestamp, Value, Want};

use super::super::typed::value_of;
use super::*;

fn raw(payloads: &[&[u8]]) -> RawBatch {
    let mut raw = RawBatch::default();
    let mut arena = Vec::new();
    for payload in payloads {
        raw.spans.push((arena.len() as u32, payload.len() as u32));
        arena.extend_from_slice(payload);
        raw.times.push(Timestamp(7));
    }
    raw.arena = Arc::new(arena);
    raw
}

fn decode(want: Projection, payloads: &[&[u8]]) -> (Batch, Selection) {
    let (want, raw) = (Arc::new(want), raw(payloads));
    let mut builder = BatchBuilder::new(Arc::new(want.schema()));
    builder.begin(Some(Arc::clone(&raw.arena)));
    JsonDecoder::new(&want, Tz::UTC).decode(&raw, &mut builder);
    builder.finish()
}

fn columns(names: &[&str]) -> Projection {
    let mut want = Projection::default();
    for name in names {
        let path = name.split('.').map(Arc::from).collect();
        want.slot(Want::Column { path, data_type: None }, None);
    }
    want
}

#[test]
fn only_wanted_slots_are_filled_and_the_last_duplicate_wins() {
    let payload = br#"{"x":[1,{"a":9}],"a":1,"o":{"p":{"q":"t\u00e9"}},"a":2.5,"b":null}"#;
    let (batch, _) = decode(columns(&["a", "b", "c", "o.p.q", "o"]), &[payload]);
    let cell = |slot| batch.column(Slot(slot)).cell(0);
    assert_eq!(cell(0), Cell::Float(2.5));
    assert_eq!(cell(1), Cell::Null);
    assert_eq!(cell(2), Cell::Missing);
    assert_eq!(cell(3), Cell::Str("té"));
    assert_eq!(cell(4), Cell::Json(br#"{"p":{"q":"t\u00e9"}}"#));
}

/// `->a` is a member, `[0]` an item.
fn steps(text: &str) -> Vec<PathStep> {
    let step = |step: &str| match step.parse() {
        Ok(index) => PathStep::Index(index),
        Err(_) => PathStep::Member(Arc::from(step)),
    };
    text.split(' ').map(step).collect()
}

fn path(column: &str, below: &str, data_type: Option<DataType>) -> Want {
    Want::Path { column: Arc::from(column), steps: steps(below), data_type }
}

/// What a slot should hold: the value at the end of the path, or the text of the error.
fn at_end(fields: &Fields, column: &str, below: &str) -> Result<Value, String> {
    let whole = fields.get(column).cloned().unwrap_or_default();
    follow(&whole, &steps(below)).map_err(|why| why.to_string())
}

fn said(cell: Cell<'_>) -> Result<Value, String> {
    match cell {
        Cell::Error(why) => Err(why.to_string()),
        Cell::Missing => Err("missing".to_owned()),
        cell => Ok(cell.to_value()),
    }
}

#[test]
fn a_later_duplicate_takes_back_what_lay_below_the_earlier_one() {
    let mut want = Projection::default();
    want.slot(path("o", "p", None), None);
    want.slot(path("o", "q", None), None);
    want.slot(path("o", "q 1", None), None);
    let payload = br#"{"o":{"p":1,"q":[1,2]},"o":{"p":7,"p":{"x":2}}}"#;
    let (batch, _) = decode(want, &[payload, br#"{"o":{"q":[]}}"#, b"{}"]);
    let cell = |slot, row| said(batch.column(Slot(slot)).cell(row));
    assert_eq!(cell(0, 0), Ok(json::parse(br#"{"x":2}"#, Numbers::Float).unwrap()));
    assert_eq!((cell(1, 0), cell(2, 0)), (Ok(Value::Null), Ok(Value::Null)));
    assert_eq!((cell(0, 1), cell(2, 1)), (Ok(Value::Null), Err("out of index: 1 of 0".to_owned())));
    assert_eq!((cell(0, 2), cell(2, 2)), (Ok(Value::Null), Ok(Value::Null)));
}

#[test]
fn t_8_the_column_of_a_strict_path_must_be_there_and_may_be_null() {
    let mut want = Projection::default();
    let data_type = DataType::Struct(vec![(Arc::from("p"), DataType::BigInt)]);
    want.slot(path("o", "p", Some(data_type)), Some(Strict::default()));
    let payloads: &[&[u8]] =
        &[br#"{"a":1}"#, br#"{"o":null}"#, br#"{"o":{"p":3,"q":"x"}}"#, br#"{"o":{"p":3.5}}"#];
    let (batch, selection) = decode(want, payloads);
    assert_eq!(said(batch.column(Slot(0)).cell(0)), Ok(Value::Null));
    assert_eq!(said(batch.column(Slot(0)).cell(1)), Ok(Value::Int(3)));
    let texts: Vec<&str> = selection.faults.iter().map(|fault| &*fault.message).collect();
    assert_eq!(
        texts,
        ["error in preprocessor: field o is not found", "p has wrong type:number, expect:bigint"]
    );
}

#[test]
fn t_10_nothing_remains_below_an_object_whose_key_comes_again() {
    let payloads: &[&[u8]] = &[br#"{"x":{"p":1},"x":null}"#, br#"{"x":{"p":1,"q":2},"x":{"q":3}}"#];
    let (batch, _) = decode(columns(&["x.p", "x.q"]), payloads);
    let cells = |slot| [0, 1].map(|row| batch.column(Slot(slot)).cell(row));
    assert_eq!(cells(0), [Cell::Null, Cell::Null]);
    assert_eq!(cells(1), [Cell::Null, Cell::Float(3.0)]);
}

#[test]
fn t_10_arrays_give_rows_and_a_bad_element_fails_the_payload() {
    let payloads: &[&[u8]] =
        &[br#"[{"a":1},{"a":2}]"#, b"[]", br#"[{"a":3},5]"#, b"5", br#"{"a":4}{"#, br#"{"a":5} "#];
    let (batch, selection) = decode(columns(&["a"]), payloads);
    assert_eq!(batch.column(Slot(0)).floats(), Some(&[1.0, 2.0, 5.0][..]));
    assert_eq!(selection.faults.iter().map(|fault| fault.row).collect::<Vec<_>>(), [2, 2, 2]);
}

#[test]
fn t_3_whole_numbers_are_integers_on_request() {
    let mut want = columns(&["a", "o"]);
    want.whole_numbers = true;
    let (batch, _) = decode(want, &[br#"{"a":3,"o":[1,1.0]}"#, br#"{"a":1e3}"#]);
    assert_eq!(batch.column(Slot(0)).cell(0), Cell::Int(3));
    assert_eq!(batch.column(Slot(0)).cell(1), Cell::Float(1000.0));
    assert_eq!(batch.column(Slot(1)).value(0), Value::list(vec![Value::Int(1), Value::Float(1.0)]));
}

#[test]
fn t_4_conversions_to_declared_types() {
    let array = DataType::Array(Box::new(DataType::BigInt));
    for (text, data_type, expected) in [
        ("3", DataType::BigInt, Some(Value::Int(3))),
        ("3.0", DataType::BigInt, None),
        ("\"12\"", DataType::BigInt, None),
        ("9223372036854775808", DataType::BigInt, None),
        ("3", DataType::Float, Some(Value::Float(3.0))),
        ("true", DataType::Float, None),
        ("1000000", DataType::String, Some(Value::text("1000000"))),
        ("0.00001", DataType::String, Some(Value::text("0.00001"))),
        ("2.5", DataType::Boolean, Some(Value::Bool(true))),
        ("\"yes\"", DataType::Boolean, None),
        ("\"aGVsbG8=\"", DataType::Bytea, Some(Value::Bytes("hello".into()))),
        ("\"not base64!\"", DataType::Bytea, Some(Value::Bytes("not base64!".into()))),
        ("true", DataType::DateTime, None),
        ("[1,null]", array.clone(), Some(Value::list(vec![Value::Int(1), Value::Null]))),
        ("[1.5]", array, None),
    ] {
        assert_eq!(value_of(text, &data_type).ok(), expected, "{text} as {data_type:?}");
    }
    let error = value_of("3.5", &DataType::BigInt).expect_err("a fraction is no bigint");
    assert_eq!(&*error.message, "v has wrong type:number, expect:bigint");
}

#[test]
fn everything_of_a_declared_stream_holds_declared_columns_only() {
    let declared = Some(Arc::from(vec![(Arc::from("a"), DataType::BigInt)]));
    let mut want = Projection { declared, ..Projection::default() };
    want.slot(Want::Everything, None);
    let (batch, _) = decode(want, &[br#"{"a":1,"b":"kept out"}"#]);
    let expected = Value::map(Fields::from([(Arc::from("a"), Value::Int(1))]));
    assert_eq!(batch.column(Slot(0)).value(0), expected);
}

fn json_text() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|value| value.to_string()),
        any::<i32>().prop_map(|value| value.to_string()),
        (-1e6f64..1e6).prop_map(|value| value.to_string()),
        "[a-c\\\\u00e9 ]{0,6}".prop_map(|text| serde_json::Value::from(text).to_string()),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::vec(("[a-c]", inner), 0..4).prop_map(|members| {
                let members: Vec<String> = members.iter().map(|(k, v)| format!("\"{k}\" :{v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn every_slot_agrees_with_the_plain_reading(text in json_text()) {
        let (batch, selection) = decode(columns(&["a", "b", "c"]), &[text.as_bytes()]);
        let plain = json::parse(text.as_bytes(), Numbers::Float).expect("it is JSON");
        let Value::Map(fields) = plain else {
            prop_assert!(selection.faults.len() <= 1);
            return Ok(());
        };
        for (slot, name) in ["a", "b", "c"].into_iter().enumerate() {
            let cell = batch.column(Slot(slot as u32)).cell(0);
            match fields.get(name) {
                None => prop_assert_eq!(cell, Cell::Missing),
                Some(value) => prop_assert_eq!(&cell.to_value(), value),
            }
        }
    }

    #[test]
    fn paths_give_what_the_expression_gives_over_the_whole(text in json_text(), whole_numbers in any::<bool>()) {
        let text = format!("{{\"a\":{text},\"b\":{text}}}");
        let below = ["a", "a b", "b 0", "0", "1 a", "0 0", "a 1 c", "c"];
        let mut want = Projection { whole_numbers, ..Projection::default() };
        for below in below {
            want.slot(path("a", below, None), None);
        }
        // The whole beside a path of it.
        want.slot(path("b", "c", None), None);
        want.slot(Want::Column { path: vec![Arc::from("b")], data_type: None }, None);
        let (batch, _) = decode(want, &[text.as_bytes()]);
        let numbers = if whole_numbers { Numbers::Whole } else { Numbers::Float };
        let Ok(Value::Map(fields)) = json::parse(text.as_bytes(), numbers) else { return Ok(()) };
        for (slot, below) in below.into_iter().enumerate() {
            let cell = batch.column(Slot(slot as u32)).cell(0);
            prop_assert_eq!(said(cell), at_end(&fields, "a", below), "{} of {}", below, &text);
        }
        prop_assert_eq!(said(batch.column(Slot(8)).cell(0)), at_end(&fields, "b", "c"));
        prop_assert_eq!(batch.column(Slot(9)).cell(0).to_value(), fields["b"].clone());
    }

    #[test]
    fn t_4_holds_below_declared_columns_as_if_they_were_built(text in json_text()) {
        let text = format!("{{\"o\":{text}}}");
        let list = DataType::Array(Box::new(DataType::Struct(vec![(Arc::from("a"), DataType::Boolean)])));
        for data_type in [
            DataType::Struct(vec![
                (Arc::from("a"), DataType::BigInt),
                (Arc::from("b"), list.clone()),
                (Arc::from("c"), DataType::String),
            ]),
            DataType::Array(Box::new(DataType::Float)),
            list,
        ] {
            let below: &[&str] = match data_type {
                DataType::Struct(_) => &["a", "b", "b 0 a", "b 1"],
                _ => &["0", "1"],
            };
            let whole = Want::Column { path: vec![Arc::from("o")], data_type: Some(data_type.clone()) };
            let mut want = Projection::default();
            want.slot(whole.clone(), None);
            let (plain, plain_faults) = decode(want, &[text.as_bytes()]);
            let mut want = Projection::default();
            for below in below {
                want.slot(path("o", below, Some(data_type.clone())), None);
            }
            let (batch, faults) = decode(want.clone(), &[text.as_bytes()]);
            prop_assert_eq!(faults.faults, plain_faults.faults, "{} as {:?}", &text, &data_type);
            if plain.n_rows == 1 {
                let fields = Fields::from([(Arc::from("o"), plain.column(Slot(0)).value(0))]);
                for (slot, below) in below.iter().enumerate() {
                    let cell = batch.column(Slot(slot as u32)).cell(0);
                    prop_assert_eq!(said(cell), at_end(&fields, "o", below), "{} of {}", below, &text);
                }
                want.slot(whole, None);
                let (both, _) = decode(want, &[text.as_bytes()]);
                prop_assert_eq!(both.column(Slot(below.len() as u32)).value(0), plain.column(Slot(0)).value(0));
            }
        }
    }

    #[test]
    fn truncated_and_damaged_payloads_are_faults_and_never_panics(text in json_text(), cut in 0usize..64, junk in any::<u8>()) {
        let mut bytes = text.into_bytes();
        let cut = cut.min(bytes.len());
        let _ = decode(columns(&["a", "b.c", "b"]), &[&bytes[..cut]]);
        if let Some(byte) = bytes.get_mut(cut) {
            *byte = junk;
        }
        let (batch, selection) = decode(columns(&["a", "b.c", "b"]), &[&bytes]);
        if json::parse(&bytes, Numbers::Float).is_err() {
            prop_assert_eq!((batch.n_rows, selection.faults.len()), (0, 1));
        }
    }
}
