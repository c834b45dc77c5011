//! The one set of comparison and ordering rules.
