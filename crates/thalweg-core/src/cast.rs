//! The one set of conversions between kinds of values.
