import numpy as np
from inputs import U, Case, integers


def signed(x):
    x &= 0xFFFFFFFF
    return x - (1 << 32) if x >> 31 else x


def fibonacci(n):
    return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)


def ackermann(m, n):
    if m == 0:
        return n + 1
    return ackermann(m - 1, 1 if n == 0 else ackermann(m, n - 1))


def result(i, v):
    local = [v * k for k in range(16)]
    for k in range(16):
        local[(v + k) & 15] = signed(local[(v + k) & 15] + local[(i + 7 * k) & 15])
    r = fibonacci(v & 7) + ackermann(v & 1, i & 3) + (v + i, v * i, v ^ i)[v % 3] + local[(v >> 2) & 15]
    for k in range(4):
        low = r & 0xFFFFFFFF
        r = (
            lambda: r + 3,
            lambda: r * 5,
            lambda: r ^ v,
            lambda: r - k,
            lambda: int(f"{low:032b}"[::-1], 2),
            lambda: low.bit_count() + v,
            lambda: 32 - (low | 1).bit_length(),
            lambda: ~r,
        )[(v >> k) & 7]()
        r = signed(r)
    return r


def horner(x):
    s = 0
    for k in range(6, 0, -1):
        s = s * x + k
    return s


def case():
    c = Case()
    v = integers(7, 64, 0, 128, np.int32)
    c.given(values=v)
    c.expect("results", np.array([result(i, int(x)) for i, x in enumerate(v)], np.int32))
    # Eighths below 16 to the fifth power: 53 bits hold every step; so no rounding, fused or not.
    c.expect("wide", horner(v / 8))
    # Six steps of positive terms, each rounded twice at most.
    exact = horner(v / 16)
    c.expect("narrow", exact, 12 * U["f32"] * exact)
    return c
