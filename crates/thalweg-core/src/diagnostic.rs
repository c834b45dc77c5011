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

    /// The message followed by `(line L, column C; help)`. Columns count characters from 1.
    pub fn render(&self, text: &str) -> String {
        let place = self.span.map(|span| {
            let (line, column) = line_and_column(text, span.start as usize);
            format!("line {line}, column {column}")
        });
        let parts: Vec<String> = place.into_iter().chain(self.help.clone()).collect();
        if parts.is_empty() {
            self.message.clone()
        } else {
            format!("{} ({})", self.message, parts.join("; "))
        }
    }
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

/// The candidate nearest to `word` by edit distance, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let limit = (word.chars().count() / 3).max(1) + usize::from(word.len() > 3);
    candidates
        .into_iter()
        .map(|candidate| (edit_distance(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

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
    fn the_nearest_name_allows_swaps_and_refuses_strangers() {
        assert_eq!(nearest("avrage", ["avg", "average", "abs"]), Some("average"));
        assert_eq!(nearest("FRM", ["FROM", "WHERE"]), Some("FROM"));
        assert_eq!(nearest("zzz", ["avg", "abs"]), None);
    }
}
