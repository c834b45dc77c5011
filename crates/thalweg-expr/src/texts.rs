//! Functions of text over columns of nothing but text: the results are written straight into the new column, where the
//! general way makes a value of every argument and of every result.

use thalweg_core::{Cell, Column, ColumnRef, Selection, Tag};

/// So many arguments are looked at together.
const MOST: usize = 8;

/// Adds the result for some texts.
type Write = fn(&[&str], &mut String);

/// Adds the results of a pure function of this name, if it is one of these and all arguments are text throughout.
pub(crate) fn over_texts(name: &str, args: &[ColumnRef<'_>], rows: &Selection, out: &mut Column) -> bool {
    let is_text = |arg: &ColumnRef<'_>| arg.column().seen().only(Tag::Str);
    if args.is_empty() || args.len() > MOST || !args.iter().all(is_text) {
        return false;
    }
    let write: Write = match name {
        "concat" => concat,
        "upper" => upper,
        "lower" => lower,
        _ => return false,
    };
    let mut result = String::new();
    for row in rows {
        let mut texts = [""; MOST];
        for (text, arg) in texts.iter_mut().zip(args) {
            if let Cell::Str(found) = arg.cell(row) {
                *text = found;
            }
        }
        result.clear();
        write(&texts[..args.len()], &mut result);
        out.push_str(&result);
    }
    true
}

fn concat(texts: &[&str], out: &mut String) {
    texts.iter().for_each(|text| out.push_str(text));
}

fn upper(texts: &[&str], out: &mut String) {
    for text in texts {
        if text.is_ascii() {
            out.push_str(text);
            out.make_ascii_uppercase();
        } else {
            out.extend(text.chars().map(upper_of));
        }
    }
}

fn lower(texts: &[&str], out: &mut String) {
    for text in texts {
        if text.is_ascii() {
            out.push_str(text);
            out.make_ascii_lowercase();
        } else {
            out.extend(text.chars().map(lower_of));
        }
    }
}

/// One character for one: `ß` stays.
pub(crate) fn upper_of(char: char) -> char {
    let mut mapped = char.to_uppercase();
    match (mapped.next(), mapped.next()) {
        (Some(one), None) => one,
        _ => char,
    }
}

/// The first character of the lower-case form.
pub(crate) fn lower_of(char: char) -> char {
    char.to_lowercase().next().unwrap_or(char)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use thalweg_core::{Column, Value};

    use super::*;
    use crate::testing::{batch, cx, parse};

    proptest! {
        /// A column that holds a null as well takes the general way; the texts in both must come out alike.
        #[test]
        fn texts_give_what_values_give(texts in prop::collection::vec("[a-zA-ZäÖßǆİ ]{0,9}", 1..12)) {
            let plain: Vec<Value> = texts.iter().map(Value::text).collect();
            let mixed: Vec<Value> = plain.iter().cloned().chain([Value::Null]).collect();
            let (n_rows, schema) = (texts.len(), "s");
            let quick = batch(vec![(schema, Column::from_values(&plain))]);
            let slow = batch(vec![(schema, Column::from_values(&mixed))]);
            for text in ["upper(s)", "lower(s)", "concat(s, '-', upper(s))", "concat(s)", "upper('ab')", "concat('a', 'B')"] {
                let expr = parse(text, &quick.schema);
                let (one, all) = (Selection::all(n_rows), Selection::all(n_rows + 1));
                let odd = Selection::rows((0..n_rows as u32).filter(|row| row % 2 == 1).collect());
                let slow = expr.eval(&slow, &all, &mut cx()).into_column(n_rows + 1);
                for rows in [&one, &odd] {
                    let quick = expr.eval(&quick, rows, &mut cx()).into_column(n_rows);
                    for row in rows {
                        prop_assert_eq!(quick.cell(row), slow.cell(row), "{}", text);
                    }
                }
            }
        }
    }
}
