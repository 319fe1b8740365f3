// Rows -> accumulator states per key, where the key itself is the index (few groups).
//
// Each workgroup folds its rows into a table of its own in workgroup memory, then adds that table
// to the one in device memory: rows contend only within their workgroup. Of few groups there are
// COPIES there, one for every so many lanes, so that neighbours seldom meet at one word.
//
// A row whose keys do not fit is put down, as in `group_hash`.
//
// Holes: GROUPS, ENTRY (cells of an entry; the first says whether the group exists), ROUND,
// COPIES (a power of two; those of a group lie side by side), `process(row)` into `loc`,
// `merge(from, to)` of one entry, `merge_copies(from, to)` within `loc`, `driving_rows()`,
// `driven_row(i)`.

@group(0) @binding(2) var<storage, read_write> tab: array<atomic<Cell>>;

var<workgroup> loc: array<atomic<Cell>, LOCAL_CELLS>;

var<private> own_copy: u32;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    for (var i = lane; i < LOCAL_CELLS; i += WORKGROUP) {
        loc_clear(i);
    }
    workgroupBarrier();
    own_copy = lane & (COPIES - 1u);
    let stride = slot[1] * WORKGROUP;
    let rows = driving_rows();
    for (var row = flat_group(wid, nwg) * WORKGROUP + lane; row < rows; row += stride) {
        ordinal = 0u;
        process(driven_row(row));
    }
    workgroupBarrier();
    if (COPIES > 1u) {
        for (var entry = lane; entry < GROUPS * COPIES; entry += WORKGROUP) {
            let first = entry & ~(COPIES - 1u);
            if (entry != first && loc_get(entry * ENTRY) != 0u) {
                loc_or(first * ENTRY, 1u);
                merge_copies(entry * ENTRY + 1u, first * ENTRY + 1u);
            }
        }
        workgroupBarrier();
    }
    for (var group = lane; group < GROUPS; group += WORKGROUP) {
        let first = group * COPIES * ENTRY;
        if (loc_get(first) != 0u) {
            tab_or(group * ENTRY, 1u);
            merge(first + 1u, group * ENTRY + 1u);
        }
    }
}
