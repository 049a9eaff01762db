"""setp, set, selp, slct and testp: PTX ISA 9.7.6, 9.7.7 and 9.7.3.1."""

import operator

from floats import BF16, F16, F32, FORMATS, flush, is_inf, is_nan, is_subnormal, value
from ptxtest import WIDTH, elementwise
from values import ints, tuples, unary

INTEGER = {"eq": operator.eq, "ne": operator.ne, "lt": operator.lt, "le": operator.le,
           "gt": operator.gt, "ge": operator.ge}  # fmt: skip
UNSIGNED = {"lo": operator.lt, "ls": operator.le, "hi": operator.gt, "hs": operator.ge}
UNORDERED = {"equ": "eq", "neu": "ne", "ltu": "lt", "leu": "le", "gtu": "gt", "geu": "ge"}
# The half formats were given set/setp by later targets than f32.
TARGET = {"bf16": "sm_90", "bf16x2": "sm_90"}


def key(f, bits):
    """An ordering key: infinities beyond every finite value."""
    if is_inf(f, bits):
        return (-1 if bits & f.sign_bit else 1, 0)
    return (0, value(f, bits))


def float_compare(f, op, a, b):
    nan = is_nan(f, a) or is_nan(f, b)
    if op == "num":
        return not nan
    if op == "nan":
        return nan
    if nan:
        return op in UNORDERED
    return INTEGER[UNORDERED.get(op, op)](key(f, a), key(f, b))


def comparisons(t):
    """Every comparison the type has: name and function on bit patterns."""
    if t in FORMATS:
        f = FORMATS[t]
        for op in [*INTEGER, *UNORDERED, "num", "nan"]:
            yield op, lambda a, b, op=op: float_compare(f, op, a, b)
        return
    ops = dict(INTEGER) if t[0] != "b" else {"eq": operator.eq, "ne": operator.ne}
    if t[0] == "u":
        ops |= UNSIGNED
    for op, fn in ops.items():
        yield op, lambda a, b, fn=fn: fn(*(ints(t, [x])[0] for x in (a, b)))


def setp(t, op, fn, ftz=""):
    cols = tuples([t, t], f"setp.{t}")
    f = FORMATS.get(t)
    rows = [tuple(flush(f, x) for x in r) if ftz else r for r in zip(*cols)]
    expect = [int(fn(*r)) for r in rows]
    name = f"setp.{op}{ftz}.{t}"
    inverse = [1 - e for e in expect]
    more = dict(extra=[".pred %p", ".pred %q"], target=TARGET.get(t, "sm_80"))
    if t in ("f16", "bf16"):  # one destination only; the inverse through a guard
        outs = [("u32", expect), ("u32", inverse)]
        code = [f"{name} %p, %a0, %a1;", "mov.u32 %d0, 0;", "@%p mov.u32 %d0, 1;",
                "mov.u32 %d1, 0;", "@!%p mov.u32 %d1, 1;"]  # fmt: skip
        return elementwise("compare", name, name, "9.7.7.2", [(t, c) for c in cols], outs, code, **more)
    return elementwise("compare", name, name, "9.7.6.2", [(t, c) for c in cols],
                       [("u32", expect), ("u32", inverse)],
                       [f"{name} %p|%q, %a0, %a1;", "selp.u32 %d0, 1, 0, %p;",
                        "selp.u32 %d1, 1, 0, %q;"], **more)  # fmt: skip


def combined():
    """`setp.op.bool p|q, a, b, c`: p = (a op b) bool c, q = !(a op b) bool c."""
    for t, op in (("s32", "lt"), ("f32", "ltu"), ("u64", "hs"), ("f64", "neu")):
        fn = dict(comparisons(t))[op]
        a, b = tuples([t, t], f"setp bool {t}")
        c = [k & 1 for k in range(len(a))]
        for name, fold in (("and", operator.and_), ("or", operator.or_), ("xor", operator.xor)):
            for negate in ("", "!"):
                third = [1 - x if negate else x for x in c]
                yes = [bool(fn(x, y)) for x, y in zip(a, b)]
                p = [int(fold(y, bool(z))) for y, z in zip(yes, third)]
                q = [int(fold(not y, bool(z))) for y, z in zip(yes, third)]
                test = f"setp.{op}.{name}{'.not' if negate else ''}.{t}"
                yield elementwise(
                    "compare", test, f"setp.{op}.{name}.{t}", "9.7.6.2",
                    [(t, a), (t, b), ("u32", c)], [("u32", p), ("u32", q)],
                    ["setp.ne.u32 %c, %a2, 0;", f"setp.{op}.{name}.{t} %p|%q, %a0, %a1, {negate}%c;",
                     "selp.u32 %d0, 1, 0, %p;", "selp.u32 %d1, 1, 0, %q;"],
                    extra=[".pred %p", ".pred %q", ".pred %c"])  # fmt: skip


def sets():
    """`set` writes all ones or 1.0f."""
    cases = [("eq", "b16"), ("ne", "b32"), ("lt", "s16"), ("le", "s32"), ("gt", "s64"), ("ge", "u16"),
             ("lo", "u32"), ("hs", "u64"), ("lt", "f32"), ("geu", "f32"), ("nan", "f32"), ("num", "f64"),
             ("neu", "f64"), ("eq", "f64")]  # fmt: skip
    for dst, true in (("u32", 0xFFFFFFFF), ("s32", 0xFFFFFFFF), ("f32", 0x3F800000)):
        for op, t in cases:
            fn = dict(comparisons(t))[op]
            cols = tuples([t, t], f"set.{t}")
            expect = [true if fn(*r) else 0 for r in zip(*cols)]
            name = f"set.{op}.{dst}.{t}"
            yield elementwise("compare", name, name, "9.7.6.1", [(t, c) for c in cols],
                              [(dst, expect)], f"{name} %d0, %a0, %a1;")  # fmt: skip
    # With a boolean third operand and flushed subnormals.
    f = FORMATS["f32"]
    a, b = tuples(["f32", "f32"], "set.ftz")
    c = [k >> 1 & 1 for k in range(len(a))]
    lt = dict(comparisons("f32"))["lt"]
    expect = [0xFFFFFFFF if lt(flush(f, x), flush(f, y)) and z else 0 for x, y, z in zip(a, b, c)]
    yield elementwise("compare", "set.lt.and.ftz.u32.f32", "set.lt.and.ftz.u32.f32", "9.7.6.1",
                      [("f32", a), ("f32", b), ("u32", c)], [("u32", expect)],
                      ["setp.ne.u32 %c, %a2, 0;", "set.lt.and.ftz.u32.f32 %d0, %a0, %a1, %c;"],
                      extra=[".pred %c"])  # fmt: skip


RELATIONS = [*INTEGER, *UNORDERED, "num", "nan"]
FOLD = {"and": operator.and_, "or": operator.or_, "xor": operator.xor}
# The instruction's types by the comparisons that they have.
GROUPS = ((["b16", "b32", "b64"], ["eq", "ne"]), (["s16", "s32", "s64"], [*INTEGER]),
          (["u16", "u32", "u64"], [*INTEGER, *UNSIGNED]), (["f16"], RELATIONS), (["f32"], RELATIONS),
          (["bf16"], RELATIONS), (["f64"], RELATIONS), (["f16x2"], RELATIONS), (["bf16x2"], RELATIONS))  # fmt: skip
TRUE = {"u16": 0xFFFF, "s16": 0xFFFF, "u32": 0xFFFFFFFF, "s32": 0xFFFFFFFF,
        "f16": F16.one, "bf16": BF16.one, "f32": F32.one}  # fmt: skip


def turn(items, k):
    return items[k % len(items)]


def boolean_operand(column, k):
    """A predicate of a column of 0 and 1, plain or negated by turns: code, text, values."""
    negate = k % 2 == 1
    return ["setp.ne.u32 %c, %a2, 0;"], "!%c" if negate else "%c", [bool(x) != negate for x in column]


def compared(t, op, ftz, a, b):
    """The outcome of each row, of a pair one for each half."""
    if t.endswith("x2"):
        halves = [[x >> shift & 0xFFFF for x in c] for c in (a, b) for shift in (0, 16)]
        return list(zip(*(compared(t[:-2], op, ftz, halves[k], halves[k + 2])[0] for k in (0, 1)))), 2
    fn = dict(comparisons(t))[op]
    f = FORMATS.get(t)
    rows = [tuple(flush(f, x) for x in r) if ftz else r for r in zip(a, b)]
    return [bool(fn(*r)) for r in rows], 1


def operands(t, seed):
    if not t.endswith("x2"):
        return tuples([t, t], seed)
    low = tuples([t[:-2]] * 2, seed)
    return [[x | y << 16 for x, y in zip(c, reversed(c))] for c in low]


def every_combination():
    """Each comparison with one of the boolean operations, each type with each of these; `.ftz`
    of the types that have it by turns."""
    for types, ops in GROUPS:
        for k in range(max(len(ops), 3 * len(types))):
            op, t, name = turn(ops, k), turn(types, k), turn([*FOLD], k + k // 3)
            ftz = turn(["", ".ftz"], k // 2) if types[0] in ("f16", "f32", "f16x2") else ""
            a, b = operands(t, f"setp bool {t} {op}")
            c = [n & 1 for n in range(len(a))]
            read, text, third = boolean_operand(c, k)
            yes, wide = compared(t, op, ftz, a, b)
            fold = FOLD[name]
            if wide == 2:
                p, q = ([int(fold(y[h], z)) for y, z in zip(yes, third)] for h in (0, 1))
            else:
                p, q = ([int(fold(y != other, z)) for y, z in zip(yes, third)] for other in (False, True))
            two = t not in ("f16", "bf16")
            test = f"setp.{op}.{name}{ftz}.{t}"
            source = "b32" if wide == 2 else t
            yield elementwise(
                "compare", f"{test}.combined", test, "9.7.7.2" if "f16" in t else "9.7.6.2",
                [(source, a), (source, b), ("u32", c)], [("u32", x) for x in ((p, q) if two else (p,))],
                read + [f"{test} {'%p|%q' if two else '%p'}, %a0, %a1, {text};", "selp.u32 %d0, 1, 0, %p;"]
                + (["selp.u32 %d1, 1, 0, %q;"] if two else []),
                extra=[".pred %p", ".pred %q", ".pred %c"], target=TARGET.get(t, "sm_80"))  # fmt: skip


# Types of the result, by the type that is compared. Only these halves and singles have `.ftz`.
RESULTS = {"f16": ["u16", "s16", "u32", "s32", "f16"], "f32": ["u32", "s32", "f16", "f32"],
           "bf16": ["u16", "s16", "u32", "s32", "bf16"], "f64": ["u32", "s32", "f16", "bf16", "f32"],
           "f16x2": ["f16x2", "u32", "s32"], "bf16x2": ["bf16x2", "u32", "s32"]}  # fmt: skip


def every_set():
    """Each comparison, each type of a result, with and without a boolean operand, by turns."""
    for types, ops in [*GROUPS, (["f16", "f32"], RELATIONS)]:
        to_bf16 = types == ["f16", "f32"]
        for k in range(max(len(ops), 5)):
            op, t = turn(ops, k), turn(types, k + k // 6)
            to = "bf16" if to_bf16 else turn(RESULTS.get(t, ["u32", "s32", "f16", "bf16", "f32"]), k)
            name = turn(["and", "or", "", "xor"], k)
            ftz = turn(["", ".ftz"], k // 2) if types[0] in ("f16", "f32", "f16x2") and not to_bf16 else ""
            a, b = operands(t, f"set {to} {t} {op}")
            c = [n & 1 for n in range(len(a))]
            read, text, third = boolean_operand(c, k)
            yes, wide = compared(t, op, ftz, a, b)
            if wide == 1:
                yes = [(y,) for y in yes]
            if name:
                yes = [tuple(FOLD[name](x, z) for x in y) for y, z in zip(yes, third)]
            if wide == 2:
                one = TRUE.get(to[:-2], 0xFFFF)
                expect = [one * x | one * y << 16 for x, y in yes]
            else:
                expect = [TRUE[to] * y[0] for y in yes]
            source, result = ("b32" if x.endswith("x2") else x for x in (t, to))
            test = f"set.{op}{'.' + name if name else ''}{ftz}.{to}.{t}"
            code = f"{test} %d0, %a0, %a1{', ' + text if name else ''};"
            bf16 = "bf16" in t or "bf16" in to
            half = "f16" in t or "f16" in to
            yield elementwise(
                "compare", f"{test}.turn", test, "9.7.7.1" if half else "9.7.6.1",
                [(source, a), (source, b), ("u32", c)], [(result, expect)], read + [code],
                extra=[".pred %c"], target="sm_90" if bf16 else "sm_80")  # fmt: skip


def half_sets():
    """Half-precision `set`: 1.0 in the destination's format or all ones."""
    for t in ("f16", "bf16"):
        f = FORMATS[t]
        cols = tuples([t, t], f"set.{t}")
        for op in ("lt", "equ", "nan"):
            fn = dict(comparisons(t))[op]
            for dst, true in ((t, f.one), ("u16", 0xFFFF), ("s32", 0xFFFFFFFF)):
                expect = [true if fn(*r) else 0 for r in zip(*cols)]
                name = f"set.{op}.{dst}.{t}"
                yield elementwise("compare", name, name, "9.7.7.1", [(t, c) for c in cols],
                                  [(dst, expect)], f"{name} %d0, %a0, %a1;",
                                  target=TARGET.get(t, "sm_80"))  # fmt: skip
        pairs = [a | b << 16 for a, b in zip(cols[0], reversed(cols[0]))]
        others = [a | b << 16 for a, b in zip(cols[1], reversed(cols[1]))]
        for op in ("lt", "neu"):
            fn = dict(comparisons(t))[op]
            lo = [fn(a & 0xFFFF, b & 0xFFFF) for a, b in zip(pairs, others)]
            hi = [fn(a >> 16, b >> 16) for a, b in zip(pairs, others)]
            expect = [(f.one if x else 0) | (f.one if y else 0) << 16 for x, y in zip(lo, hi)]
            name = f"set.{op}.{t}x2.{t}x2"
            ins = [("b32", pairs), ("b32", others)]
            target = TARGET.get(t, "sm_80")
            yield elementwise("compare", name, name, "9.7.7.1", ins, [("b32", expect)],
                              f"{name} %d0, %a0, %a1;", target=target)  # fmt: skip
            for dst in ("u32", "s32"):
                masks = [(0xFFFF if x else 0) | (0xFFFF if y else 0) << 16 for x, y in zip(lo, hi)]
                name = f"set.{op}.{dst}.{t}x2"
                yield elementwise("compare", name, name, "9.7.7.1", ins, [(dst, masks)],
                                  f"{name} %d0, %a0, %a1;", target=target)  # fmt: skip
            name = f"setp.{op}.{t}x2"
            yield elementwise("compare", name, name, "9.7.7.2", ins,
                              [("u32", [int(x) for x in lo]), ("u32", [int(x) for x in hi])],
                              [f"{name} %p|%q, %a0, %a1;", "selp.u32 %d0, 1, 0, %p;",
                               "selp.u32 %d1, 1, 0, %q;"],
                              extra=[".pred %p", ".pred %q"], target=target)  # fmt: skip


def select():
    for t in ("b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64"):
        a, b = tuples([t, t], f"selp.{t}")
        c = [k % 3 == 0 for k in range(len(a))]
        yield elementwise("compare", f"selp.{t}", f"selp.{t}", "9.7.6.3",
                          [(t, a), (t, b), ("u32", [int(x) for x in c])],
                          [(t, [x if z else y for x, y, z in zip(a, b, c)])],
                          ["setp.ne.u32 %p, %a2, 0;", f"selp.{t} %d0, %a0, %a1, %p;"],
                          extra=[".pred %p"])  # fmt: skip
        cs = unary("s32", "slct")
        cs = (cs + cs)[: len(a)]
        yield elementwise("compare", f"slct.{t}.s32", f"slct.{t}.s32", "9.7.6.4",
                          [(t, a), (t, b), ("s32", cs)],
                          [(t, [x if z < 0x80000000 else y for x, y, z in zip(a, b, cs)])],
                          f"slct.{t}.s32 %d0, %a0, %a1, %a2;")  # fmt: skip
        f = FORMATS["f32"]
        fs = unary("f32", "slct.f32", len(a))
        for ftz in ("", ".ftz"):

            def first(z):
                if is_nan(f, z):
                    return False  # the comparison is unordered: b is chosen
                # −0 is not negative; a flushed subnormal is a zero.
                return key(f, flush(f, z) if ftz else z) >= (0, 0)

            yield elementwise("compare", f"slct{ftz}.{t}.f32", f"slct{ftz}.{t}.f32", "9.7.6.4",
                              [(t, a), (t, b), ("f32", fs)],
                              [(t, [x if first(z) else y for x, y, z in zip(a, b, fs)])],
                              f"slct{ftz}.{t}.f32 %d0, %a0, %a1, %a2;")  # fmt: skip


def properties():
    for t in ("f32", "f64"):
        f = FORMATS[t]
        top = f.inf_bits

        def normal(x):
            m = x & (f.sign_bit - 1)
            return m == 0 or f.min_normal <= m < top  # zero counts as normal

        ops = {
            "finite": lambda x: not is_nan(f, x) and not is_inf(f, x),
            "infinite": lambda x: is_inf(f, x),
            "number": lambda x: not is_nan(f, x),
            "notanumber": lambda x: is_nan(f, x),
            "normal": normal,
            "subnormal": lambda x: is_subnormal(f, x),
        }
        values = unary(t, f"testp.{t}")
        for op, fn in ops.items():
            yield elementwise("compare", f"testp.{op}.{t}", f"testp.{op}.{t}", "9.7.3.1",
                              [(t, values)], [("u32", [int(fn(x)) for x in values])],
                              [f"testp.{op}.{t} %p, %a0;", "selp.u32 %d0, 1, 0, %p;"],
                              extra=[".pred %p"])  # fmt: skip


def tests():
    for t in ("b16", "b32", "b64", "s16", "s32", "s64", "u16", "u32", "u64", "f32", "f64", "f16", "bf16"):
        assert t in WIDTH
        for op, fn in comparisons(t):
            yield setp(t, op, fn)
            if t in ("f32", "f16"):
                yield setp(t, op, fn, ".ftz")
    for group in (combined, every_combination, sets, every_set, half_sets, select, properties):
        yield from group()
