import numpy as np
from inputs import Case, integers

MASKS = [0b1111, 0b0101, 0b1000, 0b0000]


def case():
    c = Case()
    values = integers(1, (70, 32), 0, 2**32, np.uint32)
    c.given(values=values, masks=np.array(MASKS, np.uint16))
    tiles = np.full((2, 4, 4, 8, 32), 0xDEAD, np.uint32)
    for cluster in range(2):
        for sender, mask in enumerate(MASKS):
            first = cluster * 32 + sender * 8
            rows = np.zeros((8, 32), np.uint32)
            inside = values[first : first + 8]
            rows[: len(inside)] = inside
            # Rows of 128 bytes: piece x of row y lies at x ^ y.
            pieces = rows.reshape(8, 8, 4)
            laid = np.stack([pieces[y, np.arange(8) ^ y] for y in range(8)]).reshape(8, 32)
            for block in range(4):
                if mask >> block & 1:
                    tiles[cluster, block, sender] = laid
    c.expect("tiles", tiles)
    return c
