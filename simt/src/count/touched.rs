//! Which bytes of device memory were touched, and how many sectors an access covers.

use super::SECTOR;
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
pub(crate) fn footprint(offsets: &[u64; LANES], mask: u32, bytes: u32) -> (u64, u64) {
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
        let of = |f, bytes| footprint(&offsets(f), u32::MAX, bytes);
        assert_eq!(of(|i| 4 * i, 4), (4, 128));
        assert_eq!(of(|i| 4 * (31 - i), 4), (4, 128), "backwards");
        assert_eq!(of(|i| 4 * (i * 7 % 32), 4), (4, 128), "permuted");
        assert_eq!(of(|i| 32 * i, 4), (32, 128), "a sector each");
        assert_eq!(of(|_| 64, 4), (1, 4), "broadcast");
        assert_eq!(of(|i| 16 * i, 16), (16, 512));
        assert_eq!(of(|i| i % 2 * 32, 4), (2, 8), "alternating");
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
