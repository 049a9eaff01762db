import numpy as np
from inputs import Case


def case():
    c = Case()
    n = 96
    i = np.arange(n, dtype=np.uint64)
    c.given(
        counts=np.array([7, 0, 0, 5, 1000], np.uint32),
        wide=np.array([1, 1 << 60, 3], np.uint64),
        vector=np.array([0.5, 0, 0, 0], np.float32),
        halves=np.zeros(2, np.float16),
        rounded=np.zeros(2, np.uint16),
        sums=np.array([0, 10], np.float64),
    )
    c.expect("counts", np.array([7 + n, n - 1, 0xFFFFFFFF, 5 ^ int(np.bitwise_xor.reduce(i)), 1000 - 2 * n], np.uint32))
    c.expect("wide", np.array([1 + 4000000000 * int(i.sum()), 1000 - (n - 1), (n - 1) << 40], np.uint64))
    c.expect("vector", np.array([0.5 + n, 2 * n, 3 * n, 4 * n], np.float32))
    c.expect("halves", np.array([n, -2 * n], np.float16))
    # 48 and 96 have fewer bits than bf16 keeps, and so has every sum on the way.
    c.expect("rounded", (np.array([n / 2, n], np.float32).view(np.uint32) >> 16).astype(np.uint16))
    c.expect("sums", np.array([12.0, 22.0]))
    threads = 128
    low = (1 << 64) - 100
    total = low + threads * ((1 << 64) + 3)
    c.given(
        small=np.array([9, 65500], np.uint16), largest=np.zeros(1, np.uint64), counter=np.array([low, 0], np.uint64)
    )
    c.expect("small", np.array([9, (65500 + 3 * threads) % 65536], np.uint16))
    c.expect("largest", np.array([63 << 33], np.uint64))
    c.expect("counter", np.array([total % (1 << 64), total >> 64], np.uint64))
    return c
