//! PULL: listens and hands over every message as it comes.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nng::options::{Options as _, RecvTimeout};
use nng::{Error, PipeEvent, Protocol, Socket};
use thalweg_sp::{Options, PullEvent};

/// What a peer has sent before it went is read before its end is told: by then nothing has come for so long.
const DRAINED: Duration = Duration::from_millis(20);

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
        socket.set_opt::<RecvTimeout>(Some(DRAINED))?;
        let peers = (Arc::clone(&handler), options.clone());
        let gone = Arc::new(AtomicBool::new(false));
        let has_gone = Arc::clone(&gone);
        socket.pipe_notify(move |pipe, event| {
            let tell = |event: PullEvent<'_>| peers.0.lock().unwrap_or_else(PoisonError::into_inner)(event);
            match event {
                PipeEvent::AddPre if !super::is_welcome(pipe, &peers.1) => pipe.close(),
                PipeEvent::AddPost => {
                    if has_gone.swap(false, SeqCst) {
                        tell(PullEvent::Disconnected);
                    }
                    tell(PullEvent::Connected);
                }
                PipeEvent::RemovePost => has_gone.store(true, SeqCst),
                _ => {}
            }
        })?;
        super::listen(&socket, path, &options)?;
        let source = socket.clone();
        let reader = std::thread::Builder::new().name("nng-pull".to_owned()).spawn(move || {
            let tell = |event: PullEvent<'_>| handler.lock().unwrap_or_else(PoisonError::into_inner)(event);
            loop {
                match source.recv() {
                    Ok(message) => tell(PullEvent::Message(&message)),
                    Err(Error::TimedOut) if gone.swap(false, SeqCst) => tell(PullEvent::Disconnected),
                    Err(Error::TimedOut) => {}
                    Err(_) => return,
                }
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
