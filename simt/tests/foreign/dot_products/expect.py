import numpy as np
from inputs import Case, integers

M32, M64 = (1 << 32) - 1, (1 << 64) - 1


def signed(x, width):
    x &= (1 << width) - 1
    return x - (1 << width) if x >> (width - 1) else x


def lanes(x, is_signed):
    return [signed(x >> 8 * k, 8) if is_signed else x >> 8 * k & 255 for k in range(4)]


def dp4a(a, b, c, is_signed):
    return c + sum(p * q for p, q in zip(lanes(a, is_signed), lanes(b, is_signed)))


def one(a, b):
    ua, ub = a & M32, b & M32
    dots = dp4a(ua, ub, dp4a(ua, ub, 5, False) & 0xFFFF, True)
    source = ub << 32 | ua
    p = sum((source >> 8 * (0x5163 >> 4 * k & 7) & 255) << 8 * k for k in range(4))
    n = ua & 31
    funnel = ((ub << 32 | p) << n) >> 32 & M32
    reverse = int(f"{p:032b}"[::-1], 2)
    first = (ua & -ua).bit_length()
    add4 = sum(((x + y) & 255) << 8 * k for k, (x, y) in enumerate(zip(lanes(ua, False), lanes(ub, False))))
    diff4 = sum((abs(x - y) & 255) << 8 * k for k, (x, y) in enumerate(zip(lanes(ua, True), lanes(ub, True))))
    bits = funnel ^ reverse ^ bin(ua).count("1") << 8 ^ (32 - ub.bit_length()) << 16 ^ first ^ add4 ^ diff4
    high = ((a & M64) << 20 & M64) * 0x123456789ABCDEF >> 64
    quotient = abs(a) // abs(b | 1)
    quotient = -quotient if (a < 0) != ((b | 1) < 0) else quotient
    wide = (a * b) & M64 ^ high ^ ((a * b) >> 32) & M64 ^ quotient & M64 ^ ua % (ub | 1)
    return signed(dots, 32), bits & M32, wide


def case():
    c = Case()
    a, b = integers(1, 100, -(2**31), 2**31, np.int32), integers(2, 100, -(2**31), 2**31, np.int32)
    a[:4], b[:4] = [0, -1, 5, 2**31 - 1], [0, 7, -3, -1]
    c.given(a=a, b=b)
    rows = [one(int(x), int(y)) for x, y in zip(a, b)]
    c.expect("dots", np.array([r[0] for r in rows], np.int32))
    c.expect("bits", np.array([r[1] for r in rows], np.uint32))
    c.expect("wide", np.array([r[2] for r in rows], np.uint64))
    return c
