import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    v = integers(1, 128, 0, 100, np.int32)
    c.given(values=v)
    by8, by32 = v.reshape(-1, 8), v.reshape(-1, 32)
    c.expect("tile_sum", np.repeat(by8.sum(1), 8).astype(np.int32))
    c.expect("tile_max", np.repeat(by32.max(1), 32).astype(np.int32))
    c.expect("scanned", np.cumsum(by8, axis=1).reshape(-1).astype(np.int32))
    label = np.empty_like(v)
    packed = np.full_like(v, -1)
    for w in range(0, 128, 32):
        warp = v[w : w + 32]
        for k in range(32):
            label[w + k] = np.bitwise_xor.reduce(warp[(warp & 3) == (warp[k] & 3)])
        # One branch, whose lanes arrive together: the group is all of them.
        inside = np.flatnonzero(warp % 3 == 0)
        for rank, k in enumerate(inside):
            packed[w + k] = warp[inside[0]] * 100 + len(inside) + rank
    c.expect("by_label", label)
    c.expect("coalesced", packed)
    i = np.arange(128)
    high = np.repeat((v.reshape(-1, 4) > 90).any(1), 4)
    c.expect("shuffled", (v[i ^ 1] + 1000 * (i // 4 % 2) + high).astype(np.int32))
    return c
