// Reads sectors of 32 bytes at random places of a table: what a probe of a hash table costs at
// least. The reads of an invocation do not wait for one another.
//
// Holes: READS, a number; `random(state)`, in `probe/random`. The table has 2^n sectors.

@group(0) @binding(0) var<storage, read> table: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> kept: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let last = arrayLength(&table) / 2u - 1u;
    let first = flat_group(wid, nwg) * WORKGROUP + lane;
    var sum = vec4<u32>();
    for (var i = 0u; i < READS; i++) {
        let at = 2u * (random(first * READS + i) & last);
        sum += table[at] ^ table[at + 1u];
    }
    // As in `probe/read`.
    let all = sum.x + sum.y + sum.z + sum.w;
    if (all == kept[0]) {
        kept[1] = first;
    }
}
