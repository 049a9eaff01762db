"""One step of beam search: the K best of each item's pool."""
import numpy as np

from touchstone import serve

F32 = np.float32


def step(call):
    logits = call["logits"].astype(F32)
    acc, length, finished = call["acc"], call["length"], call["finished"]
    items, beams, _ = logits.shape
    rules = Rules(call.parameters)
    out = {
        "parent": np.full((items, beams), -1),
        "token": np.full((items, beams), -1),
        "acc": np.full((items, beams), -np.inf, F32),
        "length": np.zeros((items, beams)),
        "finished": np.zeros((items, beams)),
        "score": np.full((items, beams), -np.inf, F32),
    }
    for b in range(items):
        pool = []
        for parent in range(beams):
            if acc[b, parent] == -np.inf:
                continue
            if finished[b, parent]:
                pool.append(rules.candidate(parent, -1, acc[b, parent], length[b, parent], True))
            else:
                pool += continuations(rules, beams, parent, logits[b, parent], acc[b, parent], length[b, parent])
        # Equal scores keep the order of the pool: lower parents first, then lower tokens.
        pool.sort(key=lambda kept: -kept["score"])
        for rank, kept in enumerate(pool[:beams]):
            for name, value in kept.items():
                out[name][b, rank] = value
    return out


class Rules:
    def __init__(self, parameters):
        self.alpha = F32(parameters.get("alpha", 0.0))
        self.eos = set(parameters.get("eos", []))
        self.count_eos = parameters.get("count_eos", True)
        self.min_length = parameters.get("min_length", 0)

    def candidate(self, parent, token, acc, length, finished):
        # The penalised score ranks; the sum that goes on is never altered.
        score = acc if self.alpha == 0 else F32(acc / F32(max(length, 1)) ** self.alpha)
        return {"parent": parent, "token": token, "acc": acc, "length": length, "finished": finished, "score": score}


def continuations(rules, beams, parent, row, acc, length):
    """The 2K best allowed tokens of a beam, lower tokens first."""
    allowed = np.isfinite(row)
    if not allowed.any():
        return []
    top = row[allowed].max()
    lse = top + np.log(np.exp(row[allowed] - top).sum(dtype=F32))
    # The others' probabilities stay those of the full softmax.
    if length < rules.min_length:
        allowed[[token for token in rules.eos if 0 <= token < len(row)]] = False
    tokens = np.flatnonzero(allowed)
    # At most K of them can be kept; as many again leave room for those that end.
    best = tokens[np.argsort(-row[tokens], kind="stable")[:2 * beams]]
    found = []
    for token in best.tolist():
        ended = token in rules.eos
        grown = length + (1 if rules.count_eos or not ended else 0)
        found.append(rules.candidate(parent, token, F32(acc + (row[token] - lse)), grown, ended))
    return sorted(found, key=lambda kept: kept["token"])


serve({"step": step})
