// Adds one to counters at random places, ADDS times an invocation: what additions cost by how many
// meet at an address.
//
// Holes: ADDRESSES, ADDS, Word, `add(at)`: adds one to a counter, and returns what is to be waited
// for before the next, or 0; `finish(lane)`: brings what counters the workgroup has to the others.

@group(0) @binding(0) var<storage, read_write> counters: array<atomic<Word>>;
@group(0) @binding(1) var<storage, read_write> kept: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    begin(lane);
    let first = flat_group(wid, nwg) * WORKGROUP + lane;
    var waited = 0u;
    for (var i = 0u; i < ADDS; i++) {
        waited += add(random(first * ADDS + i + waited) % ADDRESSES);
    }
    if (waited == kept[0]) {
        kept[1] = first;
    }
    finish(lane);
}
