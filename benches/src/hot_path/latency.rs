//! One message at a time, from the write to the source's socket to the read from the sink's; in turns with a relay that
//! only copies from socket to socket, which is what this machine allows.

use std::time::Duration;

use super::Sheet;
use super::broker::Blast;
use super::plant::Plant;
use super::relay;
use crate::e2e;

/// Messages of one run.
const N: usize = 2_000;
/// Of them before the relay has its turn, and the other way round.
const STRETCH: usize = 250;
/// Between two of them.
const GAP: Duration = Duration::from_millis(2);

/// Both percentiles, and as an extra the same through Mosquitto.
pub(crate) fn run(sheet: &mut Sheet, plant: &Plant) -> Result<(), String> {
    let names = ["latency_p50_us", "latency_p99_us"];
    if !names.iter().any(|name| sheet.wants(name)) {
        return Ok(());
    }
    let select =
        "SELECT temperature*1.8+32 AS f, humidity FROM single WHERE temperature > 50 AND humidity < 80";
    let mut blast = Blast::new("single", &["{\"temperature\": 57, \"humidity\": 72}".to_owned()], 0);
    plant.stream("single", 0, "")?;
    plant.rule("single", select, &plant.mqtt())?;
    plant.connected("single", &mut blast, "single")?;
    let mut relayed = Blast::new(relay::TOPIC, &["{\"temperature\": 57, \"humidity\": 72}".to_owned()], 0);
    let relay = relay::start(&plant.broker)?;
    let (mut times, mut floor) = (Vec::with_capacity(N), Vec::with_capacity(N));
    for _ in 0..N / STRETCH {
        for (blast, times) in [(&mut blast, &mut times), (&mut relayed, &mut floor)] {
            for _ in 0..STRETCH {
                std::thread::sleep(GAP);
                times.push(plant.broker.round_trip(blast)?);
            }
        }
    }
    times.sort_unstable();
    floor.sort_unstable();
    let note =
        format!("of {N}; p90 {:.0} us, the slowest {:.0} us", micros(&times, 0.9), micros(&times, 0.9999));
    sheet.figure(names[0], micros(&times, 0.5), &note);
    sheet.extra(
        "latency_floor_p50_us",
        micros(&floor, 0.5),
        "us, a thread that copies from socket to socket",
    );
    sheet.figure(names[1], micros(&times, 0.99), "");
    sheet.extra("latency_floor_p99_us", micros(&floor, 0.99), "us");
    sheet.extra("latency_floor_cpu_us", relay.cpu_micros(), "us of CPU of that thread per message");
    through_mosquitto(sheet)
}

fn micros(sorted: &[Duration], share: f64) -> f64 {
    sorted[(sorted.len() as f64 * share) as usize].as_nanos() as f64 / 1e3
}

fn through_mosquitto(sheet: &mut Sheet) -> Result<(), String> {
    let args = ["--job", "filter", "--rate", "500", "--seconds", "4"].map(str::to_owned);
    let line = e2e::line(&args)?;
    for (name, key) in [("latency_mosquitto_p50_us", "p50_us"), ("latency_mosquitto_p99_us", "p99_us")] {
        sheet.extra(name, line[key].as_f64().unwrap_or(f64::NAN), "us");
    }
    Ok(())
}
