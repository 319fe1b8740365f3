// Rows -> one row of accumulator states per workgroup (the host merges those).
//
// Each invocation folds its rows into private registers (`process`, generated), then the workgroup
// merges them in its own memory (`fold`, generated) and writes them out.
//
// Holes: WORDS (of all states), `process(row)`, `fold()`, `row_count()`.

@group(0) @binding(2) var<storage, read_write> partials: array<u32>;

var<workgroup> loc: array<atomic<u32>, WORDS>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let group = flat_group(wid, nwg);
    let stride = slot[1] * WORKGROUP;
    let rows = row_count();
    for (var i = lane; i < WORDS; i += WORKGROUP) {
        atomicStore(&loc[i], 0u);
    }
    workgroupBarrier();
    for (var row = group * WORKGROUP + lane; row < rows; row += stride) {
        process(row);
    }
    fold();
    workgroupBarrier();
    if (group < slot[1]) {
        for (var i = lane; i < WORDS; i += WORKGROUP) {
            partials[group * WORDS + i] = atomicLoad(&loc[i]);
        }
    }
}
