// Does each f32 operation once per triple of operands, for the host to compare. No algorithm.
//
// operands: a, b, c per invocation. results: a + b, a - b, a * b, a * b + c, c - a * b, a / b,
// sqrt(a) per invocation; the fourth and fifth show whether two roundings stay two.

@group(0) @binding(0) var<storage, read> operands: array<f32>;
@group(0) @binding(1) var<storage, read_write> results: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let a = operands[id.x * 3u];
    let b = operands[id.x * 3u + 1u];
    let c = operands[id.x * 3u + 2u];
    let at = id.x * 7u;
    results[at] = a + b;
    results[at + 1u] = a - b;
    results[at + 2u] = a * b;
    results[at + 3u] = a * b + c;
    results[at + 4u] = c - a * b;
    results[at + 5u] = a / b;
    results[at + 6u] = sqrt(a);
}
