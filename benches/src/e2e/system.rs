//! The broker's own word on what it dropped: `$SYS/broker/publish/messages/dropped`.

use std::collections::HashMap;
use std::io::Read;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::frame::{self, Frame};
use super::mqtt;

const DROPPED: &str = "$SYS/broker/publish/messages/dropped";
/// Published at every interval, so that what came before it is known to be up to date.
const UPTIME: &str = "$SYS/broker/uptime";
/// Mosquitto tells every 10 s unless it is told otherwise.
const INTERVAL: Duration = Duration::from_secs(12);

/// A subscription to the broker's counters.
pub(crate) struct System {
    socket: TcpStream,
    pending: Vec<u8>,
    /// The newest value of each topic, and how often it came.
    values: HashMap<String, (String, usize)>,
}

impl System {
    /// Subscribes; counters come only from brokers that have them.
    pub(crate) fn watch(broker: &str) -> Result<Self, String> {
        let name = format!("bench-system-{}", std::process::id());
        let socket = mqtt::subscribe(broker, &name, &[DROPPED, UPTIME])?;
        let mut this = Self { socket, pending: Vec::new(), values: HashMap::new() };
        // Retained values follow the subscription.
        this.read_until(Duration::from_secs(1), |values| values.len() == 2);
        Ok(this)
    }

    /// The counter as last told.
    pub(crate) fn dropped(&self) -> Option<u64> {
        self.values.get(DROPPED).and_then(|(value, _)| value.trim().parse().ok())
    }

    /// The counter at the next time that the broker tells it.
    pub(crate) fn next_dropped(&mut self) -> Option<u64> {
        self.dropped()?;
        // What has come meanwhile is old.
        self.read_until(Duration::ZERO, |_| false);
        let before = self.values.get(UPTIME).map(|(_, times)| *times);
        self.read_until(INTERVAL, |values| values.get(UPTIME).map(|(_, times)| *times) > before);
        self.dropped()
    }

    fn read_until(&mut self, limit: Duration, holds: impl Fn(&HashMap<String, (String, usize)>) -> bool) {
        let started = Instant::now();
        let mut chunk = [0; 4_096];
        loop {
            match self.socket.read(&mut chunk) {
                Ok(0) => return,
                Ok(read) => self.pending.extend_from_slice(&chunk[..read]),
                Err(_) if started.elapsed() >= limit => return,
                Err(_) => {}
            }
            let values = &mut self.values;
            let used = frame::each(&self.pending, |frame| {
                if let Frame::Publish { topic, payload, .. } = frame {
                    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                    let entry = values.entry(text(topic)).or_default();
                    *entry = (text(payload), entry.1 + 1);
                }
            });
            self.pending.drain(..used);
            if holds(&self.values) {
                return;
            }
        }
    }
}
