//! One client's connection: packets in, deliveries out, pings, and waiting when a receiver is congested.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use super::dialect::{Dialect, Hello, In, Out, Publication};
use super::hub::{Congestion, Hub, Stage};
use crate::memory::topic::has_wildcard;

/// How long a client may take to introduce itself.
const HELLO_LIMIT: Duration = Duration::from_secs(10);
/// How long a publisher waits for a congested receiver; less than the 5 s after which clients give up.
const CONGESTION_LIMIT: Duration = Duration::from_secs(2);
/// Bytes collected before they are written.
const WRITE_BYTES: usize = 64 << 10;

pub(super) type SharedHub = Arc<Mutex<Hub>>;

fn lock(hub: &SharedHub) -> MutexGuard<'_, Hub> {
    hub.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves one client until it leaves.
pub(super) async fn serve(hub: SharedHub, mut socket: TcpStream) {
    // Small packets must not wait for one another.
    let _as_fast_as_it_can = socket.set_nodelay(true);
    let mut input = BytesMut::with_capacity(8 << 10);
    let greeted = tokio::time::timeout(HELLO_LIMIT, greeting(&mut socket, &mut input)).await;
    let (dialect, hello) = match greeted {
        Ok(Ok(greeted)) => greeted,
        Ok(Err(why)) => return tracing::debug!("mqtt broker: {why}"),
        Err(_) => return tracing::debug!("mqtt broker: no CONNECT within 10 s"),
    };
    let mut output = BytesMut::new();
    if hello.client_id.is_empty() && !hello.is_clean && dialect == Dialect::V4 {
        if dialect.write(&Out::BadClientId, &mut output).is_ok() {
            let _refused = socket.write_all(&output).await;
        }
        return;
    }
    let Hello { keep_alive, .. } = *hello;
    let mut connection = Connection::open(hub, dialect, *hello, output);
    let ended = connection.run(&mut socket, &mut input, keep_alive).await;
    connection.close(ended);
}

async fn greeting(socket: &mut TcpStream, input: &mut BytesMut) -> Result<(Dialect, Box<Hello>), String> {
    loop {
        if let Some(dialect) = Dialect::of(input)? {
            match dialect.read(input)? {
                Some(In::Connect(hello)) => return Ok((dialect, hello)),
                Some(_) => return Err("the first packet is no CONNECT".to_owned()),
                None => {}
            }
        }
        match socket.read_buf(input).await {
            Ok(0) => return Err("closed before CONNECT".to_owned()),
            Ok(_) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
}

struct Connection {
    hub: SharedHub,
    dialect: Dialect,
    client: Arc<str>,
    owner: u64,
    output: BytesMut,
    will: Option<(Publication, u8, bool)>,
    congestion: Option<Congestion>,
    wake: Arc<Notify>,
    kick: Arc<Notify>,
}

/// How a connection ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// With a farewell: the will is void.
    Parted,
    /// In any other way.
    Lost,
}

impl Connection {
    fn open(hub: SharedHub, dialect: Dialect, mut hello: Hello, mut output: BytesMut) -> Self {
        let is_assigned = hello.client_id.is_empty();
        if is_assigned {
            let random = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), 0);
            hello.client_id = format!("auto-{random:016x}");
        }
        let client: Arc<str> = Arc::from(hello.client_id.as_str());
        let mut locked = lock(&hub);
        let (owner, session_present) = locked.connect(&client, &hello);
        let assigned = is_assigned.then_some(&*client);
        let mut packets = vec![Out::ConnAck { session_present, assigned }];
        let (mut wake, mut kick) = (Arc::default(), Arc::default());
        let mut again = Vec::new();
        if let Some(session) = locked.session(&client, owner) {
            (wake, kick) = (Arc::clone(&session.wake), Arc::clone(&session.kick));
            again.extend(session.unconfirmed.iter().cloned());
        }
        drop(locked);
        packets.extend(again.iter().map(|(pkid, stage, delivery)| match stage {
            Stage::Released => Out::PubRel(*pkid),
            Stage::Sent => Out::Publish {
                publication: &delivery.publication,
                qos: delivery.qos,
                retain: delivery.retain,
                dup: true,
                pkid: *pkid,
            },
        }));
        for packet in &packets {
            // A packet too large for the format was never accepted.
            let _written = dialect.write(packet, &mut output);
        }
        Self { hub, dialect, client, owner, output, will: hello.will, congestion: None, wake, kick }
    }

    async fn run(&mut self, socket: &mut TcpStream, input: &mut BytesMut, keep_alive: u16) -> Ended {
        let (mut reader, mut writer) = socket.split();
        let silence = match keep_alive {
            0 => Duration::from_secs(u64::from(u32::MAX)),
            seconds => Duration::from_millis(u64::from(seconds) * 1_500),
        };
        let (wake, kick) = (Arc::clone(&self.wake), Arc::clone(&self.kick));
        let kicked = kick.notified();
        tokio::pin!(kicked);
        let mut last_heard = tokio::time::Instant::now();
        loop {
            if self.congestion.is_none() && !input.is_empty() {
                match self.take_packets(input) {
                    Ok(false) => {}
                    Ok(true) => {
                        // What others are owed goes out before we leave.
                        let _last_words = writer.write_all(&self.output).await;
                        return Ended::Parted;
                    }
                    Err(why) => {
                        tracing::debug!(client = %self.client, "mqtt broker: {why}");
                        return Ended::Lost;
                    }
                }
            }
            if !self.collect() {
                return Ended::Lost;
            }
            let congestion = self.congestion.clone();
            tokio::select! {
                () = &mut kicked => return Ended::Lost,
                read = reader.read_buf(input), if congestion.is_none() => match read {
                    Ok(0) | Err(_) => return Ended::Lost,
                    Ok(_) => last_heard = tokio::time::Instant::now(),
                },
                written = writer.write(&self.output), if !self.output.is_empty() => match written {
                    Ok(0) | Err(_) => return Ended::Lost,
                    Ok(count) => self.output.advance(count),
                },
                () = wake.notified() => {}
                () = self.relief(congestion.as_ref()), if congestion.is_some() => {
                    self.congestion = None;
                    last_heard = tokio::time::Instant::now();
                }
                () = tokio::time::sleep_until(last_heard + silence), if congestion.is_none() => return Ended::Lost,
            }
        }
    }

    /// Waits until the congested receiver has room, is gone, or has had its time.
    async fn relief(&self, congestion: Option<&Congestion>) {
        let Some(congestion) = congestion else { return };
        let room = congestion.room.notified();
        tokio::pin!(room);
        room.as_mut().enable();
        if !lock(&self.hub).is_congested(congestion) {
            return;
        }
        if tokio::time::timeout(CONGESTION_LIMIT, room).await.is_err() {
            lock(&self.hub).give_up(congestion);
        }
    }

    /// Encodes deliveries as long as there is space; false when another connection has taken the session.
    fn collect(&mut self) -> bool {
        let mut hub = lock(&self.hub);
        let Some(session) = hub.session(&self.client, self.owner) else { return false };
        while self.output.len() < WRITE_BYTES {
            let Some((pkid, delivery)) = session.next() else { break };
            let (publication, qos, retain) = (&delivery.publication, delivery.qos, delivery.retain);
            let packet = Out::Publish { publication, qos, retain, dup: false, pkid };
            if let Err(why) = self.dialect.write(&packet, &mut self.output) {
                tracing::warn!(client = %self.client, "mqtt broker: a message cannot be written: {why}");
                session.confirmed(pkid);
            }
        }
        true
    }

    /// Carries out the packets that are all there; true after a farewell.
    fn take_packets(&mut self, input: &mut BytesMut) -> Result<bool, String> {
        while self.congestion.is_none() {
            match self.dialect.read(input)? {
                None => break,
                Some(In::Disconnect) => return Ok(true),
                Some(packet) => self.take(packet)?,
            }
        }
        Ok(false)
    }

    fn take(&mut self, packet: In) -> Result<(), String> {
        let hub = Arc::clone(&self.hub);
        let mut hub = lock(&hub);
        let Some(session) = hub.session(&self.client, self.owner) else {
            return Err("another connection has taken the session".to_owned());
        };
        let answer = match packet {
            In::Publish { publication, qos, retain, pkid } => {
                if publication.topic.is_empty() || has_wildcard(&publication.topic) {
                    return Err(format!("\"{}\" is no topic", publication.topic));
                }
                if qos < 2 || session.received.insert(pkid) {
                    self.congestion = hub.publish(&self.client, plain(publication), qos, retain);
                }
                match qos {
                    0 => return Ok(()),
                    1 => Out::PubAck(pkid),
                    _ => Out::PubRec(pkid),
                }
            }
            In::PubAck(pkid) | In::PubComp(pkid) => {
                session.confirmed(pkid);
                return Ok(());
            }
            In::PubRec(pkid) => {
                session.released(pkid);
                Out::PubRel(pkid)
            }
            In::PubRel(pkid) => {
                session.received.remove(&pkid);
                Out::PubComp(pkid)
            }
            In::Subscribe(pkid, asked) => {
                Out::SubAck(pkid, asked.iter().map(|asked| hub.subscribe(&self.client, asked)).collect())
            }
            In::Unsubscribe(pkid, filters) => {
                filters.iter().for_each(|filter| hub.unsubscribe(&self.client, filter));
                Out::UnsubAck(pkid, filters.len())
            }
            In::Ping => Out::Pong,
            In::Connect(_) => return Err("a second CONNECT".to_owned()),
            In::Disconnect => return Ok(()),
        };
        self.dialect.write(&answer, &mut self.output)
    }

    fn close(mut self, ended: Ended) {
        let mut hub = lock(&self.hub);
        if let Some((publication, qos, retain)) = self.will.take().filter(|_| ended == Ended::Lost) {
            hub.publish(&self.client, publication, qos, retain);
        }
        hub.disconnect(&self.client, self.owner);
    }
}

/// Without what holds only between this sender and us.
fn plain(mut publication: Publication) -> Publication {
    if let Some(properties) = &mut publication.properties {
        properties.topic_alias = None;
        properties.subscription_identifiers.clear();
    }
    publication
}
