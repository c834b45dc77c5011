//! What to do about a token that does not belong where it stands.
//!
//! The texts before the place are upstream's; the advice behind it is ours. It is given only where the mistake is
//! plain: a wrong guess costs the reader more than none.

use sqlparser::parser::Parser;
use thalweg_core::Diagnostic;
use thalweg_core::diagnostic::nearest;

use crate::grammar::{Grammar, syntax};
use crate::lex::{Kind, Lexeme, RESERVED};
use crate::recover::Clause;

impl Grammar {
    /// `found "…", expected <what>.` at the cursor.
    pub(crate) fn found(&self, p: &Parser<'_>, what: &str) -> Diagnostic {
        let lexeme = self.at(p);
        let diagnostic = syntax(format!("found {}, expected {what}.", lexeme.shown())).at(lexeme.span);
        let help = match what {
            "expression" => self.no_operand(p),
            "as alias" | "an alias" => self.no_alias(p),
            _ => None,
        };
        match help.or_else(|| self.hint(lexeme)) {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }

    /// An error with this text at a lexeme, and advice if the lexeme suggests some.
    pub(crate) fn mistake(&self, lexeme: &Lexeme, message: impl Into<String>) -> Diagnostic {
        let diagnostic = syntax(message).at(lexeme.span);
        match self.hint(lexeme) {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        }
    }

    /// Advice for a lexeme that does not belong where it stands.
    fn hint(&self, lexeme: &Lexeme) -> Option<String> {
        let written = self.written(lexeme);
        let index = self.lexemes().partition_point(|other| other.span.start < lexeme.span.start);
        match lexeme.kind {
            Kind::Keyword if lexeme.found == "SELECT" => {
                Some("sub-queries may stand in FROM only".to_owned())
            }
            Kind::Keyword if self.begins_clause(index) => None,
            Kind::Keyword => Some(format!(
                "{} is a reserved word; as a name quote it with backticks: `{written}`",
                lexeme.found
            )),
            Kind::Unclosed if written.starts_with("/*") => Some("the comment is not closed".to_owned()),
            Kind::Unclosed => Some("the text is not closed".to_owned()),
            Kind::Bad if written.starts_with(['\'', '"']) => Some(bad_text(written)),
            Kind::Bad => Some(strange(written)),
            Kind::Word if lexeme.found.len() >= 3 => {
                nearest(&lexeme.found, RESERVED.iter().copied()).map(|word| format!("did you mean {word}?"))
            }
            Kind::End => self.unclosed_name().or_else(|| self.cut_off()),
            _ => None,
        }
    }

    /// L-7: a name in backticks that does not end takes the rest of the text.
    fn unclosed_name(&self) -> Option<String> {
        let last = self.lexemes().last()?;
        let written = self.text.get(last.span.start as usize..last.span.end as usize)?;
        let is_closed = written.len() > 1 && written.ends_with('`');
        (last.kind == Kind::Quoted && !is_closed)
            .then(|| format!("the backtick of {} is not closed", self.place(last.span)))
    }

    /// L-1: a zero character ends the text.
    fn cut_off(&self) -> Option<String> {
        self.text.contains('\0').then(|| "the text ends at a zero character (U+0000)".to_owned())
    }

    /// Where the name behind AS should stand.
    fn no_alias(&self, p: &Parser<'_>) -> Option<String> {
        let (lexeme, next) = (self.at(p), self.ahead(p, 1));
        let name = lexeme.found.replace('`', "");
        match lexeme.kind {
            Kind::Text if !name.is_empty() => {
                Some(format!("a name is written plain or in backticks: `{name}`"))
            }
            Kind::Int | Kind::Number => {
                let rest = if next.span.start == lexeme.span.end { self.written(next) } else { "" };
                Some(format!("a name begins with a letter, or stands in backticks: `{name}{rest}`"))
            }
            Kind::End => Some("a name is missing after AS".to_owned()),
            _ if self.is_clause(p) || lexeme.is_symbol(",") => Some("a name is missing after AS".to_owned()),
            _ => None,
        }
    }

    /// Where a value should begin.
    fn no_operand(&self, p: &Parser<'_>) -> Option<String> {
        let (lexeme, before) = (self.at(p), self.behind(p));
        let after = |symbol: &str| before.is_some_and(|before| before.is_symbol(symbol));
        let ends = lexeme.kind == Kind::End || lexeme.is_symbol(";") || self.is_clause(p);
        let found = lexeme.found.as_str();
        let help = match before {
            Some(before) if before.is_symbol(",") && ends => format!("remove the comma before {found}"),
            Some(before) if before.is_symbol(",") && lexeme.is_symbol(",") => "remove one comma".to_owned(),
            Some(before) if before.is_keyword("SELECT") && (ends || lexeme.is_symbol(",")) => {
                "name columns, or write * for all".to_owned()
            }
            Some(before) if before.is_keyword("SELECT") && lexeme.is_keyword("DISTINCT") => return None,
            _ if after("=") && lexeme.is_symbol("=") => "a single = compares".to_owned(),
            _ if after("=") && [">", "<"].contains(&found) => format!("write {found}= instead of ={found}"),
            _ if after("&") && lexeme.is_symbol("&") => "write AND instead of &&".to_owned(),
            _ if lexeme.kind == Kind::Bad && found == "!" => "write NOT instead of !".to_owned(),
            _ if lexeme.is_symbol(")") && after("(") => "a value is missing between ( and )".to_owned(),
            _ if after(".") => "a name belongs behind the point".to_owned(),
            _ if after("->") => "a name belongs behind ->; elements of lists are x[0]".to_owned(),
            Some(before) if before.kind == Kind::Symbol && is_operator(lexeme) => {
                format!("a value is missing between {} and {found}", self.written(before))
            }
            Some(before) if ends || lexeme.is_keyword("AS") || matches!(found, ")" | "," | "]") => {
                format!("a value is missing after {}", self.written(before))
            }
            _ => return None,
        };
        Some(help)
    }

    /// Whether a clause begins at the cursor.
    fn is_clause(&self, p: &Parser<'_>) -> bool {
        self.clause_at(p).is_some() && self.begins_clause(p.index())
            || self.at(p).is_keyword("FROM") && self.begins_clause(p.index())
    }

    /// What stands where a field of SELECT has ended and no comma or FROM follows.
    pub(crate) fn no_from(&self, p: &Parser<'_>) -> Diagnostic {
        let (lexeme, next) = (self.at(p), self.ahead(p, 1));
        let diagnostic = self.found(p, "FROM");
        let is_followed = next.is_keyword("FROM") || next.is_symbol(",");
        if self.is_exponent(p) {
            return diagnostic.help("numbers have no exponent; write the zeros");
        }
        if self.behind(p).is_some_and(|before| before.is_word("DISTINCT")) {
            return diagnostic.help("DISTINCT is not in the language; GROUP BY or deduplicate() may serve");
        }
        if lexeme.is_word("EXCLUDE") {
            return diagnostic.help("did you mean EXCEPT?");
        }
        let words = ["INVISIBLE", "EXCEPT", "REPLACE"];
        if let Some(word) = nearest(&lexeme.found, words).filter(|_| lexeme.kind == Kind::Word) {
            return diagnostic.help(format!("did you mean {word}?"));
        }
        if lexeme.is_symbol(":") && next.is_symbol(":") {
            return diagnostic.help("to convert a value write cast(value, 'bigint')");
        }
        let is_alias = p.index() >= 2 && self.lexemes()[p.index() - 2].is_keyword("AS");
        if lexeme.is_name() && is_alias {
            return diagnostic.help(format!("a comma is missing before {}", self.written(lexeme)));
        }
        if lexeme.is_name() && is_followed {
            return diagnostic.help(format!(
                "an alias needs AS before it, and another column a comma: AS {0} or , {0}",
                self.written(lexeme)
            ));
        }
        let is_value = matches!(lexeme.kind, Kind::Int | Kind::Number | Kind::Text);
        let is_call = lexeme.is_name() && next.is_symbol("(");
        if is_value || is_call && diagnostic.help.is_none() {
            let help = format!("a comma or an operator is missing before {}", self.written(lexeme));
            return diagnostic.help(help);
        }
        if lexeme.is_symbol(")") {
            return diagnostic.help("there is one ) too many");
        }
        if lexeme.is_name() && next.is_symbol(")") && !self.is_nested() {
            return diagnostic.help(format!("a ( is missing before {}", self.written(lexeme)));
        }
        if lexeme.is_name() && diagnostic.help.is_none() {
            return diagnostic.help(format!("FROM or a comma is missing before {}", self.written(lexeme)));
        }
        if self.clause_at(p).is_some() && self.begins_clause(p.index()) {
            return diagnostic.help("FROM and the name of a stream are missing before it");
        }
        if lexeme.kind == Kind::End && diagnostic.help.is_none() {
            return diagnostic.help("name the stream to read: FROM …");
        }
        diagnostic
    }

    /// L-12: `1e3`.
    fn is_exponent(&self, p: &Parser<'_>) -> bool {
        let lexeme = self.at(p);
        let is_digits =
            lexeme.found.starts_with(['e', 'E']) && lexeme.found[1..].bytes().all(|b| b.is_ascii_digit());
        lexeme.kind == Kind::Word
            && is_digits
            && self.behind(p).is_some_and(|before| {
                matches!(before.kind, Kind::Int | Kind::Number) && before.span.end == lexeme.span.start
            })
    }

    /// What stands behind the last clause. `last` is that clause; none: FROM.
    pub(crate) fn no_end(&self, p: &Parser<'_>, last: Option<Clause>) -> Diagnostic {
        let (lexeme, next) = (self.at(p), self.ahead(p, 1));
        let diagnostic = self.found(p, if self.is_nested() { "right paren" } else { "EOF" });
        if let Some((word, _)) = self.clause_meant(p) {
            return diagnostic.help(format!("did you mean {word}?"));
        }
        if self.is_exponent(p) {
            return diagnostic.help("numbers have no exponent; write the zeros");
        }
        let written = self.written(lexeme);
        let is_value =
            matches!(lexeme.kind, Kind::Word | Kind::Quoted | Kind::Int | Kind::Number | Kind::Text);
        let help = match (last, lexeme.found.to_uppercase().as_str()) {
            (_, "FROM") => "there is a FROM already; join sources with INNER JOIN … ON …".to_owned(),
            (_, "IS") => "IS is followed by NULL or NOT NULL; values are compared with =".to_owned(),
            (_, ")") => "there is one ) too many".to_owned(),
            (None | Some(Clause::Join), ",") => "join sources with INNER JOIN … ON …".to_owned(),
            (Some(Clause::Where | Clause::Having), ",") => "join conditions with AND or OR".to_owned(),
            (Some(Clause::Limit), ",") | (_, "OFFSET") => {
                "LIMIT takes one number, how many rows to keep".to_owned()
            }
            (_, "USING") => "name the columns: ON a.id = b.id".to_owned(),
            (Some(Clause::Order), _) if is_value || lexeme.is_symbol("(") || lexeme.is_keyword("CASE") => {
                "ORDER BY takes columns, aliases and calls, not positions or other expressions".to_owned()
            }
            (_, "FILTER" | "OVER") => {
                format!("the order is FILTER(WHERE …) OVER(…); {} stands after a window", lexeme.found)
            }
            (_, "INTERSECT" | "MINUS") => "only UNION ALL joins queries".to_owned(),
            (_, "EXCEPT") if next.is_keyword("SELECT") => "only UNION ALL joins queries".to_owned(),
            (Some(Clause::Group), _) if self.behind(p).is_some_and(is_window) => {
                format!("a ( is missing before {written}")
            }
            (None, _) if lexeme.kind == Kind::Text => format!("WHERE or AS is missing before {written}"),
            (Some(Clause::Where | Clause::Having | Clause::Join), _) if is_value => {
                format!("AND, OR or another operator is missing before {written}")
            }
            (Some(Clause::Group), _) if is_value => format!("a comma is missing before {written}"),
            (_, "=") if self.behind(p).is_some_and(|before| before.is_symbol("=")) => {
                "a single = compares".to_owned()
            }
            _ => return diagnostic,
        };
        diagnostic.help(help)
    }

    /// A clause that stands where it must not (G-6).
    pub(crate) fn misplaced(&self, p: &Parser<'_>, clause: Clause, last: Clause) -> Diagnostic {
        let diagnostic = self.found(p, if self.is_nested() { "right paren" } else { "EOF" });
        let help = match clause {
            Clause::Where if clause == last => "there is a WHERE already; join the conditions with AND",
            Clause::Having if clause == last => "there is a HAVING already; join the conditions with AND",
            _ if clause == last => "this clause stands there already",
            _ => "the order of clauses is FROM, JOIN, WHERE, GROUP BY, HAVING, ORDER BY, LIMIT",
        };
        diagnostic.help(help)
    }
}

fn is_operator(lexeme: &Lexeme) -> bool {
    lexeme.kind == Kind::Symbol
        && ["*", "/", "%", "&", "|", "^", "||", "=", "!=", "<", "<=", ">", ">="]
            .contains(&lexeme.found.as_str())
}

fn is_window(lexeme: &Lexeme) -> bool {
    lexeme.kind == Kind::Word && lexeme.found.to_lowercase().ends_with("window")
}

/// What is wrong between quotes (L-11).
fn bad_text(written: &str) -> String {
    if written.contains('\n') {
        return "a text ends on its line; write \\n for a line break".to_owned();
    }
    if written.starts_with('"') && written.contains("\\'") {
        return "between double quotes ' stands without a backslash".to_owned();
    }
    "a backslash begins an escape such as \\n or \\\"; for itself write it twice".to_owned()
}

/// What to write instead of characters that begin no token.
fn strange(written: &str) -> String {
    let first = written.chars().next().unwrap_or_default();
    let code = format!("U+{:04X}", first as u32);
    if let Some((_, plain)) = LOOK_ALIKES.iter().find(|(strange, _)| strange.contains(first)) {
        return format!("{first} ({code}) is not the plain sign; write {plain}");
    }
    if first.is_whitespace() || INVISIBLE.contains(&first) {
        return format!("an invisible character ({code}) stands here; write a plain blank");
    }
    if FOREIGN_LETTERS.contains(first) {
        return format!("{first} ({code}) looks like a Latin letter but is none");
    }
    if first == '_' || first.is_alphanumeric() {
        return format!("quote it with backticks: `{written}`");
    }
    if first == '!' {
        return "write != or NOT".to_owned();
    }
    if first.is_ascii_graphic() {
        return format!("{first} has no meaning here");
    }
    format!("{first} ({code}) has no meaning here")
}

/// Characters that word processors put in the place of plain ones.
const LOOK_ALIKES: &[(&str, &str)] = &[
    ("‘’‚′", "'"),
    ("“”„″«»", "\""),
    ("–—−－", "-"),
    ("，、", ","),
    ("（", "("),
    ("）", ")"),
    ("；", ";"),
    ("＝", "="),
    ("×＊", "*"),
    ("÷／", "/"),
    ("≠", "!="),
    ("≤", "<="),
    ("≥", ">="),
    ("…", "the whole text"),
];

const INVISIBLE: &[char] = &['\u{200b}', '\u{200c}', '\u{200d}', '\u{2060}', '\u{feff}', '\u{ad}'];

/// Cyrillic and Greek letters that look like Latin ones.
const FOREIGN_LETTERS: &str = "АВЕКМНОРСТУХаеорсухіѕјΑΒΕΖΗΙΚΜΝΟΡΤΥΧο";
