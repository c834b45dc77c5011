//! `thalweg demo`: the main job on embedded defaults, on the screen.
//!
//! It starts an engine and a broker of its own in a temporary home, lets simulated pumps publish over MQTT, installs
//! the example plugin and posts a rule over REST, and prints what the rule sends. Whatever it started ends with it.

mod devices;
mod show;
mod steps;

use std::time::Duration;

use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use crate::environment::Environment;
use crate::home::Places;
use crate::{RunningServer, ServeOptions};
use devices::Devices;
use show::line;
use steps::Api;

/// What `thalweg demo` was told.
#[derive(Debug, Clone, Default)]
pub struct DemoOptions {
    /// End after so many seconds; `None`: run until Ctrl-C.
    pub seconds: Option<u64>,
    /// The port of the REST API; `None`: 9081 if it is free, else any.
    pub port: Option<u16>,
    /// The variables that may hold configuration.
    pub environment: Environment,
}

/// Runs the demo to its end. True when results of the Python functions arrived.
///
/// # Errors
/// What could not be started, and what to do about it.
pub async fn run(options: DemoOptions) -> Result<bool, String> {
    let home = std::env::temp_dir().join(format!("thalweg-demo-{}", std::process::id()));
    let serve = ServeOptions {
        places: Places::default(),
        token: None,
        home: home.clone(),
        port: Some(options.port.unwrap_or_else(usual_port)),
        data_port: Some(0),
        mqtt_ingest: None,
        mqtt: Some(0),
        environment: quiet(options.environment),
        log: true,
    };
    let server = crate::start(serve).await?;
    let outcome = play(&server, &home, options.seconds).await;
    server.stop().await;
    let _ = std::fs::remove_dir_all(&home);
    outcome
}

async fn play(server: &RunningServer, home: &std::path::Path, seconds: Option<u64>) -> Result<bool, String> {
    let mqtt = server.mqtt_port().ok_or("the embedded broker did not start")?;
    let api = Api::new(server.port());
    let with_python = has_python();
    line(&format!(
        "Thalweg demo: three pumps publish {} readings a second each over MQTT;",
        devices::SAMPLE_RATE
    ));
    line("a rule condenses two seconds of vibration into one line with Python functions.");
    line("");
    line(&format!("  REST API     {}", api.base()));
    line(&format!("  MQTT broker  mqtt://127.0.0.1:{mqtt}"));
    line("");
    let mut results = subscribe(mqtt);
    api.post("/streams", serde_json::json!({"sql": steps::stream_sql(mqtt)})).await?;
    if with_python {
        line("  installing the Python plugin plugins/vibration …");
        steps::install_plugin(&api, home).await?;
    } else {
        line("  python3 was not found, so the Python functions are left out. To see them:");
        line("      sudo apt-get install -y python3");
    }
    let rule = steps::rule(mqtt, with_python);
    api.post("/rules", rule.clone()).await?;
    steps::listening(&api).await?;
    let devices = Devices::start(mqtt);
    by_hand(&api, mqtt, &rule, with_python);
    if with_python {
        show::head();
    }
    let shown = watch(&mut results, with_python, seconds).await;
    summary(&api, &devices, shown).await;
    Ok(with_python && shown > 0)
}

/// Prints results until the time is up or Ctrl-C; the number of results.
async fn watch(results: &mut mpsc::Receiver<Json>, with_python: bool, seconds: Option<u64>) -> u64 {
    let until = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut shown = 0;
    loop {
        let end = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            row = results.recv() => match row {
                Some(row) if with_python => {
                    shown += u64::from(row["rms"].is_number());
                    show::result(&row);
                }
                Some(row) => {
                    shown += 1;
                    show::plain_result(&row);
                }
                None => return shown,
            },
            () = end => return shown,
            _ = tokio::signal::ctrl_c() => return shown,
        }
    }
}

/// The result messages, read from the broker as any client would.
fn subscribe(port: u16) -> mpsc::Receiver<Json> {
    let (send, receive) = mpsc::channel(64);
    let mut options = MqttOptions::new("demo-screen", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 16);
    tokio::spawn(async move {
        if client.subscribe(steps::RESULTS, QoS::AtLeastOnce).await.is_err() {
            return;
        }
        while let Ok(event) = events.poll().await {
            if let Event::Incoming(Packet::Publish(message)) = event {
                let row = serde_json::from_slice(&message.payload).unwrap_or_default();
                if send.send(row).await.is_err() {
                    return;
                }
            }
        }
    });
    receive
}

/// The same with curl.
fn by_hand(api: &Api, mqtt: u16, rule: &Json, with_python: bool) {
    let base = api.base();
    let quoted = |json: String| json.replace('\'', "'\\''");
    line("");
    line("  Look at it, or do the same by hand, in another terminal:");
    line("");
    let stream = serde_json::json!({"sql": steps::stream_sql(mqtt)}).to_string();
    line(&format!("    curl {base}/rules/{}/status", steps::RULE));
    line(&format!("    curl {base}/streams/pumps"));
    if with_python {
        line(&format!("    curl {base}/plugins/portables"));
    }
    line(&format!(
        "    curl -X POST {base}/streams -d '{}'",
        quoted(stream.replace("STREAM pumps", "STREAM pumps2"))
    ));
    let mut second = rule.clone();
    second["id"] = Json::from("vibration2");
    line(&format!("    curl -X POST {base}/rules -d '{}'", quoted(second.to_string())));
}

async fn summary(api: &Api, devices: &Devices, shown: u64) {
    line("");
    let status = api.get(&format!("/rules/{}/status", steps::RULE)).await;
    let status = match status {
        Ok(status) => status,
        Err(why) => return line(&format!("  no status: {why}")),
    };
    let count = |ending: &str| -> u64 {
        let fields = status.as_object().into_iter().flatten();
        let counters = fields.filter(|(key, _)| key.ends_with(ending));
        counters.filter_map(|(_, value)| value.as_u64()).sum()
    };
    line(&format!(
        "  {} readings published, {} read by the rule, {} results shown, {} rows dropped, {} errors; rule {}, health {}",
        devices.published(),
        status["source_pumps_0_records_in_total"],
        shown,
        count("_dropped_total"),
        count("_exceptions_total"),
        status["status"].as_str().unwrap_or("?"),
        status["health"].as_str().unwrap_or("?"),
    ));
}

/// Log lines would tear the table of results apart: only what is wrong is printed.
fn quiet(mut environment: Environment) -> Environment {
    environment.extend([("THALWEG__BASIC__LOGLEVEL".to_owned(), "warn".to_owned())]);
    environment
}

/// 9081 when nobody has it, else 0: any.
fn usual_port() -> u16 {
    const USUAL: u16 = 9081;
    if std::net::TcpListener::bind(("127.0.0.1", USUAL)).is_ok() { USUAL } else { 0 }
}

/// Whether there is a `python3` to start plugins with.
fn has_python() -> bool {
    let python = std::process::Command::new("python3").arg("--version").output();
    python.is_ok_and(|output| output.status.success())
}
