//! What a user would do by hand, done over REST: the stream, the plugin, the rule.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value as Json, json};

/// Where results go.
pub(super) const RESULTS: &str = "plant/results";
/// The rule's id.
pub(super) const RULE: &str = "vibration";

const STREAM: &str = "pumps";

/// REST calls to the demo's own engine.
#[derive(Clone)]
pub(super) struct Api {
    base: String,
    agent: ureq::Agent,
}

impl Api {
    pub(super) fn new(port: u16) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        let agent = config.timeout_global(Some(Duration::from_secs(90))).build().new_agent();
        Self { base: format!("http://127.0.0.1:{port}"), agent }
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Posts a document; anything but 2xx is an error with the engine's own words.
    pub(super) async fn post(&self, path: &str, body: Json) -> Result<String, String> {
        let (api, path) = (self.clone(), path.to_owned());
        blocking(move || {
            let url = format!("{}{path}", api.base);
            let answer =
                api.agent.post(&url).send(body.to_string()).map_err(|error| format!("{url}: {error}"))?;
            read(answer, &url)
        })
        .await
    }

    /// Reads a document.
    pub(super) async fn get(&self, path: &str) -> Result<Json, String> {
        let (api, path) = (self.clone(), path.to_owned());
        blocking(move || {
            let url = format!("{}{path}", api.base);
            let answer = api.agent.get(&url).call().map_err(|error| format!("{url}: {error}"))?;
            serde_json::from_str(&read(answer, &url)?).map_err(|error| format!("{url}: {error}"))
        })
        .await
    }
}

async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(call).await.map_err(|error| error.to_string())?
}

fn read(mut answer: ureq::http::Response<ureq::Body>, url: &str) -> Result<String, String> {
    let status = answer.status();
    let text = answer.body_mut().read_to_string().map_err(|error| format!("{url}: {error}"))?;
    if status.is_success() { Ok(text) } else { Err(format!("{url}: {status}: {}", text.trim())) }
}

/// The statement that makes the stream.
pub(super) fn stream_sql(mqtt: u16) -> String {
    let extra = json!({"server": format!("tcp://127.0.0.1:{mqtt}")}).to_string().replace('"', "\\\"");
    format!(
        "CREATE STREAM {STREAM} () WITH (TYPE=\"mqtt\", DATASOURCE=\"plant/+/vibration\", FORMAT=\"json\", EXTRA=\"{extra}\")"
    )
}

/// The rule with Python functions, or without.
pub(super) fn rule(mqtt: u16, with_python: bool) -> Json {
    let sql = if with_python {
        "SELECT pump, vib_rms(x) AS rms, vib_peak_hz(x, 200) AS peak_hz, vib_kurtosis(x) AS kurtosis, \
         count(*) AS readings FROM pumps GROUP BY pump, TUMBLINGWINDOW(ss, 2) ORDER BY pump"
    } else {
        "SELECT pump, avg(temp) AS temp, max(x) AS peak, count(*) AS readings FROM pumps \
         GROUP BY pump, TUMBLINGWINDOW(ss, 2) ORDER BY pump"
    };
    let action =
        json!({"mqtt": {"server": format!("tcp://127.0.0.1:{mqtt}"), "topic": RESULTS, "sendSingle": true}});
    json!({"id": RULE, "sql": sql, "actions": [action]})
}

/// Packs the example plugin that is part of this binary and installs it.
pub(super) async fn install_plugin(api: &Api, home: &Path) -> Result<String, String> {
    let zip = home.join("vibration.zip");
    thalweg_plugin::pack(thalweg_plugin::VIBRATION, &zip).map_err(|error| error.to_string())?;
    let file = format!("file://{}", zip.display());
    api.post("/plugins/portables", json!({"name": "vibration", "file": file})).await
}

/// Waits until the rule's source has subscribed, so that every reading published is a reading read.
pub(super) async fn listening(api: &Api) -> Result<(), String> {
    let connected = format!("source_{STREAM}_0_connection_status");
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    for _ in 0..200 {
        ticks.tick().await;
        if api.get(&format!("/rules/{RULE}/status")).await?[&connected] == 1 {
            return Ok(());
        }
    }
    Err(format!("the rule does not reach the broker; see {}/rules/{RULE}/status", api.base()))
}
