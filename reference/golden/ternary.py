"""Golden vectors for ternary quantisation, both packings and the products, by NumPy.

    python ternary.py              # needs numpy and safetensors; writes ternary-*.safetensors

Everything is written from the formats' definitions with NumPy's own rounding (round half to even,
float16 conversion); products are float64 matmuls with dequantised weights.

Run again with NumPy 2.4.6, it reproduced the checked-in files byte for byte.
"""

import os

import numpy as np
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
GROUP = 128

# name, M, N, K, scale of W
CASES = [("plain", 3, 5, 256, 0.02), ("tiny-weights", 2, 3, 128, 1e-6), ("halves", 1, 4, 128, 1.0)]


def quantise(w):
    groups = w.astype(np.float64).reshape(w.shape[0], -1, GROUP)
    d = np.abs(groups).mean(-1).astype(np.float16)
    wide = d.astype(np.float64)[..., None]
    ratio = np.divide(groups, wide, out=np.zeros_like(groups), where=wide > 0)
    return d, np.clip(np.rint(ratio), -1, 1).astype(np.int8)


def pack(d, codes, per_byte, radix):
    digits = -(-GROUP // per_byte) * per_byte
    padded = np.zeros(codes.shape[:2] + (digits,), np.uint32)
    padded[..., :GROUP] = codes
    powers = radix ** np.arange(per_byte, dtype=np.uint32)
    qs = (padded.reshape(*codes.shape[:2], -1, per_byte) * powers).sum(-1).astype(np.uint8)
    scale = d.astype("<f2")[..., None].view(np.uint8)
    return np.concatenate([scale, qs], -1).reshape(-1)


def main():
    for number, (name, m, n, k, scale) in enumerate(CASES):
        rng = np.random.default_rng(number)
        w = (rng.standard_normal((n, k)) * scale).astype(np.float32)
        if name == "halves":
            # Mean exactly 1/2, so that ±1/4 are exact halves of the scale; and a zero group.
            row = np.array([0.25, -0.25, 0.75, -0.75] * (GROUP // 4), np.float32)
            w = np.stack([row, -row, row * 2, row * 0])
        d, t = quantise(w)
        codes = (t + 1).astype(np.uint8)
        dense = (d.astype(np.float64)[..., None] * t).reshape(n, k)
        x = rng.standard_normal((m, k)).astype(np.float32)
        dy = rng.standard_normal((m, n)).astype(np.float32)
        wide_x, wide_dy = x.astype(np.float64), dy.astype(np.float64)
        tensors = {"w": w, "x": x, "dy": dy}
        tensors["two_bit"] = pack(d, codes, 4, 4)
        tensors["base3"] = pack(d, codes, 5, 3)
        tensors |= {"y": wide_x @ dense.T, "dx": wide_dy @ dense, "dw": wide_dy.T @ wide_x}
        metadata = {"numpy": np.__version__}
        tensors = {key: np.ascontiguousarray(v) for key, v in tensors.items()}
        save_file(tensors, os.path.join(HERE, f"ternary-{name}.safetensors"), metadata)


if __name__ == "__main__":
    main()
