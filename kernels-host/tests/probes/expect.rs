//! Inputs of probes, and how their outputs are compared.

use kernels_gpu::probes::{THREADS, WORDS};
use libtest_mimic::Failed;

/// What output words hold before a probe runs.
pub const UNTOUCHED: u32 = 0xa5a5_5a5a;

/// Threads, as an index.
pub const N: usize = THREADS as usize;

/// What an input's words are.
#[derive(Clone, Copy)]
pub enum Input {
    /// Any bits.
    Bits,
    /// Bits of f32 of many magnitudes, with zeros, infinities, NaN and subnormals among them.
    Floats,
    /// Bits of positive normal f32 of many magnitudes.
    PositiveFloats,
    /// Bits of f32 between −4 and 4.
    Scores,
    /// Bits of f32 that are small integers.
    SmallIntegers,
    /// Two small integers as bf16.
    SmallBf16,
    /// Two small integers as f16.
    SmallF16,
}

/// A hash of the index: the same words in every run.
fn hash(seed: u64, index: usize) -> u32 {
    let mut x = (seed << 32 | index as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (x ^ x >> 31) as u32
}

impl Input {
    /// The words of an input buffer.
    pub fn words(self, seed: u64) -> Vec<u32> {
        (0..WORDS).map(|index| self.word(seed, index)).collect()
    }

    fn word(self, seed: u64, index: usize) -> u32 {
        let bits = hash(seed, index);
        let small = |x: u32| (x % 17) as f32 - 8.0;
        match self {
            Input::Bits => bits,
            Input::Floats => match bits % 16 {
                0 => 0x7fc0_0000,
                1 => 0x7f80_0000,
                2 => 0xff80_0000,
                3 => 0x8000_0000,
                4 => bits >> 10,
                _ => (bits & 0x8fff_ffff) | 0x3000_0000,
            },
            Input::PositiveFloats => (bits & 0x3fff_ffff).max(0x0080_0000),
            Input::Scores => ((bits as f32 / u32::MAX as f32) * 8.0 - 4.0).to_bits(),
            Input::SmallIntegers => small(bits).to_bits(),
            Input::SmallBf16 => {
                let [low, high] = [small(bits), small(bits >> 8)].map(half::bf16::from_f32);
                u32::from(high.to_bits()) << 16 | u32::from(low.to_bits())
            }
            Input::SmallF16 => {
                let [low, high] = [small(bits), small(bits >> 8)].map(half::f16::from_f32);
                u32::from(high.to_bits()) << 16 | u32::from(low.to_bits())
            }
        }
    }
}

/// What one output word must be.
#[derive(Clone, Copy, Debug)]
pub enum Word {
    /// Just these bits.
    Bits(u32),
    /// An f32 at most `error` away; NaN for NaN, infinite for infinite.
    Near {
        /// The exact value.
        value: f64,
        /// How far off it may be.
        error: f64,
    },
    /// Any NaN of f32.
    NaN,
}

/// What all output words must be.
pub struct Expected(Vec<Word>);

impl Expected {
    /// Nothing written.
    pub fn untouched() -> Expected {
        Expected(vec![Word::Bits(UNTOUCHED); WORDS])
    }

    /// A word a thread, the rest untouched.
    pub fn each(word: impl Fn(usize) -> Word) -> Expected {
        Expected::registers::<1>(|i| [word(i)])
    }

    /// Bits a thread, the rest untouched.
    pub fn bits(word: impl Fn(usize) -> u32) -> Expected {
        Expected::each(|i| Word::Bits(word(i)))
    }

    /// `R` words a thread, word `r` of thread `i` at `i + 64·r`; the rest untouched.
    pub fn registers<const R: usize>(words: impl Fn(usize) -> [Word; R]) -> Expected {
        let mut expected = Expected::untouched();
        for i in 0..N {
            for (r, word) in words(i).into_iter().enumerate() {
                expected.0[i + N * r] = word;
            }
        }
        expected
    }

    /// The first words are these, the rest untouched.
    pub fn first(words: impl IntoIterator<Item = u32>) -> Expected {
        let mut expected = Expected::untouched();
        for (slot, word) in expected.0.iter_mut().zip(words) {
            *slot = Word::Bits(word);
        }
        expected
    }

    /// Holds an output against it.
    pub fn compare(&self, got: &[u32]) -> Result<(), Failed> {
        for (index, (expected, got)) in self.0.iter().zip(got).enumerate() {
            let value = f64::from(f32::from_bits(*got));
            let right = match *expected {
                Word::Bits(bits) => bits == *got,
                Word::NaN => value.is_nan(),
                Word::Near { value: exact, .. } if exact.is_infinite() => value == exact,
                Word::Near {
                    value: exact,
                    error,
                } => (value - exact).abs() <= error,
            };
            if !right {
                return Err(
                    format!("word {index} is {got:#010x} ({value:e}), not {expected:x?}").into(),
                );
            }
        }
        Ok(())
    }
}
