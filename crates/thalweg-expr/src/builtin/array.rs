//! Table: functions of lists. Elements are equal by value, numbers whatever their kind (S1, S2).

use thalweg_core::cast::go_text;
use thalweg_core::compare::{for_sorting, values_equal};
use thalweg_core::{Cell, Fields, RowError, Value};

use super::args::{fail, get, int, list, map, only_text, text};
use super::{ANY, aggregate, math};
use crate::expr::EvalCx;
use crate::function::{Arg, ArgKind, FunctionKind};
use crate::registry::builtin;

const LIST: &[Arg] = &[Arg::new("list", ArgKind::Array)];
const ANYTHING: &[Arg] = &[Arg::new("x", ArgKind::Any).optional().repeated()];
const LISTS: &[Arg] = &[Arg::new("list", ArgKind::Array).repeated()];
const MEMBER: &[Arg] = &[Arg::new("list", ArgKind::Array), Arg::new("x", ArgKind::Any)];
const TWO: &[Arg] = &[Arg::new("a", ArgKind::Array), Arg::new("b", ArgKind::Array)];
const AT: &[Arg] = &[Arg::new("x", ArgKind::Any), Arg::new("index_or_key", ArgKind::Any)];
const REPEAT: &[Arg] = &[Arg::new("x", ArgKind::Any), Arg::new("n", ArgKind::Number)];
const SEQUENCE: &[Arg] = &[
    Arg::new("first", ArgKind::Number),
    Arg::new("last", ArgKind::Number),
    Arg::new("step", ArgKind::Number).optional(),
];
const MAP: &[Arg] = &[Arg::new("function", ArgKind::Any), Arg::new("list", ArgKind::Array)];
const JOIN: &[Arg] = &[
    Arg::new("list", ArgKind::Array),
    Arg::new("separator", ArgKind::Any),
    Arg::new("null_text", ArgKind::Any).optional(),
];

type Answer = Result<Value, RowError>;

functions! { Array
    "cardinality" (ANY) Zero |args, _| Ok(cardinality(&args[0])),
    "The number of items, nulls too; 0 of what is no list.", &[("cardinality([1, null, 2])", "3"), ("cardinality(\"abc\")", "0")];
    "array_cardinality" (LIST) Zero |args, _| Ok(Value::Int(list(&args[0])?.iter().filter(|item| !item.is_null()).count() as i64)),
    "The number of items that are not null.", &[("array_cardinality([1, null, 2])", "2"), ("array_cardinality(\"abc\")", "ERR")];
    "array_create" (ANYTHING) Own |args, _| Ok(create(args)),
    "The arguments as a list, without nulls.", &[("array_create(1, \"a\", null, 2.5)", "[1,\"a\",2.5]"), ("array_create()", "-")];
    "array_position" (MEMBER) Own |args, _| position(args, |items, wanted| items.iter().position(wanted)),
    "Where the value stands first, from 0; -1 if nowhere.", &[("array_position([3, 1, 2, 1], 1)", "1"), ("array_position([3, 1], 1.0)", "1"), ("array_position([3, null], null)", "1"), ("array_position(null, 1)", "-1")];
    "array_last_position" (MEMBER) Own |args, _| position(args, |items, wanted| items.iter().rposition(wanted)),
    "Where the value stands last, from 0; -1 if nowhere.", &[("array_last_position([3, 1, 2, 1], 1)", "3")];
    "array_contains" (MEMBER) Own |args, _| contains(args),
    "Whether the value is in the list.", &[("array_contains([1, 2], 2)", "true"), ("array_contains([1, 2], 2.0)", "true"), ("array_contains(null, 1)", "false"), ("array_contains(\"x\", 1)", "ERR")];
    "array_contains_any" (TWO) Own |args, _| contains_any(args),
    "Whether the lists share a value.", &[("array_contains_any([1, 2], [2, 3])", "true"), ("array_contains_any([1, 2], [3])", "false"), ("array_contains_any([1, 2], null)", "ERR")];
    "array_remove" (MEMBER) Own |args, _| remove(args),
    "The list without a value.", &[("array_remove([3, 1, 2, 1], 1)", "[3,2]"), ("array_remove([1], 1)", "[]"), ("array_remove(null, 1)", "-")];
    "array_intersect" (TWO) Null |args, _| Ok(keep(list(&args[1])?, list(&args[0])?, true)),
    "What both lists hold, in the order of the second.", &[("array_intersect([1, 2, 2, 3], [3, 2, 2])", "[3,2]"), ("array_intersect([1, 2], [5])", "[]")];
    "array_union" (TWO) Own |args, _| union(args),
    "What either list holds, each once.", &[("array_union([1, 2, 2], [2, 3])", "[1,2,3]"), ("array_union(null, null)", "[]")];
    "array_except" (TWO) Own |args, _| except(args),
    "What only the first list holds, each once.", &[("array_except([1, 2, 2, 3], [3])", "[1,2]"), ("array_except(null, [1])", "-")];
    "array_max" (LIST) Null |args, cx| aggregate::greatest(list(&args[0])?, cx),
    "The largest number or text.", &[("array_max([1, 3, 2])", "3"), ("array_max([1, 3.9])", "3.9"), ("array_max([\"a\", \"c\", null])", "\"c\"")];
    "array_min" (LIST) Null |args, cx| aggregate::least(list(&args[0])?, cx),
    "The smallest number or text.", &[("array_min([1, 3, 2])", "1"), ("array_min([null, 2.5, 1.5])", "1.5")];
    "element_at" (AT) Null |args, _| element_at(&args[0], &args[1]),
    "The item at an index, negative ones from the end, or the member of a name.", &[("element_at([10, 20, 30], -1)", "30"), ("element_at([10, 20, 30], 3)", "ERR"), ("element_at({\"a\":1}, \"a\")", "1"), ("element_at({\"a\":1}, \"z\")", "-")];
    "repeat" (REPEAT) Null |args, _| repeat(args),
    "A list of n times the value.", &[("repeat(\"a\", 3)", "[\"a\",\"a\",\"a\"]"), ("repeat(\"a\", 0)", "[]"), ("repeat(\"a\", -1)", "ERR")];
    "sequence" (SEQUENCE) Null |args, _| sequence(args),
    "The integers from first to last.", &[("sequence(1, 5)", "[1,2,3,4,5]"), ("sequence(5, 1)", "[5,4,3,2,1]"), ("sequence(1, 6, 2)", "[1,3,5]"), ("sequence(1, 5, 0)", "ERR"), ("sequence(1, 5, -1)", "ERR")];
    "array_flatten" (LIST) Null |args, _| flatten(&args[0]),
    "Inner lists opened by one level.", &[("array_flatten([[5, 6], [7]])", "[5,6,7]"), ("array_flatten([1, [2, [3]], null])", "[1,2,[3],null]"), ("array_flatten([[]])", "[]")];
    "array_distinct" (LIST) Null |args, _| Ok(distinct(list(&args[0])?)),
    "Every scalar once.", &[("array_distinct([1, 2, 1, null, null])", "[1,2,null]"), ("array_distinct([[1], [1]])", "[[1],[1]]"), ("array_distinct([1, 1.0])", "[1]")];
    "array_map" (MAP) Null array_map,
    "A function, given by its name, of every item.", &[("array_map(\"abs\", [-1, -2.5])", "[1,2.5]"), ("array_map(\"upper\", [\"a\", null])", "[\"A\",\"\"]"), ("array_map(\"power\", [1])", "ERR"), ("array_map(\"sum\", [1])", "ERR")];
    "array_join" (JOIN) Null join,
    "The items as one text; nulls are left out unless they have a text.", &[("array_join([1, 2.5, \"x\", true, null], \",\")", "\"1,2.5,x,true\""), ("array_join([1, null], \",\", \"NA\")", "\"1,NA\"")];
    "array_shuffle" (LIST) Null |args, _| shuffle(&args[0]),
    "The items in random order.", &[];
    "array_sort" (LIST) Null |args, _| sort(&args[0]),
    "Numbers by value, then texts, then the rest.", &[("array_sort([10, 9, 2, 1])", "[1,2,9,10]"), ("array_sort([7, 3, \"y\", \"x\"])", "[3,7,\"x\",\"y\"]")];
    "array_concat" (LISTS) Own |args, _| concat(args),
    "The lists behind each other; null adds nothing.", &[("array_concat([1, 2], [2, 3], null)", "[1,2,2,3]"), ("array_concat([])", "[]"), ("array_concat([1], 5)", "ERR")];
    "kvpair_array_to_obj" (LIST) Null |args, _| from_pairs(&args[0]),
    "An object of items with the members key and value.", &[("kvpair_array_to_obj([{\"key\":\"k1\",\"value\":1},{\"key\":\"k2\",\"value\":null}])", "{\"k1\":1,\"k2\":null}"), ("kvpair_array_to_obj([1])", "ERR")];
}

fn cardinality(value: &Value) -> Value {
    Value::Int(match value {
        Value::List(items) => items.len() as i64,
        Value::Bytes(bytes) => bytes.len() as i64,
        _ => 0,
    })
}

fn create(args: &[Value]) -> Value {
    let items: Vec<Value> = args.iter().filter(|arg| !arg.is_null()).cloned().collect();
    if items.is_empty() { Value::Null } else { Value::list(items) }
}

fn position(args: &[Value], find: impl Fn(&[Value], &dyn Fn(&Value) -> bool) -> Option<usize>) -> Answer {
    if args[0].is_null() {
        return Ok(Value::Int(-1));
    }
    let at = find(list(&args[0])?, &|item| values_equal(item, &args[1]));
    Ok(Value::Int(at.map_or(-1, |at| at as i64)))
}

fn has(items: &[Value], wanted: &Value) -> bool {
    items.iter().any(|item| values_equal(item, wanted))
}

fn contains(args: &[Value]) -> Answer {
    Ok(Value::Bool(!args[0].is_null() && has(list(&args[0])?, &args[1])))
}

fn contains_any(args: &[Value]) -> Answer {
    if args[0].is_null() {
        return Ok(Value::Bool(false));
    }
    let (a, b) = (list(&args[0])?, list(&args[1])?);
    Ok(Value::Bool(b.iter().any(|item| has(a, item))))
}

fn remove(args: &[Value]) -> Answer {
    if args[0].is_null() {
        return Ok(Value::Null);
    }
    let kept = list(&args[0])?.iter().filter(|item| !values_equal(item, &args[1]));
    Ok(Value::list(kept.cloned().collect()))
}

/// The items that are (or are not) among others, each once.
fn keep(items: &[Value], others: &[Value], among: bool) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        if has(others, item) == among && !has(&kept, item) {
            kept.push(item.clone());
        }
    }
    Value::list(kept)
}

fn list_or_empty(value: &Value) -> Result<&[Value], RowError> {
    if value.is_null() { Ok(&[]) } else { list(value) }
}

fn union(args: &[Value]) -> Answer {
    let both = [list_or_empty(&args[0])?, list_or_empty(&args[1])?].concat();
    Ok(keep(&both, &[], false))
}

fn except(args: &[Value]) -> Answer {
    if args[0].is_null() {
        return Ok(Value::Null);
    }
    Ok(keep(list(&args[0])?, list_or_empty(&args[1])?, false))
}

fn element_at(value: &Value, at: &Value) -> Answer {
    match value {
        Value::List(items) => {
            let index = int(at)?;
            let place = if index < 0 { index.checked_add(items.len() as i64) } else { Some(index) };
            match place.and_then(|place| items.get(usize::try_from(place).ok()?)) {
                Some(item) => Ok(item.clone()),
                None => fail("index out of range"),
            }
        }
        other => Ok(map(other)?.get(only_text(at)?).cloned().unwrap_or_default()),
    }
}

/// Longer lists than this are a mistake.
const MAX_ITEMS: i64 = 1 << 20;

fn repeat(args: &[Value]) -> Answer {
    match int(&args[1])? {
        n if (0..=MAX_ITEMS).contains(&n) => Ok(Value::list(vec![args[0].clone(); n as usize])),
        n => fail(format!("a list has 0 to {MAX_ITEMS} items, not {n}")),
    }
}

fn sequence(args: &[Value]) -> Answer {
    let (first, last) = (int(&args[0])?, int(&args[1])?);
    let step = match args.get(2) {
        Some(step) => int(step)?,
        None if last < first => -1,
        None => 1,
    };
    let (distance, step) = (i128::from(last) - i128::from(first), i128::from(step));
    if step == 0 {
        return fail("invalid step, should not be zero");
    }
    if distance.signum() == -step.signum() {
        return fail("the step leads away from the last number");
    }
    let n = distance / step + 1;
    if n > i128::from(MAX_ITEMS) {
        return fail(format!("a list has 0 to {MAX_ITEMS} items, not {n}"));
    }
    // Every item lies between first and last.
    Ok(Value::list((0..n).map(|i| Value::Int((i128::from(first) + i * step) as i64)).collect()))
}

fn flatten(value: &Value) -> Answer {
    let mut items = Vec::new();
    for item in list(value)? {
        match item {
            Value::List(inner) => items.extend_from_slice(inner),
            other => items.push(other.clone()),
        }
    }
    Ok(Value::list(items))
}

/// Lists and objects are all kept.
fn distinct(items: &[Value]) -> Value {
    let mut kept: Vec<Value> = Vec::new();
    for item in items {
        if matches!(item, Value::List(_) | Value::Map(_)) || !has(&kept, item) {
            kept.push(item.clone());
        }
    }
    Value::list(kept)
}

/// S32: the exact lower-case name, and no null rule for the items.
fn array_map(args: &[Value], cx: &mut EvalCx<'_>) -> Answer {
    let name = only_text(&args[0])?;
    let function = builtin(name).filter(|function| function.name == name || function.aliases.contains(&name));
    let Some(function) = function else { return fail(format!("unknown built-in function: {name}.")) };
    let required = function.args.iter().filter(|arg| !arg.optional).count();
    let FunctionKind::Row(call) = function.kind else {
        return fail(format!("first argument should be a scalar function, found {name}"));
    };
    if required > 1 || function.args.is_empty() {
        return fail(format!("validate function {name} error: Expect {required} arguments but found 1."));
    }
    let items: Result<Vec<Value>, RowError> =
        list(&args[1])?.iter().map(|item| call(std::slice::from_ref(item), cx)).collect();
    items.map(Value::list)
}

fn join(args: &[Value], cx: &mut EvalCx<'_>) -> Answer {
    let separator = only_text(&args[1])?;
    let null_text = match args.get(2) {
        Some(null_text) => only_text(null_text)?,
        None => "",
    };
    let items = list(&args[0])?.iter().filter_map(|item| match item {
        Value::Null if null_text.is_empty() => None,
        Value::Null => Some(null_text.to_owned()),
        other => Some(text(other, cx).into_owned()),
    });
    Ok(Value::text(items.collect::<Vec<_>>().join(separator)))
}

fn shuffle(value: &Value) -> Answer {
    let mut items = list(value)?.to_vec();
    for i in (1..items.len()).rev() {
        items.swap(i, (math::random() * (i + 1) as f64) as usize);
    }
    Ok(Value::list(items))
}

/// S30.
fn sort(value: &Value) -> Answer {
    let rank = |value: &Value| match value {
        Value::Int(_) | Value::Float(_) => 0,
        Value::Str(_) => 1,
        _ => 2,
    };
    let mut items = list(value)?.to_vec();
    items.sort_by(|a, b| {
        let kinds = rank(a).cmp(&rank(b));
        kinds.then_with(|| match rank(a) {
            2 => go_text(a).cmp(&go_text(b)),
            _ => for_sorting(&Cell::of(a), &Cell::of(b), false).unwrap_or(std::cmp::Ordering::Equal),
        })
    });
    Ok(Value::list(items))
}

fn concat(args: &[Value]) -> Answer {
    let mut items = Vec::new();
    for arg in args {
        items.extend_from_slice(list_or_empty(arg)?);
    }
    Ok(Value::list(items))
}

fn from_pairs(value: &Value) -> Answer {
    let mut fields = Fields::new();
    for item in list(value)? {
        let pair = map(item)?;
        match (pair.get("key"), pair.get("value")) {
            (Some(Value::Str(key)), Some(value)) if pair.len() == 2 => {
                _ = fields.insert(key.clone(), value.clone())
            }
            _ => {
                return fail(format!(
                    "{} is not a pair of key and value",
                    go_text(get(std::slice::from_ref(item), 0))
                ));
            }
        }
    }
    Ok(Value::map(fields))
}
