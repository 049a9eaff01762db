"""Gradients of LayerNorm and RMSNorm."""
import numpy as np

from touchstone import serve


def layernorm_backward(call):
    x, dy = call["x"].astype(np.float32), call["dy"].astype(np.float32)
    rstd = call["rstd"][:, None]
    gamma, mean, residual = call.get("gamma"), call.get("mean"), call.get("residual")

    # Subtracting first keeps the digits that a large mean would take.
    normalised = (x - mean[:, None] if mean is not None else x) * rstd
    g = dy if gamma is None else dy * gamma.astype(np.float32)
    along = (g * normalised).mean(axis=1, keepdims=True, dtype=np.float32)
    dx = g - normalised * along
    if mean is not None:
        dx = dx - g.mean(axis=1, keepdims=True, dtype=np.float32)
    dx = dx * rstd
    if residual is not None:
        dx = dx + residual.astype(np.float32)
    return {"dx": dx, "dgamma": tree_sum(dy * normalised), "dbeta": tree_sum(dy)}


def tree_sum(rows):
    """The sum of the rows, in pairs: a chain over a million rows would lose its digits."""
    while len(rows) > 1:
        half = len(rows) // 2
        rest = rows[2 * half:]
        rows = np.concatenate([rows[:half] + rows[half:2 * half], rest])
    return rows[0]


serve({"layernorm-backward": layernorm_backward})
