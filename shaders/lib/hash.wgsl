// Hash of a sequence of words: MurmurHash3's 32-bit body and finaliser (Appleby, public domain).

fn hash_word(h0: u32, word: u32) -> u32 {
    var k = word * 0xcc9e2d51u;
    k = (k << 15u) | (k >> 17u);
    var h = h0 ^ (k * 0x1b873593u);
    h = (h << 13u) | (h >> 19u);
    return h * 5u + 0xe6546b64u;
}

fn hash_end(h0: u32) -> u32 {
    var h = (h0 ^ (h0 >> 16u)) * 0x85ebca6bu;
    h = (h ^ (h >> 13u)) * 0xc2b2ae35u;
    return h ^ (h >> 16u);
}
