//! Table: the operators that are measured: statement, plan node, rows, and the yardstick for them.
//!
//! Rows come one a millisecond. Where a collection is needed, a count window below makes one of the batch's size, and
//! batch size then means the size of the collection.

use serde_json::Value as Json;
use thalweg_plan::Kind;

use super::plain::{self, Expr, Step};

/// Rows that differ, at least.
pub(super) const POOL: usize = 4_096;

/// One operator.
pub(super) struct Case {
    /// In the table.
    pub(super) name: &'static str,
    /// `{n}` is the batch size.
    pub(super) sql: &'static str,
    /// Which node of the plan is measured.
    pub(super) node: fn(&Kind) -> bool,
    /// The JSON of a row.
    pub(super) row: fn(usize) -> String,
    /// The same for rows of maps, given the batch size.
    pub(super) plain: fn(usize) -> Step,
    /// Milliseconds from row to row; 0: time does not matter.
    pub(super) step: i64,
    /// Rows that differ.
    pub(super) pool: usize,
    pub(super) event_time: bool,
    /// Optimiser passes left out.
    pub(super) without: &'static [&'static str],
}

/// What most cases are.
const USUAL: Case = Case {
    name: "",
    sql: "",
    node: |_| false,
    row: reading,
    plain: |_| plain::pass(),
    step: 0,
    pool: 0,
    event_time: false,
    without: &[],
};

/// A device's reading: seven members.
pub(super) fn reading(row: usize) -> String {
    format!(
        "{{\"device\":\"dev-{:02}\",\"t\":{},\"h\":{}.5,\"ok\":{},\"site\":\"plant-7\",\"n\":{row},\"late\":{}}}",
        row * 31 % 100,
        row * 7 % 90 + 10,
        row * 11 % 80 + 10,
        row.is_multiple_of(3),
        row * 13 % 50
    )
}

/// One of a hundred thousand devices.
fn many(row: usize) -> String {
    format!("{{\"device\":\"dev-{:06}\",\"t\":{}}}", row * 7_919 % 100_000, row % 90)
}

/// A reading with a list of four objects.
fn nested(row: usize) -> String {
    let item = |k: usize| format!("{{\"x\":{},\"y\":\"p{}\"}}", row + k, k);
    format!("{{\"k\":{row},\"l\":[{},{},{},{}]}}", item(0), item(1), item(2), item(3))
}

const WINDOW: fn(&Kind) -> bool = |kind| matches!(kind, Kind::Window(_));

fn column(name: &'static str) -> Expr {
    Expr::Column(name)
}

fn above(name: &'static str, number: f64) -> Expr {
    Expr::binary('>', column(name), Expr::Number(number))
}

fn warm_and_dry() -> Expr {
    Expr::binary('&', above("t", 50.0), Expr::binary('<', column("h"), Expr::Number(60.0)))
}

fn text(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn functions() -> Vec<(&'static str, Expr)> {
    let upper = |args: &[Json]| Json::from(text(&args[0]).to_uppercase());
    let concat = |args: &[Json]| Json::from(args.iter().map(text).collect::<String>());
    let abs = |args: &[Json]| Json::from(args[0].as_f64().unwrap_or(0.0).abs());
    let round = |args: &[Json]| Json::from(args[0].as_f64().unwrap_or(0.0).round());
    let name =
        Expr::Call(concat, vec![Expr::Call(upper, vec![column("device")]), Expr::Text("-"), column("site")]);
    let distance = Expr::Call(abs, vec![Expr::binary('-', column("t"), Expr::Number(50.0))]);
    vec![("s", name), ("d", distance), ("r", Expr::Call(round, vec![column("h")]))]
}

/// All of them, in the order of a rule.
pub(super) const CASES: &[Case] = &[
    Case {
        name: "filter",
        sql: "SELECT device FROM demo WHERE t > 50 AND h < 60",
        node: |kind| matches!(kind, Kind::Filter(_)),
        plain: |_| plain::filter(warm_and_dry()),
        ..USUAL
    },
    Case {
        name: "project",
        sql: "SELECT device, h, t * 1.8 + 32 AS f FROM demo",
        node: |kind| matches!(kind, Kind::Project(_)),
        plain: |_| {
            let scaled = Expr::binary('*', column("t"), Expr::Number(1.8));
            let f = Expr::binary('+', scaled, Expr::Number(32.0));
            plain::project(vec![("device", column("device")), ("h", column("h")), ("f", f)])
        },
        ..USUAL
    },
    Case {
        name: "project with functions",
        sql: "SELECT concat(upper(device), \"-\", site) AS s, abs(t - 50) AS d, round(h) AS r FROM demo",
        node: |kind| matches!(kind, Kind::Project(_)),
        plain: |_| plain::project(functions()),
        ..USUAL
    },
    Case {
        name: "compute (rand once a row)",
        sql: "SELECT rand() AS x, x + 1 AS y FROM demo WHERE x > 0.5",
        node: |kind| matches!(kind, Kind::Compute(_)),
        plain: |_| {
            let mut state = 1_u64;
            plain::beside("x", move |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                Json::from((state >> 11) as f64 / (1_u64 << 53) as f64)
            })
        },
        ..USUAL
    },
    Case {
        name: "analytic (lag)",
        sql: "SELECT t, lag(t) AS before FROM demo",
        node: |kind| matches!(kind, Kind::Analytic(_)),
        plain: |_| plain::lag("t"),
        ..USUAL
    },
    Case {
        name: "watermark (1 s late, reordering)",
        sql: "SELECT device, t FROM timed",
        node: |kind| matches!(kind, Kind::Watermark { .. }),
        plain: |_| plain::reorder(1_000),
        step: 1,
        event_time: true,
        ..USUAL
    },
    Case {
        name: "window filter",
        sql: "SELECT device, t FROM demo GROUP BY COUNTWINDOW(10) FILTER(WHERE t > 50 AND h < 60)",
        node: |kind| matches!(kind, Kind::WindowFilter(_)),
        plain: |_| plain::filter(warm_and_dry()),
        ..USUAL
    },
    Case {
        name: "tumbling window (kept rows)",
        sql: "SELECT device, t, h FROM demo GROUP BY TUMBLINGWINDOW(ss, 1)",
        node: WINDOW,
        plain: |_| plain::tumbling(1_000),
        step: 1,
        ..USUAL
    },
    Case {
        name: "hopping window (kept rows)",
        sql: "SELECT device, t, h FROM demo GROUP BY HOPPINGWINDOW(ss, 2, 1)",
        node: WINDOW,
        plain: |_| plain::hopping(2_000, 1_000),
        step: 1,
        ..USUAL
    },
    Case {
        name: "sliding window (kept rows)",
        sql: "SELECT device, t, h FROM demo GROUP BY SLIDINGWINDOW(ms, 500) OVER (WHEN t > 97)",
        node: WINDOW,
        plain: |_| plain::sliding(500, above("t", 97.0)),
        step: 1,
        ..USUAL
    },
    Case {
        name: "session window (kept rows)",
        sql: "SELECT device, t, h FROM demo GROUP BY SESSIONWINDOW(ss, 1, 1)",
        node: WINDOW,
        plain: |_| plain::session(1_000, 1_000),
        step: 1,
        ..USUAL
    },
    Case {
        name: "count window (kept rows)",
        sql: "SELECT device, t, h FROM demo GROUP BY COUNTWINDOW(1000)",
        node: WINDOW,
        plain: |_| plain::count(1_000),
        ..USUAL
    },
    Case {
        name: "state window (kept rows)",
        sql: "SELECT device, t, h FROM demo GROUP BY STATEWINDOW(t > 50, t > 97)",
        node: WINDOW,
        plain: |_| plain::state(above("t", 50.0), above("t", 97.0)),
        step: 1,
        ..USUAL
    },
    Case {
        name: "tumbling window, 100 groups",
        sql: "SELECT device, avg(t) AS mean, max(t) AS most, count(*) AS c FROM demo \
              GROUP BY device, TUMBLINGWINDOW(ss, 10)",
        node: WINDOW,
        plain: |_| plain::aggregate("device", "t", 10_000),
        step: 1,
        ..USUAL
    },
    Case {
        name: "tumbling window, 100,000 groups",
        sql: "SELECT device, avg(t) AS mean, max(t) AS most, count(*) AS c FROM demo \
              GROUP BY device, TUMBLINGWINDOW(ss, 400)",
        node: WINDOW,
        row: many,
        plain: |_| plain::aggregate("device", "t", 400_000),
        step: 1,
        pool: 100_000,
        ..USUAL
    },
    Case {
        name: "aggregate of a kept collection",
        sql: "SELECT device, avg(t) AS mean, max(t) AS most, count(*) AS c FROM demo GROUP BY device, COUNTWINDOW({n})",
        node: |kind| matches!(kind, Kind::Aggregate { .. }),
        plain: |n| aggregate_each(n),
        without: &["incrementalWindow"],
        ..USUAL
    },
    Case {
        name: "aggregate in WHERE",
        sql: "SELECT device, t FROM demo WHERE t > avg(t) GROUP BY COUNTWINDOW({n})",
        node: |kind| matches!(kind, Kind::AggFunc(_)),
        plain: |n| plain::collection(n, plain::above_mean("t")),
        ..USUAL
    },
    Case {
        name: "having",
        sql: "SELECT n, count(*) AS c, avg(t) AS m FROM demo GROUP BY n, COUNTWINDOW({n}) HAVING avg(t) > 50",
        node: |kind| matches!(kind, Kind::Having { .. }),
        plain: |n| plain::collection(n, plain::having(above("t", 50.0))),
        ..USUAL
    },
    Case {
        name: "order by",
        sql: "SELECT device, t FROM demo GROUP BY COUNTWINDOW({n}) ORDER BY t DESC, device",
        node: |kind| matches!(kind, Kind::Sort(_)),
        plain: |n| plain::collection(n, plain::sort("t", "device")),
        ..USUAL
    },
    Case {
        name: "limit",
        sql: "SELECT device, t FROM demo GROUP BY COUNTWINDOW({n}) LIMIT 10",
        node: |kind| matches!(kind, Kind::Limit(_)),
        plain: |n| plain::collection(n, plain::limit(10)),
        ..USUAL
    },
    Case {
        name: "row_number by partition",
        sql: "SELECT device, row_number() OVER (PARTITION BY device) AS n FROM demo GROUP BY COUNTWINDOW({n})",
        node: |kind| matches!(kind, Kind::RowNumber { .. }),
        plain: |n| plain::collection(n, plain::row_number("device")),
        ..USUAL
    },
    Case {
        name: "join of two streams",
        sql: "SELECT l.t, r.h FROM demo AS l INNER JOIN twin AS r ON l.device = r.device GROUP BY COUNTWINDOW({2n})",
        node: |kind| matches!(kind, Kind::Join(_)),
        plain: |n| plain::collection(n, plain::join("device")),
        ..USUAL
    },
    Case {
        name: "lookup join",
        sql: "SELECT demo.t, look.room FROM demo INNER JOIN look ON demo.device = look.device",
        node: |kind| matches!(kind, Kind::LookupJoin(_)),
        plain: |_| plain::lookup("device"),
        ..USUAL
    },
    Case {
        name: "unnest (4 objects a row)",
        sql: "SELECT unnest(l) AS e, k FROM demo",
        node: |kind| matches!(kind, Kind::ProjectSet { .. }),
        row: nested,
        plain: |_| plain::unnest("l"),
        ..USUAL
    },
    Case {
        name: "sub-query",
        sql: "SELECT f, device FROM (SELECT device, t * 1.8 AS f FROM demo) AS q WHERE f > 50",
        node: |kind| matches!(kind, Kind::SubQuery(_)),
        ..USUAL
    },
    Case {
        name: "union",
        sql: "SELECT device, t FROM demo UNION ALL SELECT device, h FROM demo",
        node: |kind| matches!(kind, Kind::Union),
        plain: |_| {
            let pass = plain::pass();
            twice(pass)
        },
        ..USUAL
    },
];

/// Two inputs get every row each.
fn twice(mut step: Step) -> Step {
    Box::new(move |row, time, out| {
        step(row, time, out);
        step(row, time, out);
    })
}

/// Groups every `n` rows.
fn aggregate_each(n: usize) -> Step {
    let mut step = plain::aggregate("device", "t", n as i64);
    let mut count = 0;
    Box::new(move |row, _, out| {
        step(row, count, out);
        count += 1;
    })
}
