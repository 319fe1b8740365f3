// Adds up the words of a buffer, four at a time, and keeps next to nothing: what loads alone get.

@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> kept: array<u32>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let count = arrayLength(&source);
    let stride = nwg.x * nwg.y * WORKGROUP;
    let first = flat_group(wid, nwg) * WORKGROUP + lane;
    var sum = vec4<u32>();
    for (var i = first; i < count; i += stride) {
        sum += source[i];
    }
    // Seldom or never, which no compiler knows.
    let all = sum.x + sum.y + sum.z + sum.w;
    if (all == kept[0]) {
        kept[1] = first;
    }
}
