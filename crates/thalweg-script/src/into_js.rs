//! Values on their way into a script.
//!
//! As upstream's: integers and floats are numbers, null and what is missing is `null`, bytes are an array of numbers
//! (which stays bytes if it comes back), lists and objects are copies. An instant is a `Date`.

use rquickjs::object::Property;
use rquickjs::{Array, Ctx, Object, Result, String as Text, TypedArray, Value as Js};
use thalweg_core::{Cell, Column, Tag, TagSet, Value};

use crate::tools::Tools;

/// A cell as JavaScript has it.
pub(crate) fn cell<'js>(cell: Cell<'_>, ctx: &Ctx<'js>, tools: &Tools<'js>) -> Result<Js<'js>> {
    match cell {
        Cell::Missing | Cell::Null | Cell::Error(_) => Ok(Js::new_null(ctx.clone())),
        Cell::Bool(value) => Ok(Js::new_bool(ctx.clone(), value)),
        Cell::Int(value) => Ok(Js::new_number(ctx.clone(), value as f64)),
        Cell::Float(value) => Ok(Js::new_number(ctx.clone(), value)),
        Cell::Str(value) => Ok(Text::from_str(ctx.clone(), value)?.into_value()),
        Cell::Bytes(value) => tools.bytes.call((TypedArray::<u8>::new_copy(ctx.clone(), value)?,)),
        Cell::Time(value) => tools.date.call((value.0 as f64,)),
        Cell::Json(raw) => match ctx.json_parse(raw) {
            Ok(value) => Ok(value),
            Err(_) => {
                drop(ctx.catch());
                self::value(&cell.to_value(), ctx, tools)
            }
        },
        Cell::Value(inner) => value(inner, ctx, tools),
    }
}

fn value<'js>(from: &Value, ctx: &Ctx<'js>, tools: &Tools<'js>) -> Result<Js<'js>> {
    match from {
        Value::List(items) => {
            let list = Array::new(ctx.clone())?;
            for (index, item) in items.iter().enumerate() {
                list.set(index, value(item, ctx, tools)?)?;
            }
            Ok(list.into_value())
        }
        Value::Map(fields) => {
            let object = Object::new(ctx.clone())?;
            for (name, field) in fields.iter() {
                // Defined, not set: a member may be called `__proto__`.
                let field = Property::from(value(field, ctx, tools)?);
                object.prop(&**name, field.writable().enumerable().configurable())?;
            }
            Ok(object.into_value())
        }
        scalar => cell(Cell::of(scalar), ctx, tools),
    }
}

/// Whether every cell is a number.
pub(crate) fn is_numeric(column: &Column) -> bool {
    column.seen().within(TagSet::of(Tag::Int).with(Tag::Float)) && !column.is_empty()
}

/// The number in a cell of a numeric column.
#[inline]
pub(crate) fn number(column: &Column, row: usize) -> f64 {
    let word = column.words()[row];
    if column.tag(row) == Tag::Int { word as i64 as f64 } else { f64::from_bits(word) }
}

/// The number as an integer that JavaScript computes fastest with, if it is one.
#[inline]
pub(crate) fn small(number: f64) -> Option<i32> {
    let whole = number as i32;
    (f64::from(whole).to_bits() == number.to_bits()).then_some(whole)
}

/// About how many bytes a cell needs in the interpreter.
pub(crate) fn weight(cell: Cell<'_>) -> usize {
    match cell {
        Cell::Str(value) => value.len(),
        Cell::Json(raw) => raw.len() * 4,
        Cell::Bytes(value) => value.len() * 16,
        Cell::Value(value) => value.memory(),
        _ => 16,
    }
}
