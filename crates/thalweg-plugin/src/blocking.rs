//! Blocking work out of async code, without naming the runtime behind it.

use std::future::Future;
use std::thread;

use tokio::sync::oneshot;

/// Runs `work` on a thread of its own. `None` if it panicked or the thread could not be made.
pub(crate) fn offload<T: Send + 'static, W: FnOnce() -> T + Send + 'static>(
    name: &'static str,
    work: W,
) -> impl Future<Output = Option<T>> + Send + use<T, W> {
    let (done, result) = oneshot::channel();
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Nobody may be waiting any more.
        let _ = done.send(work());
    });
    async move {
        spawned.ok()?;
        result.await.ok()
    }
}
