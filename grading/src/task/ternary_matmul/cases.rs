//! Calls.

use crate::submission::{Call, Named, Value};
use crate::task::{Cost, Dims, Draft};
use crate::tensor::{DType, Scalar, Tensor};
use half::{bf16, f16};
use reference::View;
use reference::cases::{Rng, mixed, normal};
use reference::numbers;
use reference::ternary::{GROUP, Packed, Packing, quantise_absmean};

/// A type of x.
pub(super) trait Real: Scalar + numbers::Element {}

impl Real for f32 {}
impl Real for f16 {}
impl Real for bf16 {}

/// What the contract calls a packing.
pub(super) fn packing_name(packing: Packing) -> &'static str {
    match packing {
        Packing::TwoBit => "two-bit",
        Packing::Base3 => "base-3",
    }
}

/// The call's packing.
pub(super) fn packing(call: &Call) -> Packing {
    match call.parameters.get("packing") {
        Some(Value::Text(name)) if name == "base-3" => Packing::Base3,
        _ => Packing::TwoBit,
    }
}

/// K of a case: its number of groups, in elements.
pub(super) fn columns(dims: &Dims) -> usize {
    GROUP * dims.get("G")
}

/// Dense weights of mixed scale. Half of the rows lean towards a row of x, so that their products
/// do not cancel and a lower precision shows; now and then a group is zero.
pub(super) fn dense<T: Real>(rng: &mut Rng, x: &[T], [n, k]: [usize; 2]) -> Vec<f32> {
    let mut w: Vec<f32> = Vec::with_capacity(n * k);
    let rows = (x.len() / k).max(1);
    for row in 0..n {
        let scale = rng.choose(&[1e-3, 0.02, 1.0]);
        let like = rng.below(rows);
        for j in 0..k {
            let lean = match x.get(like * k + j) {
                Some(x) if row % 2 == 0 => x.to_f64().signum(),
                _ => 0.0,
            };
            w.push((scale * (rng.normal() + lean)) as f32);
        }
    }
    if rng.chance(0.3) {
        let group = rng.below(n * k / GROUP) * GROUP;
        w[group..group + GROUP].fill(0.0);
    }
    w
}

/// Those weights, packed.
pub(super) fn packed(w: &[f32], [n, k]: [usize; 2], packing: Packing) -> Packed {
    let view = View::new("W", w, [n, k]).expect("as many weights as the shape says");
    quantise_absmean(view, packing).expect("finite weights of whole groups")
}

/// Activations: of mixed scale, but for f16, whose range their products would leave.
pub(super) fn activations<T: Real>(rng: &mut Rng, m: usize, k: usize) -> Vec<T> {
    match <T as Scalar>::DTYPE {
        DType::F16 => normal(rng, m * k, 1.0),
        _ => mixed(rng, m, k),
    }
}

fn begin(op: &'static str, packing: Packing, [n, k]: [usize; 2]) -> Draft {
    Draft::new("ternary-matmul", op)
        .size("N", n)
        .size("K", k)
        .size("BLOCK", packing.block_bytes())
        .set("packing", Value::Text(packing_name(packing).to_owned()))
}

fn weights(draft: Draft, weights: &Packed) -> Draft {
    let [n, k] = weights.shape();
    let shape = [n, k / GROUP, weights.packing().block_bytes()];
    draft.input("packed", &shape, weights.bytes())
}

/// `forward`.
pub(super) fn forward<T: Real>(x: &[T], packed: &Packed) -> Call {
    let [n, k] = packed.shape();
    let m = x.len() / k;
    let draft = begin("forward", packed.packing(), [n, k])
        .size("M", m)
        .input("x", &[m, k], x);
    weights(draft, packed)
        .output("y", <T as Scalar>::DTYPE, &[m, n])
        .call()
}

/// `input-gradient`.
pub(super) fn input_gradient<T: Real>(dy: &[T], packed: &Packed) -> Call {
    let [n, k] = packed.shape();
    let m = dy.len() / n;
    let draft = begin("input-gradient", packed.packing(), [n, k])
        .size("M", m)
        .input("dy", &[m, n], dy);
    weights(draft, packed)
        .output("dx", <T as Scalar>::DTYPE, &[m, k])
        .call()
}

/// `weight-gradient`.
pub(super) fn weight_gradient<T: Real>(dy: &[T], x: &[T], [m, n, k]: [usize; 3]) -> Call {
    Draft::new("ternary-matmul", "weight-gradient")
        .size("M", m)
        .size("N", n)
        .size("K", k)
        .input("dy", &[m, n], dy)
        .input("x", &[m, k], x)
        .output("dW", DType::F32, &[n, k])
        .call()
}

/// The same with the dense weights at hand.
pub(super) fn weight_gradient_beside<T: Real>(
    dy: &[T],
    x: &[T],
    w: &[f32],
    [m, n, k]: [usize; 3],
) -> Call {
    let mut call = weight_gradient(dy, x, [m, n, k]);
    call.inputs.push(Named {
        name: "W".into(),
        tensor: Tensor::of(&[n, k], w).expect("as many weights as the shape says"),
    });
    call
}

/// `quantise-forward`.
pub(super) fn quantise_forward<T: Real>(x: &[T], w: &[f32], n: usize, packing: Packing) -> Call {
    let k = w.len() / n;
    let m = x.len() / k;
    begin("quantise-forward", packing, [n, k])
        .size("M", m)
        .input("x", &[m, k], x)
        .input("W", &[n, k], w)
        .output("y", <T as Scalar>::DTYPE, &[m, n])
        .output(
            "packed",
            DType::U8,
            &[n, k.div_ceil(GROUP), packing.block_bytes()],
        )
        .call()
}

/// `quantise` or `pack-exact`.
pub(super) fn pack<T: Real>(op: &'static str, w: &[T], n: usize, packing: Packing) -> Call {
    let k = w.len() / n;
    let groups = k.div_ceil(GROUP);
    begin(op, packing, [n, k])
        .input("W", &[n, k], w)
        .output("packed", DType::U8, &[n, groups, packing.block_bytes()])
        .call()
}

/// `embed`.
pub(super) fn embed(tokens: &[i32], packed: &Packed, dtype: DType) -> Call {
    let [_, k] = packed.shape();
    let draft = begin("embed", packed.packing(), packed.shape())
        .size("L", tokens.len())
        .input("tokens", &[tokens.len()], tokens);
    weights(draft, packed)
        .output("rows", dtype, &[tokens.len(), k])
        .call()
}

/// `forward` from two-bit weights in f32.
pub(super) fn ordinary(dims: &Dims, rng: &mut Rng) -> Option<Call> {
    Some(drawn::<f32>(dims, rng, Packing::TwoBit))
}

/// `forward` in any type and packing.
pub(super) fn drawn<T: Real>(dims: &Dims, rng: &mut Rng, packing: Packing) -> Call {
    let shape = [dims.get("N"), columns(dims)];
    let x: Vec<T> = activations(rng, dims.get("M"), shape[1]);
    forward(&x, &packed(&dense(rng, &x, shape), shape, packing))
}

/// One row of x, two rows of weights, one group.
pub(super) fn example() -> Call {
    let x: Vec<f32> = (0..GROUP).map(|j| (j % 5) as f32 - 2.0).collect();
    let w: Vec<f32> = (0..2 * GROUP).map(|j| [0.5, -0.5, 0.0][j % 3]).collect();
    forward(&x, &packed(&w, [2, GROUP], Packing::TwoBit))
}

/// Packed weights once more, in the layout of the kernels.
pub(super) fn cost(call: &Call) -> Cost {
    let size = |name: &str| call.sizes.get(name).copied().unwrap_or(1);
    let given = call.input("packed").map(|p| p.bytes().len());
    let made = call.output("packed").map(|p| p.bytes());
    let weights = given.or(made).unwrap_or(0) as u64;
    let products = matches!(
        call.op,
        "forward" | "input-gradient" | "weight-gradient" | "quantise-forward"
    );
    Cost {
        bytes: call.compulsory_bytes(),
        flops: if products {
            2 * size("M") * size("N") * size("K")
        } else {
            0
        },
        workspace: weights + size("N") * size("K") / 4 + 4096,
    }
}

/// `y of row 1 of x and row 5 of the weights`, `byte 3 of group 2 of row 1`.
pub(super) fn place(_: &Call, output: &str, index: &[usize]) -> String {
    match (output, index) {
        ("y", [m, n]) => format!("y of row {m} of x and row {n} of the weights"),
        ("dx" | "dW" | "rows", [row, k]) => {
            format!("{output} in row {row}, column {k} (group {})", k / GROUP)
        }
        ("packed", [row, group, 0 | 1]) => format!("the scale of group {group} of row {row}"),
        ("packed", [row, group, byte]) => {
            format!(
                "byte {} of the codes of group {group} of row {row}",
                byte - 2
            )
        }
        _ => format!("{output} at {index:?}"),
    }
}

/// The call's weights.
pub(super) fn weights_of(call: &Call) -> Result<Packed, String> {
    let bytes = call.input("packed").map(Tensor::bytes).unwrap_or_default();
    let size = |name: &str| call.sizes.get(name).copied().unwrap_or(0) as usize;
    Packed::from_bytes(packing(call), [size("N"), size("K")], bytes).map_err(|e| e.to_string())
}
