"""Golden vectors for LayerNorm and RMSNorm by PyTorch in float64.

    python layernorm.py            # needs torch and safetensors; writes layernorm-*.safetensors

Forward values are written out and agree with torch's layer_norm, or are its rms_norm. Gradients are its layer_norm backward operator
with the saved f32 statistics (LayerNorm) and its autograd with rstd held as in the formula
(RMSNorm). Inputs are f32, outputs f64.

Run again with torch 2.15.0 and NumPy 2.4.6, it reproduced the checked-in files in every number, with
the same names, shapes and options; only the order of the tensors in a file may differ.
"""

import os

import torch
from safetensors.torch import save_file
from torch.nn.functional import layer_norm, rms_norm

HERE = os.path.dirname(os.path.abspath(__file__))
EPS = torch.tensor(1e-5, dtype=torch.float32).item()

# name, R, D, affine, rms, offset of x
CASES = [
    ("plain", 5, 16, True, False, 0.0),
    ("no-affine", 3, 7, False, False, 0.0),
    ("one-column", 4, 1, True, False, 0.0),
    ("offset", 3, 33, True, False, 1e4),
    ("wide", 2, 300, True, False, 0.0),
    ("rms", 5, 16, True, True, 0.0),
    ("rms-no-affine", 3, 33, False, True, 1.0),
]


def main():
    for number, (name, rows, width, affine, rms, offset) in enumerate(CASES):
        generator = torch.Generator().manual_seed(number)

        def normal(*size):
            return torch.randn(*size, generator=generator, dtype=torch.float32)

        x, dy, gamma = normal(rows, width) + offset, normal(rows, width), normal(width)
        if not affine:
            gamma = torch.ones(width)
        wide, wide_gamma = x.double(), gamma.double()
        if rms:
            y = rms_norm(wide, [width], wide_gamma, EPS)
            mean = torch.zeros(rows, dtype=torch.float64)
            rstd = ((wide * wide).mean(1) + EPS).rsqrt()
        else:
            mean = wide.mean(1)
            rstd = (wide.var(1, correction=0) + EPS).rsqrt()
            # torch's layer_norm forms x·rstd - mean·rstd, which loses digits at a large offset.
            y = (wide - mean[:, None]) * rstd[:, None] * wide_gamma
            theirs = layer_norm(wide, [width], wide_gamma, None, EPS)
            assert (theirs - y).abs().max() < 1e-13 * (1 + offset), name
        saved_mean, saved_rstd = mean.float(), rstd.float()
        if rms:
            # x -> x·rho with d rho = -rho³·mean(x dx), rho being the saved number.
            class Scale(torch.autograd.Function):
                @staticmethod
                def forward(ctx, x):
                    ctx.save_for_backward(x)
                    return x * saved_rstd.double()[:, None]

                @staticmethod
                def backward(ctx, g):
                    (x,) = ctx.saved_tensors
                    rho = saved_rstd.double()[:, None]
                    return rho * g - rho**3 * x * (g * x).mean(1, keepdim=True)

            inputs = [wide.clone().requires_grad_(), wide_gamma.clone().requires_grad_()]
            out = (Scale.apply(inputs[0]) * inputs[1] * dy.double()).sum()
            dx, dgamma = torch.autograd.grad(out, inputs)
            dbeta = torch.zeros(width, dtype=torch.float64)
        else:
            dx, dgamma, dbeta = torch.ops.aten.native_layer_norm_backward(
                dy.double(), wide, [width], saved_mean.double()[:, None],
                saved_rstd.double()[:, None], wide_gamma, torch.zeros_like(wide_gamma),
                [True, True, True],
            )
        tensors = {"x": x, "dy": dy, "gamma": gamma, "saved_mean": saved_mean}
        tensors |= {"saved_rstd": saved_rstd, "y": y, "mean": mean, "rstd": rstd}
        tensors |= {"dx": dx, "dgamma": dgamma, "dbeta": dbeta}
        metadata = {"affine": str(int(affine)), "rms": str(int(rms)), "eps": repr(EPS)}
        metadata["torch"] = torch.__version__
        tensors = {key: t.detach().contiguous() for key, t in tensors.items()}
        save_file(tensors, os.path.join(HERE, f"layernorm-{name}.safetensors"), metadata)


if __name__ == "__main__":
    main()
