//! SQL by grammar: expressions of a wanted kind, and whole queries.
//!
//! Most of what comes out can be planned; a part has wrong kinds on purpose.

use thalweg_expr::{ArgKind, Function};

use crate::Choices;
use crate::world::functions;

/// Literal texts that functions of text, time, patterns and paths can do something with.
const TEXTS: &[&str] = &[
    "''",
    "'a'",
    "'abc'",
    "'A b'",
    "'1'",
    "'-2.5'",
    "'0x1f'",
    "'true'",
    "'%b_'",
    "'[a-c]+'",
    "'(a)(b)?'",
    "','",
    "'2024-02-29'",
    "'2024-02-29 13:14:15'",
    "'2024-02-29T23:59:59.999+09:00'",
    "'YYYY-MM-dd HH:mm:ssSSS'",
    "'1h30m'",
    "'-24h'",
    "'10ms'",
    "'UTC'",
    "'Asia/Tokyo'",
    "'bigint'",
    "'float'",
    "'string'",
    "'boolean'",
    "'datetime'",
    "'bytea'",
    "'$.a'",
    "'$.x[0]'",
    "'$..p'",
    "'$[?(@.p > 1)]'",
    "'$.x[*].y'",
    "'{\"a\":[1,{\"b\":2}]}'",
    "'[1,2'",
    "'aGVsbG8='",
    "'zlib'",
    "'gzip'",
    "'zstd'",
    "'flate'",
    "'base64'",
    "'äöü€😀'",
    "'\\u0000'",
    "'é'",
    "'id'",
    "'p'",
    "'hello world hello'",
    "'9999999999999999999'",
    "'%d %s'",
];
const INTS: &[&str] = &[
    "0",
    "1",
    "2",
    "3",
    "-1",
    "7",
    "10",
    "64",
    "255",
    "-5",
    "1000",
    "1709212455678",
    "4294967296",
    "9223372036854775807",
    "-9223372036854775808",
    "-2147483649",
];
const FLOATS: &[&str] =
    &["0.5", "1.0", "-0.0", "-2.5", "0.1", "3.14159", "100000000000000000000.0", "0.0000001", "123456.789"];

/// What a statement may name, and how far expressions may go.
pub(crate) struct Scope<'a> {
    /// Columns, qualified where that is wanted.
    pub(crate) columns: &'a [&'a str],
    /// Aggregate calls may stand here.
    pub(crate) aggregates: bool,
    /// Analytic calls may stand here.
    pub(crate) analytic: bool,
    /// Any function may be called, those that wait, roll dice or belong elsewhere too.
    pub(crate) anything: bool,
}

impl<'a> Scope<'a> {
    /// Plain expressions over these columns.
    pub(crate) fn plain(columns: &'a [&'a str]) -> Self {
        Self { columns, aggregates: false, analytic: false, anything: false }
    }

    /// An expression.
    pub(crate) fn expr(&self, c: &mut Choices, depth: u32) -> String {
        self.of_kind(c, ArgKind::Any, depth)
    }

    /// A condition.
    pub(crate) fn condition(&self, c: &mut Choices, depth: u32) -> String {
        self.of_kind(c, ArgKind::Bool, depth)
    }

    fn of_kind(&self, c: &mut Choices, kind: ArgKind, depth: u32) -> String {
        c.part(|c| self.any_of_kind(c, kind, depth))
    }

    fn any_of_kind(&self, c: &mut Choices, kind: ArgKind, depth: u32) -> String {
        if depth == 0 || c.chance(20) {
            return self.leaf(c, kind);
        }
        let kind = if c.chance(8) { ArgKind::Any } else { kind };
        match kind {
            ArgKind::LiteralInt | ArgKind::LiteralText | ArgKind::LiteralBool => self.leaf(c, kind),
            ArgKind::Bool => self.logic(c, depth - 1),
            ArgKind::Number | ArgKind::Int if c.chance(50) => self.arithmetic(c, depth - 1),
            _ => match c.below(10) {
                0..5 => self.call(c, depth - 1),
                5..7 => self.arithmetic(c, depth - 1),
                7 => self.logic(c, depth - 1),
                8 => self.case(c, kind, depth - 1),
                _ => self.path(c, depth - 1),
            },
        }
    }

    fn leaf(&self, c: &mut Choices, kind: ArgKind) -> String {
        let column = |c: &mut Choices| c.pick(self.columns).to_owned();
        match kind {
            ArgKind::LiteralInt => c.pick(INTS).to_owned(),
            ArgKind::LiteralText => c.pick(TEXTS).to_owned(),
            ArgKind::LiteralBool => c.pick(&["true", "false"]).to_owned(),
            _ if c.chance(60) => column(c),
            ArgKind::Int => c.pick(INTS).to_owned(),
            ArgKind::Number if c.chance(50) => c.pick(INTS).to_owned(),
            ArgKind::Number => c.pick(FLOATS).to_owned(),
            ArgKind::Text | ArgKind::Time => c.pick(TEXTS).to_owned(),
            ArgKind::Bool => c.pick(&["true", "false", "NULL"]).to_owned(),
            _ => match c.below(5) {
                0 => column(c),
                1 => c.pick(INTS).to_owned(),
                2 => c.pick(TEXTS).to_owned(),
                3 => c.pick(FLOATS).to_owned(),
                _ => c.pick(&["NULL", "true"]).to_owned(),
            },
        }
    }

    fn arithmetic(&self, c: &mut Choices, depth: u32) -> String {
        let left = self.of_kind(c, ArgKind::Number, depth);
        match c.below(12) {
            0 => format!("-({left})"),
            n => {
                let op = ["+", "-", "*", "/", "%", "&", "|", "^", "||", "+", "*"][n as usize - 1];
                let kind = if op == "||" { ArgKind::Any } else { ArgKind::Number };
                format!("({left} {op} {})", self.of_kind(c, kind, depth))
            }
        }
    }

    fn logic(&self, c: &mut Choices, depth: u32) -> String {
        let kind = [ArgKind::Number, ArgKind::Text, ArgKind::Any][c.index(3)];
        let one = |c: &mut Choices| self.of_kind(c, kind, depth);
        match c.below(12) {
            0..4 => {
                let op = c.pick(&["=", "!=", "<", "<=", ">", ">=", "<>"]).to_owned();
                format!("({} {op} {})", one(c), one(c))
            }
            4 | 5 => {
                let op = c.pick(&["AND", "OR"]).to_owned();
                format!("({} {op} {})", self.condition(c, depth), self.condition(c, depth))
            }
            6 => format!("(NOT {})", self.condition(c, depth)),
            7 => format!("({} {}BETWEEN {} AND {})", one(c), not(c), one(c), one(c)),
            8 => {
                let items = c.many(1, 4, one);
                format!("({} {}IN ({}))", one(c), not(c), items.join(", "))
            }
            9 => format!("({} {}LIKE {})", one(c), not(c), self.of_kind(c, ArgKind::Text, depth)),
            10 => format!("({} IS {}NULL)", one(c), not(c)),
            _ => format!("({} {}IN {})", one(c), not(c), c.pick(self.columns)),
        }
    }

    fn case(&self, c: &mut Choices, kind: ArgKind, depth: u32) -> String {
        let mut out = "CASE".to_owned();
        let simple = c.chance(30);
        if simple {
            out += &format!(" {}", self.expr(c, depth));
        }
        for _ in 0..=c.below(3) {
            let when = if simple { self.expr(c, depth) } else { self.condition(c, depth) };
            out += &format!(" WHEN {when} THEN {}", self.of_kind(c, kind, depth));
        }
        if c.chance(60) {
            out += &format!(" ELSE {}", self.of_kind(c, kind, depth));
        }
        out + " END"
    }

    fn path(&self, c: &mut Choices, depth: u32) -> String {
        let mut out = c.pick(self.columns).to_owned();
        for _ in 0..=c.below(3) {
            let bound = |c: &mut Choices| match c.below(4) {
                0 => String::new(),
                1 => c.pick(&["0", "1", "-1", "-3", "2", "100"]).to_owned(),
                2 => c.pick(self.columns).to_owned(),
                _ => self.of_kind(c, ArgKind::Int, depth.min(1)),
            };
            out += &match c.below(4) {
                0 => format!("->{}", c.pick(&["p", "q", "x", "a"])),
                1 => {
                    let index = bound(c);
                    format!("[{}]", if index.is_empty() { "0".to_owned() } else { index })
                }
                _ => format!("[{}:{}]", bound(c), bound(c)),
            };
        }
        out
    }

    /// A call of some function that may stand here.
    pub(crate) fn call(&self, c: &mut Choices, depth: u32) -> String {
        let table = functions();
        if self.anything {
            let function = table.all[c.index(table.all.len())];
            return self.call_of(c, function, depth);
        }
        if self.aggregates && c.chance(40) {
            return self.aggregate(c, depth);
        }
        if self.analytic && c.chance(30) {
            return self.analytic_call(c, depth);
        }
        let function = table.exact[c.index(table.exact.len())];
        self.call_of(c, function, depth)
    }

    /// A call of an aggregate, whose arguments hold none.
    pub(crate) fn aggregate(&self, c: &mut Choices, depth: u32) -> String {
        let table = &functions().aggregate;
        let inner = Scope { aggregates: false, analytic: false, ..*self };
        let function = table[c.index(table.len())];
        if function.name == "count" || function.name == "collect" && c.chance(30) {
            return format!("{}(*)", function.name);
        }
        inner.call_of(c, function, depth.min(1))
    }

    /// A call of an analytic function with whatever may follow it.
    pub(crate) fn analytic_call(&self, c: &mut Choices, depth: u32) -> String {
        let table = &functions().analytic;
        let inner = Scope { aggregates: false, analytic: false, ..*self };
        let function = table[c.index(table.len())];
        let call = inner.call_of(c, function, depth.min(1));
        let partition =
            if c.chance(30) { format!("PARTITION BY {}", c.pick(self.columns)) } else { String::new() };
        let when = if c.chance(20) { format!("WHEN {}", inner.condition(c, 1)) } else { String::new() };
        if partition.is_empty() && when.is_empty() {
            return call;
        }
        format!("{call} OVER ({} {})", partition, when)
    }

    fn call_of(&self, c: &mut Choices, function: &Function, depth: u32) -> String {
        let mut args = Vec::new();
        for arg in function.args {
            if arg.optional && !c.chance(60) {
                break;
            }
            args.push(self.of_kind(c, arg.kind, depth));
            while arg.repeated && c.chance(50) {
                args.push(self.of_kind(c, arg.kind, depth));
            }
        }
        format!("{}({})", function.name, args.join(", "))
    }
}

fn not(c: &mut Choices) -> &'static str {
    if c.chance(25) { "NOT " } else { "" }
}

/// A window call of GROUP BY with lengths that events a few hundred milliseconds apart fill.
pub(crate) fn window(c: &mut Choices, scope: &Scope<'_>) -> String {
    let short = |c: &mut Choices| c.pick(&["1000", "300", "700", "2000"]).to_owned();
    let filter =
        if c.chance(12) { format!(" FILTER(WHERE {})", scope.condition(c, 1)) } else { String::new() };
    let call = match c.below(12) {
        0..3 => format!("TUMBLINGWINDOW(ms, {})", short(c)),
        3 => "TUMBLINGWINDOW(ss, 1)".to_owned(),
        4 | 5 => format!("HOPPINGWINDOW(ms, {}, {})", short(c), short(c)),
        6 => format!("SLIDINGWINDOW(ms, {})", short(c)),
        7 => format!("SLIDINGWINDOW(ms, {}, {})", short(c), short(c)),
        8 => format!("SESSIONWINDOW(ms, {}, {})", c.pick(&["1000", "2000"]), short(c)),
        9 => format!("COUNTWINDOW({})", c.between(1, 5)),
        10 => format!("COUNTWINDOW({}, {})", c.between(2, 5), c.between(1, 2)),
        _ if c.chance(50) => format!("STATEWINDOW({})", scope.condition(c, 1)),
        _ => format!("STATEWINDOW({}, {})", scope.condition(c, 1), scope.condition(c, 1)),
    };
    let over = match c.below(10) {
        8 if call.starts_with("SLIDING") => format!(" OVER (WHEN {})", scope.condition(c, 1)),
        8 | 9 if call.starts_with("STATE") => format!(" OVER (PARTITION BY {})", c.pick(scope.columns)),
        _ => String::new(),
    };
    call + &filter + &over
}
