"""Loads and stores that are not weak, or not coherent: every type, length and space of their lines.
PTX ISA 9.7.9.8 to 9.7.9.12."""

from ptxtest import WIDTH, given, kernel, wanted
from values import Stream, noise, signed

TYPES = ["b8", "b16", "b32", "b64", "b128", "u8", "u16", "u32", "u64", "s8", "s16", "s32", "s64", "f32", "f64"]
N = 32
SCOPES = ["cta", "gpu", "sys", "cluster"]
PARTS = {"volatile": ("volatile", "volatile"), "mmio": ("mmio.relaxed.sys", "mmio.relaxed.sys")}
CLUSTER = dict(grid=(2, 1, 1), target="sm_90", version="8.1", directives=[".reqnctapercluster 2, 1, 1"])
MEET = ["barrier.cluster.arrive.aligned;", "barrier.cluster.wait.aligned;"]


def data(t, seed, count):
    s = Stream(seed)
    width = WIDTH[t]
    return [noise(f"u{width}", s) if k % 4 else (1 << (width - 1)) + k for k in range(count)]


def mode(kind, k):
    """What stands between `ld` or `st` and the space, for the k-th test of a kind."""
    if kind == "strong":
        load, store = (("relaxed", "relaxed"), ("acquire", "release"))[k // 2 % 2]
        scope = SCOPES[k % 4]
        return f"{load}.{scope}", f"{store}.{scope}"
    return PARTS.get(kind, ("", ""))


def spelled(*words):
    return ".".join(w for w in words if w)


def needs(*mnemonics, wide=False):
    """The oldest target and version that have these."""
    if wide:
        return dict(target="sm_100", version="8.8")
    if any("mmio" in m for m in mnemonics):
        return dict(target="sm_80", version="8.4" if any("b128" in m for m in mnemonics) else "8.2")
    if any("cluster" in m for m in mnemonics):
        return dict(target="sm_90", version="8.0")
    return dict(target="sm_80", version="8.3" if any("b128" in m for m in mnemonics) else "8.0")


def of_type(kind, t, k):
    """A load into a wider register shows how the type extends; a store from it takes the low bits."""
    load, store = mode(kind, k)
    ld = {"nc": "ld.global.nc", "ldu": "ldu.global"}.get(kind) or spelled("ld", load, "global")
    st = spelled("st", store, "global")
    name = f"{spelled(ld, t)}.into.wide" if kind in ("nc", "ldu") else f"ld.st.{kind}.{t}"
    more = needs(spelled(ld, t), spelled(st, t))
    ops = f"{ld}.{t}, {st}.{t}"
    if t == "b128":
        values = data("b64", f"{kind} {t}", 2 * N)
        turned = [x for k in range(0, 2 * N, 2) for x in (values[k + 1], values[k])]
        return kernel("ordered", name, ops, "9.7.9.8", [given("in0", "b64", values), wanted("out0", "b64", turned)],
                      [f"{ld}.b128 %v, [%in0];", "mov.b128 {%x0, %x1}, %v;", "mov.b128 %v, {%x1, %x0};",
                       f"{st}.b128 [%out0], %v;"],
                      [".b128 %v", ".b64 %x<2>"], per_thread={"in0": 2, "out0": 2}, **more)  # fmt: skip
    w = WIDTH[t]
    values = data(t, f"{kind} {t}", N)
    if t[0] == "f":
        return kernel("ordered", name, ops, "9.7.9.8", [given("in0", t, values), wanted("out0", t, values)],
                      [f"{ld}.{t} %v, [%in0];", f"{st}.{t} [%out0], %v;"], [f".{t} %v"], **more)  # fmt: skip
    extended = [(signed(x, w) if t[0] == "s" else x) & (1 << 64) - 1 for x in values]
    # The register holds more than the store takes.
    spoilt = [f"xor.b64 %v, %v, {hex(((1 << 64) - 1) ^ ((1 << w) - 1))};"] if w < 64 else []
    return kernel("ordered", name, ops, "9.7.9.8",
                  [given("in0", t, values), wanted("out0", "b64", extended), wanted("out1", t, values)],
                  [f"{ld}.{t} %v, [%in0];", "st.global.b64 [%out0], %v;", *spoilt, f"{st}.{t} [%out1], %v;"],
                  [".b64 %v"], **more)  # fmt: skip


def of_length(kind, n, t, k):
    """Every element in its place: the store turns the order round."""
    load, store = mode(kind, k)
    ld = {"nc": "ld.global.nc", "ldu": "ldu.global"}.get(kind) or spelled("ld", load, "global")
    st = spelled("st", store, "global")
    values = data(t, f"{kind} {n} {t}", N * n)
    rows = [values[k : k + n] for k in range(0, len(values), n)]
    lanes = ", ".join(f"%v{k}" for k in range(n))
    turned = ", ".join(f"%v{n - 1 - k}" for k in range(n))
    name = f"{ld}.v{n}.{t}" if kind in ("nc", "ldu") else f"ld.st.{kind}.v{n}.{t}" if kind else f"ld.st.v{n}.{t}"
    wide = n * WIDTH[t] == 256
    return kernel("ordered", name, f"{ld}.v{n}.{t}, {st}.v{n}.{t}", "9.7.9.8",
                  [given("in0", t, values), wanted("out0", t, [x for r in rows for x in reversed(r)])],
                  [f"{ld}.v{n}.{t} {{{lanes}}}, [%in0];", f"{st}.v{n}.{t} [%out0], {{{turned}}};"],
                  [f".{'b16' if t == 'b8' else t} %v<{n}>"], per_thread={"in0": n, "out0": n},
                  **needs(ld, st, wide=wide))  # fmt: skip


def of_space(kind, space, k):
    """A word goes to the neighbouring thread by way of the space."""
    load, store = mode(kind, k)
    ld, st = spelled("ld", load, space, "u32"), spelled("st", store, space, "u32")
    values = data("u32", f"{kind} {space}", N)
    name = f"ld.st.{kind}.{space.replace('::', '_') or 'generic'}"
    if space == "shared::cluster":
        values = data("u32", f"{kind} {space}", 2 * N)
        other = values[N:] + values[:N]
        code = ["mov.u32 %b, %cluster_ctarank;", "mad.lo.u32 %w, %b, 32, %i;", "xor.b32 %b, %b, 1;",
                *(f"mad.wide.u32 %{x}, %w, 4, %{x};" for x in ("in0", "out0", "out1")), "ld.global.u32 %v, [%in0];",
                "mov.u32 %s, tile;", "mad.lo.u32 %s, %i, 4, %s;", "mapa.shared::cluster.u32 %r, %s, %b;", *MEET,
                f"{st} [%r], %v;", *MEET, "ld.shared.u32 %v, [%s];", "st.global.u32 [%out0], %v;",
                f"{ld} %v, [%r];", "st.global.u32 [%out1], %v;", *MEET]  # fmt: skip
        return kernel("ordered", name, f"{ld}, {st}", "9.7.9.8",
                      [given("in0", "u32", values), wanted("out0", "u32", other), wanted("out1", "u32", values)], code,
                      [".u32 %b", ".u32 %v", ".u32 %w", ".u32 %s", ".u32 %r"], per_thread={"in0": 0, "out0": 0, "out1": 0},
                      globals_=[".shared .align 4 .b8 tile[128];"], **CLUSTER)  # fmt: skip
    shared = space != ""
    code = ["ld.global.u32 %v, [%in0];", "mov.u64 %g, tile;", f"{'' if shared else 'cvta.global.u64 %g, %g;'}",
            "mad.wide.u32 %a, %i, 4, %g;", f"{st} [%a], %v;", "bar.sync 0;", "add.u32 %w, %i, 5;", "and.b32 %w, %w, 31;",
            "mad.wide.u32 %a, %w, 4, %g;", f"{ld} %v, [%a];", "st.global.u32 [%out0], %v;"]  # fmt: skip
    kind_of = ".shared" if shared else ".global"
    return kernel("ordered", name, f"{ld}, {st}", "9.7.9.8",
                  [given("in0", "u32", values), wanted("out0", "u32", values[5:] + values[:5])],
                  [c for c in code if c], [".u32 %v", ".u32 %w", ".u64 %g", ".u64 %a"],
                  globals_=[f"{kind_of} .align 4 .b8 tile[128];"], **needs(ld, st))  # fmt: skip


def tests():
    for kind in ("volatile", "strong", "mmio", "nc", "ldu"):
        for k, t in enumerate(TYPES):
            yield of_type(kind, t, k)
    for k, (kind, n, t) in enumerate(
        [(kind, n, t) for kind in ("volatile", "strong", "nc", "ldu") for n, t in ((2, "u64"), (4, "b16"))]
        + [(kind, 8, "b32") for kind in ("", "volatile", "strong", "nc")]
        + [("", 8, "f32"), ("", 4, "b64"), ("strong", 4, "f64")]
    ):
        yield of_length(kind, n, t, k)
    for kind in ("", "volatile", "strong"):
        for k, space in enumerate(("", "shared", "shared::cta", "shared::cluster")):
            yield of_space(kind or "weak", space, k)
    yield of_space("mmio", "", 0)
    values = data("u32", "ldu generic", N)
    yield kernel("ordered", "ldu.u32.generic", "ldu.u32", "9.7.9.10", [given("in0", "u32", values), wanted("out0", "u32", values)],
                 ["cvta.global.u64 %g, %in0;", "ldu.u32 %v, [%g];", "st.global.u32 [%out0], %v;"],
                 [".u32 %v", ".u64 %g"])  # fmt: skip
