//! Where a group table has the state of an accumulator, and one round over the rows.

use std::fmt::Write;

/// Where a state lies, in cells from the first one behind the head of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The first cell of the value.
    pub value: usize,
    /// The cell of the flags and the lowest one's bit; `None` where all groups have a value.
    pub flags: Option<(usize, u32)>,
    /// The first of the cells that are kept between rounds.
    pub kept: usize,
}

/// One round over the rows, for one accumulator.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// From 1 on.
    pub number: u32,
    /// The table that rows are added to: `tab` in device memory, `loc` in the workgroup's. Its
    /// entry is at `s`; the same entry's settled state is at `g` in device memory.
    pub table: &'a str,
    pub place: Place,
    /// Words of a cell: 1 or 2.
    pub width: usize,
}

impl Round<'_> {
    /// A statement that sets flags, a blank before it; none where there are none.
    pub(super) fn flag(&self, flags: &str) -> String {
        let table = self.table;
        match self.place.flags {
            Some((cell, bit)) => format!(" {table}_or(s + {cell}u, ({flags}) << {bit}u);"),
            None => String::new(),
        }
    }

    /// A statement that adds a workgroup's value to a cell in device memory, by `tab_{how}`.
    pub(super) fn add(&self, how: &str, at: usize, value: &str, out: &mut String) {
        let _ = writeln!(out, "    tab_{how}(to + {at}u, {value});");
    }

    /// A cell of the workgroup.
    pub(super) fn get(&self, at: usize) -> String {
        format!("loc_get(from_at + {at}u)")
    }

    /// A cell of the workgroup in 64 bits.
    pub(super) fn get64(&self, at: usize) -> String {
        format!("loc_get64(from_at + {at}u)")
    }
}
