//! What went wrong in a script, as people read it: the script's text and its line.

use std::fmt;

use rquickjs::convert::List;
use rquickjs::{Ctx, Type, Value};

use crate::tools::Tools;
use crate::watch::Watch;

/// A failure of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// `TypeError: …`, or what was thrown.
    pub(crate) text: String,
    /// The line of the script, from 1.
    pub(crate) line: Option<u32>,
    /// The column, from 1.
    pub(crate) column: Option<u32>,
}

impl Fault {
    /// One without a place.
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), line: None, column: None }
    }

    /// The exception that ended the last call, which is taken away by this.
    pub(crate) fn caught<'js>(ctx: &Ctx<'js>, tools: &Tools<'js>, watch: &Watch) -> Self {
        let thrown = ctx.catch();
        if watch.has_fired() {
            return Self::plain(format!(
                "it was interrupted, because it took longer than {:?}",
                watch.limit()
            ));
        }
        Self::of(thrown, ctx, tools, watch)
    }

    /// What a script threw.
    pub(crate) fn of<'js>(thrown: Value<'js>, ctx: &Ctx<'js>, tools: &Tools<'js>, watch: &Watch) -> Self {
        // No error could be made: that takes memory as well.
        if thrown.type_of() == Type::Uninitialized {
            return Self::plain("out of memory");
        }
        // Looking at it may run code of the script.
        watch.begin();
        let shown = tools.fault.call::<_, List<(String, String)>>((thrown,));
        let Ok(List((text, stack))) = shown else {
            drop(ctx.catch());
            let _ = watch.has_fired();
            return Self::plain("an error that cannot be shown");
        };
        let text = match text.as_str() {
            // The interpreter throws null when it has no memory left for an error.
            "InternalError: out of memory" => "out of memory".to_owned(),
            "null" => "out of memory, or null was thrown".to_owned(),
            _ => cut(text),
        };
        let (line, column) = place(&stack, tools.file.as_str()).unzip();
        Self { text, line, column }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        match (self.line, self.column) {
            (Some(line), Some(column)) => write!(f, " (line {line}, column {column})"),
            _ => Ok(()),
        }
    }
}

/// Texts of scripts may be of any length.
fn cut(mut text: String) -> String {
    const LONGEST: usize = 500;
    if text.len() > LONGEST {
        let end = (0..=LONGEST).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push('…');
    }
    text
}

/// The topmost place of the script in a stack: `    at area (area.js:1:30)`.
fn place(stack: &str, file: &str) -> Option<(u32, u32)> {
    let mut frames = stack.lines().filter_map(|frame| frame.rsplit_once(file)?.1.strip_prefix(':'));
    let mut numbers = frames.next()?.trim_end_matches(')').split(':').map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_that_of_the_topmost_frame_of_the_script() {
        let stack = "    at indexOf (native)\n    at f (f.js:12:3)\n    at <anonymous> (rows:1:1)\n";
        assert_eq!(place(stack, "f.js"), Some((12, 3)));
        assert_eq!(place("    at f.js:3:14\n", "f.js"), Some((3, 14)));
        assert_eq!(place("    at g (native)\n", "f.js"), None);
        assert_eq!(place("f.js:x:y", "f.js"), None);
    }

    #[test]
    fn a_long_text_is_cut_between_letters() {
        assert_eq!(cut("ü".repeat(300)).chars().count(), 251);
    }
}
