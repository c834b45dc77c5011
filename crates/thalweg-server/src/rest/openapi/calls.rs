//! What each call takes and answers: the table `calls.txt`, read.

/// The table.
const TABLE: &str = include_str!("calls.txt");

/// A call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) group: &'static str,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) query: Vec<&'static str>,
    /// What a body may be; empty where there is none.
    pub(super) bodies: Vec<&'static str>,
    pub(super) answers: Vec<Given>,
    pub(super) summary: &'static str,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) status: &'static str,
    pub(super) kinds: Vec<&'static str>,
    pub(super) schema: Option<&'static str>,
}

/// All calls of the table.
///
/// # Errors
/// A line that cannot be read.
pub(super) fn all() -> Result<Vec<Call>, String> {
    let mut group = "";
    let mut calls = Vec::new();
    for line in TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix("== ") {
            Some(name) => group = name,
            None => calls.push(call(group, line).ok_or_else(|| format!("calls.txt: {line}"))?),
        }
    }
    Ok(calls)
}

fn call(group: &'static str, line: &'static str) -> Option<Call> {
    let (call, summary) = line.split_once(" : ")?;
    let (taken, given) = call.split_once(" -> ")?;
    let (head, bodies) = taken.split_once(" <- ").unwrap_or((taken, ""));
    let mut words = head.split(' ');
    let (method, path) = (words.next()?, words.next()?);
    let query = words.map(|word| word.strip_prefix('?')).collect::<Option<_>>()?;
    let bodies = bodies.split(',').filter(|body| !body.is_empty()).collect();
    let answers = given.split(" | ").map(answer).collect::<Option<_>>()?;
    Some(Call { group, method, path, query, bodies, answers, summary })
}

fn answer(text: &'static str) -> Option<Given> {
    let mut words = text.split(' ');
    let status = words.next().filter(|status| status.parse::<u16>().is_ok())?;
    let kinds = words.next()?.split(',').collect();
    Some(Given { status, kinds, schema: words.next() })
}

/// The parameters in a path.
pub(super) fn in_path(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'))
}
