"""Trees of drafted tokens: masks, attention, greedy and sampling acceptance."""
import numpy as np

from attention import forward, key_head
from pages import read, slots
from touchstone import Unsupported, serve

F32 = np.float32


def items(call):
    """The nodes of each item and where they begin."""
    starts, parent = call["starts"], call["parent"]
    for b, (start, end) in enumerate(zip(starts, starts[1:])):
        own = parent[start:end]
        if (own >= np.arange(len(own))).any() or (own < -1).any():
            raise Unsupported("a parent that does not come before its child")
        yield b, start, end, own


def ancestors(parent):
    """Whether node j is node i or an ancestor of it, and the depth of each node."""
    seen, depth = np.eye(len(parent), dtype=bool), np.zeros(len(parent), np.int32)
    for node, above in enumerate(parent):
        if above >= 0:
            seen[node] |= seen[above]
            depth[node] = depth[above] + 1
    return seen, depth


def mask(call):
    words = call.sizes["W"]
    out, depths = np.zeros((len(call["parent"]), words), np.uint32), np.zeros(len(call["parent"]), np.int32)
    for _, start, end, parent in items(call):
        seen, depths[start:end] = ancestors(parent)
        bits = np.zeros((len(parent), 32 * words), bool)
        bits[:, :len(parent)] = seen
        out[start:end] = np.packbits(bits, axis=1, bitorder="little").view(np.uint32)
    return {"mask": out, "depth": depths}


def attention(call):
    q, key_heads = call["q"].astype(F32), call["k_pages"].shape[2]
    o, lse = np.zeros(q.shape, F32), np.zeros(q.shape[:-1], F32)
    for b, start, end, parent in items(call):
        where, nodes = slots(call, b), len(parent)
        tree, depth = ancestors(parent)
        prefix = len(where[0]) - nodes
        seen = np.concatenate([np.ones((nodes, prefix), bool), tree], axis=1)
        if "window" in call.parameters:
            at = np.concatenate([np.arange(prefix), prefix + depth])
            seen &= at[None, :] >= (prefix + depth)[:, None] - call.parameters["window"]
        for h in range(q.shape[1]):
            kv = key_head(h, q.shape[1], key_heads)
            k, v = (read(call, name, kv, where, q.shape[2]) for name in "kv")
            o[start:end, h], lse[start:end, h] = forward(q[start:end, h], k, v, seen, call.parameters)
    return {"o": o, "lse": lse}


def walk(call, step):
    """Follows the nodes that `step` accepts after each row; it returns the node, or None and a bonus."""
    nodes = len(call["parent"])
    out = {name: np.full(nodes, -1, np.int32) for name in ("node", "accepted", "slot")}
    out["count"], out["bonus"] = np.zeros(len(call["starts"]) - 1, np.int32), np.zeros(len(call["starts"]) - 1, np.int32)
    logits, stop = call["logits"].astype(F32), set(call.get("stop", np.zeros(0)).tolist())
    for b, start, end, parent in items(call):
        current, count = -1, 0
        while True:
            children = np.flatnonzero(parent == current)
            chosen, bonus = step(b, start, logits, b + start + current + 1, children)
            if chosen is None:
                break
            current = chosen
            token = call["token"][start + current]
            out["node"][start + count], out["accepted"][start + count] = current, token
            if "slots" in call.dtypes:
                out["slot"][start + count] = call["slots"][start + current]
            count += 1
            if token in stop:
                bonus = -1
                break
        out["count"][b], out["bonus"][b] = count, bonus
    return {output["name"]: out[output["name"]] for output in call.outputs}


def accept(call):
    def step(b, start, logits, row, children):
        row = np.where(np.isnan(logits[row]), -np.inf, logits[row])
        if not np.isfinite(row).any():
            return None, -1
        best = int(row.argmax())
        for child in children:
            if call["token"][start + child] == best:
                return child, best
        return None, best

    return walk(call, step)


def sample(call):
    temperature, draft = F32(call.parameters["temperature"]), call.get("draft")

    def step(b, start, logits, at, children):
        row = np.where(np.isnan(logits[at]), F32(-np.inf), logits[at]) / temperature
        if not np.isfinite(row).any():
            return None, -1
        p = np.exp(row - row.max())
        p /= p.sum(dtype=F32)
        for child in children:
            token = call["token"][start + child]
            # A draft that was certain proposed this token with probability 1.
            q = draft[at] if draft is not None else np.eye(1, len(p), token, dtype=F32)[0]
            if call["uniform"][start + child] * q[token] < p[token]:
                return child, -1
            rest = np.maximum(p - q, 0)
            if rest.sum() > 0:
                p = rest / rest.sum(dtype=F32)
        above = np.flatnonzero(np.cumsum(p, dtype=np.float64) > call["bonus_uniform"][b])
        return None, int(above[0]) if len(above) else int(np.flatnonzero(p)[-1])

    return walk(call, step)


serve({"mask": mask, "attention": attention, "accept": accept, "sample": sample})
