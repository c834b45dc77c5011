//! The beginnings of errors about configuration keys, in the language that a client asks for (`rest-api.md` 8,
//! `configuration.md` 8): `etc/multilingual/<language>.ini`, and in English without it.

use axum::http::HeaderMap;

use crate::home::Home;

/// Before the reasons of refusals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Words {
    pub(super) not_found: String,
    pub(super) write_failed: String,
    pub(super) wrong_type: String,
}

impl Words {
    /// Those that the header `Content-Language` asks for, in the section of sources or sinks.
    pub(super) fn of(home: &Home, headers: &HeaderMap, section: &str) -> Self {
        let language =
            headers.get("content-language").and_then(|value| value.to_str().ok()).unwrap_or("en_US");
        let language = language.replace('-', "_");
        let is_name = language.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let file = home.join(format!("etc/multilingual/{language}.ini"));
        let text = if is_name { std::fs::read_to_string(file).unwrap_or_default() } else { String::new() };
        let word = |name: &str, ours: &str| entry(&text, section, name).unwrap_or(ours).to_owned();
        Self {
            not_found: word("not_found_plugin", "This plugin was not found:"),
            write_failed: word("write_data_fail", "Failed to write data to file:"),
            wrong_type: word("type_conversion_fail", "Type conversion failed:"),
        }
    }
}

/// The value of a name in a section of an ini file.
fn entry<'a>(text: &'a str, section: &str, name: &str) -> Option<&'a str> {
    let header = format!("[{section}]");
    let lines = text.lines().map(str::trim).skip_while(|line| *line != header).skip(1);
    let mut entries = lines.take_while(|line| !line.starts_with('[')).filter_map(|line| line.split_once('='));
    entries
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.trim())
        .filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_of_the_language_is_read_and_nothing_outside_of_its_folder() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("etc/multilingual");
        std::fs::create_dir_all(&folder).unwrap();
        let file = "[sink]\nnot_found_plugin = Senke fehlt:\n[source]\n; x\nnot_found_plugin=Quelle fehlt:\n";
        std::fs::write(folder.join("de_DE.ini"), file).unwrap();
        std::fs::write(home.path().join("etc/x.ini"), file).unwrap();
        let not_found = |language: &str, section: &str| {
            let headers = [("content-language".parse().unwrap(), language.parse().unwrap())];
            Words::of(&Home::under(home.path()), &headers.into_iter().collect(), section).not_found
        };
        assert_eq!(not_found("de-DE", "source"), "Quelle fehlt:");
        assert_eq!(not_found("de_DE", "sink"), "Senke fehlt:");
        for other in ["en_US", "fr_FR", "../x", ""] {
            assert_eq!(not_found(other, "source"), "This plugin was not found:", "{other}");
        }
        assert_eq!(
            Words::of(&Home::under(home.path()), &HeaderMap::new(), "source").wrong_type,
            "Type conversion failed:"
        );
    }
}
