"""Integer arithmetic: PTX ISA 9.7.1 and, for carries, 9.7.2."""

from ptxtest import WIDTH, elementwise
from values import Stream, edges, ints, signed, tuples, unary

SIGNED = ["s16", "s32", "s64"]
UNSIGNED = ["u16", "u32", "u64"]
ALL = SIGNED + UNSIGNED


def wrap(t, x):
    return x & ((1 << WIDTH[t]) - 1)


def limits(t):
    w = WIDTH[t]
    return (-(1 << (w - 1)), (1 << (w - 1)) - 1) if t[0] == "s" else (0, (1 << w) - 1)


def clamp(t, x):
    lo, hi = limits(t)
    return min(max(x, lo), hi)


def truncated_div(a, b):
    q = abs(a) // abs(b)
    return -q if (a < 0) != (b < 0) else q


def test(name, types, out, fn, spec, columns=None, **more):
    """`types` of the operands, `fn` on Python integers of each type's signedness."""
    columns = columns or (
        [unary(types[0], name)] if len(types) == 1 else tuples(types, name)
    )
    rows = zip(*[ints(t, c) for t, c in zip(types, columns)])
    expect = [wrap(out, fn(*r)) for r in rows]
    args = ", ".join(f"%a{k}" for k in range(len(types)))
    return elementwise("integer", name, name, spec, list(zip(types, columns)),
                       [(out, expect)], f"{name} %d0, {args};", **more)  # fmt: skip


WIDE = {"s16": "s32", "u16": "u32", "s32": "s64", "u32": "u64"}


def arithmetic():
    for t in ALL:
        yield test(f"add.{t}", [t, t], t, lambda a, b: a + b, "9.7.1.1")
        yield test(f"sub.{t}", [t, t], t, lambda a, b: a - b, "9.7.1.2")
        w = WIDTH[t]
        yield test(f"mul.lo.{t}", [t, t], t, lambda a, b: a * b, "9.7.1.3")
        yield test(f"mul.hi.{t}", [t, t], t, lambda a, b: (a * b) >> w, "9.7.1.3")
        yield test(f"mad.lo.{t}", [t] * 3, t, lambda a, b, c: a * b + c, "9.7.1.4")
        yield test(f"mad.hi.{t}", [t] * 3, t, lambda a, b, c: ((a * b) >> w) + c, "9.7.1.4")
        if t in WIDE:
            d = WIDE[t]
            yield test(f"mul.wide.{t}", [t, t], d, lambda a, b: a * b, "9.7.1.3")
            yield test(f"mad.wide.{t}", [t, t, d], d, lambda a, b, c: a * b + c, "9.7.1.4")
        yield test(f"sad.{t}", [t] * 3, t, lambda a, b, c: c + abs(a - b), "9.7.1.7")
        yield test(f"min.{t}", [t, t], t, min, "9.7.1.12")
        yield test(f"max.{t}", [t, t], t, max, "9.7.1.13")
    yield test("add.sat.s32", ["s32"] * 2, "s32", lambda a, b: clamp("s32", a + b), "9.7.1.1")
    yield test("sub.sat.s32", ["s32"] * 2, "s32", lambda a, b: clamp("s32", a - b), "9.7.1.2")
    yield test("mad.hi.sat.s32", ["s32"] * 3, "s32",
               lambda a, b, c: clamp("s32", ((a * b) >> 32) + c), "9.7.1.4")  # fmt: skip
    for t in ("s32", "u32"):

        def low24(x):
            x &= (1 << 24) - 1
            return signed(x, 24) if t == "s32" else x

        def lo(a, b, c=0):
            return low24(a) * low24(b) + c

        def hi(a, b, c=0):
            # Bits 47..16 of the 48-bit product.
            return wrap(t, (low24(a) * low24(b)) >> 16) + c

        yield test(f"mul24.lo.{t}", [t] * 2, t, lo, "9.7.1.5")
        yield test(f"mul24.hi.{t}", [t] * 2, t, hi, "9.7.1.5")
        yield test(f"mad24.lo.{t}", [t] * 3, t, lo, "9.7.1.6")
        yield test(f"mad24.hi.{t}", [t] * 3, t, hi, "9.7.1.6")
    for t in SIGNED:
        yield test(f"abs.{t}", [t], t, abs, "9.7.1.10")
        yield test(f"neg.{t}", [t], t, lambda a: -a, "9.7.1.11")
    for name, fn in (("min", min), ("max", max)):
        yield test(f"{name}.relu.s32", ["s32"] * 2, "s32", lambda a, b: max(0, fn(a, b)),
                   "9.7.1.12", target="sm_90")  # fmt: skip
        for t in ("s16x2", "u16x2"):
            yield packed(name, t, fn)
        yield packed(f"{name}.relu", "s16x2", lambda a, b: max(0, fn(a, b)))
    for t in ("s16x2", "u16x2"):
        yield packed("add", t, lambda a, b: a + b)


def packed(op, t, fn):
    half = t[:3]
    name = f"{op}.{t}"
    cols = tuples(["u32", "u32"], name)
    s = Stream(name + " halves")
    for k in range(0, len(cols[0]), 2):  # edges of the halves as well
        for c in cols:
            c[k] = s.choice(edges(half)) | s.choice(edges(half)) << 16

    def halves(x):
        return [signed(v, 16) if half == "s16" else v for v in (x & 0xFFFF, x >> 16)]

    out = []
    for a, b in zip(*cols):
        lo, hi = (fn(x, y) & 0xFFFF for x, y in zip(halves(a), halves(b)))
        out.append(lo | hi << 16)
    return elementwise("integer", name, name, "9.7.1", [("b32", c) for c in cols],
                       [("b32", out)], f"{name} %d0, %a0, %a1;", target="sm_90")  # fmt: skip


def division():
    """Division by zero gives an unspecified value (but no fault). The one signed
    overflow, INT_MIN / −1, wraps: quotient INT_MIN, remainder 0."""
    for t in ALL:
        cols = tuples([t, t], f"div.{t}")
        rows = [ints(t, c) for c in cols]

        def column(fn):
            return ["*" if b == 0 else wrap(t, fn(a, b)) for a, b in zip(*rows)]

        for op, fn, spec in (
            ("div", truncated_div, "9.7.1.8"),
            ("rem", lambda a, b: a - b * truncated_div(a, b), "9.7.1.9"),
        ):
            yield elementwise("integer", f"{op}.{t}", f"{op}.{t}", spec, [(t, c) for c in cols],
                              [(t, column(fn))], f"{op}.{t} %d0, %a0, %a1;")  # fmt: skip


def carries():
    """Each instruction of a chain stores its word; the last one turns CC.CF into a word."""
    for t in ("u32", "s32", "u64", "s64"):
        w = WIDTH[t]
        mask = (1 << w) - 1
        cols = tuples([t, t, t, t], f"carry {t}")
        for op in ("add", "sub"):
            lo, hi, flag = [], [], []
            for a0, a1, b0, b1 in zip(*cols):
                a, b = a0 | a1 << w, b0 | b1 << w
                r = (a + b if op == "add" else a - b) & ((1 << 2 * w + 1) - 1)
                lo.append(r & mask)
                hi.append((r >> w) & mask)
                carry = r >> 2 * w & 1
                # addc 0+0+CF shows the carry; subc 0−0−borrow shows it as all ones.
                flag.append(carry if op == "add" else (-carry) & mask)
            name = f"{op}.cc.{op}c.cc.{op}c.{t}"
            code = [f"{op}.cc.{t} %d0, %a0, %a2;", f"{op}c.cc.{t} %d1, %a1, %a3;",
                    f"{op}c.{t} %d2, 0, 0;"]  # fmt: skip
            yield elementwise("integer", name, name, "9.7.2", [(t, c) for c in cols],
                              [(t, lo), (t, hi), (t, flag)], code)  # fmt: skip
        # The three-word product of one word and two, by mad chains.
        cols = tuples([t, t, t, t], f"madc {t}")
        outs = [[], [], [], []]
        for a, b, c, d in zip(*cols):
            s = (lambda x: signed(x, w)) if t[0] == "s" else (lambda x: x)
            low = wrap(t, a * b)
            first = low + c
            high = wrap(t, (s(a) * s(b)) >> w)
            second = high + d + (first >> w)
            third = wrap(t, s(a) * s(b)) + c + (second >> w)
            fourth = high + (third >> w)
            for o, x in zip(outs, (first, second, third, fourth)):
                o.append(x & mask)
        name = f"mad.cc.madc.{t}"
        code = [f"mad.lo.cc.{t} %d0, %a0, %a1, %a2;", f"madc.hi.cc.{t} %d1, %a0, %a1, %a3;",
                f"madc.lo.cc.{t} %d2, %a0, %a1, %a2;", f"madc.hi.{t} %d3, %a0, %a1, 0;"]  # fmt: skip
        yield elementwise("integer", name, name, "9.7.2", [(t, c) for c in cols],
                          [(t, o) for o in outs], code)  # fmt: skip
        # The upper word of a product and a sum, and the carry that it makes.
        outs = [[], []]
        for a, b, c, d in zip(*cols):
            word = wrap(t, (s(a) * s(b)) >> w) + c
            for o, x in zip(outs, (word, wrap(t, a * b) + d + (word >> w))):
                o.append(x & mask)
        name = f"mad.hi.cc.madc.lo.{t}"
        code = [f"mad.hi.cc.{t} %d0, %a0, %a1, %a2;", f"madc.lo.{t} %d1, %a0, %a1, %a3;"]
        yield elementwise("integer", name, name, "9.7.2", [(t, c) for c in cols],
                          [(t, o) for o in outs], code)  # fmt: skip


def dot():
    """dp4a, dp2a: signed or unsigned bytes of each operand."""

    def parts(x, n, width, is_signed):
        p = [(x >> (width * k)) & ((1 << width) - 1) for k in range(n)]
        return [signed(v, width) for v in p] if is_signed else p

    for at in ("s32", "u32"):
        for bt in ("s32", "u32"):
            out = "u32" if at == bt == "u32" else "s32"
            for name in ("dp4a", "dp2a.lo", "dp2a.hi"):

                def fn(a, b, c):
                    a, b = a & 0xFFFFFFFF, b & 0xFFFFFFFF
                    if name == "dp4a":
                        xs = parts(a, 4, 8, at == "s32")
                        ys = parts(b, 4, 8, bt == "s32")
                    else:
                        xs = parts(a, 2, 16, at == "s32")
                        ys = parts(b, 4, 8, bt == "s32")
                        ys = ys[2:] if name == "dp2a.hi" else ys[:2]
                    return c + sum(x * y for x, y in zip(xs, ys))

                spec = "9.7.1.23" if name == "dp4a" else "9.7.1.24"
                yield test(f"{name}.{at}.{bt}", [at, bt, out], out, fn, spec)


def tests():
    for group in (arithmetic, division, carries, dot):
        yield from group()
