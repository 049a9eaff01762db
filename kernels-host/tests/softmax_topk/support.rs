//! A case, its run on the PTX machine, and the oracle's judgement.

use kernels_host::softmax_topk::{Logit, Options, Outputs, Parameters, Rung, softmax_topk_with};
use kernels_host::{Buffer, Device, Vm};
use reference::View;
use reference::numbers::{DType, Element, Precision};
use reference::softmax_topk::{Answer, Input, Ks, topk};
use std::sync::Arc;

/// All rungs, with splits that divide nothing evenly.
pub(crate) const RUNGS: [Rung; 4] = [Rung::Warp, Rung::Block, Rung::Split(2), Rung::Split(5)];

/// Inputs and options.
#[derive(Clone, Debug)]
pub(crate) struct Case<T> {
    pub(crate) rows: usize,
    pub(crate) vocabulary: usize,
    pub(crate) logits: Vec<T>,
    pub(crate) mask: Option<Vec<u8>>,
    pub(crate) k: usize,
    pub(crate) ks: Option<Vec<usize>>,
    pub(crate) temperature: f32,
    /// 0 is the machine's usual order, others explore at random.
    pub(crate) schedule: u64,
}

/// The bits of all outputs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Bits {
    pub(crate) probability: Vec<u32>,
    pub(crate) index: Vec<i32>,
    pub(crate) lse: Vec<u32>,
}

impl<T: Logit + Element> Case<T> {
    pub(crate) fn new(rows: usize, vocabulary: usize, logits: Vec<T>) -> Self {
        Case {
            rows,
            vocabulary,
            logits,
            mask: None,
            k: 1,
            ks: None,
            temperature: 1.0,
            schedule: 0,
        }
    }

    pub(crate) fn k(mut self, k: usize) -> Self {
        self.k = k;
        self
    }

    pub(crate) fn on_schedule(mut self, seed: u64) -> Self {
        self.schedule = seed;
        self
    }

    pub(crate) fn run(&self, rung: Option<Rung>) -> Bits {
        let vm = Vm::with_options(
            1 << 30,
            simt::Options {
                seed: self.schedule,
                explore: self.schedule != 0,
                ..simt::Options::default()
            },
        );
        let device: Arc<dyn Device> = vm;
        let logits = Buffer::from_slice(&device, &self.logits).expect("allocated");
        let mask = self
            .mask
            .as_ref()
            .map(|mask| Buffer::from_slice(&device, mask).expect("allocated"));
        let mut probability = Buffer::uninit(&device, self.rows * self.k).expect("allocated");
        let mut index = Buffer::uninit(&device, self.rows * self.k).expect("allocated");
        let mut lse = Buffer::uninit(&device, self.rows).expect("allocated");
        softmax_topk_with(
            Parameters {
                rows: self.rows,
                vocabulary: self.vocabulary,
                k: self.k,
                temperature: self.temperature,
            },
            Options {
                ks: self.ks.as_deref(),
                rung,
            },
            &logits,
            mask.as_ref(),
            Outputs {
                probability: &mut probability,
                index: &mut index,
                lse: &mut lse,
            },
        )
        .unwrap_or_else(|error| panic!("{rung:?} {}: {error}", self.described()));
        let bits = |buffer: &Buffer<f32>| -> Vec<u32> {
            let values = buffer.to_vec().expect("all of it was written");
            values.into_iter().map(f32::to_bits).collect()
        };
        Bits {
            probability: bits(&probability),
            index: index.to_vec().expect("all of it was written"),
            lse: bits(&lse),
        }
    }

    fn described(&self) -> String {
        let masked = if self.mask.is_some() { ", masked" } else { "" };
        format!(
            "{} × {} {} logits, k {}, ks {:?}, temperature {}{masked}",
            self.rows,
            self.vocabulary,
            <T as kernels_host::Element>::NAME,
            self.k,
            self.ks,
            self.temperature
        )
    }

    /// Runs the case and holds the answer against the oracle.
    pub(crate) fn check(&self, rung: impl Into<Option<Rung>>) -> Bits {
        let rung = rung.into();
        let got = self.run(rung);
        let shape = [self.rows, self.vocabulary];
        let mask: Option<Vec<bool>> = self
            .mask
            .as_ref()
            .map(|mask| mask.iter().map(|byte| *byte != 0).collect());
        // The widest row decides the oracle's shape, and a case may have none as wide as its k.
        let ks = self.ks.clone().unwrap_or_else(|| vec![self.k; self.rows]);
        let input = Input {
            logits: View::new("logits", &self.logits, shape).expect("its shape"),
            k: Ks::PerRow(&ks),
            temperature: self.temperature,
            mask: mask
                .as_ref()
                .map(|mask| View::new("mask", mask, shape).expect("its shape")),
        };
        let precision = Precision::scalar(T::DTYPE).with_output(DType::F32);
        let oracle = topk(&input, precision).expect("a good case");
        let float =
            |bits: &[u32]| -> Vec<f32> { bits.iter().map(|b| f32::from_bits(*b)).collect() };
        let cut = |values: &[f32]| -> Vec<f32> {
            let rows = values.chunks(self.k);
            rows.flat_map(|row| row[..oracle.width].to_vec()).collect()
        };
        let probability = cut(&float(&got.probability));
        let index: Vec<i32> = got
            .index
            .chunks(self.k)
            .flat_map(|row| row[..oracle.width].to_vec())
            .collect();
        for (row, behind) in got.index.chunks(self.k).enumerate() {
            assert!(behind[oracle.width..].iter().all(|i| *i == -1), "row {row}");
        }
        let lse = float(&got.lse);
        let answered = [self.rows, oracle.width];
        let answer = Answer {
            prob: View::new("prob", &probability, answered).expect("its shape"),
            index: View::new("index", &index, answered).expect("its shape"),
            lse: View::new("lse", &lse, [self.rows]).expect("its shape"),
        };
        if let Err(wrong) = oracle.judge(&answer).expect("well formed") {
            panic!("{rung:?} {}: {wrong}", self.described());
        }
        got
    }
}
