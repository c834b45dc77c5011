//! The words that every part of Thalweg speaks.
//!
//! Values, columns and batches (the data plane of `docs/design/contracts.md`), time, diagnostics, property
//! tables, and the traits that connectors implement. Nothing here knows Tokio, SQL, HTTP or the file system.

pub mod batch;
pub mod builder;
pub mod cast;
pub mod cell;
pub mod column;
pub mod compare;
pub mod connector;
pub mod datetime;
pub mod diagnostic;
pub mod error;
pub mod format;
pub mod go_regex;
pub mod json;
pub mod memo;
pub mod metrics;
pub mod moment;
pub mod operator;
pub mod path;
pub mod polled;
pub mod projection;
pub mod props;
pub mod registry;
pub mod schema;
pub mod selection;
pub mod spec;
pub mod state;
pub mod time;
pub mod value;

pub use batch::{Batch, Unit, WindowRange};
pub use builder::BatchBuilder;
pub use column::{Cell, Column, ColumnRef, Tag, TagSet};
pub use diagnostic::{Diagnostic, ErrorCode, Span};
pub use error::{FormatError, IoError, Retry, RowError};
pub use operator::{BinaryOp, UnaryOp};
pub use path::PathStep;
pub use projection::{Projection, Want};
pub use props::Props;
pub use schema::{DataType, Field, Schema, Slot};
pub use selection::{Fault, Live, Selection};
pub use time::{Clock, ManualClock, SystemClock, Timestamp};
pub use value::{Fields, Value};
