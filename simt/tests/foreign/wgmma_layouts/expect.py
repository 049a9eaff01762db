"""Images of shared memory after the canonical layouts of the PTX manual ("Shared Memory Matrix
Layout", "Strides", "Swizzling modes"), written as (shape):(stride) there and as sums here.
Values are small integers, so that every sum is exact."""

import numpy as np
from inputs import Case, integers

M, N = 64, 32


def half(x):
    return x.astype(np.float16).view(np.uint16)


def brain(x):
    return (x.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def single(x):
    return x.astype(np.float32).view(np.uint32)


def byte_float(exponent_bits, mantissa_bits):
    """A table from small integers to the patterns of an eight-bit float."""
    bias = 2 ** (exponent_bits - 1) - 1
    table = {}
    for code in range(127):
        e, m = code >> mantissa_bits, code & (2**mantissa_bits - 1)
        scale = 2.0**-mantissa_bits
        value = m * scale * 2.0 ** (1 - bias) if e == 0 else (1 + m * scale) * 2.0 ** (e - bias)
        table.setdefault(value, code)
    return lambda x: np.array([table[abs(v)] | (128 if v < 0 else 0) for v in x.flat], np.uint8).reshape(x.shape)


e4m3, e5m2 = byte_float(4, 3), byte_float(5, 2)
s8 = lambda x: x.astype(np.int8).view(np.uint8)
u8 = lambda x: x.astype(np.uint8)


def place(line, k, size, major, width, leading, stride):
    """Byte of the element in row (column) `line` and depth `k`."""
    if major == "k":
        byte = k * size
        if width == 0:
            at = line % 8 * 16 + line // 8 * stride + byte % 16 + byte // 16 * leading
        else:
            at = line % 8 * width + line // 8 * stride + byte
    else:
        byte = line * size
        if width == 0:
            at = byte % 16 + byte // 16 * stride + k % 8 * 16 + k // 8 * leading
        else:
            at = byte % width + byte // width * leading + k % 8 * width + k // 8 * stride
    mask = {0: 0, 32: 0x10, 64: 0x30, 128: 0x70}[width]
    return at ^ (at >> 3 & mask)


def laid(image, start, patterns, major, width, leading, stride):
    """Writes a matrix (lines by depth) into the image; returns its descriptor."""
    size = patterns.dtype.itemsize
    for line in range(patterns.shape[0]):
        for k in range(patterns.shape[1]):
            at = start + place(line, k, size, major, width, leading, stride)
            assert (image[at : at + size] == 0xEE).all(), "two elements at one place"
            image[at : at + size] = np.frombuffer(patterns[line, k].tobytes(), np.uint8)
    mode = {0: 0, 128: 1, 64: 2, 32: 3}[width]
    return start >> 4 | (leading >> 4) << 16 | (stride >> 4) << 32 | mode << 62


def sums(d):
    """The 64 by 32 sums as the 128 threads hold them (PTX manual, fragments of wgmma)."""
    out = np.empty((128, 16), d.dtype)
    for t in range(128):
        for i in range(16):
            out[t, i] = d[t // 32 * 16 + t % 32 // 4 + 8 * (i // 2 % 2), i // 4 * 8 + t % 4 * 2 + i % 2]
    return out


def words_of_a(patterns):
    """A as the threads hold it: rows of eight, then k in halves, each word 32 bits along k."""
    per = 4 // patterns.dtype.itemsize
    out = np.empty((128, 4), np.uint32)
    for t in range(128):
        for r in range(4):
            row = t // 32 * 16 + t % 32 // 4 + 8 * (r % 2)
            k = t % 4 * per + r // 2 * 4 * per
            out[t, r] = np.frombuffer(patterns[row, k : k + per].tobytes(), np.uint32)[0]
    return out


# name, k, element patterns of A and B, values from 0, layouts of A and B
# (major, swizzle, leading, stride), sign of the product, keep the old sums
K0, K32, K64, K128 = ("k", 0, 128, 256), ("k", 32, 0, 256), ("k", 64, 0, 512), ("k", 128, 0, 1024)
CASES = [
    ("f16_kk", 16, half, half, K0, K0, 1, 1),
    ("f16_kk.2", 16, half, half, K32, K64, 1, 0),
    ("f16_kk.3", 16, half, half, ("k", 0, 1152, 144), K128, 1, 1),
    ("f16_mk", 16, half, half, ("mn", 0, 1024, 128), K32, 1, 1),
    ("f16_mk.2", 16, half, half, ("mn", 32, 512, 256), K0, 1, 1),
    ("f16_kn", 16, half, half, K64, ("mn", 0, 128, 256), 1, 1),
    ("f16_kn.2", 16, half, half, K32, ("mn", 64, 0, 512), 1, 1),
    ("bf16_mn", 16, brain, brain, ("mn", 128, 0, 1024), ("mn", 32, 512, 256), 1, 1),
    ("bf16_mn.2", 16, brain, brain, ("mn", 64, 1024, 512), ("mn", 0, 1024, 128), 1, 1),
    ("bf16_negated", 16, brain, brain, K32, K32, -1, 1),
    ("tf32", 8, single, single, K32, K0, -1, 1),
    ("tf32.2", 8, single, single, K128, K64, -1, 1),
    ("e4m3_e5m2", 32, e4m3, e5m2, K0, K32, 1, 1),
    ("e5m2_e4m3", 32, e5m2, e4m3, K64, K128, 1, 0),
    ("s8_s8", 32, s8, s8, K32, K0, 1, 1),
    ("s8_s8.2", 32, s8, s8, K128, K64, 1, 1),
    ("u8_s8", 32, u8, s8, K0, K32, 1, 1),
    ("s8_u8", 32, s8, u8, K64, K32, 1, 0),
    ("u8_u8_saturated", 32, u8, u8, K32, K0, 1, 1),
    ("e4m3_half", 32, e4m3, e4m3, K32, K0, 1, 1),
    ("registers_f16", 16, half, half, None, ("mn", 32, 512, 256), 1, 1),
    ("registers_tf32", 8, single, single, None, K32, 1, 1),
    ("registers_s8", 32, s8, s8, None, K0, 1, 1),
    ("registers_e4m3", 32, e4m3, e4m3, None, K64, 1, 1),
]


def values(seed, shape, pattern):
    if pattern is s8:
        return integers(seed, shape, -128, 128, np.int64)
    if pattern is u8:
        return integers(seed, shape, 0, 256, np.int64)
    if pattern in (e4m3, e5m2):
        return integers(seed, shape, -4, 5, np.int64)
    return integers(seed, shape, -100, 101, np.int64)


def made(number, of):
    """Image, descriptors (or A's words) and sums of a case."""
    name, k, of_a, of_b, layout_a, layout_b, sign, keep = of
    a, b = values(2 * number, (M, k), of_a), values(2 * number + 1, (N, k), of_b)
    image = np.full(16384, 0xEE, np.uint8)
    first = laid(image, 0, of_a(a), *layout_a) if layout_a else words_of_a(of_a(a))
    second = laid(image, 8192, of_b(b), *layout_b)
    product = sign * (a @ b.T)
    t, i = np.arange(128)[:, None], np.arange(16)
    if name == "e4m3_half":
        d = sums(product) + keep * np.tile([1, 2], 8)
        return image, first, second, d.astype(np.float16)
    if of_a in (s8, u8):
        old = 2147483000 + i + 0 * t if "saturated" in name else 1000 * t + i
        d = np.clip(sums(product) + keep * old, -(2**31), 2**31 - 1)
        return image, first, second, d.astype(np.int32)
    d = sums(product) + keep * ((16 * t + i) % 101 - 50)
    return image, first, second, d.astype(np.float32)


def case():
    c = Case()
    for number, of in enumerate(CASES):
        image, first, _, d = made(number, of)
        name = of[0]
        c.given(**{f"{name}.image": image})
        if not of[4]:
            c.given(**{f"{name}.a": first})
        c.expect(name, d.view(np.uint32) if name == "e4m3_half" else d)
    return c
