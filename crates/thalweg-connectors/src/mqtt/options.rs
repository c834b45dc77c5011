//! What the properties of a connection mean (S1).

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{TlsConfiguration, Transport};
use thalweg_core::connector::{BuildCx, Built};
use thalweg_core::diagnostic::Diagnostic;

use crate::property::{flag, refused, required, text};
use crate::tls;

/// Pings go out this often; a broker that answers none for two rounds is gone.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// 5 s limit per operation (S1.1).
pub(super) const OPERATION_LIMIT: Duration = Duration::from_secs(5);
/// The largest packet that MQTT can express.
const MAX_PACKET: u32 = 268_435_455;
/// Publications at QoS 1 and 2 that may wait for the broker's acknowledgement; MQTT 5 brokers may lower it.
const MAX_IN_FLIGHT: u16 = 500;
/// The same for protocol 3.1.1 at QoS 2, where brokers cannot say what they take: mosquitto hangs up on the 21st.
const MAX_IN_FLIGHT_UNTOLD: u16 = 20;

/// How long a broker keeps the session of a rule with `qos` 1 or 2 (MQTT 5; before, that is the broker's business).
const PROMISED_EXPIRY: i64 = 7 * 24 * 3_600;

/// Whether the broker keeps what comes while we are away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Session {
    None,
    /// The user wants it (enableClientSession).
    Asked,
    /// A rule of `qos` 1 or 2 needs it.
    Promised,
}

/// The protocol to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.1.1, also for 3.1.
    V4,
    /// 5.
    V5,
}

/// A connection as meant.
#[derive(Clone)]
pub(super) struct Options {
    /// As the user wrote it, for texts.
    pub(super) server: Arc<str>,
    pub(super) version: Version,
    /// Whether the broker keeps the session.
    session: Session,
    host: String,
    port: u16,
    client_id: String,
    /// Whether nobody cares about the client identifier.
    is_anonymous: bool,
    login: Option<(String, String)>,
    session_expiry: u32,
    /// Whether nothing but QoS 1 is published.
    is_qos_1: bool,
    /// Whether the only node at it asks for QoS 2.
    is_qos_2: bool,
    tls: Option<Arc<rustls::ClientConfig>>,
}

impl Options {
    /// Reads the properties. `owner` begins the messages: `mqtt source`.
    pub(super) fn read(owner: &str, cx: &BuildCx) -> Built<Self> {
        let props = &cx.props;
        let server = required(owner, props, "server")?;
        let (scheme, host, port) = split(owner, server)?;
        tls::check_names(props).map_err(|why| refused(format!("{owner}: {why}")))?;
        let tls = match scheme {
            Scheme::Plain => None,
            Scheme::Tls => Some(tls::client_config(owner, props, &cx.home)?),
        };
        let version = match text(props, "protocolVersion")? {
            "5" => Version::V5,
            "" | "3.1" | "3.1.1" | "4" => Version::V4,
            other => {
                return Err(refused(format!("{owner}: unknown protocolVersion \"{other}\", use 3.1.1 or 5")));
            }
        };
        let qos = props.int("qos")?.unwrap_or(0);
        let own = cx.session.as_ref().filter(|_| qos > 0);
        let session = match (flag(props, "enableClientSession")?, own) {
            (true, _) => Session::Asked,
            (false, Some(_)) => Session::Promised,
            (false, None) => Session::None,
        };
        let client_id = match (text(props, "clientid")?, own) {
            ("", None) if cx.part.is_some() && session == Session::None => own_id(cx),
            ("", Some(own)) => own.to_string(),
            ("", None) if session == Session::Asked => {
                return Err(refused(format!("{owner}: enableClientSession needs a clientid")));
            }
            ("", None) => random_id(),
            (id, _) => match &cx.part {
                Some(part) => format!("{id}_{}", part.number + 1),
                None => id.to_owned(),
            },
        };
        let is_anonymous = own.is_none() && text(props, "clientid")?.is_empty();
        let username = text(props, "username")?;
        let login =
            (!username.is_empty()).then_some((username.to_owned(), text(props, "password")?.to_owned()));
        let expiry = if session == Session::Promised { PROMISED_EXPIRY } else { 60 };
        let session_expiry =
            props.int("sessionExpiryIntervalSeconds")?.unwrap_or(expiry).clamp(0, u32::MAX.into()) as u32;
        let (is_qos_1, is_qos_2) = (qos == 1, qos == 2);
        let server = Arc::from(server);
        Ok(Self {
            server,
            version,
            session,
            host,
            port,
            client_id,
            is_anonymous,
            login,
            session_expiry,
            is_qos_1,
            is_qos_2,
            tls,
        })
    }

    /// Whether the lean client can do it: 3.1.1 over plain TCP. Connections of their own at QoS 2 are left to `rumqttc`.
    pub(super) fn is_plain(&self) -> bool {
        self.tls.is_none() && self.version == Version::V4 && !self.is_qos_2
    }

    /// Host and port.
    pub(super) fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The client identifier, and whether the broker shall forget it.
    pub(super) fn identity(&self) -> (&str, bool) {
        (&self.client_id, self.session == Session::None)
    }

    /// Whether a connection that only publishes at QoS 0 may be shared with others of its kind.
    pub(super) fn is_common(&self) -> bool {
        self.is_anonymous && self.is_plain() && !self.is_qos_1
    }

    /// User name and password.
    pub(super) fn login(&self) -> Option<(&str, &str)> {
        self.login.as_ref().map(|(name, password)| (name.as_str(), password.as_str()))
    }

    /// Publications above QoS 0 that may wait for the broker.
    pub(super) fn window(&self) -> u16 {
        if self.is_qos_1 { MAX_IN_FLIGHT } else { MAX_IN_FLIGHT_UNTOLD }
    }

    /// Whether the broker goes on collecting for a source that leaves.
    pub(super) fn keeps(&self, is_parting: bool) -> bool {
        match self.session {
            Session::None => false,
            Session::Asked => true,
            Session::Promised => !is_parting,
        }
    }

    /// The same for users who may publish at any QoS.
    pub(super) fn for_anyone(self) -> Self {
        Self { is_qos_1: false, is_qos_2: false, ..self }
    }

    /// The same under another client identifier and without session, for a trial.
    pub(super) fn for_trial(&self) -> Self {
        Self { client_id: random_id(), session: Session::None, ..self.clone() }
    }

    fn transport(&self) -> Transport {
        match &self.tls {
            Some(config) => Transport::tls_with_config(TlsConfiguration::Rustls(Arc::clone(config))),
            None => Transport::Tcp,
        }
    }

    /// For protocol 3.1.1.
    pub(super) fn v4(&self) -> rumqttc::MqttOptions {
        let mut options = rumqttc::MqttOptions::new(self.client_id.clone(), self.host.clone(), self.port);
        options
            .set_transport(self.transport())
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_session(self.session == Session::None)
            .set_max_packet_size(MAX_PACKET as usize, MAX_PACKET as usize)
            .set_inflight(self.window())
            .set_manual_acks(true);
        if let Some((username, password)) = &self.login {
            options.set_credentials(username, password);
        }
        options
    }

    /// For protocol 5.
    pub(super) fn v5(&self) -> rumqttc::v5::MqttOptions {
        let mut options = rumqttc::v5::MqttOptions::new(self.client_id.clone(), self.host.clone(), self.port);
        let mut network = options.network_options();
        network.set_tcp_nodelay(true);
        options
            .set_transport(self.transport())
            .set_keep_alive(KEEP_ALIVE)
            .set_clean_start(self.session == Session::None)
            .set_session_expiry_interval((self.session != Session::None).then_some(self.session_expiry))
            .set_max_packet_size(Some(MAX_PACKET))
            .set_connection_timeout(OPERATION_LIMIT.as_secs())
            .set_outgoing_inflight_upper_limit(MAX_IN_FLIGHT)
            .set_network_options(network)
            .set_manual_acks(true);
        if let Some((username, password)) = &self.login {
            options.set_credentials(username, password);
        }
        options
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Plain,
    Tls,
}

fn split(owner: &str, server: &str) -> Result<(Scheme, String, u16), Diagnostic> {
    let wrong = |why: &str| refused(format!("{owner}: property \"server\" {why}, not \"{server}\""));
    let (scheme, rest) = server.split_once("://").unwrap_or(("tcp", server));
    let (scheme, default_port) = match scheme.to_lowercase().as_str() {
        "tcp" | "mqtt" => (Scheme::Plain, 1883),
        "ssl" | "tls" | "mqtts" | "mqtt+ssl" | "tcps" => (Scheme::Tls, 8883),
        "ws" | "wss" => {
            return Err(refused(format!(
                "{owner}: MQTT over websockets (ws, wss) is not supported yet: {server}"
            )));
        }
        _ => {
            return Err(wrong("must begin with tcp://, mqtt://, ssl://, tls:// or mqtts://"));
        }
    };
    let authority = rest.split('/').next().unwrap_or_default();
    let colon = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
    let (host, port) = match colon {
        Some(at) => {
            (&authority[..at], authority[at + 1..].parse().map_err(|_| wrong("must end with a port"))?)
        }
        None => (authority, default_port),
    };
    if host.is_empty() { Err(wrong("must name a host")) } else { Ok((scheme, host.to_owned(), port)) }
}

/// Of one of several connections: as long as a stream is split, the other side sees the same names.
fn own_id(cx: &BuildCx) -> String {
    cx.part.as_ref().map_or_else(random_id, |part| format!("{}_{}", part.group, part.number + 1))
}

fn random_id() -> String {
    let random = || RandomState::new().build_hasher().finish();
    format!("thalweg_{:016x}", random())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::cx;

    #[test]
    fn addresses_are_split_and_ports_defaulted() {
        for (server, host, port, scheme) in [
            ("tcp://127.0.0.1:1884", "127.0.0.1", 1884, Scheme::Plain),
            ("broker", "broker", 1883, Scheme::Plain),
            ("mqtt://[::1]", "[::1]", 1883, Scheme::Plain),
            ("mqtts://b/", "b", 8883, Scheme::Tls),
        ] {
            assert_eq!(split("mqtt", server).unwrap(), (scheme, host.to_owned(), port), "{server}");
        }
    }

    #[test]
    fn wrong_addresses_say_what_is_wanted() {
        for server in ["", "http://x", "tcp://:1883", "tcp://x:port", "ws://x"] {
            let props = format!(r#"{{"server":"{server}"}}"#);
            let error = Options::read("mqtt sink", &cx(&props)).err().expect(server);
            assert!(error.message.starts_with("mqtt sink"), "{}", error.message);
        }
    }

    #[test]
    fn random_identifiers_differ() {
        assert_ne!(random_id(), random_id());
    }
}
