//! What both passes of rung 2 are given.

use crate::attention::{Half, Scoring, Sequence, Sums};
use crate::device::float::{LOG2_E, ex2_approx};

/// The tensors and options of a call.
#[derive(Clone, Copy)]
pub(super) struct Call<E> {
    pub(super) q: *const E,
    pub(super) k: *const E,
    pub(super) v: *const E,
    pub(super) d_o: *const E,
    pub(super) lse: *const f32,
    pub(super) delta: *const f32,
    pub(super) sequence: Sequence,
    pub(super) scoring: Scoring,
    pub(super) scale: f32,
}

impl<E: Half> Call<E> {
    /// lse in base 2 and D of a packed row. A row that does not exist, or with only scores of −inf,
    /// has no weights: as if its normaliser were infinite.
    ///
    /// # Safety
    /// lse and D have the rows of q.
    #[inline(always)]
    pub(super) unsafe fn saved(&self, row: u32) -> (f32, f32) {
        if row >= self.sequence.rows() {
            return (f32::INFINITY, 0.0);
        }
        let at = self.sequence.query_row(row);
        // SAFETY: the row is one of q's.
        let (lse, delta) = unsafe { (*self.lse.add(at), *self.delta.add(at)) };
        if lse == f32::NEG_INFINITY {
            return (f32::INFINITY, 0.0);
        }
        (lse * LOG2_E, delta)
    }

    /// Turns q·k and do·v into P and dX. `saved` gives lse and D of a sum, from its column of a
    /// lane's `4·N` (two to each eight) and its row of two.
    #[inline(always)]
    pub(super) fn weights<const N: usize>(
        &self,
        s: &mut Sums<N>,
        dp: &mut Sums<N>,
        saved: impl Fn(usize, usize) -> (f32, f32),
    ) {
        for n in 0..2 * N {
            for at in 0..4 {
                dp[n / 2][n % 2][at] -= saved(2 * n + at % 2, at / 2).1;
            }
        }
        self.scoring.scores_and_slopes(s, dp);
        for n in 0..2 * N {
            for at in 0..4 {
                let (lse, _) = saved(2 * n + at % 2, at / 2);
                let p = ex2_approx(s[n / 2][n % 2][at] - lse);
                s[n / 2][n % 2][at] = p;
                dp[n / 2][n % 2][at] *= p;
            }
        }
    }
}
