import numpy as np
from inputs import Case, bf16, integers, reals

M, N, K = 128, 64, 128


def case():
    c = Case()
    a8, b8 = integers(1, (M, K), -128, 128, np.int8), integers(2, (N, K), -128, 128, np.int8)
    c.given(a8=a8, b8=b8)
    c.expect("c8", (a8.astype(np.int64) @ b8.astype(np.int64).T).astype(np.int32))

    # Patterns of eight-bit floats without infinities and NaNs, of moderate size.
    def floats(seed, shape, exponent_bits, mantissa_bits):
        bias = 2 ** (exponent_bits - 1) - 1
        low, high = bias - 3, bias + 3
        code = integers(seed, shape, low << mantissa_bits, high << mantissa_bits, np.uint8)
        sign = integers(seed + 50, shape, 0, 2, np.uint8)
        e, m = (code >> mantissa_bits).astype(np.float64), code & (2**mantissa_bits - 1)
        value = (1 + m * 2.0**-mantissa_bits) * 2.0 ** (e - bias) * (1 - 2.0 * sign)
        return code | sign << 7, value

    for name, shape in [("e4", (4, 3)), ("e5", (5, 2))]:
        pa, a = floats(3, (M, K), *shape)
        pb, b = floats(4, (N, K), *shape)
        c.given(**{f"a{name}": pa, f"b{name}": pb})
        # Products are multiples of 2^-12 below 2^6: 128 of them sum exactly in f32.
        c.expect(f"c{name}", (a @ b.T).astype(np.float32))

    def product(name, a, b):
        """Exact products; K additions and one alignment per wgmma, each losing less than one
        2^-23 of the partial sums."""
        c.expect(name, a @ b, (K + K // 16) * 2.0**-23 * (np.abs(a) @ np.abs(b)))

    h, g = reals(5, (M, K), 2.0, np.float16), reals(6, (N, K), 2.0, np.float16)
    c.given(h=h, g=g)
    product("ch", h.astype(np.float64), g.astype(np.float64).T)
    ra, rb = reals(7, (K, M), 2.0, np.float16), reals(8, (K, N), 2.0, np.float16)
    c.given(ra=ra, rb=rb)
    product("cr", ra.astype(np.float64).T, rb.astype(np.float64))
    xa, ua = bf16(reals(9, (K, M), 2.0))
    xb, ub = bf16(reals(10, (K, N), 2.0))
    c.given(ua=ua, ub=ub)
    product("cu", xa.T, xb)
    return c
