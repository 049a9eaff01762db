"""What the attention tasks share: one head of one sequence at a time, in f32."""
import numpy as np

F32 = np.float32


def visible(queries, keys, parameters):
    """Which keys each query sees; the last query stands at the last key."""
    position = np.arange(queries)[:, None] + keys - queries
    at = np.arange(keys)[None, :]
    seen = np.ones((queries, keys), bool)
    if "window_left" in parameters:
        seen &= at >= position - parameters["window_left"]
    if "window_right" in parameters:
        seen &= at <= position + parameters["window_right"]
    if parameters.get("causal", False):
        seen &= at <= position
    return seen


def product(left, right, used):
    """left @ right over the rows of `right` that are used: NaN in the others must not be met by 0."""
    return left[:, used] @ right[used]


def scores(q, k, seen, parameters):
    """Scores, -inf where nothing is seen, and the slope of a softcap."""
    s = (q @ k.T) * F32(parameters["scale"])
    slope = F32(1)
    cap = parameters.get("softcap")
    if cap is not None:
        bent = np.tanh(s / F32(cap))
        s, slope = F32(cap) * bent, 1 - bent * bent
    return np.where(seen, s, F32(-np.inf)), slope


def forward(q, k, v, seen, parameters, sink=None):
    """o and lse; `sink` is a logit that joins the softmax and has no value."""
    with np.errstate(all="ignore"):
        s, _ = scores(q, k, seen, parameters)
        strange = (np.isnan(s) | np.isposinf(s)).any(axis=1)
        top = np.where(strange, 0, s.max(axis=1, initial=-np.inf)).astype(F32)
        if sink is not None:
            top = np.maximum(top, F32(sink))
        # A query that sees nothing has no maximum to subtract.
        base = np.where(np.isneginf(top), F32(0), top)
        weights = np.exp(s - base[:, None])
        total = weights.sum(axis=1, dtype=F32)
        if sink is not None:
            total += np.exp(F32(sink) - base)
        lse = base + np.log(total)
        o = product(weights, v, seen.any(axis=0)) / np.where(total == 0, F32(1), total)[:, None]
        # Keys that only other queries see carry NaN into rows that do not see them.
        for j in np.flatnonzero(np.isnan(v).any(axis=1)):
            for i in np.flatnonzero(~seen[:, j]):
                keys = seen[i]
                o[i] = weights[i, keys] @ v[keys] / (total[i] or 1)
    o[strange], lse[strange] = np.nan, np.nan
    return o, lse


def backward(q, k, v, o, lse, do, seen, parameters):
    """dq, dk and dv; P is recomputed from lse."""
    with np.errstate(all="ignore"):
        s, slope = scores(q, k, seen, parameters)
        live = ~np.isneginf(lse)
        pairs = seen & live[:, None]
        p = np.where(pairs, np.exp(s - np.where(live, lse, F32(0))[:, None]), F32(0))
        delta = (do * o).sum(axis=1, dtype=F32)
        ds = p * (do @ v.T - delta[:, None]) * slope * F32(parameters["scale"])
        ds = np.where(pairs, ds, F32(0))
        dq = np.stack([product(ds[i:i + 1], k, pairs[i])[0] for i in range(len(q))]) if len(q) else q
        dk = np.stack([product(ds[:, j][None], q, pairs[:, j])[0] for j in range(len(k))]) if len(k) else k
        dv = np.stack([product(p[:, j][None], do, pairs[:, j])[0] for j in range(len(k))]) if len(k) else k
    return dq, dk, dv


def key_head(head, query_heads, key_heads):
    """Query heads read key heads in groups."""
    return head // (query_heads // key_heads)


def sequences(call):
    """For each sequence and query head: the places of its queries and of its keys."""
    q, k = call["q"], call["k"]
    if "cu_q" in call.dtypes:
        query_heads, key_heads = q.shape[1], k.shape[1]
        bounds = list(zip(call["cu_q"], call["cu_q"][1:], call["cu_k"], call["cu_k"][1:]))
        for q0, q1, k0, k1 in bounds:
            for h in range(query_heads):
                yield (slice(q0, q1), h), (slice(k0, k1), key_head(h, query_heads, key_heads))
    else:
        for b in range(q.shape[0]):
            for h in range(q.shape[1]):
                yield (b, h), (b, key_head(h, q.shape[1], k.shape[1]))
