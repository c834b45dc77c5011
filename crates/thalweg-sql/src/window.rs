//! Window calls of GROUP BY with their FILTER and OVER (chapter 9).

use sqlparser::parser::Parser;
use thalweg_core::{Span, Value};

use crate::ast::{Expr, ExprKind, TimeUnit, Window, WindowKind};
use crate::grammar::{Grammar, Parsed, syntax};

const WINDOWS: &[&str] =
    &["tumblingwindow", "hoppingwindow", "slidingwindow", "sessionwindow", "countwindow", "statewindow"];

/// Whether a call of this name is a window where GROUP BY expects one.
pub(crate) fn is_window(name: &str) -> bool {
    WINDOWS.iter().any(|window| window.eq_ignore_ascii_case(name))
}

const FILTER: &str = "write FILTER(WHERE condition)";
const OVER: &str = "write OVER(WHEN condition) or OVER(PARTITION BY …)";

/// A window call before its arguments have a meaning.
struct WindowCall<'a> {
    name: &'a str,
    args: &'a [Expr],
    /// The unit that the first argument names, if it names one.
    unit: Option<TimeUnit>,
    span: Span,
}

impl Grammar {
    /// A window call, if one starts here.
    pub(crate) fn window(&self, p: &mut Parser<'_>) -> Parsed<Option<Window>> {
        let first = self.at(p);
        let name = WINDOWS.iter().copied().find(|name| first.is_word(name));
        let Some(name) = name.filter(|_| self.ahead(p, 1).is_symbol("(")) else {
            return Ok(None);
        };
        let unit = self.unit(p);
        let called = self.name(p, "window")?;
        let args = self.arguments(p, &called)?;
        let span = self.span_from(first.span, p);
        let kind = WindowCall { name, args: &args, unit, span }.kind()?;
        let filter = self.window_filter(p)?;
        let (when, partition_by) = self.window_over(p)?;
        Ok(Some(Window { kind, filter, when, partition_by, span: self.span_from(first.span, p) }))
    }

    /// The unit written as first argument of the call at the cursor (L-10: a keyword only there).
    fn unit(&self, p: &Parser<'_>) -> Option<TimeUnit> {
        const UNITS: [(&str, TimeUnit); 5] = [
            ("DD", TimeUnit::Day),
            ("HH", TimeUnit::Hour),
            ("MI", TimeUnit::Minute),
            ("SS", TimeUnit::Second),
            ("MS", TimeUnit::Millisecond),
        ];
        let ends = |symbol| self.ahead(p, 3).is_symbol(symbol);
        let found = UNITS.iter().find(|(word, _)| self.ahead(p, 2).is_word(word));
        found.filter(|_| ends(",") || ends(")")).map(|(_, unit)| *unit)
    }

    fn window_filter(&self, p: &mut Parser<'_>) -> Parsed<Option<Expr>> {
        if !self.accept_keyword(p, "FILTER") {
            return Ok(None);
        }
        let open = self.at(p).span;
        if !self.accept(p, "(") {
            return Err(self.mistake_at(p, "after FILTER, expect parentheses.").help(FILTER));
        }
        if !self.accept_keyword(p, "WHERE") {
            return Err(self.mistake_at(p, "after FILTER(, expect WHERE.").help(FILTER));
        }
        let filter = self.expr(p)?;
        self.must_close(p, open, "after FILTER, expect right parentheses.")?;
        Ok(Some(filter))
    }

    fn window_over(&self, p: &mut Parser<'_>) -> Parsed<(Option<Expr>, Vec<Expr>)> {
        if !self.accept_keyword(p, "OVER") {
            return Ok((None, Vec::new()));
        }
        let open = self.at(p).span;
        if !self.accept(p, "(") {
            return Err(self.mistake_at(p, "after OVER, expect parentheses.").help(OVER));
        }
        let when = if self.accept_keyword(p, "WHEN") { Some(self.expr(p)?) } else { None };
        let partition_by = self.partition_by(p)?;
        if when.is_none() && partition_by.is_empty() {
            return Err(self.mistake_at(p, "after OVER(, expect WHEN.").help(OVER));
        }
        self.must_close(p, open, "after OVER, expect right parentheses.")?;
        Ok((when, partition_by))
    }

    fn must_close(&self, p: &mut Parser<'_>, open: Span, after: &str) -> Parsed<()> {
        if self.accept(p, ")") { Ok(()) } else { Err(self.unclosed(p, open, self.mistake_at(p, after))) }
    }

    fn mistake_at(&self, p: &Parser<'_>, after: &str) -> thalweg_core::Diagnostic {
        let lexeme = self.at(p);
        self.mistake(lexeme, format!("Found {} {after}", lexeme.shown()))
    }
}

impl WindowCall<'_> {
    fn kind(&self) -> Parsed<WindowKind> {
        match self.name {
            "countwindow" => self.count(),
            "statewindow" => self.state(),
            "slidingwindow" => {
                let unit = self.check(&[2, 3])?;
                let delay = self.args.get(2).map(|_| self.length(2, 0)).transpose()?;
                Ok(WindowKind::Sliding { unit, length: self.length(1, 0)?, delay })
            }
            "hoppingwindow" => {
                let unit = self.check(&[3])?;
                Ok(WindowKind::Hopping { unit, length: self.length(1, 1)?, hop: self.length(2, 1)? })
            }
            "sessionwindow" => {
                let unit = self.check(&[3])?;
                Ok(WindowKind::Session {
                    unit,
                    max_duration: self.length(1, 1)?,
                    timeout: self.length(2, 1)?,
                })
            }
            _ => Ok(WindowKind::Tumbling { unit: self.check(&[2])?, length: self.length(1, 1)? }),
        }
    }

    /// Count and kinds of the arguments of a window measured in time.
    fn check(&self, counts: &[usize]) -> Parsed<TimeUnit> {
        let name = self.name;
        if !counts.contains(&self.args.len()) {
            let counts: Vec<String> = counts.iter().map(usize::to_string).collect();
            return Err(self.wrong(format!("The arguments for {name} should be {}.\n", counts.join(" or "))));
        }
        let Some(unit) = self.unit else {
            let message = format!(
                "The 1st argument for {name} is expecting timer literal expression. One value of [dd|hh|mi|ss|ms].\n"
            );
            return Err(syntax(message).at(self.args[0].span).help(self.unit_help()));
        };
        match (1..self.args.len()).find(|index| integer(&self.args[*index]).is_none()) {
            None => Ok(unit),
            Some(index) => {
                let message =
                    format!("The {index} argument for {name} is expecting interger literal expression. \n");
                let help = match self.args[index].kind {
                    ExprKind::Literal(Value::Float(_)) => "take a smaller unit: 1.5 seconds are (ms, 1500)",
                    _ => "lengths are whole numbers, written out",
                };
                Err(syntax(message).at(self.args[index].span).help(help))
            }
        }
    }

    /// W-21: a length below `least` is refused.
    fn length(&self, index: usize, least: i64) -> Parsed<i64> {
        let arg = &self.args[index];
        match integer(arg) {
            Some(length) if length >= least => Ok(length),
            _ => Err(syntax(format!("Invalid parameter value {}.", shown(arg)))
                .at(arg.span)
                .help(format!("a whole number of at least {least} belongs here"))),
        }
    }

    fn count(&self) -> Parsed<WindowKind> {
        match self.args {
            [_] => Ok(WindowKind::Count { length: self.length(0, 1)?, step: None }),
            [length, step] => {
                let (Some(n), Some(m)) = (integer(length), integer(step)) else {
                    return Err(self.wrong(format!(
                        "Invalid parameter value {}, {}.",
                        shown(length),
                        shown(step)
                    )));
                };
                if n < m {
                    let message = format!(
                        "The second parameter value {m} should be less than the first parameter {n}."
                    );
                    let help =
                        "the second says after how many rows the window moves on; more would leave gaps";
                    return Err(syntax(message).at(step.span).help(help));
                }
                Ok(WindowKind::Count { length: self.length(0, 1)?, step: Some(self.length(1, 0)?) })
            }
            _ => Err(self.wrong("Invalid parameter count.")),
        }
    }

    fn state(&self) -> Parsed<WindowKind> {
        match self.args {
            [begin] => Ok(WindowKind::State { begin: begin.clone(), emit: None }),
            [begin, emit] => Ok(WindowKind::State { begin: begin.clone(), emit: Some(emit.clone()) }),
            _ => Err(self.wrong("The arguments for statewindow should be 1 or 2.\n")),
        }
    }

    /// Wrong arguments as a whole, with an example of right ones.
    fn wrong(&self, message: impl Into<String>) -> thalweg_core::Diagnostic {
        let example = match self.name {
            "tumblingwindow" => "TUMBLINGWINDOW(ss, 10): unit and length",
            "hoppingwindow" => "HOPPINGWINDOW(ss, 10, 5): unit, length, and how far it moves on",
            "slidingwindow" => "SLIDINGWINDOW(ss, 10): unit and length, and possibly a delay",
            "sessionwindow" => "SESSIONWINDOW(ss, 60, 5): unit, longest duration, and the gap that ends it",
            "countwindow" => "COUNTWINDOW(10) or COUNTWINDOW(10, 5): rows, and after how many it moves on",
            _ => "STATEWINDOW(begin, end) or STATEWINDOW(condition)",
        };
        syntax(message).at(self.span).help(format!("write {example}"))
    }

    /// What to write instead of the first argument.
    fn unit_help(&self) -> String {
        let first = &self.args[0];
        let word = match &first.kind {
            ExprKind::Literal(Value::Str(text)) => {
                return format!("the unit is written without quotes: {text}");
            }
            ExprKind::Name(names) if names.len() == 1 => names[0].text.to_lowercase(),
            _ => return format!("the unit comes first: {}(ss, …)", self.name.to_uppercase()),
        };
        let unit = match word.trim_end_matches('s') {
            "d" | "day" => "dd",
            "h" | "hr" | "hour" => "hh",
            "m" | "min" | "minute" => "mi",
            "" | "sec" | "second" => "ss",
            "milli" | "millisecond" | "msec" => "ms",
            _ => return "dd days, hh hours, mi minutes, ss seconds, ms milliseconds".to_owned(),
        };
        format!("did you mean {unit}?")
    }
}

fn integer(arg: &Expr) -> Option<i64> {
    match arg.kind {
        ExprKind::Literal(Value::Int(value)) => Some(value),
        _ => None,
    }
}

/// An argument as upstream's errors show it: unqualified columns belong to `$$default`.
fn shown(arg: &Expr) -> String {
    match &arg.kind {
        ExprKind::Name(names) if names.len() == 1 => format!("$$default.{}", names[0].text),
        _ => crate::print::expr(arg),
    }
}
