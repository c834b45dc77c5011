//! The data port (`rest-api.md` 1.1): results as server-sent events, or over a web socket when the request asks for one.
//!
//! It opens when something first needs it, so that engines side by side that need none do not argue about its number.
//! Nobody is asked who they are here (1.8).

mod websocket;

use std::convert::Infallible;
use std::sync::{Arc, Weak};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use thalweg_connectors::outlet::Outlets;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Mutex, watch};
use tokio_rustls::rustls::ServerConfig;
use tracing::{error, info, warn};

use crate::config::Config;
use crate::rest::address::{self, Address};
use crate::secure::SecureListener;
use crate::server;

/// The port, open or not yet.
pub(crate) struct DataPort {
    ip: String,
    port: u16,
    tls: Option<Arc<ServerConfig>>,
    outlets: Arc<Outlets>,
    stop: watch::Sender<bool>,
    /// The number, once it is open.
    open: Mutex<Option<u16>>,
}

impl DataPort {
    pub(crate) fn new(
        config: &Config,
        tls: Option<Arc<ServerConfig>>,
        outlets: Arc<Outlets>,
        stop: watch::Sender<bool>,
    ) -> Arc<Self> {
        let port = Self {
            ip: config.data_ip.clone(),
            port: config.data_port,
            tls,
            outlets,
            stop,
            open: Mutex::default(),
        };
        let port = Arc::new(port);
        tokio::spawn(open_when_wanted(Arc::downgrade(&port), Arc::clone(&port.outlets)));
        port
    }

    /// Opens it, if it is not open. Its number.
    ///
    /// # Errors
    /// It is taken, or there is no such address.
    pub(crate) async fn open(&self) -> Result<u16, String> {
        let mut open = self.open.lock().await;
        if let Some(port) = *open {
            return Ok(port);
        }
        let listener = server::listen((&self.ip, self.port), "--data-port or source.httpServerPort").await?;
        let port = listener.local_addr().map_err(|why| why.to_string())?.port();
        let (outlets, stop) = (Arc::clone(&self.outlets), self.stop.clone());
        let answer = move |request| {
            let (outlets, stop) = (Arc::clone(&outlets), stop.subscribe());
            async move { self::answer(request, &outlets, stop) }
        };
        let (router, stop) = (axum::Router::new().fallback(answer), self.stop.subscribe());
        match &self.tls {
            None => drop(tokio::spawn(server::serve(listener, router, stop))),
            Some(tls) => {
                let listener = SecureListener::new(listener, Arc::clone(tls));
                let listener = listener.map_err(|why| why.to_string())?;
                tokio::spawn(server::serve(listener, router, stop));
            }
        }
        info!(port, "the data port is open");
        *open = Some(port);
        Ok(port)
    }
}

async fn open_when_wanted(port: Weak<DataPort>, outlets: Arc<Outlets>) {
    outlets.wanted().await;
    let Some(port) = port.upgrade() else { return };
    if let Err(why) = port.open().await {
        error!("results for the data port do not get out: {why}");
    }
}

/// Answers a request.
fn answer(mut request: Request, outlets: &Outlets, stop: watch::Receiver<bool>) -> Response {
    let path = match address::read(request.uri().path()) {
        Address::Path(path) | Address::Unclean(path) => path,
        Address::Wrong(_) => return nothing(),
    };
    let Some(events) = outlets.listen(&path) else { return nothing() };
    if request.method() != Method::GET {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let events = Events { events, stop, path };
    match websocket::asks(request.headers()) {
        true => websocket::accept(&mut request, events),
        false => stream(events),
    }
}

fn nothing() -> Response {
    (StatusCode::NOT_FOUND, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], "404 page not found\n")
        .into_response()
}

/// What a listener gets.
struct Events {
    events: Receiver<Bytes>,
    stop: watch::Receiver<bool>,
    path: String,
}

impl Events {
    /// The next one; `None` when the place or the instance ends.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return None,
                event = self.events.recv() => match event {
                    Ok(event) => return Some(event),
                    Err(RecvError::Closed) => return None,
                    Err(RecvError::Lagged(dropped)) => {
                        warn!(path = %self.path, dropped, "a listener is too slow, the oldest events for it dropped");
                    }
                },
            }
        }
    }
}

/// Server-sent events.
fn stream(events: Events) -> Response {
    let body = futures_util::stream::unfold(events, async |mut events: Events| {
        let event = events.next().await?;
        Some((Ok::<_, Infallible>(framed(&event)), events))
    });
    let mut answer = Body::from_stream(body).into_response();
    for (name, value) in [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-cache"),
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// An event as it is sent: a line break in it begins another line of data.
fn framed(event: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(event.len() + 8);
    for line in event.split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.push(b'\n');
    }
    out.push(b'\n');
    out.into()
}

#[cfg(test)]
mod tests {
    use super::framed;

    #[test]
    fn an_event_of_several_lines_is_one_event() {
        assert_eq!(framed(b"[]"), "data: []\n\n");
        assert_eq!(framed(b"a\r\nb\n"), "data: a\ndata: b\ndata: \n\n");
    }
}
