//! Runs portable plugins in their own processes and presents them as functions, sources and sinks.
