//! Layernorm, softmax + top-k, beam step, ternary matmul.

use crate::row::{Row, bytes, filled, numbers};
use crate::shapes::{Shapes, Size};
use half::bf16;
use kernels_host::beam_search::{Beams, Kept, Rules, Shape as BeamShape, beam_step};
use kernels_host::layernorm_backward::{self as norm, Plan, layernorm_backward_by};
use kernels_host::softmax_topk::{self as topk, Options, Parameters, softmax_topk_with};
use kernels_host::ternary_matmul::{self as ternary, TernaryWeights, forward_by};
use kernels_host::{Buffer, Device, Result};
use std::sync::Arc;

type D<'a> = &'a Arc<dyn Device>;

pub(crate) fn layernorm(device: D<'_>, shapes: &Shapes, size: Size) -> Result<Vec<Row>> {
    let [rows, width] = shapes.sizes("layernorm-16384x4096", size, ["R", "D"]);
    let shape = norm::Shape { rows, width };
    let rungs = norm::Rung::ALL.into_iter();
    let mut all = Vec::new();
    for rung in rungs.filter(|rung| rung.takes::<bf16>(width)) {
        let x = filled::<bf16>(device, rows * width)?;
        let dy = filled::<bf16>(device, rows * width)?;
        let gamma = filled::<bf16>(device, width)?;
        let (mean, rstd) = (filled::<f32>(device, rows)?, filled::<f32>(device, rows)?);
        let mut dx = Buffer::<bf16>::uninit(device, rows * width)?;
        let mut dgamma = Buffer::<f32>::uninit(device, width)?;
        let mut dbeta = Buffer::<f32>::uninit(device, width)?;
        let moved = bytes(&x) + bytes(&dy) + bytes(&dx) + bytes(&gamma);
        let statistics = bytes(&mean) + bytes(&rstd) + bytes(&dgamma) + bytes(&dbeta);
        all.push(Row {
            task: "layernorm-backward",
            rung: format!("{rung:?}"),
            shape: format!("bf16 {rows}x{width}"),
            compulsory: moved + statistics,
            run: Box::new(move || {
                let inputs = norm::Inputs {
                    x: &x,
                    dy: &dy,
                    gamma: Some(&gamma),
                    mean: Some(&mean),
                    rstd: &rstd,
                    residual: None,
                };
                let outputs = norm::Outputs {
                    dx: &mut dx,
                    dgamma: &mut dgamma,
                    dbeta: Some(&mut dbeta),
                };
                let plan = Plan::with_rung::<bf16>(shape, rung, x.device().limits());
                layernorm_backward_by(plan, shape, inputs, outputs)
            }),
        });
    }
    Ok(all)
}

pub(crate) fn softmax(device: D<'_>, shapes: &Shapes, size: Size) -> Result<Vec<Row>> {
    let [rows, vocabulary, k] = shapes.sizes("softmax-256x151936-k256", size, ["R", "V", "K"]);
    let mut all = Vec::new();
    for rung in [topk::Rung::Block, topk::Rung::Split(4)] {
        let logits = filled::<bf16>(device, rows * vocabulary)?;
        let mut probability = Buffer::uninit(device, rows * k)?;
        let mut index = Buffer::uninit(device, rows * k)?;
        let mut lse = Buffer::uninit(device, rows)?;
        all.push(Row {
            task: "softmax-topk",
            rung: format!("{rung:?}"),
            shape: format!("bf16 {rows}x{vocabulary} k={k}"),
            compulsory: bytes(&logits) + bytes(&probability) + bytes(&index) + bytes(&lse),
            run: Box::new(move || {
                let parameters = Parameters {
                    rows,
                    vocabulary,
                    k,
                    temperature: 1.0,
                };
                let options = Options {
                    ks: None,
                    rung: Some(rung),
                };
                let outputs = topk::Outputs {
                    probability: &mut probability,
                    index: &mut index,
                    lse: &mut lse,
                };
                softmax_topk_with(parameters, options, &logits, None, outputs)
            }),
        });
    }
    Ok(all)
}

pub(crate) fn beam(device: D<'_>, shapes: &Shapes, size: Size) -> Result<Vec<Row>> {
    let [items, beams, vocabulary] = shapes.sizes("beam-b32-k8-v152k", size, ["B", "K", "V"]);
    let n = items * beams;
    let logits = filled::<bf16>(device, n * vocabulary)?;
    let rules = Rules::new(beams, 0);
    let eos = Buffer::from_slice(device, &rules.eos)?;
    let before = Beams {
        acc: filled::<f32>(device, n)?,
        length: Buffer::from_slice(device, &vec![3_i32; n])?,
        finished: Buffer::from_slice(device, &vec![0_u8; n])?,
    };
    let mut after = Beams::uninit(device, items, beams)?;
    let mut parent = Buffer::uninit(device, n)?;
    let mut token = Buffer::uninit(device, n)?;
    let mut score = Buffer::uninit(device, n)?;
    // Sum, length, ended, in and out; parent, token, score out.
    let rest = (n * (2 * (4 + 4 + 1) + 12)) as u64;
    let shape = BeamShape {
        items,
        vocabulary,
        parts: None,
    };
    Ok(vec![Row {
        task: "beam-search",
        rung: "step".into(),
        shape: format!("bf16 {items}x{beams}x{vocabulary}"),
        compulsory: bytes(&logits) + rest,
        run: Box::new(move || {
            let kept = Kept {
                beams: &mut after,
                parent: &mut parent,
                token: &mut token,
                score: &mut score,
            };
            beam_step(&rules, shape, &logits, &eos, &before, kept)
        }),
    }])
}

pub(crate) fn ternary(device: D<'_>, shapes: &Shapes, size: Size) -> Result<Vec<Row>> {
    let [m, n, k] = shapes.sizes("gemv-n24576-k4096", size, ["M", "N", "K"]);
    let dense = numbers::<f32>(n * k);
    let mut all = Vec::new();
    let rungs = ternary::Rung::FORWARD.into_iter();
    for rung in rungs.filter(|rung| rung.takes_forward::<bf16>()) {
        let dense = Buffer::from_slice(device, &dense)?;
        let weights = TernaryWeights::quantise(&dense, [n, k])?;
        let x = filled::<bf16>(device, m * k)?;
        let mut y = Buffer::<bf16>::uninit(device, m * n)?;
        all.push(Row {
            task: "ternary-matmul",
            rung: format!("{rung:?}"),
            shape: format!("bf16 M={m} N={n} K={k}"),
            compulsory: weights.bytes() as u64 + bytes(&x) + bytes(&y),
            run: Box::new(move || forward_by(rung, &weights, &x, &mut y, m)),
        });
    }
    Ok(all)
}
