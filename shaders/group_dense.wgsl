// Rows -> accumulator states per key, where the key itself is the index (few groups).
//
// Each workgroup folds its rows into a table of its own in workgroup memory, then adds that table
// to the one in device memory: rows contend only within their workgroup.
//
// A row whose keys do not fit is put down, as in `group_hash`.
//
// Holes: GROUPS, ENTRY (words of an entry; the first says whether the group exists), ROUND,
// `process(row)` into `loc`, `merge(from, to)` of one entry, `driving_rows()`, `driven_row(i)`.

@group(0) @binding(2) var<storage, read_write> tab: array<atomic<u32>>;

const TAB: u32 = 4u;

var<workgroup> loc: array<atomic<u32>, LOCAL_WORDS>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    for (var i = lane; i < LOCAL_WORDS; i += WORKGROUP) {
        atomicStore(&loc[i], 0u);
    }
    workgroupBarrier();
    let stride = slot[1] * WORKGROUP;
    let rows = driving_rows();
    for (var row = flat_group(wid, nwg) * WORKGROUP + lane; row < rows; row += stride) {
        ordinal = 0u;
        process(driven_row(row));
    }
    workgroupBarrier();
    for (var group = lane; group < GROUPS; group += WORKGROUP) {
        if (atomicLoad(&loc[group * ENTRY]) != 0u) {
            tab_or(TAB + group * ENTRY, 1u);
            merge(group * ENTRY + 1u, TAB + group * ENTRY + 1u);
        }
    }
}
