//! Files of text: bytes to UTF-8, and that to rows of CSV or JSON, with the place of what is wrong.

pub mod csv_rows;
mod exact;
pub mod json;
mod json_rows;
pub mod parse;
pub mod quotes;
pub mod sample;
pub mod source;
pub mod utf8;
