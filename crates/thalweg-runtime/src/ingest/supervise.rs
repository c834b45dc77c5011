//! Keeps a source running: pulls, restarts with back-off, and the end of the input.
//!
//! A source that breaks for a while is built anew for ever; one that can never work ends its rules (R5.12).

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use thalweg_core::connector::{BuildCx, PullSource, Pulled, SourceKind, SourcePort};
use thalweg_core::registry::ConnectorRef;
use thalweg_core::{Clock, Diagnostic, IoError, Retry};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::options::Thinning;
use super::port::Inlet;
use super::thin::Thinned;
use crate::egress::delivery::Backoff;

/// How long a source may take to leave after it was told to.
const FAREWELL: Duration = Duration::from_secs(2);

/// A source that ran this long without trouble starts again with a short pause.
const STEADY_MICROS: u64 = 30_000_000;

/// Builds a source as often as needed.
#[derive(Clone)]
pub(crate) struct SourceFactory {
    pub connector: ConnectorRef,
    pub cx: BuildCx,
    /// Down-sampling of what it pushes.
    pub thinning: Option<Thinning>,
}

impl SourceFactory {
    /// A new instance.
    pub(crate) fn build(&self) -> Result<SourceKind, Diagnostic> {
        self.connector
            .source(&self.cx)
            .unwrap_or_else(|| Err(Diagnostic::plain(format!("{} is no source", self.connector.name()))))
    }
}

/// Runs a source until it is stopped, its input ends, or it fails for good; then `Err` says why.
pub(crate) async fn supervise(
    factory: SourceFactory,
    first: Option<SourceKind>,
    inlet: Arc<Inlet>,
    clock: Arc<dyn Clock>,
) -> Result<(), Arc<str>> {
    let mut built = first;
    let mut pause = Backoff::new(0);
    loop {
        let kind = match built.take() {
            Some(kind) => kind,
            None => factory.build().map_err(|diagnostic| Arc::<str>::from(diagnostic.to_string()))?,
        };
        let began = clock.monotonic_micros();
        let run = AssertUnwindSafe(run(kind, Arc::clone(&inlet), factory.thinning.clone())).catch_unwind();
        let result =
            run.await.unwrap_or_else(|_| Err(IoError::permanent("internal error: the source panicked")));
        if inlet.queue.is_stopped() {
            return Ok(());
        }
        let Err(error) = result else {
            inlet.queue.close();
            return Ok(());
        };
        if error.retry == Retry::Permanent {
            return Err(error.message);
        }
        inlet.fault(&error.message);
        if clock.monotonic_micros().saturating_sub(began) > STEADY_MICROS {
            pause = Backoff::new(0);
        }
        if timeout(pause.step(), inlet.stopped()).await.is_ok() {
            return Ok(());
        }
    }
}

/// Runs one instance.
async fn run(kind: SourceKind, inlet: Arc<Inlet>, thinning: Option<Thinning>) -> Result<(), IoError> {
    let port: Arc<dyn SourcePort> = Arc::clone(&inlet) as Arc<dyn SourcePort>;
    let stop = async {
        inlet.stopped().await;
        tokio::time::sleep(FAREWELL).await;
    };
    match kind {
        SourceKind::Push(source) => match thinning {
            None => tokio::select! {
                result = source.run(port) => result,
                () = stop => Ok(()),
            },
            Some(thinning) => {
                let thinned = Thinned::new(inlet.clone(), thinning);
                let port = Arc::clone(&thinned) as Arc<dyn SourcePort>;
                let result = tokio::select! {
                    result = source.run(port) => result,
                    () = thinned.run() => Ok(()),
                    () = stop => Ok(()),
                };
                // The end of the input, or of the rule: what the last interval has kept is not lost.
                thinned.tick();
                result
            }
        },
        SourceKind::Pull { source, interval_ms } => tokio::select! {
            result = pull(source, interval_ms, &port) => result,
            () = stop => Ok(()),
        },
    }
}

/// The first pull at once, then one each interval (C2.2); a pull that fails is counted and tried again (R5.13).
async fn pull(
    mut source: Box<dyn PullSource>,
    interval_ms: i64,
    port: &Arc<dyn SourcePort>,
) -> Result<(), IoError> {
    let mut ticks = interval(Duration::from_millis(interval_ms.max(1) as u64));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = port.stopped() => return Ok(()),
        }
        match source.pull(port).await {
            Ok(Pulled::End) => return Ok(()),
            Ok(Pulled::More) => {}
            Err(error) if error.retry == Retry::Permanent => return Err(error),
            Err(error) => port.fault(&error.message),
        }
        if interval_ms <= 0 {
            port.stopped().await;
            return Ok(());
        }
    }
}
