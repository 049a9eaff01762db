import numpy as np
from inputs import Case, bits, integers, reals


def case():
    c = Case()
    x = integers(1, (3, 256), -50, 50, np.int32)
    c.given(x=x)
    c.expect("sums", np.cumsum(x, 1).astype(np.int32))
    c.expect("maxima", np.maximum.accumulate(x[:, ::-1], 1)[:, ::-1].astype(np.int32))
    b = np.zeros(3, np.int64)
    composed = np.empty_like(x)
    for k in range(256):
        # Triton's remainder has the sign of the dividend.
        factor = np.fmod(x[:, k], 2) * 2 - 1
        b = b * factor + x[:, k]
        composed[:, k] = ((b + 2**31) % 2**32 - 2**31).astype(np.int32)
        b = composed[:, k].astype(np.int64)
    c.expect("composed", composed)
    c.expect("best", x.argmax(1).astype(np.int32))

    row = integers(2, 256, -1000, 1000, np.int32)
    c.given(row=row)
    c.expect("sorted", np.sort(row))
    c.expect("bins", np.bincount(row & 15, minlength=16).astype(np.int32))

    m, index = reals(3, (16, 32)), integers(4, (16, 32), 0, 32, np.int32)
    c.given(m=m, index=index)
    c.expect("gathered", np.take_along_axis(m, index, 1))
    c.expect("turned", m.T)

    v = integers(5, 500, 0, 1000, np.int32)
    c.given(
        v=v, counts=np.zeros(8, np.int32), most=np.zeros(4, np.int32), total=np.zeros(2, np.float32),
        lock=np.zeros(2, np.int32),
    )  # fmt: skip
    c.expect("counts", np.bincount(v % 8, minlength=8).astype(np.int32))
    c.expect("most", np.array([v[k::4].max() for k in range(4)], np.int32))
    # Integers below 2^24: every partial sum is exact.
    c.expect("total", np.array([v[0::2].sum(), v[1::2].sum()], np.float32))
    c.expect("lock", np.array([0, v.sum()], np.int32))

    a, b = (bits(s, 256).astype(np.uint32) for s in (6, 7))
    c.given(a=a.view(np.int32), b=b.view(np.int32))
    mixed = np.stack([a, b], 1).reshape(-1)
    low = (a & 0xFFFF) | (b & 0xFFFF) << 16
    c.expect("joined", np.concatenate([mixed, low, a[::-1]]).astype(np.uint32).view(np.int32))
    return c
