//! Mistakes in texts and definitions: what, where, and what to do.

use std::fmt;

/// A byte range of the text that the user wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// The bytes `start..end`.
    pub fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// The smallest span that holds both.
    pub fn to(self, other: Span) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }
}

/// The numbers of `rest-api.md` 1.5. The server derives the HTTP status from them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorCode {
    /// 1000: any plain error.
    Undefined,
    /// 1001: general.
    General,
    /// 1002: not found, HTTP 404.
    NotFound,
    /// 1003: input or output failed.
    Io,
    /// 2001: SQL does not parse.
    SqlParse,
    /// 2201: sources, operators or sinks cannot be built.
    Executor,
    /// 3000: streams and tables.
    Stream,
    /// 5000: configuration keys.
    ConfKey,
}

impl ErrorCode {
    /// The number that clients see.
    pub fn number(self) -> u32 {
        match self {
            Self::Undefined => 1000,
            Self::General => 1001,
            Self::NotFound => 1002,
            Self::Io => 1003,
            Self::SqlParse => 2001,
            Self::Executor => 2201,
            Self::Stream => 3000,
            Self::ConfKey => 5000,
        }
    }
}

/// One mistake. `message` is upstream's text where the spec says KEEP; position and help are printed behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnostic {
    /// What kind of mistake.
    pub code: ErrorCode,
    /// What is wrong: one line, lower case, no final dot.
    pub message: String,
    /// Where, if it stands in a text.
    pub span: Option<Span>,
    /// What to do, if we know: `did you mean avg?`
    pub help: Option<String>,
}

impl Diagnostic {
    /// A mistake without a place.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), span: None, help: None }
    }

    /// A plain mistake (code 1000).
    pub fn plain(message: impl Into<String>) -> Self {
        Self::new(ErrorCode::Undefined, message)
    }

    /// The same at this place.
    pub fn at(mut self, span: Span) -> Self {
        self.span = Some(span);
        self
    }

    /// The same with advice.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// The same where the text is a part of something larger, such as a property: the place becomes advice.
    pub fn inside(mut self, what: &str, text: &str) -> Self {
        if let Some(span) = self.span.take() {
            let (line, column) = line_and_column(text, span.start as usize);
            let place = format!("{what}, line {line}, column {column}");
            self.help = Some(self.help.map_or(place.clone(), |help| format!("{place}; {help}")));
        }
        self
    }

    /// The message followed by `(line L, column C, at word; help)`. Columns count characters from 1. The word is left
    /// out where the message or the help names it.
    pub fn render(&self, text: &str) -> String {
        let place = self.span.map(|span| {
            let (line, column) = line_and_column(text, span.start as usize);
            match self.word(span, text) {
                Some(word) => format!("line {line}, column {column}, at {word}"),
                None => format!("line {line}, column {column}"),
            }
        });
        let parts: Vec<String> = place.into_iter().chain(self.help.clone()).collect();
        let message = self.message.trim_end();
        if parts.is_empty() { message.to_owned() } else { format!("{message} ({})", parts.join("; ")) }
    }

    /// What stands at a place, shortened; nothing if the user has been told.
    fn word(&self, span: Span, text: &str) -> Option<String> {
        let written = text.get(span.start as usize..span.end as usize)?.trim();
        let line = written.lines().next().unwrap_or_default().trim_end();
        let short: String = line.chars().take(MAX_WORD).collect();
        let is_told = |told: &str| told.to_lowercase().contains(&short.trim_matches('`').to_lowercase());
        if short.is_empty() || is_told(&self.message) || self.help.as_deref().is_some_and(is_told) {
            return None;
        }
        Some(if short.len() < written.len() { format!("{short}…") } else { short })
    }
}

/// Characters of the text that are shown as the place of a mistake.
const MAX_WORD: usize = 32;

/// Mistakes of one text that are told at once.
const MAX_TOLD: usize = 10;

/// Puts mistakes in the order in which they are told, each place once: first the one that upstream would tell alone
/// (its parser finds unknown functions and wrong arguments too, before anything is planned), then by place.
pub fn sort(mistakes: &mut Vec<Diagnostic>) {
    let place = |mistake: &Diagnostic| mistake.span.map_or(u32::MAX, |span| span.start);
    let is_later = |mistake: &Diagnostic| mistake.code != ErrorCode::SqlParse;
    mistakes.sort_by_key(|mistake| (place(mistake), is_later(mistake)));
    let mut places = std::collections::BTreeSet::new();
    mistakes.retain(|mistake| mistake.span.is_none_or(|span| places.insert(span.start)));
    if let Some(first) = mistakes.iter().position(|mistake| !is_later(mistake)) {
        mistakes[..=first].rotate_right(1);
    }
}

/// Mistakes as people read them, one a line: the first as it is, the others behind `also: `, no more than ten.
pub fn report(text: &str, mistakes: &[Diagnostic]) -> String {
    let told = mistakes.iter().take(MAX_TOLD).map(|mistake| mistake.render(text));
    let mut report = told.collect::<Vec<_>>().join("\nalso: ");
    if mistakes.len() > MAX_TOLD {
        report.push_str(&format!("\nand {} more", mistakes.len() - MAX_TOLD));
    }
    report
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Diagnostic {}

/// Line and column, both from 1, of a byte offset. Offsets past the end mean the end.
pub fn line_and_column(text: &str, offset: usize) -> (usize, usize) {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    let before = &text[..offset];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |last| last.chars().count()) + 1;
    (line, column)
}

/// The candidate that is probably meant by `word`: the nearest by edit distance, or one that begins with it.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let length = word.chars().count();
    if length > LONGEST_NAME {
        return None;
    }
    let near = |candidate: &'a str| {
        let other = candidate.to_lowercase();
        let other_length = other.chars().count();
        let begins = length >= 3 && other.starts_with(&word) || other_length >= 3 && word.starts_with(&other);
        let has_same_start = word.chars().next() == other.chars().next();
        let limit = match length {
            0..=1 => 0,
            2..=4 => 1,
            5 => 2,
            _ if has_same_start => 3,
            _ => 2,
        };
        if other_length.abs_diff(length) > limit && !begins {
            return None;
        }
        let distance = edit_distance(&word, &other);
        (distance <= limit || begins).then_some((distance, !has_same_start, candidate))
    };
    let best = candidates.into_iter().filter_map(near).min_by_key(|(distance, other, _)| (*distance, *other));
    best.map(|(.., candidate)| candidate)
}

/// No name that is longer is worth guessing at: the comparison takes the product of the lengths.
const LONGEST_NAME: usize = 64;

/// Optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours cost 1.
fn edit_distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    for (j, cell) in rows[0].iter_mut().enumerate() {
        *cell = j;
    }
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let substitution = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitution.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_printed_behind_the_message_with_the_help() {
        let text = "SELECT a\nFRM demo";
        let diagnostic = Diagnostic::plain("found \"FRM\", expected FROM.")
            .at(Span::new(9, 12))
            .help("did you mean FROM?");
        assert_eq!(
            diagnostic.render(text),
            "found \"FRM\", expected FROM. (line 2, column 1; did you mean FROM?)"
        );
    }

    #[test]
    fn the_word_is_shown_where_nothing_else_names_it() {
        let text = "SELECT sum(tmp)";
        let at = |message: &str| Diagnostic::plain(message).at(Span::new(7, 15)).render(text);
        assert_eq!(at("wrong"), "wrong (line 1, column 8, at sum(tmp))");
        assert_eq!(at("wrong SUM(tmp)"), "wrong SUM(tmp) (line 1, column 8)");
    }

    #[test]
    fn mistakes_are_told_by_place_but_what_upstream_tells_comes_first() {
        let at = |code, start| Diagnostic::new(code, format!("m{start}")).at(Span::new(start, start));
        let mut mistakes: Vec<Diagnostic> = (0..12).rev().map(|i| at(ErrorCode::Undefined, i)).collect();
        mistakes.push(at(ErrorCode::SqlParse, 20));
        mistakes.push(at(ErrorCode::SqlParse, 20));
        sort(&mut mistakes);
        let report = report("", &mistakes);
        let lines: Vec<&str> = report.lines().collect();
        assert_eq!(lines[..2], ["m20 (line 1, column 1)", "also: m0 (line 1, column 1)"]);
        assert_eq!((lines[10], lines.len()), ("and 3 more", 11));
    }

    #[test]
    fn the_nearest_name_allows_swaps_and_refuses_strangers() {
        assert_eq!(nearest("avrage", ["avg", "average", "abs"]), Some("average"));
        assert_eq!(nearest("FRM", ["FROM", "WHERE"]), Some("FROM"));
        assert_eq!(nearest("zzz", ["avg", "abs"]), None);
        assert_eq!(nearest("time", ["temp"]), None);
        assert_eq!(nearest("substr", ["sum", "substring"]), Some("substring"));
        assert_eq!(nearest(&"a".repeat(100_000), ["a"]), None);
    }
}
