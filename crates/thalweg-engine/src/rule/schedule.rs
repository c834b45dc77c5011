//! When a rule is to run: `cron`, `duration` and `cronDatetimeRange` (R4.9 to R4.11).
//!
//! Pure: told the time, it says what the patrol has to do with a rule that stands somewhere.

use chrono::{NaiveDateTime, TimeZone};
use chrono_tz::Tz;
use serde_json::Value as Json;
use thalweg_core::{Props, Timestamp};

use super::cron::Cron;
use super::state::Phase;

/// The schedule of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// With a duration only: without one it says nothing (R4.10).
    cron: Option<Cron>,
    /// Milliseconds; 0: none.
    duration: i64,
    ranges: Vec<(Edge, Edge)>,
}

/// Where a range begins or ends.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Edge {
    /// By the clock on the wall, in the configured zone.
    Wall(NaiveDateTime),
    /// Epoch milliseconds.
    Moment(i64),
}

impl Edge {
    fn at(self, zone: Tz) -> i64 {
        match self {
            Self::Moment(millis) => millis,
            // A time that the clock skips is taken as if it were one in UTC.
            Self::Wall(time) => zone
                .from_local_datetime(&time)
                .earliest()
                .map_or_else(|| time.and_utc().timestamp_millis(), |time| time.timestamp_millis()),
        }
    }
}

/// What the patrol has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    /// Start it.
    Start,
    /// Stop it until its next time.
    Park,
    /// Stop it: it has run for its duration.
    End,
}

/// A mistake in the options of a schedule: upstream's text where there is one, the option, and what to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Wrong {
    /// What is wrong.
    pub text: String,
    /// In which option.
    pub option: &'static str,
    /// What belongs there.
    pub advice: &'static str,
}

/// How wall clocks are written (R1.8).
const FORMAT: &str = "%Y-%m-%d %H:%M:%S";

impl Schedule {
    /// Of the options of a rule; none when nothing of the kind is written.
    pub(super) fn read(options: &Props, cron: &str, duration: i64) -> Result<Option<Self>, Wrong> {
        let wrong = |text: String, option, advice| Wrong { text, option, advice };
        let cron = (!cron.trim().is_empty()).then(|| Cron::parse(cron)).transpose().map_err(|why| {
            wrong(
                format!("invalidCron:{why}"),
                "cron",
                "minute hour day-of-month month day-of-week, such as 0 9 * * 1-5",
            )
        })?;
        if duration < 0 {
            let text = "invalidDuration:duration must be greater than 0".to_owned();
            return Err(wrong(text, "duration", "such as \"10s\" or \"1h\""));
        }
        let ranges = ranges(options.get("cronDatetimeRange")).map_err(|why| {
            let text = format!("validate cronDatetimeRange failed, err:{why}");
            let advice = r#"such as [{"begin": "2026-01-01 00:00:00", "end": "2026-02-01 00:00:00"}]"#;
            wrong(text, "cronDatetimeRange", advice)
        })?;
        let cron = cron.filter(|_| duration > 0);
        let is_one = cron.is_some() || duration > 0 || !ranges.is_empty();
        Ok(is_one.then_some(Self { cron, duration, ranges }))
    }

    /// Whether the calendar has a say, not only the time since the start: such a rule waits for the patrol at boot.
    pub(super) fn is_calendar(&self) -> bool {
        self.cron.is_some() || !self.ranges.is_empty()
    }

    /// Its bytes.
    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.ranges.capacity() * size_of::<(Edge, Edge)>()
    }

    fn is_in_range(&self, now: Timestamp, zone: Tz) -> bool {
        let holds = |(begin, end): &(Edge, Edge)| begin.at(zone) < now.0 && now.0 < end.at(zone);
        self.ranges.is_empty() || self.ranges.iter().any(holds)
    }

    /// Whether the calendar allows it to run now.
    fn is_open(&self, now: Timestamp, zone: Tz) -> bool {
        let in_slot = |cron: &Cron| {
            let begin = cron.next(now.plus(-self.duration), zone);
            begin.is_some_and(|begin| begin < now && now < begin.plus(self.duration))
        };
        self.is_in_range(now, zone) && self.cron.as_ref().is_none_or(in_slot)
    }

    /// What to do with a rule that stands there and was started last at `started` (R4.10). A rule that somebody has
    /// stopped is not asked about (R4.11).
    pub(super) fn due(&self, phase: Phase, started: Timestamp, now: Timestamp, zone: Tz) -> Option<Due> {
        if self.is_calendar() {
            let is_open = self.is_open(now, zone);
            match phase {
                Phase::Running if !is_open => return Some(Due::Park),
                Phase::Waiting | Phase::StoppedByError if is_open => return Some(Due::Start),
                _ => {}
            }
        }
        let is_over = self.cron.is_none() && self.duration > 0 && now >= started.plus(self.duration);
        (phase == Phase::Running && is_over).then_some(Due::End)
    }

    /// When the next run begins, as the status shows it: of cron inside its ranges; 0: not known (R4.7).
    pub(super) fn next(&self, now: Timestamp, zone: Tz) -> Timestamp {
        let next =
            self.cron.as_ref().filter(|_| self.is_in_range(now, zone)).and_then(|cron| cron.next(now, zone));
        next.unwrap_or_default()
    }
}

fn ranges(written: Option<&Json>) -> Result<Vec<(Edge, Edge)>, String> {
    let items = match written {
        None | Some(Json::Null) => return Ok(Vec::new()),
        Some(Json::Array(items)) => items,
        Some(other) => return Err(format!("a list of ranges is expected, not {other}")),
    };
    items.iter().map(range).collect()
}

fn range(item: &Json) -> Result<(Edge, Edge), String> {
    let Json::Object(item) = item else { return Err(format!("a range is an object, not {item}")) };
    let item = Props::from(item.clone());
    let edge = |name: &str, millis: &str| -> Result<Edge, String> {
        let moment = item.int(millis).map_err(|why| why.message)?.filter(|millis| *millis != 0);
        if let Some(moment) = moment {
            return Ok(Edge::Moment(moment));
        }
        let text = item.text(name).map_err(|why| why.message)?.unwrap_or_default();
        let time = NaiveDateTime::parse_from_str(text, FORMAT);
        time.map(Edge::Wall).map_err(|_| match text {
            "" => format!("{name} is missing"),
            _ => format!("{name} {text} is no time such as 2026-01-01 00:00:00"),
        })
    };
    let (begin, end) = (edge("begin", "beginTimestamp")?, edge("end", "endTimestamp")?);
    if begin.at(Tz::UTC) > end.at(Tz::UTC) {
        return Err(format!("begin is after end in {}", item.to_json()));
    }
    Ok((begin, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    fn schedule(options: &str) -> Schedule {
        let Json::Object(options) = serde_json::from_str(options).expect("JSON") else { panic!("an object") };
        let options = Props::from(options);
        let duration = options.millis("duration").expect("it fits").unwrap_or(0);
        let cron = options.text("cron").expect("it fits").unwrap_or_default().to_owned();
        Schedule::read(&options, &cron, duration).expect("it is right").expect("there is one")
    }

    #[test]
    fn r4_10_cron_with_duration_runs_within_each_slot_and_waits_between() {
        // Each hour for ten minutes.
        let hourly = schedule(r#"{"cron":"0 * * * *","duration":"10m"}"#);
        let due = |phase, minute: i64| hourly.due(phase, Timestamp(0), Timestamp(minute * MINUTE), Tz::UTC);
        assert_eq!(due(Phase::Waiting, 59), None);
        assert_eq!(due(Phase::Waiting, 61), Some(Due::Start));
        assert_eq!(due(Phase::Running, 69), None);
        assert_eq!(due(Phase::Running, 70), Some(Due::Park));
        assert_eq!(due(Phase::Running, 30), Some(Due::Park));
        assert_eq!(due(Phase::StoppedByError, 65), Some(Due::Start));
        assert_eq!(due(Phase::Stopped, 65), None);
        assert_eq!(hourly.next(Timestamp(5 * MINUTE), Tz::UTC), Timestamp(60 * MINUTE));
    }

    #[test]
    fn r4_10_ranges_open_and_close_with_both_ends_outside() {
        let range = schedule(
            r#"{"cronDatetimeRange":[{"beginTimestamp":1000,"endTimestamp":3000},{"begin":"1970-01-01 01:00:05","end":"1970-01-01 01:00:06"}]}"#,
        );
        let zone = Tz::Europe__Berlin;
        let due = |phase, now| range.due(phase, Timestamp(0), Timestamp(now), zone);
        for (now, is_open) in
            [(1_000, false), (1_001, true), (2_999, true), (3_000, false), (5_500, true), (6_000, false)]
        {
            assert_eq!(due(Phase::Waiting, now), is_open.then_some(Due::Start), "{now}");
            assert_eq!(due(Phase::Running, now), (!is_open).then_some(Due::Park), "{now}");
        }
        assert_eq!(range.next(Timestamp(2_000), zone), Timestamp(0));
    }

    #[test]
    fn r4_10_a_duration_alone_ends_the_run_and_in_a_range_as_well() {
        let alone = schedule(r#"{"duration":"10s"}"#);
        let due = |phase, now| alone.due(phase, Timestamp(5_000), Timestamp(now), Tz::UTC);
        assert_eq!((due(Phase::Running, 14_999), due(Phase::Running, 15_000)), (None, Some(Due::End)));
        assert_eq!(due(Phase::Waiting, 1), None);
        assert!(!alone.is_calendar());
        let both =
            schedule(r#"{"duration":"1s","cronDatetimeRange":[{"beginTimestamp":1,"endTimestamp":9000}]}"#);
        assert_eq!(both.due(Phase::Running, Timestamp(2), Timestamp(2_000), Tz::UTC), Some(Due::End));
    }

    #[test]
    fn cron_inside_a_range_needs_both_and_tells_its_next_start_only_there() {
        let both = schedule(
            r#"{"cron":"* * * * *","duration":"30s","cronDatetimeRange":[{"beginTimestamp":1,"endTimestamp":300000}]}"#,
        );
        let due = |now| both.due(Phase::Waiting, Timestamp(0), Timestamp(now), Tz::UTC);
        assert_eq!((due(61_000), due(95_000), due(361_000)), (Some(Due::Start), None, None));
        assert_eq!(both.next(Timestamp(61_000), Tz::UTC), Timestamp(120_000));
        assert_eq!(both.next(Timestamp(301_000), Tz::UTC), Timestamp(0));
    }

    #[test]
    fn r1_3_mistakes_name_the_option() {
        let wrong = |options: &str, cron: &str| {
            let Json::Object(options) = serde_json::from_str(options).expect("JSON") else {
                panic!("an object")
            };
            let wrong = Schedule::read(&Props::from(options), cron, 0).expect_err("it is refused");
            format!("{}: {}", wrong.option, wrong.text)
        };
        assert_eq!(wrong("{}", "* *"), "cron: invalidCron:expected exactly 5 fields, found 2: [* *]");
        for (range, why) in [
            (r#""x""#, "a list of ranges is expected"),
            (r#"[5]"#, "a range is an object"),
            (r#"[{"begin":"2026-01-01 00:00:00"}]"#, "end is missing"),
            (r#"[{"begin":"yesterday","end":"2026-01-01 00:00:00"}]"#, "begin yesterday is no time"),
            (r#"[{"beginTimestamp":5,"endTimestamp":3}]"#, "begin is after end"),
        ] {
            let told = wrong(&format!(r#"{{"cronDatetimeRange":{range}}}"#), "");
            assert!(told.starts_with("cronDatetimeRange: validate cronDatetimeRange failed, err:"), "{told}");
            assert!(told.contains(why), "{told}");
        }
    }
}
