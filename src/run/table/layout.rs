//! Where the columns of a join table lie, whichever way they come, and what its codes reach to.

use parking_lot::RwLock;

use crate::fragment::arena::{self, Layout};
use crate::fragment::intern::Interner;
use crate::fragment::join::Range;
use crate::fragment::spec::{Store, Table};

/// Where a table's columns lie; its index follows.
pub fn layout(table: &Table, rows: usize, shapes: &[(Store, bool)]) -> Layout {
    let fields = vec![0; arena::T_FIELDS_WORDS * table.keys.len()];
    let mut layout = Layout::new(rows, shapes, &[], &fields);
    layout.align();
    layout
}

/// The range of the codes that strings have so far; 0 is NULL.
pub fn code_range(strings: &RwLock<Interner>) -> Range {
    Some((1, strings.read().len().max(1) as i64))
}
