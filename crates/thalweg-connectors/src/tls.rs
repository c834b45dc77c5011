//! TLS properties, the same for every connector (6.2), as a configuration for rustls with ring.
//!
//! What rustls does not have is refused, not ignored (decision N6.6): TLS before 1.2, encrypted key files.

use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use thalweg_core::connector::Built;
use thalweg_core::props::Props;
use thalweg_core::spec::{PropKind, PropSpec, Roles};

use crate::property::{flag, refused, text};

const fn spec(name: &'static str, kind: PropKind, help: &'static str) -> PropSpec {
    PropSpec::new(name, kind, Roles::BOTH, help).of_connection()
}

pub(crate) const CERTIFICATION_PATH: PropSpec =
    spec("certificationPath", PropKind::Text, "PEM file with the client's certificate.");
pub(crate) const PRIVATE_KEY_PATH: PropSpec =
    spec("privateKeyPath", PropKind::Text, "PEM file with the client's private key.");
pub(crate) const ROOT_CA_PATH: PropSpec =
    spec("rootCaPath", PropKind::Text, "PEM file with the authorities to trust; the system's if absent.");
pub(crate) const CERTIFICATION_RAW: PropSpec =
    spec("certificationRaw", PropKind::Text, "Base64 of the client's certificate in PEM; the path wins.");
pub(crate) const PRIVATE_KEY_RAW: PropSpec =
    spec("privateKeyRaw", PropKind::Secret, "Base64 of the client's private key in PEM; the path wins.");
pub(crate) const ROOT_CA_RAW: PropSpec =
    spec("rootCARaw", PropKind::Text, "Base64 of the authorities to trust in PEM; the path wins.");
pub(crate) const INSECURE_SKIP_VERIFY: PropSpec =
    spec("insecureSkipVerify", PropKind::Bool, "Do not check the server's certificate.").default("false");
pub(crate) const MIN_VERSION: PropSpec =
    spec("tlsMinVersion", PropKind::Text, "Oldest TLS version to accept: tls1.2 or tls1.3.")
        .default("\"tls1.2\"");
pub(crate) const RENEGOTIATION: PropSpec = spec(
    "renegotiationSupport",
    PropKind::Text,
    "Accepted for compatibility; there is never a renegotiation.",
)
.inert();
pub(crate) const TLS: PropSpec =
    spec("tls", PropKind::Text, "\"default\" takes the server's own TLS settings.");

/// The configuration that these properties describe. `home` is where relative paths start.
pub(crate) fn client_config(owner: &str, props: &Props, home: &Path) -> Built<Arc<ClientConfig>> {
    let refuse = |why: String| refused(format!("{owner}: {why}"));
    check_names(props).map_err(refuse)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(props).map_err(refuse)?)
        .map_err(|error| refuse(error.to_string()))?;
    let builder = if flag(props, "insecureSkipVerify")? {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(NoCheck(provider)))
    } else {
        builder.with_root_certificates(authorities(props, home).map_err(refuse)?)
    };
    let certificate =
        pem(props, home, "certificationPath", &["certificationRaw", "certficationRaw"]).map_err(refuse)?;
    let key = pem(props, home, "privateKeyPath", &["privateKeyRaw"]).map_err(refuse)?;
    let config = match (certificate, key) {
        (Some(certificate), Some(key)) => {
            let chain = certificates(&certificate).map_err(refuse)?;
            let key = PrivateKeyDer::from_pem_slice(&key)
                .map_err(|error| refuse(format!("private key: {error}")))?;
            builder.with_client_auth_cert(chain, key).map_err(|error| refuse(error.to_string()))?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => {
            return Err(refuse("certificate and private key belong together, one is missing".to_owned()));
        }
    };
    Ok(Arc::new(config))
}

/// Refuses what cannot be done (N6.6), whether or not the address asks for TLS.
pub(crate) fn check_names(props: &Props) -> Result<(), String> {
    let get = |name| text(props, name).map_err(|error| error.message);
    match get("tls")? {
        "" | "default" => {}
        other => return Err(format!("unknown tls configuration type: {other}")),
    }
    match get("renegotiationSupport")?.to_lowercase().as_str() {
        "" | "never" | "once" | "freely" => {}
        other => {
            return Err(format!(
                "property \"renegotiationSupport\" must be never, once or freely, not \"{other}\""
            ));
        }
    }
    if props.get("decrypt").is_some_and(|value| !value.is_null()) {
        return Err("encrypted key files (property \"decrypt\") are not supported".to_owned());
    }
    versions(props).map(drop)
}

fn versions(props: &Props) -> Result<&'static [&'static SupportedProtocolVersion], String> {
    static FROM_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12, &rustls::version::TLS13];
    static FROM_1_3: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13];
    match text(props, "tlsMinVersion").map_err(|error| error.message)?.to_lowercase().as_str() {
        "" | "tls1.2" => Ok(FROM_1_2),
        "tls1.3" => Ok(FROM_1_3),
        old @ ("tls1.0" | "tls1.1") => Err(format!("{old} is not supported, the oldest version is tls1.2")),
        other => Err(format!("property \"tlsMinVersion\" must be tls1.2 or tls1.3, not \"{other}\"")),
    }
}

fn authorities(props: &Props, home: &Path) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    match pem(props, home, "rootCaPath", &["rootCARaw"])? {
        Some(text) => {
            for certificate in certificates(&text)? {
                store.add(certificate).map_err(|error| format!("root certificate: {error}"))?;
            }
        }
        None => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
    }
    Ok(store)
}

fn certificates(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    let found = found.map_err(|error| format!("certificate: {error}"))?;
    if found.is_empty() { Err("certificate: no PEM section found".to_owned()) } else { Ok(found) }
}

/// The PEM text behind a path or, if there is none, behind one of the base64 properties.
fn pem(props: &Props, home: &Path, path: &str, raw: &[&str]) -> Result<Option<Vec<u8>>, String> {
    let get = |name| text(props, name).map_err(|error| error.message);
    let file = get(path)?;
    if !file.is_empty() {
        let full = home.join(file);
        return std::fs::read(&full).map(Some).map_err(|error| format!("{path} {}: {error}", full.display()));
    }
    for name in raw {
        let value = get(name)?;
        if !value.is_empty() {
            return STANDARD
                .decode(value)
                .map(Some)
                .map_err(|error| format!("{name} is not base64: {error}"));
        }
    }
    Ok(None)
}

/// `insecureSkipVerify`: any certificate will do, but signatures are still checked.
#[derive(Debug)]
struct NoCheck(Arc<CryptoProvider>);

impl ServerCertVerifier for NoCheck {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(
            message,
            cert,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(
            message,
            cert,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cx;

    #[test]
    fn what_cannot_be_done_is_refused_by_name() {
        for (props, message) in [
            (r#"{"tlsMinVersion":"tls1.0"}"#, "mqtt: tls1.0 is not supported, the oldest version is tls1.2"),
            (r#"{"tls":"mine"}"#, "mqtt: unknown tls configuration type: mine"),
            (
                r#"{"decrypt":{"algorithm":"aes"}}"#,
                "mqtt: encrypted key files (property \"decrypt\") are not supported",
            ),
            (r#"{"rootCARaw":"aGk="}"#, "mqtt: certificate: no PEM section found"),
        ] {
            let cx = cx(props);
            let error = client_config("mqtt", &cx.props, &cx.home).expect_err(props);
            assert_eq!(error.message, message);
        }
    }

    #[test]
    fn without_any_property_the_system_is_trusted() {
        let cx = cx("{}");
        assert!(client_config("mqtt", &cx.props, &cx.home).is_ok());
    }
}
