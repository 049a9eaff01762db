//! f32 arithmetic as implementations do it: in several orders, fused or not, with exact or
//! approximate functions, on ordinary units or tensor cores.

use reference::cases::Rng;

/// How a sum is put together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Order {
    Sequential,
    Reversed,
    /// A balanced tree.
    Pairwise,
    /// Chains of this many, then a tree.
    Tiled(usize),
    /// As many threads as this, each with every so-many-th term, then a tree.
    Strided(usize),
    /// A random tree over randomly permuted terms.
    RandomTree,
    /// Blocks of 16 added exactly, then truncated to f32 with the running sum.
    TensorCore,
}

/// One way to compute.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub name: &'static str,
    pub order: Order,
    /// Products are fused into sums.
    pub fma: bool,
    /// `ex2.approx`, `lg2.approx`, approximate division and reciprocal root.
    pub approximate: bool,
    /// Softmax with a running maximum in one pass.
    pub online: bool,
    /// Weights are rounded to the input type before they are multiplied.
    pub rounded_weights: bool,
}

const PLAIN: Style = Style {
    name: "sequential",
    order: Order::Sequential,
    fma: false,
    approximate: false,
    online: false,
    rounded_weights: false,
};

/// The honest styles.
pub const STYLES: [Style; 9] = [
    PLAIN,
    Style {
        name: "sequential, fused, approximate, online",
        fma: true,
        approximate: true,
        online: true,
        ..PLAIN
    },
    Style {
        name: "reversed, rounded weights",
        order: Order::Reversed,
        rounded_weights: true,
        ..PLAIN
    },
    Style {
        name: "pairwise",
        order: Order::Pairwise,
        ..PLAIN
    },
    Style {
        name: "pairwise, fused, online",
        order: Order::Pairwise,
        fma: true,
        online: true,
        ..PLAIN
    },
    Style {
        name: "tiled, fused, approximate",
        order: Order::Tiled(32),
        fma: true,
        approximate: true,
        ..PLAIN
    },
    Style {
        name: "strided, online",
        order: Order::Strided(32),
        online: true,
        ..PLAIN
    },
    Style {
        name: "random tree, approximate",
        order: Order::RandomTree,
        approximate: true,
        ..PLAIN
    },
    Style {
        name: "random tree, fused, rounded weights",
        order: Order::RandomTree,
        fma: true,
        rounded_weights: true,
        ..PLAIN
    },
];

/// Tensor cores, for products of 16-bit numbers.
pub const TENSOR_CORE: [Style; 2] = [
    Style {
        name: "tensor core",
        order: Order::TensorCore,
        approximate: true,
        ..PLAIN
    },
    Style {
        name: "tensor core, rounded weights",
        order: Order::TensorCore,
        rounded_weights: true,
        ..PLAIN
    },
];

/// `a·b + c`, rounded once. (The product is exact in f64; rounding twice, to f64 and f32, differs
/// from once by less than 2⁻⁵³.)
pub fn fma(a: f32, b: f32, c: f32) -> f32 {
    (f64::from(a) * f64::from(b) + f64::from(c)) as f32
}

/// A relative error of up to `units` unit roundoffs that depends on the bits of `x` alone, as the
/// error of a table does.
fn perturbed(exact: f64, x: f32, units: f64) -> f32 {
    let noise = Rng::new(u64::from(x.to_bits())).uniform(-1.0, 1.0);
    (exact * (1.0 + units * 2f64.powi(-24) * noise)) as f32
}

impl Style {
    pub fn mul_add(self, a: f32, b: f32, c: f32) -> f32 {
        if self.fma { fma(a, b, c) } else { a * b + c }
    }

    /// Within 4u, the last of it the rounding to f32.
    pub fn div(self, a: f32, b: f32) -> f32 {
        if self.approximate {
            perturbed(f64::from(a) / f64::from(b), b, 3.0)
        } else {
            a / b
        }
    }

    /// `e^(x − max)`. The fused form shifts all terms by the rounding of `max·c`, which is harmless
    /// only while the maximum is the same for all of them.
    pub fn exp_minus(self, x: f32, max: f32) -> f32 {
        let c = std::f32::consts::LOG2_E;
        match (self.approximate, self.online) {
            (true, true) => exp2_approximate((x - max) * c),
            (true, false) => exp2_approximate(fma(x, c, -(max * c))),
            (false, _) => (x - max).exp(),
        }
    }

    pub fn ln(self, x: f32) -> f32 {
        if self.approximate {
            // lg2.approx: 2⁻²² absolute near 1, relative elsewhere.
            let noise = Rng::new(u64::from(x.to_bits())).uniform(-1.0, 1.0) * 0.9 * 2f64.powi(-22);
            let log2 = f64::from(x).log2();
            ((log2 + noise * log2.abs().clamp(0.0, 1.0).max(1.0 - log2.abs())) as f32)
                * std::f32::consts::LN_2
        } else {
            x.ln()
        }
    }

    /// x^y.
    pub fn pow(self, x: f32, y: f32) -> f32 {
        if self.approximate {
            exp2_approximate(y * (f64::from(x).log2() as f32))
        } else {
            x.powf(y)
        }
    }

    pub fn sum(self, terms: &[f32]) -> f32 {
        self.reduce(terms.len(), |i| terms[i], |total, i| total + terms[i])
    }

    pub fn dot(self, a: &[f32], b: &[f32]) -> f32 {
        if self.order == Order::TensorCore {
            return tensor_core(a, b);
        }
        self.reduce(
            a.len(),
            |i| a[i] * b[i],
            |total, i| self.mul_add(a[i], b[i], total),
        )
    }

    /// Reduces terms 0..n: `leaf(i)` is one alone, `chain(total, i)` adds one to a running total.
    fn reduce(
        self,
        n: usize,
        leaf: impl Fn(usize) -> f32,
        chain: impl Fn(f32, usize) -> f32,
    ) -> f32 {
        let run = |mut indices: Box<dyn Iterator<Item = usize>>| match indices.next() {
            Some(first) => indices.fold(leaf(first), &chain),
            None => 0.0,
        };
        match self.order {
            Order::Sequential | Order::TensorCore => run(Box::new(0..n)),
            Order::Reversed => run(Box::new((0..n).rev())),
            Order::Pairwise => tree(&(0..n).map(&leaf).collect::<Vec<_>>()),
            Order::Tiled(tile) => {
                let tiles = (0..n).step_by(tile);
                tree(
                    &tiles
                        .map(|t| run(Box::new(t..(t + tile).min(n))))
                        .collect::<Vec<_>>(),
                )
            }
            Order::Strided(threads) => {
                let threads = 0..threads.min(n);
                let step = threads.len().max(1);
                tree(
                    &threads
                        .map(|t| run(Box::new((t..n).step_by(step))))
                        .collect::<Vec<_>>(),
                )
            }
            Order::RandomTree => {
                let mut rng = Rng::new(n as u64);
                let mut parts: Vec<f32> = (0..n).map(&leaf).collect();
                rng.shuffle(&mut parts);
                while parts.len() > 1 {
                    let i = rng.below(parts.len() - 1);
                    let right = parts.swap_remove(i + 1);
                    parts[i] += right;
                }
                parts.first().copied().unwrap_or(0.0)
            }
        }
    }
}

fn tree(parts: &[f32]) -> f32 {
    match parts {
        [] => 0.0,
        [one] => *one,
        _ => {
            let (left, right) = parts.split_at(parts.len() / 2);
            tree(left) + tree(right)
        }
    }
}

/// `ex2.approx`: within 2⁻²² (4u), the last of it the rounding to f32; subnormal results flushed.
pub fn exp2_approximate(x: f32) -> f32 {
    let result = perturbed(f64::from(x).exp2(), x, 3.0);
    if result < f32::MIN_POSITIVE {
        0.0
    } else {
        result
    }
}

/// Blocks of 16 products added exactly to the running sum, which is then truncated.
fn tensor_core(a: &[f32], b: &[f32]) -> f32 {
    let mut total = 0.0f32;
    for (a, b) in a.chunks(16).zip(b.chunks(16)) {
        let block: f64 = a
            .iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        total = truncated(f64::from(total) + block);
    }
    total
}

/// Towards zero.
fn truncated(x: f64) -> f32 {
    let nearest = x as f32;
    if f64::from(nearest).abs() > x.abs() {
        if nearest > 0.0 {
            nearest.next_down()
        } else {
            nearest.next_up()
        }
    } else {
        nearest
    }
}
