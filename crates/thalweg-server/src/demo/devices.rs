//! Three simulated pumps that really publish over MQTT: one healthy, one out of balance, one with a worn bearing.

use std::f64::consts::TAU;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rumqttc::{AsyncClient, MqttOptions, QoS};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Readings a second of each pump.
pub(super) const SAMPLE_RATE: u32 = 200;
/// The pumps turn at 1,490 rpm.
const SHAFT_HZ: f64 = 24.83;
/// Outer-race defects of the worn bearing strike this often.
const BEARING_HZ: f64 = 61.0;

/// One pump.
#[derive(Clone, Copy)]
pub(super) struct Pump {
    pub(super) name: &'static str,
    /// Amplitude of the shaft's vibration in m/s², and how much it grows each second.
    shaft: (f64, f64),
    /// Height of the bearing's strikes in m/s².
    strikes: f64,
    /// Degrees Celsius.
    warmth: f64,
}

/// The pumps of the demo.
pub(super) const PUMPS: [Pump; 3] = [
    Pump { name: "pump-1", shaft: (1.2, 0.0), strikes: 0.0, warmth: 41.0 },
    Pump { name: "pump-2", shaft: (1.6, 0.12), strikes: 0.0, warmth: 48.0 },
    Pump { name: "pump-3", shaft: (1.1, 0.0), strikes: 9.0, warmth: 63.0 },
];

impl Pump {
    /// The reading at a moment, seconds from the start; `noise` is between -1 and 1.
    fn reading(&self, at: f64, noise: f64) -> (f64, f64) {
        let amplitude = self.shaft.0 + self.shaft.1 * at;
        let since_strike = (at * BEARING_HZ).fract() / BEARING_HZ;
        let ringing = self.strikes * (-since_strike * 900.0).exp();
        let x = amplitude * (TAU * SHAFT_HZ * at).sin() + ringing + 0.15 * noise;
        (round(x, 1e4), round(self.warmth + 2.0 * (at / 30.0).sin() + 0.2 * noise, 1e2))
    }
}

fn round(value: f64, steps: f64) -> f64 {
    (value * steps).round() / steps
}

/// Publishes until it is dropped.
pub(super) struct Devices {
    tasks: Vec<JoinHandle<()>>,
    published: Arc<AtomicU64>,
}

impl Devices {
    /// Starts one client per pump against the broker on this port.
    pub(super) fn start(port: u16) -> Self {
        let published = Arc::new(AtomicU64::new(0));
        let start = |(index, pump): (usize, &Pump)| {
            tokio::spawn(publish(*pump, port, index as u64 + 1, Arc::clone(&published)))
        };
        Self { tasks: PUMPS.iter().enumerate().map(start).collect(), published }
    }

    /// Messages handed to the MQTT clients so far.
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Relaxed)
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn publish(pump: Pump, port: u16, seed: u64, published: Arc<AtomicU64>) {
    let mut options = MqttOptions::new(format!("device-{}", pump.name), "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 1_000);
    let polling = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    let topic = format!("plant/{}/vibration", pump.name);
    let mut ticks = interval(Duration::from_millis(1_000 / u64::from(SAMPLE_RATE)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let started = Instant::now();
    let mut noise = Noise(seed);
    while !polling.is_finished() {
        ticks.tick().await;
        let (x, temp) = pump.reading(started.elapsed().as_secs_f64(), noise.next());
        let payload = format!(r#"{{"pump":"{}","x":{x},"temp":{temp}}}"#, pump.name);
        if client.publish(&topic, QoS::AtMostOnce, false, payload).await.is_err() {
            break;
        }
        published.fetch_add(1, Ordering::Relaxed);
    }
}

/// A linear congruential generator (Knuth's MMIX constants): the demo needs no better dice.
struct Noise(u64);

impl Noise {
    /// Between -1 and 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rms(pump: &Pump, from: f64) -> f64 {
        let readings = (0..400).map(|n| pump.reading(from + f64::from(n) / f64::from(SAMPLE_RATE), 0.0).0);
        (readings.map(|x| x * x).sum::<f64>() / 400.0).sqrt()
    }

    #[test]
    fn the_pumps_differ_in_what_the_rule_shows() {
        assert!((rms(&PUMPS[0], 0.0) - rms(&PUMPS[0], 60.0)).abs() < 0.05);
        assert!(rms(&PUMPS[1], 60.0) > 2.0 * rms(&PUMPS[1], 0.0));
        assert!(PUMPS[2].reading(0.0, 0.0).0 > 5.0);
    }
}
