//! The thalweg binary: REST, configuration, command line, demo.
