"""atom and red in global and shared memory: PTX ISA 9.7.13.5 and 9.7.13.7.

64 threads hit 4 words. Results are made independent of the order: sums of small
integers are exact in every format, other operations commute; where the returned old
value depends on the order only its set is checked, through a second pass.
"""

from fractions import Fraction

from floats import BF16, F16, F32, F64, encode, value
from ptxtest import WIDTH, changed, given, kernel, wanted
from values import Stream, signed

THREADS, WORDS = 64, 4
FLOATS = {"f32": F32, "f64": F64, "f16": F16, "bf16": BF16}


def body(op, t, space, atom, compare=False):
    """Each thread applies its operand to word tid % 4, in global memory or a shared copy."""
    size = WIDTH[t] // 8
    ld = {"f16": "b16", "bf16": "b16"}.get(t, t)
    code = [f"ld.global.{ld} %v, [%in0];", "and.b32 %w, %i, 3;"]
    if compare:
        code.append(f"ld.global.{ld} %c, [%in1];")
    if space == "shared":
        code += ["mov.u32 %s, tile;", f"mad.lo.u32 %s, %w, {size}, %s;",
                 f"mad.wide.u32 %g, %w, {size}, %io;", "setp.lt.u32 %p, %i, 4;",
                 f"@%p ld.global.{ld} %d, [%g];", f"@%p st.shared.{ld} [%s], %d;", "bar.sync 0;"]  # fmt: skip
        where = "[%s]"
    else:
        code += [f"mad.wide.u32 %g, %w, {size}, %io;"]
        where = "[%g]"
    operands = "%c, %v" if compare else "%v"
    code.append(f"atom.{space}.{op}.{t} %d, {where}, {operands};" if atom
                else f"red.{space}.{op}.{t} {where}, {operands};")  # fmt: skip
    if space == "shared":
        code += ["bar.sync 0;", f"@%p ld.shared.{ld} %d, [%s];", f"@%p st.global.{ld} [%g], %d;"]
    return code


def registers(t, compare=False):
    r = {"f16": "b16", "bf16": "b16"}.get(t, t)
    return [f".{r} %v", f".{r} %d", ".u32 %w", ".u32 %s", ".u64 %g", ".pred %p"] + (
        [f".{r} %c"] if compare else []
    )


def fold(op, t, start, operands):
    """Sequential application; every order gives the same for the operands chosen."""
    w = WIDTH[t]
    mask = (1 << w) - 1
    if t in FLOATS:
        f = FLOATS[t]
        return encode(f, value(f, start) + sum(value(f, x) for x in operands))
    x = start
    for b in operands:
        s = (lambda v: signed(v, w)) if t[0] == "s" else (lambda v: v)
        if op == "add":
            x = x + b & mask
        elif op == "and":
            x &= b
        elif op == "or":
            x |= b
        elif op == "xor":
            x ^= b
        elif op in ("min", "max"):
            x = (min if op == "min" else max)(x, b, key=s)
        elif op == "inc":
            x = 0 if x >= b else x + 1
        elif op == "dec":
            x = b if x == 0 or x > b else x - 1
    return x


def operands(op, t, s):
    w = WIDTH[t]
    if t in FLOATS:
        f = FLOATS[t]
        # Small integers: every partial sum is exact (|sum| ≤ 64 · 3 + 8 < 2^8).
        def number(n):
            return encode(f, Fraction(n))

        return [number(s.below(7) - 3) for _ in range(THREADS)], [number(s.below(17) - 8) for _ in range(WORDS)]
    if op in ("inc", "dec"):
        # One limit for all, so that only the count matters.
        return [9] * THREADS, [0, 5, 9, 3]
    values = [s.next() >> (64 - w) for _ in range(THREADS)]
    return values, [s.next() >> (64 - w) for _ in range(WORDS)]


CASES = (
    [("add", t) for t in ("u32", "s32", "u64", "f32", "f64", "f16", "bf16")]
    + [("min", t) for t in ("u32", "s32", "u64", "s64")]
    + [("max", t) for t in ("u32", "s32", "u64", "s64")]
    + [(op, t) for op in ("and", "or", "xor") for t in ("b32", "b64")]
    + [("inc", "u32"), ("dec", "u32")]
)


def plain():
    for op, t in CASES:
        for space in ("global", "shared"):
            for kind in ("atom", "red"):
                ptx_op = "add.noftz" if t in ("f16", "bf16") else op
                name = f"{kind}.{space}.{op}.{t}"
                values, before = operands(op, t, Stream(f"{op} {t}"))
                after = [fold(op, t, before[k], values[k::WORDS]) for k in range(WORDS)]
                yield kernel("atomics", name, f"{kind}.{space}.{ptx_op}.{t}", "9.7.13.5",
                             [given("in0", t, values), changed("io", t, before, after)],
                             body(ptx_op, t, space, kind == "atom"), registers(t),
                             per_thread={"io": 0}, block=(THREADS, 1, 1),
                             globals_=[".shared .align 8 .b8 tile[32];"] if space == "shared" else [],
                             target="sm_90" if t == "bf16" else "sm_80")  # fmt: skip


def packed():
    for t, f in (("f16x2", F16), ("bf16x2", BF16)):
        s = Stream(t)

        def pair(n):
            return encode(f, Fraction(s.below(n) - n // 2)) | encode(f, Fraction(s.below(n) - n // 2)) << 16

        values, before = [pair(7) for _ in range(THREADS)], [pair(17) for _ in range(WORDS)]

        def total(k):
            halves = []
            for shift in (0, 16):
                xs = [before[k], *values[k::WORDS]]
                halves.append(encode(f, sum(value(f, x >> shift & 0xFFFF) for x in xs)))
            return halves[0] | halves[1] << 16

        for space in ("global", "shared"):
            for kind in ("atom", "red"):
                code = body("add.noftz", "b32", space, kind == "atom")
                code = [c.replace("add.noftz.b32", f"add.noftz.{t}") for c in code]
                yield kernel("atomics", f"{kind}.{space}.add.{t}", f"{kind}.{space}.add.noftz.{t}", "9.7.13.5",
                             [given("in0", "b32", values), changed("io", "b32", before, [total(k) for k in range(WORDS)])],
                             code, registers("b32"), per_thread={"io": 0}, block=(THREADS, 1, 1),
                             globals_=[".shared .align 8 .b8 tile[32];"] if space == "shared" else [],
                             target="sm_90" if t == "bf16x2" else "sm_80")  # fmt: skip


def returned():
    """The old value: one thread per word, so that it is known."""
    for op, t in CASES:
        ptx_op = "add.noftz" if t in ("f16", "bf16") else op
        values, _ = operands(op, t, Stream(f"old {op} {t}"))
        before, _ = operands(op, t, Stream(f"old word {op} {t}"))
        if op in ("inc", "dec"):
            before = [k % 12 for k in range(THREADS)]
        after = [fold(op, t, b, [v]) for b, v in zip(before, values)]
        ld = {"f16": "b16", "bf16": "b16"}.get(t, t)
        yield kernel("atomics", f"atom.global.{op}.{t}.returns", f"atom.global.{ptx_op}.{t}", "9.7.13.5",
                     [given("in0", t, values), changed("io", t, before, after), wanted("out0", t, before)],
                     [f"ld.global.{ld} %v, [%in0];", f"atom.global.{ptx_op}.{t} %d, [%io], %v;",
                      f"st.global.{ld} [%out0], %d;"], registers(t), block=(THREADS, 1, 1),
                     target="sm_90" if t == "bf16" else "sm_80")  # fmt: skip


def exchange():
    for t in ("b32", "b64"):
        values = [Stream(f"exch {t} {k}").next() >> (64 - WIDTH[t]) for k in range(THREADS)]
        before = list(reversed(values))
        yield kernel("atomics", f"atom.global.exch.{t}", f"atom.global.exch.{t}", "9.7.13.5",
                     [given("in0", t, values), changed("io", t, before, values), wanted("out0", t, before)],
                     [f"ld.global.{t} %v, [%in0];", f"atom.global.exch.{t} %d, [%io], %v;",
                      f"st.global.{t} [%out0], %d;"], registers(t), block=(THREADS, 1, 1))  # fmt: skip
    for t in ("b16", "b32", "b64"):
        before = [Stream(f"cas {t} {k}").next() >> (64 - WIDTH[t]) for k in range(THREADS)]
        compare = [x ^ (k & 1) for k, x in enumerate(before)]  # every other one matches
        values = [~x & ((1 << WIDTH[t]) - 1) for x in before]
        after = [v if b == c else b for b, c, v in zip(before, compare, values)]
        yield kernel("atomics", f"atom.global.cas.{t}", f"atom.global.cas.{t}", "9.7.13.5",
                     [given("in0", t, values), given("in1", t, compare), changed("io", t, before, after),
                      wanted("out0", t, before)],
                     [f"ld.global.{t} %v, [%in0];", f"ld.global.{t} %c, [%in1];",
                      f"atom.global.cas.{t} %d, [%io], %c, %v;", f"st.global.{t} [%out0], %d;"],
                     registers(t, True), block=(THREADS, 1, 1))  # fmt: skip
    # A counter by a cas loop: every thread adds its number once, whatever the order.
    total = sum(range(THREADS))
    yield kernel("atomics", "atom.global.cas.loop", "atom.global.cas.b32", "9.7.13.5",
                 [changed("io", "u32", [1000], [1000 + total])],
                 ["ld.relaxed.gpu.global.u32 %c, [%io];", "again:", "add.u32 %v, %c, %i;",
                  "atom.global.cas.b32 %d, [%io], %c, %v;", "setp.ne.u32 %p, %d, %c;",
                  "mov.u32 %c, %d;", "@%p bra again;"],
                 registers("u32", True), per_thread={"io": 0}, block=(THREADS, 1, 1))  # fmt: skip
    # Unique tickets: the old values of an add are a permutation; each thread marks its own.
    yield kernel("atomics", "atom.shared.ticket", "atom.shared.add.u32", "9.7.13.5",
                 [wanted("out0", "u32", [1] * THREADS)],
                 ["setp.eq.u32 %p, %i, 0;", "@%p st.shared.u32 [tile], 0;", "bar.sync 0;",
                  "mov.u32 %s, tile;", "atom.shared.add.u32 %d, [%s], 1;",
                  "mad.wide.u32 %g, %d, 4, %out0;", "mov.u32 %v, 1;", "st.global.u32 [%g], %v;"],
                 registers("u32"), per_thread={"out0": 0}, block=(THREADS, 1, 1),
                 globals_=[".shared .align 4 .u32 tile[1];"])  # fmt: skip


def qualifiers():
    """Semantics and scopes change ordering, not the sum; generic addresses work too."""
    values = list(range(THREADS))
    for q in ("relaxed.cta", "relaxed.gpu", "acquire.gpu", "release.sys", "acq_rel.gpu", "acq_rel.cta"):
        yield kernel("atomics", f"atom.{q}.global.add.u32", f"atom.{q}.global.add.u32", "9.7.13.5",
                     [given("in0", "u32", values), changed("io", "u32", [5], [5 + sum(values)])],
                     ["ld.global.u32 %v, [%in0];", f"atom.{q}.global.add.u32 %d, [%io], %v;"],
                     registers("u32"), per_thread={"io": 0}, block=(THREADS, 1, 1))  # fmt: skip
        if not q.startswith("acq"):
            yield kernel("atomics", f"red.{q}.global.add.u32", f"red.{q}.global.add.u32", "9.7.13.7",
                         [given("in0", "u32", values), changed("io", "u32", [5], [5 + sum(values)])],
                         ["ld.global.u32 %v, [%in0];", f"red.{q}.global.add.u32 [%io], %v;"],
                         registers("u32"), per_thread={"io": 0}, block=(THREADS, 1, 1))  # fmt: skip
    # The order of modifiers as nvcc, Triton and libcu++ write it.
    for op in ("atom.global.cta.add.u32", "atom.global.gpu.acq_rel.add.u32", "atom.global.acquire.gpu.add.u32",
               "atom.global.add.relaxed.gpu.u32", "red.global.cta.relaxed.add.u32", "red.global.add.release.sys.u32"):
        result = "%d, " if op.startswith("atom") else ""
        yield kernel("atomics", op, op, "9.7.13.5",
                     [given("in0", "u32", values), changed("io", "u32", [5], [5 + sum(values)])],
                     ["ld.global.u32 %v, [%in0];", f"{op} {result}[%io], %v;"],
                     registers("u32"), per_thread={"io": 0}, block=(THREADS, 1, 1))  # fmt: skip
    yield kernel("atomics", "atom.generic.add.u32", "atom.add.u32", "9.7.13.5",
                 [given("in0", "u32", values), changed("io", "u32", [5], [5 + sum(values)])],
                 ["ld.global.u32 %v, [%in0];", "cvta.global.u64 %g, %io;", "atom.add.u32 %d, [%g], %v;"],
                 registers("u32"), per_thread={"io": 0}, block=(THREADS, 1, 1))  # fmt: skip
    yield kernel("atomics", "atom.sink", "atom.global.add.u32 _", "9.7.13.5",
                 [given("in0", "u32", values), changed("io", "u32", [5], [5 + sum(values)])],
                 ["ld.global.u32 %v, [%in0];", "atom.global.add.u32 _, [%io], %v;"],
                 registers("u32"), per_thread={"io": 0}, block=(THREADS, 1, 1))  # fmt: skip
    # Blocks in one grid add to one word.
    yield kernel("atomics", "red.across_blocks", "red.global.add.u64", "9.7.13.7",
                 [changed("io", "u64", [0], [8 * sum(values) + THREADS * sum(range(8))])],
                 ["mov.u32 %w, %ctaid.x;", "add.u32 %w, %w, %i;", "cvt.u64.u32 %v, %w;",
                  "red.global.add.u64 [%io], %v;"],
                 registers("u64"), per_thread={"io": 0}, block=(THREADS, 1, 1), grid=(8, 1, 1))  # fmt: skip


def vectors():
    """sm_90: vector atomics on f32."""
    s = Stream("atom v4")
    values = [encode(F32, Fraction(s.below(9) - 4)) for _ in range(4 * THREADS)]
    before = [encode(F32, Fraction(k)) for k in range(4)]
    after = [encode(F32, value(F32, before[k]) + sum(value(F32, x) for x in values[k::4])) for k in range(4)]
    yield kernel("atomics", "red.global.add.v4.f32", "red.global.add.v4.f32", "9.7.13.7",
                 [given("in0", "f32", values), changed("io", "f32", before, after)],
                 ["ld.global.v4.f32 {%v0, %v1, %v2, %v3}, [%in0];",
                  "red.global.add.v4.f32 [%io], {%v0, %v1, %v2, %v3};"],
                 [".f32 %v<4>"], per_thread={"in0": 4, "io": 0}, block=(THREADS, 1, 1),
                 target="sm_90", version="8.1")  # fmt: skip


def wide():
    """sm_90: 16 bytes at once, two b64 a value, the lower half first."""

    def numbers(name, count=THREADS):
        s = Stream(name)
        return [[s.next(), s.next()] for _ in range(count)]

    def flat(values):
        return [half for value in values for half in value]

    values, before = numbers("b128 values"), numbers("b128 before")
    two = {"in0": 2, "in1": 2, "io": 2, "out0": 2}
    load = ["ld.global.v2.b64 {%x0, %x1}, [%in0];", "mov.b128 %v, {%x0, %x1};"]
    store = ["mov.b128 {%x0, %x1}, %d;", "st.global.v2.b64 [%out0], {%x0, %x1};"]
    regs = [".b64 %x<2>", ".b128 %v", ".b128 %d", ".b128 %c", ".u32 %s", ".pred %p"]
    new = dict(target="sm_90", version="8.4")
    yield kernel("atomics", "atom.global.exch.b128", "atom.global.exch.b128", "9.7.13.5",
                 [given("in0", "b64", flat(values)), changed("io", "b64", flat(before), flat(values)),
                  wanted("out0", "b64", flat(before))],
                 [*load, "atom.global.exch.b128 %d, [%io], %v;", *store],
                 regs, per_thread=two, block=(THREADS, 1, 1), **new)  # fmt: skip
    # Every third one matches, every third differs in its lower half only, every third in the upper.
    compare = [[x ^ (k % 3 == 1), y ^ (k % 3 == 2) << 63] for k, (x, y) in enumerate(before)]
    after = [v if b == c else b for b, c, v in zip(before, compare, values)]
    comparand = ["ld.global.v2.b64 {%x0, %x1}, [%in1];", "mov.b128 %c, {%x0, %x1};"]
    for space in ("global", "shared"):
        buffers = [given("in0", "b64", flat(values)), given("in1", "b64", flat(compare)),
                   changed("io", "b64", flat(before), flat(after)), wanted("out0", "b64", flat(before))]  # fmt: skip
        code = [*load, *comparand]
        if space == "shared":
            code += ["mov.u32 %s, tile;", "mad.lo.u32 %s, %i, 16, %s;", "ld.global.v2.b64 {%x0, %x1}, [%io];",
                     "st.shared.v2.b64 [%s], {%x0, %x1};", "atom.shared.cas.b128 %d, [%s], %c, %v;", *store,
                     "ld.shared.v2.b64 {%x0, %x1}, [%s];", "st.global.v2.b64 [%io], {%x0, %x1};"]  # fmt: skip
        else:
            code += ["atom.global.cas.b128 %d, [%io], %c, %v;", *store]
        yield kernel("atomics", f"atom.{space}.cas.b128", f"atom.{space}.cas.b128", "9.7.13.5", buffers, code, regs,
                     per_thread=two, block=(THREADS, 1, 1),
                     globals_=[".shared .align 16 .b8 tile[1024];"] if space == "shared" else [], **new)  # fmt: skip
    # A 128-bit counter, on the edge of its lower half, by all threads of several blocks.
    start, step = (1 << 64) - 70, (1 << 64) + 1
    total = start + 4 * THREADS * step
    low = (1 << 64) - 1
    yield kernel("atomics", "atom.global.cas.b128.loop", "atom.global.cas.b128", "9.7.13.5",
                 [changed("io", "b64", [start, 0], [total & low, total >> 64])],
                 ["mov.b64 %x0, 0;", "mov.b128 %c, {%x0, %x0};", "atom.relaxed.gpu.global.cas.b128 %d, [%io], %c, %c;",
                  "again:", "mov.b128 %c, %d;", "mov.b128 {%x0, %x1}, %c;", "add.cc.u64 %x0, %x0, 1;",
                  "addc.u64 %x1, %x1, 1;", "mov.b128 %v, {%x0, %x1};",
                  "atom.relaxed.gpu.global.cas.b128 %d, [%io], %c, %v;",
                  "mov.b128 {%x0, %x1}, %c;", "mov.b128 {%y0, %y1}, %d;", "xor.b64 %x0, %x0, %y0;",
                  "xor.b64 %x1, %x1, %y1;", "or.b64 %x0, %x0, %x1;", "setp.ne.u64 %p, %x0, 0;", "@%p bra again;"],
                 [*regs, ".b64 %y<2>"], per_thread={"io": 0}, block=(THREADS, 1, 1), grid=(4, 1, 1), **new)  # fmt: skip


def extrema():
    """sm_90: the smaller or larger of vectors of halves or pairs; small integers are exact."""
    for t, f in (("f16", F16), ("bf16", BF16)):
        for op, pick in (("min", min), ("max", max)):
            for ty, ld, halves in ((t, "b16", 1), (f"{t}x2", "b32", 2)):
                s = Stream(f"{op} {ty}")
                columns = 2 * halves
                numbers = [[s.below(200) - 100 for _ in range(columns)] for _ in range(THREADS)]
                start = [s.below(9) - 4 for _ in range(columns)]
                final = [pick(start[k], *(n[k] for n in numbers)) for k in range(columns)]

                def packed(row):
                    codes = [encode(f, Fraction(x)) for x in row]
                    return codes if halves == 1 else [codes[k] | codes[k + 1] << 16 for k in range(0, columns, 2)]

                values = [x for row in numbers for x in packed(row)]
                for kind, result in (("atom", "{%d0, %d1}, "), ("red", "")):
                    name = f"{kind}.global.{op}.noftz.v2.{ty}"
                    yield kernel("atomics", name, name, "9.7.13.5",
                                 [given("in0", ld, values), changed("io", ld, packed(start), packed(final))],
                                 [f"ld.global.v2.{ld} {{%v0, %v1}}, [%in0];", f"{name} {result}[%io], {{%v0, %v1}};"],
                                 [f".{ld} %v<2>", f".{ld} %d<2>"], per_thread={"in0": 2, "io": 0},
                                 block=(THREADS, 1, 1), target="sm_90", version="8.1")  # fmt: skip


def tests():
    for group in (plain, packed, returned, exchange, qualifiers, vectors, wide, extrema):
        yield from group()
