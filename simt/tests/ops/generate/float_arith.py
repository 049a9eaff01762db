"""Correctly rounded f32 and f64 arithmetic: PTX ISA 9.7.3."""

import floats
from floats import FORMATS, NAN, flush, is_nan, is_subnormal, is_zero, saturate
from ptxtest import either, elementwise
from values import tuples, unary

MODES = {"": "n", ".rn": "n", ".rz": "z", ".rm": "m", ".rp": "p"}


def finish(f, r, ftz="", sat=""):
    """The modifiers on a rounded result."""
    if r == NAN:
        return 0 if sat else NAN
    if ftz:
        r = flush(f, r)
    if sat:
        # −0 lies inside [0, 1]: which zero comes out is not said.
        return either(f.name, 0, f.sign_bit) if is_zero(f, r) else saturate(f, r)
    return r


def apply(f, fn, row, mode, ftz, sat=""):
    row = [flush(f, x) for x in row] if ftz else row
    exact = finish(f, fn(f, *row, mode), ftz, sat)
    if ftz and not sat and exact != NAN:
        # Whether tininess is seen before or after rounding is not said: the result
        # that rounds up to the smallest normal may be flushed as well.
        toward_zero = fn(f, *row, "z")
        if exact & (f.sign_bit - 1) == f.min_normal and is_subnormal(f, toward_zero):
            return either(f.name, exact, exact & f.sign_bit)
    return exact


def test(f, name, fn, columns, mode, ftz, sat, spec, operands=None):
    expect = [apply(f, fn, r, mode, ftz, sat) for r in zip(*columns)]
    args = ", ".join(f"%a{k}" for k in range(len(columns)))
    return elementwise("float", name, name, spec, [(f.name, c) for c in columns],
                       [(f.name, expect)], f"{name} %d0, {operands or args};")  # fmt: skip


def rounded():
    for t in ("f32", "f64"):
        f = FORMATS[t]
        two = tuples([t, t], f"arith.{t}")
        three = tuples([t] * 3, f"fma.{t}", 128)
        cancel(f, three)
        ops = [("add", floats.add, two, "9.7.3.3"), ("sub", floats.sub, two, "9.7.3.4"),
               ("mul", floats.mul, two, "9.7.3.5"), ("fma", floats.fma, three, "9.7.3.6"),
               ("div", floats.div, two, "9.7.3.8")]  # fmt: skip
        for op, fn, columns, spec in ops:
            for suffix, mode in MODES.items():
                if suffix == "" and op in ("fma", "div"):
                    continue
                for ftz in ("", ".ftz") if t == "f32" else ("",):
                    for sat in ("", ".sat") if t == "f32" and op != "div" else ("",):
                        name = f"{op}{suffix}{ftz}{sat}.{t}"
                        yield test(f, name, fn, columns, mode, ftz, sat, spec)
        for suffix, mode in MODES.items():
            if not suffix:
                continue
            one = [unary(t, f"sqrt.{t}", 96)]
            for ftz in ("", ".ftz") if t == "f32" else ("",):
                yield test(f, f"sqrt{suffix}{ftz}.{t}", floats.sqrt, one, mode, ftz, "", "9.7.3.15")
                yield test(f, f"rcp{suffix}{ftz}.{t}",
                           lambda f, a, m: floats.div(f, f.one, a, m), one, mode, ftz, "", "9.7.3.13")  # fmt: skip
        for suffix, mode in MODES.items():
            for ftz in ("", ".ftz") if t == "f32" else ("",):
                for sat in ("", ".sat") if t == "f32" else ("",):
                    if suffix:
                        name = f"mad{suffix}{ftz}{sat}.{t}"
                        yield test(f, name, floats.fma, three, mode, ftz, sat, "9.7.3.7")


def cancel(f, columns):
    """Rows where only a fused product is right: a·b + c with c ≈ −a·b."""
    a, b, c = columns
    for k in range(64, len(a)):
        if any(is_nan(f, x) or floats.is_inf(f, x) for x in (a[k], b[k])):
            continue
        p = floats.mul(f, a[k], b[k])
        c[k] = p ^ f.sign_bit


def signs():
    for t in ("f32", "f64"):
        f = FORMATS[t]
        one = unary(t, f"abs.{t}")
        low = f.sign_bit - 1
        for ftz in ("", ".ftz") if t == "f32" else ("",):

            def clean(x):
                return flush(f, x) if ftz else x

            # f32: NaN in, unspecified NaN out; abs.f64 documents the payload as kept.
            expect = [(x if t == "f64" else NAN) if is_nan(f, x) else clean(x) & low for x in one]
            if t == "f64":
                expect = [NAN if is_nan(f, x) else e for x, e in zip(one, expect)]
            yield elementwise("float", f"abs{ftz}.{t}", f"abs{ftz}.{t}", "9.7.3.9", [(t, one)],
                              [(t, expect)], f"abs{ftz}.{t} %d0, %a0;")  # fmt: skip
            expect = [NAN if is_nan(f, x) else clean(x) ^ f.sign_bit for x in one]
            yield elementwise("float", f"neg{ftz}.{t}", f"neg{ftz}.{t}", "9.7.3.10", [(t, one)],
                              [(t, expect)], f"neg{ftz}.{t} %d0, %a0;")  # fmt: skip
        a, b = tuples([t, t], f"copysign.{t}")
        expect = [a_ & f.sign_bit | b_ & low for a_, b_ in zip(a, b)]
        yield elementwise("float", f"copysign.{t}", f"copysign.{t}", "9.7.3.2", [(t, a), (t, b)],
                          [(t, expect)], f"copysign.{t} %d0, %a0, %a1;")  # fmt: skip


def extremes():
    for op, largest, spec in (("min", False, "9.7.3.11"), ("max", True, "9.7.3.12")):
        for t in ("f32", "f64"):
            f = FORMATS[t]
            a, b = tuples([t, t], f"minmax.{t}", 128)
            for k in range(49, 60):  # NaN against numbers, NaN against NaN
                b[k] = f.inf_bits | 1 << (f.mant - 1) | k
                if k > 56:
                    a[k] = f.sign_bit | f.inf_bits | 3
            variants = [("", "", "")]
            if t == "f32":
                variants = [(z, n, x) for z in ("", ".ftz") for n in ("", ".NaN") for x in ("", ".xorsign.abs")]
            for ftz, nan, xorsign in variants:

                def pick(x, y):
                    if ftz:
                        x, y = flush(f, x), flush(f, y)
                    return floats.min_max(f, x, y, largest, bool(nan), bool(xorsign))

                name = f"{op}{ftz}{nan}{xorsign}.{t}"
                yield elementwise("float", name, name, spec, [(t, a), (t, b)],
                                  [(t, [pick(x, y) for x, y in zip(a, b)])],
                                  f"{name} %d0, %a0, %a1;",
                                  target="sm_86" if xorsign else "sm_80")  # fmt: skip


def tests():
    for group in (rounded, signs, extremes):
        yield from group()
