//! MQTT 3.1.1 packets as bytes: just what a load needs.

/// Appends a text with its length.
pub(crate) fn push_text(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

fn push_length(out: &mut Vec<u8>, mut length: usize) {
    while length >= 128 {
        out.push((length % 128) as u8 | 128);
        length /= 128;
    }
    out.push(length as u8);
}

/// A packet of this type and these flags.
pub(crate) fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![kind];
    push_length(&mut packet, body.len());
    packet.extend_from_slice(body);
    packet
}

/// Appends a PUBLISH: at QoS 1 with an id, else at QoS 0.
pub(crate) fn push_publish(out: &mut Vec<u8>, topic: &str, payload: &[u8], id: Option<u16>) {
    let id = id.map(u16::to_be_bytes);
    let id = id.as_ref().map_or(&[][..], |id| id);
    out.push(if id.is_empty() { 0x30 } else { 0x32 });
    push_length(out, 2 + topic.len() + id.len() + payload.len());
    push_text(out, topic);
    out.extend_from_slice(id);
    out.extend_from_slice(payload);
}

/// A packet as it came.
pub(crate) enum Frame<'a> {
    /// A message; with an id at QoS 1 and 2.
    Publish { topic: &'a [u8], payload: &'a [u8], id: Option<u16> },
    /// Anything else: type and flags, and what follows the length.
    Other(u8, &'a [u8]),
}

/// Calls for each whole packet at the front and gives their length.
pub(crate) fn each(bytes: &[u8], mut take: impl FnMut(Frame<'_>)) -> usize {
    let mut used = 0;
    while let Some((kind, body, length)) = next(&bytes[used..]) {
        take(publish(kind, body).unwrap_or(Frame::Other(kind, body)));
        used += length;
    }
    used
}

fn publish(kind: u8, body: &[u8]) -> Option<Frame<'_>> {
    if kind >> 4 != 3 {
        return None;
    }
    let length = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    let (topic, rest) = body.get(2..)?.split_at_checked(length)?;
    if kind & 6 == 0 {
        return Some(Frame::Publish { topic, payload: rest, id: None });
    }
    let (id, payload) = rest.split_at_checked(2)?;
    Some(Frame::Publish { topic, payload, id: Some(u16::from_be_bytes([id[0], id[1]])) })
}

fn next(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (mut length, mut at) = (0usize, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 127) << (7 * (at - 1)).min(28);
        at += 1;
        if byte & 128 == 0 {
            break;
        }
    }
    Some((bytes[0], bytes.get(at..at + length)?, at + length))
}
