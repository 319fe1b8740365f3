// Exclusive prefix sum, in place, of the first `counts[0]` words after the header; `counts[1]`
// becomes the total. One workgroup walks the array a tile at a time: it serves the tile counts of a
// slot (thousands, not millions).

@group(0) @binding(0) var<storage, read_write> counts: array<u32>;

const HEADER: u32 = 4u;

@compute @workgroup_size(WORKGROUP)
fn main(@builtin(local_invocation_index) lane: u32) {
    let n = counts[0];
    var carry = 0u;
    for (var start = 0u; start < n; start += WORKGROUP) {
        let at = start + lane;
        var value = 0u;
        if (at < n) {
            value = counts[HEADER + at];
        }
        let sum = workgroup_scan(lane, value);
        if (at < n) {
            counts[HEADER + at] = carry + sum.x;
        }
        carry += sum.y;
    }
    if (lane == 0u) {
        counts[1] = carry;
    }
}
