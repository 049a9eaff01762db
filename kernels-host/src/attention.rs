//! What the attention kernels are asked: shapes, which keys a query sees, sequences of different
//! lengths.

use crate::{Arg, Buffer, Device, Element, Error, Result};
use std::sync::Arc;

/// A type of the tensors: f32, f16, bf16.
pub trait Float: Element {}

impl Float for f32 {}
impl Float for half::f16 {}
impl Float for half::bf16 {}

/// The shapes of q, k and v.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    /// Sequences, and how they lie.
    pub layout: Layout<'a>,
    /// Heads of q, a multiple of `kv_heads`: query head h reads KV head `h / (Hq/Hkv)`.
    pub query_heads: usize,
    /// Heads of k and v.
    pub kv_heads: usize,
    /// Length of a vector: 32, 64, 96, 128 or 256.
    pub head_size: usize,
}

/// How sequences lie in memory.
#[derive(Clone, Copy, Debug)]
pub enum Layout<'a> {
    /// `q[B,Hq,Nq,D]`, `k` and `v[B,Hkv,Nk,D]`.
    Dense {
        /// Sequences.
        batch: usize,
        /// Queries of each.
        queries: usize,
        /// Keys of each; may be 0.
        keys: usize,
    },
    /// Sequences of different lengths end to end: `q[Tq,Hq,D]`, `k` and `v[Tk,Hkv,D]`.
    Packed {
        /// Where the queries of each begin.
        queries: &'a Sequences,
        /// Where the keys of each begin.
        keys: &'a Sequences,
    },
}

/// The starts of sequences that lie end to end, and the end of the last; on a device.
#[derive(Debug)]
pub struct Sequences {
    bounds: Buffer<i32>,
    total: usize,
    longest: usize,
}

impl Sequences {
    /// Sequence s is at positions `bounds[s]..bounds[s + 1]`. It may be empty.
    ///
    /// # Errors
    /// When there are fewer than two numbers, the first is not 0, or they fall; when there is no
    /// memory.
    pub fn new(device: &Arc<dyn Device>, bounds: &[i32]) -> Result<Sequences> {
        let refuse = |got: String, must_be: &str| {
            Err(Error::Parameter {
                name: "bounds",
                got,
                must_be: must_be.into(),
            })
        };
        let (Some(&first), Some(&last)) = (bounds.first(), bounds.last()) else {
            return refuse(
                "empty".into(),
                "the start of each sequence and the last's end",
            );
        };
        if bounds.len() < 2 {
            return refuse("one number".into(), "at least a start and an end");
        }
        if first != 0 {
            return refuse(format!("{first} at 0"), "0 at its beginning");
        }
        if let Some(at) = bounds.windows(2).position(|pair| pair[1] < pair[0]) {
            let got = format!("{} after {} at {}", bounds[at + 1], bounds[at], at + 1);
            return refuse(got, "never falling");
        }
        let lengths = bounds.windows(2).map(|pair| (pair[1] - pair[0]) as usize);
        Ok(Sequences {
            longest: lengths.max().unwrap_or(0),
            total: last as usize,
            bounds: Buffer::from_slice(device, bounds)?,
        })
    }

    /// How many sequences there are.
    pub fn count(&self) -> usize {
        self.bounds.len() - 1
    }

    /// Positions of all sequences together.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Positions of the longest.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// The bounds, as kernels get them.
    pub(crate) fn arg(&self) -> Arg {
        Arg::from(&self.bounds)
    }
}

/// What is asked for besides the tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Factor on q·k; usually 1/√D.
    pub scale: f32,
    /// Query i sees no key after its own position `i + Nk − Nq` (aligned bottom-right).
    pub causal: bool,
    /// Keys near the query's position only.
    pub window: Option<Window>,
    /// `s ← c·tanh(s/c)` on the scaled score.
    pub softcap: Option<f32>,
}

impl Options {
    /// Every query sees every key.
    pub fn new(scale: f32) -> Options {
        Options {
            scale,
            causal: false,
            window: None,
            softcap: None,
        }
    }
}

/// Keys from `left` before to `right` after the query's position, that key included; `None` is
/// without limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// How many keys before the query's position are seen.
    pub left: Option<usize>,
    /// How many keys after it.
    pub right: Option<usize>,
}

/// Longest sequence: band limits are summed in 32 bits.
const LONGEST: usize = 1 << 29;
/// A limit of the band that cuts nothing: the sum of two longest sequences.
const UNLIMITED: usize = 2 * LONGEST;
/// The greatest grid along y and z.
const GRID: usize = 65_535;

/// A shape and options that fit each other, in the kernels' terms.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Problem {
    pub(crate) sequences: u32,
    /// Queries and keys of a sequence; of the longest where they differ.
    pub(crate) queries: u32,
    pub(crate) keys: u32,
    /// Rows of q, and of k and v, heads and sequences together.
    pub(crate) query_rows: usize,
    pub(crate) key_rows: usize,
    pub(crate) cu_queries: Arg,
    pub(crate) cu_keys: Arg,
    pub(crate) kv_heads: u32,
    pub(crate) group: u32,
    pub(crate) head_size: u32,
    pub(crate) left: i32,
    pub(crate) right: i32,
    pub(crate) scale: f32,
    /// 0 for none.
    pub(crate) softcap: f32,
}

impl Problem {
    pub(crate) fn new(shape: &Shape<'_>, options: &Options) -> Result<Problem> {
        let refuse = |name, got: String, must_be: &str| Error::Parameter {
            name,
            got,
            must_be: must_be.into(),
        };
        let within = |name, got: usize, low: usize, high: usize| {
            if (low..=high).contains(&got) {
                return Ok(());
            }
            Err(refuse(name, got.to_string(), &format!("{low} to {high}")))
        };
        let Shape {
            layout,
            query_heads,
            kv_heads,
            head_size,
        } = *shape;
        within("kv_heads", kv_heads, 1, GRID)?;
        if query_heads == 0 || !query_heads.is_multiple_of(kv_heads) {
            let must_be = format!("a multiple of the {kv_heads} KV heads");
            return Err(refuse("query_heads", query_heads.to_string(), &must_be));
        }
        if ![32, 64, 96, 128, 256].contains(&head_size) {
            return Err(refuse(
                "head_size",
                head_size.to_string(),
                "32, 64, 96, 128 or 256",
            ));
        }
        let group = query_heads / kv_heads;
        let (sequences, queries, keys, query_positions, key_positions, cu_queries, cu_keys);
        match layout {
            Layout::Dense {
                batch,
                queries: nq,
                keys: nk,
            } => {
                within("queries", nq, 1, LONGEST)?;
                (sequences, queries, keys) = (batch, nq, nk);
                (query_positions, key_positions) =
                    (batch.saturating_mul(nq), batch.saturating_mul(nk));
                (cu_queries, cu_keys) = (Arg::Null, Arg::Null);
            }
            Layout::Packed {
                queries: q,
                keys: k,
            } => {
                if q.count() != k.count() {
                    let got = format!("{} sequences", k.count());
                    return Err(refuse(
                        "keys",
                        got,
                        &format!("as many as of queries: {}", q.count()),
                    ));
                }
                (sequences, queries, keys) = (q.count(), q.longest(), k.longest());
                (query_positions, key_positions) = (q.total(), k.total());
                (cu_queries, cu_keys) = (Arg::from(&q.bounds), Arg::from(&k.bounds));
            }
        }
        within("batch", sequences, 1, GRID)?;
        within("queries", queries, 0, LONGEST)?;
        within("keys", keys, 0, LONGEST)?;
        // Rows of a tile are numbered in 32 bits, up to a tile past the end.
        within("queries × group", queries.saturating_mul(group), 0, 1 << 31)?;

        if !options.scale.is_finite() {
            return Err(refuse("scale", options.scale.to_string(), "finite"));
        }
        if let Some(cap) = options.softcap
            && !(cap > 0.0 && cap <= f32::MAX / 4.0 && (options.scale / cap).abs() < f32::MAX / 4.0)
        {
            let must_be = "positive, and neither it nor scale / softcap near f32's greatest number";
            return Err(refuse("softcap", cap.to_string(), must_be));
        }
        let limit = |limit: Option<usize>| limit.unwrap_or(UNLIMITED).min(UNLIMITED) as i32;
        let right = limit(options.window.and_then(|window| window.right));
        Ok(Problem {
            sequences: sequences as u32,
            queries: queries as u32,
            keys: keys as u32,
            query_rows: query_positions.saturating_mul(query_heads),
            key_rows: key_positions.saturating_mul(kv_heads),
            cu_queries,
            cu_keys,
            kv_heads: kv_heads as u32,
            group: group as u32,
            head_size: head_size as u32,
            left: limit(options.window.and_then(|window| window.left)),
            right: if options.causal { right.min(0) } else { right },
            scale: options.scale,
            softcap: options.softcap.unwrap_or(0.0),
        })
    }

    /// Fails unless the buffer has a vector for each row.
    pub(crate) fn expect_vectors<T: Element>(
        &self,
        name: &'static str,
        rows: usize,
        buffer: &Buffer<T>,
    ) -> Result<()> {
        let shape = [
            ("rows (positions × heads)", rows),
            ("D", self.head_size as usize),
        ];
        buffer.expect_shape(name, &shape)
    }

    /// Rows of a tile's order: the queries of a sequence times the group.
    pub(crate) fn packed_rows(&self) -> u32 {
        self.queries * self.group
    }

    /// `factor` and `cap` of the kernels that work in base 2 (`attention::Scoring`).
    pub(crate) fn base_2(&self) -> (f32, f32) {
        let scale = f64::from(self.scale) * std::f64::consts::LOG2_E;
        let cap = f64::from(self.softcap);
        if self.softcap == 0.0 {
            return (scale as f32, 0.0);
        }
        (
            (2.0 * scale / cap) as f32,
            (cap * std::f64::consts::LOG2_E) as f32,
        )
    }
}

/// The name of the kernel's entry for a type and, on the tensor cores, a head size: rung 1 takes the
/// head size as its last argument.
pub(crate) fn entry_name<T: Float>(kernel: &str, head_size: u32) -> String {
    if is_plain::<T>() {
        format!("{kernel}_{}", T::NAME)
    } else {
        format!("{kernel}_{}_{head_size}", T::NAME)
    }
}

/// Whether rung 1 takes the type; rung 2 takes the others.
pub(crate) fn is_plain<T: Float>() -> bool {
    T::NAME == "f32"
}
