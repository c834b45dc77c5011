//! The rules of `docs/compat/portable-plugins.md` 4 with peers made by hand.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use crate::conn::Conn;
use crate::*;

const LONG: Duration = Duration::from_secs(20);
const LIMITS: Limits = Limits { hand_over: LONG, answer: LONG };

fn is_keepalive(body: &[u8]) -> bool {
    body == b"handshake"
}

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("x.ipc")
    }

    fn rep(&self) -> Rep {
        Rep::listen(&self.path(), Options::default(), is_keepalive).unwrap()
    }
}

/// A REQ peer: one request outstanding, answers to others are thrown away.
struct Req {
    conn: Conn,
    id: u32,
}

impl Req {
    fn dial(path: &Path) -> Self {
        let stream = UnixStream::connect(path).unwrap();
        Self { conn: Conn::new(stream, Protocol::Req, &Options::default()).unwrap(), id: 0x8000_0000 }
    }

    fn send(&mut self, body: &[u8]) {
        self.id += 1;
        self.conn.send(&self.id.to_be_bytes(), body, Deadline::after(LONG)).unwrap();
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        loop {
            if let Some(message) = self.conn.next_message()? {
                return Ok(message);
            }
            assert!(self.conn.wait_readable(Deadline::after(LONG))?, "nothing came");
            self.conn.fill()?;
        }
    }

    /// The next answer to the newest request.
    fn recv(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let mut message = self.read()?;
            let body = message.split_off(4);
            if message == self.id.to_be_bytes() {
                return Ok(body);
            }
        }
    }

    /// Answers every command by its text in upper case, until the listener goes.
    fn echo(mut self) {
        self.send(b"handshake");
        while let Ok(command) = self.recv() {
            self.send(&command.to_ascii_uppercase());
        }
    }
}

fn ready(rep: &Rep) {
    assert!(rep.wait_request(Deadline::after(LONG), &|| false));
}

#[test]
fn commands_travel_as_replies_and_results_as_requests() {
    let place = Place::new();
    let rep = place.rep();
    let path = place.path();
    let peer = std::thread::spawn(move || Req::dial(&path).echo());
    ready(&rep);
    assert_eq!(rep.exchange(b"one", LIMITS).unwrap(), b"ONE");
    let large = vec![b'x'; 3 << 20];
    assert_eq!(rep.exchange(&large, LIMITS).unwrap().len(), large.len());
    drop(rep);
    peer.join().unwrap();
    assert!(!place.path().exists(), "the socket file goes with the listener");
}

#[test]
fn after_many_keepalives_the_command_goes_out_once_and_to_the_newest() {
    let place = Place::new();
    let rep = place.rep();
    let mut peer = Req::dial(&place.path());
    for _ in 0..500 {
        peer.send(b"handshake");
    }
    ready(&rep);
    let caller = std::thread::spawn(move || rep.exchange(b"c", LIMITS));
    let answered = peer.recv().unwrap();
    assert_eq!(answered, b"c");
    peer.send(b"result");
    assert_eq!(caller.join().unwrap().unwrap(), b"result");
    assert!(peer.read().is_err(), "nothing else was sent");
}

#[test]
fn a_first_request_that_came_while_a_call_had_the_line_is_seen_behind_it() {
    let place = Place::new();
    let rep = Arc::new(place.rep());
    let caller = std::thread::spawn({
        let rep = Arc::clone(&rep);
        move || rep.exchange(b"c", LIMITS)
    });
    let mut peer = Req::dial(&place.path());
    let watcher = std::thread::spawn(move || rep.wait_request(Deadline::after(LONG), &|| false));
    peer.send(b"handshake");
    assert_eq!(peer.recv().unwrap(), b"c");
    peer.send(b"result");
    assert_eq!(caller.join().unwrap().unwrap(), b"result");
    assert!(watcher.join().unwrap());
}

#[test]
fn the_first_request_of_each_peer_is_kept_as_its_greeting() {
    let place = Place::new();
    let rep = place.rep();
    assert_eq!(rep.greeting(), None);
    let mut first = Req::dial(&place.path());
    first.send(b"handshake");
    ready(&rep);
    first.send(b"handshake");
    let caller = std::thread::spawn(move || (rep.exchange(b"c", LIMITS), rep));
    assert_eq!(first.recv().unwrap(), b"c");
    first.send(b"result");
    let (result, rep) = caller.join().unwrap();
    assert_eq!(result.unwrap(), b"result");
    let greeting = rep.greeting().unwrap();
    assert_eq!((greeting.connection, &*greeting.message), (1, &b"handshake"[..]));
    let mut second = Req::dial(&place.path());
    second.send(b"good morning");
    assert!(first.read().is_err(), "the older one is disconnected");
    ready(&rep);
    let greeting = rep.greeting().unwrap();
    assert_eq!((greeting.connection, &*greeting.message), (2, &b"good morning"[..]));
}

#[test]
fn a_keepalive_that_crosses_the_command_makes_it_be_sent_again() {
    let place = Place::new();
    let rep = place.rep();
    let mut peer = Req::dial(&place.path());
    peer.send(b"handshake");
    ready(&rep);
    let caller = std::thread::spawn(move || (rep.exchange(b"c", LIMITS), rep));
    let first = peer.read().unwrap();
    assert_eq!(first[4..], *b"c");
    // As if the first answer had not been seen before the receive time-out.
    peer.send(b"handshake");
    assert_eq!(peer.recv().unwrap(), b"c");
    peer.send(b"hot: no keepalive, though it begins with h");
    assert_eq!(caller.join().unwrap().0.unwrap(), b"hot: no keepalive, though it begins with h");
}

#[test]
fn the_answer_to_a_call_that_timed_out_is_never_taken_for_the_next_ones() {
    let place = Place::new();
    let rep = place.rep();
    let mut peer = Req::dial(&place.path());
    peer.send(b"handshake");
    ready(&rep);
    let short = Limits { hand_over: Duration::from_millis(5), answer: Duration::from_millis(5) };
    assert_eq!(rep.exchange(b"slow", short), Err(ExchangeError::Timeout));
    assert_eq!(rep.exchange(b"too early", short), Err(ExchangeError::Late));
    assert_eq!(peer.recv().unwrap(), b"slow");
    let caller = std::thread::spawn(move || rep.exchange(b"next", LIMITS));
    peer.send(b"result of slow");
    assert_eq!(peer.recv().unwrap(), b"next");
    peer.send(b"result of next");
    assert_eq!(caller.join().unwrap().unwrap(), b"result of next");
}

#[test]
fn the_end_of_the_peer_fails_the_call_in_flight_at_once() {
    let place = Place::new();
    let rep = place.rep();
    let mut peer = Req::dial(&place.path());
    peer.send(b"handshake");
    ready(&rep);
    let caller = std::thread::spawn(move || (rep.exchange(b"c", LIMITS), rep));
    peer.recv().unwrap();
    drop(peer);
    let (result, rep) = caller.join().unwrap();
    assert_eq!(result, Err(ExchangeError::Gone("connection closed".to_owned())));
    let now = Limits { hand_over: Duration::ZERO, answer: LONG };
    assert_eq!(rep.exchange(b"c", now), Err(ExchangeError::NoPeer));
    let path = place.path();
    std::thread::spawn(move || Req::dial(&path).echo());
    assert_eq!(rep.exchange(b"again", LIMITS).unwrap(), b"AGAIN");
}

#[test]
fn a_peer_is_busy_from_the_command_until_its_answer_even_if_nobody_waits_for_it() {
    let place = Place::new();
    let rep = place.rep();
    let mut peer = Req::dial(&place.path());
    peer.send(b"handshake");
    ready(&rep);
    assert_eq!(rep.busy(), None);
    let soon = Limits { hand_over: LONG, answer: Duration::from_millis(1) };
    assert_eq!(rep.exchange(b"c", soon), Err(ExchangeError::Timeout));
    let since = rep.busy().unwrap();
    peer.recv().unwrap();
    // The next caller changes nothing about that.
    let now = Limits { hand_over: Duration::ZERO, answer: LONG };
    assert_eq!(rep.exchange(b"d", now), Err(ExchangeError::Late));
    assert!(rep.busy().unwrap() >= since);
    peer.send(b"r");
    ready(&rep);
    assert_eq!((rep.busy(), rep.silence()), (None, None));
    for n_keepalives in 1..=2 {
        peer.send(b"handshake");
        let deadline = Deadline::after(LONG);
        while rep.inner.lock().heard.is_none_or(|(_, n)| n < n_keepalives) {
            assert!(!deadline.is_over(), "the keepalive was not read");
            std::thread::yield_now();
        }
    }
    assert!(rep.silence().is_some(), "from now on it is expected to go on");
    drop(peer);
    let deadline = Deadline::after(LONG);
    while rep.is_connected() {
        assert!(!deadline.is_over(), "the end was not seen");
        std::thread::yield_now();
    }
    assert_eq!((rep.busy(), rep.silence()), (None, None));
}

#[test]
fn a_second_peer_takes_the_place_of_the_first() {
    let place = Place::new();
    let rep = place.rep();
    let mut first = Req::dial(&place.path());
    first.send(b"handshake");
    ready(&rep);
    let mut second = Req::dial(&place.path());
    second.send(b"handshake");
    assert!(first.read().is_err(), "the older connection is closed");
    let caller = std::thread::spawn(move || rep.exchange(b"c", LIMITS));
    assert_eq!(second.recv().unwrap(), b"c");
    second.send(b"r");
    assert_eq!(caller.join().unwrap().unwrap(), b"r");
}

#[test]
fn callers_take_turns_and_results_are_never_mixed() {
    let place = Place::new();
    let rep = Arc::new(place.rep());
    let path = place.path();
    std::thread::spawn(move || Req::dial(&path).echo());
    let callers: Vec<_> = (0..4)
        .map(|caller| {
            let rep = Arc::clone(&rep);
            std::thread::spawn(move || {
                for call in 0..100 {
                    let text = format!("c{caller}-{call}");
                    assert_eq!(
                        rep.exchange(text.as_bytes(), LIMITS).unwrap(),
                        text.to_uppercase().as_bytes()
                    );
                }
            })
        })
        .collect();
    callers.into_iter().for_each(|caller| caller.join().unwrap());
}

#[test]
fn closing_fails_callers_and_waiters() {
    let place = Place::new();
    let rep = Arc::new(place.rep());
    let mut peer = Req::dial(&place.path());
    peer.send(b"handshake");
    ready(&rep);
    let caller = {
        let rep = Arc::clone(&rep);
        std::thread::spawn(move || rep.exchange(b"c", LIMITS))
    };
    peer.recv().unwrap();
    rep.close();
    assert!(caller.join().unwrap().is_err());
    assert_eq!(rep.exchange(b"c", LIMITS), Err(ExchangeError::Closed));
    assert!(!rep.wait_request(Deadline::never(), &|| false));
}

#[test]
fn a_stale_file_is_taken_over_and_a_live_one_is_not() {
    let place = Place::new();
    drop(UnixListener::bind(place.path()).unwrap());
    assert!(place.path().exists());
    let first = place.rep();
    let mode = std::fs::metadata(place.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let error =
        Rep::listen(&place.path(), Options::default(), is_keepalive).err().expect("the first one lives");
    assert!(error.to_string().contains("another process listens there"), "{error}");
    assert!(place.path().exists());
    drop(first);
    std::fs::write(place.path(), "data").unwrap();
    let error = Rep::listen(&place.path(), Options::default(), is_keepalive).err().expect("no socket");
    assert!(error.to_string().contains("is no socket"), "{error}");
}

#[test]
fn whoever_listens_is_not_disturbed_by_the_look_whether_somebody_does() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let error = remove_stale(&place.path()).unwrap_err();
    assert!(error.to_string().contains("another process listens there"), "{error}");
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody has connected");
}

#[test]
fn a_path_that_is_too_long_is_named() {
    let long = PathBuf::from(format!("/tmp/{}.ipc", "x".repeat(120)));
    assert!(!socket_path_fits(&long));
    let error = Rep::listen(&long, Options::default(), is_keepalive).err().expect("too long");
    assert!(error.to_string().contains("more than 107 bytes"), "{error}");
}

#[test]
fn strangers_and_wrong_roles_are_disconnected() {
    let place = Place::new();
    let nobody = Options {
        peer_check: Some(Arc::new(|peer| peer.pid != std::process::id() as i32)),
        ..Options::default()
    };
    let rep = Rep::listen(&place.path(), nobody, is_keepalive).unwrap();
    let stream = UnixStream::connect(place.path()).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    assert_eq!(io::Read::read(&mut &stream, &mut [0; 8]).unwrap(), 0, "not even greeted");
    drop(rep);
    let rep = place.rep();
    let stream = UnixStream::connect(place.path()).unwrap();
    let mut pusher = Conn::new(stream, Protocol::Push, &Options::default()).unwrap();
    let error = loop {
        if let Err(error) = pusher.wait_readable(Deadline::after(LONG)).and_then(|_| pusher.fill()) {
            break error;
        }
    };
    assert!(matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset), "{error}");
    assert!(!rep.is_connected());
}

#[test]
fn a_message_over_the_limit_ends_the_connection() {
    let place = Place::new();
    let options = Options { max_message: 100, ..Options::default() };
    let rep = Rep::listen(&place.path(), options, is_keepalive).unwrap();
    let mut peer = Req::dial(&place.path());
    peer.send(&[b'x'; 200]);
    assert!(peer.read().is_err());
    assert!(!rep.is_connected());
}

#[test]
fn pushed_messages_arrive_in_order_and_the_end_is_seen_behind_them() {
    let place = Place::new();
    let (seen, events) = mpsc::channel();
    let pull = Pull::listen(&place.path(), Options::default(), move |event| {
        let text = match event {
            PullEvent::Connected => "connected".to_owned(),
            PullEvent::Message(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            PullEvent::Disconnected => "disconnected".to_owned(),
        };
        seen.send(text).unwrap();
    })
    .unwrap();
    let deadline = Deadline::after(LONG);
    let mut push = Push::dial(&place.path(), &Options::default(), deadline).unwrap();
    for i in 0..1000 {
        push.send(format!("m{i}").as_bytes(), deadline).unwrap();
    }
    assert!(!push.is_gone());
    drop(push);
    let next = || events.recv_timeout(LONG).unwrap();
    assert_eq!(next(), "connected");
    (0..1000).for_each(|i| assert_eq!(next(), format!("m{i}")));
    assert_eq!(next(), "disconnected");
    let mut push = Push::dial(&place.path(), &Options::default(), deadline).unwrap();
    push.send(b"second", deadline).unwrap();
    assert_eq!((next(), next()), ("connected".to_owned(), "second".to_owned()));
    drop(pull);
    assert!(!place.path().exists());
    assert!(push.send(b"late", deadline).is_err());
}

#[test]
fn a_peer_that_does_not_read_makes_send_fail_in_time() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path()).unwrap();
    let path = place.path();
    let dialer = std::thread::spawn(move || {
        let mut push = Push::dial(&path, &Options::default(), Deadline::after(LONG)).unwrap();
        push.send(&vec![0; 8 << 20], Deadline::after(Duration::from_millis(5)))
    });
    let (stream, _) = listener.accept().unwrap();
    let _peer = Conn::new(stream, Protocol::Pull, &Options::default()).unwrap();
    assert_eq!(dialer.join().unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
}
