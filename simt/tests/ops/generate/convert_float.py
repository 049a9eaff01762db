"""cvt between floating-point formats, packed ones included: PTX ISA 9.7.9.21."""

from fractions import Fraction

from convert import ROUND, SPEC, float_values
from floats import (BF16, E4M3, E5M2, F16, F32, FORMATS, NAN, convert, encode, flush, integer_part,
                    is_inf, is_nan, is_subnormal, is_zero, negative, saturate, value)  # fmt: skip
from ptxtest import either, elementwise
from values import Stream, noise

TARGET = {"bf16": "sm_90"}


def narrow_values(src, dst, seed):
    """Edges of the source, halfway points and limits of the destination."""
    s = Stream(seed)
    values = float_values(src.name, seed)[:64]
    step = src.mant - dst.mant
    if step > 0:
        half = 1 << (step - 1)
        for _ in range(12):
            base = noise(src.name, s) >> step << step
            if src.exp > dst.exp and (base & src.inf_bits) >> src.mant:
                e = src.bias + s.below(8) - 4
                base = base & ~src.inf_bits | e << src.mant
            values += [base | half, base | half - 1, base | half + 1]
    for edge in (dst.max_bits, dst.min_normal, 1, dst.min_normal - 1):
        x = value(dst, edge)
        for scale in (Fraction(1), Fraction(1, 2), Fraction(3, 4), Fraction(2**20 + 1, 2**20), Fraction(5, 4)):
            values.append(encode(src, x * scale))
    # The point from which rounding to nearest overflows, and its neighbours.
    over = value(dst, dst.max_bits) + Fraction(2) ** (
        (dst.max_bits >> dst.mant) - dst.bias - dst.mant - 1
    )
    if src.mant > dst.mant:
        b = encode(src, over)
        values += [b, b - 1, b + 1, b | src.sign_bit]
    return values


def simple(name, src, dst, values, expect, more):
    return elementwise("convert_float", name, name, SPEC, [(src.name, values)],
                       [(dst.name, expect)], f"{name} %d0, %a0;", **more)  # fmt: skip


def sat_element(dst, bits):
    """−0 lies inside [0, 1]: which zero comes out is not said."""
    if bits != NAN and is_zero(dst, bits):
        return either(dst.name, 0, dst.sign_bit)
    return saturate(dst, bits)


def scalar():
    formats = [FORMATS[n] for n in ("f16", "bf16", "f32", "f64")]
    for src in formats:
        for dst in formats:
            if src is dst:
                continue
            other = {src.name, dst.name} - {"f32"}
            more = dict(target="sm_90") if "bf16" in other and not {src.name, dst.name} == {"f32", "bf16"} else {}
            values = narrow_values(src, dst, f"cvt {dst.name} {src.name}")
            exact = src.mant <= dst.mant and src.exp <= dst.exp
            # Between bf16 and f16 a rounding may be missing: ptxas makes the same code of it as of
            # `.rn`. One that bf16 does not need, as every bf16 is an f32, may be written.
            halves = {src, dst} == {F16, BF16}
            if exact or halves:
                expect = [convert(src, dst, x) for x in values]
                yield simple(f"cvt.{dst.name}.{src.name}", src, dst, values, expect, more)
            for mode in ("rn", "rz", "rm", "rp") if not exact or src is BF16 else ():
                expect = [convert(src, dst, x, ROUND[mode]) for x in values]
                # f32 to bf16 knows two roundings before sm_90, all four from there on.
                later = src is BF16 or (dst is BF16 and mode in ("rm", "rp"))
                sm = dict(target="sm_90") if later else more
                yield simple(f"cvt.{mode}.{dst.name}.{src.name}", src, dst, values, expect, sm)
            halved = BF16 in (src, dst)
            for mode in ("",) if exact else (".rn", ".rz", ".rm", ".rp"):
                for ftz, sat in (("", ".sat"), (".ftz", ""), (".ftz", ".sat")):
                    if (sat and halved) or (ftz and F32 not in (src, dst)):
                        continue

                    def modified(given):
                        x = given
                        x = flush(src, x) if ftz and src is F32 else x
                        r = convert(src, dst, x, ROUND[mode[1:] or "rn"])
                        tiny = r != NAN and is_subnormal(dst, convert(src, dst, x, "z"))
                        if ftz and dst is F32 and r != NAN:
                            r = flush(dst, r)
                        out = sat_element(dst, r) if sat else r
                        # The manual flushes what goes in; an H100 rounds it away from zero all the same.
                        if ftz and dst is F16 and mode in (".rm", ".rp") and is_subnormal(src, given):
                            kept = convert(src, dst, given, ROUND[mode[1:]])
                            kept = sat_element(dst, kept) if sat else kept
                            return "|".join(dict.fromkeys(e if isinstance(e, str) else either(dst.name, e)
                                                          for e in (out, kept)))  # fmt: skip
                        # As of sums: what rounds up to the smallest normal may be flushed as well.
                        if ftz and dst is F32 and tiny and r == dst.min_normal:
                            return either(dst.name, out, 0)
                        if ftz and dst is F32 and tiny and r == dst.min_normal | dst.sign_bit:
                            return either(dst.name, out, 0 if sat else dst.sign_bit)
                        return out

                    expect = [modified(x) for x in values]
                    sm = dict(target="sm_90") if halved else more
                    yield simple(f"cvt{mode}{ftz}{sat}.{dst.name}.{src.name}", src, dst, values, expect, sm)
    for f in formats:
        values = float_values(f.name, f"cvt integral {f.name}")
        more = dict(target="sm_90") if f is BF16 else {}
        for mode in ("rni", "rzi", "rmi", "rpi"):

            def integral(x):
                if is_nan(f, x):
                    return NAN
                if is_inf(f, x) or is_zero(f, x):
                    return x
                return encode(f, Fraction(integer_part(value(f, x), ROUND[mode])), "n", negative(f, x))

            expect = [integral(x) for x in values]
            yield simple(f"cvt.{mode}.{f.name}.{f.name}", f, f, values, expect, more)
            if f is F32:
                flushed = [integral(flush(f, x)) for x in values]
                yield simple(f"cvt.{mode}.ftz.f32.f32", f, f, values, flushed, more)
            if f is not BF16:
                clamped = [sat_element(f, x) for x in expect]
                yield simple(f"cvt.{mode}.sat.{f.name}.{f.name}", f, f, values, clamped, more)
            if f is F32:
                clamped = [sat_element(f, x) for x in flushed]
                yield simple(f"cvt.{mode}.ftz.sat.f32.f32", f, f, values, clamped, more)
        same = [NAN if is_nan(f, x) else x for x in values]
        yield simple(f"cvt.{f.name}.{f.name}", f, f, values, same, more)
        if f is not BF16:
            yield simple(f"cvt.sat.{f.name}.{f.name}", f, f, values, [sat_element(f, x) for x in same], more)
    values = float_values("f32", "cvt f32 f32")
    expect = [NAN if is_nan(F32, x) else flush(F32, x) for x in values]
    yield simple("cvt.ftz.f32.f32", F32, F32, values, expect, {})


def limited(dst, bits, relu, satfinite):
    """`.relu` and `.satfinite` on a converted pattern; `.relu` makes NaN canonical."""
    if bits == NAN:
        return dst.canonical_nan if relu else NAN
    if relu and negative(dst, bits):
        return either(dst.name, 0, dst.sign_bit) if is_zero(dst, bits) else 0
    if satfinite and bits & (dst.sign_bit - 1) > dst.max_bits:
        return bits & dst.sign_bit | dst.max_bits
    return bits


def packed():
    for dst in (F16, BF16):
        a = narrow_values(F32, dst, f"cvt {dst.name}x2 a")
        b = list(reversed(narrow_values(F32, dst, f"cvt {dst.name}x2 b")))
        for mode in ("rn", "rz"):
            for relu in ("", ".relu"):
                for satfinite in ("", ".satfinite"):
                    more = dict(version="8.1") if satfinite else {}
                    tail = f"{mode}{relu}{satfinite}.{dst.name}"

                    def element(x):
                        return limited(dst, convert(F32, dst, x, ROUND[mode]), relu, satfinite)

                    if relu or satfinite:
                        name = f"cvt.{tail}.f32"
                        yield simple(name, F32, dst, a, [element(x) for x in a], more)
                    name = f"cvt.{tail}x2.f32"
                    # The first source lands in the upper half; the halves are compared apart.
                    yield elementwise(
                        "convert_float", name, name, SPEC, [("f32", a), ("f32", b)],
                        [(dst.name, [element(x) for x in b]), (dst.name, [element(x) for x in a])],
                        [f"{name} %pair, %a0, %a1;", "mov.b32 {%d0, %d1}, %pair;"],
                        extra=[".b32 %pair"], **more)  # fmt: skip


def tf32():
    """tf32 keeps 10 significand bits of an f32; the low 13 bits come out zero."""
    values = float_values("f32", "cvt tf32") + [
        0x3F801000, 0x3F801001, 0x3F800FFF, 0x3F803000, 0xBF801000, 0x7F7FF000, 0x7F7FEFFF,
        0x00001000, 0x00000FFF, 0x007FF000, 0x80001000]  # fmt: skip

    def cut(x, mode, relu, satfinite=""):
        if is_nan(F32, x):
            if mode == "rna" and not x & 0x007FE000:
                # No bit of this NaN is kept. sm_80 and sm_90 have no instruction of their own, and
                # ptxas's cuts the bits off, which leaves an infinity, or the largest tf32.
                cut_off = F32.inf_bits - (0x2000 if satfinite else 0)
                return f"{NAN}|{x & F32.sign_bit | cut_off:08x}"
            return "7fffffff" if relu else NAN
        if relu and negative(F32, x):
            return 0 if not is_zero(F32, x) else either("b32", 0, F32.sign_bit)
        m, low = x & 0x7FFFE000, x & 0x1FFF
        up = {"rna": low >= 0x1000, "rz": False,
              "rn": low > 0x1000 or (low == 0x1000 and m & 0x2000)}[mode]  # fmt: skip
        # Ordered patterns: a carry moves into the exponent, at the top into infinity.
        m += 0x2000 if up else 0
        if satfinite and m >= F32.inf_bits:
            m = F32.inf_bits - 0x2000  # the largest tf32
        return (x & 0x80000000) | m

    sm_90, sm_100 = dict(target="sm_90"), dict(target="sm_100", version="8.6")
    for modifiers, more in ((".rna", {}), (".rna.satfinite", dict(version="8.1")), (".rn", sm_90), (".rz", sm_90),
                            (".rn.relu", sm_90), (".rz.relu", sm_90), (".rn.satfinite", sm_100),
                            (".rz.satfinite", sm_100), (".rn.satfinite.relu", sm_100),
                            (".rz.satfinite.relu", sm_100), (".rn.relu.satfinite", sm_100)):  # fmt: skip
        name = f"cvt{modifiers}.tf32.f32"
        mode = modifiers.split(".")[1]
        expect = [cut(x, mode, ".relu" in modifiers, ".satfinite" in modifiers) for x in values]
        yield elementwise("convert_float", name, name, SPEC, [("f32", values)], [("f32", expect)],
                          [f"{name} %bits, %a0;", "mov.b32 %d0, %bits;"], extra=[".b32 %bits"], **more)  # fmt: skip


def eight_bit():
    for dst in (E4M3, E5M2):
        more = dict(target="sm_90")
        a = narrow_values(F32, dst, f"cvt {dst.name}x2 a")
        b = list(reversed(a))
        for relu in ("", ".relu"):

            def element(src, x):
                r = convert(src, dst, x)
                if r != NAN and not dst.inf and (is_inf(src, x) or r & 0x7F > dst.max_bits):
                    r = r & dst.sign_bit | dst.max_bits
                r = limited(dst, r, relu, True)
                if r in (NAN, dst.canonical_nan):
                    return "|".join(nan_patterns(dst))  # which NaN is not said
                return r

            name = f"cvt.rn.satfinite{relu}.{dst.name}x2.f32"
            yield elementwise(
                "convert_float", name, name, SPEC, [("f32", a), ("f32", b)],
                [("u8", [element(F32, x) for x in b]), ("u8", [element(F32, x) for x in a])],
                [f"{name} %pair, %a0, %a1;", "and.b16 %d0, %pair, 255;", "shr.u16 %d1, %pair, 8;"],
                extra=[".b16 %pair"], **more)  # fmt: skip
            h = narrow_values(F16, dst, f"cvt {dst.name}x2 halves")
            g = list(reversed(h))
            name = f"cvt.rn.satfinite{relu}.{dst.name}x2.f16x2"
            yield elementwise(
                "convert_float", name, name, SPEC, [("f16", h), ("f16", g)],
                [("u8", [element(F16, x) for x in h]), ("u8", [element(F16, x) for x in g])],
                ["mov.b32 %both, {%a0, %a1};", f"{name} %pair, %both;",
                 "and.b16 %d0, %pair, 255;", "shr.u16 %d1, %pair, 8;"],
                extra=[".b16 %pair", ".b32 %both"], **more)  # fmt: skip
            every = list(range(256))

            def widened(x):
                r = convert(dst, F16, x)
                if r == NAN:
                    return F16.canonical_nan
                if relu and negative(F16, r):
                    return 0 if not is_zero(F16, r) else either("f16", 0, 0x8000)
                return r

            name = f"cvt.rn{relu}.f16x2.{dst.name}x2"
            pairs = [x | (255 - x) << 8 for x in every]
            yield elementwise(
                "convert_float", name, name, SPEC, [("b16", pairs)],
                [("f16", [widened(x) for x in every]), ("f16", [widened(255 - x) for x in every])],
                [f"{name} %both, %a0;", "mov.b32 {%d0, %d1}, %both;"], extra=[".b32 %both"], **more)  # fmt: skip


def nan_patterns(dst):
    return [f"{x:02x}" for x in range(256) if is_nan(dst, x)]


def tests():
    for group in (scalar, packed, tf32, eight_bit):
        yield from group()
