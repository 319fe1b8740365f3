// A float sum in registers: the top three bins of `float_slices`, relative to the highest bin any
// addend has touched.

struct FloatBins {
    flags: u32,
    top: u32,
    b0: vec2<u32>,
    b1: vec2<u32>,
    b2: vec2<u32>,
}

fn bins_signed(slice: u32, negative: bool) -> vec2<u32> {
    let value = vec2<u32>(slice, 0u);
    return select(value, acc_neg64(value), negative);
}

fn bins_add(sum: FloatBins, x: Slices) -> FloatBins {
    var s = sum;
    s.flags |= x.flags | 1u;
    if (x.top == 0u) {
        return s;
    }
    if (x.top > s.top) {
        let d = x.top - s.top;
        s.b2 = select(select(vec2<u32>(), s.b0, d == 2u), s.b1, d == 1u);
        s.b1 = select(vec2<u32>(), s.b0, d == 1u);
        s.b0 = vec2<u32>();
        s.top = x.top;
    }
    let d = s.top - x.top;
    let v0 = bins_signed(x.s0, x.neg);
    let v1 = bins_signed(x.s1, x.neg);
    let v2 = bins_signed(x.s2, x.neg);
    if (d == 0u) {
        s.b0 = acc_add64(s.b0, v0);
        s.b1 = acc_add64(s.b1, v1);
        s.b2 = acc_add64(s.b2, v2);
    } else if (d == 1u) {
        s.b1 = acc_add64(s.b1, v0);
        s.b2 = acc_add64(s.b2, v1);
    } else if (d == 2u) {
        s.b2 = acc_add64(s.b2, v0);
    }
    return s;
}
