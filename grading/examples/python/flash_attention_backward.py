"""Attention backward, of equal lengths and packed."""
import numpy as np

from attention import backward, sequences, visible
from touchstone import serve


def gradients(call):
    q, k, v, o, lse, do = (call[name].astype(np.float32) for name in ["q", "k", "v", "o", "lse", "do"])
    dq, dk, dv = (np.zeros(x.shape, np.float32) for x in (q, k, v))
    for queries, keys in sequences(call):
        seen = visible(len(q[queries]), len(k[keys]), call.parameters)
        of_q, of_k, of_v = backward(q[queries], k[keys], v[keys], o[queries], lse[queries], do[queries], seen,
                                    call.parameters)  # fmt: skip
        dq[queries] = of_q
        # Several query heads read one key head.
        dk[keys] += of_k
        dv[keys] += of_v
    return {"dq": dq, "dk": dk, "dv": dv}


serve({"backward": gradients, "backward-packed": gradients})
