from itertools import product

import numpy as np
from inputs import Case, integers


def swizzled(rows, width):
    """Rows of `width` bytes as a tensor copy lays them: in 128 bytes, the eight rows of a group
    exchange their pieces of 16 bytes; narrower rows do so two or four at a time."""
    out = np.empty_like(rows)
    pieces, together = width // 16, 128 // width
    for y, row in enumerate(rows):
        for x in range(pieces):
            to = x ^ (y // together) % pieces
            out[y, 16 * to : 16 * to + 16] = row[16 * x : 16 * x + 16]
    return out


def tile(tensor, start, box, steps=None, width=0):
    """The bytes of a tile; `tensor`, `start`, `box` and `steps` name the outermost first."""
    steps = steps or [1] * len(box)
    counts = [-(-b // s) for b, s in zip(box, steps)]
    out = np.zeros(counts, tensor.dtype)
    for at in product(*map(range, counts)):
        here = [s + i * n for s, i, n in zip(start, at, steps)]
        if all(0 <= h < n for h, n in zip(here, tensor.shape)):
            out[at] = tensor[tuple(here)]
    rows = np.ascontiguousarray(out).view(np.uint8).reshape(int(np.prod(counts[:-1], dtype=int)), -1)
    return (swizzled(rows, width) if width else rows).reshape(-1)


def padded(tensor, width):
    """Rows of a tensor with room behind them, as its stride says."""
    out = np.full((*tensor.shape[:-1], width), 77, tensor.dtype)
    out[..., : tensor.shape[-1]] = tensor
    return out


def case():
    c = Case()

    def load(name, tensor, start, box, steps=None, width=0):
        c.given(**{name: tensor, f"at{name}": np.array(start[::-1], np.int32)})
        c.expect(f"out{name}", tile(tensor, start, box, steps, width))

    def words(seed, shape, dtype):
        return integers(seed, shape, 0, 2 ** (8 * np.dtype(dtype).itemsize), np.uint64).astype(dtype)

    load("1", words(1, (1000,), np.uint8), [960], [64])
    load("2", words(2, (20, 40), np.uint16), [15, -3], [10, 24])
    load("32", words(3, (40, 48), np.uint16), [8, 16], [24, 16], width=32)
    load("64", words(4, (30, 20), np.uint32), [-5, 8], [20, 16], width=64)
    load("128", words(5, (33, 96), np.uint16), [3, 40], [32, 64], width=128)
    load("3", words(6, (20, 12, 16), np.uint32), [1, 4, 12], [7, 6, 8], [3, 2, 1])
    load("4", words(7, (3, 3, 5, 64), np.uint8), [2, -1, 1, 16], [2, 2, 3, 32], width=32)
    load("5", words(8, (3, 3, 4, 3, 16), np.uint16), [-1, 1, 2, 0, 4], [2, 2, 3, 2, 8])

    # Byte i of the shared tile is 7i + 3; the tensor's rows of 50 halves take 56.
    halves = padded(words(9, (20, 50), np.uint16), 56)
    c.given(stored=halves.copy(), at_store=np.array([40, 15], np.int32))
    bytes_ = ((7 * np.arange(8 * 32) + 3) % 256).astype(np.uint8).reshape(8, 32)
    shown = swizzled(bytes_, 32).view(np.uint16)  # the exchange is its own inverse
    halves[15:20, 40:50] = shown[:5, :10]
    c.expect("stored", halves)

    sums = padded(integers(10, (10, 20), -99, 99, np.int32).astype(np.float32), 24)
    places = [(0, 0), (4, 1), (16, -2)]
    c.given(sums=sums.copy(), at_add=np.array(places, np.int32))
    parts = swizzled(np.arange(32, dtype=np.float32).view(np.uint8).reshape(4, 32), 32).view(np.float32)
    for x, y in places:
        for i, j in product(range(4), range(8)):
            if 0 <= y + i < 10 and 0 <= x + j < 20:
                sums[y + i, x + j] += parts[i, j]
    c.expect("sums", sums)
    return c
