//! The writing half against a socket that is read by hand.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};

use super::*;
use crate::mqtt::lean::packets::{Packet, read};

/// An outlet on an open connection, and the other side of it.
fn open(window: u16) -> (Arc<Outlet>, u64, TcpStream, oneshot::Receiver<End>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    near.set_nonblocking(true).unwrap();
    let outlet = Arc::<Outlet>::default();
    let (generation, end) = outlet.open(Arc::new(near), window);
    (outlet, generation, far, end)
}

/// Reads so many packets, while the outlet writes on.
fn hear(outlet: &Outlet, far: &mut TcpStream, n_packets: usize) -> Vec<Packet> {
    let (mut bytes, mut chunk) = (Vec::new(), vec![0; 64 << 10]);
    loop {
        let heard = read(&[&bytes], frame::MAX_PACKET);
        assert_eq!(heard.wrong, None);
        if heard.packets.len() >= n_packets {
            return heard.packets;
        }
        outlet.flush();
        let count = far.read(&mut chunk).unwrap();
        assert!(count > 0, "it ended after {} packets", heard.packets.len());
        bytes.extend_from_slice(&chunk[..count]);
    }
}

fn publish(outlet: &Outlet, qos: u8, text: &str, flight: &Arc<Flight>) {
    let payload = bytes::Bytes::copy_from_slice(text.as_bytes());
    let publication = Publication { topic: "t", qos, retain: false, payload, properties: &[] };
    assert!(outlet.publish(&publication, flight));
}

fn texts(packets: &[Packet]) -> Vec<String> {
    let text = |packet: &Packet| match packet {
        Packet::Publish { payload, .. } => String::from_utf8(payload.clone()).unwrap(),
        other => format!("{other:?}"),
    };
    packets.iter().map(text).collect()
}

#[test]
fn of_a_direct_write_exactly_what_was_taken_arrives_whole_and_the_rest_is_told() {
    let (outlet, _, mut far, _end) = open(20);
    let (mut bytes, mut spans) = (Vec::new(), Vec::new());
    for number in 0..400_000u32 {
        bytes.extend_from_slice(format!("{number:060}").as_bytes());
        spans.push((number * 60, number * 60 + 60));
    }
    let taken = outlet.write_direct(("topic", false), (&bytes, &spans), true);
    assert!(taken > 0 && taken < spans.len(), "the socket takes a part: {taken}");
    assert_eq!(outlet.write_direct(("topic", false), (&bytes, &spans), true), 0, "something is before it");
    let flight = Arc::new(Flight::default());
    publish(&outlet, 0, "behind", &flight);
    assert_eq!(flight.landed().taken, 0, "not written yet");
    let heard = texts(&hear(&outlet, &mut far, taken + 1));
    assert_eq!((heard.len(), heard[taken].as_str()), (taken + 1, "behind"));
    assert!(heard[..taken].iter().enumerate().all(|(number, text)| *text == format!("{number:060}")));
    assert_eq!(flight.landed().taken, 1);
    assert_eq!(outlet.write_direct(("topic", false), (b"a-b", &[(0, 1), (2, 3)]), true), 2, "and it goes on");
    assert_eq!(texts(&hear(&outlet, &mut far, 2)), ["a", "b"]);
}

#[test]
fn above_qos_0_no_more_than_the_window_is_on_its_way_and_order_is_kept() {
    let (outlet, generation, mut far, _end) = open(20);
    let flight = Arc::new(Flight::default());
    for number in 0..50 {
        publish(&outlet, u8::from(number < 45), &number.to_string(), &flight);
    }
    outlet.flush();
    let heard = hear(&outlet, &mut far, 20);
    assert_eq!(heard.len(), 20);
    let ids = |packets: &[Packet]| -> Vec<u16> {
        let id = |packet: &Packet| match packet {
            Packet::Publish { pkid, .. } => *pkid,
            other => panic!("{other:?}"),
        };
        packets.iter().map(id).collect()
    };
    assert_eq!(ids(&heard), (1..=20).collect::<Vec<_>>());
    // In a turn nothing is written until it ends.
    assert_eq!(outlet.begin_turn(generation), Some(0));
    (1..=20).for_each(|pkid| outlet.confirmed(pkid));
    outlet.end_turn(generation);
    assert_eq!(texts(&hear(&outlet, &mut far, 20))[0], "20");
    (21..=40).for_each(|pkid| outlet.confirmed(pkid));
    let rest = hear(&outlet, &mut far, 10);
    assert_eq!(texts(&rest), (40..50).map(|number: u32| number.to_string()).collect::<Vec<_>>());
    (41..=45).for_each(|pkid| outlet.confirmed(pkid));
    assert_eq!(flight.landed().taken, 50);
}

#[test]
fn answers_of_a_turn_leave_together_and_those_of_an_older_connection_not_at_all() {
    let (outlet, generation, mut far, mut end) = open(20);
    outlet.begin_turn(generation);
    outlet.acknowledge_all(generation, &[1, 2, 3]);
    outlet.acknowledge(1, 4);
    far.set_nonblocking(true).unwrap();
    assert_eq!(far.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    far.set_nonblocking(false).unwrap();
    outlet.end_turn(generation);
    assert_eq!(hear(&outlet, &mut far, 4), vec![Packet::Other(0x40, 2); 4]);
    outlet.lost(&Arc::from("gone"));
    assert_eq!(outlet.begin_turn(generation), None);
    outlet.acknowledge_all(generation, &[5]);
    assert_eq!(outlet.write_direct(("t", false), (b"x", &[(0, 1)]), true), 0);
    assert!(end.try_recv().is_err(), "nobody told an end");
    assert_eq!(far.read(&mut [0; 8]).unwrap(), 0, "the socket is closed");
}

#[test]
fn the_farewell_is_told_when_it_is_written() {
    let (outlet, _, mut far, mut end) = open(20);
    outlet.part();
    assert_eq!(end.try_recv(), Ok(End::Parted));
    assert_eq!(hear(&outlet, &mut far, 1), [Packet::Other(0xe0, 0)]);
}

/// A waker that counts.
#[derive(Default)]
struct Counted(std::sync::atomic::AtomicUsize);

impl std::task::Wake for Counted {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

#[test]
fn what_the_readers_thread_sends_in_a_turn_leaves_in_one_write_and_in_order() {
    let (outlet, generation, mut far, _end) = open(20);
    let flushes = Arc::<Counted>::default();
    let wakers = Wakers { flush: Arc::clone(&flushes).into(), ..Wakers::noop() };
    outlet.begin(generation, wakers);
    let n_flushes = || flushes.0.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(outlet.write_direct(("t", false), (b"ab", &[(0, 1), (1, 2)]), false), 2);
    assert_eq!(outlet.write_direct(("u", false), (b"c", &[(0, 1)]), false), 1);
    far.set_nonblocking(true).unwrap();
    assert_eq!(far.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock, "not written yet");
    far.set_nonblocking(false).unwrap();
    assert_eq!(n_flushes(), 1, "asked for once");
    outlet.flush_collected();
    assert_eq!(texts(&hear(&outlet, &mut far, 3)), ["a", "b", "c"]);

    // Who wants it out at once, or writes on another thread, finds before it what was collected.
    outlet.write_direct(("t", false), (b"d", &[(0, 1)]), false);
    assert_eq!(outlet.write_direct(("t", false), (b"e", &[(0, 1)]), true), 1);
    outlet.write_direct(("t", false), (b"f", &[(0, 1)]), false);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| outlet.write_direct(("t", false), (b"g", &[(0, 1)]), false));
        assert_eq!(other.join().unwrap(), 1);
    });
    let mut bytes = [0; 64];
    let count = far.read(&mut bytes).unwrap();
    assert_eq!(texts(&read(&[&bytes[..count]], frame::MAX_PACKET).packets), ["d", "e", "f", "g"]);
    assert_eq!(n_flushes(), 3);
}

#[test]
fn a_thread_that_collects_more_than_the_socket_takes_is_told_so() {
    let (outlet, generation, mut far, _end) = open(20);
    outlet.begin(generation, Wakers::noop());
    let payload = vec![b'x'; 50_000];
    let mut taken = 0;
    while outlet.write_direct(("t", false), (&payload, &[(0, 50_000)]), false) == 1 {
        taken += 1;
        assert!(taken < 10_000, "it takes for ever");
    }
    outlet.flush_collected();
    assert_eq!(outlet.write_direct(("t", false), (b"y", &[(0, 1)]), false), 0, "something is before it");
    assert_eq!(hear(&outlet, &mut far, taken).len(), taken, "and nothing is lost");
    assert_eq!(outlet.write_direct(("t", false), (b"z", &[(0, 1)]), false), 1, "then it goes on");
}
