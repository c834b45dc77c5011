//! The embedded MQTT broker: one port for 3.1.1 and 5, QoS 0 to 2, wildcards, retained messages, wills, shared
//! subscriptions, sessions that outlive their connection; in memory only, without users and TLS.
//!
//! It is for trying things out and for small plants. A subscriber that does not keep up slows its publishers down for
//! a while (`hub.rs`) instead of losing messages. One thread of its own serves all connections; it ends with
//! [`Broker::stop`] or when the broker is dropped.
//!
//! Why not `rumqttd` 0.20: its router thread cannot be ended, each protocol version wants a port of its own, every
//! message stays in memory until a log segment falls out (and with it, silently, what a slow subscriber has not read),
//! retained messages beyond the in-flight window are left out, and it brings some hundred crates.

mod connection;
mod dialect;
mod hub;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, oneshot};

use connection::{SharedHub, serve};

/// Connections at a time; further ones wait to be taken in.
const MAX_CONNECTIONS: usize = 5_000;

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
    /// No thread, no poller.
    #[error("cannot start the MQTT broker: {0}")]
    Start(#[from] io::Error),
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
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listen = |source| BrokerError::Listen { addr, source };
        let socket =
            if addr.is_ipv4() { tokio::net::TcpSocket::new_v4() } else { tokio::net::TcpSocket::new_v6() };
        let socket = socket.map_err(listen)?;
        // A broker that is restarted takes its port again at once.
        socket.set_reuseaddr(true).and_then(|()| socket.bind(addr)).map_err(listen)?;
        let entered = runtime.enter();
        let listener = socket.listen(1024).map_err(listen)?;
        drop(entered);
        let addr = listener.local_addr().map_err(listen)?;
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::Builder::new().name("mqtt-broker".to_owned()).spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener) => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok(Self { addr, stop: Some(stop), thread: Some(thread) })
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
            // A panic was already reported by the thread itself.
            let _panicked = thread.join();
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.end();
    }
}

async fn accept(listener: TcpListener) {
    let hub = SharedHub::default();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let hub = Arc::clone(&hub);
                tokio::spawn(async move {
                    serve(hub, socket).await;
                    drop(place);
                });
            }
            Err(error) => {
                // Usually no file descriptors: give connections time to end.
                tracing::warn!("mqtt broker cannot take a connection in: {error}");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
