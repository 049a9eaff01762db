"""Attention over keys and values in pages, and appending to them."""
import numpy as np

from attention import forward, key_head
from pages import read, slots
from touchstone import serve

F32 = np.float32


def decode(call):
    return attend(call, [(b, b + 1) for b in range(len(call["seq_len"]))])


def prefill(call):
    starts = call["starts"]
    return attend(call, list(zip(starts, starts[1:])))


def attend(call, bounds):
    q, key_heads = call["q"].astype(F32), call["k_pages"].shape[2]
    sinks = call.get("sink_logits")
    o, lse = np.zeros(q.shape, F32), np.zeros(q.shape[:-1], F32)
    for b, (start, end) in enumerate(bounds):
        where = slots(call, b)
        seen = visible(end - start, len(where[0]), call.parameters)
        for h in range(q.shape[1]):
            kv = key_head(h, q.shape[1], key_heads)
            k, v = (read(call, name, kv, where, q.shape[2]) for name in "kv")
            sink = None if sinks is None else sinks[h]
            o[start:end, h], lse[start:end, h] = forward(q[start:end, h], k, v, seen, call.parameters, sink)
    return {"o": o, "lse": lse}


def visible(queries, tokens, parameters):
    """Causal, the last query at the last token; a window, and the first tokens beside it."""
    position = np.arange(queries)[:, None] + tokens - queries
    at = np.arange(tokens)[None, :]
    near = at >= position - parameters.get("window", tokens + queries)
    return (near | (at < parameters.get("sinks", 0))) & (at <= position)


def append(call):
    page = call["k_pages"].shape[1]
    where = (call["slots"] // page, call["slots"] % page)
    out = {output["name"]: call[output["name"]].copy() for output in call.outputs}
    for name in "kv":
        x = call[name].astype(F32)
        if name == "k" and "rope_pairs" in call.parameters:
            x = rotate(x, call)
        dtype = call.dtypes[f"{name}_pages"]
        if dtype == "i8":
            codes, out[f"{name}_scale"][where] = int8(x)
        elif dtype == "u8":
            codes, out[f"{name}_scale"][where], out[f"{name}_zero"][where] = int4(x)
        else:
            codes = x
        out[f"{name}_pages"][where] = codes
    return out


def rotate(x, call):
    cos, sin = (call[table][call["position"]][:, None, :] for table in ("cos", "sin"))
    half = x.shape[-1] // 2
    if call.parameters["rope_pairs"] == "half":
        first, second = slice(None, half), slice(half, None)
    else:
        first, second = slice(0, None, 2), slice(1, None, 2)
    a, b = x[..., first], x[..., second]
    out = np.empty_like(x)
    out[..., first], out[..., second] = a * cos - b * sin, b * cos + a * sin
    return out


def int8(x):
    """The scale is rounded first: codes are made with what will be multiplied by."""
    scale = (np.abs(x).max(axis=-1) / F32(127)).astype(np.float16)
    d = scale.astype(F32)[..., None]
    codes = np.divide(x, d, out=np.zeros_like(x), where=d > 0)
    return np.clip(np.rint(codes), -127, 127), scale


def int4(x):
    low, high = x.min(axis=-1), x.max(axis=-1)
    with np.errstate(all="ignore"):
        scale = ((high - low) / F32(15)).astype(np.float16)
        zero = (-low / scale.astype(F32)).astype(np.float16)
    # A constant vector has no range; its zero point carries the value.
    flat = (scale == 0) | ~np.isfinite(zero)
    scale = np.where(flat, np.float16(1), scale)
    zero = np.where(flat, (-low).astype(np.float16), zero)
    d, z = scale.astype(F32)[..., None], zero.astype(F32)[..., None]
    codes = np.clip(np.rint(x / d + z), 0, 15).astype(np.uint8)
    codes = np.pad(codes, [(0, 0), (0, 0), (0, codes.shape[-1] % 2)])
    return codes[..., 0::2] | codes[..., 1::2] << 4, scale, zero


serve({"decode": decode, "prefill": prefill, "append": append})
