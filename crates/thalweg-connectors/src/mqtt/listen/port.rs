//! The port that devices connect to: takes them in, notices when they fall silent, and shows them out.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use thalweg_core::polled::Poller;
use thalweg_core::registry::{Gate, Shared};
use thalweg_core::time::Clock;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::task::JoinHandle;

use super::guest::{Guest, Heard};
use super::hub::Hub;
use crate::mqtt::lean::End;
use crate::mqtt::lean::frame::{self, Hello, kind};

/// Devices at a time; further ones wait to be taken in.
const MAX_DEVICES: usize = 5_000;
/// How long a device may take to introduce itself.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// The largest CONNECT: four texts of the largest size, and a bit.
const MAX_HELLO: usize = 5 << 16;

/// Why there is no port.
#[derive(Debug, Error)]
pub enum DevicePortError {
    /// The address is taken or not ours.
    #[error("cannot listen for devices on {addr}: {source}")]
    Listen {
        /// The address asked for.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
}

/// An open port. Dropping it closes it; devices that are connected stay until the threads that read them end.
#[derive(Debug)]
pub struct DevicePort {
    addr: SocketAddr,
    accepting: JoinHandle<()>,
}

/// A port that is ours and takes nobody in yet.
#[derive(Debug)]
pub struct ReservedPort {
    addr: SocketAddr,
    listener: TcpListener,
}

impl DevicePort {
    /// Takes the port, so that what is wrong with it is known before anything runs. Port 0 takes one from the system.
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub async fn reserve(addr: SocketAddr) -> Result<ReservedPort, DevicePortError> {
        let listen = |source| DevicePortError::Listen { addr, source };
        let listener = TcpListener::bind(addr).await.map_err(listen)?;
        Ok(ReservedPort { addr: listener.local_addr().map_err(listen)?, listener })
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.addr.port()
    }
}

impl ReservedPort {
    /// Takes devices in once all rules are there. `poller` reads devices that no stream listens to.
    pub fn open(self, shared: &Shared, clock: Arc<dyn Clock>, poller: Arc<dyn Poller>) -> DevicePort {
        let Self { addr, listener } = self;
        let hub = shared.get::<Hub>();
        hub.open(true);
        let (begin, ready) = oneshot::channel();
        // When the engine starts, what a device sends again must not come before the rule that waits for it.
        shared.get::<Gate>().pass(move || {
            let _gone = begin.send(());
        });
        let reception = Arc::new(Reception { hub, clock, poller });
        let accepting = tokio::spawn(async move {
            if ready.await.is_ok() {
                reception.accept(listener).await;
            }
        });
        DevicePort { addr, accepting }
    }
}

impl Drop for DevicePort {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Reception {
    hub: Arc<Hub>,
    clock: Arc<dyn Clock>,
    poller: Arc<dyn Poller>,
}

impl Reception {
    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let places = Arc::new(Semaphore::new(MAX_DEVICES));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            match listener.accept().await {
                Ok((socket, _)) => {
                    let reception = Arc::clone(&self);
                    tokio::spawn(async move { reception.serve(socket, place).await });
                }
                Err(error) => {
                    // Usually no file descriptors: give devices time to leave.
                    tracing::warn!("the port for devices cannot take one in: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    async fn serve(&self, mut socket: TcpStream, _place: OwnedSemaphorePermit) {
        let _as_fast_as_it_can = socket.set_nodelay(true);
        let greeted = tokio::time::timeout(HELLO_LIMIT, greeting(&mut socket)).await;
        let (hello, left) = match greeted {
            Ok(Ok(greeted)) => greeted,
            Ok(Err(why)) => return tracing::debug!("mqttlisten: {why}"),
            Err(_) => return tracing::debug!("mqttlisten: no CONNECT within 10 s"),
        };
        let refusal = match &hello {
            Hello { level, .. } if !(3..=4).contains(level) => 1,
            Hello { client_id, is_clean: false, .. } if client_id.is_empty() => 2,
            _ => 0,
        };
        if refusal != 0 {
            let _refused = socket.write_all(&[kind::CONNACK << 4, 2, 0, refusal]).await;
            return tracing::debug!("mqttlisten: a device was refused with code {refusal}");
        }
        if let Err(error) = self.host(socket, hello, &left).await {
            tracing::debug!("mqttlisten: {error}");
        }
    }

    /// Answers the hello, has the device read, and waits until it leaves or falls silent.
    async fn host(&self, mut socket: TcpStream, hello: Hello, left: &[u8]) -> io::Result<()> {
        let is_clean = hello.is_clean || hello.client_id.is_empty();
        let name: Arc<str> = if hello.client_id.is_empty() {
            Arc::from(format!("auto-{}", self.hub.new_id()))
        } else {
            Arc::from(hello.client_id.as_str())
        };
        let (device, is_known) = self.hub.enter(&name, is_clean, &self.clock);
        socket.write_all(&[kind::CONNACK << 4, 2, u8::from(is_known), 0]).await?;
        let socket = Arc::new(socket.into_std()?);
        let (generation, mut end) = device.outlet.open(Arc::clone(&socket), 0);
        device.intake.opened(is_known);
        self.hub.entered(&name, generation);
        let heard = Arc::new(Heard::default());
        let buffered = Arc::clone(&self.hub.buffered);
        let guest = Guest::new((socket, left), (&device, generation), Arc::clone(&heard), buffered);
        self.hub
            .poller(device.intake.lane)
            .unwrap_or_else(|| Arc::clone(&self.poller))
            .adopt(Box::new(guest));
        let silence = match hello.keep_alive {
            0 => Duration::from_secs(u64::from(u32::MAX)),
            seconds => Duration::from_millis(u64::from(seconds) * 1_500),
        };
        let mut before = heard.so_far();
        while tokio::time::timeout(silence, &mut end).await.is_err() {
            let now = heard.so_far();
            if std::mem::replace(&mut before, now) == now && !device.outlet.is_paused() {
                device.outlet.finish(generation, End::Lost("it fell silent".to_owned()));
                break;
            }
        }
        self.hub.left(&name, generation, is_clean);
        Ok(())
    }
}

/// Reads until the CONNECT is there; what follows it already is left over.
async fn greeting(socket: &mut TcpStream) -> Result<(Hello, Vec<u8>), String> {
    let mut bytes = Vec::new();
    loop {
        if bytes.first().is_some_and(|first| first >> 4 != kind::CONNECT) {
            return Err("the first packet is no CONNECT".to_owned());
        }
        if let Some(frame) = frame::first(&bytes, MAX_HELLO)? {
            let hello = frame::connect(&bytes, &frame)?;
            return Ok((hello, bytes.split_off(frame.body.end)));
        }
        match socket.read_buf(&mut bytes).await {
            Ok(0) => return Err("closed before CONNECT".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}
