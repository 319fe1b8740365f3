// PCG's output function (O'Neill 2014) over numbers in a row: places that no prefetcher guesses.
fn random(number: u32) -> u32 {
    let state = number * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}
