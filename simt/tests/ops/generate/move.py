"""mov with its vector forms, special registers and addresses: PTX ISA 9.7.9.3, 10."""

from ptxtest import elementwise, given, kernel, wanted
from values import unary


def moves():
    for t in ("b16", "b32", "b64", "u16", "u32", "u64", "s16", "s32", "s64", "f32", "f64"):
        values = unary(t, f"mov.{t}")
        yield elementwise("move", f"mov.{t}", f"mov.{t}", "9.7.9.3", [(t, values)], [(t, values)],
                          f"mov.{t} %d0, %a0;")  # fmt: skip
    odd = [k & 1 for k in range(32)]
    yield elementwise("move", "mov.pred", "mov.pred", "9.7.9.3", [("u32", odd)], [("u32", odd)],
                      ["setp.ne.u32 %p, %a0, 0;", "mov.pred %q, %p;", "selp.u32 %d0, 1, 0, %q;"],
                      extra=[".pred %p", ".pred %q"])  # fmt: skip


def vectors():
    """`mov` packs scalars into a wider register, first element lowest, and back."""
    for whole, part, n in (("b32", "b16", 2), ("b64", "b16", 4), ("b64", "b32", 2), ("b16", "b8", 2), ("b32", "b8", 4)):
        width = int(whole[1:]) // n
        values = unary(whole, f"mov {whole} {part}")
        parts = [[x >> width * k & ((1 << width) - 1) for x in values] for k in range(n)]
        names = ", ".join(f"%a{k}" for k in range(n))
        yield elementwise("move", f"mov.{whole}.pack{n}", f"mov.{whole}", "9.7.9.4",
                          [(part, p) for p in parts], [(whole, values)],
                          f"mov.{whole} %d0, {{{names}}};", narrow=True)  # fmt: skip
        names = ", ".join(f"%d{k}" for k in range(n))
        yield elementwise("move", f"mov.{whole}.unpack{n}", f"mov.{whole}", "9.7.9.4",
                          [(whole, values)], [(part, p) for p in parts],
                          f"mov.{whole} {{{names}}}, %a0;", narrow=True)  # fmt: skip
    values = unary("b64", "mov sink")
    yield elementwise("move", "mov.b64.sink", "mov.b64", "9.7.9.4", [("b64", values)],
                      [("b32", [x >> 32 for x in values])], "mov.b64 {_, %d0}, %a0;")  # fmt: skip
    low = unary("b64", "mov b128 low")
    high = list(reversed(low))
    yield elementwise("move", "mov.b128", "mov.b128", "9.7.9.4", [("b64", low), ("b64", high)],
                      [("b64", high), ("b64", low)],
                      ["mov.b128 %w, {%a0, %a1};", "mov.b128 {%d1, %d0}, %w;"],
                      extra=[".b128 %w"], version="8.3")  # fmt: skip


def immediates():
    """Every way to write a constant."""
    cases = {
        "s32.negative": ("s32", "-2147483648", 0x80000000),
        "u32.hex": ("u32", "0xDEADbeef", 0xDEADBEEF),
        "u32.octal": ("u32", "0777", 0o777),
        "u32.binary": ("u32", "0b10110", 0b10110),
        "u64.unsigned": ("u64", "18446744073709551615U", (1 << 64) - 1),
        "s64.negative": ("s64", "-1", (1 << 64) - 1),
        "f32.bits": ("f32", "0f3F800001", 0x3F800001),
        "f32.decimal": ("f32", "1.5", 0x3FC00000),
        "f32.exponent": ("f32", "-2.5e-3", 0xBB23D70A),
        "f64.bits": ("f64", "0d7FF0000000000000", 0x7FF0000000000000),
        "f64.decimal": ("f64", "-0.1", 0xBFB999999999999A),
        "b32.expression": ("b32", "(1 << 5) | 3", 35),
        "u32.ternary": ("u32", "3 > 2 ? 7 : 9", 7),
        # The remainder of numbers without a sign: an H100's answer.
        "s32.arithmetic": ("s32", "-(7 * 3 - 1) % 6", ((1 << 64) - 20) % 6),
        "u32.complement": ("u32", "~0xF0", 0xFFFFFF0F),
    }
    for name, (t, text, bits) in cases.items():
        yield elementwise("move", f"immediate.{name}", f"mov.{t}", "4.5", [], [(t, [bits] * 2)],
                          f"mov.{t} %d0, {text};")  # fmt: skip


def special(name, register, t, value, grid=(1, 1, 1), block=(32, 1, 1), spec="10", **more):
    """Each thread of the whole grid, numbered x fastest and blocks outermost, stores one register."""
    rows = []
    for bz in range(grid[2]):
        for by in range(grid[1]):
            for bx in range(grid[0]):
                for z in range(block[2]):
                    for y in range(block[1]):
                        for x in range(block[0]):
                            rows.append(value((x, y, z), (bx, by, bz)))
    code = [
        "mov.u32 %x, %tid.x;", "mov.u32 %y, %tid.y;", "mov.u32 %z, %tid.z;",
        "mov.u32 %nx, %ntid.x;", "mov.u32 %ny, %ntid.y;", "mov.u32 %nz, %ntid.z;",
        "mad.lo.u32 %t, %z, %ny, %y;", "mad.lo.u32 %t, %t, %nx, %x;",
        "mov.u32 %x, %ctaid.x;", "mov.u32 %y, %ctaid.y;", "mov.u32 %z, %ctaid.z;",
        "mul.lo.u32 %n, %nx, %ny;", "mul.lo.u32 %n, %n, %nz;",
        "mov.u32 %nx, %nctaid.x;", "mov.u32 %ny, %nctaid.y;",
        "mad.lo.u32 %b, %z, %ny, %y;", "mad.lo.u32 %b, %b, %nx, %x;",
        "mad.lo.u32 %t, %b, %n, %t;",
        f"mad.wide.u32 %out0, %t, {int(t[1:]) // 8}, %out0;",
        f"mov.{t} %v, {register};", f"st.global.{t} [%out0], %v;",
    ]  # fmt: skip
    regs = [".u32 %x", ".u32 %y", ".u32 %z", ".u32 %nx", ".u32 %ny", ".u32 %nz", ".u32 %n",
            ".u32 %t", ".u32 %b", f".{t} %v"]  # fmt: skip
    return kernel("special", name, f"mov.{t} {register}", spec, [wanted("out0", t, rows)], code, regs,
                  per_thread={"out0": 0}, grid=grid, block=block, **more)  # fmt: skip


def specials():
    grid, block = (2, 3, 2), (5, 3, 2)
    for k, axis in enumerate("xyz"):
        yield special(f"tid.{axis}", f"%tid.{axis}", "u32", lambda t, b: t[k], grid, block, "10.1")
        yield special(f"ntid.{axis}", f"%ntid.{axis}", "u32", lambda t, b: block[k], grid, block, "10.2")
        yield special(f"ctaid.{axis}", f"%ctaid.{axis}", "u32", lambda t, b: b[k], grid, block, "10.7")
        yield special(f"nctaid.{axis}", f"%nctaid.{axis}", "u32", lambda t, b: grid[k], grid, block, "10.8")

    def lane(t):
        return (t[0] + block[0] * (t[1] + block[1] * t[2])) % 32

    yield special("laneid", "%laneid", "u32", lambda t, b: lane(t), grid, block, "10.3")
    masks = {"eq": lambda n: 1 << n, "le": lambda n: (2 << n) - 1, "lt": lambda n: (1 << n) - 1,
             "ge": lambda n: 0xFFFFFFFF << n & 0xFFFFFFFF,
             "gt": lambda n: 0xFFFFFFFE << n & 0xFFFFFFFF}  # fmt: skip
    for name, fn in masks.items():
        yield special(f"lanemask_{name}", f"%lanemask_{name}", "u32", lambda t, b: fn(lane(t)), grid, block, "10.13")
    yield special("dynamic_smem_size", "%dynamic_smem_size", "u32", lambda t, b: 512, spec="10.31",
                  shared=512)  # fmt: skip
    yield special("clock.is_some_number", "%clock", "u32", lambda t, b: "*", spec="10.23")
    yield special("clock64.is_some_number", "%clock64", "u64", lambda t, b: "*", spec="10.25")
    yield special("globaltimer.is_some_number", "%globaltimer", "u64", lambda t, b: "*", spec="10.28")
    # Clocks do not run backwards.
    for register, t in (("%clock64", "u64"), ("%globaltimer", "u64")):
        yield kernel("special", f"{register[1:]}.monotonic", f"mov.u64 {register}", "10",
                     [wanted("out0", "u32", [1] * 32)],
                     [f"mov.u64 %a, {register};", f"mov.u64 %b, {register};",
                      "setp.ge.u64 %p, %b, %a;", "selp.u32 %d, 1, 0, %p;", "st.global.u32 [%out0], %d;"],
                     [".u64 %a", ".u64 %b", ".pred %p", ".u32 %d"])  # fmt: skip
    # The old 16-bit reading.
    ids = list(range(32))
    yield kernel("special", "tid.as_u16", "cvt.u16.u32 %tid.x", "10.1",
                 [given("in0", "u32", ids), wanted("out0", "u32", [3 * k for k in ids])],
                 ["cvt.u16.u32 %h, %tid.x;", "cvt.u32.u16 %x, %h;", "ld.global.u32 %y, [%in0];",
                  "mad.lo.u32 %x, %x, 2, %y;", "st.global.u32 [%out0], %x;"],
                 [".u16 %h", ".u32 %x", ".u32 %y"])  # fmt: skip


def tests():
    for group in (moves, vectors, immediates, specials):
        yield from group()
