//! Table: functions of time. Null gives null (S45), literals are accepted (S43), the configured zone is used (S44).

use chrono::{DateTime, Datelike, FixedOffset, NaiveDate, TimeDelta, Timelike};
use thalweg_core::time::parse_duration;
use thalweg_core::{RowError, Timestamp, Value, moment};

use super::NONE;
use super::args::{fail, int, only_text, time};
use crate::expr::EvalCx;
use crate::function::{Arg, ArgKind};

mod pattern;

const TIME: &[Arg] = &[Arg::new("time", ArgKind::Time)];
const FRACTION: &[Arg] = &[Arg::new("digits", ArgKind::Int).optional()];
const FORMAT: &[Arg] = &[Arg::new("time", ArgKind::Time), Arg::new("pattern", ArgKind::Text)];
const CALC: &[Arg] = &[Arg::new("time", ArgKind::Time), Arg::new("duration", ArgKind::Text)];
const DIFF: &[Arg] = &[Arg::new("from", ArgKind::Time), Arg::new("to", ArgKind::Time)];
const COUNT: &[Arg] = &[Arg::new("n", ArgKind::Any)];

type Answer = Result<Value, RowError>;
type Moment = DateTime<FixedOffset>;

/// Lifts a function of one moment.
fn of(args: &[Value], cx: &EvalCx<'_>, f: impl Fn(&Moment) -> Value) -> Answer {
    time(&args[0], cx).map(|moment| f(&moment))
}

fn number(value: u32) -> Value {
    Value::Int(i64::from(value))
}

functions! { DateTime
    "now" ["current_timestamp", "local_time", "local_timestamp"] (FRACTION) Own |args, cx| current(args, "%Y-%m-%d %H:%M:%S", cx),
    "Date and time, with some digits of the second's fraction if wanted.", &[];
    "cur_date" ["current_date"] (NONE) Own |_, cx| current(&[], "%Y-%m-%d", cx),
    "Today's date.", &[];
    "cur_time" ["current_time"] (FRACTION) Own |args, cx| current(args, "%H:%M:%S", cx),
    "The time of day.", &[];
    "format_time" (FORMAT) Null |args, cx| pattern::format(&time(&args[0], cx)?, &super::args::text(&args[1], cx), cx.zone),
    "The time printed by a pattern.", &[("format_time(1709212455678, \"YYYY-MM-dd HH:mm:ssSSS\")", "\"2024-02-29 13:14:15.678\""), ("format_time(1709212455678, \"hh:mm a\")", "\"01:14 PM\""), ("format_time(\"2024-02-29 13:14:15\", \"dd/MM/YYYY\")", "\"29/02/2024\"")];
    "date_calc" (CALC) Null date_calc,
    "The time moved by a duration (`1h30m`, `-24h`).", &[("date_calc(\"2024-02-28 23:00:00\", \"1h30m\")", "\"2024-02-29 00:30:00\""), ("date_calc(\"2024-02-28\", \"-24h\")", "\"2024-02-27 00:00:00\""), ("date_calc(\"2024-02-28\", \"1d\")", "ERR")];
    "date_diff" (DIFF) Null date_diff,
    "Nanoseconds from the first time to the second.", &[("date_diff(\"2024-02-28 00:00:00\", \"2024-03-01 12:00:00\")", "216000000000000"), ("date_diff(1000, 3500)", "2500000000")];
    "day_name" (TIME) Null |args, cx| of(args, cx, |moment| Value::text(moment.format("%A").to_string())),
    "The name of the weekday.", &[("day_name(\"2024-02-29\")", "\"Thursday\"")];
    "day_of_month" ["day"] (TIME) Null |args, cx| of(args, cx, |moment| number(moment.day())),
    "The day of the month.", &[("day_of_month(\"2024-02-29\")", "29"), ("day(\"2024-02-29\")", "29")];
    "day_of_week" (TIME) Null |args, cx| of(args, cx, |moment| number(moment.weekday().num_days_from_sunday())),
    "The number of the weekday, Sunday is 0.", &[("day_of_week(\"2024-02-29\")", "4"), ("day_of_week(\"2024-03-03\")", "0")];
    "day_of_year" (TIME) Null |args, cx| of(args, cx, |moment| number(moment.ordinal())),
    "The day of the year, from 1.", &[("day_of_year(\"2024-12-31\")", "366")];
    "hour" (TIME) Null |args, cx| of(args, cx, |moment| number(moment.hour())),
    "The hour.", &[("hour(\"2024-02-29 13:14:15\")", "13"), ("hour(\"2024-02-29T23:14:15+09:00\")", "23"), ("hour(null)", "-")];
    "minute" (TIME) Null |args, cx| of(args, cx, |moment| number(moment.minute())),
    "The minute.", &[("minute(\"2024-02-29 13:14:15\")", "14")];
    "second" (TIME) Null |args, cx| of(args, cx, |moment| number(moment.second())),
    "The second.", &[("second(\"2024-02-29 13:14:15\")", "15")];
    "microsecond" (TIME) Null |args, cx| of(args, cx, |moment| number(moment.timestamp_subsec_micros())),
    "The microseconds of the second.", &[("microsecond(\"2024-02-29 13:14:15.678901\")", "678901"), ("microsecond(1709212455678)", "678000")];
    "month" (TIME) Null |args, cx| of(args, cx, |moment| number(moment.month())),
    "The number of the month.", &[("month(\"2024-02-29\")", "2")];
    "month_name" (TIME) Null |args, cx| of(args, cx, |moment| Value::text(moment.format("%B").to_string())),
    "The name of the month.", &[("month_name(\"2024-02-29\")", "\"February\"")];
    "last_day" (TIME) Null |args, cx| of(args, cx, |moment| date(moment::last_of_month(moment.date_naive()))),
    "The last day of the month.", &[("last_day(\"2024-02-03\")", "\"2024-02-29\"")];
    "from_days" (COUNT) Null |args, _| from_days(int(&args[0])?),
    "The date of a day counted from 1970-01-01, which is 1.", &[("from_days(1)", "\"1970-01-01\""), ("from_days(19783)", "\"2024-02-29\""), ("from_days(0)", "-"), ("from_days(-1)", "\"1969-12-30\""), ("from_days(1.5)", "ERR")];
    "from_unix_time" (COUNT) Null |args, cx| from_unix_time(int(&args[0])?, cx),
    "The date and time of epoch seconds.", &[("from_unix_time(1700000000)", "\"2023-11-14 22:13:20\""), ("from_unix_time(0)", "-")];
}

fn current(args: &[Value], format: &str, cx: &EvalCx<'_>) -> Answer {
    let now = out_of_calendar(moment::local(cx.now, cx.zone))?;
    let mut printed = now.format(format).to_string();
    if let Some(digits) = args.first() {
        let digits = int(digits)?;
        if (1..=6).contains(&digits) {
            printed.push('.');
            printed.push_str(&format!("{:09}", now.timestamp_subsec_nanos())[..digits as usize]);
        }
    }
    Ok(Value::text(printed))
}

fn out_of_calendar<T>(found: Option<T>) -> Result<T, RowError> {
    found.ok_or_else(|| RowError::text("the time lies outside the calendar"))
}

const PLAIN: &str = "%Y-%m-%d %H:%M:%S";

/// Elapsed time, so that it crosses changes of the clock.
fn date_calc(args: &[Value], cx: &mut EvalCx<'_>) -> Answer {
    let from = time(&args[0], cx)?;
    let text = only_text(&args[1])?;
    let Some(millis) = parse_duration(text) else { return fail(format!("time: invalid duration {text:?}")) };
    let moved = out_of_calendar(
        TimeDelta::try_milliseconds(millis).and_then(|delta| from.checked_add_signed(delta)),
    )?;
    let start = moment::local(Timestamp(from.timestamp_millis()), cx.zone);
    let in_zone = start.is_some_and(|local| local.offset() == from.offset());
    let local =
        moment::local(Timestamp(moved.timestamp_millis()), cx.zone).filter(|_| in_zone).unwrap_or(moved);
    Ok(Value::text(local.format(PLAIN).to_string()))
}

fn date_diff(args: &[Value], cx: &mut EvalCx<'_>) -> Answer {
    let (from, to) = (time(&args[0], cx)?, time(&args[1], cx)?);
    match (to - from).num_nanoseconds() {
        Some(nanos) => Ok(Value::Int(nanos)),
        None => fail("the times are more than 292 years apart"),
    }
}

fn date(date: Option<NaiveDate>) -> Value {
    date.map_or(Value::Null, |date| Value::text(date.format("%Y-%m-%d").to_string()))
}

/// S42: day 0 does not exist.
fn from_days(days: i64) -> Answer {
    if days == 0 {
        return Ok(Value::Null);
    }
    let since = days.checked_sub(1).and_then(TimeDelta::try_days);
    let found = since.and_then(|since| NaiveDate::default().checked_add_signed(since));
    out_of_calendar(found).map(|found| date(Some(found)))
}

/// S42: second 0 is null.
fn from_unix_time(seconds: i64, cx: &EvalCx<'_>) -> Answer {
    if seconds == 0 {
        return Ok(Value::Null);
    }
    let millis = seconds.checked_mul(1_000);
    let found = out_of_calendar(millis.and_then(|millis| moment::local(Timestamp(millis), cx.zone)))?;
    Ok(Value::text(found.format(PLAIN).to_string()))
}
