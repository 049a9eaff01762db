"""Hints to the caches: every word of each line, one access after the other, each with its value.
PTX ISA 9.7.9.2, 9.7.9.8, 9.7.9.12, 9.7.9.17 to 9.7.9.20."""

from ptxtest import given, kernel, wanted
from values import Stream

N = 32
L1 = ["L1::evict_normal", "L1::evict_unchanged", "L1::evict_first", "L1::evict_last", "L1::no_allocate"]
L2 = ["L2::evict_normal", "L2::evict_first", "L2::evict_last"]
AHEAD = ["L2::64B", "L2::128B", "L2::256B"]
POLICY = "L2::cache_hint"
MAKE = "createpolicy.fractional.L2::evict_first.b64 %policy, 0.5;"
LOADS = {
    "ld.global": [".ca", ".cg", ".cs", ".lu", ".cv"],
    "ld.relaxed.gpu.global": [],
    "ld.acquire.sys.global": [],
    "ld.global.nc": [],
    "ld.volatile.global": [],
}  # fmt: skip
STORES = {"st.global": [".wb", ".cg", ".cs", ".wt"], "st.relaxed.gpu.global": [], "st.release.cta.global": []}


def words(name, count):
    s = Stream(name)
    return [s.next() & 0xFFFFFFFF for _ in range(count)]


def variants(op, operators, ahead, wide):
    """What may follow `op`: each word once alone, and some together."""
    if wide:  # Only the widest accesses say how long the second level shall keep them.
        found = [f".{x}" for x in L2] + [f".L1::evict_last.{x}" for x in L2] + [f".{L2[0]}.{POLICY}"]
        return found + ([f".{L1[0]}.{L2[1]}.{POLICY}.{x}" for x in AHEAD] if ahead else [])
    if "volatile" in op:
        return [f".{x}" for x in AHEAD]
    found = [f".{x}" for x in (*L1, POLICY)] + [f".L1::evict_first.{POLICY}"]
    if ahead:
        found += [f".{x}" for x in AHEAD] + [f".{L1[k]}.{POLICY}.{x}" for k, x in enumerate(AHEAD)]
    if op == "ld.global.nc":  # The operator stands before `.nc`.
        return found
    return found + operators + [f"{x}.{POLICY}" for x in operators]


def accesses(op, operators, wide):
    """Access k reads or writes element k of the thread's."""
    load = op.startswith("ld")
    todo = [f"{op}{v}" for v in variants(op, operators, load, wide)]
    if op == "ld.global.nc" and not wide:
        todo += [f"ld.global.{c}.nc{v}" for c in ("ca", "cg", "cs") for v in ("", ".L2::64B", f".{POLICY}")]
    n = 8 if wide else 1
    count = len(todo) * n
    values = words(f"hints {op} {wide}", N * count)
    lanes = "{" + ", ".join(f"%v{k}" for k in range(8)) + "}" if wide else "%v0"
    code = [MAKE] if any(POLICY in t for t in todo) else []
    for k, mnemonic in enumerate(todo):
        at = 4 * n * k
        policy = ", %policy" if POLICY in mnemonic else ""
        ty = "v8.b32" if wide else "b32"
        plain_load = [f"ld.global.b32 %v{q}, [%in0+{at + 4 * q}];" for q in range(n)]
        plain_store = [f"st.global.b32 [%out0+{at + 4 * q}], %v{q};" for q in range(n)]
        if load:
            code += [f"{mnemonic}.{ty} {lanes}, [%in0+{at}]{policy};", *plain_store]
        else:
            code += [*plain_load, f"{mnemonic}.{ty} [%out0+{at}], {lanes}{policy};"]
    more = dict(target="sm_100", version="8.8") if wide else {}
    return kernel("hints", f"{op}.hints{'.wide' if wide else ''}", f"{op} with hints", "9.7.9.8" if load else "9.7.9.12",
                  [given("in0", "b32", values), wanted("out0", "b32", values)], code,
                  [f".b32 %v<{n}>", ".b64 %policy"], per_thread={"in0": count, "out0": count}, **more)  # fmt: skip


def policies():
    """Every policy, and a load and a store that carry it."""
    made = [f"{first}{second}" for first in ("L2::evict_last", "L2::evict_normal", "L2::evict_first", "L2::evict_unchanged")
            for second in ("", ".L2::evict_first", ".L2::evict_unchanged")]  # fmt: skip
    values = words("policies", N * len(made))
    code = []
    for k, name in enumerate(made):
        fraction = ("", ", 0.25", ", 1.0")[k % 3]
        code += [f"createpolicy.fractional.{name}.b64 %policy{fraction};",
                 f"ld.global.{POLICY}.b32 %v, [%in0+{4 * k}], %policy;",
                 f"st.global.{POLICY}.b32 [%out0+{4 * k}], %v, %policy;"]  # fmt: skip
    yield kernel("hints", "createpolicy.fractional", "createpolicy.fractional", "9.7.9.19",
                 [given("in0", "b32", values), wanted("out0", "b32", values)], code, [".b32 %v", ".b64 %policy"],
                 per_thread={"in0": len(made), "out0": len(made)})  # fmt: skip


def prefetches():
    """Nothing moves that a thread could see."""
    values = words("prefetch", N)
    table = ", ".join(map(str, values))
    pair = [given("in0", "b32", values), wanted("out0", "b32", values)]
    for op in ("prefetch.global.L2::evict_last", "prefetch.global.L2::evict_normal", "prefetch.L1", "prefetch.L2::evict_last",
               "prefetch.L2::evict_normal", "applypriority.L2::evict_normal"):  # fmt: skip
        where = "%in0" if "global" in op else "%generic"
        size = ", 128" if "priority" in op else ""
        yield kernel("hints", op.replace("::", "_"), op, "9.7.9.17", pair,
                     ["cvta.global.u64 %generic, %in0;", "and.b64 %generic, %generic, -128;", f"{op} [{where}]{size};",
                      "ld.global.b32 %v, [%in0];", "st.global.b32 [%out0], %v;"], [".b32 %v", ".u64 %generic"])  # fmt: skip
    for level in ("L1", "L2"):
        test = kernel("hints", f"prefetch.local.{level}", f"prefetch.local.{level}", "9.7.9.17", pair,
                      ["ld.global.b32 %v, [%in0];", "st.local.b32 [slot], %v;", f"prefetch.local.{level} [slot];",
                       "ld.local.b32 %v, [slot];", "st.global.b32 [%out0], %v;"], [".b32 %v"])  # fmt: skip
        test.body.insert(0, ".local .align 4 .b32 slot;")
        yield test
    # A tensor map may lie in constant memory, be a parameter, or have a generic address. No parameter
    # here is aligned as one, so that one is not fetched.
    lines = {"const": ["mov.u64 %p, table;"], "": ["mov.u64 %p, table;", "cvta.const.u64 %p, %p;"],
             "param": ["mov.u64 %p, out0;", "setp.gt.u32 %never, %i, 64;"]}  # fmt: skip
    for space, make in lines.items():
        op = f"prefetch.{space}.tensormap" if space else "prefetch.tensormap"
        guard = "@%never " if space == "param" else ""
        yield kernel("hints", op, op, "9.7.9.17", [wanted("out0", "b32", values)],
                     [*make, f"{guard}{op} [%p];", "mov.u64 %p, table;", "mad.wide.u32 %p, %i, 4, %p;",
                      "ld.const.b32 %v, [%p];", "st.global.b32 [%out0], %v;"],
                     [".b32 %v", ".u64 %p", ".pred %never"], target="sm_90", version="8.0",
                     globals_=[f".const .align 128 .b32 table[{N}] = {{{table}}};"])  # fmt: skip
    # Discarded by a generic address: what was there may be anything, so it is written again.
    yield kernel("hints", "discard.generic", "discard.L2", "9.7.9.18", [wanted("out0", "b32", values), given("in0", "b32", values)],
                 ["setp.eq.u32 %p, %i, 0;", "cvta.global.u64 %m, %out0;", "@%p discard.L2 [%m], 128;", "bar.sync 0;",
                  "ld.global.b32 %v, [%in0];", "st.global.b32 [%out0], %v;"],
                 [".b32 %v", ".u64 %m", ".pred %p"], notes=["an allocation begins on a boundary of 128 bytes"])  # fmt: skip


def tests():
    for ops in (LOADS, STORES):
        for op, operators in ops.items():
            yield accesses(op, operators, False)
            if "volatile" not in op:
                yield accesses(op, operators, True)
    for group in (policies, prefetches):
        yield from group()
