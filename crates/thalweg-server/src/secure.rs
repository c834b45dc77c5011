//! HTTPS: `basic.restTls` for the management interface, `source.httpServerTls` for the data port (`rest-api.md` 1.1).

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::home::Home;

/// How many clients may be in the middle of saying hello.
const GREETINGS: usize = 256;

/// How long that may take.
const GREETING_LIMIT: Duration = Duration::from_secs(10);

/// The files of `restTls` or `httpServerTls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// `certfile`: the certificate, then those that lead to a known authority, in PEM.
    pub certificates: PathBuf,
    /// `keyfile`: the certificate's key, in PEM.
    pub key: PathBuf,
}

/// Reads certificate and key of a section; paths are below the home folder.
///
/// # Errors
/// What is wrong with which file.
pub(crate) fn config(files: &TlsFiles, home: &Home, section: &str) -> Result<Arc<ServerConfig>, String> {
    let (certificates, key) = (home.join(&files.certificates), home.join(&files.key));
    let wrong = |key: &str, file: &Path, why: &dyn std::fmt::Display| {
        format!("configuration: {section}.{key} {}: {why}; give a PEM file", file.display())
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&certificates).and_then(Iterator::collect);
    let chain = chain.map_err(|why| wrong("certfile", &certificates, &why))?;
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|why| wrong("keyfile", &key, &why))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|why| format!("internal error: {why}"))?.with_no_client_auth();
    let config = config.with_single_cert(chain, private);
    let mut config = config.map_err(|why| wrong("certfile", &certificates, &why))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Connections that have said hello. Each does so by itself: a slow one holds up nobody.
pub(crate) struct SecureListener {
    greeted: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl SecureListener {
    /// Takes over a listener.
    ///
    /// # Errors
    /// The listener has no address.
    pub(crate) fn new(listener: TcpListener, config: Arc<ServerConfig>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (ready, greeted) = mpsc::channel(GREETINGS);
        let accepting = tokio::spawn(accept(listener, TlsAcceptor::from(config), ready));
        Ok(Self { greeted, address, accepting })
    }
}

async fn accept(
    listener: TcpListener,
    acceptor: TlsAcceptor,
    ready: mpsc::Sender<(TlsStream<TcpStream>, SocketAddr)>,
) {
    let places = Arc::new(Semaphore::new(GREETINGS));
    let mut listener = listener;
    loop {
        // Waits a moment after an error such as too many open files.
        let (stream, client) = axum::serve::Listener::accept(&mut listener).await;
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (acceptor, ready) = (acceptor.clone(), ready.clone());
        tokio::spawn(async move {
            let greeted = tokio::time::timeout(GREETING_LIMIT, acceptor.accept(stream)).await;
            drop(place);
            match greeted {
                Ok(Ok(stream)) => drop(ready.send((stream, client)).await),
                Ok(Err(why)) => tracing::debug!(%client, %why, "a client could not agree on TLS"),
                Err(_) => tracing::debug!(%client, "a client did not finish its TLS handshake"),
            }
        });
    }
}

impl Drop for SecureListener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl axum::serve::Listener for SecureListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    fn accept(&mut self) -> impl Future<Output = (Self::Io, Self::Addr)> + Send {
        let greeted = &mut self.greeted;
        async move {
            match greeted.recv().await {
                Some(connection) => connection,
                // The task that accepts ends with this listener only.
                None => std::future::pending().await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}
