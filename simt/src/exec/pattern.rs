//! How the addresses of a warp's lanes lie. Most accesses of most programs are regular: the same
//! place for every lane, or equal steps from lane to lane. What is regular is checked at its two
//! ends and moved in one piece.

use super::registers::{FULL, LANES, Registers};
use super::warp::Warp;
use crate::lower::program::{Address, Reg};
use std::hint::black_box;

/// One address a lane. Those of lanes outside the mask hold anything.
pub(crate) type Addresses = [u64; LANES];

/// How the addresses of the lanes of a mask lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Lane `i` is at `origin + i * stride`; zero for one place. No lane wraps around.
    Strided {
        /// Where lane 0 is, or would be.
        origin: u64,
        /// Bytes from one lane to the next.
        stride: i64,
    },
    /// Anything.
    Any,
}

/// Steps beyond this are no pattern, so that 32 of them cannot wrap around.
const WIDEST: u64 = 1 << 32;

/// What addresses are computed in.
trait Bits: Copy + Into<u64> {
    /// How much more the next is, if that is a number of 32 bits.
    fn step(self, next: Self) -> Option<u32>;
    /// The one so many steps on, which may wrap around.
    fn on(self, step: u32, steps: u32) -> Self;
    fn differing(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
}

macro_rules! bits {
    ($($t:ty, $step:expr);*) => {$(
        impl Bits for $t {
            #[inline(always)]
            fn step(self, next: Self) -> Option<u32> {
                $step(next.wrapping_sub(self))
            }

            #[inline(always)]
            fn on(self, step: u32, steps: u32) -> Self {
                self.wrapping_add(Self::from(step).wrapping_mul(Self::from(steps)))
            }

            #[inline(always)]
            fn differing(self, other: Self) -> Self {
                self ^ other
            }

            #[inline(always)]
            fn or(self, other: Self) -> Self {
                self | other
            }
        }
    )*};
}
bits!(u32, Some; u64, |step| u32::try_from(step).ok());

/// The number of each lane.
static LANE: [u32; LANES] = {
    let mut all = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        all[lane] = lane as u32;
        lane += 1;
    }
    all
};

/// Whether steps are too wide, or wrap around between the first and the last lane.
#[inline(always)]
fn uneven(stride: u64, first: u64, last: u64) -> bool {
    let wide = stride.wrapping_add(WIDEST) > 2 * WIDEST;
    let wraps = (stride as i64 >= 0) != (last >= first) && stride != 0;
    wide || wraps
}

impl Pattern {
    /// The pattern of the lanes of a mask, which is not empty.
    #[inline(always)]
    pub(crate) fn of(targets: &Addresses, mask: u32) -> Self {
        Self::of_lanes(targets, 0, mask)
    }

    /// The pattern of `lanes`, each more by `offset`.
    #[inline(always)]
    fn of_lanes<T: Bits>(lanes: &[T; LANES], offset: u64, mask: u32) -> Self {
        let at = |lane: u32| -> u64 { lanes[lane as usize % LANES].into() };
        if mask == FULL
            && let Some(step) = lanes[0].step(lanes[1])
        {
            return Self::of_warp(lanes, step, offset);
        }
        let first = mask.trailing_zeros();
        let rest = mask & mask.wrapping_sub(1);
        let stride = if rest == 0 {
            0
        } else {
            let second = rest.trailing_zeros();
            let step = at(second).wrapping_sub(at(first));
            if second != first + 1 && step != 0 {
                return Pattern::Any;
            }
            step
        };
        let origin = at(first).wrapping_sub(stride.wrapping_mul(u64::from(first)));
        // Without a way out of the loop, for the vector units.
        let mut differs = 0;
        for (i, lane) in lanes.iter().enumerate() {
            let expected = origin.wrapping_add(stride.wrapping_mul(i as u64));
            let differ = (*lane).into() ^ expected;
            differs |= if mask >> i & 1 != 0 { differ } else { 0 };
        }
        let (low, high) = (at(first), at(31 - mask.leading_zeros()));
        if differs != 0 || uneven(stride, low.wrapping_add(offset), high.wrapping_add(offset)) {
            return Pattern::Any;
        }
        Pattern::Strided {
            origin: origin.wrapping_add(offset),
            stride: stride as i64,
        }
    }

    /// The same of a whole warp, where no lane needs to be left out, and whose steps are small or,
    /// in 32 bits, perhaps negative.
    #[inline(always)]
    fn of_warp<T: Bits>(lanes: &[T; LANES], step: u32, offset: u64) -> Self {
        // A compiler that knew the numbers would find a way of its own for each lane, and no two
        // lanes would share a vector.
        let (origin, step, number) = black_box((lanes[0], step, &LANE));
        let zero = origin.differing(origin);
        let each = lanes.iter().zip(number);
        let differs = each.fold(zero, |all, (lane, number)| {
            all.or(lane.differing(origin.on(step, *number)))
        });
        let [first, second, last] = [0, 1, 31].map(|lane: usize| -> u64 { lanes[lane].into() });
        let stride = second.wrapping_sub(first);
        // Narrow lanes are compared as such: between the ends they may not have wrapped.
        let end = first.wrapping_add(stride.wrapping_mul(31));
        let (low, high) = (first.wrapping_add(offset), last.wrapping_add(offset));
        if differs.into() != 0 || end != last || uneven(stride, low, high) {
            return Pattern::Any;
        }
        Pattern::Strided {
            origin: low,
            stride: stride as i64,
        }
    }

    /// The pattern of the addresses of an operand, without the addresses.
    #[inline(always)]
    pub(crate) fn of_operand(registers: &Registers, address: &Address, mask: u32) -> Self {
        let offset = address.offset as u64;
        match address.base {
            None => Pattern::Strided {
                origin: offset,
                stride: 0,
            },
            Some(Reg { plane, planes: 2 }) => Self::of_lanes(registers.wide(plane), offset, mask),
            Some(Reg { plane, .. }) => Self::of_lanes(registers.narrow(plane), offset, mask),
        }
    }

    /// Where a lane is, if the lanes are regular.
    #[inline(always)]
    pub(crate) fn at(self, lane: usize) -> Option<u64> {
        match self {
            Pattern::Strided { origin, stride } => {
                Some(origin.wrapping_add((stride as u64).wrapping_mul(lane as u64)))
            }
            Pattern::Any => None,
        }
    }

    /// The same with every address less by `base`.
    #[inline(always)]
    pub(crate) fn less(self, base: u64) -> Self {
        match self {
            Pattern::Strided { origin, stride } => Pattern::Strided {
                origin: origin.wrapping_sub(base),
                stride,
            },
            Pattern::Any => Pattern::Any,
        }
    }

    /// The lowest and the highest address, if the lanes are regular.
    #[inline(always)]
    pub(crate) fn ends(self, mask: u32) -> Option<(u64, u64)> {
        let Pattern::Strided { origin, stride } = self else {
            return None;
        };
        let at = |lane: u32| origin.wrapping_add_signed(stride.wrapping_mul(i64::from(lane)));
        let (a, b) = (at(mask.trailing_zeros()), at(31 - mask.leading_zeros()));
        Some((a.min(b), a.max(b)))
    }

    /// Where the bytes begin, if the lanes, all of them, access consecutive pieces of `bytes`.
    #[inline(always)]
    pub(crate) fn contiguous(self, mask: u32, bytes: u32) -> Option<u64> {
        match self {
            Pattern::Strided { origin, stride } if mask == FULL && stride == i64::from(bytes) => {
                Some(origin)
            }
            _ => None,
        }
    }

    /// The place that all lanes access, if there is one.
    #[inline(always)]
    pub(crate) fn uniform(self) -> Option<u64> {
        match self {
            Pattern::Strided { origin, stride: 0 } => Some(origin),
            _ => None,
        }
    }
}

/// The addresses of all lanes.
#[inline(always)]
pub(crate) fn addresses(warp: &Warp, address: &Address) -> Addresses {
    let mut all = [address.offset as u64; LANES];
    match address.base {
        None => {}
        Some(Reg { plane, planes: 2 }) => {
            for (at, base) in all.iter_mut().zip(warp.registers.wide(plane)) {
                *at = at.wrapping_add(*base);
            }
        }
        Some(Reg { plane, .. }) => {
            for (at, base) in all.iter_mut().zip(warp.registers.narrow(plane)) {
                *at = at.wrapping_add(u64::from(*base));
            }
        }
    }
    all
}

/// Finds the addresses of all lanes and their pattern with the vector units of the host.
pub(crate) struct Resolve<'a> {
    pub(crate) warp: &'a Warp,
    pub(crate) address: &'a Address,
    pub(crate) mask: u32,
    pub(crate) targets: &'a mut Addresses,
}

impl pulp::NullaryFnOnce for Resolve<'_> {
    type Output = Pattern;

    #[inline(always)]
    fn call(self) -> Pattern {
        *self.targets = addresses(self.warp, self.address);
        Pattern::of_operand(&self.warp.registers, self.address, self.mask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lanes(f: impl Fn(u64) -> u64) -> Addresses {
        std::array::from_fn(|i| f(i as u64))
    }

    #[test]
    fn regular_lanes_are_seen() {
        let rows = lanes(|i| 4096 + 272 * i);
        let strided = |origin, stride| Pattern::Strided { origin, stride };
        assert_eq!(Pattern::of(&rows, FULL), strided(4096, 272));
        assert_eq!(Pattern::of(&rows, 0xff0), strided(4096, 272));
        assert_eq!(Pattern::of(&lanes(|_| 7), 0x8001_0010), strided(7, 0));
        assert_eq!(Pattern::of(&lanes(|i| 400 - 4 * i), FULL), strided(400, -4));
        assert_eq!(Pattern::of(&rows, 0x10).uniform(), Some(4096 + 4 * 272));
        assert_eq!(
            Pattern::of(&lanes(|i| 4 * i), FULL).contiguous(FULL, 4),
            Some(0)
        );
    }

    #[test]
    fn irregular_lanes_are_not() {
        let mut almost = lanes(|i| 4 * i);
        almost[17] = 4;
        assert_eq!(Pattern::of(&almost, FULL), Pattern::Any);
        let others = Pattern::of(&almost, !(1 << 17));
        assert_eq!(
            others,
            Pattern::Strided {
                origin: 0,
                stride: 4
            }
        );
        assert_eq!(Pattern::of(&lanes(|i| 4 * i), 0b101), Pattern::Any, "a gap");
        let huge = lanes(|i| i << 40);
        assert_eq!(Pattern::of(&huge, FULL), Pattern::Any);
        let wraps = lanes(|i| 64u64.wrapping_sub(4 * i));
        assert_eq!(Pattern::of(&wraps, FULL), Pattern::Any);
        assert_eq!(Pattern::of(&wraps, 0xffff).ends(0xffff), Some((4, 64)));
    }
}
