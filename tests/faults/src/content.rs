use std::hash::{BuildHasher as _, RandomState};

/// The longest content but for one in sixteen, which is up to so many times longer.
const SHORT: u64 = 2_000;
const LONG: u64 = 200;

/// The bytes of one version of what is stored under a key: of another length and with other bytes than every other version's, so
/// that a mixture of two is seen.
pub fn content(key: &str, version: u64) -> Vec<u8> {
    let mut state = key.bytes().fold(version ^ 0x9e37_79b9_7f4a_7c15, |state, byte| mixed(state ^ u64::from(byte)));
    let drawn = mixed(state);
    let length = if drawn.is_multiple_of(16) { drawn % (SHORT * LONG) } else { drawn % SHORT };
    let mut bytes = Vec::with_capacity(length as usize + 8);
    while (bytes.len() as u64) < length {
        state = mixed(state);
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length as usize);
    bytes
}

/// A number below `limit`, another one each time.
pub fn random_below(limit: u64) -> u64 {
    RandomState::new().hash_one(limit) % limit.max(1)
}

/// A step of the generator SplitMix64 (Steele, Lea and Flood, 2014).
fn mixed(state: u64) -> u64 {
    let state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}
