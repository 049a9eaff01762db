import numpy as np
from inputs import Case, integers


def case():
    c = Case()
    rows = integers(1, (16, 64), 0, 1000, np.int32)
    c.given(rows=rows)

    # Clusters of 2 by 2 blocks in a grid of 4 by 4: rank x + 2y.
    stored = np.zeros((16, 64), np.int32)
    for by in range(4):
        for bx in range(4):
            x, y = bx % 2, by % 2
            rank = x + 2 * y
            left = (rank - 1) % 4
            lx, ly = bx - x + left % 2, by - y + left // 2
            passed = rows[4 * ly + lx][::-1] + left
            right = (rank + 1) % 4
            stored[4 * by + bx] = rows[4 * by + bx] * 1000 + passed + x + 10 * y + 400 + 7 * right
    c.expect("stored", stored)

    sums = np.zeros((8, 64), np.int32)
    value = rows[:8].copy()
    for _ in range(7):
        got = np.empty_like(value)
        for block in range(8):
            left = block // 4 * 4 + (block - 1) % 4
            got[block] = value[left][::-1] + 1
        value = got
        sums += value
    c.expect("sums", sums)

    copied = np.stack([rows[(block - 2) % 8] ^ (block - 2) % 8 for block in range(8)])
    c.expect("copied", copied.astype(np.int32))
    return c
