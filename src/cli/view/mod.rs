//! Results as a person reads them: what a terminal has room for, and what of a result is shown
//! there. Nothing here knows the terminal: its size is given, so that tests need none.

mod cells;
mod expanded;
mod layout;
mod plan;
mod sample;
mod screen;
mod table;
mod text;
#[cfg(test)]
mod tests;

pub use cells::is_number;
pub use expanded::Expanded;
pub use plan::{explained, is_plan};
pub use sample::Sample;
pub use screen::{Look, Screen};
pub use text::{blanks, cut, one_line, width};
