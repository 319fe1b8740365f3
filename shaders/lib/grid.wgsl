// Invocations of a workgroup, as the host counts them (`config::WORKGROUP`).
const WORKGROUP: u32 = 256u;

// No row, no place.
const NIL: u32 = 0xffffffffu;

// The flat index of a workgroup: the player lays a dispatch out in two dimensions where one would
// pass the adapter's limit (65535 groups), so kernels never read workgroup_id.x alone.
//
// The layout may hold a few groups more than asked for (fewer than its rows): a kernel guards
// against them by its own count, which it needs for the last partial group anyway.

// wid: workgroup_id; nwg: num_workgroups.
fn flat_group(wid: vec3<u32>, nwg: vec3<u32>) -> u32 {
    return wid.x + wid.y * nwg.x;
}
