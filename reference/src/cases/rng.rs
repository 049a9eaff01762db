//! A counter-based random number generator.

/// SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014) seen as
/// a counter: number `i` of stream `key` is `mix(key + (i+1)·φ)`, so that any number can be had
/// without those before it and the sequence is the same on every machine.
///
/// Not for secrets: a grader that must not be predicted draws its seed elsewhere.
#[derive(Clone, Debug)]
pub struct Rng {
    key: u64,
    counter: u64,
}

/// 2⁶⁴/golden ratio, odd: the step that visits all 64-bit numbers.
const PHI: u64 = 0x9e37_79b9_7f4a_7c15;

/// SplitMix64's finaliser.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Rng {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self {
            key: seed,
            counter: 0,
        }
    }

    /// An independent stream named by `label`: what one tensor draws does not move another's.
    pub fn fork(&self, label: u64) -> Self {
        Self {
            key: mix(mix(self.key) ^ mix(label.wrapping_add(PHI))),
            counter: 0,
        }
    }

    /// The next 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        mix(self.key.wrapping_add(self.counter.wrapping_mul(PHI)))
    }

    /// Uniform in `0..n` (Lemire's multiplication, with rejection, so without bias).
    ///
    /// # Panics
    /// When `n` is zero: there is nothing to draw from.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "Rng::below(0)");
        let n = n as u64;
        loop {
            let product = u128::from(self.bits()) * u128::from(n);
            // The low half below 2⁶⁴ mod n marks the draws that would favour small results.
            if product as u64 >= n.wrapping_neg() % n {
                return (product >> 64) as usize;
            }
        }
    }

    /// Uniform in `low..=high`.
    pub fn between(&mut self, low: usize, high: usize) -> usize {
        low + self.below(high - low + 1)
    }

    /// Uniform in `[0, 1)`, a multiple of 2⁻⁵³.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 * 2f64.powi(-53)
    }

    /// Uniform in `[low, high)`.
    pub fn uniform(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// True with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// Standard normal (Box and Muller's cosine branch).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// One of `items`.
    ///
    /// # Panics
    /// When there are none.
    pub fn choose<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// First outputs of SplitMix64 for seed 1234567, as published with its reference code.
    #[test]
    fn the_sequence_is_splitmix64() {
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.bits(), 6_457_827_717_110_365_317);
        assert_eq!(rng.bits(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn forks_are_reproducible_and_differ() {
        let rng = Rng::new(7);
        assert_eq!(rng.fork(1).bits(), rng.fork(1).bits());
        assert_ne!(rng.fork(1).bits(), rng.fork(2).bits());
        assert_ne!(rng.fork(0).bits(), rng.clone().bits());
    }

    #[test]
    fn draws_have_the_moments_they_should() {
        let mut rng = Rng::new(3);
        let n = 200_000;
        let (mut mean, mut square, mut counts) = (0.0, 0.0, [0usize; 5]);
        for _ in 0..n {
            let x = rng.normal();
            mean += x / n as f64;
            square += x * x / n as f64;
            counts[rng.below(5)] += 1;
        }
        // Six standard deviations of each estimate.
        assert!(mean.abs() < 6.0 / (n as f64).sqrt());
        assert!((square - 1.0).abs() < 6.0 * (2.0 / n as f64).sqrt());
        for count in counts {
            assert!((count as f64 - 40_000.0).abs() < 6.0 * 32_000f64.sqrt());
        }
    }
}
