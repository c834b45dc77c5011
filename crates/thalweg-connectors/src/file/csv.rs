//! CSV records (RFC 4180): quotes, doubled quotes, line breaks inside quotes; leading blanks are trimmed (S4.5).

/// What a text holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Record {
    /// Its cells.
    Cells(Vec<String>),
    /// A quote is still open: the next line belongs to it.
    Open,
}

/// Reads one record from the lines that make it up.
///
/// # Errors
/// Where a quote stands that may not.
pub(super) fn record(text: &str, delimiter: u8) -> Result<Record, String> {
    let delimiter = char::from(delimiter);
    let mut cells = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t']);
        let (cell, after) = match rest.strip_prefix('"') {
            Some(quoted) => match closing(quoted) {
                Some((cell, after)) => (cell, after),
                None => return Ok(Record::Open),
            },
            None => {
                let end = rest.find(delimiter).unwrap_or(rest.len());
                if rest[..end].contains('"') {
                    return Err(format!("bare quote in column {}", cells.len() + 1));
                }
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        cells.push(cell);
        let mut after = after.chars();
        match after.next() {
            None => return Ok(Record::Cells(cells)),
            Some(next) if next == delimiter => rest = after.as_str(),
            Some(_) => return Err(format!("text after the closing quote in column {}", cells.len())),
        }
    }
}

/// The text up to the closing quote, and what follows it.
fn closing(quoted: &str) -> Option<(String, &str)> {
    let mut cell = String::new();
    let mut rest = quoted;
    loop {
        let (before, after) = rest.split_once('"')?;
        cell.push_str(before);
        match after.strip_prefix('"') {
            Some(more) => {
                cell.push('"');
                rest = more;
            }
            None => return Some((cell, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_follow_rfc_4180() {
        for (text, expected) in [
            ("a,b,,", Ok(Record::Cells(["a", "b", "", ""].map(str::to_owned).to_vec()))),
            (" a, \"b,\"\"c\"\"\"", Ok(Record::Cells(["a", "b,\"c\""].map(str::to_owned).to_vec()))),
            ("\"x\ny\",z", Ok(Record::Cells(["x\ny", "z"].map(str::to_owned).to_vec()))),
            ("a,\"b", Ok(Record::Open)),
            ("a,b\"c", Err("bare quote in column 2".to_owned())),
            ("\"a\"b", Err("text after the closing quote in column 1".to_owned())),
        ] {
            assert_eq!(record(text, b','), expected, "{text}");
        }
    }
}
