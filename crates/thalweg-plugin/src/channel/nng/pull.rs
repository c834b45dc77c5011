//! PULL: listens and hands over every message as it comes.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use nng::{PipeEvent, Protocol, Socket};
use thalweg_sp::{Options, PullEvent};

/// A PULL listener. It reads without pause until it is dropped, on a thread of its own.
pub(crate) struct Pull {
    socket: Socket,
    reader: Option<JoinHandle<()>>,
}

impl Pull {
    /// Listens on `path`. The handler must not block: while it does, nothing is read.
    pub(crate) fn listen(
        path: &Path,
        options: Options,
        handler: impl FnMut(PullEvent<'_>) + Send + 'static,
    ) -> io::Result<Self> {
        let socket = Socket::new(Protocol::Pull0)?;
        let handler = Arc::new(Mutex::new(handler));
        let peers = (Arc::clone(&handler), options.clone());
        socket.pipe_notify(move |pipe, event| {
            let tell = |event: PullEvent<'_>| peers.0.lock().unwrap_or_else(PoisonError::into_inner)(event);
            match event {
                PipeEvent::AddPre if !super::is_welcome(pipe, &peers.1) => pipe.close(),
                PipeEvent::AddPost => tell(PullEvent::Connected),
                PipeEvent::RemovePost => tell(PullEvent::Disconnected),
                _ => {}
            }
        })?;
        super::listen(&socket, path, &options)?;
        let source = socket.clone();
        let reader = std::thread::Builder::new().name("nng-pull".to_owned()).spawn(move || {
            while let Ok(message) = source.recv() {
                handler.lock().unwrap_or_else(PoisonError::into_inner)(PullEvent::Message(&message));
            }
        })?;
        Ok(Self { socket, reader: Some(reader) })
    }
}

impl Drop for Pull {
    fn drop(&mut self) {
        self.socket.close();
        if let Some(reader) = self.reader.take() {
            // It has nothing to return; that it panicked is in the log.
            let _ = reader.join();
        }
    }
}
