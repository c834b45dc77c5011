//! Turns in the hands of tests, and the system itself.

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;

use thalweg_core::polled::{Turned, Wakers};
use thalweg_core::{ManualClock, Timestamp};

use super::*;
use crate::shard::Shard;
use crate::shard::inbox::{Control, Key};

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

/// Tells what the test has put in.
#[derive(Default, Clone)]
struct ByHand {
    found: Arc<Mutex<Vec<(usize, Readiness)>>>,
    rests: Arc<Mutex<Vec<Duration>>>,
}

impl Poll for ByHand {
    fn wait(&mut self, _limit: Option<Duration>, found: &mut Vec<(usize, Readiness)>) {
        found.append(&mut self.found.lock().unwrap());
    }

    fn watch(&mut self, _place: usize, _socket: BorrowedFd<'_>) -> io::Result<()> {
        Ok(())
    }

    fn forget(&mut self, _socket: BorrowedFd<'_>) {}

    fn rest(&mut self, pause: Duration) {
        self.rests.lock().unwrap().push(pause);
    }
}

struct Scripted {
    name: &'static str,
    socket: UnixStream,
    turns: Vec<(usize, Next)>,
    waker: Arc<Mutex<Option<Wakers>>>,
    log: Log,
}

impl Scripted {
    /// The last turn of the script is the first one.
    fn boxed(
        name: &'static str,
        turns: &[(usize, Next)],
        log: &Log,
    ) -> (Box<Self>, Arc<Mutex<Option<Wakers>>>) {
        let waker = Arc::default();
        let (socket, _) = UnixStream::pair().unwrap();
        let turns = turns.iter().rev().copied().collect();
        (Box::new(Self { name, socket, turns, waker: Arc::clone(&waker), log: Arc::clone(log) }), waker)
    }
}

impl Polled for Scripted {
    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn begin(&mut self, wakers: Wakers) {
        *self.waker.lock().unwrap() = Some(wakers);
    }

    fn turn(&mut self, ready: Readiness) -> Turned {
        self.log.lock().unwrap().push(format!("{} {}", self.name, ready.readable));
        let (messages, next) = self.turns.pop().expect("no turn more than scripted");
        if messages > 0 {
            // Its results.
            self.waker.lock().unwrap().as_ref().unwrap().flush.wake_by_ref();
        }
        Turned { messages, next }
    }

    fn flush(&mut self) {
        self.log.lock().unwrap().push(format!("{} flushed", self.name));
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.log.lock().unwrap().push(format!("{} ends", self.name));
    }
}

fn shard(poll: &ByHand) -> (Shard, Arc<Inbox>, Arc<ManualClock>) {
    let (clock, inbox) = (ManualClock::at(Timestamp(1_000)), Arc::new(Inbox::default()));
    let shard = Shard::polling(Arc::<ManualClock>::clone(&clock), Arc::clone(&inbox), Box::new(poll.clone()));
    (shard, inbox, clock)
}

fn taken(log: &Log) -> Vec<String> {
    std::mem::take(&mut *log.lock().unwrap())
}

#[test]
fn a_flooded_socket_gets_one_turn_and_orders_and_neighbours_come_in_between() {
    let (poll, log) = (ByHand::default(), Log::default());
    let (mut shard, inbox, _) = shard(&poll);
    let (flooded, _) = Scripted::boxed("flooded", &[(0, Next::Again); 4], &log);
    inbox.send(Control::Adopt(flooded));
    shard.turn();
    shard.wait();
    assert_eq!(taken(&log), ["flooded true"]);
    let (other, _) = Scripted::boxed("other", &[(0, Next::Wait); 2], &log);
    inbox.send(Control::Adopt(other));
    shard.turn();
    shard.wait();
    assert_eq!(taken(&log), ["flooded false", "other true"]);
    poll.found.lock().unwrap().push((1, Readiness { readable: true, ..Readiness::default() }));
    shard.wait();
    shard.turn();
    assert_eq!(taken(&log), ["flooded false", "other true"], "each has its turn");
    inbox.send(Control::Shutdown);
    assert!(!shard.turn());
}

#[test]
fn of_many_flooded_sockets_only_some_come_before_the_next_order_and_all_in_the_end() {
    let (poll, log) = (ByHand::default(), Log::default());
    let (mut shard, inbox, _) = shard(&poll);
    for _ in 0..100 {
        inbox.send(Control::Adopt(Scripted::boxed("one", &[(0, Next::Again), (0, Next::Wait)], &log).0));
    }
    let mut turns = Vec::new();
    for _ in 0..7 {
        shard.turn();
        turns.push(taken(&log).len());
    }
    assert_eq!(turns, [32, 32, 32, 32, 32, 32, 8]);
}

#[test]
fn a_connection_that_is_over_or_panics_is_dropped_alone_and_its_place_given_again() {
    let (poll, log) = (ByHand::default(), Log::default());
    let (mut shard, inbox, _) = shard(&poll);
    let (panics, _) = Scripted::boxed("panics", &[], &log);
    let (ends, _) = Scripted::boxed("ends", &[(1, Next::End)], &log);
    let (stays, waker) = Scripted::boxed("stays", &[(0, Next::Wait); 2], &log);
    [panics as Box<dyn Polled>, ends, stays]
        .into_iter()
        .for_each(|polled| inbox.send(Control::Adopt(polled)));
    shard.turn();
    assert_eq!(
        taken(&log),
        ["panics true", "panics ends", "ends true", "ends ends", "stays true"],
        "and the shard goes on"
    );
    waker.lock().unwrap().as_ref().unwrap().turn.wake_by_ref();
    let (again, _) = Scripted::boxed("again", &[(0, Next::Wait)], &log);
    inbox.send(Control::Adopt(again));
    shard.turn();
    assert_eq!(taken(&log), ["again true", "stays false"], "woken without the socket's doing");
}

#[test]
fn what_was_collected_in_a_turn_is_written_before_it_ends_and_before_any_order_that_comes_with_it() {
    let (poll, log) = (ByHand::default(), Log::default());
    let (mut shard, inbox, _) = shard(&poll);
    let (one, waker) = Scripted::boxed("one", &[(1, Next::Wait)], &log);
    inbox.send(Control::Adopt(one));
    shard.turn();
    assert_eq!(taken(&log), ["one true", "one flushed"]);
    let seen = Arc::clone(&log);
    let reply = Box::new(move |_| seen.lock().unwrap().push("checkpoint".to_owned()));
    inbox.send(Control::Checkpoint { rule: Key(1), reply });
    waker.lock().unwrap().as_ref().unwrap().flush.wake_by_ref();
    shard.turn();
    assert_eq!(taken(&log), ["one flushed", "checkpoint"]);
}

#[test]
fn a_busy_socket_makes_the_shard_rest_after_its_batch_and_a_quiet_one_never() {
    let (poll, log) = (ByHand::default(), Log::default());
    let (mut shard, inbox, clock) = shard(&poll);
    let (busy, _) = Scripted::boxed("busy", &[(20, Next::Again); 300], &log);
    inbox.send(Control::Adopt(busy));
    for round in 0..250 {
        clock.advance_to(Timestamp(1_001 + round));
        shard.turn();
        shard.wait();
    }
    let rests = std::mem::take(&mut *poll.rests.lock().unwrap());
    assert!(rests.len() > 100 && rests.iter().all(|rest| *rest <= Duration::from_micros(300)), "{rests:?}");
    clock.advance_to(Timestamp(60_000));
    shard.turn();
    shard.wait();
    assert!(poll.rests.lock().unwrap().is_empty(), "after a silence");
}

#[test]
fn the_systems_poller_tells_of_sockets_and_the_bell_ends_its_wait() {
    let (mut system, bell) = System::new().unwrap();
    let inbox = Arc::new(Inbox::new(bell));
    let (near, mut far) = UnixStream::pair().unwrap();
    system.watch(3, near.as_fd()).unwrap();
    let mut found = Vec::new();
    io::Write::write_all(&mut far, b"x").unwrap();
    while !found.iter().any(|(place, ready): &(usize, Readiness)| *place == 3 && ready.readable) {
        system.wait(Some(Duration::from_secs(30)), &mut found);
    }
    found.clear();
    assert!(inbox.fall_asleep());
    let sender = Arc::clone(&inbox);
    let thread = std::thread::spawn(move || sender.send(Control::Shutdown));
    // Without the bell this would never end.
    while !inbox.has_mail() {
        system.wait(None, &mut found);
    }
    thread.join().unwrap();
    assert!(!inbox.fall_asleep(), "there is mail");
}
