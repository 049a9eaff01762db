"""wmma.load, wmma.mma, wmma.store: PTX ISA 9.7.14.4.

Which lane holds which element is not said, so each test loads A, B and C, multiplies and stores D:
what is told apart is where an element lies in memory, and what is computed. Layouts, strides and
spaces change from test to test.
"""

from fractions import Fraction

from floats import BF16, F16, F32, F64, encode, value
from matrix import BITS, numbers, one_product, product
from ptxtest import WIDTH, changed, given, kernel
from values import Stream, signed

FLOAT = {"f16": F16, "bf16": BF16, "tf32": F32, "f32": F32, "f64": F64}
# How elements of a type lie in a buffer.
MEMORY = {"tf32": "f32"}
SHAPES = ((16, 16, 16), (8, 32, 16), (32, 8, 16))
LAYOUTS = [("row", "col"), ("col", "row"), ("row", "row"), ("col", "col")]
SPACES = ["", ".global", ".shared", ".shared::cta"]


class Extents:
    def __init__(self, m, n, k):
        self.m, self.n, self.k = m, n, k

    def __str__(self):
        return f"m{self.m}n{self.n}k{self.k}"


def width(t):
    return WIDTH[MEMORY.get(t, t)] if t not in ("s4", "u4", "b1") else BITS[t]


def registers(part, t, rows, columns):
    """Registers of a fragment; f16 fragments of A and B hold every element twice."""
    if t == "f16" and part in "ab":
        return 8
    return rows * columns // 32 if width(t) >= 32 else rows * columns * width(t) // 1024


class Matrix:
    """A matrix in memory: its elements' patterns, `stride` apart from one row or column to the next."""

    def __init__(self, part, t, layout, elements, turn, spaces):
        self.part, self.t, self.layout, self.elements, self.turn = part, t, layout, elements, turn
        self.rows, self.columns = len(elements), len(elements[0])
        dense = self.columns if layout == "row" else self.rows
        unit = 128 // width(t)  # a stride is a multiple of 16 bytes
        # Every third matrix is dense and, if it may, leaves out its stride.
        self.stride = -(-dense // unit) * unit + (0 if turn % 3 == 0 else unit)
        self.written = self.stride != dense or turn % 2 == 1
        self.space = spaces[turn % len(spaces)]
        self.shared = "shared" in self.space or (not self.space and turn % 8 >= 4)

    def contents(self, fill):
        """The buffer: `fill()` where no element lies, its length a multiple of 128 bytes."""
        lines = self.rows if self.layout == "row" else self.columns
        least = lines * self.stride
        unit = 1024 // width(self.t)
        out = [fill() for _ in range(-(-least // unit) * unit)]
        for i, row in enumerate(self.elements):
            for j, x in enumerate(row):
                out[i * self.stride + j if self.layout == "row" else j * self.stride + i] = x
        return out

    def group(self):
        count = registers(self.part, self.t, self.rows, self.columns)
        return "{" + ", ".join(f"%{self.part}{k}" for k in range(count)) + "}"

    def declaration(self):
        count = registers(self.part, self.t, self.rows, self.columns)
        word = self.t if self.t in ("f32", "f64", "s32") else "b32"
        return f".{word} %{self.part}<{count}>"

    def access(self, buffer, tile, words):
        """Code that brings a shared matrix to or from its buffer, and the operand of its address."""
        copy = [f"mov.u32 %n, %i;", f"{tile}_copy:", f"mad.wide.u32 %at, %n, 4, %{buffer};",
                f"mov.u32 %u, {tile};", "mad.lo.u32 %u, %n, 4, %u;"]  # fmt: skip
        into = ["ld.global.u32 %v, [%at];", "st.shared.u32 [%u], %v;"]
        end = ["add.u32 %n, %n, 32;", f"setp.lt.u32 %p, %n, {words};", f"@%p bra {tile}_copy;", "bar.sync 0;"]
        fill = copy + into + end if self.shared else []
        back = []
        if self.shared and self.part == "d":
            copy[1] = f"{tile}_back:"
            end[2] = f"@%p bra {tile}_back;"
            back = ["bar.sync 0;", *copy, "ld.shared.u32 %v, [%u];", "st.global.u32 [%at], %v;", *end]
        if self.space:
            address = f"[{tile}]" if self.shared else f"[%{buffer}]"
        else:
            fill += [f"mov.u64 %g{self.part}, {tile};", f"cvta.shared.u64 %g{self.part}, %g{self.part};"] if self.shared else [
                f"cvta.global.u64 %g{self.part}, %{buffer};"]  # fmt: skip
            address = f"[%g{self.part}]"
        return fill, back, address


def test(name, instruction, shape, types, layouts, matrices, turn, **more):
    """`types` and `matrices` of A, B, C and D; D's matrix is the expected one."""
    la, lb = layouts
    # `::cta` came with PTX 7.8.
    spaces = SPACES[:3] if more.get("version") == "6.3" else SPACES
    a, b, c, d = (Matrix(part, t, layout, m, turn + k, spaces) for k, (part, t, layout, m) in enumerate(
        zip("abcd", types, (la, lb, ("row", "col")[turn % 2], ("row", "col")[turn // 2 % 2]), matrices)))  # fmt: skip
    s = Stream(f"wmma fill {name}")
    buffers, code, tiles = [], [], []
    words, reads, after = {}, [], []
    for k, m in enumerate((a, b, c, d)):
        bits = width(m.t)
        buffer = "out0" if m is d else f"in{k}"
        t = MEMORY.get(m.t, m.t)

        def fill():
            return s.next() & ((1 << bits) - 1) if m.t[0] in "sub" and t != "bf16" else encode(FLOAT[m.t], Fraction(s.below(9)))

        values = m.contents(fill)
        if m is d:
            before = list(values)
            for i in range(m.rows):
                for j in range(m.columns):
                    before[i * m.stride + j if m.layout == "row" else j * m.stride + i] = fill()
            buffers.append(changed(buffer, t, before, values))
        else:
            if bits < 8:
                per = 32 // bits
                values = [sum(x << bits * q for q, x in enumerate(values[p : p + per])) for p in range(0, len(values), per)]
                t = "b32"
            buffers.append(given(buffer, t, values))
        words[m.part] = len(values) * WIDTH[t] // 32
        if m.shared:
            tiles.append(f".shared .align 32 .b32 tile_{m.part}[{words[m.part]}];")
        before_code, back, address = m.access(buffer, f"tile_{m.part}", words[m.part])
        code += before_code
        after += back
        stride = f", {m.stride}" if m.written else ""
        if m is d:
            store = f"wmma.store.d.sync.aligned.{m.layout}.{shape}{m.space}.{m.t} {address}, {m.group()}{stride};"
        else:
            reads.append(f"wmma.load.{m.part}.sync.aligned.{m.layout}.{shape}{m.space}.{m.t} {m.group()}, {address}{stride};")
    code += reads
    code.append(f"{instruction} {', '.join(m.group() for m in (d, a, b, c))};")
    code += [store, *after]
    registers_ = [m.declaration() for m in (a, b, c, d)] + [
        ".u32 %n", ".u32 %u", ".u32 %v", ".u64 %at", ".pred %p", ".u64 %ga", ".u64 %gb", ".u64 %gc", ".u64 %gd"]  # fmt: skip
    return kernel("wmma", name, instruction, "9.7.14.4", buffers, code, registers_,
                  per_thread={b.name: 0 for b in buffers}, globals_=tiles, **more)  # fmt: skip


def instruction_of(shape, layouts, types, sat="", before=""):
    return f"wmma.mma.sync.aligned.{layouts[0]}.{layouts[1]}.{shape}{before}.{types}{sat}"


def unlimited(f, x, special):
    """What `.satfinite` leaves of products of floats since sm_70: everything."""
    if special is not None:
        return {"inf": f.inf_bits, "-inf": f.sign_bit | f.inf_bits, "nan": "nan"}[special]
    return encode(f, x)


def floats(shape, a_type, c_type, d_type, layouts, turn, satfinite=False, **more):
    m, n, k = shape.m, shape.n, shape.k
    types = f"{d_type}.{c_type}" if a_type == "f16" else f"{d_type}.{a_type}.{a_type}.{c_type}"
    instruction = instruction_of(shape, layouts, types, ".satfinite" if satfinite else "")
    s = Stream(instruction)

    def small():
        return Fraction(s.below(9) - 4)

    a, b = numbers(m, k, small), numbers(k, n, small)
    c = numbers(m, n, lambda: small() * 16)
    special = {}
    if satfinite:
        b = numbers(k, n, lambda: Fraction(s.below(4) + 1))
        a[3], c[3] = [Fraction(2000)] * k, [Fraction(40000)] * n  # above 65504
        a[4], c[4] = [Fraction(-2000)] * k, [Fraction(-40000)] * n
        special = {0: "inf", 1: "-inf", 2: "nan"}
    fa, fc, fd = FLOAT[a_type], FLOAT[c_type], FLOAT[d_type]
    d = product(a, b, c, shape)
    if satfinite:
        out = [[unlimited(fd, x, special.get(i)) for x in row] for i, row in enumerate(d)]
    else:
        out = [[encode(fd, x) for x in row] for row in d]
    bits_a = [[encode(fa, x) for x in row] for row in a]
    for i, what in special.items():
        bits_a[i][5] = {"inf": fa.inf_bits, "-inf": fa.sign_bit | fa.inf_bits, "nan": fa.inf_bits | 1 << fa.mant - 1}[what]
    notes = ["small integers: every partial sum is exact in any order"]
    if satfinite:
        notes.append("PTX 6.5 took this away; ptxas warns of other results from sm_70 on, and an H100 limits nothing")
    name = f"{shape}.{layouts[0]}.{layouts[1]}.{types}{'.satfinite' if satfinite else ''}"
    yield test(name, instruction, shape, [a_type, a_type, c_type, d_type], layouts,
               [bits_a, [[encode(fa, x) for x in row] for row in b], [[encode(fc, x) for x in row] for row in c], out],
               turn, notes=notes, **more)  # fmt: skip


def integers(shape, t, layouts, turn, satfinite):
    sat = ".satfinite" if satfinite else ""
    types = f"s32.{t}.{t}.s32"
    instruction = instruction_of(shape, layouts, types, sat)
    s = Stream(instruction)
    w = BITS[t]
    a, b = numbers(shape.m, shape.k, lambda: s.below(1 << w)), numbers(shape.k, shape.n, lambda: s.below(1 << w))
    ends = [0, 1, -1, 2**31 - 1, -(2**31), 2**31 - 100, -(2**31) + 100, 12345]
    c = numbers(shape.m, shape.n, lambda: s.choice(ends))

    def read(x):
        return signed(x, w) if t[0] == "s" else x

    d = product([[read(x) for x in r] for r in a], [[read(x) for x in r] for r in b], c, shape)
    if satfinite:
        d = [[min(max(x, -(2**31)), 2**31 - 1) for x in r] for r in d]
    yield test(f"{shape}.{layouts[0]}.{layouts[1]}.{types}{sat}", instruction, shape, [t, t, "s32", "s32"], layouts,
               [a, b, [[x & 0xFFFFFFFF for x in r] for r in c], [[x & 0xFFFFFFFF for x in r] for r in d]], turn)  # fmt: skip


def narrow_integers(t, turn, satfinite):
    """Elements of four bits: A by rows, B by columns."""
    yield from integers(Extents(8, 8, 32), t, LAYOUTS[0], turn, satfinite)


def single_bits(op, turn):
    shape = Extents(8, 8, 128)
    instruction = f"wmma.mma.{op}.popc.sync.aligned.row.col.{shape}.s32.b1.b1.s32"
    s = Stream(f"{instruction} {turn}")
    a, b = numbers(8, 128, lambda: s.below(2)), numbers(128, 8, lambda: s.below(2))
    c = numbers(8, 8, lambda: s.below(1000) - 500)
    d = [[c[i][j] + sum(a[i][q] ^ b[q][j] if op == "xor" else a[i][q] & b[q][j] for q in range(128))
          for j in range(8)] for i in range(8)]  # fmt: skip
    yield test(f"{shape}.{op}.popc.s32.b1.b1.s32.{turn}", instruction, shape, ["b1", "b1", "s32", "s32"], LAYOUTS[0],
               [a, b, [[x & 0xFFFFFFFF for x in r] for r in c], [[x & 0xFFFFFFFF for x in r] for r in d]], turn)  # fmt: skip


def doubles(before, after, layouts, turn):
    shape = Extents(8, 8, 4)
    types = "f64.f64.f64.f64"
    instruction = instruction_of(shape, layouts, types, after, before)
    a, b, c, d = one_product(instruction, shape, before or after)
    yield test(f"{shape}.{layouts[0]}.{layouts[1]}{before}.{types}{after}", instruction, shape, ["f64"] * 4, layouts,
               [a, b, c, d], turn, notes=["one product is not zero: one rounding in any order"])  # fmt: skip


def tests():
    turn = 0
    for m, n, k in SHAPES:
        shape = Extents(m, n, k)
        for d, c in (("f16", "f16"), ("f16", "f32"), ("f32", "f16"), ("f32", "f32")):
            yield from floats(shape, "f16", c, d, LAYOUTS[turn % 4], turn)
            turn += 1
        for t in ("s8", "u8"):
            for satfinite in (False, True):
                yield from integers(shape, t, LAYOUTS[turn % 4], turn, satfinite)
                turn += 1
        for _ in range(2):
            yield from floats(shape, "bf16", "f32", "f32", LAYOUTS[turn % 4], turn)
            turn += 1
        turn += 1  # another combination with the next shape
    for k, (d, c) in enumerate((("f16", "f16"), ("f16", "f32"), ("f32", "f16"), ("f32", "f32"))):
        yield from floats(Extents(*SHAPES[k % 3]), "f16", c, d, LAYOUTS[k], k + 1, True, target="sm_75", version="6.3")
    for k, (t, satfinite) in enumerate((("s4", False), ("u4", False), ("s4", True), ("u4", True))):
        yield from narrow_integers(t, k, satfinite)
    for k in range(4):
        yield from single_bits(("xor", "and")[k % 2], k)
    for k, layouts in enumerate(LAYOUTS):
        yield from floats(Extents(16, 16, 8), "tf32", "f32", "f32", layouts, k)
    for k, mode in enumerate(("", ".rn", ".rz", ".rm", ".rp")):
        yield from doubles(mode, "", LAYOUTS[k % 4], k)
        if mode:
            yield from doubles("", mode, LAYOUTS[(k + 1) % 4], k + 3)
