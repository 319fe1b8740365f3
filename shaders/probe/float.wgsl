// Does each float operation once per triple of operands, for the host to compare. No algorithm. The
// host puts the types in front: Float and Bits are f32 and u32, or f64 and u64.
//
// operands: a, b, c per invocation, and a zero at ZERO_AT. results: a + b, a - b, a * b, a * b + c,
// c - a * b, a / b, sqrt(a) per invocation; the fourth and fifth show whether two roundings stay
// two. What is operated on is hidden from the compiler as in `lib/float`.

@group(0) @binding(0) var<storage, read> operands: array<Float>;
@group(0) @binding(1) var<storage, read_write> results: array<Float>;

fn hidden(x: Float) -> Float {
    return bitcast<Float>(bitcast<Bits>(x) ^ bitcast<Bits>(operands[ZERO_AT]));
}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let a = hidden(operands[id.x * 3u]);
    let b = hidden(operands[id.x * 3u + 1u]);
    let c = hidden(operands[id.x * 3u + 2u]);
    let at = id.x * 7u;
    results[at] = a + b;
    results[at + 1u] = a - b;
    results[at + 2u] = a * b;
    results[at + 3u] = hidden(a * b) + c;
    results[at + 4u] = c - hidden(a * b);
    results[at + 5u] = a / b;
    results[at + 6u] = sqrt(a);
}
