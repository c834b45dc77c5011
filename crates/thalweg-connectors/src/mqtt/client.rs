//! One connection to a broker: kept alive for ever, its messages routed, its publications followed.
//!
//! One task per connection, [`drive`], polls the event loop and nothing else; everybody talks to it through the
//! loop's own request channel, so that a slow rule or sink never delays pings. After a loss it backs off from
//! 100 ms to 10 s (N6.3) and subscribes everything anew (S1.1).

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use thalweg_core::connector::{BuildCx, Built, Connection, ConnectionStatus, Spawner};
use thalweg_core::error::IoError;
use thalweg_core::polled::Poller;
use thalweg_core::registry::Gate;

use super::company::{Company, Seat};
use super::options::{KEEP_ALIVE, OPERATION_LIMIT, Options};
use super::shared::{Phase, Shared};
use super::wire::{self, Event, Wire};
use crate::property::refused;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(10);
/// A connection that held for so long begins with the first back-off again.
const STABLE_MICROS: u64 = 10_000_000;

/// Makes a named connection, which connects at once (N6.3).
pub(super) fn connect(cx: &BuildCx) -> Built<Arc<dyn Connection>> {
    let client = Client::new(Options::read("mqtt connection", cx)?.for_anyone(), cx);
    if client.shared.options.keeps(false) {
        let (begin, gate) = (client.beginning(None), cx.shared.get::<Gate>());
        gate.pass(move || begin.into_iter().for_each(|begin| begin()));
    } else {
        client.start(None);
    }
    Ok(Arc::new(client))
}

/// The client that a source or sink shall use: the named one, or one of its own that is not yet started.
pub(super) fn client_for(owner: &str, cx: &BuildCx) -> Built<Held> {
    match &cx.connection {
        Some(named) => match named.as_any().downcast_ref::<Client>() {
            Some(client) => {
                let shared = Arc::clone(&client.shared);
                Ok(Held { shared, keeps: Keeps::Named(Arc::clone(named)) })
            }
            None => Err(refused(format!("{owner}: the named connection is not of type mqtt"))),
        },
        None => {
            let client = Client::new(Options::read(owner, cx)?, cx);
            Ok(Held { shared: Arc::clone(&client.shared), keeps: Keeps::Own(Arc::new(client)) })
        }
    }
}

/// A client in use by one node.
pub(super) struct Held {
    pub(super) shared: Arc<Shared>,
    keeps: Keeps,
}

enum Keeps {
    Own(Arc<Client>),
    Common(Seat),
    Named(#[allow(dead_code, reason = "held so that the connection lives")] Arc<dyn Connection>),
}

impl Held {
    /// Goes over to a connection that others use too, unless the own one has begun or is not like theirs. For those who
    /// only publish.
    pub(super) fn join(&mut self, company: &Arc<Company>, poller: Option<&Arc<dyn Poller>>) {
        let (Keeps::Own(client), Some(poller)) = (&self.keeps, poller) else { return };
        if self.shared.options.is_common() && *self.shared.phase.borrow() == Phase::New {
            let seat = company.join(client, poller);
            (self.shared, self.keeps) = (Arc::clone(&seat.client.shared), Keeps::Common(seat));
        }
    }

    /// Starts an own client, whose socket may wait on the thread of `poller`; a named one runs already.
    pub(super) fn start(&self, poller: Option<Arc<dyn Poller>>) {
        match &self.keeps {
            Keeps::Own(client) | Keeps::Common(Seat { client, .. }) => client.start(poller),
            Keeps::Named(_) => {}
        }
    }

    /// Whether nobody else uses this client.
    pub(super) fn is_own(&self) -> bool {
        matches!(self.keeps, Keeps::Own(_))
    }

    /// Disconnects an own client, and a common one with its last user; a named one stays.
    pub(super) async fn close(&self) {
        match &self.keeps {
            Keeps::Own(client) => client.close().await,
            Keeps::Common(seat) if seat.leave() => seat.client.close().await,
            Keeps::Common(_) | Keeps::Named(_) => {}
        }
    }
}

/// The handle of a connection. Dropping it ends the task.
pub(super) struct Client {
    pub(super) shared: Arc<Shared>,
    spawner: Arc<dyn Spawner>,
    /// Taken by the task.
    wire: Mutex<Option<Wire>>,
}

impl Client {
    fn new(options: Options, cx: &BuildCx) -> Self {
        let (remote, wire) = wire::open(&options, cx.spawner.poller().is_some());
        let shared = Arc::new(Shared::new(options, Arc::clone(&cx.clock), remote));
        Self { shared, spawner: Arc::clone(&cx.spawner), wire: Mutex::new(Some(wire)) }
    }

    fn start(&self, poller: Option<Arc<dyn Poller>>) {
        self.beginning(poller).into_iter().for_each(|begin| begin());
    }

    /// Starts the client, once.
    fn beginning(&self, poller: Option<Arc<dyn Poller>>) -> Option<impl FnOnce() + Send + use<>> {
        let mut wire = self.wire.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let (shared, spawner) = (Arc::clone(&self.shared), Arc::clone(&self.spawner));
        if let Wire::Lean(lean) = &mut wire {
            lean.polled_by(poller.or_else(|| spawner.poller()));
        }
        Some(move || {
            // Closed meanwhile: it ends at once.
            shared.advance(Phase::Running);
            spawner.spawn(Box::pin(drive(shared, wire)));
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.advance(Phase::Closing);
    }
}

#[async_trait]
impl Connection for Client {
    async fn ping(&self) -> Result<(), IoError> {
        if self.status() == ConnectionStatus::Connected {
            return Ok(());
        }
        let (remote, mut wire) =
            wire::open(&self.shared.options.for_trial(), self.spawner.poller().is_some());
        let first = tokio::time::timeout(OPERATION_LIMIT, wire.poll(None)).await;
        let reason = match first {
            Ok(Ok(_)) => {
                remote.disconnect();
                let farewell =
                    async { while !matches!(wire.poll(None).await, Ok(Event::Parted) | Err(_)) {} };
                let _in_time = tokio::time::timeout(OPERATION_LIMIT, farewell).await;
                return Ok(());
            }
            Ok(Err(reason)) => reason,
            Err(_) => "no answer within 5 s".to_owned(),
        };
        Err(IoError::transient(format!("cannot connect to {}: {reason}", self.shared.options.server)))
    }

    fn status(&self) -> ConnectionStatus {
        self.shared.status()
    }

    async fn close(&self) {
        self.shared.close().await;
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The task of one connection.
async fn drive(shared: Arc<Shared>, mut wire: Wire) {
    let mut phase = shared.phase.subscribe();
    let mut backoff = FIRST_BACKOFF;
    let mut since = None;
    loop {
        let polled = tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Closing) => break,
            // Pings make an event every KEEP_ALIVE, so silence beyond that is a socket that takes nothing.
            polled = tokio::time::timeout(KEEP_ALIVE + OPERATION_LIMIT, wire.poll(Some(&shared))) => polled,
        };
        let reason = match polled {
            Ok(Ok(Event::Connected { session_present })) => {
                since = Some(shared.clock.monotonic_micros());
                if session_present {
                    wire.expect_releases();
                }
                shared.connected(session_present);
                continue;
            }
            Ok(Ok(Event::Parted)) => break,
            Ok(Ok(event)) => {
                shared.take(event);
                continue;
            }
            Ok(Err(reason)) => reason,
            Err(_) => "the broker takes nothing any more".to_owned(),
        };
        let held = since.take().map(|then| shared.clock.monotonic_micros().saturating_sub(then));
        if held.is_some_and(|micros| micros >= STABLE_MICROS) {
            backoff = FIRST_BACKOFF;
        }
        let what = if held.is_some() { "lost the connection to" } else { "cannot connect to" };
        let reason =
            format!("{what} {}: {reason}; next try in {} ms", shared.options.server, backoff.as_millis());
        tracing::warn!(server = %shared.options.server, "mqtt: {reason}");
        shared.lost(&Arc::from(reason), &mut wire);
        tokio::select! {
            biased;
            _ = phase.wait_for(|phase| *phase >= Phase::Closing) => break,
            () = tokio::time::sleep(backoff) => backoff = (backoff * 2).min(LAST_BACKOFF),
        }
    }
    shared.lost(&Arc::from("the connection was closed"), &mut wire);
    shared.advance(Phase::Ended);
}
