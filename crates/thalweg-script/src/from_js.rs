//! Values on their way out of a script.
//!
//! As upstream's: a number without a fraction that is exact (up to 2^53) is an integer, another a float; `undefined` is
//! null; an object has its own enumerable members, a `Date` is an instant. What has no meaning outside of the script (a
//! function, a promise) is an error, and so is a result that is NaN or infinite.

use rquickjs::atom::{Atom, PredefinedAtom};
use rquickjs::convert::List;
use rquickjs::object::Filter;
use rquickjs::{Array, Ctx, Object, String as Text, Type, Value as Js};
use thalweg_core::{Fields, Timestamp, Value};

use crate::fault::Fault;
use crate::tools::Tools;
use crate::watch::Watch;

/// Lists within lists, at most so deep.
const DEPTH: usize = 64;
/// Integers of JavaScript are exact up to here, both ways.
const EXACT: f64 = 9_007_199_254_740_992.0;

type Read<T> = Result<T, Fault>;

/// Reads results.
pub(crate) struct Reader<'a, 'js> {
    pub(crate) ctx: &'a Ctx<'js>,
    pub(crate) tools: &'a Tools<'js>,
    pub(crate) watch: &'a Watch,
    /// The bytes that results may have, each by itself.
    pub(crate) limit: usize,
    /// How many of them the one at hand may still have.
    pub(crate) left: usize,
}

/// A number as upstream has it.
pub(crate) fn number(number: f64) -> Value {
    let is_negative_zero = number == 0.0 && number.is_sign_negative();
    if number.fract() == 0.0 && number.abs() <= EXACT && !is_negative_zero {
        Value::Int(number as i64)
    } else {
        Value::Float(number)
    }
}

impl<'js> Reader<'_, 'js> {
    /// The result of a call, if it is no plain number or boolean. May run code of the script: getters, proxies.
    pub(crate) fn result(&mut self, value: Js<'js>) -> Read<Value> {
        self.watch.begin();
        self.left = self.limit;
        match self.value(value, 0)? {
            Value::Float(number) if number.is_nan() => Err(Fault::plain("result is NaN")),
            Value::Float(number) if number.is_infinite() => Err(Fault::plain("result is Inf")),
            value => Ok(value),
        }
    }

    /// What the interpreter says of the last failure.
    fn caught(&self) -> Fault {
        Fault::caught(self.ctx, self.tools, self.watch)
    }

    /// A step towards the limit, which also holds what no code of the script is run for: gaps of an array, and texts
    /// that occur many times.
    fn spend(&mut self, bytes: usize) -> Read<()> {
        match self.left.checked_sub(bytes) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => Err(Fault::plain(format!("the result is larger than {} MB", self.limit >> 20))),
        }
    }

    fn value(&mut self, value: Js<'js>, depth: usize) -> Read<Value> {
        self.spend(size_of::<Value>())?;
        if depth > DEPTH {
            let text = format!("the result is nested deeper than {DEPTH} levels, or contains itself");
            return Err(Fault::plain(text));
        }
        match value.type_of() {
            Type::Uninitialized | Type::Undefined | Type::Null => Ok(Value::Null),
            Type::Bool => Ok(Value::Bool(value.as_bool().unwrap_or_default())),
            Type::Int | Type::Float => Ok(number(value.as_number().unwrap_or(f64::NAN))),
            Type::String => {
                let text = value.into_string().map(|text| self.text(text)).transpose()?;
                Ok(Value::text(text.unwrap_or_default()))
            }
            Type::BigInt => self.big(value),
            Type::Symbol => {
                let name = value.as_symbol().and_then(|symbol| symbol.description().ok());
                self.value(name.unwrap_or_else(|| Js::new_null(self.ctx.clone())), depth + 1)
            }
            Type::Function | Type::Constructor => Err(Fault::plain("the result is a function")),
            Type::Array => match value.into_array() {
                Some(array) => self.list(&array, depth),
                None => Ok(Value::Null),
            },
            _ => match value.into_object() {
                Some(object) => self.object(object, depth),
                None => Err(Fault::plain("the result is of a kind that SQL does not have")),
            },
        }
    }

    fn text(&mut self, text: Text<'js>) -> Read<String> {
        let sound = match text.to_string() {
            Ok(sound) => sound,
            // Half of a surrogate pair.
            Err(_) => {
                drop(self.ctx.catch());
                self.tools.sound.call((text,)).map_err(|_| self.caught())?
            }
        };
        self.spend(sound.len())?;
        Ok(sound)
    }

    fn big(&mut self, value: Js<'js>) -> Read<Value> {
        let digits: String = self.tools.decimal.call((value,)).map_err(|_| self.caught())?;
        let whole = digits.parse().map(Value::Int);
        whole.map_err(|_| Fault::plain("the result is a BigInt that does not fit into 64 bits"))
    }

    fn list(&mut self, array: &Array<'js>, depth: usize) -> Read<Value> {
        let is_bytes = self.tools.is_bytes.call((array.clone(),)).map_err(|_| self.caught())?;
        // Not `Array::len`, which takes it for a small integer.
        let n_items: f64 = array.as_object().get(PredefinedAtom::Length).map_err(|_| self.caught())?;
        let n_items = n_items as usize;
        self.spend(n_items.saturating_mul(size_of::<Value>()))?;
        let mut items = Vec::with_capacity(n_items);
        for index in 0..n_items {
            let item = array.get(index).map_err(|_| self.caught())?;
            items.push(self.value(item, depth + 1)?);
        }
        let byte = |item: &Value| match item {
            Value::Int(number) => u8::try_from(*number).ok(),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = if is_bytes { items.iter().map(byte).collect() } else { None };
        Ok(match bytes {
            Some(bytes) => Value::Bytes(bytes.into()),
            None => Value::list(items),
        })
    }

    fn object(&mut self, object: Object<'js>, depth: usize) -> Read<Value> {
        let List((kind, inner)): List<(String, Js<'js>)> =
            self.tools.open.call((object.clone(),)).map_err(|_| self.caught())?;
        match kind.as_str() {
            "date" => {
                let millis = inner.as_number().filter(|millis| !millis.is_nan());
                Ok(millis.map_or(Value::Null, |millis| Value::Time(Timestamp(millis as i64))))
            }
            "list" | "value" => self.value(inner, depth + 1),
            "promise" => {
                let text = "the result is a promise; a function must return its value at once";
                Err(Fault::plain(text))
            }
            "error" => Err(Fault::of(inner, self.ctx, self.tools, self.watch)),
            _ => self.members(&object, depth),
        }
    }

    fn members(&mut self, object: &Object<'js>, depth: usize) -> Read<Value> {
        let mut fields = Fields::new();
        for key in object.own_keys::<Atom<'js>>(Filter::new().string().enum_only()) {
            let key = key.map_err(|_| self.caught())?;
            let name = key.to_js_string().map_err(|_| self.caught())?;
            let name = self.text(name)?;
            let member = object.get(key).map_err(|_| self.caught())?;
            fields.insert(name.into(), self.value(member, depth + 1)?);
        }
        Ok(Value::map(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_integers_where_that_is_exact() {
        for (from, to) in [
            (6.0, Value::Int(6)),
            (-3.0, Value::Int(-3)),
            (8.75, Value::Float(8.75)),
            (0.0, Value::Int(0)),
            (EXACT, Value::Int(9_007_199_254_740_992)),
            (1e300, Value::Float(1e300)),
        ] {
            assert_eq!(number(from), to);
        }
        assert!(matches!(number(-0.0), Value::Float(zero) if zero.is_sign_negative()));
    }
}
