//! The formulas, an element at a time, and the pair of sums that a row is reduced to.

use super::access::{Access, MOST};
use crate::device::float::fma;
use crate::device::reduce::Merge;
use crate::device::shared::Shared;
use crate::device::warp::{FULL, shuffle_xor};

/// What a row's dx needs of the whole row: Σg and Σg·x̂, and later the means c₁ and c₂.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    pub(super) ones: f32,
    pub(super) xhat: f32,
}

impl Merge for Pair {
    const IDENTITY: Self = Pair {
        ones: 0.0,
        xhat: 0.0,
    };
    const WORDS: u32 = 2;
    #[inline(always)]
    fn merge(self, other: Self) -> Self {
        Pair {
            ones: self.ones + other.ones,
            xhat: self.xhat + other.xhat,
        }
    }
    #[inline(always)]
    fn from_lane_xor(self, lane_mask: u32) -> Self {
        Pair {
            ones: shuffle_xor(FULL, self.ones, lane_mask),
            xhat: shuffle_xor(FULL, self.xhat, lane_mask),
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: Shared<u32>, index: u32) {
        // SAFETY: the caller's promise.
        unsafe {
            to.store(2 * index, self.ones.to_bits());
            to.store(2 * index + 1, self.xhat.to_bits());
        }
    }
    #[inline(always)]
    unsafe fn load(from: Shared<u32>, index: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Pair {
                ones: f32::from_bits(from.load(2 * index)),
                xhat: f32::from_bits(from.load(2 * index + 1)),
            }
        }
    }
}

impl Pair {
    /// The means c₁ and c₂; c₁ is 0 for RMSNorm.
    #[inline(always)]
    pub(super) fn means(self, width: u32, centred: bool) -> Pair {
        let share = 1.0 / width as f32;
        Pair {
            ones: if centred { self.ones * share } else { 0.0 },
            xhat: self.xhat * share,
        }
    }
}

/// The statistics that the forward pass saved for a row; a mean of 0 for RMSNorm.
#[derive(Clone, Copy)]
pub(super) struct Statistics {
    pub(super) mean: f32,
    pub(super) rstd: f32,
}

impl Statistics {
    /// Those of row `row`.
    ///
    /// # Safety
    /// The row exists; `mean` has one a row or is null, `rstd` has one a row.
    #[inline(always)]
    pub(super) unsafe fn load(mean: *const f32, rstd: *const f32, row: u32) -> Self {
        // SAFETY: the caller's promise.
        unsafe {
            Statistics {
                mean: if mean.is_null() {
                    0.0
                } else {
                    *mean.add(row as usize)
                },
                rstd: *rstd.add(row as usize),
            }
        }
    }

    /// x̂. The mean is subtracted before anything else: x·ρ − μ·ρ would lose |μ|/σ units.
    #[inline(always)]
    pub(super) fn xhat(self, x: f32) -> f32 {
        (x - self.mean) * self.rstd
    }
}

/// What one access adds to its row's sums, and to dγ and dβ of its columns. What lies beyond the
/// row has dy = 0 and adds nothing, whatever its x̂.
#[inline(always)]
pub(super) fn add<A: Access>(
    statistics: Statistics,
    x: A::Raw,
    dy: A::Raw,
    gamma: A::Raw,
    row: &mut Pair,
    columns: Option<(&mut [f32; MOST], &mut [f32; MOST])>,
) {
    let (x, dy, gamma) = (A::unpack(x), A::unpack(dy), A::unpack(gamma));
    for i in 0..A::PER {
        let xhat = statistics.xhat(x[i]);
        let g = dy[i] * gamma[i];
        row.ones += g;
        row.xhat = fma(g, xhat, row.xhat);
    }
    if let Some((dgamma, dbeta)) = columns {
        for i in 0..A::PER {
            dgamma[i] = fma(dy[i], statistics.xhat(x[i]), dgamma[i]);
            dbeta[i] += dy[i];
        }
    }
}

/// dx of one access.
#[inline(always)]
pub(super) fn dx<A: Access>(
    statistics: Statistics,
    means: Pair,
    x: A::Raw,
    dy: A::Raw,
    gamma: A::Raw,
) -> [f32; MOST] {
    let (x, dy, gamma) = (A::unpack(x), A::unpack(dy), A::unpack(gamma));
    let mut out = [0.0; MOST];
    for i in 0..A::PER {
        let rest = dy[i] * gamma[i] - means.ones;
        out[i] = statistics.rstd * fma(-statistics.xhat(x[i]), means.xhat, rest);
    }
    out
}

/// The gradient of a residual connection, added.
#[inline(always)]
pub(super) fn plus<A: Access>(mut values: [f32; MOST], residual: A::Raw) -> [f32; MOST] {
    let residual = A::unpack(residual);
    for i in 0..A::PER {
        values[i] += residual[i];
    }
    values
}
