//! Numbers for the calls that are measured: the same on every run and every machine.

use reference::cases::{Rng, normal};
use reference::numbers::Element;

/// Numbers are drawn up to here and then repeat: 10⁹ of them should not take a minute. The period is
/// odd, so that rows do not line up.
const PERIOD: usize = (1 << 22) - 3;

/// A stream of numbers.
pub(super) struct Draw(Rng);

impl Draw {
    pub(super) fn new() -> Draw {
        Draw(Rng::new(20_261_126))
    }

    /// Standard normal.
    pub(super) fn normal<T: Element>(&mut self, count: usize) -> Vec<T> {
        cycle(normal(&mut self.0, count.min(PERIOD), 1.0), count)
    }

    /// Any bytes.
    pub(super) fn bytes(&mut self, count: usize) -> Vec<u8> {
        let some = (0..count.min(PERIOD)).map(|_| (self.0.bits() >> 32) as u8);
        cycle(some.collect(), count)
    }

    /// Scales of codes: between 1/128 and 1/64.
    pub(super) fn scales<T: Element>(&mut self, count: usize) -> Vec<T> {
        let one = |rng: &mut Rng| T::from_f64((1.0 + rng.below(64) as f64 / 64.0) / 128.0);
        let some = (0..count.min(PERIOD)).map(|_| one(&mut self.0));
        cycle(some.collect(), count)
    }

    /// Below `limit`.
    pub(super) fn below(&mut self, limit: usize) -> usize {
        self.0.below(limit)
    }

    /// 0 … count − 1 in a random order.
    pub(super) fn order(&mut self, count: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..count).collect();
        for at in (1..count).rev() {
            order.swap(at, self.0.below(at + 1));
        }
        order
    }
}

fn cycle<T: Copy>(some: Vec<T>, count: usize) -> Vec<T> {
    match some.len() == count {
        true => some,
        false => some.iter().copied().cycle().take(count).collect(),
    }
}
