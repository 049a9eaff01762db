"""cvt between integers, and between integers and floats: PTX ISA 9.7.9.21."""

from floats import FORMATS, encode, flush, integer_part, is_inf, is_nan, negative, value
from fractions import Fraction
from ptxtest import WIDTH, elementwise
from values import Stream, edges, ints, noise, unary

INTS = ["s8", "u8", "s16", "u16", "s32", "u32", "s64", "u64"]
SPEC = "9.7.9.21"
ROUND = {"rn": "n", "rz": "z", "rm": "m", "rp": "p", "rni": "n", "rzi": "z", "rmi": "m", "rpi": "p"}
# cvt between bf16 and integers came with sm_90; it takes no wider registers.
BF16 = dict(target="sm_90", narrow=True)


def limits(t):
    w = WIDTH[t]
    return (-(1 << (w - 1)), (1 << (w - 1)) - 1) if t[0] == "s" else (0, (1 << w) - 1)


def subset(src, dst):
    return limits(dst)[0] <= limits(src)[0] and limits(src)[1] <= limits(dst)[1]


def test(name, src, dst, values, expect, **more):
    return elementwise("convert", name, name, SPEC, [(src, values)], [(dst, expect)],
                       f"{name} %d0, %a0;", **more)  # fmt: skip


def int_values(src, seed):
    values = unary(src, seed, 48)
    for w in (8, 16, 32):  # the limits of narrower types
        values += [x & ((1 << WIDTH[src]) - 1) for x in
                   (1 << (w - 1), (1 << (w - 1)) - 1, (1 << w) - 1, 1 << w, -(1 << (w - 1)) - 1)]  # fmt: skip
    return values


def between_ints():
    for src in INTS:
        values = int_values(src, f"cvt {src}")
        for dst in INTS:
            mask = (1 << WIDTH[dst]) - 1
            plain = [x & mask for x in ints(src, values)]
            yield test(f"cvt.{dst}.{src}", src, dst, values, plain)
            if not subset(src, dst):
                lo, hi = limits(dst)
                expect = [min(max(x, lo), hi) & mask for x in ints(src, values)]
                yield test(f"cvt.sat.{dst}.{src}", src, dst, values, expect)


def tie_values(src, f, seed):
    """Integers around the halfway points of the destination format."""
    values = int_values(src, seed)
    w, p = WIDTH[src], f.mant + 1
    for extra in (1, 2, 5):
        if p + extra < w:
            for base in (1 << (p + extra - 1), 3 << (p + extra - 2)):
                half = 1 << (extra - 1)
                values += [base + half, base + half + 1, base + half - 1, base + 3 * half]
    if src[0] == "s":
        values += [-x & ((1 << w) - 1) for x in values[-16:]]
    return values


def int_to_float():
    for src in INTS:
        for name, f in FORMATS.items():
            if name in ("e4m3", "e5m2"):
                continue
            values = tie_values(src, f, f"cvt {name} {src}")
            for mode in ("rn", "rz", "rm", "rp"):
                expect = [encode(f, Fraction(x), ROUND[mode]) for x in ints(src, values)]
                more = BF16 if name == "bf16" else {}
                yield test(f"cvt.{mode}.{name}.{src}", src, name, values, expect, **more)
            if name == "bf16":
                continue
            # [0, 1] holds two integers. No integer becomes a subnormal single: `.ftz` is without
            # effect.
            expect = [f.one if x > 0 else 0 for x in ints(src, values)]
            yield test(f"cvt.rn.sat.{name}.{src}", src, name, values, expect)
            if name == "f32":
                expect = [encode(f, Fraction(x), "p") for x in ints(src, values)]
                yield test(f"cvt.rp.ftz.{name}.{src}", src, name, values, expect)


def float_values(src, seed):
    f = FORMATS[src]
    s = Stream(seed)
    values = list(edges(src))
    limits_of_ints = [2**k for k in (7, 8, 15, 16, 31, 32, 63, 64) if 2**k < value(f, f.max_bits)]
    for x in limits_of_ints:
        b = encode(f, Fraction(x))
        values += [b, b - 1, b + 1, b | f.sign_bit, (b + 1) | f.sign_bit]
    for x in ("0.5", "1.5", "2.5", "-0.5", "-1.5", "-2.5", "126.5", "127.5", "-128.5", "255.5"):
        values.append(encode(f, Fraction(x)))
    return values + [noise(src, s) for _ in range(96 - len(values))]


def to_integer(f, dst, bits, mode):
    """Clamped; NaN gives 0, or 2^(width−1) when either side is 64 bits wide."""
    lo, hi = limits(dst)
    mask = (1 << WIDTH[dst]) - 1
    if is_nan(f, bits):
        if f.name != "f64" and WIDTH[dst] < 64:
            return 0
        return 1 << (WIDTH[dst] - 1)
    if is_inf(f, bits):
        return (lo if negative(f, bits) else hi) & mask
    return min(max(integer_part(value(f, bits), mode), lo), hi) & mask


def float_to_int():
    for src in ("f16", "bf16", "f32", "f64"):
        f = FORMATS[src]
        values = float_values(src, f"cvt from {src}")
        more = BF16 if src == "bf16" else {}
        for dst in INTS:
            for mode in ("rni", "rzi", "rmi", "rpi"):
                expect = [to_integer(f, dst, x, ROUND[mode]) for x in values]
                if src == "f64" and WIDTH[dst] < 32:
                    # The clamp of a NaN's 2^31 to a narrow type is not spelled out.
                    expect = ["*" if is_nan(f, x) else e for x, e in zip(values, expect)]
                yield test(f"cvt.{mode}.{dst}.{src}", src, dst, values, expect, **more)
            if src == "f32":
                for mode in ("rpi", "rmi"):  # where a flushed subnormal shows
                    expect = [to_integer(f, dst, flush(f, x), ROUND[mode]) for x in values]
                    yield test(f"cvt.{mode}.ftz.{dst}.f32", src, dst, values, expect)
            if src == "f16":
                # Out of range is clamped in any case.
                expect = [to_integer(f, dst, x, "m") for x in values]
                yield test(f"cvt.rmi.sat.{dst}.f16", src, dst, values, expect)
            if src in ("f32", "f64") and WIDTH[dst] >= 32:
                expect = [to_integer(f, dst, x, "z") for x in values]
                yield test(f"cvt.rzi.sat.{dst}.{src}", src, dst, values, expect)


def tests():
    for group in (between_ints, int_to_float, float_to_int):
        yield from group()
