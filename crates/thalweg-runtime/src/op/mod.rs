//! Operators, one file a kind. This file holds the table from plan nodes to operators and nothing else.
