//! Keys: a value and its place in 64 bits whose order as integers is the order of the contract.

/// A value as an integer: greater is better, every number has a rank above 0. −0 ranks with +0.
#[inline(always)]
pub(crate) fn rank(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 0 {
        bits | 1 << 31
    } else {
        !bits
    }
}

/// The value that has this rank.
#[inline(always)]
pub(crate) fn value_of(rank: u32) -> f32 {
    f32::from_bits(if rank >> 31 != 0 {
        rank & !(1 << 31)
    } else {
        !rank
    })
}

/// A key: of equal ranks the lower index is the greater key. 0 is no key.
#[inline(always)]
pub(crate) fn key(rank: u32, index: u32) -> u64 {
    u64::from(rank) << 32 | u64::from(!index)
}

/// The rank in a key.
#[inline(always)]
pub(crate) fn rank_of(key: u64) -> u32 {
    (key >> 32) as u32
}

/// The index in a key.
#[inline(always)]
pub(crate) fn index_of(key: u64) -> u32 {
    !(key as u32)
}
