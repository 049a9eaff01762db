"""Approximate functions. What comes out must lie within the error the ISA documents:
each element's interval is computed from the exact value and written down."""

from fractions import Fraction

import mpmath

from floats import (FORMATS, F32, NAN, encode, flush, is_inf, is_nan, is_subnormal, is_zero, negative,
                    sqrt_bracket, ulp, value)  # fmt: skip
from ptxtest import between, either, elementwise
from values import edges, noise, Stream, tuples, unary

mpmath.mp.prec = 300
FULL_TURNS = 100


def exact(x):
    """An mpf as a Fraction."""
    sign, man, exp, _ = x._mpf_
    return Fraction(-man if sign else man) * Fraction(2) ** exp


def mpf(x):
    return mpmath.mpf(x.numerator) / mpmath.mpf(x.denominator)


def interval(f, x, error, ftz=False, signed_zero=0):
    """The patterns of `f` within `error` of the exact value `x`.

    The ends are rounded inwards, so a pattern is inside exactly when its value is.
    With `ftz` the subnormals of the interval give way to the zero they are flushed to.
    """
    lo, hi = x - error, x + error
    # Beyond the largest number lies infinity.
    top = value(f, f.max_bits)
    if hi > top:
        return between(f.name, encode(f, lo, "p"), f.inf_bits)
    if not ftz:
        return between(f.name, encode(f, lo, "p", signed_zero), encode(f, hi, "m", signed_zero))
    smallest = value(f, f.min_normal)
    zeros = [f.sign_bit] if hi < 0 or signed_zero else [0] if lo > 0 else [0, f.sign_bit]
    parts = zeros if lo < smallest and hi > -smallest else []
    if lo <= -smallest:
        parts = parts + [between(f.name, encode(f, lo, "p"), encode(f, min(hi, -smallest), "m"))]
    if hi >= smallest:
        parts = parts + [between(f.name, encode(f, max(lo, smallest), "p"), encode(f, hi, "m"))]
    return either(f.name, *parts)


def by_ulp(f, x, n, ftz=False):
    return interval(f, x, n * ulp(f, x), ftz)


def test(name, t, columns, element, spec, bound, operands="%a0", **more):
    expect = [element(*r) for r in zip(*columns)]
    return elementwise("approximate", name, name, spec, [(t, c) for c in columns],
                       [(t, expect)], f"{name} %d0, {operands};", notes=[bound], **more)  # fmt: skip


def moderate(t, seed, bits, count=96):
    """Inputs whose exponent stays below 2^bits, after the edges."""
    f = FORMATS[t]
    s = Stream(seed)
    values = list(edges(t))
    while len(values) < count:
        e = f.bias - 8 + s.below(8 + bits)
        values.append(noise(t, s) & ~f.inf_bits | e << f.mant)
    return values


def power_of_two(f, x, ftz):
    """2^x and the correctly rounded result the bound counts from."""
    if x < f.emin - f.mant - 2:
        return None
    return exact(mpmath.power(2, mpf(x)))


def ex2():
    values = moderate("f32", "ex2", 7)
    values += [encode(F32, Fraction(x)) for x in
               ("127", "127.9", "128", "-126", "-126.5", "-140.3", "-149", "-150.5", "-1000", "1000")]  # fmt: skip
    for ftz in ("", ".ftz"):

        def element(a):
            a = flush(F32, a) if ftz else a
            if is_nan(F32, a):
                return NAN
            if is_inf(F32, a):
                return 0 if negative(F32, a) else a
            x = value(F32, a)
            if x == 0:
                return F32.one
            if x > 130:
                return F32.inf_bits
            if x < -160:
                return 0
            y = exact(mpmath.power(2, mpf(x)))
            rounded = encode(F32, y)
            if is_inf(F32, rounded):
                return between("f32", F32.max_bits - 1, F32.inf_bits)
            unit = ulp(F32, y)
            return interval(F32, value(F32, rounded), 2 * unit, bool(ftz))

        yield test(f"ex2.approx{ftz}.f32", "f32", [values], element, "9.7.3.21",
                   "bound: 2 ulp from the correctly rounded result")  # fmt: skip


def lg2():
    s = Stream("lg2")
    values = unary("f32", "lg2", 72)
    values += [0x3F000000 + s.below(1 << 24) for _ in range(24)]  # 0.5 to 2
    for ftz in ("", ".ftz"):

        def element(a):
            a = flush(F32, a) if ftz else a
            if is_nan(F32, a) or (negative(F32, a) and not is_zero(F32, a)):
                return NAN
            if is_zero(F32, a):
                return F32.sign_bit | F32.inf_bits
            if is_inf(F32, a):
                return a
            x = value(F32, a)
            y = exact(mpmath.log(mpf(x), 2))
            near = Fraction(1, 2) < x < 2
            error = Fraction(1, 2**22) * (1 if near else abs(y))
            return interval(F32, y, error, bool(ftz))

        yield test(f"lg2.approx{ftz}.f32", "f32", [values], element, "9.7.3.20",
                   "bound: absolute 2^-22 in (0.5, 2), relative 2^-22 elsewhere")  # fmt: skip


def trigonometry():
    values = moderate("f32", "sin cos", 8)
    pi = exact(mpmath.pi)
    for op, fn, spec in (("sin", mpmath.sin, "9.7.3.18"), ("cos", mpmath.cos, "9.7.3.19")):
        for ftz in ("", ".ftz"):

            def element(a):
                a = flush(F32, a) if ftz else a
                if is_nan(F32, a) or is_inf(F32, a):
                    return NAN
                x = value(F32, a)
                if x == 0:
                    return a if op == "sin" else F32.one
                if abs(x) > FULL_TURNS * pi:
                    return "*"  # best effort only
                bits = mpmath.mpf("-20.5") if abs(x) <= 2 * pi else mpmath.mpf("-14.7")
                return interval(F32, exact(fn(mpf(x))), exact(mpmath.power(2, bits)), bool(ftz))

            yield test(f"{op}.approx{ftz}.f32", "f32", [values], element, spec,
                       "bound: absolute 2^-20.5 in [-2pi, 2pi], 2^-14.7 in [-100pi, 100pi]")  # fmt: skip


def tanh():
    values = moderate("f32", "tanh", 5)

    def element(a):
        if is_nan(F32, a):
            return NAN
        if is_inf(F32, a):
            return F32.one | a & F32.sign_bit
        x = value(F32, a)
        if x == 0:
            return a
        y = exact(mpmath.tanh(mpf(x)))
        # At the smallest magnitudes the bound is below one step: the nearest counts too.
        return interval(F32, y, max(abs(y) / 2**11, abs(y - value(F32, encode(F32, y)))))

    yield test("tanh.approx.f32", "f32", [values], element, "9.7.3.22", "bound: relative 2^-11")


def reciprocal(f, a, ftz, units):
    if is_nan(f, a):
        return NAN
    sign = a & f.sign_bit
    a = flush(f, a) if ftz else a
    if is_zero(f, a):
        return sign | f.inf_bits
    if is_inf(f, a):
        return sign
    y = 1 / value(f, a)
    if abs(y) > value(f, f.max_bits):
        return between(f.name, *sorted((sign | f.max_bits, sign | f.inf_bits), reverse=bool(sign)))
    return by_ulp(f, y, units, ftz)


def roots_and_reciprocals():
    values = unary("f32", "rcp approx", 96)
    for ftz in ("", ".ftz"):
        yield test(f"rcp.approx{ftz}.f32", "f32", [values],
                   lambda a: reciprocal(F32, a, bool(ftz), 1), "9.7.3.13", "bound: 1 ulp")  # fmt: skip

        def root(a, inverse, bits):
            a = flush(F32, a) if ftz else a
            if is_nan(F32, a) or (negative(F32, a) and not is_zero(F32, a)):
                return NAN
            if is_zero(F32, a):
                return a | F32.inf_bits if inverse else a
            if is_inf(F32, a):
                return 0 if inverse else a
            x = value(F32, a)
            y = sqrt_bracket(1 / x if inverse else x)
            return interval(F32, y, y * exact(mpmath.power(2, bits)), bool(ftz))

        yield test(f"sqrt.approx{ftz}.f32", "f32", [values], lambda a: root(a, False, -23),
                   "9.7.3.15", "bound: relative 2^-23")  # fmt: skip
        yield test(f"rsqrt.approx{ftz}.f32", "f32", [values],
                   lambda a: root(a, True, mpmath.mpf("-22.9")), "9.7.3.16",
                   "bound: relative 2^-22.9")  # fmt: skip
    yield from double_precision()


def double_precision():
    f = FORMATS["f64"]
    values = unary("f64", "approx f64", 96)

    def rsqrt(a):
        if is_nan(f, a) or (negative(f, a) and not is_zero(f, a)):
            return NAN
        if is_zero(f, a):
            return a | f.inf_bits
        if is_inf(f, a):
            return 0
        # Scaled by an even power of two so that the bracket keeps its digits.
        x = value(f, a)
        k = (x.numerator.bit_length() - x.denominator.bit_length()) // 2
        return by_ulp(f, sqrt_bracket(Fraction(4) ** k / x) / Fraction(2) ** k, 1)

    yield test("rsqrt.approx.f64", "f64", [values], rsqrt, "9.7.3.16",
               "bound: none in the ISA; 1 ulp as the CUDA math API documents rsqrt(double), which is this")  # fmt: skip

    # The fast forms work on the upper word, 20 fraction bits, and zero the lower. The ISA
    # gives no figure: the bound is one unit of that 20-bit fraction for what the input
    # loses, and one for the result's own cut.
    def gross(a, inverse_root):
        top = a >> 32 << 32
        if is_nan(f, a):
            return "*" if not is_nan(f, top) else "7fffffff00000000"
        sign = a & f.sign_bit
        top = flush(f, top)
        if is_zero(f, top):
            return sign | f.inf_bits
        if inverse_root and sign:
            return NAN
        if is_inf(f, top):
            return sign
        x = value(f, top)
        if inverse_root:
            k = (x.numerator.bit_length() - x.denominator.bit_length()) // 2
            y = sqrt_bracket(Fraction(4) ** k / x) / Fraction(2) ** k
        else:
            y = 1 / x
        unit = abs(y) / 2**19
        return interval(f, y, unit, True)

    for op, root, spec in (("rcp", False, "9.7.3.14"), ("rsqrt", True, "9.7.3.17")):
        yield test(f"{op}.approx.ftz.f64", "f64", [values], lambda a: gross(a, root), spec,
                   "bound: relative 2^-19, one unit each of the input's and the result's 20 fraction bits")  # fmt: skip


def division():
    columns = tuples(["f32", "f32"], "div approx", 128)
    huge = Fraction(2) ** 126

    def quotient(a, b, ftz, full):
        if is_nan(F32, a) or is_nan(F32, b):
            return NAN
        sign = (a ^ b) & F32.sign_bit
        a, b = (flush(F32, a), flush(F32, b)) if ftz else (a, b)
        if is_inf(F32, a) or is_inf(F32, b):
            if is_inf(F32, a) and is_inf(F32, b):
                return NAN
            if is_inf(F32, b):
                return sign
            if not full and abs(value(F32, b)) > huge:
                return NAN  # the reciprocal was zero
            return sign | F32.inf_bits
        if is_zero(F32, b):
            return NAN if is_zero(F32, a) else sign | F32.inf_bits
        y = value(F32, a) / value(F32, b)
        size = abs(value(F32, b))
        if not full and size > huge:
            return sign
        if not full and size < 1 / huge:
            return "*"  # 1/b may overflow: no error is documented
        if y == 0:
            return sign
        unit = 2 * ulp(F32, y)
        if abs(y) + unit > value(F32, F32.max_bits):
            ends = sorted((sign | F32.max_bits - 2, sign | F32.inf_bits), reverse=bool(sign))
            return between("f32", *ends)
        return interval(F32, y, unit, ftz, signed_zero=bool(sign))

    for ftz in ("", ".ftz"):
        for op, full in (("approx", False), ("full", True)):
            yield test(f"div.{op}{ftz}.f32", "f32", columns,
                       lambda a, b: quotient(a, b, bool(ftz), full), "9.7.3.8", "bound: 2 ulp",
                       operands="%a0, %a1")  # fmt: skip


def tests():
    for group in (ex2, lg2, trigonometry, tanh, roots_and_reciprocals, division):
        yield from group()
