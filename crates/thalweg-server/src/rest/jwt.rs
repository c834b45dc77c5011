//! JSON web tokens as eKuiper takes them (`rest-api.md` 1.8): RS256, signed by the owner of a key in `etc/mgmt`.
//!
//! The texts are those of its library, because people search for them.

use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
use serde_json::Value as Json;

/// Who a token must be for.
const AUDIENCE: &str = "eKuiper";

/// Checks a token at a moment, in seconds since 1970, with the keys of a folder.
///
/// # Errors
/// What is answered with status 401.
pub(super) fn check(token: &str, keys: &Path, now: i64) -> Result<(), String> {
    let claims = verified(token, keys, now).map_err(|why| format!("validate token error: {why}"))?;
    let audience = texts(&claims["aud"]);
    if audience.contains(&AUDIENCE) {
        return Ok(());
    }
    Err(format!("audience field should contain {AUDIENCE}, but got [{}]", audience.join(" ")))
}

fn verified(token: &str, keys: &Path, now: i64) -> Result<Json, String> {
    let malformed = |why: &str| format!("token is malformed: {why}");
    if token.get(..7).is_some_and(|start| start.eq_ignore_ascii_case("bearer ")) {
        return Err(malformed("tokenstring should not contain 'bearer '"));
    }
    let parts: Vec<&str> = token.split('.').collect();
    let [header, claims, signature] = parts[..] else {
        return Err(malformed("token contains an invalid number of segments"));
    };
    let part = |text: &str, name: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(text);
        bytes.map_err(|why| malformed(&format!("could not base64 decode {name}: {why}")))
    };
    let document = |text: &str, name: &str| {
        let read = serde_json::from_slice::<Json>(&part(text, name)?).ok().filter(Json::is_object);
        read.ok_or_else(|| malformed(&format!("could not JSON decode {name}")))
    };
    let (header, read) = (document(header, "header")?, document(claims, "claim")?);
    if header["alg"] != "RS256" {
        let method = header["alg"].as_str().unwrap_or_default();
        return Err(format!("token signature is invalid: signing method {method} is invalid (use RS256)"));
    }
    let key = key_of(&read["iss"], keys)
        .map_err(|why| format!("token is unverifiable: error while executing keyfunc: {why}"))?;
    let signature = part(signature, "signature")?;
    let signed = &token[..token.len() - parts[2].len() - 1];
    UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key)
        .verify(signed.as_bytes(), &signature)
        .map_err(|_| "token signature is invalid: crypto/rsa: verification error".to_owned())?;
    in_time(&read, now)?;
    Ok(read)
}

/// `exp`, `nbf` and `iat`, where they are written.
fn in_time(claims: &Json, now: i64) -> Result<(), String> {
    let invalid = |why: &str| format!("token has invalid claims: {why}");
    let time = |name: &str| match &claims[name] {
        Json::Null => Ok(None),
        written => written.as_f64().map(Some).ok_or_else(|| invalid(&format!("{name} is not a number"))),
    };
    let (expires, from, issued) = (time("exp")?, time("nbf")?, time("iat")?);
    // Seconds since 1970 are far below 2^53.
    let now = now as f64;
    let wrong = [
        (expires.is_some_and(|expires| now >= expires), "token is expired"),
        (from.is_some_and(|from| now < from), "token is not valid yet"),
        (issued.is_some_and(|issued| now < issued), "token used before issued"),
    ];
    let wrong: Vec<&str> = wrong.iter().filter(|(is, _)| *is).map(|(_, why)| *why).collect();
    if wrong.is_empty() { Ok(()) } else { Err(invalid(&wrong.join(", "))) }
}

fn texts(claim: &Json) -> Vec<&str> {
    match claim {
        Json::String(one) => vec![one],
        Json::Array(many) => many.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The key of an issuer: the file of that name, in any case. It is looked for among the files of the folder, so that no
/// name leads out of it.
fn key_of(issuer: &Json, keys: &Path) -> Result<Vec<u8>, String> {
    let issuer = issuer.as_str().filter(|name| !name.is_empty());
    let issuer = issuer.ok_or("issuer field not exist in jwt payload")?;
    let files = fs::read_dir(keys).map_err(|why| format!("cannot read {}: {why}", keys.display()))?;
    let is_it = |file: &fs::DirEntry| {
        file.file_name().to_str().is_some_and(|name| name.to_lowercase() == issuer.to_lowercase())
    };
    let file = files.filter_map(Result::ok).find(is_it);
    let file = file.ok_or_else(|| format!("not found target key file {issuer} in /etc/mgmt"))?.path();
    let text = fs::read_to_string(&file).map_err(|why| format!("cannot read {}: {why}", file.display()))?;
    public_key(&text).ok_or_else(|| format!("{} is not an RSA public key in PEM", file.display()))
}

/// The key of a PEM text as PKCS #1 has it: two numbers in a sequence.
fn public_key(text: &str) -> Option<Vec<u8>> {
    let body = text.split_once("-----BEGIN")?.1.split_once("-----")?.1.split_once("-----END")?.0;
    let body: String = body.split_whitespace().collect();
    let bytes = STANDARD.decode(body).ok()?;
    let (inside, _) = element(&bytes, SEQUENCE)?;
    if inside.first() == Some(&INTEGER) {
        return Some(bytes);
    }
    // "PUBLIC KEY": the algorithm, then the key in a bit string, behind the number of its unused bits.
    let (_, rest) = element(inside, SEQUENCE)?;
    let (bits, _) = element(rest, BIT_STRING)?;
    let key = bits.strip_prefix(&[0])?;
    element(key, SEQUENCE).filter(|(key, _)| key.first() == Some(&INTEGER))?;
    Some(key.to_vec())
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

/// The content of the first element (DER), and what is behind it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let n_bytes = usize::from(length & 0x7f);
    let (length, rest) = match length {
        0..0x80 => (n_bytes, rest),
        _ if (1..=4).contains(&n_bytes) => {
            let (long, rest) = rest.split_at_checked(n_bytes)?;
            (long.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    if first == tag { rest.split_at_checked(length) } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn der_lengths_that_lie_are_no_key() {
        for bytes in
            [&[0x30][..], &[0x30, 0x80], &[0x30, 0x84, 255, 255, 255, 255], &[0x30, 0x85], &[0x30, 2, 1]]
        {
            assert_eq!(element(bytes, SEQUENCE), None, "{bytes:?}");
        }
        assert_eq!(element(&[0x30, 1, 7, 8], SEQUENCE), Some((&[7][..], &[8][..])));
        assert_eq!(public_key("-----BEGIN PUBLIC KEY-----\nMAAA\n-----END PUBLIC KEY-----"), None);
        assert_eq!(public_key("no key"), None);
    }

    #[test]
    fn times_are_looked_at_where_they_are_written() {
        let at_100 = |claims: &str| in_time(&serde_json::from_str(claims).expect("JSON"), 100);
        assert_eq!(at_100(r#"{"exp":100.5,"nbf":100,"iat":1}"#), Ok(()));
        assert_eq!(at_100("{}"), Ok(()));
        for (claims, why) in [
            (r#"{"exp":100}"#, "token is expired"),
            (r#"{"nbf":101}"#, "token is not valid yet"),
            (r#"{"iat":101,"exp":1}"#, "token is expired, token used before issued"),
            (r#"{"exp":"soon"}"#, "exp is not a number"),
        ] {
            assert_eq!(at_100(claims), Err(format!("token has invalid claims: {why}")), "{claims}");
        }
    }
}
