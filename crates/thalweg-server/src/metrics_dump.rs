//! Metrics that are kept for a while (`rest-api.md` 17): a sample each 15 seconds, appended to a file an hour in
//! `data/metrics`. What is asked for comes as one OpenMetrics text, in which each family stands once.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::PathBuf;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::warn;

use crate::rest::prometheus;
use crate::server::App;

/// The time between two samples.
const EVERY: Duration = Duration::from_secs(15);

const HOUR: i64 = 3_600;

/// The kept metrics.
pub(crate) struct MetricsDump {
    folder: PathBuf,
    /// Seconds for which they are kept.
    retained: i64,
    is_on: AtomicBool,
    switched: Notify,
}

impl MetricsDump {
    pub(crate) fn new(folder: PathBuf, is_on: bool, retained: Duration) -> Self {
        let retained = i64::try_from(retained.as_secs()).unwrap_or(i64::MAX).max(HOUR);
        Self { folder, retained, is_on: AtomicBool::new(is_on), switched: Notify::new() }
    }

    /// Begins or ends to keep them.
    pub(crate) fn enable(&self, enable: bool) {
        self.is_on.store(enable, Ordering::Relaxed);
        self.switched.notify_one();
    }

    pub(crate) fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// What was kept between two times, in seconds since 1970, both included. Empty: nothing.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn text(&self, from: i64, to: i64) -> io::Result<String> {
        let mut families = Families::default();
        for (hour, path) in self.files()? {
            if hour.saturating_add(HOUR) > from && hour <= to {
                families.read(&fs::read_to_string(path)?, from, to);
            }
        }
        Ok(families.text())
    }

    fn sample(&self, seconds: i64, text: &str) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let hour = seconds - seconds.rem_euclid(HOUR);
        let path = self.folder.join(format!("{hour}.metrics"));
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(format!("@{seconds}\n{text}").as_bytes())?;
        for (hour, path) in self.files()? {
            if hour.saturating_add(HOUR).saturating_add(self.retained) < seconds {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// The files with the first second of each, oldest first.
    fn files(&self) -> io::Result<BTreeMap<i64, PathBuf>> {
        let entries = match fs::read_dir(&self.folder) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries?,
        };
        let hour = |path: PathBuf| Some((path.file_stem()?.to_str()?.parse().ok()?, path));
        Ok(entries.filter_map(|entry| hour(entry.ok()?.path())).collect())
    }
}

/// Takes samples as long as the instance is there.
pub(crate) async fn keep(app: Weak<App>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        let Some(dump) = app.upgrade().map(|app| std::sync::Arc::clone(&app.metrics_dump)) else { return };
        tokio::select! {
            _ = ticks.tick() => {}
            () = dump.switched.notified() => {}
        }
        let Some(app) = app.upgrade().filter(|_| dump.is_on()) else { continue };
        let (seconds, text) = (app.seconds(), prometheus::text(&app, true));
        drop(app);
        let kept = tokio::task::spawn_blocking(move || dump.sample(seconds, &text)).await;
        if let Ok(Err(why)) = kept {
            warn!(%why, "metrics cannot be kept in data/metrics");
        }
    }
}

/// Samples by family.
#[derive(Default)]
struct Families(BTreeMap<String, Family>);

#[derive(Default)]
struct Family {
    head: [String; 2],
    /// By series: each sample with its time.
    series: BTreeMap<String, Vec<(i64, String)>>,
}

impl Families {
    fn read(&mut self, text: &str, from: i64, to: i64) {
        let (mut seconds, mut family) = (i64::MIN, String::new());
        for line in text.lines() {
            if let Some(time) = line.strip_prefix('@') {
                seconds = time.parse().unwrap_or(i64::MIN);
            } else if !(from..=to).contains(&seconds) {
                continue;
            } else if let Some((number, rest)) = line
                .strip_prefix("# HELP ")
                .map(|rest| (0, rest))
                .or(line.strip_prefix("# TYPE ").map(|rest| (1, rest)))
            {
                let (name, what) = rest.split_once(' ').unwrap_or((rest, ""));
                // OpenMetrics names a counter without its ending.
                name.strip_suffix("_total").unwrap_or(name).clone_into(&mut family);
                what.clone_into(&mut self.0.entry(family.clone()).or_default().head[number]);
            } else if let Some((series, value)) = line.rsplit_once(' ') {
                let series = self.0.entry(family.clone()).or_default().series.entry(series.to_owned());
                series.or_default().push((seconds, value.to_owned()));
            }
        }
    }

    fn text(&self) -> String {
        let mut out = String::new();
        for (name, Family { head: [help, kind], series }) in &self.0 {
            if series.is_empty() {
                continue;
            }
            // Writing to a string cannot fail.
            let _ = writeln!(out, "# TYPE {name} {kind}\n# HELP {name} {help}");
            for (series, samples) in series {
                for (seconds, value) in samples {
                    let _ = writeln!(out, "{series} {value} {seconds}");
                }
            }
        }
        if !out.is_empty() {
            out.push_str("# EOF\n");
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_time_are_one_text_in_which_each_family_stands_once() {
        let folder = tempfile::tempdir().expect("a folder can be made");
        let dump = MetricsDump::new(folder.path().join("metrics"), true, Duration::from_secs(7_200));
        let sample =
            |n: u64| format!("# HELP a_total A.\n# TYPE a_total counter\na_total{{r=\"x y\"}} {n}\n");
        for (seconds, n) in [(3_599, 1), (3_600, 2), (3_615, 3), (7_200, 4)] {
            dump.sample(seconds, &sample(n)).expect("it can be written");
        }
        let text = dump.text(3_600, 7_199).expect("it can be read");
        let expected =
            "# TYPE a counter\n# HELP a A.\na_total{r=\"x y\"} 2 3600\na_total{r=\"x y\"} 3 3615\n# EOF\n";
        assert_eq!(text, expected);
        assert_eq!(dump.text(10_000, 20_000).expect("there is nothing"), "");
        // What is older than it is to be kept goes.
        dump.sample(3_600 + 3 * 3_600 + 1, &sample(5)).expect("it can be written");
        assert!(
            !folder.path().join("metrics/0.metrics").exists()
                && !folder.path().join("metrics/3600.metrics").exists()
        );
        assert!(folder.path().join("metrics/7200.metrics").exists());
    }
}
