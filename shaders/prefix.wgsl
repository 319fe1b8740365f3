// Exclusive prefix sum, in place, of the first `counts[0]` words after the header, of which there
// are no more than a workgroup has invocations; `counts[1]` becomes the total.

@group(0) @binding(0) var<storage, read_write> counts: array<u32>;

const HEADER: u32 = 4u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    let n = counts[0];
    var value = 0u;
    if (lane < n) {
        value = counts[HEADER + lane];
    }
    let sum = workgroup_scan(lane, value);
    if (lane < n) {
        counts[HEADER + lane] = sum.x;
    }
    if (lane == 0u) {
        counts[1] = sum.y;
    }
}
