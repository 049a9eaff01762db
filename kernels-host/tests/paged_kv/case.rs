//! A call of paged attention: its tensors, run by the kernels and by the oracle.

use half::{bf16, f16};
use kernels_host::attention::{Float, Sequences};
use kernels_host::paged_kv::{
    BlockTable, Format, Options, Outputs, PageShape, Pages, Queries, Rung, Store, paged_attention,
    paged_attention_by,
};
use kernels_host::{Buffer, Device, Result, Vm};
use reference::View;
use reference::attention::{self as oracle, Method};
use reference::cases::Rng;
use reference::numbers::{BoundedTensor, Element, Precision};
use reference::paged_kv::formats::{Int4Vector, Int8Vector};
use reference::paged_kv::{self, PagedKeys, PagedQueries};
use std::sync::Arc;

/// A type that kernels and oracle both know.
pub(crate) trait Number: Float + Element {}
impl<T: Float + Element> Number for T {}

/// Shapes and options, without data.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) page: usize,
    pub(crate) kv_heads: usize,
    pub(crate) group: usize,
    pub(crate) head_size: usize,
    pub(crate) format: Format,
    /// Queries and keys of each sequence; one query each is decoded without starts.
    pub(crate) lengths: Vec<(usize, usize)>,
    pub(crate) options: Options,
    pub(crate) sink_logits: bool,
}

impl Plan {
    /// One sequence, decoded, one head.
    pub(crate) fn new(format: Format, head_size: usize, keys: usize) -> Plan {
        Plan {
            page: 16,
            kv_heads: 1,
            group: 1,
            head_size,
            format,
            lengths: vec![(1, keys)],
            options: Options::new(1.0 / (head_size as f32).sqrt()),
            sink_logits: false,
        }
    }

    pub(crate) fn heads(&self) -> usize {
        self.kv_heads * self.group
    }

    fn queries(&self) -> usize {
        self.lengths.iter().map(|l| l.0).sum()
    }

    /// Row of a query and head.
    pub(crate) fn row(&self, sequence: usize, query: usize, head: usize) -> usize {
        let before: usize = self.lengths[..sequence].iter().map(|l| l.0).sum();
        (before + query) * self.heads() + head
    }
}

/// Pages on the host; what is not written is poison.
#[derive(Clone, Debug)]
pub(crate) enum Host {
    F16(Vec<f16>),
    Bf16(Vec<bf16>),
    Int8(Vec<i8>, Vec<f16>),
    Int4(Vec<u8>, Vec<f16>, Vec<f16>),
}

impl Host {
    fn poison(format: Format, vectors: usize, d: usize) -> Host {
        let nan = || vec![f16::NAN; vectors];
        match format {
            Format::F16 => Host::F16(vec![f16::NAN; vectors * d]),
            Format::Bf16 => Host::Bf16(vec![bf16::NAN; vectors * d]),
            Format::Int8 => Host::Int8(vec![77; vectors * d], nan()),
            Format::Int4 => Host::Int4(vec![0x9a; vectors * d.div_ceil(2)], nan(), nan()),
        }
    }

    pub(crate) fn write(&mut self, vector: usize, x: &[f32]) {
        let d = x.len();
        let range = vector * d..(vector + 1) * d;
        match self {
            Host::F16(to) => {
                let x: Vec<f16> = x.iter().map(|x| f16::from_f32(*x)).collect();
                to[range].copy_from_slice(&x);
            }
            Host::Bf16(to) => {
                let x: Vec<bf16> = x.iter().map(|x| bf16::from_f32(*x)).collect();
                to[range].copy_from_slice(&x);
            }
            Host::Int8(codes, scale) => {
                let q = Int8Vector::quantise("x", x).unwrap();
                codes[range].copy_from_slice(&q.codes);
                scale[vector] = q.scale;
            }
            Host::Int4(packed, scale, zero) => {
                let q = Int4Vector::quantise("x", x).unwrap();
                let bytes = d.div_ceil(2);
                packed[vector * bytes..(vector + 1) * bytes].copy_from_slice(&q.packed);
                (scale[vector], zero[vector]) = (q.scale, q.zero);
            }
        }
    }

    pub(crate) fn store(&self, device: &Arc<dyn Device>) -> Result<Store> {
        Ok(match self {
            Host::F16(x) => Store::F16(Buffer::from_slice(device, x)?),
            Host::Bf16(x) => Store::Bf16(Buffer::from_slice(device, x)?),
            Host::Int8(codes, scale) => Store::Int8 {
                codes: Buffer::from_slice(device, codes)?,
                scale: Buffer::from_slice(device, scale)?,
            },
            Host::Int4(packed, scale, zero) => Store::Int4 {
                packed: Buffer::from_slice(device, packed)?,
                scale: Buffer::from_slice(device, scale)?,
                zero: Buffer::from_slice(device, zero)?,
            },
        })
    }

    pub(crate) fn pages(&self) -> paged_kv::Pages<'_> {
        match self {
            Host::F16(x) => paged_kv::Pages::F16(x),
            Host::Bf16(x) => paged_kv::Pages::Bf16(x),
            Host::Int8(codes, scale) => paged_kv::Pages::Int8 { codes, scale },
            Host::Int4(packed, scale, zero) => paged_kv::Pages::Int4 {
                packed,
                scale,
                zero,
            },
        }
    }
}

/// A plan with its tensors.
#[derive(Clone, Debug)]
pub(crate) struct Case<T> {
    pub(crate) plan: Plan,
    pub(crate) q: Vec<T>,
    pub(crate) sinks: Vec<f32>,
    /// Tokens of each sequence, `[keys, Hkv, D]`.
    pub(crate) k_tokens: Vec<Vec<f32>>,
    pub(crate) v_tokens: Vec<Vec<f32>>,
    pub(crate) k: Host,
    pub(crate) v: Host,
    pub(crate) table: Vec<i32>,
    pub(crate) pages: usize,
}

/// What the kernels answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Answer<T> {
    pub(crate) o: Vec<T>,
    pub(crate) lse: Vec<f32>,
}

impl<T: Number> Case<T> {
    /// Standard normal numbers, pages in a random order.
    pub(crate) fn draw(plan: &Plan, seed: u64) -> Case<T> {
        let mut rng = Rng::new(seed);
        let size = plan.heads() * plan.head_size;
        let mut normal = |n: usize| reference::cases::normal::<f32>(&mut rng, n, 1.0);
        let q = normal(plan.queries() * size);
        let sinks = normal(if plan.sink_logits { plan.heads() } else { 0 });
        let token = plan.kv_heads * plan.head_size;
        let mut tokens = || -> Vec<Vec<f32>> {
            let keys = plan.lengths.iter().map(|l| l.1);
            keys.map(|keys| normal(keys * token)).collect()
        };
        let (k_tokens, v_tokens) = (tokens(), tokens());
        Case {
            q: q.into_iter().map(|x| T::from_f64(x.into())).collect(),
            sinks,
            ..Case::of(plan, k_tokens, v_tokens, seed)
        }
    }

    /// These tokens, q of zeros.
    pub(crate) fn of(plan: &Plan, k: Vec<Vec<f32>>, v: Vec<Vec<f32>>, seed: u64) -> Case<T> {
        let mut case = Case {
            plan: plan.clone(),
            q: vec![T::from_f64(0.0); plan.queries() * plan.heads() * plan.head_size],
            sinks: Vec::new(),
            k_tokens: k,
            v_tokens: v,
            k: Host::F16(Vec::new()),
            v: Host::F16(Vec::new()),
            table: Vec::new(),
            pages: 0,
        };
        case.place(seed);
        case
    }

    /// Puts the tokens into pages in an order that the seed says; everything else is poison.
    pub(crate) fn place(&mut self, seed: u64) {
        let plan = &self.plan;
        let needed = |keys: usize| keys.div_ceil(plan.page);
        let used: usize = plan.lengths.iter().map(|l| needed(l.1)).sum();
        self.pages = used + 2;
        let mut order: Vec<usize> = (0..self.pages).collect();
        Rng::new(seed ^ 0x5eed).shuffle(&mut order);
        // One column of padding more than any sequence needs.
        let width = 1 + plan.lengths.iter().map(|l| needed(l.1)).max().unwrap_or(0);
        self.table = vec![i32::MAX; width * plan.lengths.len()];
        let vectors = self.pages * plan.page * plan.kv_heads;
        self.k = Host::poison(plan.format, vectors, plan.head_size);
        self.v = self.k.clone();
        let mut next = order.into_iter();
        for (b, &(_, keys)) in plan.lengths.iter().enumerate() {
            for column in 0..needed(keys) {
                self.table[b * width + column] = next.next().unwrap() as i32;
            }
            for token in 0..keys {
                let page = self.table[b * width + token / plan.page] as usize;
                let slot = page * plan.page + token % plan.page;
                for head in 0..plan.kv_heads {
                    let vector = slot * plan.kv_heads + head;
                    let at = (token * plan.kv_heads + head) * plan.head_size;
                    let part = at..at + plan.head_size;
                    self.k.write(vector, &self.k_tokens[b][part.clone()]);
                    self.v.write(vector, &self.v_tokens[b][part]);
                }
            }
        }
    }

    fn lengths(&self) -> Vec<i32> {
        self.plan.lengths.iter().map(|l| l.1 as i32).collect()
    }

    fn starts(&self) -> Option<Vec<i32>> {
        if self.plan.lengths.iter().all(|l| l.0 == 1) {
            return None;
        }
        let mut starts = vec![0];
        for (queries, _) in &self.plan.lengths {
            starts.push(starts[starts.len() - 1] + *queries as i32);
        }
        Some(starts)
    }

    pub(crate) fn shape(&self) -> PageShape {
        PageShape {
            pages: self.pages,
            page: self.plan.page,
            heads: self.plan.kv_heads,
            head_size: self.plan.head_size,
        }
    }

    /// The kernels' answer on a device. Outputs are poisoned first.
    pub(crate) fn run(&self, device: &Arc<dyn Device>, rung: Option<Rung>) -> Result<Answer<T>> {
        let shape = self.shape();
        let pages = Pages::new(shape, self.k.store(device)?, self.v.store(device)?)?;
        let table = BlockTable::new(device, &shape, &self.table, &self.lengths())?;
        let q = Buffer::from_slice(device, &self.q)?;
        let poison = T::from_f64(f64::NAN);
        let rows = self.q.len() / self.plan.head_size;
        let mut o = Buffer::from_slice(device, &vec![poison; self.q.len()])?;
        let mut lse = Buffer::from_slice(device, &vec![f32::NAN; rows])?;
        let starts = self
            .starts()
            .map(|starts| Sequences::new(device, &starts))
            .transpose()?;
        let sinks = (!self.sinks.is_empty())
            .then(|| Buffer::from_slice(device, &self.sinks))
            .transpose()?;
        let queries = Queries {
            q: &q,
            heads: self.plan.heads(),
            starts: starts.as_ref(),
            sink_logits: sinks.as_ref(),
        };
        let outputs = Outputs {
            o: &mut o,
            lse: &mut lse,
        };
        let options = &self.plan.options;
        match rung {
            None => paged_attention(&queries, &pages, &table, options, outputs)?,
            Some(rung) => paged_attention_by(rung, &queries, &pages, &table, options, outputs)?,
        }
        Ok(Answer {
            o: o.to_vec()?,
            lse: lse.to_vec()?,
        })
    }

    /// On the machine, every checker on and content.
    pub(crate) fn on_vm(&self, rung: Rung) -> Answer<T> {
        let vm = Vm::new();
        let device: Arc<dyn Device> = vm.clone();
        let answer = self.run(&device, Some(rung));
        let answer = answer.unwrap_or_else(|error| panic!("{error}\n{:?}", self.plan));
        let findings = vm.last_report().findings;
        assert!(findings.is_empty(), "{findings:?}\n{:?}", self.plan);
        answer
    }

    pub(crate) fn expected(&self) -> oracle::Forward {
        let plan = &self.plan;
        let (batch, lengths) = (plan.lengths.len(), self.lengths());
        let starts = self.starts();
        let rows = self.q.len() / (plan.heads() * plan.head_size);
        let keys = PagedKeys {
            k: self.k.pages(),
            v: self.v.pages(),
            shape: paged_kv::PageShape {
                pages: self.pages,
                page: plan.page,
                heads: plan.kv_heads,
                head_size: plan.head_size,
            },
            block_table: View::new("table", &self.table, [batch, self.table.len() / batch])
                .unwrap(),
            seq_len: &lengths,
        };
        let queries = PagedQueries {
            q: View::new("q", &self.q, [rows, plan.heads(), plan.head_size]).unwrap(),
            starts: starts.as_deref(),
            sink_logits: (!self.sinks.is_empty()).then_some(&self.sinks[..]),
        };
        let precision = Precision::of(T::DTYPE);
        let options = oracle_options(&plan.options);
        paged_kv::paged_attention(&queries, &keys, &options, precision, Method::Tiled).unwrap()
    }

    /// Runs on the machine and compares with the oracle.
    pub(crate) fn check(&self, rung: Rung) -> Answer<T> {
        let answer = self.on_vm(rung);
        let expected = self.expected();
        right(&self.plan, "o", &expected.o, &answer.o);
        right(&self.plan, "lse", &expected.lse, &answer.lse);
        answer
    }
}

pub(crate) fn oracle_options(options: &Options) -> oracle::Options {
    let windowed = options.window.is_some() || options.sinks > 0;
    oracle::Options {
        scale: options.scale,
        causal: true,
        window: windowed.then_some(oracle::Window {
            left: options.window,
            right: None,
            sinks: options.sinks,
        }),
        softcap: options.softcap,
    }
}

/// Fails unless every element is within its bound.
pub(crate) fn right<T: Element>(
    plan: &dyn std::fmt::Debug,
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

/// The rungs that take a type over a format and head size.
pub(crate) fn rungs<T: Number>(plan: &Plan) -> Vec<Rung> {
    let fits = (plan.head_size == 128 || plan.head_size == 64 && plan.format != Format::Int4)
        && match T::NAME {
            "f16" => true,
            "bf16" => plan.format != Format::F16,
            _ => false,
        };
    let tensor = [1, 3].map(|splits| Rung::Tensor { splits });
    let tensor = tensor.into_iter().filter(|_| fits);
    std::iter::once(Rung::Plain).chain(tensor).collect()
}
