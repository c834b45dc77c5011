//! What occurs in a column, which decides the type under which it travels.

use thalweg_core::{Column, Tag, TagSet};

use super::rows::Rows;

/// Integers beyond this cannot be floats without loss, and whole floats have other digits in JSON.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// From here on JSON text of a float has an exponent.
const EXPONENT: f64 = 1e21;
/// Adding and subtracting it rounds a float below 2^51 to a whole one.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// How an argument's numbers reach Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// As in the JSON of `Exec`, where a whole float is an integer: what plain functions have always got.
    Json,
    /// By their type in the engine: what functions of arrays get.
    Typed,
    /// All as floats: what an argument annotated so gets.
    Float,
}

/// The type of a column on its way to Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Only nulls.
    Nothing,
    Bool,
    /// Integers and whole floats.
    Int,
    Float {
        /// Whether some are to be integers in Python all the same.
        some_whole: bool,
    },
    Str,
    Bytes,
    Time,
    /// Everything else, as text.
    Json,
}

/// What occurs among some rows of a column.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) tags: TagSet,
    n_whole: usize,
    n_fraction: usize,
    /// Floats that JSON has no text for.
    pub(super) n_not_finite: usize,
    /// Whole floats, or integers, that the other type cannot hold.
    has_large_float: bool,
    has_large_int: bool,
}

impl Survey {
    pub(super) fn of(column: &Column, rows: Rows<'_>) -> Self {
        if column.seen().only(Tag::Int) {
            return Self::of_ints(column, rows);
        }
        let mut survey = Self::default();
        if column.seen().is_single() && !column.seen().contains(Tag::Float) {
            survey.tags = if rows.len() > 0 { column.seen() } else { TagSet::default() };
            return survey;
        }
        rows.each(|row| survey.add(column.tag(row), column.words()[row]));
        survey
    }

    fn of_ints(column: &Column, rows: Rows<'_>) -> Self {
        let mut largest = 0;
        rows.each(|row| largest = largest.max((column.words()[row] as i64).unsigned_abs()));
        let tags = if rows.len() > 0 { TagSet::of(Tag::Int) } else { TagSet::default() };
        Self { tags, has_large_int: largest > EXACT as u64, ..Self::default() }
    }

    fn add(&mut self, tag: Tag, word: u64) {
        self.tags.insert(tag);
        match tag {
            Tag::Int => self.has_large_int |= (word as i64).unsigned_abs() > EXACT as u64,
            Tag::Float => {
                let value = f64::from_bits(word);
                if !value.is_finite() {
                    self.n_not_finite += 1;
                } else if is_whole(value) {
                    self.n_whole += 1;
                    self.has_large_float |= value.abs() > EXACT;
                } else {
                    self.n_fraction += 1;
                }
            }
            _ => {}
        }
    }

    /// Whether there is anything without a value.
    pub(super) fn has_nulls(&self) -> bool {
        let nulls = [Tag::Missing, Tag::Null, Tag::Error];
        self.n_not_finite > 0 || nulls.into_iter().any(|tag| self.tags.contains(tag))
    }

    /// The type that holds all of it.
    pub(super) fn kind(&self, numbers: Numbers) -> Kind {
        let mut values = self.tags.without(Tag::Missing).without(Tag::Null).without(Tag::Error);
        if self.n_whole + self.n_fraction == 0 {
            values = values.without(Tag::Float);
        }
        if values == TagSet::default() {
            return Kind::Nothing;
        }
        if values.within(TagSet::of(Tag::Int).with(Tag::Float)) {
            return self.kind_of_numbers(values, numbers);
        }
        let only = |tag| values.only(tag);
        match () {
            () if only(Tag::Bool) => Kind::Bool,
            () if only(Tag::Str) => Kind::Str,
            () if only(Tag::Bytes) => Kind::Bytes,
            () if only(Tag::Time) => Kind::Time,
            () => Kind::Json,
        }
    }

    fn kind_of_numbers(&self, values: TagSet, numbers: Numbers) -> Kind {
        let as_floats = if self.has_large_int { Kind::Json } else { Kind::Float { some_whole: false } };
        match numbers {
            Numbers::Float => as_floats,
            Numbers::Typed if values.only(Tag::Int) => Kind::Int,
            Numbers::Typed => as_floats,
            Numbers::Json if self.has_large_float => Kind::Json,
            Numbers::Json if self.n_fraction == 0 => Kind::Int,
            Numbers::Json if self.has_large_int => Kind::Json,
            Numbers::Json => Kind::Float { some_whole: self.n_whole > 0 || self.tags.contains(Tag::Int) },
        }
    }
}

/// Whether JSON writes a float without a fraction and without an exponent.
pub(super) fn is_whole(value: f64) -> bool {
    value.trunc() == value && value.abs() < EXPONENT
}

/// What floats are that are all of one kind, seen at one go; nothing where they are not.
pub(super) fn kind_of_floats<W: Copy>(
    words: &[W],
    to_float: impl Fn(W) -> f64,
    numbers: Numbers,
) -> Option<Kind> {
    const LARGE: f64 = EXACT / 4.0;
    let all = |holds: fn(f64) -> bool| {
        words.chunks(256).all(|chunk| chunk.iter().fold(true, |all, word| all & holds(to_float(*word))))
    };
    if numbers != Numbers::Json {
        return are_finite(words, to_float).then_some(Kind::Float { some_whole: false });
    }
    // The sum rounds what is below 2^51; the comparison is false for NaN.
    if all(|value| (value.abs() < LARGE) & ((value + ROUND) - ROUND != value)) {
        return Some(Kind::Float { some_whole: false });
    }
    all(|value| (value.abs() < LARGE) & ((value + ROUND) - ROUND == value)).then_some(Kind::Int)
}

/// Whether no float is NaN or infinite: those alone are no zero when they are multiplied by it. Many sums, so that one
/// needs not wait for the other.
fn are_finite<W: Copy>(words: &[W], to_float: impl Fn(W) -> f64) -> bool {
    let (chunks, rest) = words.as_chunks::<16>();
    let mut sums = [0.0f64; 16];
    for chunk in chunks {
        sums.iter_mut().zip(chunk).for_each(|(sum, word)| *sum += to_float(*word) * 0.0);
    }
    sums.iter().all(|sum| *sum == 0.0) && rest.iter().all(|word| to_float(*word).is_finite())
}

#[cfg(test)]
mod tests {
    use thalweg_core::Value;

    use super::*;

    fn kinds(values: &[Value]) -> [Kind; 3] {
        let column = Column::from_values(values);
        let survey = Survey::of(&column, Rows::Span(0, values.len()));
        let every: Vec<u32> = (0..values.len() as u32).collect();
        let listed = Survey::of(&column, Rows::List(&every));
        [Numbers::Json, Numbers::Typed, Numbers::Float].map(|numbers| {
            assert_eq!(survey.kind(numbers), listed.kind(numbers));
            if let Some(floats) = column.floats().filter(|floats| !floats.is_empty()) {
                let words: Vec<[u8; 8]> = floats.iter().map(|value| value.to_le_bytes()).collect();
                let kind = kind_of_floats(&words, f64::from_le_bytes, numbers);
                assert_eq!(kind, kind_of_floats(floats, |value| value, numbers));
                assert!(kind.is_none_or(|kind| kind == survey.kind(numbers)), "{floats:?}: {kind:?}");
            }
            survey.kind(numbers)
        })
    }

    const WITH_WHOLE: Kind = Kind::Float { some_whole: true };
    const FLOAT: Kind = Kind::Float { some_whole: false };

    #[test]
    fn numbers_travel_so_that_plain_functions_see_what_json_would_say() {
        let float = |value: f64| Value::Float(value);
        for (values, expected) in [
            (vec![float(0.5), float(-1.25)], [FLOAT; 3]),
            (vec![float(2.0), float(-0.0)], [Kind::Int, FLOAT, FLOAT]),
            (vec![float(2.0), float(0.5)], [WITH_WHOLE, FLOAT, FLOAT]),
            (vec![Value::Int(2), float(0.5), Value::Null], [WITH_WHOLE, FLOAT, FLOAT]),
            (vec![Value::Int(2)], [Kind::Int, Kind::Int, FLOAT]),
            (vec![Value::Int(i64::MAX)], [Kind::Int, Kind::Int, Kind::Json]),
            (vec![Value::Int(i64::MIN), float(0.5)], [Kind::Json; 3]),
            (vec![float(1e20), float(0.5)], [Kind::Json, FLOAT, FLOAT]),
            (vec![float(1e21), float(1e-7)], [FLOAT; 3]),
            (vec![float(f64::NAN)], [Kind::Nothing; 3]),
            (vec![float(f64::INFINITY), float(2.0)], [Kind::Int, FLOAT, FLOAT]),
            (vec![Value::Null, Value::Null], [Kind::Nothing; 3]),
            (vec![], [Kind::Nothing; 3]),
        ] {
            assert_eq!(kinds(&values), expected, "{values:?}");
        }
    }

    #[test]
    fn one_float_that_json_lacks_is_found_among_many() {
        let sound = [f64::MAX, -0.0, f64::MIN_POSITIVE, -1.5].repeat(10);
        assert_eq!(kind_of_floats(&sound, |value| value, Numbers::Typed), Some(FLOAT));
        for (place, bad) in [(0, f64::NAN), (15, f64::INFINITY), (16, f64::NEG_INFINITY), (39, f64::NAN)] {
            let mut values = sound.clone();
            values[place] = bad;
            assert_eq!(kind_of_floats(&values, |value| value, Numbers::Typed), None, "{bad} at {place}");
        }
    }

    #[test]
    fn other_values_have_their_type_and_mixes_are_json() {
        for (values, expected) in [
            (vec![Value::Bool(true), Value::Null], Kind::Bool),
            (vec![Value::text("a"), Value::Null], Kind::Str),
            (vec![Value::Bytes(bytes::Bytes::from_static(b"a"))], Kind::Bytes),
            (vec![Value::Time(thalweg_core::Timestamp(1))], Kind::Time),
            (vec![Value::list(vec![])], Kind::Json),
            (vec![Value::text("a"), Value::Int(1)], Kind::Json),
            (vec![Value::Bool(true), Value::Float(1.5)], Kind::Json),
        ] {
            assert_eq!(kinds(&values), [expected; 3], "{values:?}");
        }
    }
}
