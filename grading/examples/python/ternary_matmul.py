"""Ternary weights: quantised, packed, multiplied with, and trained straight through."""
import numpy as np

from touchstone import Unsupported, serve

GROUP = 128
# Codes of a byte and what one step from code to code multiplies it by.
DIGITS = {"two-bit": (4, 4), "base-3": (5, 3)}


def unpack(packed, packing):
    """[N, K/128, BLOCK] bytes to N×K weights: each group is an f16 scale and its codes."""
    count, radix = DIGITS[packing]
    scale = packed[..., :2].copy().view(np.float16).astype(np.float32)
    codes = packed[..., 2:, None] // radix ** np.arange(count) % radix
    codes = codes.reshape(*packed.shape[:2], -1)[..., :GROUP]
    weights = (codes.astype(np.float32) - 1) * scale
    return weights.reshape(len(packed), -1)


def pack(scale, ternary, packing):
    """Scales [N, G] and −1, 0, +1 [N, G, 128] to bytes; digits without a code are 0."""
    count, radix = DIGITS[packing]
    codes = (ternary + 1).astype(np.uint8)
    spare = -GROUP % count
    codes = np.pad(codes, [(0, 0), (0, 0), (0, spare)]).reshape(*scale.shape, -1, count)
    data = (codes * radix ** np.arange(count)).sum(axis=-1).astype(np.uint8)
    head = scale.astype(np.float16)[..., None].view(np.uint8)
    return np.concatenate([head, data], axis=-1)


def groups(w):
    if w.shape[1] % GROUP:
        raise Unsupported("K is no multiple of 128")
    return w.astype(np.float64).reshape(len(w), -1, GROUP)


def quantise(call):
    w = groups(call["W"])
    # The scale is rounded before it is divided by: it is what will be multiplied by.
    scale = np.abs(w).mean(axis=-1).astype(np.float16)
    d = scale.astype(np.float64)[..., None]
    ternary = np.clip(np.rint(np.divide(w, d, out=np.zeros_like(w), where=d > 0)), -1, 1)
    return {"packed": pack(scale, ternary, call.parameters["packing"])}


def quantise_forward(call):
    """quantise, and forward with what it packed."""
    packed = quantise(call)["packed"]
    weights = unpack(packed, call.parameters["packing"])
    return {"y": call["x"].astype(np.float32) @ weights.T, "packed": packed}


def pack_exact(call):
    w = groups(call["W"])
    scale = np.abs(w).max(axis=-1).astype(np.float16)
    return {"packed": pack(scale, np.sign(w), call.parameters["packing"])}


def forward(call):
    weights = unpack(call["packed"], call.parameters["packing"])
    return {"y": call["x"].astype(np.float32) @ weights.T}


def input_gradient(call):
    weights = unpack(call["packed"], call.parameters["packing"])
    return {"dx": call["dy"].astype(np.float32) @ weights}


def weight_gradient(call):
    # Straight through: the dense weights, where they come along, are of no account.
    return {"dW": call["dy"].astype(np.float32).T @ call["x"].astype(np.float32)}


def embed(call):
    weights = unpack(call["packed"][call["tokens"]], call.parameters["packing"])
    return {"rows": weights}


serve({
    "forward": forward,
    "input-gradient": input_gradient,
    "weight-gradient": weight_gradient,
    "quantise-forward": quantise_forward,
    "quantise": quantise,
    "pack-exact": pack_exact,
    "embed": embed,
})
