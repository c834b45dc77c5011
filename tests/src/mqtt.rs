//! A client of a broker: it publishes and keeps what it has subscribed to.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value as Json;

use crate::wait;

/// A connected client. It does not reconnect: tests that kill a broker make a new one.
pub struct Mqtt {
    client: Client,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    messages: Vec<(String, Vec<u8>)>,
    is_connected: bool,
    n_subscribed: usize,
    n_acknowledged: usize,
}

impl Mqtt {
    /// Connects.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub fn connect(port: u16, name: &str) -> Self {
        let mut options = MqttOptions::new(name, "127.0.0.1", port);
        options.set_keep_alive(Duration::from_secs(60)).set_max_packet_size(4 << 20, 4 << 20);
        let (client, mut connection) = Client::new(options, 1_000);
        let seen = Arc::new(Mutex::new(Seen::default()));
        let this = Self { client, seen: Arc::clone(&seen) };
        thread::spawn(move || {
            for event in connection.iter() {
                let Ok(event) = event else { return };
                if let Event::Incoming(packet) = event {
                    seen.lock().unwrap_or_else(PoisonError::into_inner).note(packet);
                }
            }
        });
        wait::until_true("the broker", || this.seen().is_connected);
        this
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Subscribes and waits until the broker has acknowledged it.
    pub fn subscribe(&self, topic: &str) -> &Self {
        let before = self.seen().n_subscribed;
        self.client.subscribe(topic, QoS::AtLeastOnce).expect("the client's thread runs");
        wait::until_true("the subscription", || self.seen().n_subscribed > before);
        self
    }

    /// Publishes these messages and waits until the broker has all of them.
    pub fn publish<P: AsRef<[u8]>>(&self, topic: &str, payloads: &[P]) {
        let before = self.seen().n_acknowledged;
        for payload in payloads {
            let sent = self.client.publish(topic, QoS::AtLeastOnce, false, payload.as_ref());
            sent.expect("the client's thread runs");
        }
        wait::until_true("acknowledgements", || self.seen().n_acknowledged >= before + payloads.len());
    }

    /// All messages of a topic so far, as JSON; what is none is a text.
    pub fn messages(&self, topic: &str) -> Vec<Json> {
        let seen = self.seen();
        let of_topic = seen.messages.iter().filter(|(other, _)| other == topic);
        let json = |payload: &Vec<u8>| {
            serde_json::from_slice(payload)
                .unwrap_or_else(|_| Json::from(String::from_utf8_lossy(payload).into_owned()))
        };
        of_topic.map(|(_, payload)| json(payload)).collect()
    }

    /// The messages of a topic as soon as there are so many.
    ///
    /// # Panics
    /// When they do not come; with those that came.
    #[track_caller]
    pub fn expect(&self, topic: &str, n: usize) -> Vec<Json> {
        let all = || Some(self.messages(topic)).filter(|messages| messages.len() >= n);
        match wait::within(wait::LIMIT, all) {
            Some(messages) => messages,
            None => panic!("{n} messages wanted on {topic}, these came: {:?}", self.messages(topic)),
        }
    }
}

impl Seen {
    fn note(&mut self, packet: Packet) {
        match packet {
            Packet::ConnAck(_) => self.is_connected = true,
            Packet::SubAck(_) => self.n_subscribed += 1,
            Packet::PubAck(_) => self.n_acknowledged += 1,
            Packet::Publish(message) => self.messages.push((message.topic, message.payload.to_vec())),
            _ => {}
        }
    }
}

impl Drop for Mqtt {
    fn drop(&mut self) {
        let _ = self.client.disconnect();
    }
}
