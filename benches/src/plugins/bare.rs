//! The yardstick: a bare CPython loop in a process of its own, timed when asked.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::median;

/// What is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A function of rows.
    Scalar,
    /// An aggregate of 1,000 values.
    Aggregate,
}

/// The process; it ends when this is dropped.
pub(super) struct Bare {
    child: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Bare {
    pub(super) fn start(python: &Path) -> Result<Self, String> {
        let mut command = Command::new(python);
        command.args(["-c", include_str!("bare.py")]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().map_err(|why| format!("{}: {why}", python.display()))?;
        let (ask, answers) = child.stdin.take().zip(child.stdout.take()).ok_or("no pipes to Python")?;
        Ok(Self { child, ask, answers: BufReader::new(answers) })
    }

    /// Nanoseconds a call in a loop over about as many values as a message has: the median of some loops.
    pub(super) fn nanos(&mut self, kind: Kind) -> Result<f64, String> {
        let (what, n_calls) = match kind {
            Kind::Scalar => ("scalar", 4096 * 5),
            Kind::Aggregate => ("aggregate", 64 * 5),
        };
        let failed = |why: std::io::Error| format!("the bare loop has ended: {why}");
        writeln!(self.ask, "{what} {n_calls}").and_then(|()| self.ask.flush()).map_err(failed)?;
        let mut times = Vec::new();
        loop {
            let mut line = String::new();
            if self.answers.read_line(&mut line).map_err(failed)? == 0 {
                return Err("the bare loop has ended".to_owned());
            }
            if line.trim() == "done" {
                return Ok(median(times.into_iter()));
            }
            let mut numbers = line.split_whitespace().map(str::parse::<f64>);
            let (Some(Ok(nanos)), Some(Ok(n_calls))) = (numbers.next(), numbers.next()) else {
                return Err(format!("the bare loop says {line}"));
            };
            times.push(nanos / n_calls);
        }
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
