"""Checks `floats.py` against NumPy's arithmetic (the host's IEEE units): two independent
derivations of the same results. Run by hand: python selfcheck.py (needs numpy)."""

import numpy as np

import floats
from floats import F16, F32, FORMATS
from values import edges, noise, Stream

TYPES = {"f16": (np.float16, np.uint16), "f32": (np.float32, np.uint32), "f64": (np.float64, np.uint64)}


def patterns(t, n=3000):
    s = Stream("selfcheck " + t)
    return edges(t) + [noise(t, s) for _ in range(n)]


def same(f, ours, theirs):
    if ours == floats.NAN:
        return floats.is_nan(f, theirs)
    return ours == theirs


def main():
    checked = 0
    np.seterr(all="ignore")
    for t, (real, word) in TYPES.items():
        f = FORMATS[t]
        a = patterns(t)
        b = a[7:] + a[:7]
        x, y = (np.array(v, word).view(real) for v in (a, b))
        # float16 in NumPy computes in float32 and rounds again, which is exact for + − · / √
        # (11 bits against 24, more than twice as many and two).
        for name, result in (("add", x + y), ("sub", x - y), ("mul", x * y), ("div", x / y)):
            for p, q, r in zip(a, b, result.view(word)):
                assert same(f, getattr(floats, name)(f, p, q), int(r)), (t, name, hex(p), hex(q), hex(int(r)))
                checked += 1
        for p, r in zip(a, np.sqrt(x).view(word)):
            assert same(f, floats.sqrt(f, p), int(r)), (t, "sqrt", hex(p), hex(int(r)))
        for t2, (real2, word2) in TYPES.items():
            for p, r in zip(a, x.astype(real2).view(word2)):
                assert same(FORMATS[t2], floats.convert(f, FORMATS[t2], p), int(r)), (t, t2, hex(p))
                checked += 1
    # f16 and f32 fused products, exact in f64 (22 bits) or extended precision where they fit.
    s = Stream("fma")
    for _ in range(3000):
        p, q, r = (noise("f16", s) for _ in range(3))
        x, y, z = (np.array([v], np.uint16).view(np.float16).astype(np.longdouble)[0] for v in (p, q, r))
        theirs = int(np.array([x * y + z]).astype(np.float16).view(np.uint16)[0])
        assert same(F16, floats.fma(F16, p, q, r), theirs), (hex(p), hex(q), hex(r))
        checked += 1
    # Directed rounding brackets the nearest value and differs by one step where inexact.
    for _ in range(3000):
        p, q = noise("f32", s), noise("f32", s)
        down, up, near = (floats.mul(F32, p, q, m) for m in "mpn")
        if floats.NAN in (down, up, near) or floats.is_inf(F32, up) or floats.is_inf(F32, down):
            continue
        exact = floats.value(F32, p) * floats.value(F32, q)
        assert floats.value(F32, down) <= exact <= floats.value(F32, up)
        assert near in (down, up) and abs(int(up) - int(down)) <= 1 or exact == 0 or {down, up} & {0, F32.sign_bit}
        checked += 1
    print(f"{checked} results agree with NumPy")


if __name__ == "__main__":
    main()
