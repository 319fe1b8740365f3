//! Names, set operations, joins, guards.
