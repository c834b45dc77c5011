//! The path of a request as routes see it (`rest-api.md` 1.2): decoded, and without detours.

/// What becomes of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Address {
    /// It is looked up as this.
    Path(String),
    /// It has detours; this is the way without them.
    Unclean(String),
    /// It is no path; why.
    Wrong(&'static str),
}

/// Reads the path of a URI.
pub(crate) fn read(path: &str) -> Address {
    let Some(bytes) = decoded(path) else { return Address::Wrong("a percent sign without two hex digits") };
    let Ok(path) = String::from_utf8(bytes) else { return Address::Wrong("it is not UTF-8") };
    if path.contains('\0') {
        return Address::Wrong("it holds a zero byte");
    }
    let clean = without_detours(&path);
    if clean == path { Address::Path(path) } else { Address::Unclean(clean) }
}

fn decoded(path: &str) -> Option<Vec<u8>> {
    let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
    let mut bytes = path.bytes();
    let mut decoded = Vec::with_capacity(path.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => u8::try_from(digit(bytes.next())? * 16 + digit(bytes.next())?).ok()?,
            other => other,
        });
    }
    Some(decoded)
}

/// Without empty segments, `.` and `..`; a slash at the end stays.
fn without_detours(path: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            other => segments.push(other),
        }
    }
    let ends_open = path.ends_with('/') && !segments.is_empty();
    format!("/{}{}", segments.join("/"), if ends_open { "/" } else { "" })
}

/// A decoded path as it stands in a URI.
pub(super) fn encoded(path: &str) -> String {
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' | b'~' => {
                encoded.push(char::from(byte));
            }
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_decoded_before_they_are_looked_up() {
        let path = |path: &str| Address::Path(path.to_owned());
        assert_eq!(read("/rules/bad%20id"), path("/rules/bad id"));
        assert_eq!(read("/r%75les"), path("/rules"));
        assert_eq!(read("/config/uploads/a%2Fb"), path("/config/uploads/a/b"));
        assert_eq!(read("/rules/%c3%a4"), path("/rules/ä"));
        assert_eq!(read("/rules/"), path("/rules/"));
        for wrong in ["/%", "/%4", "/%zz", "/%ff", "/%00"] {
            assert!(matches!(read(wrong), Address::Wrong(_)), "{wrong}");
        }
    }

    #[test]
    fn detours_are_named_with_the_way_without_them() {
        let pairs = [
            ("//rules", "/rules"),
            ("/./rules", "/rules"),
            ("/rules/../streams", "/streams"),
            ("/../../etc/passwd", "/etc/passwd"),
            ("/rules/%2e%2e/%2e%2e", "/"),
            ("/rules//", "/rules/"),
            ("//", "/"),
        ];
        for (given, clean) in pairs {
            assert_eq!(read(given), Address::Unclean(clean.to_owned()), "{given}");
        }
        assert_eq!(encoded("/a b/ä?"), "/a%20b/%C3%A4%3F");
    }
}
