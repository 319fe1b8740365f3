//! The host side of each shader, by the same stem, and the list of them all.

pub mod link;
