//! Orders of summation in f32.

use reference::cases::Rng;

/// In which order terms are added, and how each step rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// First to last.
    Sequential,
    /// Last to first.
    Reversed,
    /// Halves, recursively.
    Pairwise,
    /// This many running sums, term i in sum i mod n, then pairwise: lanes of a warp.
    Lanes(usize),
    /// A binary tree drawn at random.
    RandomTree,
    /// Blocks of this many terms added exactly to the running sum, which is then truncated: a
    /// tensor core.
    TensorCore(usize),
}

impl Order {
    /// Orders for f32 inputs.
    pub(crate) const NEAREST: [Self; 6] = [
        Self::Sequential,
        Self::Reversed,
        Self::Pairwise,
        Self::Lanes(4),
        Self::Lanes(32),
        Self::RandomTree,
    ];

    /// Orders for 16-bit inputs.
    pub(crate) const SIXTEEN_BIT: [Self; 7] = [
        Self::Sequential,
        Self::Reversed,
        Self::Pairwise,
        Self::Lanes(32),
        Self::RandomTree,
        Self::TensorCore(8),
        Self::TensorCore(16),
    ];
}

/// An order, with or without fused multiply-add.
#[derive(Clone, Debug)]
pub(crate) struct Arithmetic {
    pub(crate) order: Order,
    pub(crate) fma: bool,
    pub(crate) rng: Rng,
}

/// Towards zero.
fn truncate(x: f64) -> f32 {
    let near = x as f32;
    if f64::from(near).abs() > x.abs() {
        f32::from_bits(near.to_bits() - 1)
    } else {
        near
    }
}

impl Arithmetic {
    /// `start + Σ a_i·b_i`.
    pub(crate) fn dot(&mut self, start: f32, a: &[f32], b: &[f32]) -> f32 {
        let fma = self.fma;
        let step = |sum: f32, (&a, &b): (&f32, &f32)| match fma {
            true => a.mul_add(b, sum),
            false => sum + a * b,
        };
        let pairs = || a.iter().zip(b);
        match self.order {
            Order::Sequential => pairs().fold(start, step),
            Order::Reversed => start + pairs().rev().fold(0.0, step),
            Order::Lanes(lanes) => {
                let mut sums = vec![0.0; lanes];
                for (i, pair) in pairs().enumerate() {
                    sums[i % lanes] = step(sums[i % lanes], pair);
                }
                start + pairwise(&sums)
            }
            Order::TensorCore(block) => {
                a.chunks(block)
                    .zip(b.chunks(block))
                    .fold(start, |sum, (a, b)| {
                        let exact = |(&a, &b): (&f32, &f32)| f64::from(a) * f64::from(b);
                        truncate(f64::from(sum) + a.iter().zip(b).map(exact).sum::<f64>())
                    })
            }
            Order::Pairwise => {
                let products: Vec<f32> = pairs().map(|(a, b)| a * b).collect();
                start + pairwise(&products)
            }
            Order::RandomTree => {
                let mut sums: Vec<f32> = pairs().map(|(a, b)| a * b).collect();
                while sums.len() > 1 {
                    let one = sums.swap_remove(self.rng.below(sums.len()));
                    let other = self.rng.below(sums.len());
                    sums[other] += one;
                }
                start + sums.first().copied().unwrap_or(0.0)
            }
        }
    }

    /// `start + Σ x_i`.
    pub(crate) fn sum(&mut self, start: f32, x: &[f32]) -> f32 {
        let ones = vec![1.0; x.len()];
        self.dot(start, x, &ones)
    }
}

fn pairwise(x: &[f32]) -> f32 {
    match x {
        [] => 0.0,
        [one] => *one,
        _ => {
            let (low, high) = x.split_at(x.len() / 2);
            pairwise(low) + pairwise(high)
        }
    }
}

/// How the exponential is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exp {
    /// The C library's.
    Library,
    /// `ex2.approx`: any result within 2⁻²² of the right one, but 1 for 0 as the PTX manual says;
    /// subnormals flushed to zero.
    Approximate,
}

impl Exp {
    /// `2^x`.
    pub(crate) fn exp2(self, x: f32) -> f32 {
        match self {
            Self::Library => x.exp2(),
            Self::Approximate if x == 0.0 => 1.0,
            Self::Approximate => {
                // An error that depends on the argument alone, like a table's.
                let hash = u64::from(x.to_bits()).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
                let share = hash as f64 * 2f64.powi(-52) - 1.0;
                let exact = f64::from(x).exp2();
                let y = (exact * (1.0 + 0.75 * share * 2f64.powi(-22))) as f32;
                if y < f32::MIN_POSITIVE { 0.0 } else { y }
            }
        }
    }

    /// `e^x`; approximately as `2^(x·log₂e)`.
    pub(crate) fn exp(self, x: f32) -> f32 {
        match self {
            Self::Library => x.exp(),
            Self::Approximate => self.exp2(x * std::f32::consts::LOG2_E),
        }
    }
}
