"""f16, bf16 and their pairs: PTX ISA 9.7.4."""

import mpmath

import floats
from float_approx import exact, interval, mpf
from float_arith import cancel, finish
from floats import BF16, F16, NAN, flush, is_inf, is_nan, is_zero, negative, value
from ptxtest import either, elementwise
from values import tuples, unary

# bf16 add, sub, mul, ex2 and tanh came with sm_90; fma, min, max with sm_80.
SM90 = dict(target="sm_90")


def pairwise(name, t, columns, element, code, spec, **more):
    """The packed form: row k of the lower halves beside row n−1−k of the upper ones.

    Both halves are loaded and stored apart, so that each is compared as its own number.
    """
    n = len(columns)
    turned = [list(reversed(c)) for c in columns]
    expect = [element(*r) for r in zip(*columns)]
    ins = [(t, c) for pair in zip(columns, turned) for c in pair]
    load = [f"mov.b32 %p{k}, {{%a{2 * k}, %a{2 * k + 1}}};" for k in range(n)]
    return elementwise("half", name, name, spec, ins, [(t, expect), (t, list(reversed(expect)))],
                       [*load, code, "mov.b32 {%d0, %d1}, %q;"],
                       extra=[f".b32 %p<{n}>", ".b32 %q"], **more)  # fmt: skip


def both(op, suffix, t, columns, element, spec, **more):
    """The scalar and the packed instruction of one variant."""
    n = len(columns)
    name = f"{op}{suffix}.{t}"
    yield elementwise("half", name, name, spec, [(t, c) for c in columns],
                      [(t, [element(*r) for r in zip(*columns)])],
                      f"{name} %d0, {', '.join(f'%a{k}' for k in range(n))};", **more)  # fmt: skip
    code = f"{name}x2 %q, {', '.join(f'%p{k}' for k in range(n))};"
    yield pairwise(f"{name}x2", t, columns, element, code, spec, **more)


def arithmetic():
    for f in (F16, BF16):
        t = f.name
        two = tuples([t, t], f"half {t}")
        three = tuples([t] * 3, f"half fma {t}", 128)
        cancel(f, three)
        for op, fn, spec in (("add", floats.add, "9.7.4.1"), ("sub", floats.sub, "9.7.4.2"),
                             ("mul", floats.mul, "9.7.4.3")):  # fmt: skip
            suffixes = ["", ".rn"] if f is BF16 else [
                r + x for r in ("", ".rn") for x in ("", ".ftz", ".sat", ".ftz.sat")]  # fmt: skip
            for suffix in suffixes:

                def element(a, b):
                    row = [flush(f, x) for x in (a, b)] if "ftz" in suffix else (a, b)
                    return finish(f, fn(f, *row), "ftz" in suffix, "sat" in suffix)

                yield from both(op, suffix, t, two, element, spec, **(SM90 if f is BF16 else {}))
        suffixes = [".rn", ".rn.relu"]
        if f is F16:
            suffixes += [".rn.ftz", ".rn.sat", ".rn.ftz.sat", ".rn.ftz.relu"]
        for suffix in suffixes:

            def fused(a, b, c):
                row = [flush(f, x) for x in (a, b, c)] if "ftz" in suffix else (a, b, c)
                r = finish(f, floats.fma(f, *row), "ftz" in suffix, "sat" in suffix)
                if "relu" in suffix:
                    if r == NAN:
                        return f.canonical_nan
                    if negative(f, r):
                        return either(t, 0, f.sign_bit) if is_zero(f, r) else 0
                return r

            yield from both("fma", suffix, t, three, fused, "9.7.4.4")


def signs():
    for f in (F16, BF16):
        t = f.name
        one = [unary(t, f"half signs {t}")]
        for ftz in ("", ".ftz") if f is F16 else ("",):

            def clean(a):
                return flush(f, a) if ftz else a

            yield from both("neg", ftz, t, one,
                            lambda a: NAN if is_nan(f, a) else clean(a) ^ f.sign_bit, "9.7.4.5")  # fmt: skip
            yield from both("abs", ftz, t, one,
                            lambda a: NAN if is_nan(f, a) else clean(a) & (f.sign_bit - 1), "9.7.4.6")  # fmt: skip


def extremes():
    for f in (F16, BF16):
        t = f.name
        a, b = tuples([t, t], f"half minmax {t}", 128)
        for k in range(49, 60):
            b[k] = f.inf_bits | 1 << (f.mant - 1) | k & 15
            if k > 56:
                a[k] = f.sign_bit | f.inf_bits | 3
        for op, largest, spec in (("min", False, "9.7.4.7"), ("max", True, "9.7.4.8")):
            for ftz in ("", ".ftz") if f is F16 else ("",):
                for nan in ("", ".NaN"):
                    for xorsign in ("", ".xorsign.abs"):

                        def pick(x, y):
                            if ftz:
                                x, y = flush(f, x), flush(f, y)
                            return floats.min_max(f, x, y, largest, bool(nan), bool(xorsign))

                        yield from both(op, f"{ftz}{nan}{xorsign}", t, [a, b], pick, spec,
                                        target="sm_86" if xorsign else "sm_80")  # fmt: skip


def approximations():
    for f, ex2_bits, tanh_bits in ((F16, "-9.9", "-10.987"), (BF16, "-7", "-8")):
        t = f.name
        values = unary(t, f"half approx {t}", 96)
        ftz = f is BF16
        relative = exact(mpmath.power(2, mpmath.mpf(ex2_bits)))
        absolute = exact(mpmath.power(2, mpmath.mpf(tanh_bits)))

        def ex2(a):
            a = flush(f, a) if ftz else a
            if is_nan(f, a):
                return NAN
            if is_inf(f, a):
                return 0 if negative(f, a) else a
            x = value(f, a)
            if x == 0:
                return f.one
            if abs(x) > 200:
                return f.inf_bits if x > 0 else 0
            y = exact(mpmath.power(2, mpf(x)))
            # Below the normal range one step exceeds the relative bound: the two
            # neighbours of the exact value count as well.
            error = max(y * relative, floats.ulp(f, y) if y < value(f, f.min_normal) else 0)
            return interval(f, y, error, ftz)

        def tanh(a):
            if is_nan(f, a):
                return NAN
            if is_inf(f, a):
                return f.one | a & f.sign_bit
            x = value(f, a)
            return a if x == 0 else interval(f, exact(mpmath.tanh(mpf(x))), absolute)

        more = SM90 if f is BF16 else {}
        yield from both("ex2", ".approx.ftz" if ftz else ".approx", t, [values], ex2, "9.7.4.10",
                        notes=[f"bound: relative 2^{ex2_bits}"], **more)  # fmt: skip
        yield from both("tanh", ".approx", t, [values], tanh, "9.7.4.9",
                        notes=[f"bound: absolute 2^{tanh_bits}"], **more)  # fmt: skip


def tests():
    for group in (arithmetic, signs, extremes, approximations):
        yield from group()
