//! What a rule without Python loses beside a rule that keeps Python busy: messages per second of the thread that works
//! for it, in one engine, alone and in company by turns.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::median;
use super::workshop::package;
use crate::e2e::process::Started;
use crate::hot_path::broker::{Blast, Pace};
use crate::hot_path::cpu::Meter;
use crate::hot_path::plant::{Load, Plant};
use crate::hot_path::rates;
use crate::hot_path::sheet::Sheet;

const ROUNDS: usize = 9;
/// Rows a second for the rule with Python: more than it can do.
const FLOOD: f64 = 2e5;
const SECONDS: f64 = 0.5;

/// Measures.
pub(super) fn run(sheet: &mut Sheet) -> Result<(), String> {
    if !sheet.wants("py_neighbour_loss_pct") {
        return Ok(());
    }
    let mut own = Started::default();
    let (engine, pid) = own.engine()?;
    let plant = Plant::new(&engine, pid)?;
    let mut calm = Blast::new("calm", &rates::readings(), 0);
    plant.stream("calm", 0, "")?;
    plant.rule("calm", &rates::FILTER.replace("{}", "calm"), &json!({"nop": {}}))?;
    plant.connected("calm", &mut calm, "calm")?;
    let other = Plant::new(&engine, pid)?;
    let name = install(&other)?;
    let mut flood = Blast::new("flood", &rates::readings(), 0);
    other.stream("flood", 0, "")?;
    let sql = format!("SELECT {name}_inc(temperature) AS t FROM flood");
    other.rule("flood", &sql, &json!({"nop": {}}))?;
    other.connected("flood", &mut flood, "flood")?;
    let load = plant.load("calm", &mut calm, SECONDS)?;
    let shard = busiest(&plant, &mut calm, load)?;
    let (mut losses, mut rows, messages) = (Vec::new(), 0, messages_of(&other, &name)?);
    let (mut alone_rates, mut beside_rates) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let alone = rate(&plant, &mut calm, load, &shard)?;
        let before = other.processed("flood")?;
        let stop = AtomicBool::new(false);
        let beside = std::thread::scope(|scope| {
            let flooding = scope.spawn(|| {
                while !stop.load(Relaxed) {
                    other.broker.blast(&mut flood, 20_000, Pace::PerSecond(FLOOD))?;
                }
                Ok::<_, String>(())
            });
            let beside = rate(&plant, &mut calm, load, &shard);
            stop.store(true, Relaxed);
            flooding.join().map_err(|_| "the flood has broken off".to_owned())??;
            beside
        })?;
        drained(&other)?;
        rows += other.processed("flood")? - before;
        losses.push(100.0 * (1.0 - beside / alone));
        alone_rates.push(alone);
        beside_rates.push(beside);
    }
    let messages = messages_of(&other, &name)? - messages;
    if rows == 0 || messages == 0 {
        return Err("the rule with Python has not worked".to_owned());
    }
    let note = format!(
        "{:.2} M msg/s/core alone, {:.2} M beside {rows} rows through Python in {messages} messages",
        median(alone_rates.into_iter()) / 1e6,
        median(beside_rates.into_iter()) / 1e6
    );
    sheet.figure("py_neighbour_loss_pct", median(losses.into_iter()), &note);
    Ok(())
}

/// What the thread has used for one load of the rule without Python: messages per second of it.
fn rate(plant: &Plant, calm: &mut Blast, load: Load, shard: &str) -> Result<f64, String> {
    let meter = Meter::start(plant.pid);
    let round = plant.round("calm", calm, load, None)?;
    let used = meter.by_thread().get(shard).copied().unwrap_or(0.0);
    Ok(round.processed as f64 / used)
}

/// The thread that works for the rule.
fn busiest(plant: &Plant, calm: &mut Blast, load: Load) -> Result<String, String> {
    let meter = Meter::start(plant.pid);
    plant.round("calm", calm, load, None)?;
    let used = meter.by_thread();
    let busiest = used.into_iter().max_by(|one, other| one.1.total_cmp(&other.1));
    busiest.map(|(thread, _)| thread).ok_or_else(|| "the engine has no threads".to_owned())
}

fn install(plant: &Plant) -> Result<String, String> {
    let name = format!("twb{}r", std::process::id());
    let home = tempfile::tempdir().map_err(|why| format!("no temporary folder: {why}"))?;
    let zip = home.path().join("package.zip");
    package(&name, &zip)?;
    let request = json!({"name": name, "file": format!("file://{}", zip.display())});
    plant.api.expect("POST", "/plugins/portables", &request.to_string())?;
    Ok(name)
}

/// How many messages the function has had.
fn messages_of(plant: &Plant, name: &str) -> Result<u64, String> {
    let status = plant.api.expect("GET", &format!("/plugins/portables/{name}/status"), "")?;
    let status: Json = serde_json::from_str(&status).map_err(|why| format!("status of {name}: {why}"))?;
    let calls = status["symbols"].as_array().into_iter().flatten().map(|symbol| &symbol["times"]["calls"]);
    Ok(calls.filter_map(Json::as_u64).sum())
}

/// Waits until the rule with Python has nothing left to do.
fn drained(plant: &Plant) -> Result<(), String> {
    let mut before = plant.processed("flood")?;
    for _ in 0..200 {
        std::thread::sleep(Duration::from_millis(50));
        let now = plant.processed("flood")?;
        if now == before {
            return Ok(());
        }
        before = now;
    }
    Err("the rule with Python does not come to rest".to_owned())
}
