//! Regular expressions as Go reads them (RE2 syntax), on Rust's engine. The two agree but for a few spellings, which
//! are rewritten: `\d`, `\w`, `\s` and `\b` know ASCII only; a brace that begins no repetition and an escaped `<` are
//! themselves; `\Q…\E` quotes; in a class `[`, `&&`, `--` and `~~` are characters.

use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// Compiles a pattern.
///
/// # Errors
/// It is no regular expression. The text is as upstream begins it.
pub fn compile(pattern: &str) -> Result<Regex, String> {
    Regex::new(&rewritten(pattern)).map_err(|_| format!("error parsing regexp: `{pattern}`"))
}

/// The ASCII classes as members of a class.
const DIGITS: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const BLANKS: &str = r"\t\n\f\r ";

fn rewritten(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 8);
    let mut rest = pattern.chars().peekable();
    while let Some(character) = rest.next() {
        match character {
            '\\' => escape(&mut out, &mut rest, false),
            '[' => class(&mut out, &mut rest),
            '{' if !is_repetition(rest.clone()) => out.push_str(r"\{"),
            other => out.push(other),
        }
    }
    out
}

/// Whether `{` is followed by `2}`, `2,}` or `2,5}`.
fn is_repetition(rest: Peekable<Chars<'_>>) -> bool {
    let text: String = rest.take_while(|character| *character != '}').collect();
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    match text.split_once(',') {
        Some((least, most)) => is_number(least) && (most.is_empty() || is_number(most)),
        None => is_number(&text),
    }
}

fn escape(out: &mut String, rest: &mut Peekable<Chars<'_>>, in_class: bool) {
    let Some(letter) = rest.next() else { return out.push('\\') };
    let mut members = |members: &str, negated: bool| match (in_class, negated) {
        (true, false) => out.push_str(members),
        (_, negated) => {
            out.push_str(if negated { "[^" } else { "[" });
            out.push_str(members);
            out.push(']');
        }
    };
    match letter {
        'd' => members(DIGITS, false),
        'D' => members(DIGITS, true),
        'w' => members(WORD, false),
        'W' => members(WORD, true),
        's' => members(BLANKS, false),
        'S' => members(BLANKS, true),
        'b' if !in_class => out.push_str(r"(?-u:\b)"),
        'B' if !in_class => out.push_str(r"(?-u:\B)"),
        '<' | '>' => out.push(letter),
        'Q' if !in_class => quoted(out, rest),
        other => out.extend(['\\', other]),
    }
}

/// Everything up to `\E` stands for itself.
fn quoted(out: &mut String, rest: &mut Peekable<Chars<'_>>) {
    let mut text = String::new();
    while let Some(character) = rest.next() {
        if character == '\\' && rest.peek() == Some(&'E') {
            rest.next();
            break;
        }
        text.push(character);
    }
    out.push_str(&regex::escape(&text));
}

fn class(out: &mut String, rest: &mut Peekable<Chars<'_>>) {
    out.push('[');
    out.extend(rest.next_if_eq(&'^'));
    // At the beginning `]` is a member.
    if rest.next_if_eq(&']').is_some() {
        out.push_str(r"\]");
    }
    let mut before = None;
    while let Some(character) = rest.next() {
        match character {
            ']' => return out.push(']'),
            '\\' => escape(out, rest, true),
            '[' if rest.peek() == Some(&':') => {
                out.push('[');
                // `[:alpha:]` to its end.
                while let Some(inner) = rest.next() {
                    out.push(inner);
                    if inner == ':' && rest.next_if_eq(&']').is_some() {
                        out.push(']');
                        break;
                    }
                }
            }
            '[' => out.push_str(r"\["),
            '&' | '~' => out.extend(['\\', character]),
            '-' if before == Some('-') => out.push_str(r"\-"),
            other => out.push(other),
        }
        before = Some(character);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_they_mean_in_go() {
        for (pattern, text, expected) in [
            (r"^\w+$", "é", false),
            (r"^\w+$", "e_9", true),
            (r"\d", "٣", false),
            (r"\s", "\u{a0}", false),
            (r"\s", "a b", true),
            (r"^[\w-]+$", "a-b", true),
            (r"^[\W]$", "é", true),
            (r"^[^\D]$", "5", true),
            (r"\bé", "xé", true),
            (r"a\Bb", "ab", true),
            (r#"{"id""#, r#"{"id":1}"#, true),
            ("a{,2}", "a{,2}", true),
            ("^a{2}$", "aa", true),
            ("^a{2,}$", "aaa", true),
            ("^a{1,2}$", "aaa", false),
            (r"\<b\>", "<b>", true),
            (r"^\Qa.b\E.$", "a.bc", true),
            (r"^\Qa.b\E.$", "axbc", false),
            ("[a&&b]", "&", true),
            ("^[[]$", "[", true),
            ("^[]a]$", "]", true),
            ("^[^]a]$", "]", false),
            ("[[:alpha:]]", "é", false),
            ("^[+--]$", ",", true),
            ("[~~]", "~", true),
            (r"\pL", "é", true),
            ("(?i)ä", "Ä", true),
            ("a.c", "a\nc", false),
            ("(?P<n>a)(?<m>b)", "ab", true),
        ] {
            let regex = compile(pattern).unwrap_or_else(|why| panic!("{why}"));
            assert_eq!(regex.is_match(text), expected, "{pattern} on {text}: {regex}");
        }
        for wrong in ["(", "[a", "(?=a)", r"(a)\1", "*a", r"\", "[z-a]"] {
            assert_eq!(compile(wrong).err(), Some(format!("error parsing regexp: `{wrong}`")));
        }
    }
}
