//! The embedded MQTT broker (`--mqtt`, demo): `rumqttd`, tamed.
//!
//! One port takes MQTT 3.1.1 and 5; `rumqttd` wants a port for each, so [`Tongue`] looks at the CONNECT packet and
//! speaks what it asks for. Connections live on one thread that [`Broker::stop`] (or dropping it) ends, sockets
//! included. The router is a second thread of `rumqttd` that cannot be ended: it sleeps until the process ends.
//!
//! Limits: messages up to 16 MiB, 5,000 connections, nothing on disk. `rumqttd` 0.20 keeps every message of a
//! filter in segments in memory, and **a QoS 1 subscriber stands still when it crosses from one segment to the
//! next** (measured: 34,470 small messages for 10 MiB). The segments are therefore so large that trials and the demo
//! never cross one. This broker is not yet fit for days.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use rumqttd::protocol::v4::V4;
use rumqttd::protocol::v5::V5;
use rumqttd::protocol::{self, Packet, Protocol};
use rumqttd::{ConnectionSettings, LinkType, Router, RouterConfig, Server, ServerSettings};
use thiserror::Error;
use tokio::sync::oneshot;

/// Add this to the log filter: `rumqttd` reports every parting client as an error.
pub const LOG_FILTER: &str = "rumqttd=off";

const MAX_MESSAGE: usize = 16 << 20;
const MAX_CONNECTIONS: usize = 5_000;
const SEGMENT_BYTES: usize = 512 << 20;
const SEGMENTS: usize = 2;
/// How long the listener may take to come up.
const START_LIMIT: Duration = Duration::from_secs(5);

/// Why there is no broker.
#[derive(Debug, Error)]
pub enum BrokerError {
    /// The address is taken or not ours.
    #[error("cannot listen for MQTT on {addr}: {source}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No thread.
    #[error("cannot start the MQTT broker: {0}")]
    Thread(io::Error),
    /// `rumqttd` gave up.
    #[error("the MQTT broker ended at once: {0}")]
    Ended(String),
}

/// A running broker.
#[derive(Debug)]
pub struct Broker {
    addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Broker {
    /// Starts a broker. Port 0 takes one from the system; [`Broker::port`] tells which.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn start(addr: SocketAddr) -> Result<Self, BrokerError> {
        // `rumqttd` binds by itself, later, on its thread. So the port is tried, and looked up, first.
        let listen = |source| BrokerError::Listen { addr, source };
        let addr = TcpListener::bind(addr).and_then(|listener| listener.local_addr()).map_err(listen)?;
        let (stop, stopped) = oneshot::channel();
        let (failed, failure) = std::sync::mpsc::channel();
        let serve = move || {
            if let Err(error) = serve(addr, stopped) {
                // Nobody listens any more once the broker has started.
                let _late = failed.send(error);
            }
        };
        let thread = std::thread::Builder::new().name("mqtt-broker".to_owned()).spawn(serve);
        let thread = thread.map_err(BrokerError::Thread)?;
        let broker = Self { addr, stop: Some(stop), thread: Some(thread) };
        let started = Instant::now();
        while TcpStream::connect_timeout(&reachable(addr), START_LIMIT).is_err() {
            match failure.recv_timeout(Duration::from_millis(5)) {
                Ok(error) => return Err(BrokerError::Ended(error)),
                Err(_) if started.elapsed() > START_LIMIT => {
                    return Err(BrokerError::Ended(format!("nothing listens on {addr} after 5 s")));
                }
                Err(_) => {}
            }
        }
        Ok(broker)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Ends all connections and frees the port.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        if let Some(stop) = self.stop.take() {
            // The thread may have ended by itself.
            let _gone = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            // A panic in `rumqttd` was already printed.
            let _panicked = thread.join();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

/// Where a listener at `addr` can be tried.
fn reachable(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => (Ipv4Addr::LOCALHOST, addr.port()).into(),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => (Ipv6Addr::LOCALHOST, addr.port()).into(),
        _ => addr,
    }
}

fn serve(addr: SocketAddr, stopped: oneshot::Receiver<()>) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| error.to_string())?;
    let router = Router::new(0, router_config()).spawn();
    let mut server = Server::new(server_settings(addr), router, Tongue::Unheard);
    runtime.block_on(async {
        tokio::select! {
            ended = server.start(LinkType::Remote) => ended.map_err(|error| error.to_string()),
            _ = stopped => Ok(()),
        }
    })
}

fn router_config() -> RouterConfig {
    RouterConfig {
        max_connections: MAX_CONNECTIONS,
        max_outgoing_packet_count: 200,
        max_segment_size: SEGMENT_BYTES,
        max_segment_count: SEGMENTS,
        ..RouterConfig::default()
    }
}

fn server_settings(listen: SocketAddr) -> ServerSettings {
    ServerSettings {
        name: "mqtt".to_owned(),
        listen,
        tls: None,
        next_connection_delay_ms: 0,
        connections: ConnectionSettings {
            connection_timeout_ms: 10_000,
            max_payload_size: MAX_MESSAGE,
            max_inflight_count: 500,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    }
}

/// The protocol version of one connection, settled by its first packet.
#[derive(Clone)]
enum Tongue {
    Unheard,
    Four(V4),
    Five(V5),
}

impl Protocol for Tongue {
    fn read_mut(&mut self, stream: &mut BytesMut, max_size: usize) -> Result<Packet, protocol::Error> {
        if let Self::Unheard = self {
            *self = match protocol_level(stream)? {
                5 => Self::Five(V5),
                _ => Self::Four(V4),
            };
        }
        match self {
            Self::Five(five) => five.read_mut(stream, max_size),
            Self::Four(four) => four.read_mut(stream, max_size),
            Self::Unheard => Err(protocol::Error::InvalidProtocol),
        }
    }

    fn write(&self, packet: Packet, buffer: &mut BytesMut) -> Result<usize, protocol::Error> {
        match self {
            Self::Five(five) => five.write(packet, buffer),
            Self::Four(four) => four.write(packet, buffer),
            Self::Unheard => Err(protocol::Error::InvalidProtocol),
        }
    }
}

/// The level that a CONNECT packet asks for: fixed header, length (1 to 4 bytes), protocol name, level.
fn protocol_level(stream: &[u8]) -> Result<u8, protocol::Error> {
    let short = || protocol::Error::InsufficientBytes(1);
    let first = *stream.first().ok_or_else(short)?;
    if first >> 4 != 1 {
        return Err(protocol::Error::InvalidProtocol);
    }
    let mut at = 1;
    while *stream.get(at).ok_or_else(short)? >= 0x80 {
        at += 1;
        if at > 4 {
            return Err(protocol::Error::MalformedRemainingLength);
        }
    }
    let name = stream.get(at + 1..at + 3).ok_or_else(short)?;
    let name_len = usize::from(u16::from_be_bytes([name[0], name[1]]));
    if name_len > 6 {
        return Err(protocol::Error::InvalidProtocol);
    }
    stream.get(at + 3 + name_len).copied().ok_or_else(short)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local() -> Broker {
        Broker::start((Ipv4Addr::LOCALHOST, 0).into()).unwrap()
    }

    #[test]
    fn a_stopped_broker_frees_its_port() {
        let broker = local();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, broker.port()));
        broker.stop();
        assert!(TcpStream::connect(addr).is_err());
        Broker::start(addr).unwrap();
    }

    #[test]
    fn a_taken_port_is_told() {
        let broker = local();
        let error = Broker::start((Ipv4Addr::LOCALHOST, broker.port()).into()).unwrap_err();
        assert!(error.to_string().starts_with("cannot listen for MQTT on 127.0.0.1:"), "{error}");
    }

    #[tokio::test]
    async fn one_port_takes_both_versions_and_passes_messages_between_them() {
        use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS, v5};
        let broker = local();
        let mut options = v5::MqttOptions::new("five", "127.0.0.1", broker.port());
        options.set_keep_alive(Duration::from_secs(5));
        let (subscriber, mut incoming) = v5::AsyncClient::new(options, 10);
        subscriber.subscribe("in/+", v5::mqttbytes::QoS::AtLeastOnce).await.unwrap();
        while !matches!(incoming.poll().await.unwrap(), v5::Event::Incoming(v5::Incoming::SubAck(_))) {}
        let (publisher, mut outgoing) =
            AsyncClient::new(MqttOptions::new("four", "127.0.0.1", broker.port()), 10);
        publisher.publish("in/a", QoS::AtLeastOnce, false, "hello").await.unwrap();
        while !matches!(outgoing.poll().await.unwrap(), Event::Incoming(Packet::PubAck(_))) {}
        let payload = loop {
            if let v5::Event::Incoming(v5::Incoming::Publish(publish)) = incoming.poll().await.unwrap() {
                break publish.payload;
            }
        };
        assert_eq!(&payload[..], b"hello");
    }
}
