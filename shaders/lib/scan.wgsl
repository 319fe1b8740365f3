// Exclusive prefix sum over a workgroup of 8 x 32: (sum of the lanes before, sum of all). Two
// levels in workgroup memory, eight neighbours first and then the 32 groups of eight: three
// barriers, no assumption about subgroups. Uniform control flow only.

var<workgroup> scan_words: array<u32, WORKGROUP>;
var<workgroup> scan_totals: array<u32, 32>;

fn workgroup_scan(lane: u32, value: u32) -> vec2<u32> {
    scan_words[lane] = value;
    workgroupBarrier();
    let first = lane & 0xf8u;
    var before = 0u;
    var group = 0u;
    for (var i = 0u; i < 8u; i++) {
        let word = scan_words[first + i];
        before += select(0u, word, first + i < lane);
        group += word;
    }
    if (lane == first) {
        scan_totals[lane >> 3u] = group;
    }
    workgroupBarrier();
    var total = 0u;
    for (var i = 0u; i < 32u; i++) {
        let word = scan_totals[i];
        before += select(0u, word, i < (lane >> 3u));
        total += word;
    }
    workgroupBarrier();
    return vec2<u32>(before, total);
}
