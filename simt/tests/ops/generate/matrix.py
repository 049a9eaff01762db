"""mma.sync: PTX ISA 9.7.14.5, fragments from 9.7.14.5.1 to .12.

Every shape but m8n8k4.f16 follows one pattern, with e elements in a register, group =
lane / 4 and t = lane % 4 (checked against each section's table):

    A register r, element j:  row = group + 8·(r mod 2)   column = t·e + j + 4e·(r div 2)
    B register r, element j:  row = t·e + j + 4e·r        column = group
    C element i:              row = group + 8·(i div 2)   column = 2t + i mod 2

(shapes of 8 rows have one A register and two C elements).
"""

from fractions import Fraction

from floats import BF16, E4M3, E5M2, F16, F32, F64, encode, value
from ptxtest import WIDTH, between, given, kernel, wanted
from values import Stream, signed

FLOAT = {"f16": F16, "bf16": BF16, "tf32": F32, "f32": F32, "f64": F64, "e4m3": E4M3, "e5m2": E5M2}
BITS = {"f16": 16, "bf16": 16, "tf32": 32, "f64": 64, "s8": 8, "u8": 8, "s4": 4, "u4": 4, "b1": 1,
        "e4m3": 8, "e5m2": 8}  # fmt: skip


class Shape:
    def __init__(self, m, n, k, atype):
        self.m, self.n, self.k = m, n, k
        self.word = 64 if atype == "f64" else 32
        self.e = self.word // BITS[atype]
        self.a_regs = m * k // 32 // self.e
        self.b_regs = n * k // 32 // self.e
        self.c_elements = m * n // 32

    def a(self, lane, r, j):
        rows = self.m // 8
        return lane // 4 + 8 * (r % rows), lane % 4 * self.e + j + 4 * self.e * (r // rows)

    def b(self, lane, r, j):
        return lane % 4 * self.e + j + 4 * self.e * r, lane // 4

    def c(self, lane, i):
        return lane // 4 + 8 * (i // 2), lane % 4 * 2 + i % 2


def pack(shape, matrix, place, registers, width):
    """A matrix of patterns as registers, [lane][register]."""
    words = []
    for lane in range(32):
        for r in range(registers):
            word = 0
            for j in range(shape.e):
                row, column = place(lane, r, j)
                word |= matrix[row][column] << width * j
            words.append(word)
    return words


def module(name, instruction, shape, a, b, c, d, reg, ctype, dtype, notes, **more):
    """`reg` is the type of A and B registers; C and D are lists [lane][element]."""
    word = f"b{shape.word}"
    per = {"in0": shape.a_regs, "in1": shape.b_regs, "in2": len(c) // 32, "out0": len(d) // 32}
    half_c, half_d = ctype == "f16", dtype == "f16"
    nc = per["in2"] // (2 if half_c else 1)
    nd = per["out0"] // (2 if half_d else 1)
    c_word = "b32" if half_c else ctype
    d_word = "b32" if half_d else dtype
    code = [f"ld.global.{word} %a{r}, [%in0+{r * shape.word // 8}];" for r in range(shape.a_regs)]
    code += [f"ld.global.{word} %b{r}, [%in1+{r * shape.word // 8}];" for r in range(shape.b_regs)]
    size_c, size_d = WIDTH[c_word] // 8, WIDTH[d_word] // 8
    code += [f"ld.global.{c_word} %c{r}, [%in2+{r * size_c}];" for r in range(nc)]

    def group(letter, n):
        return "{" + ", ".join(f"%{letter}{k}" for k in range(n)) + "}"

    code.append(f"{instruction} {group('d', nd)}, {group('a', shape.a_regs)}, "
                f"{group('b', shape.b_regs)}, {group('c', nc)};")  # fmt: skip
    code += [f"st.global.{d_word} [%out0+{r * size_d}], %d{r};" for r in range(nd)]
    buffers = [given("in0", word, a), given("in1", word, b), given("in2", ctype, c), wanted("out0", dtype, d)]
    regs = [f".{reg} %a<{shape.a_regs}>", f".{reg} %b<{shape.b_regs}>", f".{c_word} %c<{nc}>", f".{d_word} %d<{nd}>"]
    return kernel("mma", name, instruction, "9.7.14.5", buffers, code, regs, per_thread=per, notes=notes, **more)


def product(a, b, c, shape):
    rows = []
    for i in range(shape.m):
        rows.append([c[i][j] + sum(a[i][k] * b[k][j] for k in range(shape.k)) for j in range(shape.n)])
    return rows


def numbers(rows, columns, draw):
    return [[draw() for _ in range(columns)] for _ in range(rows)]


def floating(m, n, k, atype, ctype, dtype, btype=None, random=True, **more):
    btype = btype or atype
    shape = Shape(m, n, k, atype)
    fa, fb, fc, fd = FLOAT[atype], FLOAT[btype], FLOAT[ctype], FLOAT[dtype]
    instruction = f"mma.sync.aligned.m{m}n{n}k{k}.row.col.{dtype}.{atype}.{btype}.{ctype}"
    base = f"m{m}n{n}k{k}.{dtype}.{atype}.{btype}.{ctype}"
    reg = "f64" if atype == "f64" else "b32"

    def build(label, a, b, c, element, notes):
        patterns_a = [[encode(fa, x) for x in r] for r in a]
        patterns_b = [[encode(fb, x) for x in r] for r in b]
        # What was meant is what the patterns hold.
        assert all(value(fa, p) == x for r, q in zip(patterns_a, a) for p, x in zip(r, q))
        assert all(value(fb, p) == x for r, q in zip(patterns_b, b) for p, x in zip(r, q))
        exact = product(a, b, c, shape)
        spots = [shape.c(lane, i) for lane in range(32) for i in range(shape.c_elements)]
        return module(f"{base}.{label}", instruction, shape,
                      pack(shape, patterns_a, shape.a, shape.a_regs, BITS[atype]),
                      pack(shape, patterns_b, shape.b, shape.b_regs, BITS[btype]),
                      [encode(fc, c[i][j]) for i, j in spots],
                      [element(exact[i][j], i, j) for i, j in spots], reg, ctype, dtype, notes, **more)  # fmt: skip

    s = Stream(instruction)

    def small():
        return Fraction(s.below(9) - 4)

    a, b, c = numbers(m, k, small), numbers(k, n, small), numbers(m, n, lambda: small() * 16)
    yield build("exact", a, b, c, lambda x, i, j: encode(fd, x),
                ["small integers: every partial sum is exact in any order"])  # fmt: skip
    if not random:
        return

    def draw(f):
        def one():
            # Moderate exponents, all significand bits in use.
            bits = s.below(1 << f.mant) | (f.bias + s.below(7) - 4) << f.mant | s.below(2) * f.sign_bit
            return value(f, bits & ~0x1FFF if f is F32 and atype == "tf32" else bits)

        return one

    a, b = numbers(m, k, draw(fa)), numbers(k, n, draw(fb))
    c = numbers(m, n, draw(fc))
    # Accumulation "with at least" the accumulator's precision, order and rounding not said:
    # K products and c give K additions and the alignment of K + 1 terms; each loses less
    # than one unit (2^-mant, any rounding) of at most S = sum |a b| + |c|.
    narrow = F16 if dtype == ctype == "f16" else fd if dtype == "f64" else F32
    unit = Fraction(1, 2**narrow.mant)

    def bounded(x, i, j):
        size = abs(c[i][j]) + sum(abs(a[i][q] * b[q][j]) for q in range(k))
        error = (k + 1) * unit * size
        if fd is F16 and narrow is not F16:
            error += size / 2**11
        return between(dtype, encode(fd, x - error, "p"), encode(fd, x + error, "m"))

    yield build("random", a, b, c, bounded,
                [f"bound: (K + 1) 2^-{narrow.mant} (sum |a b| + |c|), from the number of additions"])  # fmt: skip


def integer(m, n, k, atype, btype, satfinite, **more):
    shape = Shape(m, n, k, atype)
    w = BITS[atype]
    sat = ".satfinite" if satfinite else ""
    instruction = f"mma.sync.aligned.m{m}n{n}k{k}.row.col{sat}.s32.{atype}.{btype}.s32"
    s = Stream(instruction)
    a = numbers(m, k, lambda: s.below(1 << w))
    b = numbers(k, n, lambda: s.below(1 << w))
    # Accumulators near the ends, so that wrapping and saturation happen.
    ends = [0, 1, -1, 2**31 - 1, -(2**31), 2**31 - 100, -(2**31) + 100, 12345]
    c = numbers(m, n, lambda: s.choice(ends))
    a[0], c[0] = [(1 << w) - 1] * k, [0] * n

    def read(t, x):
        return signed(x, w) if t[0] == "s" else x

    d = product([[read(atype, x) for x in r] for r in a], [[read(btype, x) for x in r] for r in b], c, shape)
    if satfinite:
        d = [[min(max(x, -(2**31)), 2**31 - 1) for x in r] for r in d]
    spots = [shape.c(lane, i) for lane in range(32) for i in range(shape.c_elements)]
    yield module(f"m{m}n{n}k{k}{sat}.s32.{atype}.{btype}.s32", instruction, shape,
                 pack(shape, a, shape.a, shape.a_regs, w), pack(shape, b, shape.b, shape.b_regs, w),
                 [c[i][j] & 0xFFFFFFFF for i, j in spots], [d[i][j] & 0xFFFFFFFF for i, j in spots],
                 "b32", "s32", "s32", [], **more)  # fmt: skip


def single_bit(m, n, k, op):
    shape = Shape(m, n, k, "b1")
    instruction = f"mma.sync.aligned.m{m}n{n}k{k}.row.col.s32.b1.b1.s32.{op}.popc"
    s = Stream(instruction)
    a, b = numbers(m, k, lambda: s.below(2)), numbers(k, n, lambda: s.below(2))
    c = numbers(m, n, lambda: s.below(1000) - 500)
    d = [[c[i][j] + sum((a[i][q] ^ b[q][j]) if op == "xor" else (a[i][q] & b[q][j]) for q in range(k))
          for j in range(n)] for i in range(m)]  # fmt: skip
    spots = [shape.c(lane, i) for lane in range(32) for i in range(shape.c_elements)]
    yield module(f"m{m}n{n}k{k}.b1.{op}", instruction, shape, pack(shape, a, shape.a, shape.a_regs, 1),
                 pack(shape, b, shape.b, shape.b_regs, 1), [c[i][j] & 0xFFFFFFFF for i, j in spots],
                 [d[i][j] & 0xFFFFFFFF for i, j in spots], "b32", "s32", "s32", [])  # fmt: skip


MODES = {"": "n", ".rn": "n", ".rz": "z", ".rm": "m", ".rp": "p"}


def one_product(seed, shape, mode):
    """Patterns of A, B, C and D in f64, of whose products one an element is not zero: how it and C
    are rounded does not depend on the order of the sum."""
    s = Stream(seed)

    def draw():
        return s.below(1 << 52) | (1020 + s.below(7)) << 52 | s.below(2) << 63

    a = [[draw() if q == i % shape.k else 0 for q in range(shape.k)] for i in range(shape.m)]
    b, c = numbers(shape.k, shape.n, draw), numbers(shape.m, shape.n, draw)
    exact = product(*([[value(F64, x) for x in r] for r in m] for m in (a, b, c)), shape)
    return a, b, c, [[encode(F64, x, MODES[mode]) for x in r] for r in exact]


def rounded_doubles():
    shapes = ((8, 8, 4), (16, 8, 4), (16, 8, 8), (16, 8, 16))
    before = [(*shape, mode) for shape in shapes for mode in (".rn", ".rz", ".rm", ".rp")]
    after = [(8, 8, 4, ".rz"), (16, 8, 4, ".rm"), (16, 8, 8, ".rp"), (16, 8, 16, ".rn")]
    for first, (m, n, k, mode) in [(True, x) for x in before] + [(False, x) for x in after]:
        shape = Shape(m, n, k, "f64")
        types = f"{mode}.f64.f64.f64.f64" if first else f".f64.f64.f64.f64{mode}"
        instruction = f"mma.sync.aligned.m{m}n{n}k{k}.row.col{types}"
        a, b, c, d = one_product(instruction, shape, mode)
        spots = [shape.c(lane, i) for lane in range(32) for i in range(shape.c_elements)]
        yield module(f"m{m}n{n}k{k}{types}", instruction, shape,
                     pack(shape, a, shape.a, shape.a_regs, 64), pack(shape, b, shape.b, shape.b_regs, 64),
                     [c[i][j] for i, j in spots], [d[i][j] for i, j in spots], "f64", "f64", "f64",
                     ["one product is not zero: one rounding in any order"],
                     target="sm_80" if m == 8 else "sm_90")  # fmt: skip


def special_values():
    """Infinities and NaN pass through: one of each in chosen rows of A."""
    for atype in ("f16", "bf16"):
        f = FLOAT[atype]
        shape = Shape(16, 8, 16, atype)
        a = [[f.one] * 16 for _ in range(16)]
        b = [[f.one] * 8 for _ in range(16)]
        a[1][3] = f.inf_bits
        a[2][4] = f.inf_bits | f.sign_bit
        a[3][5] = f.inf_bits | 1 << (f.mant - 1)
        a[4][6], a[4][7] = f.inf_bits, f.inf_bits | f.sign_bit  # inf − inf
        a[9][0] = f.inf_bits
        b[0][6] = 0  # inf · 0 in row 9, column 6
        expect = {1: F32.inf_bits, 2: F32.inf_bits | F32.sign_bit, 3: "nan", 4: "nan", 9: F32.inf_bits}
        out = []
        for lane in range(32):
            for i in range(4):
                row, col = shape.c(lane, i)
                plain = encode(F32, Fraction(15 if col == 6 else 16))
                e = expect.get(row, plain)
                out.append("nan" if (row, col) == (9, 6) else e)
        yield module(f"m16n8k16.f32.{atype}.{atype}.f32.special",
                     f"mma.sync.aligned.m16n8k16.row.col.f32.{atype}.{atype}.f32", shape,
                     pack(shape, a, shape.a, 4, 16), pack(shape, b, shape.b, 2, 16), [0] * 128, out,
                     "b32", "f32", "f32", [])  # fmt: skip


def quad_pairs():
    """m8n8k4.f16: four products at once, each by lanes q·4…q·4+3 and 16 more (9.7.14.5.1)."""
    for dtype, ctype in (("f32", "f32"), ("f16", "f16"), ("f32", "f16")):
        for la in ("row", "col"):
            for lb in ("row", "col"):
                s = Stream(f"m8n8k4 {dtype} {la} {lb}")
                quads = []
                for _ in range(4):
                    a = numbers(8, 4, lambda: Fraction(s.below(9) - 4))
                    b = numbers(4, 8, lambda: Fraction(s.below(9) - 4))
                    c = numbers(8, 8, lambda: Fraction(s.below(65) - 32))
                    d = [[c[i][j] + sum(a[i][q] * b[q][j] for q in range(4)) for j in range(8)] for i in range(8)]
                    quads.append((a, b, c, d))
                wa, wb, wc, wd = [], [], [], []
                for lane in range(32):
                    a, b, c, d = quads[lane % 16 // 4]
                    high = 4 if lane >= 16 else 0
                    for i in range(4):
                        row, col = (lane % 4 + high, i) if la == "row" else (i + high, lane % 4)
                        wa.append(encode(F16, a[row][col]))
                        row, col = (lane % 4, i + high) if lb == "row" else (i, lane % 4 + high)
                        wb.append(encode(F16, b[row][col]))
                    for i in range(8):
                        for t, words, matrix in ((ctype, wc, c), (dtype, wd, d)):
                            if t == "f16":
                                row, col = lane % 4 + high, i
                            else:
                                row = (lane & 1) + (i & 2) + high
                                col = (i & 4) + (lane & 2) + (i & 1)
                            words.append(encode(FLOAT[t], matrix[row][col]))
                words_a = [x | y << 16 for x, y in zip(wa[::2], wa[1::2])]
                words_b = [x | y << 16 for x, y in zip(wb[::2], wb[1::2])]
                shape = Shape(8, 8, 4, "f16")
                shape.a_regs = shape.b_regs = 2
                yield module(f"m8n8k4.{la}.{lb}.{dtype}.f16.f16.{ctype}",
                             f"mma.sync.aligned.m8n8k4.{la}.{lb}.{dtype}.f16.f16.{ctype}", shape,
                             words_a, words_b, wc, wd, "b32", ctype, dtype, [])  # fmt: skip


def tests():
    for m, n, k in ((16, 8, 8), (16, 8, 16)):
        for c, d in (("f32", "f32"), ("f16", "f16")):
            yield from floating(m, n, k, "f16", c, d)
        yield from floating(m, n, k, "bf16", "f32", "f32")
    for k in (4, 8):
        yield from floating(16, 8, k, "tf32", "f32", "f32")
    yield from floating(8, 8, 4, "f64", "f64", "f64")
    for k in (4, 8, 16):
        yield from floating(16, 8, k, "f64", "f64", "f64", target="sm_90")
    for a in ("e4m3", "e5m2"):
        for b in ("e4m3", "e5m2"):
            yield from floating(16, 8, 32, a, "f32", "f32", b, random=False, target="sm_89", version="8.4")
            more = dict(random=False, target="sm_89", version="8.7")
            yield from floating(16, 8, 16, a, "f32", "f32", b, **more)
            for k in (16, 32):
                yield from floating(16, 8, k, a, "f16", "f16", b, **more)
    for m, n, k in ((8, 8, 16), (16, 8, 16), (16, 8, 32)):
        for a in ("s8", "u8"):
            for b in ("s8", "u8"):
                for sat in (False, True):
                    yield from integer(m, n, k, a, b, sat)
    for m, n, k in ((8, 8, 32), (16, 8, 32), (16, 8, 64)):
        for a in ("s4", "u4"):
            for b in ("s4", "u4"):
                for sat in (False, True):
                    yield from integer(m, n, k, a, b, sat)
    for m, n, k in ((8, 8, 128), (16, 8, 128), (16, 8, 256)):
        for op in ("xor", "and"):
            yield from single_bit(m, n, k, op)
    yield from rounded_doubles()
    yield from special_values()
    yield from quad_pairs()
