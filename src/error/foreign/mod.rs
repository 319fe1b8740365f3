//! What is read out of the messages of other crates, for want of a type that says it: every such
//! pattern, and nothing else.
//!
//! A pattern takes text and gives what it says; it knows nothing of who asks. Beside each stands a
//! test that has the crate itself write the message, so that a release with other words fails
//! there. What no crate says any more is removed.

pub mod arrow;
pub mod datafusion;
pub mod delta;
pub mod object_store;
pub mod serde_json;
pub mod sqlparser;
pub mod tokio;

/// The number that begins behind `mark`.
fn number_behind(text: &str, mark: &str) -> Option<u64> {
    let (_, rest) = text.split_once(mark)?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

/// What stands between two marks, the first of each.
fn between<'a>(text: &'a str, from: &str, to: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(from)?;
    rest.split_once(to).map(|(found, _)| found)
}
