//! Bank conflicts of shared memory.
//!
//! Shared memory has 32 banks of 4 bytes. One pass serves one word of each bank, to as many lanes
//! as want it. Accesses of 8 bytes a lane are done by half warps, of 16 bytes by quarters: 128
//! bytes a pass when nothing conflicts (CUDA C++ Programming Guide, "Shared Memory"; that wide
//! accesses are split so is how Nsight Compute's ideal wavefront counts come out).

use crate::exec::registers::LANES;
use crate::exec::step::bits;

/// Passes of an access, and how many there would be without conflicts.
pub(crate) fn passes(offsets: &[u64; LANES], mask: u32, bytes: u32) -> (u32, u32) {
    let lanes = (128 / bytes.max(4)).clamp(1, 32);
    let words = u64::from(bytes.div_ceil(4));
    let (mut done, mut ideal) = (0, 0);
    for start in (0..32).step_by(lanes as usize) {
        let group = mask & (u32::MAX >> (32 - lanes)) << start;
        if group == 0 {
            continue;
        }
        ideal += 1;
        done += group_passes(offsets, group, words);
    }
    (done, ideal)
}

fn group_passes(offsets: &[u64; LANES], group: u32, words: u64) -> u32 {
    // Without conflicts no bank is met twice with different words.
    let mut in_bank = [u64::MAX; 32];
    let mut conflict = false;
    for lane in bits(group) {
        for word in 0..words {
            let address = offsets[lane] / 4 + word;
            let slot = &mut in_bank[(address % 32) as usize];
            conflict |= *slot != u64::MAX && *slot != address;
            *slot = address;
        }
    }
    if !conflict {
        return 1;
    }
    let mut all: Vec<u64> = bits(group)
        .flat_map(|lane| (0..words).map(move |word| offsets[lane] / 4 + word))
        .collect();
    all.sort_unstable();
    all.dedup();
    let mut counts = [0u32; 32];
    all.iter()
        .for_each(|word| counts[(word % 32) as usize] += 1);
    counts.into_iter().max().unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::passes;

    fn strided(stride: u64) -> [u64; 32] {
        std::array::from_fn(|lane| lane as u64 * stride)
    }

    #[test]
    fn a_power_of_two_stride_conflicts_as_often_as_it_is_wide() {
        for log in 0..6 {
            let stride = 1u64 << log;
            assert_eq!(passes(&strided(4 * stride), u32::MAX, 4), (1 << log, 1));
        }
        assert_eq!(passes(&strided(4 * 33), u32::MAX, 4), (1, 1), "padded");
        assert_eq!(passes(&strided(0), u32::MAX, 4), (1, 1), "broadcast");
    }

    #[test]
    fn wide_accesses_go_by_halves_and_quarters() {
        assert_eq!(passes(&strided(8), u32::MAX, 8), (2, 2));
        assert_eq!(passes(&strided(16), u32::MAX, 16), (4, 4));
        // Rows of 256 bytes: every lane of a quarter meets the same four banks.
        assert_eq!(passes(&strided(256), u32::MAX, 16), (32, 4));
        assert_eq!(passes(&strided(16), 0xff, 16), (1, 1), "one quarter only");
        assert_eq!(passes(&strided(1), u32::MAX, 1), (1, 1), "bytes of a word");
    }
}
