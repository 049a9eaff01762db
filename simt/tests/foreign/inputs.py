"""What the cases' `expect.py` share: reproducible inputs and error bounds.

Inputs come from one integer hash (splitmix64's finaliser over seed and index), so a case's
data can be made again anywhere.
"""

import numpy as np

U = {"f16": 2.0**-11, "bf16": 2.0**-8, "f32": 2.0**-24, "f64": 2.0**-53}


def bits(seed, n):
    """`n` 64-bit hashes."""
    with np.errstate(over="ignore"):
        z = (np.arange(1, n + 1, dtype=np.uint64) + np.uint64(seed << 32)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def integers(seed, shape, low, high, dtype):
    """Uniform integers in [low, high)."""
    n = int(np.prod(shape))
    return ((bits(seed, n) % np.uint64(high - low)).astype(np.int64) + low).reshape(shape).astype(dtype)


def reals(seed, shape, scale=1.0, dtype=np.float32):
    """Uniform in (−scale, scale) on a grid of 2^−23."""
    n = int(np.prod(shape))
    unit = (bits(seed, n) >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0
    return (unit * scale).reshape(shape).astype(dtype)


def bf16(x):
    """The nearest bf16 (ties to even) as float64, and its bit patterns."""
    x = np.asarray(x, np.float64)
    _, e = np.frexp(x)
    unit = np.exp2(np.maximum(e - 8, -133).astype(np.float64))
    rounded = np.rint(x / unit) * unit
    return rounded, (rounded.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def ulp(x, dtype):
    """The spacing of `dtype` at x, as float64."""
    return np.spacing(np.abs(np.asarray(x, np.float64)).astype(dtype)).astype(np.float64)


class Case:
    """Arrays by argument name: what goes in, and what must come out within which bound.

    A bound of None means bit for bit.
    """

    def __init__(self):
        self.arrays = {}

    def given(self, **arrays):
        for name, a in arrays.items():
            self.arrays[f"{name}.npy"] = np.ascontiguousarray(a)

    def expect(self, name, value, bound=None):
        if bound is None:
            self.arrays[f"{name}.expect.npy"] = np.ascontiguousarray(value)
        else:
            value = np.asarray(value, np.float64)
            self.arrays[f"{name}.expect.npy"] = value
            bound = np.broadcast_to(np.asarray(bound, np.float64), value.shape)
            # One number is enough where all are equal.
            if bound.size and (bound == bound.flat[0]).all():
                bound = bound.flat[0].reshape(())
            self.arrays[f"{name}.bound.npy"] = np.ascontiguousarray(bound)
