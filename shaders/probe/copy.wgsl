// Copies one buffer to another, four words at a time: what the memory of the device gives to loads
// and stores. No algorithm.

@group(0) @binding(0) var<storage, read> source: array<vec4<u32>>;
@group(0) @binding(1) var<storage, read_write> copied: array<vec4<u32>>;

@compute @workgroup_size(WORKGROUP)
fn main(
    @builtin(workgroup_id) wid: vec3<u32>,
    @builtin(num_workgroups) nwg: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let count = min(arrayLength(&source), arrayLength(&copied));
    let stride = nwg.x * nwg.y * WORKGROUP;
    for (var i = flat_group(wid, nwg) * WORKGROUP + lane; i < count; i += stride) {
        copied[i] = source[i];
    }
}
