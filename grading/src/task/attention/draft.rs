//! How calls are made.

use super::Shape;
use crate::submission::{Call, Named, OutputSpec, Value};
use crate::task::Dims;
use crate::tensor::{DType, Tensor};
use reference::attention::Options;
use reference::cases::Rng;

/// What a forward call is made of; numbers are rounded to the type when it is made.
#[derive(Clone, Debug)]
pub(in crate::task) struct Draft {
    pub(in crate::task) shape: Shape,
    pub(in crate::task) options: Options,
    pub(in crate::task) dtype: DType,
    pub(in crate::task) q: Vec<f64>,
    pub(in crate::task) k: Vec<f64>,
    pub(in crate::task) v: Vec<f64>,
}

impl Draft {
    /// Numbers of mixed scales: rows of q and k whose scores range from flat to sharp, rows of v
    /// at 10⁻³, 1 and 10³.
    pub(in crate::task) fn drawn(shape: Shape, rng: &mut Rng) -> Draft {
        let d = shape.head_size;
        let mut rows = |count: usize, scales: &[f64]| -> Vec<f64> {
            let mut all = Vec::with_capacity(count * d);
            for _ in 0..count {
                let scale = rng.choose(scales);
                all.extend((0..d).map(|_| scale * rng.normal()));
            }
            all
        };
        let q = rows(shape.query_rows(), &[1e-3, 1.0, 1.0, 3.0]);
        let k = rows(shape.key_rows(), &[1e-3, 1.0, 1.0, 2.0]);
        let v = rows(shape.key_rows(), &[1e-3, 1.0, 1.0, 1e3]);
        Draft {
            options: Options::new(1.0 / (d as f32).sqrt()),
            dtype: DType::F32,
            shape,
            q,
            k,
            v,
        }
    }

    /// The same numbers of one scale: standard normal.
    pub(in crate::task) fn normal(shape: Shape, rng: &mut Rng) -> Draft {
        let d = shape.head_size;
        let mut rows = |count: usize| (0..count * d).map(|_| rng.normal()).collect();
        Draft {
            options: Options::new(1.0 / (d as f32).sqrt()),
            dtype: DType::F32,
            q: rows(shape.query_rows()),
            k: rows(shape.key_rows()),
            v: rows(shape.key_rows()),
            shape,
        }
    }

    /// A dense shape from dims `B, Hq, Hkv, Nq, Nk, D`; Hq is made a multiple of Hkv.
    pub(in crate::task) fn dense(dims: &Dims) -> Shape {
        let kv_heads = dims.get("Hkv");
        Shape {
            query_heads: dims.get("Hq").div_ceil(kv_heads) * kv_heads,
            kv_heads,
            head_size: dims.get("D"),
            lengths: vec![(dims.get("Nq"), dims.get("Nk")); dims.get("B")],
            packed: false,
        }
    }

    /// The tensors in its type, in their order.
    pub(in crate::task) fn inputs(&self) -> Vec<Named> {
        let with_d = |mut outer: Vec<usize>| {
            outer.push(self.shape.head_size);
            outer
        };
        let (of_q, of_k) = (
            with_d(self.shape.query_outer()),
            with_d(self.shape.key_outer()),
        );
        vec![
            named("q", tensor(self.dtype, &of_q, &self.q)),
            named("k", tensor(self.dtype, &of_k, &self.k)),
            named("v", tensor(self.dtype, &of_k, &self.v)),
        ]
    }

    /// Where sequences begin, for the packed operations.
    pub(in crate::task) fn starts(&self) -> Vec<Named> {
        if !self.shape.packed {
            return Vec::new();
        }
        let starts = |of: fn(&(usize, usize)) -> usize| {
            let bounds = self.shape.bounds(of);
            Tensor::of(&[bounds.len()], &bounds).expect("as many as they are")
        };
        vec![
            named("cu_q", starts(|l| l.0)),
            named("cu_k", starts(|l| l.1)),
        ]
    }

    /// A call of a task without outputs, which each task adds.
    pub(in crate::task) fn call(&self, task: &'static str, op: &'static str) -> Call {
        let Shape {
            query_heads,
            kv_heads,
            head_size,
            ref lengths,
            packed,
        } = self.shape;
        let heads = [("Hq", query_heads), ("Hkv", kv_heads), ("D", head_size)];
        let rest: Vec<(&str, usize)> = match packed {
            false => vec![
                ("B", lengths.len()),
                ("Nq", lengths[0].0),
                ("Nk", lengths[0].1),
            ],
            true => vec![
                ("B", lengths.len()),
                ("Tq", lengths.iter().map(|l| l.0).sum()),
                ("Tk", lengths.iter().map(|l| l.1).sum()),
            ],
        };
        let sizes = heads.into_iter().chain(rest);
        let options = &self.options;
        let mut parameters = vec![
            ("scale", Value::Float(options.scale.into())),
            ("causal", Value::Bool(options.causal)),
        ];
        if let Some(window) = options.window {
            let sides = [("window_left", window.left), ("window_right", window.right)];
            let given = sides.into_iter().filter_map(|(name, n)| Some((name, n?)));
            parameters.extend(given.map(|(name, n)| (name, Value::Int(n as i64))));
        }
        if let Some(cap) = options.softcap {
            parameters.push(("softcap", Value::Float(cap.into())));
        }
        let mut inputs = self.inputs();
        inputs.extend(self.starts());
        Call {
            task,
            op,
            sizes: sizes.map(|(name, n)| (name.to_owned(), n as u64)).collect(),
            parameters: parameters
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect(),
            inputs,
            outputs: Vec::new(),
        }
    }

    /// An output in the shape of q, of k, or with one number a query.
    pub(in crate::task) fn output(&self, name: &str, dtype: DType, shape: &[usize]) -> OutputSpec {
        OutputSpec {
            name: name.to_owned(),
            dtype,
            shape: shape.to_vec(),
        }
    }
}

/// A tensor with its name.
pub(in crate::task) fn named(name: &str, tensor: Tensor) -> Named {
    Named {
        name: name.to_owned(),
        tensor,
    }
}

/// Numbers rounded to a type; as many as we made for the shape.
pub(in crate::task) fn tensor(dtype: DType, shape: &[usize], numbers: &[f64]) -> Tensor {
    Tensor::from_f64(dtype, shape, numbers).expect("as many as the shape was made for")
}
