//! A call of attention: its tensors, run by the kernels and by the oracle.

use kernels_host::attention::{Float, Layout, Options, Sequences, Shape, Window};
use kernels_host::flash_attention_forward::{Outputs, flash_attention_forward};
use kernels_host::{Buffer, Device, Result, Vm};
use proptest::prelude::*;
use reference::View;
use reference::attention::{self as oracle, Batch, Method};
use reference::cases::{Rng, mixed_up_to, normal};
use reference::numbers::{BoundedTensor, Element, Precision};
use std::sync::Arc;

/// A type that kernels and oracle both know.
pub(crate) trait Number: Float + Element {}
impl<T: Float + Element> Number for T {}

/// Shapes and options, without data.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) group: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    /// Queries and keys of each sequence.
    pub(crate) lengths: Vec<(usize, usize)>,
    /// Whether the sequences lie end to end instead of in a dense batch.
    pub(crate) packed: bool,
    pub(crate) options: Options,
}

impl Plan {
    /// One sequence, one head.
    pub(crate) fn new(queries: usize, keys: usize, head_size: usize) -> Plan {
        Plan {
            group: 1,
            kv_heads: 1,
            head_size,
            lengths: vec![(queries, keys)],
            packed: false,
            options: Options::new(1.0 / (head_size as f32).sqrt()),
        }
    }

    pub(crate) fn causal(mut self) -> Plan {
        self.options.causal = true;
        self
    }

    pub(crate) fn query_rows(&self) -> usize {
        let positions: usize = self.lengths.iter().map(|(queries, _)| queries).sum();
        positions * self.group * self.kv_heads
    }

    pub(crate) fn key_rows(&self) -> usize {
        self.lengths.iter().map(|(_, keys)| keys).sum::<usize>() * self.kv_heads
    }

    /// The starts of the sequences, and the end of the last.
    fn bounds(&self, length: impl Fn(&(usize, usize)) -> usize) -> Vec<i32> {
        let mut bounds = vec![0];
        for lengths in &self.lengths {
            bounds.push(bounds[bounds.len() - 1] + length(lengths) as i32);
        }
        bounds
    }

    /// Row number of a query, as both layouts define it.
    pub(crate) fn query_row(&self, sequence: usize, head: usize, position: usize) -> usize {
        let heads = self.group * self.kv_heads;
        let before: usize = self.lengths[..sequence].iter().map(|(nq, _)| nq).sum();
        if self.packed {
            (before + position) * heads + head
        } else {
            before * heads + head * self.lengths[sequence].0 + position
        }
    }

    /// Row number of a key.
    pub(crate) fn key_row(&self, sequence: usize, head: usize, position: usize) -> usize {
        let before: usize = self.lengths[..sequence].iter().map(|(_, nk)| nk).sum();
        if self.packed {
            (before + position) * self.kv_heads + head
        } else {
            before * self.kv_heads + head * self.lengths[sequence].1 + position
        }
    }
}

/// A plan with its tensors.
#[derive(Clone, Debug)]
pub(crate) struct Case<T> {
    pub(crate) plan: Plan,
    pub(crate) q: Vec<T>,
    pub(crate) k: Vec<T>,
    pub(crate) v: Vec<T>,
}

/// What the kernels answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer<T> {
    pub(crate) o: Vec<T>,
    pub(crate) lse: Vec<f32>,
}

impl<T: Number> Case<T> {
    /// Standard normal numbers.
    pub(crate) fn draw(plan: &Plan, seed: u64) -> Case<T> {
        let mut rng = Rng::new(seed);
        let mut tensor = |rows: usize| normal::<T>(&mut rng, rows * plan.head_size, 1.0);
        Case {
            q: tensor(plan.query_rows()),
            k: tensor(plan.key_rows()),
            v: tensor(plan.key_rows()),
            plan: plan.clone(),
        }
    }

    /// Rows of very different scales, up to `top`, and patterns: outliers, ties, subnormal numbers,
    /// negative zeros.
    pub(crate) fn mixed(plan: &Plan, seed: u64, top: f64) -> Case<T> {
        let mut rng = Rng::new(seed);
        let mut tensor = |rows: usize| mixed_up_to::<T>(&mut rng, rows, plan.head_size, top);
        Case {
            q: tensor(plan.query_rows()),
            k: tensor(plan.key_rows()),
            v: tensor(plan.key_rows()),
            plan: plan.clone(),
        }
    }

    /// The same, every number made by a function of row and column.
    pub(crate) fn made(
        plan: &Plan,
        q: impl Fn(usize, usize) -> f64,
        k: impl Fn(usize, usize) -> f64,
        v: impl Fn(usize, usize) -> f64,
    ) -> Case<T> {
        let d = plan.head_size;
        let tensor = |rows: usize, value: &dyn Fn(usize, usize) -> f64| {
            let at = |i: usize| T::from_f64(value(i / d, i % d));
            (0..rows * d).map(at).collect()
        };
        Case {
            plan: plan.clone(),
            q: tensor(plan.query_rows(), &q),
            k: tensor(plan.key_rows(), &k),
            v: tensor(plan.key_rows(), &v),
        }
    }

    /// Calls `work` with the shape on a device.
    pub(crate) fn with_shape<R>(
        &self,
        device: &Arc<dyn Device>,
        work: impl FnOnce(&Shape<'_>) -> Result<R>,
    ) -> Result<R> {
        let plan = &self.plan;
        let (queries, keys) = (plan.bounds(|l| l.0), plan.bounds(|l| l.1));
        let queries = Sequences::new(device, &queries)?;
        let keys = Sequences::new(device, &keys)?;
        let layout = if plan.packed {
            Layout::Packed {
                queries: &queries,
                keys: &keys,
            }
        } else {
            assert!(plan.lengths.iter().all(|l| *l == plan.lengths[0]));
            Layout::Dense {
                batch: plan.lengths.len(),
                queries: plan.lengths[0].0,
                keys: plan.lengths[0].1,
            }
        };
        work(&Shape {
            layout,
            query_heads: plan.group * plan.kv_heads,
            kv_heads: plan.kv_heads,
            head_size: plan.head_size,
        })
    }

    /// The kernels' answer on a device. Outputs are poisoned first.
    pub(crate) fn run(&self, device: &Arc<dyn Device>) -> Result<Answer<T>> {
        let poison = T::from_f64(f64::NAN);
        let q = Buffer::from_slice(device, &self.q)?;
        let k = Buffer::from_slice(device, &self.k)?;
        let v = Buffer::from_slice(device, &self.v)?;
        let mut o = Buffer::from_slice(device, &vec![poison; self.q.len()])?;
        let mut lse = Buffer::from_slice(device, &vec![f32::NAN; self.plan.query_rows()])?;
        self.with_shape(device, |shape| {
            let outputs = Outputs {
                o: &mut o,
                lse: &mut lse,
            };
            flash_attention_forward(shape, &self.plan.options, &q, &k, &v, outputs)
        })?;
        Ok(Answer {
            o: o.to_vec()?,
            lse: lse.to_vec()?,
        })
    }

    pub(crate) fn on_vm(&self) -> Answer<T> {
        let device: Arc<dyn Device> = Vm::new();
        self.run(&device).unwrap_or_else(|error| panic!("{error}"))
    }

    pub(crate) fn with_batch<R>(&self, work: impl FnOnce(&Batch<'_, T>) -> R) -> R {
        let plan = &self.plan;
        let (hkv, d) = (plan.kv_heads, plan.head_size);
        let hq = plan.group * hkv;
        let batch = if plan.packed {
            let (cu_q, cu_k) = (plan.bounds(|l| l.0), plan.bounds(|l| l.1));
            let (tq, tk) = (self.q.len() / (hq * d), self.k.len() / (hkv * d));
            Batch::packed(
                View::new("q", &self.q, [tq, hq, d]).unwrap(),
                View::new("k", &self.k, [tk, hkv, d]).unwrap(),
                View::new("v", &self.v, [tk, hkv, d]).unwrap(),
                &cu_q,
                &cu_k,
            )
        } else {
            let (b, (nq, nk)) = (plan.lengths.len(), plan.lengths[0]);
            Batch::dense(
                View::new("q", &self.q, [b, hq, nq, d]).unwrap(),
                View::new("k", &self.k, [b, hkv, nk, d]).unwrap(),
                View::new("v", &self.v, [b, hkv, nk, d]).unwrap(),
            )
        };
        work(&batch.unwrap())
    }

    pub(crate) fn oracle_options(&self) -> oracle::Options {
        let Options {
            scale,
            causal,
            window,
            softcap,
        } = self.plan.options;
        oracle::Options {
            scale,
            causal,
            window: window.map(|Window { left, right }| oracle::Window {
                left,
                right,
                sinks: 0,
            }),
            softcap,
        }
    }

    pub(crate) fn precision(&self) -> Precision {
        Precision::of(T::DTYPE)
    }

    pub(crate) fn expected(&self) -> oracle::Forward {
        self.with_batch(|batch| {
            oracle::forward(
                batch,
                &self.oracle_options(),
                self.precision(),
                Method::Tiled,
            )
            .unwrap()
        })
    }

    /// Runs on the machine and compares with the oracle.
    pub(crate) fn check(&self) -> Answer<T> {
        let answer = self.on_vm();
        let expected = self.expected();
        right(&self.plan, "o", &expected.o, &answer.o);
        right(&self.plan, "lse", &expected.lse, &answer.lse);
        answer
    }
}

/// Fails unless every element is within its bound.
pub(crate) fn right<T: Element>(
    plan: &Plan,
    what: &'static str,
    expected: &BoundedTensor,
    got: &[T],
) {
    let comparison = expected.compare(what, got).unwrap();
    assert!(
        comparison.is_right(),
        "{what}: {} of {} wrong, first {:?}, worst {:?}\n{plan:?}",
        comparison.failures,
        comparison.elements,
        comparison.first_failure,
        comparison.worst
    );
}

fn options() -> impl Strategy<Value = (bool, Option<Window>, Option<f32>, f32)> {
    let limit = prop_oneof![Just(None), (0_usize..90).prop_map(Some)];
    let window = prop_oneof![
        3 => Just(None),
        1 => (limit.clone(), limit).prop_map(|(left, right)| Some(Window { left, right })),
    ];
    let softcap = prop_oneof![2 => Just(None), 1 => (0.5_f32..30.0).prop_map(Some)];
    let factor = prop_oneof![3 => Just(1.0_f32), 1 => Just(-0.7)];
    (any::<bool>(), window, softcap, factor)
}

/// Shapes around the tiles of every rung, and all options.
pub(crate) fn plans() -> impl Strategy<Value = Plan> {
    let length = || {
        prop_oneof![
            Just(1_usize),
            Just(127),
            Just(128),
            Just(129),
            Just(64),
            Just(65),
            Just(97),
            1_usize..140
        ]
    };
    let lengths = prop_oneof![
        2 => (length(), prop_oneof![6 => length(), 1 => Just(0)], 1_usize..=2)
            .prop_map(|(q, k, batch)| (vec![(q, k); batch], false)),
        1 => proptest::collection::vec((0_usize..70, 0_usize..90), 1..4)
            .prop_map(|lengths| (lengths, true)),
    ];
    let head_size = proptest::sample::select(vec![32_usize, 64, 96, 128, 256]);
    (1_usize..=3, 1_usize..=2, head_size, lengths, options()).prop_map(
        |(group, kv_heads, head_size, (lengths, packed), (causal, window, softcap, factor))| Plan {
            group,
            kv_heads,
            head_size,
            lengths,
            packed,
            options: Options {
                scale: factor / (head_size as f32).sqrt(),
                causal,
                window,
                softcap,
            },
        },
    )
}
