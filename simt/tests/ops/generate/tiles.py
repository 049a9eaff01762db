"""ldmatrix, stmatrix, movmatrix: PTX ISA 9.7.14.5.15 to .17."""

from ptxtest import given, kernel, wanted
from values import Stream

SHARED = ".shared .align 16 .b8 tile[1024];"
# Rows need not lie in order: matrix m, row r is the 16-byte line (13·(8m + r) + 5) mod 64.
LINES = [(13 * k + 5) % 64 for k in range(32)]


def contents():
    """A 1 KiB tile as 512 distinct 16-bit values."""
    s = Stream("ldmatrix")
    return [(s.below(128) << 9 | k) & 0xFFFF for k in range(512)]


def element(halves, matrix, row, column):
    return halves[LINES[8 * matrix + row] * 8 + column]


def fragment(lane, trans):
    """The two (row, column) places of a lane's register."""
    g, t = lane // 4, lane % 4
    return [(2 * t + j, g) if trans else (g, 2 * t + j) for j in (0, 1)]


def loads():
    halves = contents()
    words = [x | y << 16 for x, y in zip(halves[::2], halves[1::2])]
    lines = [16 * x for x in LINES]
    for n in (1, 2, 4):
        for trans in ("", ".trans"):
            for space in (".shared", ".shared::cta", ""):
                out = []
                for lane in range(32):
                    for m in range(n):
                        lo, hi = (element(halves, m, *p) for p in fragment(lane, trans))
                        out.append(lo | hi << 16)
                op = f"ldmatrix.sync.aligned.m8n8.x{n}{trans}{space}.b16"
                regs = ", ".join(f"%d{k}" for k in range(n))
                # 32 lanes copy the tile; lanes beyond the 8n addresses repeat the last ones.
                code = ["mov.u32 %s, tile;", "shl.b32 %t, %i, 5;", "add.u32 %t, %s, %t;"]
                for k in (0, 4):
                    code += [f"ld.global.v4.u32 {{%v0, %v1, %v2, %v3}}, [%in0+{4 * k}];",
                             f"st.shared.v4.u32 [%t+{4 * k}], {{%v0, %v1, %v2, %v3}};"]  # fmt: skip
                code += ["bar.sync 0;", "ld.global.u32 %u, [%in1];", "add.u32 %t, %s, %u;"]
                where = "[%t]"
                if not space:
                    code += ["cvt.u64.u32 %g, %t;", "cvta.shared.u64 %g, %g;"]
                    where = "[%g]"
                code.append(f"{op} {{{regs}}}, {where};")
                code += [f"st.global.u32 [%out0+{4 * k}], %d{k};" for k in range(n)]
                addresses = [lines[k % (8 * n)] for k in range(32)]
                label = {"": ".generic", ".shared": "", ".shared::cta": ".cta"}[space]
                yield kernel("tiles", f"ldmatrix.x{n}{trans}{label}", op, "9.7.14.5.15",
                             [given("in0", "u32", words), given("in1", "u32", addresses), wanted("out0", "b32", out)],
                             code, [".u32 %s", ".u32 %t", ".u32 %u", ".u64 %g", ".u32 %v<4>", f".b32 %d<{n}>"],
                             per_thread={"in0": 8, "out0": n}, globals_=[SHARED])  # fmt: skip


def stores():
    s = Stream("stmatrix")
    spaces = (".shared", ".shared::cta", "")
    forms = [(n, trans, space) for space in spaces for n in (1, 2, 4) for trans in ("", ".trans")]
    for n, trans, space in forms:
        op = f"stmatrix.sync.aligned.m8n8.x{n}{trans}{space}.b16"
        regs_in = [s.next() & 0xFFFFFFFF for _ in range(32 * n)]
        halves = [0] * 512
        for lane in range(32):
            for m in range(n):
                for j, (row, col) in enumerate(fragment(lane, trans)):
                    halves[LINES[8 * m + row] * 8 + col] = regs_in[lane * n + m] >> 16 * j & 0xFFFF
        words = [x | y << 16 for x, y in zip(halves[::2], halves[1::2])]
        code = ["mov.u32 %s, tile;", "shl.b32 %t, %i, 5;", "add.u32 %t, %s, %t;", "mov.u32 %v, 0;",
                "st.shared.v4.u32 [%t], {%v, %v, %v, %v};", "st.shared.v4.u32 [%t+16], {%v, %v, %v, %v};",
                "bar.sync 0;", "ld.global.u32 %u, [%in1];", "add.u32 %u, %s, %u;"]  # fmt: skip
        code += [f"ld.global.b32 %d{k}, [%in0+{4 * k}];" for k in range(n)]
        where = "[%u]"
        if not space:
            code += ["cvt.u64.u32 %g, %u;", "cvta.shared.u64 %g, %g;"]
            where = "[%g]"
        code += [f"{op} {where}, {{{', '.join(f'%d{k}' for k in range(n))}}};", "bar.sync 0;"]
        for k in range(8):
            code += [f"ld.shared.u32 %v, [%t+{4 * k}];", f"st.global.u32 [%out0+{4 * k}], %v;"]
        label = {"": ".generic", ".shared": "", ".shared::cta": ".cta"}[space]
        yield kernel("tiles", f"stmatrix.x{n}{trans}{label}", op, "9.7.14.5.16",
                     [given("in0", "b32", regs_in), given("in1", "u32", [16 * LINES[k % (8 * n)] for k in range(32)]),
                      wanted("out0", "u32", words)],
                     code, [".u32 %s", ".u32 %t", ".u32 %u", ".u32 %v", ".u64 %g", f".b32 %d<{n}>"],
                     per_thread={"in0": n, "out0": 8}, globals_=[SHARED], target="sm_90")  # fmt: skip


def moves():
    s = Stream("movmatrix")
    regs = [s.next() & 0xFFFFFFFF for _ in range(32)]
    matrix = [[regs[4 * r + c // 2] >> 16 * (c % 2) & 0xFFFF for c in range(8)] for r in range(8)]
    out = [matrix[2 * t][g] | matrix[2 * t + 1][g] << 16 for g in range(8) for t in range(4)]
    yield kernel("tiles", "movmatrix.trans", "movmatrix.sync.aligned.m8n8.trans.b16", "9.7.14.5.17",
                 [given("in0", "b32", regs), wanted("out0", "b32", out)],
                 ["ld.global.b32 %a, [%in0];", "movmatrix.sync.aligned.m8n8.trans.b16 %d, %a;",
                  "st.global.b32 [%out0], %d;"], [".b32 %a", ".b32 %d"])  # fmt: skip


def tests():
    for group in (loads, stores, moves):
        yield from group()
