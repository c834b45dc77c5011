//! The tree: what was written, with the place of each part.

use std::sync::Arc;

pub use thalweg_core::{BinaryOp, UnaryOp};
use thalweg_core::{DataType, Span, Value};

/// A statement.
#[derive(Debug, Clone, PartialEq)]
pub enum Statement {
    /// `SELECT …`, with all that may surround it.
    Query(Box<Query>),
    /// `CREATE STREAM|TABLE …`.
    Create(Box<CreateSource>),
    /// `SHOW STREAMS|TABLES`.
    Show(SourceKind),
    /// `DESCRIBE STREAM|TABLE name`.
    Describe(SourceKind, Name),
    /// `EXPLAIN STREAM|TABLE name`.
    Explain(SourceKind, Name),
    /// `DROP STREAM|TABLE name`.
    Drop(SourceKind, Name),
}

/// A stream or a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SourceKind {
    /// A stream.
    Stream,
    /// A table.
    Table,
}

/// A name as written (without backticks).
#[derive(Debug, Clone, PartialEq)]
pub struct Name {
    /// The name.
    pub text: Arc<str>,
    /// Its place.
    pub span: Span,
}

/// `CREATE STREAM|TABLE name (columns) WITH (options)`.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateSource {
    /// Stream or table.
    pub kind: SourceKind,
    /// Its name.
    pub name: Name,
    /// The declared columns; empty: schemaless.
    pub columns: Vec<ColumnDef>,
    /// The options in the order written, names upper case, values as text (D-2).
    pub options: Vec<(Name, Arc<str>)>,
}

/// A declared column.
#[derive(Debug, Clone, PartialEq)]
pub struct ColumnDef {
    /// Its name.
    pub name: Name,
    /// Its type.
    pub data_type: DataType,
    /// `DEFAULT literal` (D-9, T-9).
    pub default: Option<Value>,
}

/// A whole query: `WITH` parts and one or more SELECTs joined by `UNION ALL` (beyond upstream, `decisions.md`).
#[derive(Debug, Clone, PartialEq)]
pub struct Query {
    /// `WITH name AS (query)`, in order.
    pub with: Vec<(Name, Query)>,
    /// The SELECTs; more than one: UNION ALL.
    pub selects: Vec<Select>,
}

/// One SELECT.
#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    /// The fields in the order written.
    pub fields: Vec<SelectField>,
    /// The first source.
    pub from: From,
    /// The joins in the order written.
    pub joins: Vec<Join>,
    /// WHERE.
    pub filter: Option<Expr>,
    /// GROUP BY expressions, window calls taken out.
    pub group_by: Vec<Expr>,
    /// The first window call of GROUP BY.
    pub window: Option<Window>,
    /// HAVING.
    pub having: Option<Expr>,
    /// ORDER BY.
    pub order_by: Vec<OrderKey>,
    /// LIMIT; negative: none.
    pub limit: Option<i64>,
    /// Something behind the fields could not be read, so what is absent may only have been lost.
    pub has_gaps: bool,
    /// The whole SELECT.
    pub span: Span,
}

/// One field of a SELECT.
#[derive(Debug, Clone, PartialEq)]
pub struct SelectField {
    /// The expression.
    pub expr: Expr,
    /// `AS alias`.
    pub alias: Option<Name>,
    /// INVISIBLE (P-6).
    pub invisible: bool,
}

/// What a query reads.
#[derive(Debug, Clone, PartialEq)]
pub struct From {
    /// The stream, table, or sub-query.
    pub source: FromSource,
    /// `AS alias`.
    pub alias: Option<Name>,
}

/// The source of a [`From`].
#[derive(Debug, Clone, PartialEq)]
pub enum FromSource {
    /// A stream, table or WITH name. Topic-like names (`a/b/#`) are one name (G-8).
    Named(Name),
    /// A sub-query; an alias is required.
    Query(Box<Query>),
    /// It could not be read, which has been told ([`crate::recover_query`]).
    Broken,
}

/// A join.
#[derive(Debug, Clone, PartialEq)]
pub struct Join {
    /// The kind.
    pub kind: JoinKind,
    /// The right side.
    pub right: From,
    /// ON.
    pub on: Option<Expr>,
    /// From the kind's keyword to the end of ON.
    pub span: Span,
}

/// The kind of a join.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JoinKind {
    /// INNER JOIN, JOIN.
    Inner,
    /// LEFT JOIN.
    Left,
    /// RIGHT JOIN.
    Right,
    /// FULL JOIN.
    Full,
    /// CROSS JOIN.
    Cross,
}

/// An ORDER BY key.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderKey {
    /// The key.
    pub expr: Expr,
    /// DESC.
    pub descending: bool,
}

/// A window call of GROUP BY with its FILTER and OVER.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Which window, with its arguments checked for count and kind.
    pub kind: WindowKind,
    /// `FILTER(WHERE …)` (W-10).
    pub filter: Option<Expr>,
    /// `OVER(WHEN …)` (W-11).
    pub when: Option<Expr>,
    /// `OVER(PARTITION BY …)` (W-18).
    pub partition_by: Vec<Expr>,
    /// The call and what follows it.
    pub span: Span,
}

/// The six windows. Lengths are in milliseconds, `unit` tells how they were written (W-3 aligns by it).
#[derive(Debug, Clone, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "there is one window per SELECT")]
pub enum WindowKind {
    /// TUMBLINGWINDOW(unit, n).
    Tumbling {
        /// The unit.
        unit: TimeUnit,
        /// n in units.
        length: i64,
    },
    /// HOPPINGWINDOW(unit, length, hop).
    Hopping {
        /// The unit.
        unit: TimeUnit,
        /// In units.
        length: i64,
        /// In units.
        hop: i64,
    },
    /// SLIDINGWINDOW(unit, length [, delay]).
    Sliding {
        /// The unit.
        unit: TimeUnit,
        /// In units.
        length: i64,
        /// In units.
        delay: Option<i64>,
    },
    /// SESSIONWINDOW(unit, maxDuration, timeout).
    Session {
        /// The unit.
        unit: TimeUnit,
        /// In units.
        max_duration: i64,
        /// In units.
        timeout: i64,
    },
    /// COUNTWINDOW(n [, step]).
    Count {
        /// Rows.
        length: i64,
        /// Rows between emissions.
        step: Option<i64>,
    },
    /// STATEWINDOW(begin, emit) or STATEWINDOW(condition).
    State {
        /// Opens the window.
        begin: Expr,
        /// Closes it; absent in the one-condition form.
        emit: Option<Expr>,
    },
}

/// A unit of window lengths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeUnit {
    /// DD.
    Day,
    /// HH.
    Hour,
    /// MI.
    Minute,
    /// SS.
    Second,
    /// MS.
    Millisecond,
}

impl TimeUnit {
    /// Milliseconds of one unit.
    pub fn millis(self) -> i64 {
        match self {
            Self::Day => 86_400_000,
            Self::Hour => 3_600_000,
            Self::Minute => 60_000,
            Self::Second => 1_000,
            Self::Millisecond => 1,
        }
    }
}

/// An expression.
#[derive(Debug, Clone, PartialEq)]
pub struct Expr {
    /// What it is.
    pub kind: ExprKind,
    /// Where it stands, its parentheses included.
    pub span: Span,
    /// Whether it was written in parentheses: it then has no name of its own (P-4) and is no bare literal (G-9).
    pub is_parenthesized: bool,
}

/// The kinds of expressions.
#[derive(Debug, Clone, PartialEq)]
pub enum ExprKind {
    /// A number, text, boolean, or the literal NULL (an operand position where no column can be meant).
    Literal(Value),
    /// A name, possibly qualified: `a`, `s.a`, `o.p.q` (P-19 decides later which part is what).
    Name(Vec<Name>),
    /// `*` or `s.*`, with EXCEPT and REPLACE.
    Wildcard {
        /// `s` of `s.*`.
        qualifier: Option<Name>,
        /// EXCEPT names.
        except: Vec<Name>,
        /// REPLACE fields.
        replace: Vec<SelectField>,
    },
    /// `-x`, `NOT x`.
    Unary(UnaryOp, Box<Expr>),
    /// `a + b`, `a AND b`, `a LIKE b` …
    Binary(BinaryOp, Box<Expr>, Box<Expr>),
    /// `x BETWEEN low AND high`.
    Between {
        /// NOT BETWEEN.
        negated: bool,
        /// x.
        value: Box<Expr>,
        /// Inclusive.
        low: Box<Expr>,
        /// Inclusive.
        high: Box<Expr>,
    },
    /// `x IN (a, b)`.
    InList {
        /// NOT IN.
        negated: bool,
        /// x.
        value: Box<Expr>,
        /// Never empty (G-3).
        list: Vec<Expr>,
    },
    /// `x IN y`: y is an array at run time.
    InArray {
        /// NOT IN.
        negated: bool,
        /// x.
        value: Box<Expr>,
        /// y.
        array: Box<Expr>,
    },
    /// `x IS [NOT] NULL`.
    IsNull {
        /// IS NOT NULL.
        negated: bool,
        /// x.
        value: Box<Expr>,
    },
    /// `m->k`.
    Arrow(Box<Expr>, Name),
    /// `x[i]`.
    Index(Box<Expr>, Box<Expr>),
    /// `x[i:j]`; `x[]` and `x[:]` have neither (O-13).
    Slice {
        /// x.
        value: Box<Expr>,
        /// i.
        start: Option<Box<Expr>>,
        /// j.
        end: Option<Box<Expr>>,
    },
    /// CASE.
    Case {
        /// The value of a simple CASE.
        value: Option<Box<Expr>>,
        /// WHEN … THEN ….
        arms: Vec<(Expr, Expr)>,
        /// ELSE.
        otherwise: Option<Box<Expr>>,
    },
    /// A function call.
    Call(Call),
    /// A part that could not be read, which has been told, with the operands in it that could
    /// ([`crate::recover_query`]).
    Broken(Vec<Expr>),
}

/// A function call.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The name as written.
    pub name: Name,
    /// The arguments.
    pub args: Vec<Expr>,
    /// `OVER (PARTITION BY …` .
    pub partition_by: Vec<Expr>,
    /// `OVER (… WHEN …)`.
    pub when: Option<Box<Expr>>,
    /// `OVER (… ORDER BY …)` of row_number.
    pub order_by: Vec<OrderKey>,
    /// Whether an OVER was written.
    pub has_over: bool,
}

impl Expr {
    /// An expression without parentheses of its own.
    pub fn new(kind: ExprKind, span: Span) -> Self {
        Self { kind, span, is_parenthesized: false }
    }
}
