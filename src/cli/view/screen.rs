//! What there is room for, and how results are to be drawn there.

/// What a terminal has room for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Screen {
    pub columns: usize,
    pub lines: usize,
}

/// How results are drawn, as asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Look {
    /// The type of each column below its name.
    pub types: bool,
    /// A line for each value instead of one for each row.
    pub expanded: bool,
}
