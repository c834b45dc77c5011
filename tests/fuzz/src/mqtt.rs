//! MQTT packets of strangers: whatever comes, in whatever pieces.

use thalweg_connectors::listen::packets::{Packet, Read, read};

use crate::{Choices, Input, Target};

/// The row of the table.
pub(crate) const TARGET: Target = Target {
    name: "mqtt",
    claim: "any bytes are packets or a mistake, the same in one piece and in many, and what is buffered has really come",
    draw,
};

/// The largest packet that is taken here.
const LIMIT: usize = 100_000;

struct Bytes {
    bytes: Vec<u8>,
    /// Where the pieces end, ascending.
    cuts: Vec<usize>,
    /// What was meant, if nothing is damaged.
    meant: Option<Vec<Packet>>,
}

fn draw(c: &mut Choices) -> Box<dyn Input> {
    let drawn = c.many(0, 6, packet);
    let mut bytes: Vec<u8> = drawn.iter().flat_map(|(bytes, _)| bytes.clone()).collect();
    let mut meant = Some(drawn.into_iter().map(|(_, packet)| packet).collect());
    if c.chance(60) {
        meant = None;
        damage(c, &mut bytes);
    }
    let mut cuts = c.many(0, 8, |c| c.index(bytes.len() + 1));
    cuts.sort_unstable();
    Box::new(Bytes { bytes, cuts, meant })
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// A packet and what it is.
fn packet(c: &mut Choices) -> (Vec<u8>, Packet) {
    match c.below(10) {
        0 => {
            let client_id = c.pick(&["", "me", "é"]).to_owned();
            let keep_alive = c.below(1 << 16) as u16;
            let head = [&text(b"MQTT")[..], &[4, 2], &keep_alive.to_be_bytes()].concat();
            let body = [head, text(client_id.as_bytes())].concat();
            (framed(0x10, &body), Packet::Connect { client_id, keep_alive })
        }
        1 => {
            let filters = c.many(1, 3, |c| [text(c.pick(&["#", "a/+", ""]).as_bytes()), vec![0]].concat());
            let body = [vec![0, 7], filters.concat()].concat();
            (framed(0x82, &body), Packet::Subscribe(filters.len()))
        }
        2 => {
            let body = c.many(0, 4, |c| c.below(256) as u8);
            let first = [0x40, 0xc0, 0xe0, 0x20][c.index(4)];
            let length = body.len();
            (framed(first, &body), Packet::Other(first, length))
        }
        _ => {
            let topic = c.pick(&["a", "plant/k1/temp", "é/ß", "", "a/#"]).as_bytes().to_vec();
            let length = [c.below(20), c.below(300), c.below(20_000)][c.index(3)] as usize;
            let payload = vec![b'x'; length];
            let (qos, pkid) = (c.below(3) as u8, 1 + c.below(0xffff) as u16);
            let id = if qos > 0 { pkid.to_be_bytes().to_vec() } else { Vec::new() };
            let body = [text(&topic), id, payload.clone()].concat();
            let pkid = if qos > 0 { pkid } else { 0 };
            (framed(0x30 | qos << 1, &body), Packet::Publish { topic, payload, qos, pkid })
        }
    }
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    let mut rest = body.len();
    while rest > 0x7f {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
    out.extend_from_slice(body);
    out
}

/// Cut short, a byte changed, doubled or put in.
fn damage(c: &mut Choices, bytes: &mut Vec<u8>) {
    for _ in 0..=c.below(3) {
        let at = c.index(bytes.len().min(64));
        let byte = c.below(256) as u8;
        match c.below(4) {
            0 => bytes.truncate(at),
            1 if at < bytes.len() => bytes[at] = byte,
            2 => bytes.insert(at.min(bytes.len()), byte),
            _ if at < bytes.len() => drop(bytes.remove(at)),
            _ => {}
        }
    }
}

impl Bytes {
    fn pieces(&self) -> Vec<&[u8]> {
        let ends = self.cuts.iter().copied().chain([self.bytes.len()]);
        let mut start = 0;
        ends.map(|end| &self.bytes[std::mem::replace(&mut start, end)..end]).collect()
    }
}

impl Input for Bytes {
    fn text(&self) -> String {
        let shown = &self.bytes[..self.bytes.len().min(400)];
        format!("{shown:02x?} ({} bytes) cut at {:?}", self.bytes.len(), self.cuts)
    }

    fn check(&self) -> Result<(), String> {
        let whole = read(&[&self.bytes], LIMIT);
        let Read { packets, wrong, buffered } = read(&self.pieces(), LIMIT);
        if (&packets, wrong) != (&whole.packets, whole.wrong) {
            return Err(format!(
                "in pieces {packets:?} {wrong:?}, whole {:?} {:?}",
                whole.packets, whole.wrong
            ));
        }
        let most = (2 * self.bytes.len()).max(1 << 10);
        if buffered > most {
            return Err(format!("{buffered} bytes are held for {} that came", self.bytes.len()));
        }
        match &self.meant {
            Some(meant) if wrong.is_some() || *meant != packets => {
                Err(format!("meant {meant:?}, read {packets:?} {wrong:?}"))
            }
            _ => Ok(()),
        }
    }
}
