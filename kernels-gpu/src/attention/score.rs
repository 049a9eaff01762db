//! From the dot product q·k to the score.

use crate::device::float::{LOG2_E, ex2_approx, fma, rcp_approx};

/// `s ← c·tanh(s/c)`; c = 0 is no softcap. `tanh t = 1 − 2/(e^{2t} + 1)`: an absolute error of some
/// 2⁻²² everywhere, where the hardware's tanh has 2⁻¹¹. Both ends are reached without a NaN.
#[derive(Clone, Copy)]
pub struct Softcap {
    cap: f32,
    /// 2·log₂e/c
    fold: f32,
    /// 1/c
    inverse: f32,
}

impl Softcap {
    /// The softcap c, or none for 0. Divides once, ahead of the loops.
    #[inline(always)]
    pub fn new(cap: f32) -> Softcap {
        if cap == 0.0 {
            return Softcap {
                cap,
                fold: 0.0,
                inverse: 0.0,
            };
        }
        Softcap {
            cap,
            fold: 2.0 * LOG2_E / cap,
            inverse: 1.0 / cap,
        }
    }

    /// The capped score.
    #[inline(always)]
    pub fn of(self, s: f32) -> f32 {
        if self.cap == 0.0 {
            return s;
        }
        let e = ex2_approx(s * self.fold);
        self.cap * (1.0 - 2.0 * rcp_approx(e + 1.0))
    }

    /// The derivative, from the capped score: 1 − tanh².
    #[inline(always)]
    pub fn slope(self, capped: f32) -> f32 {
        if self.cap == 0.0 {
            return 1.0;
        }
        let tanh = capped * self.inverse;
        fma(-tanh, tanh, 1.0)
    }
}

/// Scores in units of ln 2, so that weights are made by `ex2` alone. The host folds the constants:
///
/// | | without softcap | with softcap c |
/// |---|---|---|
/// | `factor` | scale·log₂e | 2·log₂e·scale/c |
/// | `cap` | 0 | c·log₂e |
#[derive(Clone, Copy)]
pub struct Scoring {
    /// What the dot product is multiplied by.
    pub factor: f32,
    /// The greatest score in units of ln 2, or 0.
    pub cap: f32,
}

impl Scoring {
    /// Turns dot products into scores times log₂e.
    #[inline(always)]
    pub fn scores<const N: usize>(self, dots: &mut [[[f32; 4]; 2]; N]) {
        for n in 0..2 * N {
            for at in 0..4 {
                dots[n / 2][n % 2][at] *= self.factor;
            }
        }
        if self.cap != 0.0 {
            for n in 0..2 * N {
                for at in 0..4 {
                    // c·tanh(x) = c − 2c/(e^{2x} + 1)
                    let e = ex2_approx(dots[n / 2][n % 2][at]);
                    dots[n / 2][n % 2][at] = fma(-2.0 * self.cap, rcp_approx(e + 1.0), self.cap);
                }
            }
        }
    }

    /// [`scores`](Scoring::scores), and `factors` times the derivative of the score with respect to
    /// scale·dot: 1 − tanh².
    #[inline(always)]
    pub fn scores_and_slopes<const N: usize>(
        self,
        dots: &mut [[[f32; 4]; 2]; N],
        factors: &mut [[[f32; 4]; 2]; N],
    ) {
        self.scores(dots);
        if self.cap != 0.0 {
            let inverse = rcp_approx(self.cap);
            for n in 0..2 * N {
                for at in 0..4 {
                    let tanh = dots[n / 2][n % 2][at] * inverse;
                    factors[n / 2][n % 2][at] *= fma(-tanh, tanh, 1.0);
                }
            }
        }
    }
}
