//! LIKE (O-10): `%` is any run, `_` one character, neither matches a line break; `\%` and `\_` are meant literally;
//! everything else stands for itself.

use thalweg_core::cast::go_text;
use thalweg_core::{Cell, ColumnRef, RowError, Selection};

use crate::compare::push_bool;
use crate::kernel;

/// `text [NOT] LIKE pattern`. Null on either side: false (O-4).
pub(crate) fn like(
    negated: bool,
    text: &ColumnRef<'_>,
    pattern: &ColumnRef<'_>,
    rows: &Selection,
    n_rows: usize,
) -> ColumnRef<'static> {
    // Only a constant has a first cell in a batch without rows.
    let compiled = match pattern.is_constant().then(|| pattern.cell(0)) {
        Some(Cell::Str(pattern_text)) => Some(compile(pattern_text)),
        _ => None,
    };
    let constant = text.is_constant() && pattern.is_constant();
    kernel::per_row(constant, rows, n_rows, |row, out| {
        let result = match (text.cell(row), pattern.cell(row)) {
            (Cell::Error(error), _) | (_, Cell::Error(error)) => Err(error.clone()),
            (text, pattern) if text.is_nothing() || pattern.is_nothing() => Ok(false),
            (Cell::Str(text), Cell::Str(pattern)) => Ok(match &compiled {
                Some(compiled) => matches(compiled, text) != negated,
                None => matches(&compile(pattern), text) != negated,
            }),
            (Cell::Str(_), pattern) => Err(refused("right", &pattern)),
            (text, _) => Err(refused("left", &text)),
        };
        push_bool(out, result);
    })
}

fn refused(side: &str, found: &Cell<'_>) -> RowError {
    let found = go_text(&found.to_value());
    RowError::text(format!("LIKE operator {side} operand expects string, but found {found}"))
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Piece {
    Char(char),
    AnyChar,
    AnyRun,
}

fn compile(pattern: &str) -> Vec<Piece> {
    let mut pieces = Vec::with_capacity(pattern.len());
    let mut chars = pattern.chars().peekable();
    while let Some(char) = chars.next() {
        pieces.push(match char {
            '%' => Piece::AnyRun,
            '_' => Piece::AnyChar,
            '\\' => Piece::Char(chars.next_if(|next| matches!(next, '%' | '_')).unwrap_or('\\')),
            other => Piece::Char(other),
        });
    }
    pieces
}

/// Goes back only to the last `%`, which is enough and keeps it linear in text times pattern.
fn matches(pieces: &[Piece], text: &str) -> bool {
    let (mut at, mut rest) = (0, text);
    let mut retry: Option<(usize, &str)> = None;
    loop {
        let next = rest.chars().next();
        let taken = match (pieces.get(at), next) {
            (Some(Piece::AnyRun), _) => {
                retry = Some((at + 1, rest));
                at += 1;
                continue;
            }
            (None, None) => return true,
            (Some(Piece::Char(wanted)), Some(char)) if *wanted == char => true,
            (Some(Piece::AnyChar), Some(char)) => char != '\n',
            _ => false,
        };
        if taken {
            at += 1;
            rest = &rest[next.map_or(0, char::len_utf8)..];
            continue;
        }
        // One more character for the last `%`.
        let Some((after, from)) = retry else { return false };
        match from.chars().next() {
            Some(char) if char != '\n' => {
                rest = &from[char.len_utf8()..];
                retry = Some((after, rest));
                at = after;
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_percent_and_underscore_are_special() {
        for (text, pattern, expected) in [
            ("abc", "a%", true),
            ("abc", "a_c", true),
            ("abc", "a.c", false),
            ("abc", "b", false),
            ("abcbc", "%bc", true),
            ("a%c", "a\\%c", true),
            ("abc", "a\\%c", false),
            ("a\\c", "a\\c", true),
            ("", "%", true),
            ("", "_", false),
            ("é", "_", true),
            ("a\nb", "a%b", false),
            ("ABC", "abc", false),
            ("aaab", "%a%b", true),
        ] {
            assert_eq!(matches(&compile(pattern), text), expected, "{text} LIKE {pattern}");
        }
    }
}
