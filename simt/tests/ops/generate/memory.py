"""Loads, stores and addresses in every space: PTX ISA 9.7.9.8 to 9.7.9.20, 5.1."""

from ptxtest import WIDTH, elementwise, given, kernel, wanted
from values import Stream, noise, signed, unary

TYPES = ["b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "b64", "u64", "s64", "f32", "f64"]
LD, ST = "9.7.9.8", "9.7.9.11"


def data(t, seed, count):
    s = Stream(seed)
    return [noise("u" + t[1:], s) if k % 4 else (1 << (WIDTH[t] - 1)) + k for k in range(count)]


def reg(t):
    return {"b8": "b16", "u8": "u16", "s8": "s16"}.get(t, t)


def scalars():
    for t in TYPES:
        values = data(t, f"ld {t}", 32)
        # Through every writable space: global → shared → local → global.
        size = WIDTH[t] // 8
        code = [f"ld.global.{t} %v, [%in0];",
                "mov.u32 %s, tile;", f"mad.lo.u32 %s, %i, {size}, %s;",
                f"st.shared.{t} [%s], %v;", f"ld.shared.{t} %v, [%s];",
                f"st.local.{t} [slot+8], %v;", f"ld.local.{t} %v, [slot+8];",
                f"st.global.{t} [%out0], %v;"]  # fmt: skip
        yield kernel("memory", f"ld.st.{t}", f"ld.{t}, st.{t} in global, shared and local", LD,
                     [given("in0", t, values), wanted("out0", t, values)], code,
                     [f".{reg(t)} %v", ".u32 %s"],
                     globals_=[f".shared .align 8 .b8 tile[{32 * size}];"])  # fmt: skip


def with_local(test):
    """Declares the 16-byte local variable `slot` inside the entry."""
    test.body.insert(0, ".local .align 8 .b8 slot[16];")
    return test


def extension():
    """A register wider than the loaded type is extended by the type's sign; a narrower
    store takes the low bits."""
    for t in ("u8", "s8", "b8", "u16", "s16", "b16", "u32", "s32", "b32"):
        w = WIDTH[t]
        values = data(t, f"extend {t}", 32)
        for wide in ("b32", "b64"):
            if WIDTH[wide] <= w:
                continue
            mask = (1 << WIDTH[wide]) - 1
            expect = [(signed(x, w) if t[0] == "s" else x) & mask for x in values]
            code = [f"ld.global.{t} %v, [%in0];", f"st.global.{wide} [%out0], %v;"]
            yield kernel("memory", f"ld.{t}.into.{wide}", f"ld.global.{t}", LD,
                         [given("in0", t, values), wanted("out0", wide, expect)], code, [f".{wide} %v"])  # fmt: skip
    values = unary("b64", "truncating store", 32)
    for t in ("u8", "b16", "s32"):
        w = WIDTH[t]
        yield kernel("memory", f"st.{t}.from.b64", f"st.global.{t}", ST,
                     [given("in0", "b64", values), wanted("out0", t, [x & ((1 << w) - 1) for x in values])],
                     ["ld.global.b64 %v, [%in0];", f"st.global.{t} [%out0], %v;"], [".b64 %v"])  # fmt: skip


def vectors():
    for n in (2, 4):
        for t in ("u8", "s16", "b16", "u32", "f32", "b64", "f64", "s8"):
            if WIDTH[t] * n > 128:
                continue
            values = data(t, f"vector {t} {n}", 32 * n)
            size = n * WIDTH[t] // 8
            lanes = ", ".join(f"%v{k}" for k in range(n))
            turned = ", ".join(f"%v{n - 1 - k}" for k in range(n))
            rows = [values[k : k + n] for k in range(0, len(values), n)]
            expect = [x for r in rows for x in reversed(r)]
            code = [f"ld.global.v{n}.{t} {{{lanes}}}, [%in0];",
                    "mov.u32 %s, tile;", f"mad.lo.u32 %s, %i, {size}, %s;",
                    f"st.shared.v{n}.{t} [%s], {{{lanes}}};", f"ld.shared.v{n}.{t} {{{lanes}}}, [%s];",
                    f"st.global.v{n}.{t} [%out0], {{{turned}}};"]  # fmt: skip
            yield kernel("memory", f"ld.st.v{n}.{t}", f"ld.v{n}.{t}, st.v{n}.{t}", LD,
                         [given("in0", t, values), wanted("out0", t, expect)], code,
                         [f".{reg(t)} %v<{n}>", ".u32 %s"], per_thread={"in0": n, "out0": n},
                         globals_=[f".shared .align 16 .b8 tile[{32 * size}];"])  # fmt: skip
    # 16 bytes as one value: the lower half first.
    values = data("b64", "b128", 64)
    turned = [x for k in range(0, 64, 2) for x in (values[k + 1], values[k])]
    yield kernel("memory", "ld.st.b128", "ld.b128, st.b128", LD,
                 [given("in0", "b64", values), wanted("out0", "b64", turned)],
                 ["ld.global.b128 %v, [%in0];", "mov.u32 %s, tile;", "mad.lo.u32 %s, %i, 16, %s;",
                  "st.shared.b128 [%s], %v;", "ld.shared.v2.b64 {%x0, %x1}, [%s];", "mov.b128 %v, {%x1, %x0};",
                  "st.global.b128 [%out0], %v;"],
                 [".b128 %v", ".b64 %x<2>", ".u32 %s"], per_thread={"in0": 2, "out0": 2}, target="sm_80",
                 version="8.3", globals_=[".shared .align 16 .b8 tile[512];"])  # fmt: skip
    # A sink in place of an unwanted element; a constant stored in a vector.
    values = data("u32", "sink", 64)
    yield kernel("memory", "ld.v2.sink", "ld.v2.u32", LD,
                 [given("in0", "u32", values), wanted("out0", "u32", [x for k in range(0, 64, 2) for x in (values[k + 1], 77)])],
                 ["ld.global.v2.u32 {_, %v}, [%in0];", "mov.u32 %w, 77;",
                  "st.global.v2.u32 [%out0], {%v, %w};"],
                 [".u32 %v", ".u32 %w"], per_thread={"in0": 2, "out0": 2})  # fmt: skip


def hints():
    """Cache operators and eviction hints move the same bytes."""
    values = data("u32", "hints", 32)
    loads = ["ca", "cg", "cs", "lu", "cv"]
    ops = [(f"ld.global.{h}.u32", "sm_80", "8.0") for h in loads]
    ops += [(f"ld.global.{x}.u32", "sm_80", "8.0") for x in
            ("nc", "nc.L1::no_allocate", "L1::evict_first", "L1::evict_last", "L1::no_allocate",
             "L2::128B", "ca.L2::64B", "relaxed.gpu", "acquire.sys", "acquire.cta", "weak")]  # fmt: skip
    ops += [("ld.volatile.global.u32", "sm_80", "8.0"), ("ld.relaxed.gpu.global.u32", "sm_80", "8.0"),
            ("ld.acquire.gpu.global.u32", "sm_80", "8.0"), ("ldu.global.u32", "sm_80", "8.0")]  # fmt: skip
    for op, target, version in ops:
        yield kernel("memory", op.replace("::", "_"), op, LD,
                     [given("in0", "u32", values), wanted("out0", "u32", values)],
                     [f"{op} %v, [%in0];", "st.global.u32 [%out0], %v;"], [".u32 %v"],
                     target=target, version=version)  # fmt: skip
    for op in ("st.global.wb.u32", "st.global.cg.u32", "st.global.cs.u32", "st.global.wt.u32",
               "st.volatile.global.u32", "st.relaxed.gpu.global.u32", "st.release.sys.global.u32",
               "st.global.release.gpu.u32", "st.gpu.relaxed.global.u32", "st.global.L1::no_allocate.u32", "st.global.L1::evict_last.u32", "st.weak.global.u32"):  # fmt: skip
        yield kernel("memory", op.replace("::", "_"), op, ST,
                     [given("in0", "u32", values), wanted("out0", "u32", values)],
                     ["ld.global.u32 %v, [%in0];", f"{op} [%out0], %v;"], [".u32 %v"])  # fmt: skip
    v4 = data("u32", "nc v4", 128)
    yield kernel("memory", "ld.global.nc.v4.u32", "ld.global.nc.L1::no_allocate.v4.u32", LD,
                 [given("in0", "u32", v4), wanted("out0", "u32", v4)],
                 ["ld.global.nc.L1::no_allocate.v4.u32 {%v0, %v1, %v2, %v3}, [%in0];",
                  "st.global.v4.u32 [%out0], {%v0, %v1, %v2, %v3};"], [".u32 %v<4>"],
                 per_thread={"in0": 4, "out0": 4})  # fmt: skip
    policy = ["createpolicy.fractional.L2::evict_last.b64 %policy, 1.0;",
              "ld.global.L2::cache_hint.u32 %v, [%in0], %policy;",
              "st.global.L2::cache_hint.u32 [%out0], %v, %policy;"]  # fmt: skip
    yield kernel("memory", "createpolicy.cache_hint", "ld.global.L2::cache_hint.u32", LD,
                 [given("in0", "u32", values), wanted("out0", "u32", values)], policy,
                 [".u32 %v", ".b64 %policy"])  # fmt: skip
    for op in ("prefetch.global.L1", "prefetch.global.L2", "prefetchu.L1", "prefetch.L2"):
        where = "%in0" if "global" in op else "%generic"
        yield kernel("memory", op, op, "9.7.9.15",
                     [given("in0", "u32", values), wanted("out0", "u32", values)],
                     ["ld.param.u64 %generic, [in0];", f"{op} [{where}];",
                      "ld.global.u32 %v, [%in0];", "st.global.u32 [%out0], %v;"],
                     [".u32 %v", ".u64 %generic"])  # fmt: skip


def spaces():
    values = data("u32", "spaces", 32)
    table = [x for x in range(100, 132)]
    init = ", ".join(map(str, table))
    pair = [given("in0", "u32", values), wanted("out0", "u32", values)]
    # Constant and initialised global variables.
    for space in ("const", "global"):
        yield kernel("memory", f"ld.{space}.initialised", f"ld.{space}.u32", "5.1",
                     [wanted("out0", "u32", table)],
                     ["mov.u64 %p, table;", "mad.wide.u32 %p, %i, 4, %p;",
                      f"ld.{space}.u32 %v, [%p];", "st.global.u32 [%out0], %v;"],
                     [".u64 %p", ".u32 %v"], globals_=[f".{space} .align 4 .u32 table[32] = {{{init}}};"])  # fmt: skip
    yield kernel("memory", "global.initialiser.partial", "ld.global.u8", "5.4.4",
                 [wanted("out0", "u8", [1, 2, 255] + [0] * 29)],
                 ["mov.u64 %p, bytes;", "cvt.u64.u32 %q, %i;", "add.u64 %p, %p, %q;",
                  "ld.global.u8 %v, [%p];", "st.global.u8 [%out0], %v;"],
                 [".u64 %p", ".u64 %q", ".u16 %v"], globals_=[".global .align 4 .b8 bytes[32] = {1, 2, 0xff};"],
                 notes=["elements without an initialiser are zero"])  # fmt: skip
    yield kernel("memory", "global.initialiser.address", "mov.u64", "5.4.4",
                 [wanted("out0", "u32", [7] * 32)],
                 ["ld.global.u64 %p, [where];", "ld.u32 %v, [%p+4];", "st.global.u32 [%out0], %v;"],
                 [".u64 %p", ".u32 %v"],
                 globals_=[".global .align 4 .u32 what[2] = {5, 7};",
                           ".global .align 8 .u64 where = generic(what);"])  # fmt: skip
    # Generic addresses made from each space, and back.
    for space, declare in (("global", None), ("shared", ".shared .align 4 .b8 tile[128];"),
                           ("local", ".local .align 4 .b8 tile[128];"),
                           ("const", f".const .align 4 .u32 tile[32] = {{{init}}};")):  # fmt: skip
        if space == "global":
            code = ["cvta.global.u64 %g, %in0;", "ld.u32 %v, [%g];"]
        elif space == "const":
            code = ["mov.u64 %g, tile;", "cvta.const.u64 %g, %g;", "mad.wide.u32 %g, %i, 4, %g;", "ld.u32 %v, [%g];"]
        else:
            code = ["mov.u64 %g, tile;", f"cvta.{space}.u64 %g, %g;", "mad.wide.u32 %g, %i, 4, %g;",
                    "ld.global.u32 %v, [%in0];", "st.u32 [%g], %v;", "mov.u32 %v, 0;",
                    f"cvta.to.{space}.u64 %h, %g;", f"ld.{space}.u32 %v, [%h];"]  # fmt: skip
        code += ["st.global.u32 [%out0], %v;"]
        for other in ("global", "shared", "local", "const"):
            code += [f"isspacep.{other} %p, %g;", "selp.u32 %v, 1, 0, %p;",
                     f"st.global.u32 [%{other}], %v;"]  # fmt: skip
        answers = [wanted(o, "u32", [int(o == space)] * 32) for o in ("global", "shared", "local", "const")]
        expect = table if space == "const" else values
        test = kernel("memory", f"cvta.{space}", f"cvta.{space}, isspacep", "9.7.9.18",
                      [given("in0", "u32", values), wanted("out0", "u32", expect), *answers], code,
                      [".u64 %g", ".u64 %h", ".u32 %v", ".pred %p"],
                      globals_=[declare] if declare and space != "local" else [])  # fmt: skip
        if space == "local":
            test.body.insert(0, declare)
        yield test
    # Addresses as operands: register + immediate, variable + immediate, negative offsets.
    yield kernel("memory", "address.offsets", "ld.global.u32 [reg+imm]", "6.4.1", pair,
                 ["add.u64 %in0, %in0, 64;", "ld.global.u32 %v, [%in0+-64];",
                  "sub.u64 %out0, %out0, 8;", "st.global.u32 [%out0+8], %v;"], [".u32 %v"])  # fmt: skip
    yield kernel("memory", "address.shared32", "st.shared [variable+imm]", "6.4.1",
                 [wanted("out0", "u32", [9] * 32)],
                 ["setp.eq.u32 %p, %i, 0;", "@%p st.shared.u32 [tile+12], 9;", "bar.sync 0;",
                  "ld.shared.u32 %v, [tile+12];", "st.global.u32 [%out0], %v;"],
                 [".pred %p", ".u32 %v"], globals_=[".shared .align 4 .b8 tile[16];"])  # fmt: skip
    yield kernel("memory", "shared.extern", "extern .shared", "5.4.3",
                 [given("in0", "u32", values), wanted("out0", "u32", list(reversed(values)))],
                 ["mov.u32 %s, dynamic;", "mad.lo.u32 %t, %i, 4, %s;", "ld.global.u32 %v, [%in0];",
                  "st.shared.u32 [%t], %v;", "bar.sync 0;", "sub.u32 %t, 31, %i;",
                  "mad.lo.u32 %t, %t, 4, %s;", "ld.shared.u32 %v, [%t];", "st.global.u32 [%out0], %v;"],
                 [".u32 %s", ".u32 %t", ".u32 %v"], shared=128,
                 globals_=[".extern .shared .align 16 .b8 dynamic[];"])  # fmt: skip
    yield from parameters()


def parameters():
    """A parameter read in parts: the low word and bytes of a 64-bit one."""
    yield elementwise("memory", "ld.param.parts", "ld.param", "5.1.6", [("u32", [0] * 32)],
                      [("u32", [1] * 32)],
                      ["ld.param.u64 %w, [in0];", "ld.param.u32 %lo, [in0];", "ld.param.u32 %hi, [in0+4];",
                       "ld.param.v2.u32 {%x, %y}, [in0];", "mov.b64 %z, {%lo, %hi};",
                       "setp.eq.u64 %p, %w, %z;", "setp.eq.and.u32 %p, %x, %lo, %p;",
                       "setp.eq.and.u32 %p, %y, %hi, %p;", "selp.u32 %d0, 1, 0, %p;"],
                      extra=[".u64 %w", ".b64 %z", ".u32 %lo", ".u32 %hi", ".u32 %x", ".u32 %y", ".pred %p"])  # fmt: skip


def tests():
    yield from map(with_local, scalars())
    for group in (extension, vectors, hints, spaces):
        yield from group()
