//! What a name may look like (`rest-api.md` 1.6).

use crate::error::EngineError;

/// Checks an id of anything that users name.
///
/// # Errors
/// It is empty, has outer blanks, or a character that is not allowed.
pub fn check_id(id: &str) -> Result<(), EngineError> {
    if id.is_empty() {
        return Err(EngineError::plain("id cannot be empty"));
    }
    if id.trim() != id {
        return Err(EngineError::plain(format!("id '{id}' contains leading or trailing whitespace")));
    }
    if !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-') {
        return Err(EngineError::plain(format!(
            "id '{id}' contains invalid characters: only alphanumeric, hyphens and underscores are allowed"
        )));
    }
    Ok(())
}

/// Whether a definition of version `new` may take the place of one of version `old` (R1.10): both empty, or strictly
/// greater as bytes.
pub(crate) fn may_replace(old: &str, new: &str) -> bool {
    (old.is_empty() && new.is_empty()) || new > old
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_letters_digits_hyphens_and_underscores() {
        assert_eq!(check_id("rule-3_A"), Ok(()));
        for (id, part) in [
            ("", "cannot be empty"),
            (" a", "whitespace"),
            ("rule3/21", "invalid characters"),
            ("é", "invalid"),
        ] {
            let error = check_id(id).expect_err(id);
            assert!(error.message.contains(part), "{id}: {}", error.message);
        }
    }

    #[test]
    fn r1_10_versions_are_compared_as_bytes_and_equal_ones_are_refused() {
        for (old, new, allowed) in [
            ("", "", true),
            ("", "1", true),
            ("1", "", false),
            ("2", "2", false),
            ("2", "10", false),
            ("1", "2", true),
        ] {
            assert_eq!(may_replace(old, new), allowed, "{old} -> {new}");
        }
    }
}
