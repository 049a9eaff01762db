"""atom and red in every order, scope and space: message passing, PTX ISA 8 and 9.7.13.5 to 9.7.13.7.

One thread writes a word and then a flag; another waits for the flag and reads the word. Every line
of the instruction table makes the flag in turn. The two threads are in blocks, in blocks of one
cluster, or in warps of one block, as far apart as scope and space allow. Where the atomic neither
releases nor acquires, a fence does.
"""

from dataclasses import dataclass

from floats import BF16, F16, F32, F64
from ptxtest import WIDTH, kernel, wanted

MESSAGE = 0x600DCAFE
ONE = {"f16": F16.one, "bf16": BF16.one, "f32": F32.one, "f64": F64.one,
       "f16x2": F16.one * 0x10001, "bf16x2": BF16.one * 0x10001}  # fmt: skip
HOLDS = {"f16x2": "b32", "bf16x2": "b32", "f16": "b16", "bf16": "b16", "f32": "b32", "f64": "b64"}
HALVES, PAIRS = ("f16", "bf16"), ("f16x2", "bf16x2")


@dataclass
class Line:
    """A line of the table: its operations, types and lengths, taken in turn."""

    ops: tuple
    types: tuple
    lengths: tuple = ("",)
    hints: bool = True


LINES = [
    Line(("and", "or", "xor"), ("b32", "b64")),
    Line(("exch",), ("b32", "b64")),
    Line(("cas",), ("b32", "b16", "b64"), hints=False),
    Line(("inc", "dec"), ("u32",)),
    Line(("add",), ("u32", "s32", "u64", "f32", "f64")),
    Line(("add.noftz",), ("f16", "bf16x2", "bf16", "f16x2")),
    Line(("min", "max"), ("u32", "s64", "u64", "s32")),
    Line(("add",), ("f32",), ("v2", "v4")),
    Line(("add.noftz", "min.noftz", "max.noftz"), HALVES, ("v2", "v4", "v8")),
    Line(("add.noftz", "min.noftz", "max.noftz"), PAIRS, ("v4", "v2")),
]
# Every scope and every space once a row.
PLACES = [
    [("", ""), ("cta", "shared::cta"), ("cluster", "shared::cluster"), ("gpu", "global"), ("sys", "shared")],
    [("", "global"), ("cta", "shared"), ("cluster", "shared::cta"), ("gpu", "shared::cluster"), ("sys", "")],
    [("", "shared"), ("cta", "global"), ("cluster", ""), ("gpu", "shared::cta"), ("sys", "shared::cluster")],
]
PLACES_OF_VECTORS = [("", ""), ("cta", "global"), ("cluster", ""), ("gpu", "global"), ("sys", "")]


def steps(op, t):
    """Initial flag, what raises it, what leaves it to be looked at."""
    one = ONE.get(t, 1)
    full = (1 << WIDTH[HOLDS.get(t, t)]) - 1
    return {
        "and": (full, 1, full), "or": (0, 1, 0), "xor": (0, 1, 0), "exch": (0, 1, 0), "cas": (0, 1, 0),
        "inc": (0, 5, 0), "dec": (0, 1, 0), "add": (0, one, 0), "min": (one, 0, one), "max": (0, one, 0),
    }[op.split(".")[0]]  # fmt: skip


def raised(op, t):
    """The flag once it is up."""
    initial, value, _ = steps(op, t)
    return {"inc": 1, "min": 0}.get(op.split(".")[0], value)


def placed(scope, space):
    """How the launch looks: two blocks, two blocks of a cluster, or two warps."""
    if space == "shared::cluster" or (scope == "cluster" and space in ("", "global")):
        return "cluster"
    if space.startswith("shared") or scope == "cta":
        return "warps"
    return "blocks"


def passing(kind, op, t, length, order, scope, space, hinted):
    held = HOLDS.get(t, t)
    width = WIDTH[held] // 8
    n = int(length[1:]) if length else 1
    where = placed(scope, space)
    initial, value, neutral = steps(op, t)
    name = ".".join(x for x in (kind, order, scope, space, op, "L2::cache_hint" if hinted else "", length, t) if x)
    wide = scope or "gpu"
    # Who am I? %b is 0 for the writer.
    code = {"blocks": ["mov.u32 %b, %ctaid.x;"], "cluster": ["mov.u32 %b, %cluster_ctarank;"],
            "warps": ["shr.u32 %b, %i, 5;"]}[where]  # fmt: skip
    code = [*code, "setp.ne.u32 %p, %b, 0;", "mov.u64 %box, box;"]
    if where == "warps":
        code.append("and.b32 %lane, %i, 31;")
    # The flag, as the access, and as a plain load or store names it.
    if space.startswith("shared"):
        code += ["mov.u32 %s, flag;"]
        first = "%i, %b" if where == "cluster" else "%i"
        code += [f"or.b32 %x, {first};"] if where == "cluster" else ["mov.u32 %x, %i;"]
        code += ["setp.eq.u32 %q, %x, 0;"] + [f"@%q st.shared.{held} [%s+{width * k}], %n{k};" for k in range(n)]
        if where == "cluster":
            code += ["barrier.cluster.arrive.aligned;", "barrier.cluster.wait.aligned;",
                     "mapa.shared::cluster.u32 %s, %s, 0;"]  # fmt: skip
        else:
            code += ["bar.sync 0;"]
        address, plain = "[%s]", space
    elif space == "global":
        code.append("mov.u64 %g, flag;")
        address, plain = "[%g]", "global"
    else:
        code += ["mov.u64 %g, flag;", "cvta.global.u64 %g, %g;"]
        address, plain = "[%g]", ""
    of = f".{plain}" if plain else ""
    # What the operands are: the value raises, the neutral one looks.
    setup = [f"mov.{held} %n{k}, {initial};" for k in range(n)]
    setup += [f"mov.{held} %u{k}, {value if k == 0 else neutral};" for k in range(n)]
    setup += [f"mov.{held} %l{k}, {neutral};" for k in range(n)]
    if hinted:
        setup.append("createpolicy.fractional.L2::evict_last.b64 %policy, 1.0;")

    def regs(r):
        return "{" + ", ".join(f"%{r}{k}" for k in range(n)) + "}" if n > 1 else f"%{r}0"

    mnemonic = ".".join(x for x in (kind, order, scope, space, op, "L2::cache_hint" if hinted else "", length, t) if x)
    policy = ", %policy" if hinted else ""

    def atomic(operand):
        compare = f"{regs('l')}, " if op == "cas" else ""
        if op == "cas" and operand == "l":
            compare = f"{regs('u')}, "
        result = f"{regs('d')}, " if kind == "atom" else ""
        return f"{mnemonic} {result}{address}, {compare}{regs(operand)}{policy};"

    holder = HOLDS.get(t, t)
    bits = "b" + holder[1:]
    releases, acquires = order in ("release", "acq_rel"), order in ("acquire", "acq_rel")
    # The writer: through the atomic, unless that only acquires.
    write = ["st.global.u32 [%box], %m;"]
    if order == "acquire" and kind == "atom":
        write += [f"st.release.{wide}{of}.{bits} {address}, {raised(op, t)};"]
    else:
        write += [] if releases else [f"fence.acq_rel.{wide};"]
        write += [atomic("u")]
    # The reader: through the atomic, unless that only releases.
    if kind == "atom" and order != "release":
        look = [atomic("l")]
        after = [] if acquires else [f"fence.acq_rel.{wide};"]
    else:
        look = [f"ld.acquire.{wide}{of}.{bits} %d0, {address};"]
        after = []
    up = raised(op, t)
    if WIDTH[held] == 16:
        look += ["cvt.u32.u16 %x, %d0;", f"setp.ne.u32 %q, %x, {up};"]
    else:
        look += [f"setp.ne.{bits} %q, %d0, {up};"]
    code = setup + code + ["@%p bra reader;"]
    if where == "warps":
        code += ["setp.ne.u32 %q, %lane, 0;", "@%q bra done;"]
    code += [*write, "bra done;", "reader:"]
    if where == "warps":
        code += ["setp.ne.u32 %q, %lane, 0;", "@%q bra done;"]
    code += ["again:", *look, "@%q bra again;", *after, "ld.global.u32 %x, [%box];", "st.global.u32 [%out0], %x;",
             "done:"]  # fmt: skip
    if where == "cluster":  # A block's shared memory must outlive the other's accesses.
        code += ["barrier.cluster.arrive.aligned;", "barrier.cluster.wait.aligned;"]
    regs_ = [".pred %p", ".pred %q", ".u32 %b", ".u32 %m", ".u32 %s", ".u32 %x", ".u32 %lane", ".u64 %g", ".u64 %box",
             f".{bits} %n<{n}>", f".{bits} %u<{n}>", f".{bits} %l<{n}>", f".{bits} %d<{n}>", ".b64 %policy"]  # fmt: skip
    globals_ = [".global .align 4 .u32 box;"]
    values = ", ".join([str(initial)] * n)
    if space.startswith("shared"):
        globals_.append(f".shared .align 16 .{bits} flag[{n}];")
    else:
        globals_.append(f".global .align 16 .{bits} flag[{n}] = {{{values}}};")
    launch = {"blocks": dict(grid=(2, 1, 1), block=(1, 1, 1)), "warps": dict(block=(64, 1, 1)),
              "cluster": dict(grid=(2, 1, 1), block=(1, 1, 1), directives=[".reqnctapercluster 2, 1, 1"])}[where]  # fmt: skip
    code.insert(0, f"mov.u32 %m, {MESSAGE};")
    new = where == "cluster" or scope == "cluster" or length or t in ("bf16", "bf16x2")
    notes = ["both blocks must be resident at once, as two always are on a GPU"] if where == "blocks" else []
    return kernel("order", name.replace("::", "_"), mnemonic, "9.7.13.5" if kind == "atom" else "9.7.13.7",
                  [wanted("out0", "u32", [MESSAGE])], code, regs_, per_thread={"out0": 0}, globals_=globals_,
                  target="sm_90" if new else "sm_80", version="8.1" if new else "8.0", notes=notes, **launch)  # fmt: skip


def tests():
    orders = {"atom": ["", "relaxed", "acquire", "release", "acq_rel"], "red": ["", "relaxed", "release"]}
    for kind in orders:
        for number, line in enumerate(LINES):
            if kind == "red" and line.ops[0] in ("exch", "cas"):
                continue
            places = PLACES_OF_VECTORS if line.lengths[0] else PLACES[number % len(PLACES)]
            hinted = False
            for k, (scope, space) in enumerate(places):
                order = orders[kind][(k + number) % len(orders[kind])]
                op = line.ops[k % len(line.ops)]
                t = line.types[k % len(line.types)]
                length = line.lengths[k % len(line.lengths)]
                # One of a line says what the caches should do; shared memory has none.
                hint = line.hints and not hinted and space in ("", "global")
                hinted |= hint
                yield passing(kind, op, t, length, order, scope, space, hint)
