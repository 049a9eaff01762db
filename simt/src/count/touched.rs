//! Which bytes of device memory were touched, and how many sectors an access covers.

use super::SECTOR;
use crate::exec::pattern::Pattern;
use crate::exec::registers::LANES;
use crate::exec::step::bits;

/// A set of bytes of one allocation.
#[derive(Clone, Debug, Default)]
pub(crate) struct ByteSet(Vec<u64>);

impl ByteSet {
    /// Adds up to 64 bytes from `offset` on.
    #[inline]
    pub(crate) fn insert(&mut self, offset: u64, bytes: u32) {
        let at = (offset / 64) as usize;
        let end = (offset + u64::from(bytes)).div_ceil(64) as usize;
        if end > self.0.len() {
            // Grown geometrically, so that one pass over an allocation stays linear.
            self.0.resize(end.max(self.0.len() * 2), 0);
        }
        let ones = (1u128 << bytes) - 1;
        let set = ones << (offset % 64);
        self.0[at] |= set as u64;
        if let Some(next) = self.0.get_mut(at + 1) {
            *next |= (set >> 64) as u64;
        }
    }

    /// Adds any number of bytes from `offset` on.
    pub(crate) fn insert_range(&mut self, offset: u64, bytes: u64) {
        let end = offset + bytes;
        let mut at = offset;
        while at < end {
            let piece = (64 - at % 64).min(end - at);
            self.insert(at, piece as u32);
            at += piece;
        }
    }

    /// Adds what the lanes of an access touch.
    pub(crate) fn insert_lanes(
        &mut self,
        offsets: &[u64; LANES],
        pattern: Pattern,
        mask: u32,
        bytes: u32,
    ) {
        if let Some(at) = pattern.uniform() {
            self.insert(at, bytes);
        } else if let Some(at) = pattern.contiguous(mask, bytes) {
            self.insert_range(at, LANES as u64 * u64::from(bytes));
        } else {
            bits(mask).for_each(|lane| self.insert(offsets[lane], bytes));
        }
    }

    /// Their number.
    pub(crate) fn len(&self) -> u64 {
        self.0.iter().map(|w| u64::from(w.count_ones())).sum()
    }

    /// Adds another set.
    pub(crate) fn merge(&mut self, other: &ByteSet) {
        if other.0.len() > self.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0.iter_mut().zip(&other.0).for_each(|(a, b)| *a |= b);
    }
}

/// Distinct values among those of the lanes of a mask.
fn distinct(values: impl Fn(usize) -> u64, mask: u32) -> u64 {
    let mut sorted = [0u64; LANES];
    let mut count = 0;
    let mut rising = true;
    for lane in bits(mask) {
        let value = values(lane);
        if count > 0 {
            let last = sorted[count - 1];
            if value == last {
                continue;
            }
            rising &= value > last;
        }
        sorted[count] = value;
        count += 1;
    }
    let sorted = &mut sorted[..count];
    if rising {
        return count as u64;
    }
    sorted.sort_unstable();
    1 + sorted.windows(2).filter(|w| w[0] != w[1]).count() as u64
}

/// Sectors and distinct bytes of an access. Accesses are aligned to their size, so one of a lane
/// never straddles two sectors and two lanes' never overlap in part.
pub(crate) fn footprint(
    offsets: &[u64; LANES],
    pattern: Pattern,
    mask: u32,
    bytes: u32,
) -> (u64, u64) {
    let count = u64::from(mask.count_ones());
    let without_gaps = (mask >> mask.trailing_zeros()).wrapping_add(1).count_ones() <= 1;
    if let (Pattern::Strided { stride, .. }, Some((low, high)), true) =
        (pattern, pattern.ends(mask), without_gaps)
    {
        let step = stride.unsigned_abs();
        return match step {
            0 => (1, u64::from(bytes)),
            // No sector between the ends is left out, or no two lanes share one.
            1..=SECTOR => (high / SECTOR - low / SECTOR + 1, count * u64::from(bytes)),
            _ => (count, count * u64::from(bytes)),
        };
    }
    let sectors = distinct(|lane| offsets[lane] / SECTOR, mask);
    let pieces = distinct(|lane| offsets[lane], mask);
    (sectors, pieces * u64::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sectors_are_counted_once() {
        let offsets = |f: fn(u64) -> u64| std::array::from_fn(|lane| f(lane as u64));
        // By the pattern, and lane by lane.
        let of = |f, bytes| {
            let offsets = offsets(f);
            let pattern = Pattern::of(&offsets, u32::MAX);
            let quick = footprint(&offsets, pattern, u32::MAX, bytes);
            let slow = footprint(&offsets, Pattern::Any, u32::MAX, bytes);
            assert_eq!(quick, slow);
            quick
        };
        assert_eq!(of(|i| 4 * i, 4), (4, 128));
        assert_eq!(of(|i| 4 * (31 - i), 4), (4, 128), "backwards");
        assert_eq!(of(|i| 4 * (i * 7 % 32), 4), (4, 128), "permuted");
        assert_eq!(of(|i| 32 * i, 4), (32, 128), "a sector each");
        assert_eq!(of(|_| 64, 4), (1, 4), "broadcast");
        assert_eq!(of(|i| 16 * i, 16), (16, 512));
        assert_eq!(of(|i| i % 2 * 32, 4), (2, 8), "alternating");
        assert_eq!(of(|i| 20 + 4 * i, 4), (5, 128), "astride");
        assert_eq!(of(|i| 12 + 48 * i, 4), (32, 128), "rows");
    }

    #[test]
    fn bytes_are_counted_once() {
        let mut set = ByteSet::default();
        set.insert(60, 8);
        set.insert(64, 4);
        set.insert(1000, 16);
        assert_eq!(set.len(), 8 + 16);
        let mut other = ByteSet::default();
        other.insert(56, 8);
        set.merge(&other);
        assert_eq!(set.len(), 12 + 16);
    }
}
