//! What every call of the management interface goes through (`rest-api.md` 1): paths, CORS, authentication, TLS.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value as Json, json};
use thalweg_tests::instance::Instance;
use thalweg_tests::processes::Engine;
use thalweg_tests::wait;

const TEXT: &str = "text/plain; charset=utf-8";

#[test]
fn paths_are_decoded_cleaned_and_matched_segment_by_segment() {
    // rest-api.md 1.2
    let instance = Instance::start(None, &[], |_| {});
    let get = |path: &str| instance.call("GET", path, &[], "");
    assert_eq!(get("/r%75les").all(), (200, "application/json", "[]"));
    let (status, kind, body) = (400, TEXT, "{\"error\":1000,\"message\":\"Describe rule error: ");
    let bad = get("/rules/bad%20id");
    assert_eq!((bad.status, bad.header("content-type")), (status, Some(kind)), "{}", bad.body);
    assert!(bad.body.contains("contains invalid characters"), "{body}: {}", bad.body);
    for nowhere in ["/rules/", "/config/uploads/a%2Fb", "/rules/a%2Fb", "/RULES", "/openapi.json/x"] {
        let answer = get(nowhere);
        assert_eq!(answer.all(), (404, TEXT, "404 page not found\n"), "{nowhere}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    }
    for (unclean, clean) in [
        ("//rules", "/rules"),
        ("/./rules?a=b", "/rules?a=b"),
        ("/streams/../rules", "/rules"),
        ("/config/uploads/..%2f..%2f..%2fetc%2fpasswd", "/etc/passwd"),
    ] {
        let answer = get(unclean);
        assert_eq!((answer.status, answer.header("location"), &*answer.body), (301, Some(clean), ""));
    }
    for (wrong, why) in [("/rules/%ff", "it is not UTF-8"), ("/rules/%zz", "a percent sign without")] {
        let answer = get(wrong);
        assert_eq!((answer.status, answer.header("content-type")), (400, Some(TEXT)), "{wrong}");
        assert!(answer.body.starts_with("{\"error\":1000,") && answer.body.contains(why), "{}", answer.body);
    }
}

#[test]
fn a_wrong_method_is_405_and_hides_no_other_pattern() {
    let instance = Instance::start(None, &[], |_| {});
    for (method, path) in
        [("HEAD", "/ping"), ("DELETE", "/rules"), ("PATCH", "/rules/r"), ("TRACE", "/"), ("PURGE", "/ping")]
    {
        let answer = instance.call(method, path, &[], "");
        assert_eq!((answer.status, &*answer.body), (405, ""), "{method} {path}");
    }
    // The rules called validate, bulkstart and explain: a POST means the call, the rest means the rule.
    for name in ["validate", "bulkstart", "bulkstop", "explain"] {
        let answer = instance.call("DELETE", &format!("/rules/{name}"), &[], "");
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.contains(&format!("rule {name} not found")), "{}", answer.body);
    }
    // Query parameters that do not fit are refused in the usual shape (1.5).
    let answer = instance.call("GET", "/tables?kind=a&kind=b", &[], "");
    assert_eq!((answer.status, answer.header("content-type")), (400, Some(TEXT)), "{}", answer.body);
    assert!(answer.body.starts_with("{\"error\":1000,\"message\":\"invalid query parameters"));
}

#[test]
fn pages_of_other_origins_may_call() {
    // rest-api.md 1.3
    let instance = Instance::start(None, &[], |_| {});
    let origin = ("origin", "http://elsewhere");
    let answer = instance.call("GET", "/rules", &[origin], "");
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, Some("*")));
    assert_eq!(instance.call("GET", "/rules", &[], "").header("access-control-allow-origin"), None);
    let missing = instance.call("GET", "/nowhere", &[origin], "");
    assert_eq!((missing.status, missing.header("access-control-allow-origin")), (404, Some("*")));

    let ask = |method: &str, headers: &str| {
        let asked =
            [origin, ("access-control-request-method", method), ("access-control-request-headers", headers)];
        let answer = instance.call("OPTIONS", "/rules/r", &asked, "");
        let header = |name: &str| answer.header(name).unwrap_or_default().to_owned();
        let (methods, headers) =
            (header("access-control-allow-methods"), header("access-control-allow-headers"));
        (answer.status, methods, headers)
    };
    let is = |status: u16, methods: &str, headers: &str| (status, methods.to_owned(), headers.to_owned());
    assert_eq!(ask("GET", ""), is(200, "", ""));
    assert_eq!(ask("PUT", "accept, content-type"), is(200, "PUT", "Content-Type"));
    assert_eq!(
        ask("PATCH", "Authorization,Content-Type"),
        is(200, "PATCH", "Authorization,Content-Type"),
        "BUG of 1.3"
    );
    assert_eq!(ask("DELETE", "x-secret"), is(403, "", ""));
    assert_eq!(ask("TRACE", ""), is(405, "", ""));
    assert_eq!(instance.call("OPTIONS", "/rules", &[origin], "").status, 400);
    let bare = instance.call("OPTIONS", "/nowhere", &[], "");
    assert_eq!((bare.status, &*bare.body), (200, ""));
}

fn keys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("keys")
}

/// A web token with this header and these claims, signed with the key of the tests.
fn signed(header: &Json, claims: &Json) -> String {
    let pem = fs::read_to_string(keys().join("signer.pem")).expect("it is in the repository");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let key = STANDARD.decode(body).expect("PEM is base64");
    let key = RsaKeyPair::from_pkcs8(&key).expect("it is a key");
    let part = |json: &Json| URL_SAFE_NO_PAD.encode(json.to_string());
    let text = format!("{}.{}", part(header), part(claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).expect("it signs");
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn token(claims: &Json) -> String {
    signed(&json!({"alg": "RS256", "typ": "JWT"}), claims)
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs()
}

const WITH_TOKENS: (&str, &str) = ("KUIPER__BASIC__AUTHENTICATION", "true");

fn with_keys(home: &Path) {
    let folder = home.join("etc/mgmt");
    fs::create_dir_all(&folder).expect("the home is ours");
    fs::copy(keys().join("signer.pub"), folder.join("Signer.pub")).expect("it can be copied");
    fs::copy(keys().join("signer.pkcs1.pub"), folder.join("old")).expect("it can be copied");
    fs::write(folder.join("broken"), "no key").expect("it can be written");
}

#[test]
fn web_tokens_of_known_signers_open_the_door() {
    // rest-api.md 1.8
    let instance = Instance::start(None, &[WITH_TOKENS], with_keys);
    let ask = |token: &str| instance.call("GET", "/rules", &[("authorization", token)], "");
    let hour = now() + 3600;
    for claims in [
        json!({"iss": "signer.pub", "aud": "eKuiper"}),
        json!({"iss": "SIGNER.PUB", "aud": ["x", "eKuiper"], "exp": hour, "nbf": 1, "iat": now() - 5}),
        json!({"iss": "old", "aud": "eKuiper"}),
    ] {
        assert_eq!(ask(&token(&claims)).all(), (200, "application/json", "[]"), "{claims}");
    }
    let good = json!({"iss": "signer.pub", "aud": "eKuiper"});
    let none = format!("{}.e30.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#));
    let keyfunc = "validate token error: token is unverifiable: error while executing keyfunc: ";
    let claims = "validate token error: token has invalid claims: ";
    for (shown, wanted) in [
        (String::new(), "missing_token".to_owned()),
        (
            format!("Bearer {}", token(&good)),
            "validate token error: token is malformed: tokenstring should not contain 'bearer '".to_owned(),
        ),
        (
            "nonsense".to_owned(),
            "validate token error: token is malformed: token contains an invalid number of segments"
                .to_owned(),
        ),
        (
            format!("{}x", token(&good)),
            "validate token error: token is malformed: could not base64 decode signature".to_owned(),
        ),
        (
            token(&good)
                .split('.')
                .enumerate()
                .map(|(i, part)| if i == 1 { "W10" } else { part })
                .collect::<Vec<_>>()
                .join("."),
            "validate token error: token is malformed: could not JSON decode claim".to_owned(),
        ),
        (none, "validate token error: token signature is invalid: signing method none is invalid".to_owned()),
        (
            signed(&json!({"alg": "HS256"}), &good),
            "validate token error: token signature is invalid: signing method HS256 is invalid".to_owned(),
        ),
        (token(&json!({"aud": "eKuiper"})), format!("{keyfunc}issuer field not exist in jwt payload")),
        (token(&json!({"iss": "nobody"})), format!("{keyfunc}not found target key file nobody in /etc/mgmt")),
        (
            token(&json!({"iss": "../../../etc/passwd"})),
            format!("{keyfunc}not found target key file ../../../etc/passwd in /etc/mgmt"),
        ),
        (token(&json!({"iss": "broken"})), keyfunc.to_owned()),
        (token(&json!({"iss": "old", "exp": now() - 1})), format!("{claims}token is expired")),
        (token(&json!({"iss": "old", "nbf": hour})), format!("{claims}token is not valid yet")),
        (token(&json!({"iss": "old", "iat": hour})), format!("{claims}token used before issued")),
        (
            token(&json!({"iss": "old", "aud": ["a", "b"]})),
            "audience field should contain eKuiper, but got [a b]\n".to_owned(),
        ),
        (token(&json!({"iss": "old"})), "audience field should contain eKuiper, but got []\n".to_owned()),
    ] {
        let answer = ask(&shown);
        assert_eq!((answer.status, answer.header("content-type")), (401, Some(TEXT)), "{shown}");
        assert!(answer.body.starts_with(&wanted) && answer.body.ends_with('\n'), "{wanted}\n{}", answer.body);
    }
    let other = token(&good).rsplit_once('.').map(|(signed, _)| signed.to_owned()).expect("three parts");
    let stolen = token(&json!({"iss": "old"})).rsplit_once('.').expect("three parts").1.to_owned();
    let answer = ask(&format!("{other}.{stolen}"));
    let text = "validate token error: token signature is invalid: crypto/rsa: verification error\n";
    assert_eq!(answer.all(), (401, TEXT, text));
}

#[test]
fn some_calls_need_no_token_and_unknown_ones_do_not_ask() {
    let instance = Instance::start(None, &[WITH_TOKENS], with_keys);
    let status = |method: &str, path: &str| instance.call(method, path, &[], "").status;
    assert_eq!((status("GET", "/"), status("POST", "/"), status("GET", "/ping")), (200, 200, 200));
    // 404 and 405 are not authenticated; paths are those of routes, however they are written.
    assert_eq!(
        (status("GET", "/nowhere"), status("DELETE", "/rules"), status("GET", "/rules")),
        (404, 405, 401)
    );
    assert_eq!(
        (status("GET", "/r%75les"), status("POST", "/stop"), status("POST", "/batch/req")),
        (401, 401, 401)
    );
    // The calls of a batch have the headers of the batch (18).
    let good = token(&json!({"iss": "old", "aud": "eKuiper"}));
    let batch = r#"[{"method":"GET","path":"/rules"},{"method":"GET","path":"/nowhere"}]"#;
    let answer = instance.call("POST", "/batch/req", &[("authorization", &good)], batch);
    let wanted = r#"[{"code":200,"response":"[]"},{"code":404,"response":"404 page not found\n"}]"#;
    assert_eq!(answer.all(), (200, "application/json", wanted));
    // A key that comes or goes while the engine runs counts at once.
    fs::remove_file(instance.home().join("etc/mgmt/old")).expect("it is there");
    assert_eq!(instance.call("GET", "/rules", &[("authorization", &good)], "").status, 401);
}

#[test]
fn a_bearer_token_is_enough_where_one_was_given() {
    let instance = Instance::start(Some("open sesame"), &[], |_| {});
    let ask = |shown: &str| instance.call("GET", "/rules", &[("authorization", shown)], "");
    assert_eq!(ask("Bearer open sesame").all(), (200, "application/json", "[]"));
    assert_eq!((ask("bearer open sesame").status, ask("open sesame").status), (200, 200));
    assert_eq!(instance.call("GET", "/rules", &[], "").all(), (401, TEXT, "missing_token\n"));
    let text = "validate token error: the token is not the one that the engine was started with\n";
    for wrong in ["Bearer open", "Bearer", "Bearer open sesame 2", "Bearer ä", "ä"] {
        assert_eq!(ask(wrong).all(), (401, TEXT, text), "{wrong}");
    }
    // With both, either will do.
    let both = Instance::start(Some("sesame"), &[WITH_TOKENS], with_keys);
    let web = token(&json!({"iss": "old", "aud": "eKuiper"}));
    for shown in ["Bearer sesame", &web] {
        assert_eq!(both.call("GET", "/rules", &[("authorization", shown)], "").status, 200);
    }
    assert_eq!(both.call("GET", "/rules", &[("authorization", "Bearer no")], "").status, 401);
}

#[test]
fn an_open_door_to_the_network_is_said_loudly() {
    let everywhere = ("KUIPER__BASIC__RESTIP", "0.0.0.0");
    let warning = |token, variables: &[(&str, &str)]| {
        Instance::start(token, variables, |_| {}).server().warning().map(str::to_owned)
    };
    let said = warning(None, &[everywhere]).expect("it is said");
    assert!(said.contains("without authentication") && said.contains("--token"), "{said}");
    assert_eq!(warning(Some("x"), &[everywhere]), None);
    assert_eq!(warning(None, &[everywhere, WITH_TOKENS]), None);
    assert_eq!(warning(None, &[]), None);
}

#[test]
fn routed_calls_are_in_the_log_and_so_is_an_open_door() {
    let home = tempfile::tempdir().expect("a folder can be made");
    let variables = [
        ("KUIPER__BASIC__ENABLERESTAUDITLOG", "true"),
        ("KUIPER__BASIC__CONSOLELOG", "true"),
        ("KUIPER__BASIC__RESTIP", "0.0.0.0"),
    ];
    let Some(engine) = Engine::start(home.path(), &variables) else { return };
    engine.api().get("/rules?x=1");
    engine.api().get("/nowhere");
    engine.api().get("/ping");
    let printed = || fs::read_to_string(home.path().join("printed.txt")).unwrap_or_default();
    wait::until_true("the audit log", || printed().contains("visit GET /ping"));
    let printed = printed();
    assert!(printed.contains("visit GET /rules?x=1") && !printed.contains("/nowhere"), "{printed}");
    // The banner, the log at the start, the log of the first ping.
    assert!(printed.contains("  WARNING: anybody who can reach this machine"), "{printed}");
    assert_eq!(printed.matches("open to the network without authentication").count(), 3, "{printed}");
}

fn tls(home: &Path) -> [(&'static str, String); 2] {
    let of = |name: &str| home.join(name).to_string_lossy().into_owned();
    [
        ("KUIPER__BASIC__RESTTLS__CERTFILE", of("server.crt")),
        ("KUIPER__BASIC__RESTTLS__KEYFILE", of("server.pem")),
    ]
}

#[test]
fn with_a_certificate_calls_are_https() {
    use ureq::tls::{Certificate, RootCerts, TlsConfig};

    let files = tls(&keys());
    let variables: Vec<(&str, &str)> = files.iter().map(|(name, value)| (*name, &**value)).collect();
    let instance = Instance::start(None, &variables, |_| {});
    assert_eq!(instance.server().scheme(), "https");
    let port = instance.server().port();
    let pem = fs::read(keys().join("server.crt")).expect("it is in the repository");
    let trusted = Certificate::from_pem(&pem).expect("it is a certificate");
    let trust = |roots: RootCerts| {
        let tls = TlsConfig::builder().root_certs(roots).build();
        ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(wait::LIMIT)).build().new_agent()
    };
    // A client that connects and says nothing holds up nobody.
    let silent = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    let agent = trust(RootCerts::new_with_certs(&[trusted]));
    for _ in 0..2 {
        let mut answer = agent.get(format!("https://localhost:{port}/rules")).call().expect("it answers");
        assert_eq!(
            (answer.status().as_u16(), &*answer.body_mut().read_to_string().expect("text")),
            (200, "[]")
        );
    }
    drop(silent);
    let stranger = trust(RootCerts::WebPki);
    assert!(stranger.get(format!("https://localhost:{port}/rules")).call().is_err(), "nobody vouches for it");
    // What does not speak TLS gets no answer of ours.
    let mut plain = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    plain.set_read_timeout(Some(wait::LIMIT)).expect("a time-out can be set");
    plain.write_all(b"GET /rules HTTP/1.1\r\nhost: x\r\n\r\n").expect("it reads");
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer);
    assert!(!answer.windows(4).any(|part| part == b"HTTP"), "{}", String::from_utf8_lossy(&answer));
}

#[test]
fn certificates_that_are_not_there_or_do_not_fit_are_named() {
    let refused = |certificate: &str, key: &str| {
        let variables =
            [("KUIPER__BASIC__RESTTLS__CERTFILE", certificate), ("KUIPER__BASIC__RESTTLS__KEYFILE", key)];
        match Instance::try_start(None, &variables, |home| {
            fs::copy(keys().join("server.crt"), home.join("server.crt")).expect("it can be copied");
            fs::copy(keys().join("signer.pem"), home.join("other.pem")).expect("it can be copied");
        }) {
            Ok(_) => panic!("it must not start"),
            Err(why) => why,
        }
    };
    for (certificate, key, part) in [
        ("nowhere.crt", "other.pem", "basic.restTls.certfile"),
        ("server.crt", "nowhere.pem", "basic.restTls.keyfile"),
        ("other.pem", "other.pem", "basic.restTls.certfile"),
        ("server.crt", "other.pem", "basic.restTls.certfile"),
    ] {
        let why = refused(certificate, key);
        assert!(why.contains(part) && why.contains("give a PEM file"), "{certificate} {key}: {why}");
    }
}
