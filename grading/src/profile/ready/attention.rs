//! Flash attention, forward and backward.

use super::{On, Out, Ready, Real};
use crate::profile::ProfileError;
use crate::submission::{Call, Named, Value};
use kernels_host::attention::{Layout, Options, Shape};
use kernels_host::flash_attention_backward::{
    Accumulation, Gradients, Inputs, flash_attention_backward_by,
};
use kernels_host::flash_attention_forward::{Outputs, Rung, flash_attention_forward_by};
use kernels_host::{Buffer, Result as Launched};

type Made = Result<Box<dyn Ready>, ProfileError>;

/// The type decides: tensor cores would round f32, and rung 1 takes nothing else. `Unordered` adds dq
/// up as it comes.
pub(super) fn rungs<T: Real>(call: &Call) -> Vec<&'static str> {
    let backward = call.task == "flash-attention-backward";
    match (size_of::<T>(), call.sizes.get("D")) {
        (4, _) => vec!["Plain"],
        (_, Some(128)) if backward => vec!["TensorCore", "Unordered"],
        _ => vec!["TensorCore"],
    }
}

/// Sizes and options of a self-attention.
fn problem(on: &On<'_>) -> (Shape<'static>, Options) {
    let head_size = on.size("D");
    let shape = Shape {
        layout: Layout::Dense {
            batch: on.size("B"),
            queries: on.size("Nq"),
            keys: on.size("Nk"),
        },
        query_heads: on.size("Hq"),
        kv_heads: on.size("Hkv"),
        head_size,
    };
    let options = Options {
        causal: on.call.parameters.get("causal") == Some(&Value::Bool(true)),
        ..Options::new(1.0 / (head_size as f32).sqrt())
    };
    (shape, options)
}

struct Forward<T: Real> {
    shape: Shape<'static>,
    options: Options,
    rung: Rung,
    q: Buffer<T>,
    k: Buffer<T>,
    v: Buffer<T>,
    o: Out<T>,
    lse: Out<f32>,
}

pub(super) fn forward<T: Real>(on: &On<'_>, rung: &str) -> Made {
    let (shape, options) = problem(on);
    Ok(Box::new(Forward::<T> {
        shape,
        options,
        rung: match rung {
            "Plain" => Rung::Plain,
            _ => Rung::TensorCore,
        },
        q: on.input("q")?,
        k: on.input("k")?,
        v: on.input("v")?,
        o: on.output("o")?,
        lse: on.output("lse")?,
    }))
}

impl<T: Real> Ready for Forward<T> {
    fn run(&mut self) -> Launched<()> {
        let outputs = Outputs {
            o: &mut self.o.buffer,
            lse: &mut self.lse.buffer,
        };
        let (shape, options) = (&self.shape, &self.options);
        let (q, k, v) = (&self.q, &self.k, &self.v);
        flash_attention_forward_by(self.rung, shape, options, q, k, v, outputs)
    }

    fn outputs(&self) -> Result<Vec<Named>, ProfileError> {
        Ok(vec![self.o.read()?, self.lse.read()?])
    }

    fn spoil(&mut self) -> Launched<()> {
        self.o.spoil()?;
        self.lse.spoil()
    }
}

struct Backward<T: Real> {
    accumulation: Accumulation,
    shape: Shape<'static>,
    options: Options,
    q: Buffer<T>,
    k: Buffer<T>,
    v: Buffer<T>,
    o: Buffer<T>,
    lse: Buffer<f32>,
    d_o: Buffer<T>,
    dq: Out<T>,
    dk: Out<T>,
    dv: Out<T>,
}

pub(super) fn backward<T: Real>(on: &On<'_>, rung: &str) -> Made {
    let (shape, options) = problem(on);
    Ok(Box::new(Backward::<T> {
        accumulation: match rung {
            "Unordered" => Accumulation::Unordered,
            _ => Accumulation::Ordered,
        },
        shape,
        options,
        q: on.input("q")?,
        k: on.input("k")?,
        v: on.input("v")?,
        o: on.input("o")?,
        lse: on.input("lse")?,
        d_o: on.input("do")?,
        dq: on.output("dq")?,
        dk: on.output("dk")?,
        dv: on.output("dv")?,
    }))
}

impl<T: Real> Ready for Backward<T> {
    fn run(&mut self) -> Launched<()> {
        let inputs = Inputs {
            q: &self.q,
            k: &self.k,
            v: &self.v,
            o: &self.o,
            lse: &self.lse,
            d_o: &self.d_o,
        };
        let gradients = Gradients {
            dq: &mut self.dq.buffer,
            dk: &mut self.dk.buffer,
            dv: &mut self.dv.buffer,
        };
        let (shape, options) = (&self.shape, &self.options);
        flash_attention_backward_by(self.accumulation, shape, options, inputs, gradients)
    }

    fn repeats(&self) -> bool {
        self.accumulation == Accumulation::Ordered
    }

    fn outputs(&self) -> Result<Vec<Named>, ProfileError> {
        Ok(vec![self.dq.read()?, self.dk.read()?, self.dv.read()?])
    }

    fn spoil(&mut self) -> Launched<()> {
        self.dq.spoil()?;
        self.dk.spoil()?;
        self.dv.spoil()
    }
}
