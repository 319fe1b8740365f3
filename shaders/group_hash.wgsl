// Rows -> accumulator states per key, in one open-addressing table with linear probing.
//
// A key is LIMBS limbs of 31 bits with the top bit set, so that no limb is 0, and no cell of them
// is empty. Each cell is written once, by the compare-and-swap that finds it empty; whoever loses
// to another key goes on to the next entry, whoever meets its own key shares it. The thread that
// has installed the longest prefix of a key always installs the next cell or finds it installed, so
// that no entry stays half written, no key has two entries, and nobody waits.
//
// Round 1 installs keys and adds values. A tuple whose key finds no room is not counted, nor are
// those of its row that follow: its row, and its number among the row's tuples, is put down in
// `spill`, and the host has them played again on a larger table. Entries are never given back, so
// that all tuples of a key are placed or none is: later rounds, for accumulators that need them,
// leave a row where the first has left it.
//
// Where the keys have no more values than the table has entries, they are their own places
// (IDENTITY): no two of them meet, and groups come out sorted.
//
// Holes: LIMBS, IDENTITY, HEAD and ENTRY (cells of a key, and of an entry), `key_cells(limbs)`,
// ROUND, `process(row)`, `driving_rows()`, `driven_row(i)`, which also sets `wanted` where rows are
// played again.

@group(0) @binding(2) var<storage, read_write> tab: array<atomic<Cell>>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let stride = slot[1] * WORKGROUP;
    let rows = driving_rows();
    for (var row = flat_group(wid, nwg) * WORKGROUP + lane; row < rows; row += stride) {
        ordinal = 0u;
        process(driven_row(row));
    }
}
