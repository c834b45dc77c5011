//! Table: how languages write numbers, for `format(x, places, locale)`.

use thalweg_core::RowError;

struct Style {
    group: &'static str,
    decimal: char,
    /// Groups of two above the first three (India).
    indian: bool,
}

const fn style(group: &'static str, decimal: char) -> Style {
    Style { group, decimal, indian: false }
}

/// `localized("98765.43", "de_DE")` is `98.765,43`. The region is required, as upstream does.
pub(super) fn localized(plain: &str, locale: &str) -> Result<String, RowError> {
    let unknown = || RowError::text(format!("the locale {locale} is not known; it reads like en_US"));
    let (language, region) = locale.split_once(['_', '-']).ok_or_else(unknown)?;
    if region.len() != 2 || !region.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err(unknown());
    }
    let style = style_of(&language.to_lowercase(), &region.to_uppercase()).ok_or_else(unknown)?;
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", plain),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut out = format!("{sign}{}", grouped(whole, &style));
    if !fraction.is_empty() {
        out.push(style.decimal);
        out.push_str(fraction);
    }
    Ok(out)
}

fn style_of(language: &str, region: &str) -> Option<Style> {
    Some(match (language, region) {
        ("en" | "hi", "IN") => Style { indian: true, ..style(",", '.') },
        ("de", "CH" | "LI") => style("’", '.'),
        ("de", "AT") => style("\u{a0}", ','),
        ("es", "MX" | "US" | "PR" | "GT" | "HN" | "NI" | "PA" | "PE" | "DO" | "SV") => style(",", '.'),
        ("pt", "PT") => style("\u{a0}", ','),
        ("it" | "fr", "CH") => {
            style(if language == "it" { "’" } else { "\u{a0}" }, if language == "it" { '.' } else { ',' })
        }
        ("en" | "ja" | "zh" | "ko" | "th" | "he" | "ar" | "ms" | "fil", _) => style(",", '.'),
        (
            "de" | "es" | "it" | "nl" | "pt" | "tr" | "id" | "da" | "el" | "ro" | "hr" | "sl" | "vi" | "ca"
            | "sr",
            _,
        ) => style(".", ','),
        (
            "fr" | "ru" | "pl" | "cs" | "sk" | "sv" | "fi" | "nb" | "no" | "uk" | "hu" | "bg" | "lt" | "lv"
            | "et",
            _,
        ) => style("\u{a0}", ','),
        _ => return None,
    })
}

fn grouped(whole: &str, style: &Style) -> String {
    let mut out = String::new();
    for (i, digit) in whole.char_indices() {
        let left = whole.len() - i;
        let border = match style.indian {
            true => left == 3 || left > 3 && left % 2 == 1,
            false => left.is_multiple_of(3),
        };
        if i > 0 && border {
            out.push_str(style.group);
        }
        out.push(digit);
    }
    out
}
