//! Catalog, store and the life of rules.
