//! Moves bytes: sources, sinks, lookups, formats and codecs.
