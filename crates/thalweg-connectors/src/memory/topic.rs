//! Topic filters as in MQTT: levels between slashes, `+` for one level, `#` for all that follow.

/// Whether `topic` falls under `filter`. Also true for `a/#` and `a` (the parent level).
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    // MQTT 4.7.2: wildcards at the beginning do not reach topics of the broker itself.
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

/// Whether there is a wildcard in it.
pub(crate) fn has_wildcard(topic: &str) -> bool {
    topic.contains(['+', '#'])
}

/// Whether `#` stands alone in the last level and `+` alone in its level.
pub(crate) fn is_filter(filter: &str) -> bool {
    let n_levels = filter.split('/').count();
    !filter.is_empty()
        && filter.split('/').enumerate().all(|(index, level)| match level {
            "#" => index + 1 == n_levels,
            "+" => true,
            level => !has_wildcard(level),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_whole_levels() {
        for (filter, topic, expected) in [
            ("a/b", "a/b", true),
            ("a/+", "a/b", true),
            ("a/+", "a/b/c", false),
            // S3.4: upstream's expression is not anchored.
            ("a/+", "xa/b/c", false),
            ("a.b", "axb", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/b", "/b", true),
            ("a/+/c", "a//c", true),
            ("a", "a/b", false),
        ] {
            assert_eq!(matches(filter, topic), expected, "{filter} {topic}");
        }
    }

    #[test]
    fn a_hash_stands_only_at_the_end() {
        for (filter, expected) in
            [("a/#", true), ("#/a", false), ("a#", false), ("+/a", true), ("a+/b", false), ("", false)]
        {
            assert_eq!(is_filter(filter), expected, "{filter}");
        }
    }
}
