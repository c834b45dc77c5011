//! The packets of MQTT 3.1.1 in bytes, as far as client and listener need them. Pure; never panics on any input.
//!
//! A packet is looked at where it was read: nothing is copied, and a length that was announced reserves nothing.

use std::ops::Range;

/// The largest packet that MQTT can express.
pub(crate) const MAX_PACKET: usize = 268_435_455;

/// Packet types, in the upper half of the first byte.
pub(crate) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const CONNACK: u8 = 2;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const PUBACK: u8 = 4;
    pub(crate) const PUBREC: u8 = 5;
    pub(crate) const PUBREL: u8 = 6;
    pub(crate) const PUBCOMP: u8 = 7;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const SUBACK: u8 = 9;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const UNSUBACK: u8 = 11;
    pub(crate) const PINGREQ: u8 = 12;
    pub(crate) const PINGRESP: u8 = 13;
    pub(crate) const DISCONNECT: u8 = 14;
}

/// What is wrong with the bytes of the other side.
pub(crate) type Wrong = &'static str;

/// A packet that is all there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Type and flags.
    pub(crate) first: u8,
    /// Where what follows the length lies.
    pub(crate) body: Range<usize>,
}

impl Frame {
    pub(crate) fn kind(&self) -> u8 {
        self.first >> 4
    }
}

/// The packet at the beginning of `bytes`; `None` while it is not all there.
///
/// # Errors
/// A length of more than four bytes, or beyond `limit`.
pub(crate) fn first(bytes: &[u8], limit: usize) -> Result<Option<Frame>, Wrong> {
    let Some((first, rest)) = bytes.split_first() else { return Ok(None) };
    let mut length = 0usize;
    for (index, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            if length > limit {
                return Err("a packet is larger than allowed");
            }
            let start = index + 2;
            let body = start..start + length;
            return Ok((body.end <= bytes.len()).then_some(Frame { first: *first, body }));
        }
    }
    if rest.len() >= 4 { Err("a packet has a malformed length") } else { Ok(None) }
}

/// Gives every whole packet from `at` on to `take`: where the first begins that is not all there, and what was wrong.
pub(crate) fn each(
    bytes: &[u8],
    mut at: usize,
    limit: usize,
    mut take: impl FnMut(&Frame) -> Result<(), Wrong>,
) -> (usize, Option<Wrong>) {
    loop {
        let frame = match first(&bytes[at..], limit) {
            Ok(Some(frame)) => Frame { body: at + frame.body.start..at + frame.body.end, ..frame },
            Ok(None) => return (at, None),
            Err(why) => return (at, Some(why)),
        };
        at = frame.body.end;
        if let Err(why) = take(&frame) {
            return (at, Some(why));
        }
    }
}

/// A publication, in the bytes of its packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Publish {
    /// Not checked for UTF-8.
    pub(crate) topic: Range<usize>,
    pub(crate) payload: Range<usize>,
    pub(crate) qos: u8,
    /// Not 0 above QoS 0.
    pub(crate) pkid: u16,
    /// Whether it was sent before.
    pub(crate) again: bool,
}

/// Reads a PUBLISH whose packet lies in `bytes`.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn publish(bytes: &[u8], frame: &Frame) -> Result<Publish, Wrong> {
    let (qos, mut at) = ((frame.first >> 1) & 3, frame.body.start);
    if qos == 3 {
        return Err("a publication has QoS 3");
    }
    let topic_len = number(bytes, &frame.body, at).ok_or("a publication has no topic")?;
    at += 2;
    let topic = at..at + usize::from(topic_len);
    if topic.end > frame.body.end {
        return Err("the topic of a publication is longer than its packet");
    }
    at = topic.end;
    let mut pkid = 0;
    if qos > 0 {
        pkid = number(bytes, &frame.body, at).ok_or("a publication has no packet id")?;
        at += 2;
        if pkid == 0 {
            return Err("a publication has packet id 0");
        }
    }
    Ok(Publish { topic, payload: at..frame.body.end, qos, pkid, again: frame.first & 8 != 0 })
}

/// The number of two bytes at `at`, if it lies in `body`.
fn number(bytes: &[u8], body: &Range<usize>, at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2).filter(|_| at + 2 <= body.end)?;
    Some(u16::from_be_bytes([pair[0], pair[1]]))
}

/// The packet id with which the body of most answers begins.
///
/// # Errors
/// There is none.
pub(crate) fn packet_id(bytes: &[u8], frame: &Frame) -> Result<u16, Wrong> {
    number(bytes, &frame.body, frame.body.start).ok_or("an answer has no packet id")
}

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) client_id: String,
    pub(crate) is_clean: bool,
    /// Seconds; 0: it may be silent for ever.
    pub(crate) keep_alive: u16,
    /// 4 for 3.1.1.
    pub(crate) level: u8,
}

/// Reads a CONNECT. Will, user name and password are passed over.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn connect(bytes: &[u8], frame: &Frame) -> Result<Hello, Wrong> {
    const SHORT: Wrong = "a CONNECT is cut short";
    let body = bytes.get(frame.body.clone()).ok_or(SHORT)?;
    let (name, rest) = text(body).ok_or(SHORT)?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err("no MQTT client");
    }
    let [level, flags, high, low, rest @ ..] = rest else { return Err(SHORT) };
    if *level == 4 && flags & 1 != 0 {
        return Err("a CONNECT has its reserved flag set");
    }
    let keep_alive = u16::from_be_bytes([*high, *low]);
    let (level, is_clean) = (*level, flags & 2 != 0);
    if level > 4 {
        // What follows is of another version; the answer is the same whatever it says.
        return Ok(Hello { client_id: String::new(), is_clean, keep_alive, level });
    }
    let (client_id, _) = text(rest).ok_or(SHORT)?;
    let client_id = std::str::from_utf8(client_id).map_err(|_| "a client identifier is not UTF-8")?;
    Ok(Hello { client_id: client_id.to_owned(), is_clean, keep_alive, level })
}

/// A text with its length before it, and what follows.
fn text(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let [high, low, rest @ ..] = bytes else { return None };
    rest.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))
}

/// Appends type, flags and length.
fn begin(out: &mut Vec<u8>, first: u8, length: usize) {
    out.push(first);
    let mut rest = length;
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text);
}

/// Whether texts and packet fit into their lengths.
pub(crate) fn fits(topic: &str, payload: usize) -> bool {
    topic.len() <= usize::from(u16::MAX) && payload < MAX_PACKET - usize::from(u16::MAX) - 4
}

/// Appends a PUBLISH that [`fits`]. `pkid` is left out at QoS 0.
pub(crate) fn put_publish(
    out: &mut Vec<u8>,
    topic: &str,
    (qos, retain, pkid): (u8, bool, u16),
    payload: &[u8],
) {
    let id = if qos > 0 { 2 } else { 0 };
    begin(out, kind::PUBLISH << 4 | qos << 1 | u8::from(retain), 2 + topic.len() + id + payload.len());
    put_text(out, topic.as_bytes());
    if qos > 0 {
        out.extend_from_slice(&pkid.to_be_bytes());
    }
    out.extend_from_slice(payload);
}

/// Appends an answer that is a packet id only.
pub(crate) fn put_answer(out: &mut Vec<u8>, kind: u8, pkid: u16) {
    let flags = if kind == kind::PUBREL { 2 } else { 0 };
    begin(out, kind << 4 | flags, 2);
    out.extend_from_slice(&pkid.to_be_bytes());
}

/// Appends a packet without body.
pub(crate) fn put_bare(out: &mut Vec<u8>, kind: u8) {
    begin(out, kind << 4, 0);
}

/// Appends a SUBSCRIBE of one filter, or without QoS an UNSUBSCRIBE.
pub(crate) fn put_subscribe(out: &mut Vec<u8>, pkid: u16, filter: &str, qos: Option<u8>) {
    let kind = if qos.is_some() { kind::SUBSCRIBE } else { kind::UNSUBSCRIBE };
    begin(out, kind << 4 | 2, 4 + filter.len() + usize::from(qos.is_some()));
    out.extend_from_slice(&pkid.to_be_bytes());
    put_text(out, filter.as_bytes());
    out.extend(qos);
}

/// How many filters a SUBSCRIBE holds.
///
/// # Errors
/// None, or the last is cut short.
pub(crate) fn n_filters(body: &[u8]) -> Result<usize, Wrong> {
    const SHORT: Wrong = "a SUBSCRIBE is cut short";
    let mut rest = body.get(2..).ok_or(SHORT)?;
    let mut count = 0;
    while !rest.is_empty() {
        let (_, behind) = text(rest).ok_or(SHORT)?;
        rest = behind.get(1..).ok_or(SHORT)?;
        count += 1;
    }
    if count > 0 { Ok(count) } else { Err(SHORT) }
}

/// Appends a SUBACK that refuses every filter.
pub(crate) fn put_refusal(out: &mut Vec<u8>, pkid: u16, n_filters: usize) {
    begin(out, kind::SUBACK << 4, 2 + n_filters);
    out.extend_from_slice(&pkid.to_be_bytes());
    out.resize(out.len() + n_filters, 0x80);
}

/// Appends a CONNECT.
pub(crate) fn put_connect(
    out: &mut Vec<u8>,
    (client_id, is_clean): (&str, bool),
    keep_alive: u16,
    login: Option<(&str, &str)>,
) {
    let cut = |text: &str| text.len().min(usize::from(u16::MAX));
    let texts = login.map_or(0, |(name, password)| 4 + cut(name) + cut(password));
    begin(out, kind::CONNECT << 4, 12 + cut(client_id) + texts);
    put_text(out, b"MQTT");
    let login_flags = if login.is_some() { 0xc0 } else { 0 };
    out.extend_from_slice(&[4, login_flags | u8::from(is_clean) << 1]);
    out.extend_from_slice(&keep_alive.to_be_bytes());
    put_text(out, &client_id.as_bytes()[..cut(client_id)]);
    if let Some((name, password)) = login {
        put_text(out, &name.as_bytes()[..cut(name)]);
        put_text(out, &password.as_bytes()[..cut(password)]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rumqttc::mqttbytes::v4;

    use super::*;

    fn whole(bytes: &[u8]) -> Frame {
        let frame = first(bytes, MAX_PACKET).unwrap().expect("all there");
        assert_eq!(frame.body.end, bytes.len());
        frame
    }

    fn theirs(bytes: &[u8]) -> v4::Packet {
        v4::Packet::read(&mut bytes::BytesMut::from(bytes), MAX_PACKET).unwrap()
    }

    #[test]
    fn what_is_written_is_what_rumqttc_reads() {
        let mut out = Vec::new();
        put_connect(&mut out, ("me", false), 30, Some(("name", "secret")));
        let v4::Packet::Connect(connect) = theirs(&out) else { panic!("{out:?}") };
        let login = connect.login.unwrap();
        assert_eq!((&*connect.client_id, connect.keep_alive, connect.clean_session), ("me", 30, false));
        assert_eq!((&*login.username, &*login.password), ("name", "secret"));
        assert_eq!(super::connect(&out, &whole(&out)).unwrap().client_id, "me");
        out.clear();
        put_subscribe(&mut out, 7, "a/#", Some(1));
        let v4::Packet::Subscribe(subscribe) = theirs(&out) else { panic!("{out:?}") };
        assert_eq!((subscribe.pkid, &*subscribe.filters[0].path), (7, "a/#"));
        out.clear();
        put_subscribe(&mut out, 8, "a/#", None);
        assert!(matches!(theirs(&out), v4::Packet::Unsubscribe(packet) if packet.topics == ["a/#"]));
        for (kind, wanted) in [(kind::PUBACK, "PubAck"), (kind::PUBREC, "PubRec"), (kind::PUBREL, "PubRel")] {
            out.clear();
            put_answer(&mut out, kind, 513);
            let read = format!("{:?}", theirs(&out));
            assert!(read.starts_with(wanted) && read.contains("513"), "{read}");
        }
        out.clear();
        put_bare(&mut out, kind::PINGREQ);
        assert!(matches!(theirs(&out), v4::Packet::PingReq));
    }

    #[test]
    fn malformed_packets_are_told_and_halves_are_waited_for() {
        assert_eq!(first(&[], 10), Ok(None));
        assert_eq!(first(&[0x30, 0x80, 0x80, 0x80], 10), Ok(None));
        assert!(first(&[0x30, 0x80, 0x80, 0x80, 0x80], 10).is_err());
        assert!(first(&[0x30, 0xff, 0xff, 0xff, 0x7f], 1 << 20).is_err(), "too large, before it is there");
        let read = |bytes: &[u8]| publish(bytes, &whole(bytes));
        assert!(read(&[0x36, 2, 0, 0]).is_err(), "QoS 3");
        assert!(read(&[0x30, 1, 0]).is_err(), "no topic");
        assert!(read(&[0x30, 3, 0, 9, b'a']).is_err(), "topic beyond the packet");
        assert!(read(&[0x32, 4, 0, 1, b'a', 0]).is_err(), "half a packet id");
        assert!(read(&[0x32, 5, 0, 1, b'a', 0, 0]).is_err(), "packet id 0");
    }

    proptest! {
        #[test]
        fn a_publication_reads_back_whole_and_at_no_length_in_between(
            topic in "[a-z/é]{0,40}", payload in prop::collection::vec(any::<u8>(), 0..300),
            qos in 0u8..3, retain: bool, pkid in 1u16..,
        ) {
            let mut out = Vec::new();
            put_publish(&mut out, &topic, (qos, retain, pkid), &payload);
            for end in 0..out.len() {
                prop_assert_eq!(first(&out[..end], MAX_PACKET), Ok(None));
            }
            let read = publish(&out, &whole(&out)).unwrap();
            prop_assert_eq!(&out[read.topic.clone()], topic.as_bytes());
            prop_assert_eq!(&out[read.payload.clone()], &payload[..]);
            prop_assert_eq!((read.qos, read.pkid), (qos, if qos > 0 { pkid } else { 0 }));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Ok(Some(frame)) = first(&bytes, 1 << 20) {
                prop_assert!(frame.body.end <= bytes.len());
                if let Ok(read) = publish(&bytes, &frame) {
                    prop_assert!(read.payload.end == frame.body.end && read.topic.end <= read.payload.start);
                }
                let _any = (connect(&bytes, &frame), packet_id(&bytes, &frame));
            }
        }
    }
}
