// A cell of a group table: what one atomic operation updates.

alias Cell = u32;

// Cells of a bin of a float sum.
const BIN: u32 = 2u;
