"""Logic, shifts and bit fields: PTX ISA 9.7.1.14 to 9.7.1.22 and 9.7.8."""

from ptxtest import WIDTH, elementwise
from values import Stream, edges, noise, signed, tuples, unary

M32 = 0xFFFFFFFF


def test(name, types, out, columns, fn, spec, code=None, **more):
    """`fn` maps bit patterns to a bit pattern."""
    values = (fn(*r) for r in zip(*columns))
    expect = [v if isinstance(v, str) else v & ((1 << WIDTH[out]) - 1) for v in values]
    args = ", ".join(f"%a{k}" for k in range(len(types)))
    return elementwise("bits", name, name, spec, list(zip(types, columns)), [(out, expect)],
                       code or f"{name} %d0, {args};", **more)  # fmt: skip


def logic():
    for t in ("b16", "b32", "b64"):
        cols = tuples([t, t], f"logic.{t}")
        one = [unary(t, f"logic1.{t}")]
        yield test(f"and.{t}", [t, t], t, cols, lambda a, b: a & b, "9.7.8.1")
        yield test(f"or.{t}", [t, t], t, cols, lambda a, b: a | b, "9.7.8.2")
        yield test(f"xor.{t}", [t, t], t, cols, lambda a, b: a ^ b, "9.7.8.3")
        yield test(f"not.{t}", [t], t, one, lambda a: ~a, "9.7.8.4")
        yield test(f"cnot.{t}", [t], t, one, lambda a: int(a == 0), "9.7.8.5")
    # Predicate logic, seen through selp.
    a, b = tuples(["b32", "b32"], "predicates", 64)
    a, b = [x & 1 for x in a], [x >> 1 & 1 for x in b]
    for op, fn in (("and", lambda x, y: x & y), ("or", lambda x, y: x | y), ("xor", lambda x, y: x ^ y)):
        code = ["setp.ne.b32 %p, %a0, 0;", "setp.ne.b32 %q, %a1, 0;", f"{op}.pred %p, %p, %q;",
                "selp.b32 %d0, 1, 0, %p;"]  # fmt: skip
        yield test(f"{op}.pred", ["b32"] * 2, "b32", [a, b], fn, "9.7.8", code,
                   extra=[".pred %p", ".pred %q"])  # fmt: skip
    code = ["setp.ne.b32 %p, %a0, 0;", "not.pred %p, %p;", "selp.b32 %d0, 1, 0, %p;"]
    yield test("not.pred", ["b32"], "b32", [a], lambda x: 1 - x, "9.7.8.4", code, extra=[".pred %p"])
    cols = tuples(["b32"] * 3, "lop3")
    for table in (0x00, 0x01, 0x80, 0x96, 0xE8, 0xCA, 0x1B, 0xF8, 0xEA, 0xC0, 0xFF, 0x3C):

        def lut(a, b, c):
            r = 0
            for i in range(32):
                index = (a >> i & 1) << 2 | (b >> i & 1) << 1 | (c >> i & 1)
                r |= (table >> index & 1) << i
            return r

        name = f"lop3.b32.{table:02x}"
        yield test(name, ["b32"] * 3, "b32", cols, lut, "9.7.8.6",
                   f"lop3.b32 %d0, %a0, %a1, %a2, 0x{table:02x};")  # fmt: skip
    # With a predicate: whether any bit is set, combined with another, here every second thread's.
    few = [[x & y for x, y in zip(c, cols[(k + 1) % 3])] for k, c in enumerate(cols)]
    odd = [k & 1 for k in range(len(cols[0]))]
    for op, table, fn in (("or", 0x80, lambda a, b, c: a & b & c), ("and", 0x18, lambda a, b, c: (a ^ b) & (a ^ c))):
        for sink in (False, True):
            value = [fn(*r) for r in zip(*few)]
            # `q` as it is, and, where the value is not asked for, negated.
            q = [x != sink for x in odd]
            p = [int(bool(v) or z) if op == "or" else int(bool(v) and z) for v, z in zip(value, q)]
            outs = [("u32", p)] + ([] if sink else [("b32", value)])
            code = (f"lop3.{op}.b32 {'_' if sink else '%d1'}|%p, %a0, %a1, %a2, 0x{table:02x}, {'!' if sink else ''}%q;")
            yield elementwise("bits", f"lop3.{op}.b32{'.sink' if sink else ''}", f"lop3.{op}.b32", "9.7.8.6",
                              [*(("b32", c) for c in few), ("u32", odd)], outs,
                              ["setp.ne.u32 %q, %a3, 0;", code, "selp.u32 %d0, 1, 0, %p;"],
                              extra=[".pred %p", ".pred %q"], version="8.2")  # fmt: skip


def shift_columns(t, name):
    """Values against every interesting amount: 0, 1, width − 1, width, beyond, huge."""
    w = WIDTH[t]
    amounts = [0, 1, 2, w // 2, w - 1, w, w + 1, 31, 32, 33, 63, 64, 255, 256, 0x80000000, M32]
    s = Stream(name)
    rows = [(v, n) for n in amounts for v in edges(t)[2:5]]
    rows += [(noise(t, s), s.below(w + 4)) for _ in range(96 - len(rows))]
    return [list(c) for c in zip(*rows)]


def shifts():
    for t in ("b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64"):
        w = WIDTH[t]
        cols = shift_columns(t, t)
        if t[0] == "b":
            yield test(f"shl.{t}", [t, "u32"], t, cols, lambda a, n: a << min(n, w), "9.7.8.8")
        if t[0] == "s":
            yield test(f"shr.{t}", [t, "u32"], t, cols,
                       lambda a, n: signed(a, w) >> min(n, w), "9.7.8.9")  # fmt: skip
        else:
            yield test(f"shr.{t}", [t, "u32"], t, cols, lambda a, n: a >> min(n, w), "9.7.8.9")
    values = tuples(["b32", "b32"], "shf")
    cols = values + [shift_columns("b32", "shf amounts")[1]]
    for mode in ("clamp", "wrap"):

        def amount(c):
            return min(c, 32) if mode == "clamp" else c & 31

        for d in "lr":

            def funnel(a, b, c):
                both = b << 32 | a
                return (both << amount(c)) >> 32 if d == "l" else both >> amount(c)

            yield test(f"shf.{d}.{mode}.b32", ["b32", "b32", "u32"], "b32", cols, funnel, "9.7.8.7")


def permute():
    a, b = tuples(["b32", "b32"], "prmt")
    s = Stream("prmt selectors")
    c = [0x3210, 0x7654, 0x0123, 0xFEDC, 0x8888, 0xFFFF, 0x5410, 0x7632, 0, M32, 0x12345678]
    c += [s.next() & 0xFFFF for _ in range(96 - len(c))]

    def byte(a, b, sel):
        x = ((b << 32 | a) >> (8 * (sel & 7))) & 0xFF
        return (0xFF if x & 0x80 else 0) if sel & 8 else x

    def pack(a, b, sels):
        return sum(byte(a, b, x) << 8 * k for k, x in enumerate(sels))

    yield test("prmt.b32", ["b32"] * 3, "b32", [a, b, c],
               lambda a, b, c: pack(a, b, [c >> 4 * k & 15 for k in range(4)]), "9.7.9.7")  # fmt: skip
    # The table of the special modes, by the two low bits of the control.
    modes = {
        "f4e": [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5], [3, 4, 5, 6]],
        "b4e": [[0, 7, 6, 5], [1, 0, 7, 6], [2, 1, 0, 7], [3, 2, 1, 0]],
        "rc8": [[k] * 4 for k in range(4)],
        "ecl": [[0, 1, 2, 3], [1, 1, 2, 3], [2, 2, 2, 3], [3, 3, 3, 3]],
        "ecr": [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]],
        "rc16": [[0, 1, 0, 1], [2, 3, 2, 3], [0, 1, 0, 1], [2, 3, 2, 3]],
    }
    for mode, table in modes.items():
        yield test(f"prmt.b32.{mode}", ["b32"] * 3, "b32", [a, b, c],
                   lambda a, b, c: pack(a, b, table[c & 3]), "9.7.9.7")  # fmt: skip


def field_columns(t, name):
    w = WIDTH[t]
    s = Stream(name)
    spots = [0, 1, w // 2, w - 1, w, w + 1, 255, 256, 300]
    rows = [(p, n) for p in spots[:7] for n in spots[:7]]
    rows += [(s.choice(spots), s.choice(spots)) for _ in range(10)]
    rows += [(s.below(w), s.below(w + 1)) for _ in range(96 - len(rows))]
    return [list(c) for c in zip(*rows)]


def fields():
    for t in ("u32", "s32", "u64", "s64"):
        w = WIDTH[t]
        pos, length = field_columns(t, f"bfe.{t}")
        s = Stream(f"bfe values {t}")
        a = [s.choice(edges(t)) if k % 3 == 0 else noise(t, s) for k in range(96)]

        def extract(a, pos, length):
            # The manual restricts both to 255; beyond, an H100 has another answer for 64 bits.
            if w == 64 and max(pos, length) > 255:
                return "*"
            pos, length = pos & 255, length & 255
            sign = 0
            if t[0] == "s" and length:
                sign = a >> min(pos + length - 1, w - 1) & 1
            return sum(
                (a >> pos + i & 1 if i < length and pos + i < w else sign) << i for i in range(w)
            )

        yield test(f"bfe.{t}", [t, "u32", "u32"], t, [a, pos, length], extract, "9.7.1.19")
    for t in ("b32", "b64"):
        w = WIDTH[t]
        pos, length = field_columns(t, f"bfi.{t}")
        a, b = (tuples([t, t], f"bfi {t}"))

        def insert(a, b, pos, length):
            if w == 64 and max(pos, length) > 255:
                return "*"
            for i in range(length & 255):
                at = (pos & 255) + i
                if at < w:
                    b = b & ~(1 << at) | (a >> i & 1) << at
            return b

        yield test(f"bfi.{t}", [t, t, "u32", "u32"], t, [a, b, pos, length], insert, "9.7.1.20")
        one = [unary(t, f"count {t}") + [1 << k for k in range(0, w, 3)]]
        yield test(f"popc.{t}", [t], "u32", one, lambda x: bin(x).count("1"), "9.7.1.14")
        yield test(f"clz.{t}", [t], "u32", one, lambda x: w - x.bit_length(), "9.7.1.15")
        yield test(f"brev.{t}", [t], t, one, lambda x: int(f"{x:0{w}b}"[::-1], 2), "9.7.1.18")
        for st in ("u", "s"):
            for shiftamt in ("", ".shiftamt"):

                def find(x):
                    if st == "s" and x >> w - 1:
                        x = ~x & ((1 << w) - 1)
                    if x == 0:
                        return M32
                    return w - x.bit_length() if shiftamt else x.bit_length() - 1

                tt = f"{st}{w}"
                yield test(f"bfind{shiftamt}.{tt}", [tt], "u32", one, find, "9.7.1.16")
    pos, length = field_columns("u32", "bmsk")
    value = [unary("u32", "szext")[k % 64] for k in range(96)]
    for mode in ("clamp", "wrap"):

        def mask(a, b):
            if mode == "clamp" and (a >= 32 or b == 0):
                return 0
            a1, b1 = a & 31, b & 31
            if mode == "clamp" and b >= 32:
                return M32 << a1  # runs past the top
            return ((1 << b1) - 1) << a1

        yield test(f"bmsk.{mode}.b32", ["u32", "u32"], "b32", [pos, length], mask, "9.7.1.22")
        for t in ("u32", "s32"):

            def extend(a, b):
                if b >= 32 and mode == "clamp":
                    return a
                n = b & 31
                if n == 0:
                    return 0
                return signed(a, n) if t == "s32" else a & ((1 << n) - 1)

            yield test(f"szext.{mode}.{t}", [t, "u32"], t, [value, length], extend, "9.7.1.21")


def nth_set_bit():
    s = Stream("fns")
    rows = [(0xAAAAAAAA, 3, 1), (0xAAAAAAAA, 3, -1), (0xAAAAAAAA, 2, 1), (0xAAAAAAAA, 2, -1)]
    rows += [(m, b, o) for m in (0, M32, 0x80000001) for b in (0, 15, 31) for o in (0, 1, -1, 2, -2, 32, -32)]
    while len(rows) < 96:
        rows.append((s.next() & M32, s.below(32), s.below(20) - 10))

    def find(mask, base, offset):
        offset = signed(offset, 32)
        if offset == 0:
            return base if mask >> base & 1 else M32
        places = range(base, 32) if offset > 0 else range(base, -1, -1)
        set_bits = [p for p in places if mask >> p & 1]
        n = abs(offset)
        return set_bits[n - 1] if n <= len(set_bits) else M32

    cols = [list(c) for c in zip(*[(m, b, o & M32) for m, b, o in rows])]
    yield test("fns.b32", ["b32", "b32", "s32"], "b32", cols, find, "9.7.1.17")


def tests():
    for group in (logic, shifts, permute, fields, nth_set_bit):
        yield from group()
