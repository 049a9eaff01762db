"""wgmma.mma_async, every n of every type: PTX ISA 9.7.15.

Both operands come from pools of 128 random words: word x of an operand is word
(37 + 2 (x div 128)) x mod 128 of its pool. With k contiguous, word x holds elements of line x div 8
(a row of A, a column of B); with lines contiguous, those of k = x mod 16 and two lines.

What comes out would be long, so of each sum four bits are stored, the uppermost of the sum times an
odd number: neighbours differ in them. Beside them stands a polynomial of all sums of a thread, which
changes whenever one sum does.
"""

import numpy as np

from floats import BF16, E4M3, E5M2, F16, F32, encode, value
from ptxtest import given, kernel, wanted
from values import Stream

THREADS = 128
GOLDEN = 0x9E3779B1
PRIME = 16777619
MODE = {16: 0, 128: 1, 64: 2, 32: 3}
FLOATS = {"f16": (F16, 16), "bf16": (BF16, 16), "tf32": (F32, 32), "e4m3": (E4M3, 8), "e5m2": (E5M2, 8)}
BITS = {name: bits for name, (_, bits) in FLOATS.items()} | {"s8": 8, "u8": 8, "b1": 1}
MOST, M32 = 2**31 - 1, 2**32 - 1


class Operand:
    """64 rows of A, or n columns of B: its contents, and how it lies in shared memory.

    `width` is a swizzle's, 16 for none; `across`: lines are contiguous, not k."""

    def __init__(self, name, lines, dtype, width, across, tight):
        s = Stream(name)
        bits = BITS[dtype]
        per = 32 // bits
        if dtype in FLOATS:
            # e5m2 has all of these, and sums of 32 products of them stay below 2^11.
            table = [(x, encode(FLOATS[dtype][0], x)) for x in range(-3, 4)]
        elif dtype == "b1":
            table = [(0, 0), (1, 1)]
        else:
            table = [(x - 256 if dtype == "s8" and x > 127 else x, x) for x in range(256)]
        drawn = [[s.choice(table) for _ in range(per)] for _ in range(128)]
        self.pool = [sum(p << bits * j for j, (_, p) in enumerate(word)) for word in drawn]
        values = np.array([[x for x, _ in word] for word in drawn], dtype=np.int64)
        x = np.arange(8 * lines)
        self.words, k = 8 * lines, 256 // bits
        held = values[(37 + 2 * (x // 128)) * x % 128]
        if across:
            # [pair of lines, k, which of the two] to [line, k]
            self.values = held.reshape(lines // 2, 16, 2).transpose(0, 2, 1).reshape(lines, 16)
        else:
            self.values = held.reshape(lines, k)
        self.width, self.across, self.lines = width, across, lines
        groups = 128 * (lines // 8)
        if width == 16:
            self.inner, self.outer = (128, 256) if tight else (groups, 128)
            self.leading, self.stride = self.inner, self.outer
            self.bytes = 2 * groups
        elif across:
            self.leading, self.stride = 16 * width, 8 * width
            self.bytes = 32 * lines
        else:
            # Nothing is `leading` away: 32 bytes of k lie within one swizzled row.
            self.leading, self.stride = 16, 8 * width
            self.bytes = width * lines

    def terms(self):
        """The offset of word x as a sum of ((x >> shift) & mask) · step; no mask keeps all bits."""
        w = self.width
        if not self.across:
            if w == 16:
                return [(6, None, self.outer), (3, 7, 16), (2, 1, self.inner), (0, 3, 4)]
            return [(3, None, w), (0, 7, 4)]
        if w == 16:
            return [(6, None, self.outer), (4, 3, 4), (3, 1, self.inner), (0, 7, 16)]
        columns = w // 4
        return [(4 + columns.bit_length() - 1, None, self.leading), (4, columns - 1, 4), (3, 1, self.stride), (0, 7, w)]

    def written(self, name, pool, whole=False):
        code = ["mov.u32 %x, %i;", f"fill_{name}:", f"setp.ge.u32 %q, %x, {self.words};", f"@%q bra full_{name};",
                f"mov.u32 %z, {name};"]  # fmt: skip
        for shift, mask, step in self.terms():
            code.append(f"shr.u32 %y, %x, {shift};")
            if mask:
                code.append(f"and.b32 %y, %y, {mask};")
            code.append(f"mad.lo.u32 %z, %y, {step}, %z;")
        if self.width > 16:
            code += ["shr.u32 %y, %z, 7;", f"and.b32 %y, %y, {self.width // 16 - 1};", "shl.b32 %y, %y, 4;",
                     "xor.b32 %z, %z, %y;"]  # fmt: skip
        word = [f"mad.wide.u32 %g, %x, 4, %{pool};", "ld.global.b32 %v, [%g];"] if whole else drawn("%x", "%v", pool)
        return code + [*word, "st.shared.b32 [%z], %v;", f"add.u32 %x, %x, {THREADS};",
                       f"bra fill_{name};", f"full_{name}:"]  # fmt: skip

    def descriptor(self, name):
        fixed = MODE[self.width] << 62 | self.stride >> 4 << 32 | self.leading >> 4 << 16
        return [f"mov.u32 %x, {name};", "shr.u32 %x, %x, 4;", f"cvt.u64.u32 %{name}d, %x;",
                f"or.b64 %{name}d, %{name}d, 0x{fixed:016X};"]  # fmt: skip


def drawn(index, register, pool):
    """Word `index` of an operand."""
    return [f"shr.u32 %y, {index}, 7;", "mad.lo.u32 %y, %y, 2, 37;", f"mul.lo.u32 %y, %y, {index};",
            "and.b32 %y, %y, 127;", f"mad.wide.u32 %g, %y, 4, %{pool};", f"ld.global.b32 {register}, [%g];"]  # fmt: skip


def before(i, e, integer):
    """The accumulators before the product, of thread i's element e."""
    if integer:
        return np.where((i + e) % 2 == 0, 256 - MOST - 1, MOST - 255) + e
    return (3 * i + 5 * e) % 32 - 16


def started(d, n, integer):
    """Accumulators through memory into registers."""
    size = 2 if d == "f16" else 4
    code = ["mov.u32 %e, 0;", "mov.u64 %g, %d;", "begin:"]
    if integer:
        code += ["add.u32 %x, %i, %e;", "and.b32 %x, %x, 1;", "mad.lo.s32 %x, %x, -512, -2147483392;",
                 "add.s32 %x, %x, %e;", "st.global.s32 [%g], %x;"]  # fmt: skip
    else:
        code += ["mul.lo.u32 %x, %i, 3;", "mad.lo.u32 %x, %e, 5, %x;", "and.b32 %x, %x, 31;", "sub.s32 %x, %x, 16;"]
        code += ["cvt.rn.f16.s32 %n, %x;", "st.global.b16 [%g], %n;"] if d == "f16" else ["cvt.rn.f32.s32 %f, %x;", "st.global.f32 [%g], %f;"]
    return code + [f"add.u64 %g, %g, {size};", "add.u32 %e, %e, 1;", f"setp.lt.u32 %q, %e, {n // 2};", "@%q bra begin;"]


def finished(d, n, integer):
    """Four bits of each sum and the polynomial of them all."""
    size = 2 if d == "f16" else 4
    load = {"f16": ["ld.global.b16 %n, [%g];", "cvt.rni.s32.f16 %x, %n;"],
            "f32": ["ld.global.f32 %f, [%g];", "cvt.rni.s32.f32 %x, %f;"], "s32": ["ld.global.s32 %x, [%g];"]}[d]
    code = ["mov.u32 %e, 0;", "mov.u32 %w, 0;", "mov.u32 %h, 0;", "mov.u64 %g, %d;", "end:", *load,
            f"mad.lo.u32 %h, %h, {PRIME}, %x;", f"mul.lo.u32 %y, %x, {GOLDEN};", "shf.l.wrap.b32 %w, %y, %w, 4;",
            f"add.u64 %g, %g, {size};", "add.u32 %e, %e, 1;", "and.b32 %y, %e, 7;", "setp.ne.u32 %q, %y, 0;",
            "@%q bra more;", "st.global.b32 [%out0], %w;", "add.u64 %out0, %out0, 4;", "mov.u32 %w, 0;", "more:",
            f"setp.lt.u32 %q, %e, {n // 2};", "@%q bra end;"]  # fmt: skip
    if n % 16:
        code.append("st.global.b32 [%out0], %w;")
    return code + ["st.global.u32 [%out1], %h;"]


def moved(op, d, count):
    size = 2 if count % 4 else 4
    lists = ["{" + ", ".join(f"%d{k}" for k in range(first, first + size)) + "}" for first in range(0, count, size)]
    ty = {"f16": "b32"}.get(d, d)
    for k, registers in enumerate(lists):
        where = f"[%d+{4 * size * k}]"
        yield f"ld.global.v{size}.{ty} {registers}, {where};" if op == "ld" else f"st.global.v{size}.{ty} {where}, {registers};"


def product(r, d, a, b, satfinite=False):
    n, k = 8 * r, 256 // BITS[a]
    integer, half = d == "s32", a in ("f16", "bf16")
    keep = r % 3 != 2 or satfinite
    # A in registers; with other periods than those of the types.
    held = r % 4 == 3 if half else r % 6 in (3, 4) if integer else r % 5 == 1
    scales = (1, 1) if integer else (1 - 2 * (r % 2), 1 - (r & 2))
    # The manual writes `.satfinite` before the types, CUTLASS after them; ptxas takes both.
    instruction = f"wgmma.mma_async.sync.aligned.m64n{n}k{k}"
    tail = ".and.popc" if a == "b1" else ""
    instruction += f".satfinite.{d}.{a}.{b}" if satfinite and r % 4 else f".{d}.{a}.{b}{tail}" + ".satfinite" * satfinite
    # Swizzles and the order in memory come in turn; one n after the other, so that all meet all.
    turn = r + {"f16": 0, "bf16": 3}.get(a, 1) + (d == "f16")
    across = (half and not held and turn % 3 == 0, half and turn % 2 == 0)
    width = (16, 32, 64, 128)[turn // 2 % 4]
    # Columns of B fill the swizzled rows in which they lie side by side.
    fits = [w for w in (128, 64, 32, 16) if 2 * n % w == 0 and w <= width]
    left = Operand(f"A {instruction}", 64, a, (16, 128, 32, 64)[turn % 4], across[0], r % 2 == 0)
    right = Operand(f"B {instruction}", n, b, fits[0] if across[1] else width, across[1], turn % 4 < 2)

    exact = scales[0] * scales[1] * (left.values @ right.values.T)
    thread, element = np.arange(THREADS)[:, None], np.arange(n // 2)[None, :]
    lane = thread % 32
    rows = 16 * (thread // 32) + lane // 4 + 8 * (element // 2 % 2)
    columns = 8 * (element // 4) + lane % 4 * 2 + element % 2
    sums = exact[rows, columns]
    # Every row and column can be told from the others.
    assert len({tuple(x) for x in exact}) == 64 and len({tuple(x) for x in exact.T}) == n, instruction
    if keep:
        sums = sums + before(thread, element, integer)
    if satfinite:
        assert (sums > MOST).any() or (sums < -MOST - 1).any(), instruction
        sums = np.clip(sums, -MOST - 1, MOST)
    elif not integer:
        assert abs(sums).max() <= 2048, instruction
    low = sums.astype(np.uint64) & M32
    bits = low * np.uint64(GOLDEN) % 2**32 >> 28
    words, hashes = np.zeros((THREADS, -(-n // 16)), np.uint64), np.zeros(THREADS, np.uint64)
    for e in range(n // 2):
        words[:, e // 8] = words[:, e // 8] << 4 | bits[:, e]
        hashes = hashes * PRIME + low[:, e] & M32

    count = n // 4 if d == "f16" else n // 2
    code = ["mov.u64 %d, d;", f"mad.wide.u32 %d, %i, {n if d == 'f16' else 2 * n}, %d;", *started(d, n, integer),
            *moved("ld", d, count), *right.written("b", "in1"), *right.descriptor("b")]  # fmt: skip
    if held:
        for s in range(4):
            # Row and word of the fragment: as in mma, sixteen rows a warp.
            code += ["shr.u32 %x, %i, 5;", "shl.b32 %x, %x, 4;", "shr.u32 %y, %i, 2;", "and.b32 %y, %y, 7;",
                     f"add.u32 %x, %x, %y;", f"add.u32 %x, %x, {8 * (s % 2)};", "and.b32 %y, %i, 3;",
                     "mad.lo.u32 %x, %x, 8, %y;", f"add.u32 %x, %x, {4 * (s // 2)};", *drawn("%x", f"%a{s}", "in0")]  # fmt: skip
        source = "{%a0, %a1, %a2, %a3}"
    else:
        code += [*left.written("a", "in0"), *left.descriptor("a")]
        source = "%ad"
    flags = [] if integer else [str(s) for s in scales]
    if half:
        flags += [str(int(x)) for x in (across[1:] if held else across)]
    results = "{" + ", ".join(f"%d{j}" for j in range(count)) + "}"
    code += [f"setp.{'ge' if keep else 'lt'}.s32 %p, %i, 0;", "fence.proxy.async.shared::cta;", "bar.sync 0;",
             "wgmma.fence.sync.aligned;", f"{instruction} {', '.join([results, source, '%bd', '%p', *flags])};",
             "wgmma.commit_group.sync.aligned;", "wgmma.wait_group.sync.aligned 0;", *moved("st", d, count),
             *finished(d, n, integer)]  # fmt: skip
    arrays = [f".shared .align 1024 .b8 b[{right.bytes}];", f".global .align 16 .b8 d[{THREADS * (n if d == 'f16' else 2 * n)}];"]
    if not held:
        arrays.insert(0, f".shared .align 1024 .b8 a[{left.bytes}];")
    register = {"f16": "b32"}.get(d, d)
    notes = [("the old sums are dropped" if not keep else "saturated" if satfinite else "wraps" if integer else "every sum is exact"),
             f"out0: four bits of each sum s, the uppermost of {GOLDEN} s mod 2^32; out1: h = {PRIME} h + s over them"]  # fmt: skip
    yield kernel("wgmma", instruction.removeprefix("wgmma.mma_async.sync.aligned."), instruction, "9.7.15.5",
                 [given("in0", "b32", left.pool), given("in1", "b32", right.pool), wanted("out0", "b32", words.flatten().tolist()),
                  wanted("out1", "b32", hashes.tolist())], code,
                 [".u32 %x", ".u32 %y", ".u32 %z", ".u32 %e", ".u32 %w", ".u32 %h", ".b32 %v", ".b16 %n", ".f32 %f", ".u64 %g",
                  ".u64 %d", ".u64 %ad", ".u64 %bd", ".pred %p", ".pred %q", ".b32 %a<4>", f".{register} %d<{count}>"],
                 per_thread={"in0": 0, "in1": 0, "out0": -(-n // 16)}, block=(THREADS, 1, 1), target="sm_90a",
                 version="8.4" if integer and a != b else "8.0",
                 globals_=arrays, notes=notes)  # fmt: skip


def special_values():
    """Infinities, NaN and subnormal numbers, by rows of A, as in mma; what types have none leave out."""
    for a in FLOATS:
        f, bits = FLOATS[a]
        k, infinite = 256 // bits, a != "e4m3"
        one, sign, nan = encode(f, 1), 1 << bits - 1, 0x7F if a == "e4m3" else f.inf_bits | 1 << f.mant - 1
        rows = [[one] * k for _ in range(64)]
        expect = [[encode(F32, k)] * 8 for _ in range(64)]
        columns = [[one] * k for _ in range(8)]
        columns[6][0] = 0
        for row in expect:
            row[6] = encode(F32, k - 1)
        rows[17][5], expect[17] = nan, ["nan"] * 8
        columns[2][7] = nan
        if infinite:
            rows[1][3], expect[1] = f.inf_bits, [F32.inf_bits] * 8
            rows[34][4], expect[34] = f.inf_bits | sign, [F32.inf_bits | F32.sign_bit] * 8
            rows[51][2], rows[51][6], expect[51] = f.inf_bits, f.inf_bits | sign, ["nan"] * 8
            rows[9][0], expect[9] = f.inf_bits, [F32.inf_bits] * 6 + ["nan", F32.inf_bits]
        if f.mant + f.bias < 100:
            # The sums of these are normal numbers of f32.
            rows[60] = [1] * k
            expect[60] = [encode(F32, (k - (j == 6)) * value(f, 1)) for j in range(8)]
            rows[61] = [f.min_normal - 1 | sign] * k
            expect[61] = [encode(F32, -(k - (j == 6)) * value(f, f.min_normal - 1)) for j in range(8)]
        for row in expect:
            row[2] = "nan"
        words = lambda lines: [sum(p << bits * j for j, p in enumerate(line[at : at + 32 // bits]))
                               for line in lines for at in range(0, k, 32 // bits)]  # fmt: skip
        left, right = Operand("A", 64, a, 16, False, True), Operand("B", 8, a, 16, False, True)
        out = [expect[16 * (i // 32) + i % 32 // 4 + 8 * (e // 2)][i % 4 * 2 + e % 2] for i in range(THREADS) for e in range(4)]
        instruction = f"wgmma.mma_async.sync.aligned.m64n8k{k}.f32.{a}.{a}"
        results = "{%d0, %d1, %d2, %d3}"
        code = [*left.written("a", "in0", whole=True), *left.descriptor("a"), *right.written("b", "in1", whole=True),
                *right.descriptor("b"), *(f"mov.f32 %d{e}, 0f00000000;" for e in range(4)), "fence.proxy.async.shared::cta;",
                "bar.sync 0;", "wgmma.fence.sync.aligned;",
                f"{instruction} {results}, %ad, %bd, 1, 1, 1{', 0, 0' if bits == 16 else ''};",
                "wgmma.commit_group.sync.aligned;", "wgmma.wait_group.sync.aligned 0;",
                f"st.global.v4.f32 [%out0], {results};"]  # fmt: skip
        yield kernel("wgmma", f"special.{a}", instruction, "9.7.15.5",
                     [given("in0", "b32", words(rows)), given("in1", "b32", words(columns)), wanted("out0", "f32", out)], code,
                     [".u32 %x", ".u32 %y", ".u32 %z", ".b32 %v", ".u64 %g", ".u64 %ad", ".u64 %bd", ".pred %q", ".f32 %d<4>"],
                     per_thread={"in0": 0, "in1": 0, "out0": 4}, block=(THREADS, 1, 1), target="sm_90a",
                     globals_=[f".shared .align 1024 .b8 a[{left.bytes}];", f".shared .align 1024 .b8 b[{right.bytes}];"])  # fmt: skip


def tests():
    yield from special_values()
    eights = [(x, y) for x in ("e4m3", "e5m2") for y in ("e4m3", "e5m2")]
    integers = [(x, y) for x in ("s8", "u8") for y in ("s8", "u8")]
    for r in range(1, 33):
        yield from product(r, "f32", "f16", "f16")
        yield from product(r, "f16", "f16", "f16")
        yield from product(r, "f32", "bf16", "bf16")
        yield from product(r, "f32", "tf32", "tf32")
        yield from product(r, ("f16", "f32")[r // 4 % 2], *eights[r % 4])
        # Integers leave out every other n above 32.
        if r <= 4 or r % 2 == 0:
            turn = r if r < 4 else r // 2 + 2
            yield from product(r, "s32", "b1", "b1")
            yield from product(r, "s32", *integers[turn % 4], satfinite=turn // 4 % 2 == 1)
