//! Layernorm, softmax + top-k, beam step, ternary matmul.

use super::{On, Out, Ready, Real};
use crate::profile::ProfileError;
use crate::submission::{Call, Failure, Named, Value};
use kernels_host::beam_search::{Beams, Kept, Rules, Shape as BeamShape, beam_step};
use kernels_host::layernorm_backward::{self as norm, Plan, layernorm_backward_by};
use kernels_host::softmax_topk::{self as topk, Options, Parameters, softmax_topk_with};
use kernels_host::ternary_matmul::{self as ternary, Packing, TernaryWeights, forward_by};
use kernels_host::{Buffer, Result as Launched};

type Made = Result<Box<dyn Ready>, ProfileError>;

fn no_rung(name: &str) -> ProfileError {
    Failure::Grader(format!("`{name}` is listed and is no rung")).into()
}

fn norm_name(rung: norm::Rung) -> &'static str {
    match rung {
        norm::Rung::TwoPassAny => "TwoPassAny",
        norm::Rung::TwoPass => "TwoPass",
        norm::Rung::LanesAny => "LanesAny",
        norm::Rung::Lanes => "Lanes",
        norm::Rung::Block => "Block",
        norm::Rung::BlockWide => "BlockWide",
    }
}

pub(super) fn layernorm_rungs<T: Real>(call: &Call) -> Vec<&'static str> {
    let width = call.sizes.get("D").copied().unwrap_or(1) as usize;
    let all = norm::Rung::ALL.into_iter();
    let takes = all.filter(|rung| rung.takes::<T>(width));
    takes.map(norm_name).collect()
}

struct Layernorm<T: Real> {
    shape: norm::Shape,
    plan: Plan,
    x: Buffer<T>,
    dy: Buffer<T>,
    gamma: Buffer<T>,
    mean: Buffer<f32>,
    rstd: Buffer<f32>,
    dx: Out<T>,
    dgamma: Out<f32>,
    dbeta: Out<f32>,
}

pub(super) fn layernorm<T: Real>(on: &On<'_>, rung: &str) -> Made {
    let known = norm::Rung::ALL.into_iter().find(|r| norm_name(*r) == rung);
    let shape = norm::Shape {
        rows: on.size("R"),
        width: on.size("D"),
    };
    Ok(Box::new(Layernorm::<T> {
        shape,
        plan: Plan::with_rung::<T>(
            shape,
            known.ok_or_else(|| no_rung(rung))?,
            on.device.limits(),
        ),
        x: on.input("x")?,
        dy: on.input("dy")?,
        gamma: on.input("gamma")?,
        mean: on.input("mean")?,
        rstd: on.input("rstd")?,
        dx: on.output("dx")?,
        dgamma: on.output("dgamma")?,
        dbeta: on.output("dbeta")?,
    }))
}

impl<T: Real> Ready for Layernorm<T> {
    fn run(&mut self) -> Launched<()> {
        let inputs = norm::Inputs {
            x: &self.x,
            dy: &self.dy,
            gamma: Some(&self.gamma),
            mean: Some(&self.mean),
            rstd: &self.rstd,
            residual: None,
        };
        let outputs = norm::Outputs {
            dx: &mut self.dx.buffer,
            dgamma: &mut self.dgamma.buffer,
            dbeta: Some(&mut self.dbeta.buffer),
        };
        layernorm_backward_by(self.plan, self.shape, inputs, outputs)
    }

    fn outputs(&self) -> Result<Vec<Named>, ProfileError> {
        Ok(vec![
            self.dx.read()?,
            self.dgamma.read()?,
            self.dbeta.read()?,
        ])
    }

    fn spoil(&mut self) -> Launched<()> {
        self.dx.spoil()?;
        self.dgamma.spoil()?;
        self.dbeta.spoil()
    }
}

pub(super) fn softmax_rungs(call: &Call) -> Vec<&'static str> {
    // Rung 1 has a place a lane.
    match call.sizes.get("K") {
        Some(1..=32) => vec!["Warp", "Block", "Split(4)"],
        _ => vec!["Block", "Split(4)"],
    }
}

struct Softmax<T: Real> {
    parameters: Parameters,
    rung: topk::Rung,
    logits: Buffer<T>,
    probability: Out<f32>,
    index: Out<i32>,
    lse: Out<f32>,
}

pub(super) fn softmax<T: Real>(on: &On<'_>, rung: &str) -> Made {
    Ok(Box::new(Softmax::<T> {
        parameters: Parameters {
            rows: on.size("R"),
            vocabulary: on.size("V"),
            k: on.size("K"),
            temperature: 1.0,
        },
        rung: match rung {
            "Warp" => topk::Rung::Warp,
            "Block" => topk::Rung::Block,
            "Split(4)" => topk::Rung::Split(4),
            other => return Err(no_rung(other)),
        },
        logits: on.input("logits")?,
        probability: on.output("prob")?,
        index: on.output("index")?,
        lse: on.output("lse")?,
    }))
}

impl<T: Real> Ready for Softmax<T> {
    fn run(&mut self) -> Launched<()> {
        let options = Options {
            ks: None,
            rung: Some(self.rung),
        };
        let outputs = topk::Outputs {
            probability: &mut self.probability.buffer,
            index: &mut self.index.buffer,
            lse: &mut self.lse.buffer,
        };
        softmax_topk_with(self.parameters, options, &self.logits, None, outputs)
    }

    fn outputs(&self) -> Result<Vec<Named>, ProfileError> {
        Ok(vec![
            self.probability.read()?,
            self.index.read()?,
            self.lse.read()?,
        ])
    }

    fn spoil(&mut self) -> Launched<()> {
        self.probability.spoil()?;
        self.index.spoil()?;
        self.lse.spoil()
    }
}

struct Beam<T: Real> {
    rules: Rules,
    shape: BeamShape,
    logits: Buffer<T>,
    eos: Buffer<i32>,
    before: Beams,
    after: Beams,
    parent: Out<i32>,
    token: Out<i32>,
    score: Out<f32>,
    /// Names and shapes of what lies in `after`.
    each: Vec<usize>,
}

pub(super) fn beam<T: Real>(on: &On<'_>) -> Made {
    let [items, beams] = [on.size("B"), on.size("K")];
    let parameter = |name: &str| on.call.parameters.get(name);
    let eos: Vec<i32> = match parameter("eos") {
        Some(Value::Ints(eos)) => eos.iter().map(|token| *token as i32).collect(),
        _ => Vec::new(),
    };
    let alpha = match parameter("alpha") {
        Some(Value::Float(alpha)) => *alpha as f32,
        _ => 0.0,
    };
    Ok(Box::new(Beam::<T> {
        shape: BeamShape {
            items,
            vocabulary: on.size("V"),
            parts: None,
        },
        logits: on.input("logits")?,
        eos: Buffer::from_slice(on.device, &eos)?,
        rules: Rules {
            alpha,
            eos,
            ..Rules::new(beams, 0)
        },
        before: Beams {
            acc: on.input("acc")?,
            length: on.input("length")?,
            finished: on.input("finished")?,
        },
        after: Beams::uninit(on.device, items, beams)?,
        parent: on.output("parent")?,
        token: on.output("token")?,
        score: on.output("score")?,
        each: vec![items, beams],
    }))
}

impl<T: Real> Ready for Beam<T> {
    fn run(&mut self) -> Launched<()> {
        let kept = Kept {
            beams: &mut self.after,
            parent: &mut self.parent.buffer,
            token: &mut self.token.buffer,
            score: &mut self.score.buffer,
        };
        let (rules, eos) = (&self.rules, &self.eos);
        beam_step(rules, self.shape, &self.logits, eos, &self.before, kept)
    }

    fn outputs(&self) -> Result<Vec<Named>, ProfileError> {
        Ok(vec![
            self.parent.read()?,
            self.token.read()?,
            super::read("acc", &self.each, &self.after.acc)?,
            super::read("length", &self.each, &self.after.length)?,
            super::read("finished", &self.each, &self.after.finished)?,
            self.score.read()?,
        ])
    }

    fn spoil(&mut self) -> Launched<()> {
        let n = self.after.acc.len();
        self.after.acc.write(&vec![f32::NAN; n])?;
        self.after.length.write(&vec![-1; n])?;
        self.after.finished.write(&vec![255; n])?;
        self.parent.spoil()?;
        self.token.spoil()?;
        self.score.spoil()
    }
}

pub(super) fn ternary_rungs<T: Real>() -> Vec<&'static str> {
    let all = ternary::Rung::FORWARD.into_iter();
    let takes = all.filter(|rung| rung.takes_forward::<T>());
    takes.filter_map(ternary_name).collect()
}

fn ternary_name(rung: ternary::Rung) -> Option<&'static str> {
    match rung {
        ternary::Rung::OneRow => Some("OneRow"),
        ternary::Rung::EightRows => Some("EightRows"),
        ternary::Rung::Tensor8 => Some("Tensor8"),
        ternary::Rung::Tensor32 => Some("Tensor32"),
        ternary::Rung::Tensor => None,
    }
}

struct Ternary<T: Real> {
    rung: ternary::Rung,
    weights: TernaryWeights,
    x: Buffer<T>,
    y: Out<T>,
    rows: usize,
}

/// Weights are laid out for the kernels beforehand, as a model does once.
pub(super) fn ternary<T: Real>(on: &On<'_>, rung: &str) -> Made {
    let all = ternary::Rung::FORWARD.into_iter();
    let mut named = all.filter(|r| ternary_name(*r) == Some(rung));
    let packed = on.input::<u8>("packed")?;
    let shape = [on.size("N"), on.size("K")];
    Ok(Box::new(Ternary::<T> {
        rung: named.next().ok_or_else(|| no_rung(rung))?,
        weights: TernaryWeights::from_packed(Packing::TwoBit, &packed, shape)?,
        x: on.input("x")?,
        y: on.output("y")?,
        rows: on.size("M"),
    }))
}

impl<T: Real> Ready for Ternary<T> {
    fn run(&mut self) -> Launched<()> {
        let y = &mut self.y.buffer;
        forward_by(self.rung, &self.weights, &self.x, y, self.rows)
    }

    fn outputs(&self) -> Result<Vec<Named>, ProfileError> {
        Ok(vec![self.y.read()?])
    }

    fn spoil(&mut self) -> Launched<()> {
        self.y.spoil()
    }
}
