//! Data templates: a subset of Go's text/template with the functions rules use, over rows.
