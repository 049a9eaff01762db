//! Attention: the shipped kernels, and the same sums in plain Rust.

use super::Workload;
use simt::{Arg, Machine, compile};
use std::path::Path;

/// Length of the vectors.
const D: usize = 64;
/// Keys of a step, in the kernels and here.
const TILE: usize = 32;
/// A limit of the band that cuts nothing.
const UNLIMITED: i32 = 1 << 30;

/// One head of attention, and what the kernel made of it.
pub struct Attention {
    pub workload: Workload,
    queries: usize,
    keys: usize,
    q: Vec<f32>,
    k: Vec<f32>,
    v: Vec<f32>,
    out: u64,
    half: bool,
}

/// The module with one kernel only: reading the other fourteen takes longer than running this one.
fn only(text: &str, entry: &str) -> String {
    let start = text.find(&format!(".visible .entry {entry}("));
    let body = &text[start.unwrap_or_else(|| panic!("no entry {entry}"))..];
    let head = &text[..text.find(".visible .entry").expect("an entry")];
    let end = body.find("\n}\n").expect("an end") + 3;
    format!("{head}{}", &body[..end])
}

/// Numbers in [-1, 1) that 16 bits hold exactly.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let each = (0..count).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as f32 / 128.0 - 1.0
    });
    each.collect()
}

impl Attention {
    /// `flash_forward_f32`, scores by fused multiply-adds.
    pub fn single() -> Self {
        Self::new("flash f32", "flash_forward_f32", false, 64, 256)
    }

    /// `flash_forward_f16_64`, scores by `mma.sync`.
    pub fn matrix() -> Self {
        Self::new("flash f16", "flash_forward_f16_64", true, 256, 512)
    }

    fn new(name: &'static str, entry: &str, half: bool, queries: usize, keys: usize) -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels-gpu/ptx");
        let path = root.join("flash-attention-forward.sm_80.ptx");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{e}: {path:?}"));
        let validated = compile(&only(&text, entry)).unwrap_or_else(|e| panic!("{e}"));
        let mut machine = Machine::new(1 << 28);
        let loaded = machine.load(&validated).expect("fits");
        let (q, k, v) = (
            numbers(queries * D, 1),
            numbers(keys * D, 2),
            numbers(keys * D, 3),
        );
        let bytes = |x: &[f32]| -> Vec<u8> {
            if half {
                let each = x.iter().map(|x| half::f16::from_f32(*x).to_le_bytes());
                each.flatten().collect()
            } else {
                x.iter().flat_map(|x| x.to_le_bytes()).collect()
            }
        };
        let mut args = Vec::new();
        let mut touched = 0;
        for (label, x) in [("q", &q), ("k", &k), ("v", &v)] {
            let data = bytes(x);
            touched += data.len() as u64;
            let at = machine.allocate_from(&data, label).expect("fits");
            args.push(Arg::Pointer(at));
        }
        let width = if half { 2 } else { 4 };
        let (o_bytes, lse_bytes) = ((queries * D * width) as u64, 4 * queries as u64);
        let out = machine.allocate(o_bytes, "o").expect("fits");
        let lse = machine.allocate(lse_bytes, "lse").expect("fits");
        touched += o_bytes + lse_bytes;
        let scale = (D as f32).sqrt().recip();
        let factor = if half {
            scale * std::f32::consts::LOG2_E
        } else {
            scale
        };
        args.extend([out, lse, 0, 0].map(Arg::Pointer));
        args.extend([queries as u32, keys as u32, 1].map(Arg::U32));
        args.extend([UNLIMITED, UNLIMITED].map(Arg::I32));
        args.extend([factor, 0.0].map(Arg::F32));
        if !half {
            args.push(Arg::U32(D as u32));
        }
        // Rows of a block, its threads, and its tiles: see the family's own page.
        let (rows, block, shared) = if half {
            (128, 256, 2 * D * (128 + 4 * 64))
        } else {
            (16, 128, 4 * (16 * D + 2 * TILE * (D + 4)))
        };
        let workload = Workload {
            name,
            machine,
            loaded,
            entry: entry.to_owned(),
            grid: [queries.div_ceil(rows) as u32, 1, 1],
            block,
            shared: shared as u32,
            args,
            touched,
        };
        Self {
            workload,
            queries,
            keys,
            q,
            k,
            v,
            out,
            half,
        }
    }

    /// The same attention in plain Rust on one thread: a tile of keys at a time, eight partial sums
    /// to a score.
    pub fn plain(&self) -> Vec<f32> {
        let scale = (D as f32).sqrt().recip();
        let mut out = vec![0.0; self.queries * D];
        for (q, o) in self.q.chunks_exact(D).zip(out.chunks_exact_mut(D)) {
            let (mut m, mut l) = (f32::NEG_INFINITY, 0.0);
            for (k, v) in self.k.chunks(TILE * D).zip(self.v.chunks(TILE * D)) {
                let mut s = [f32::NEG_INFINITY; TILE];
                for (s, k) in s.iter_mut().zip(k.chunks_exact(D)) {
                    let mut sums = [0.0_f32; 8];
                    for (q, k) in q.as_chunks::<8>().0.iter().zip(k.as_chunks::<8>().0) {
                        for i in 0..8 {
                            sums[i] += q[i] * k[i];
                        }
                    }
                    *s = scale * sums.iter().sum::<f32>();
                }
                let greatest = s.iter().fold(m, |m, s| m.max(*s));
                let correction = ((m - greatest) * std::f32::consts::LOG2_E).exp2();
                l *= correction;
                o.iter_mut().for_each(|o| *o *= correction);
                for (s, v) in s.iter().zip(v.chunks_exact(D)) {
                    let p = ((s - greatest) * std::f32::consts::LOG2_E).exp2();
                    l += p;
                    o.iter_mut().zip(v).for_each(|(o, v)| *o += p * v);
                }
                m = greatest;
            }
            o.iter_mut().for_each(|o| *o /= l);
        }
        out
    }

    /// Whether the kernel and the plain loop did the same thing. An eye on the benchmark, not a
    /// proof of the kernel: that is its oracle's affair.
    pub fn agree(&self) -> bool {
        let width = if self.half { 2 } else { 4 };
        let mut bytes = vec![0; self.queries * D * width];
        let read = self.workload.machine.read(self.out, &mut bytes);
        read.expect("inside");
        let value = |b: &[u8]| match *b {
            [a, b] => half::f16::from_le_bytes([a, b]).to_f32(),
            [a, b, c, d] => f32::from_le_bytes([a, b, c, d]),
            _ => f32::NAN,
        };
        let got = bytes.chunks_exact(width).map(value);
        got.zip(self.plain())
            .all(|(got, want)| (got - want).abs() <= 0.01)
    }

    /// Keys that queries were compared with.
    pub fn pairs(&self) -> u64 {
        (self.queries * self.keys) as u64
    }
}
