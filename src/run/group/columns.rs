//! The groups of one table as Arrow columns: written by the device, of which no more comes down
//! than there are groups.

use arrow::array::ArrayRef;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer};

use super::merge::Groups;
use super::sink::GroupSink;
use super::table::Table;
use crate::agg::{StateColumn, array};
use crate::error::{Error, Result};
use crate::fragment::compact::{self, Layout, Part};
use crate::kernel::select::{COUNTS_HEADER, TILE};
use crate::kernel::{compact as kernel, scan};
use crate::record::{Command, Recording};
use crate::run::aggregate::aggregate_columns;
use crate::run::column;

/// The columns of a table as they came down.
struct Written {
    parts: Vec<Part>,
    layout: Layout,
    values: Buffer,
    bits: Buffer,
    groups: usize,
}

impl Written {
    fn values(&self, part: usize) -> Buffer {
        let words = self.parts[part].words * self.groups;
        self.values.slice_with_length(4 * self.layout.values[part], 4 * words)
    }

    fn valid(&self, part: usize) -> Option<NullBuffer> {
        let at = self.layout.valid[part]?;
        let bits = BooleanBuffer::new(self.bits.clone(), 32 * at, self.groups);
        Some(NullBuffer::new(bits))
    }
}

impl GroupSink<'_> {
    /// Output columns of a table's groups, and their number.
    pub(super) async fn columns(&self, table: &Table) -> Result<(Vec<ArrayRef>, usize)> {
        if table.bytes() <= self.runner.limits.whole_table_bytes {
            // One answer of a table this small costs less than two.
            let mut groups = Groups::default();
            self.merge(table, &mut groups).await?;
            return Ok((self.arrays(&groups)?, groups.count));
        }
        let written = self.compact(table).await?;
        let mut arrays = Vec::new();
        for (part, key) in self.keys.iter().enumerate() {
            let values = written.values(part);
            arrays.push(match key.domain {
                Some(domain) => {
                    let interner = self.runner.interners[domain].read();
                    interner.decode(values.typed_data::<u32>(), &key.data_type)?
                }
                None => {
                    let words = written.parts[part].words;
                    array::from_words(&key.data_type, &values, words, written.valid(part))?
                }
            });
        }
        let mut states = Vec::new();
        for (fold, part) in self.aggregation.folds.iter().zip(self.keys.len()..) {
            let (values, seen) = (written.values(part), written.valid(part));
            states.push(StateColumn::new(fold.acc, values, seen, written.groups)?);
        }
        arrays.extend(aggregate_columns(&self.aggregation, &states)?);
        Ok((arrays, written.groups))
    }

    /// Has the device count the groups and then write them.
    async fn compact(&self, table: &Table) -> Result<Written> {
        let player = &self.runner.player;
        let (keys, aggregation) = (&self.keys, &self.aggregation);
        let Some(shape) = &self.shape else {
            return Err(Error::Bug("groups of a table that no slot was played on".into()));
        };
        let program = |phase| {
            let (linker, words) = (&shape.linker, table.entry_words);
            let mut variant = table.groups.variant();
            variant.extend([phase, words as u32]);
            shape.program(&kernel::KERNEL, &variant, || {
                kernel::program(linker, keys, aggregation, &table.groups, words, phase)
            })
        };
        let scan = shape.program(&scan::KERNEL, &[], || scan::program(&shape.linker));
        let tiles = table.entries.div_ceil(TILE);
        let header = 4 * COUNTS_HEADER as u64;
        let sizes = [tiles, 0, table.entries, 0];
        let bytes = header + 4 * tiles as u64;
        let (counts, counts_up) = self.runner.sent(&sizes, bytes, "group counts").await?;
        let mut words = table.groups.packing.base_words();
        words.resize(words.len().max(1), 0);
        let bytes = 4 * words.len() as u64;
        let (bases, bases_up) = self.runner.sent(&words, bytes, "bases of keys").await?;
        let dispatch = |program, bindings, groups| Command::Dispatch { program, bindings, groups };
        // Nothing is written yet.
        let (values, bits) = (player.buffer(4, "no values")?, player.buffer(4, "no bits")?);
        let bindings = vec![table.buffer.clone(), counts.clone(), values, bits, bases.clone()];
        let commands = vec![
            counts_up,
            bases_up,
            dispatch(program(0), bindings, tiles),
            dispatch(scan, vec![counts.clone()], 1),
            Command::Download { buffer: counts.clone(), range: 0..header },
        ];
        let completed = player.submit(Recording { label: "count".into(), commands }).await?;
        self.runner.stats.completed(&completed);
        let groups = completed.downloads[0][1] as usize;

        let parts = compact::parts(keys, aggregation);
        let layout = Layout::new(&parts, groups);
        let bytes = [4 * layout.words as u64, 4 * layout.bit_words as u64];
        let values = player.buffer(bytes[0], "group columns")?;
        let bits = player.buffer(bytes[1], "group validity")?;
        let bindings = vec![table.buffer.clone(), counts, values.clone(), bits.clone(), bases];
        let commands = vec![
            Command::Clear { buffer: bits.clone(), range: 0..bytes[1] },
            dispatch(program(1), bindings, tiles),
            Command::Download { buffer: values, range: 0..bytes[0] },
            Command::Download { buffer: bits, range: 0..bytes[1] },
        ];
        let completed = player.submit(Recording { label: "groups".into(), commands }).await?;
        self.runner.stats.completed(&completed);
        let mut downloads = completed.downloads.into_iter().map(column::buffer);
        let (values, bits) =
            (downloads.next().unwrap_or_default(), downloads.next().unwrap_or_default());
        Ok(Written { parts, layout, values, bits, groups })
    }
}
