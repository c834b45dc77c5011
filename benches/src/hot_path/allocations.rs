//! Allocations per message of the filter job: the server runs in this process, whose allocator counts.
//!
//! The bench's own threads allocate nothing while they send and count.

use std::time::Duration;

use thalweg_server::ServeOptions;

use super::broker::Blast;
use super::plant::Plant;
use super::{Sheet, rates};
use crate::allocations;

/// The figure.
pub(crate) fn run(sheet: &mut Sheet) -> Result<(), String> {
    if !sheet.wants("filter_allocs_per_msg") {
        return Ok(());
    }
    let home = tempfile::tempdir().map_err(|why| format!("no temporary folder: {why}"))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|why| format!("no threads: {why}"))?;
    let options = ServeOptions {
        home: home.path().to_owned(),
        port: Some(0),
        data_port: Some(0),
        ..ServeOptions::default()
    };
    let server = runtime.block_on(thalweg_server::start(options))?;
    let counted = count(&format!("http://127.0.0.1:{}", server.port()));
    runtime.block_on(server.stop());
    let (allocated, processed) = counted?;
    let note = format!("{allocated} allocations, {processed} messages");
    sheet.figure("filter_allocs_per_msg", allocated as f64 / processed as f64, &note);
    Ok(())
}

/// Allocations and messages.
fn count(engine: &str) -> Result<(u64, u64), String> {
    let plant = Plant::new(engine, std::process::id())?;
    let mut blast = Blast::new("counted", &rates::readings(), 0);
    plant.stream("counted", 0, "")?;
    plant.rule("counted", &rates::FILTER.replace("{}", "counted"), &plant.mqtt())?;
    plant.connected("counted", &mut blast, "counted")?;
    // Also warms up.
    let load = plant.load("counted", &mut blast, 0.5)?;
    plant.round("counted", &mut blast, load, None)?;
    let before = plant.processed("counted")?;
    // The client of the REST interface lets go of what it holds.
    std::thread::sleep(Duration::from_millis(200));
    let (done, allocated) = allocations::counted(|| {
        plant.broker.blast(&mut blast, load.n, load.pace)?;
        plant.settled()
    });
    done?;
    Ok((allocated, plant.processed("counted")? - before))
}
