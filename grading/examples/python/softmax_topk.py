"""Softmax of each row and its K most probable entries."""
import numpy as np

from touchstone import Unsupported, serve


def softmax_topk(call):
    logits = call["logits"].astype(np.float32)
    rows, width = logits.shape
    k = call.sizes["K"]
    if k > width:
        raise Unsupported("K above V")
    temperature = np.float32(call.parameters.get("temperature", 1.0))
    if call.get("mask") is not None:
        logits = np.where(call["mask"] != 0, -np.inf, logits).astype(np.float32)
    row_k = call.get("row_k", np.full(rows, k))

    prob = np.zeros((rows, k), np.float32)
    index = np.full((rows, k), -1, np.int32)
    lse = np.zeros(rows, np.float32)
    for r in range(rows):
        row, kept = logits[r], int(row_k[r])
        if np.isnan(row).any() or np.isposinf(row).any():
            prob[r, :kept], lse[r] = np.nan, np.nan
            continue
        # A stable sort keeps equal logits in the order of their indices.
        best = np.argsort(-row, kind="stable")[:kept]
        index[r, :kept] = best
        scaled = row / temperature
        top = scaled.max()
        if np.isneginf(top):
            lse[r] = -np.inf
            continue
        weights = np.exp(scaled - top)
        total = weights.sum(dtype=np.float32)
        prob[r, :kept] = weights[best] / total
        lse[r] = top + np.log(total)
    return {"prob": prob, "index": index, "lse": lse}


serve({"softmax-topk": softmax_topk})
