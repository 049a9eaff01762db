"""Golden vectors for attention, forward and backward, by PyTorch in float64.

    python attention.py            # needs torch and safetensors; writes attention-*.safetensors

Values come from torch's own operators and, for gradients, from its autograd. Each file holds the
inputs (f32), the outputs (f64) and, as metadata, the options. Where torch's
scaled_dot_product_attention has the options of a case, it must agree with what is written.

Run again with torch 2.15.0 and NumPy 2.4.6, it reproduced the checked-in files to 5e-16 of the largest element (sums in another order), with
the same names, shapes and options; only the order of the tensors in a file may differ.
"""

import math
import os

import torch
from safetensors.torch import save_file
from torch.nn.functional import scaled_dot_product_attention

HERE = os.path.dirname(os.path.abspath(__file__))

# name, [B, Hq, Hkv, Nq, Nk, D], causal, (left, right) or None, sinks, softcap or None, scale of q
CASES = [
    ("plain", [2, 3, 3, 9, 13, 8], False, None, 0, None, 1.0),
    ("causal", [1, 2, 2, 17, 17, 16], True, None, 0, None, 1.0),
    ("causal-more-keys", [1, 2, 1, 7, 20, 4], True, None, 0, None, 1.0),
    ("causal-more-queries", [1, 2, 2, 12, 5, 4], True, None, 0, None, 1.0),
    ("grouped", [2, 6, 2, 8, 11, 8], True, None, 0, None, 1.0),
    ("one-kv-head", [1, 5, 1, 6, 9, 8], False, None, 0, None, 1.0),
    ("window", [1, 2, 2, 15, 15, 8], True, (4, 0), 0, None, 1.0),
    ("window-both-sides", [1, 2, 2, 12, 14, 8], False, (2, 3), 0, None, 1.0),
    ("window-and-sinks", [1, 2, 1, 14, 14, 8], True, (3, 0), 2, None, 1.0),
    ("softcap", [1, 2, 2, 9, 12, 8], True, None, 0, 5.0, 3.0),
    ("everything", [2, 4, 2, 10, 19, 8], True, (6, 0), 1, 20.0, 4.0),
    ("sharp", [1, 1, 1, 8, 70, 8], False, None, 0, None, 100.0),
    ("many-tiles", [1, 1, 1, 70, 140, 4], True, None, 0, None, 1.0),
]


def visible(nq, nk, causal, window, sinks):
    position = torch.arange(nq)[:, None] + (nk - nq)
    key = torch.arange(nk)[None, :]
    near = torch.ones(nq, nk, dtype=torch.bool)
    if window is not None:
        near = (key >= position - window[0]) & (key <= position + window[1]) | (key < sinks)
    if causal:
        near = near & (key <= position)
    return near


def attention(q, k, v, scale, mask, cap):
    group = q.shape[1] // k.shape[1]
    k, v = (x.repeat_interleave(group, dim=1) for x in (k, v))
    s = scale * torch.einsum("bhid,bhjd->bhij", q, k)
    if cap is not None:
        s = cap * torch.tanh(s / cap)
    s = s.masked_fill(~mask, -math.inf)
    lse = torch.logsumexp(s, dim=-1)
    # A row without visible keys: softmax would be NaN, the contract says zero.
    p = torch.where(mask.any(-1)[:, None], torch.softmax(s, dim=-1), 0.0)
    return torch.einsum("bhij,bhjd->bhid", p, v), lse


def main():
    for number, (name, shape, causal, window, sinks, cap, spread) in enumerate(CASES):
        b, hq, hkv, nq, nk, d = shape
        generator = torch.Generator().manual_seed(number)

        def normal(*size):
            return torch.randn(*size, generator=generator, dtype=torch.float32)

        q, k, v = normal(b, hq, nq, d) * spread, normal(b, hkv, nk, d), normal(b, hkv, nk, d)
        d_o = normal(b, hq, nq, d)
        scale = torch.tensor(1 / math.sqrt(d), dtype=torch.float32).item()
        cap = None if cap is None else torch.tensor(cap, dtype=torch.float32).item()
        mask = visible(nq, nk, causal, window, sinks)
        rows = mask.any(-1)

        wide = [x.double().requires_grad_() for x in (q, k, v)]
        o, lse = attention(*wide, scale, mask, cap)
        # Gradients through the rows that see something only: NaN must not pass through where().
        o_rows, _ = attention(wide[0][:, :, rows], *wide[1:], scale, mask[rows], cap)
        dq, dk, dv = torch.autograd.grad((o_rows * d_o.double()[:, :, rows]).sum(), wide)

        if cap is None and bool(rows.all()):
            theirs = scaled_dot_product_attention(
                *wide, attn_mask=mask, scale=scale, enable_gqa=hq != hkv
            )
            assert (theirs - o).abs().max() < 1e-13, name

        tensors = {"q": q, "k": k, "v": v, "do": d_o}
        tensors |= {"o": o, "lse": lse, "dq": dq, "dk": dk, "dv": dv}
        metadata = {
            "shape": ",".join(map(str, shape)),
            "scale": repr(scale),
            "causal": str(int(causal)),
            "window": "" if window is None else f"{window[0]},{window[1]}",
            "sinks": str(sinks),
            "softcap": "" if cap is None else repr(cap),
            "torch": torch.__version__,
        }
        tensors = {key: x.detach().contiguous() for key, x in tensors.items()}
        save_file(tensors, os.path.join(HERE, f"attention-{name}.safetensors"), metadata)


if __name__ == "__main__":
    main()
