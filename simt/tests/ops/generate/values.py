"""Inputs: the edges of every type, and reproducible noise."""

from floats import FORMATS
from ptxtest import WIDTH

M64 = (1 << 64) - 1


class Stream:
    """splitmix64, seeded by a text, so that a test's data depends on its name only."""

    def __init__(self, seed):
        self.state = 0xCBF29CE484222325
        for byte in seed.encode():  # FNV-1a
            self.state = ((self.state ^ byte) * 0x100000001B3) & M64

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & M64
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & M64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & M64
        return z ^ (z >> 31)

    def below(self, n):
        return self.next() % n

    def choice(self, items):
        return items[self.below(len(items))]


def signed(x, width):
    x &= (1 << width) - 1
    return x - (1 << width) if x >> (width - 1) else x


def integer_edges(width):
    top = 1 << (width - 1)
    mask = (1 << width) - 1
    return [0, 1, mask, top, top - 1, 2, mask - 1, top + 1, 3, 0x55 * (mask // 255),
            0xAA * (mask // 255), 1 << (width // 2), (1 << (width // 2)) - 1, 7, 10, 100]  # fmt: skip


def float_edges(f):
    pos = [
        0,
        f.one,
        f.inf_bits,
        f.max_bits,
        f.min_normal,
        1,  # smallest subnormal
        f.min_normal - 1,  # largest subnormal
        f.one + 1,
        f.one - 1,
        f.one + (1 << f.mant),  # 2
        f.one - (1 << f.mant),  # 1/2
        f.one + (1 << (f.mant - 1)),  # 3/2
        f.one + (1 << f.mant) + (1 << (f.mant - 1)),  # 3
    ]
    out = [x | s for x in pos for s in (0, f.sign_bit)]
    quiet, signalling = 1 << (f.mant - 1), 1
    return out + [f.inf_bits | quiet, f.inf_bits | signalling, f.sign_bit | f.inf_bits | quiet | 5]


SHORT_FLOAT = [0, 1, 2, 4, 6, 8, 10]  # indices of `float_edges`: 0, −0, 1, inf, max, min normal, subnormal


def edges(dtype):
    if dtype in FORMATS:
        return float_edges(FORMATS[dtype])
    return integer_edges(WIDTH[dtype])


def noise(dtype, stream):
    """Random patterns: floats mostly of moderate size, integers of random length."""
    width = WIDTH[dtype]
    raw = stream.next()
    if dtype not in FORMATS:
        return (raw >> (64 - width)) >> (stream.below(width) if stream.below(2) else 0)
    f = FORMATS[dtype]
    if stream.below(4) == 0:
        bits = raw >> (64 - width)  # any pattern
        return bits if (bits & f.inf_bits) != f.inf_bits else bits & ~(1 << f.mant)
    spread = min(12, f.bias // 2)
    e = f.bias + stream.below(2 * spread) - spread
    return (raw & (f.sign_bit | ((1 << f.mant) - 1))) | (e << f.mant)


def unary(dtype, seed, count=64):
    s = Stream(seed)
    first = edges(dtype)[:count]
    return first + [noise(dtype, s) for _ in range(count - len(first))]


def tuples(dtypes, seed, count=96):
    """Columns of inputs: the cross product of the sharpest edges, then a mixture."""
    s = Stream(seed)

    def short(t):
        if t in FORMATS:
            return [edges(t)[i] for i in SHORT_FLOAT]
        return edges(t)[:6]

    rows = []
    if len(dtypes) == 2:
        rows = [(x, y) for x in short(dtypes[0]) for y in short(dtypes[1])]
    else:
        for _ in range(count // 2):
            rows.append(tuple(s.choice(edges(t)) for t in dtypes))
    while len(rows) < count:
        mixed = s.below(3) == 0
        rows.append(tuple(s.choice(edges(t)) if mixed and s.below(2) else noise(t, s) for t in dtypes))
    rows = rows[:count]
    return [list(c) for c in zip(*rows)]


def ints(dtype, column):
    """A column of patterns as Python integers of the type's signedness."""
    w = WIDTH[dtype]
    return [signed(x, w) if dtype.startswith("s") else x for x in column]
