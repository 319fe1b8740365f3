//! Aggregates: what each needs on the device, how states merge, how they become columns.
