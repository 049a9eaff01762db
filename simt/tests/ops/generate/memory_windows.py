"""Generic addresses: what `cvta` makes, what `isspacep` says of it, and parameters by their
qualified names. PTX ISA 5.1.6, 9.7.9.22 to 9.7.9.24."""

from ptxtest import given, kernel, wanted
from values import Stream

N = 32
PAIR = dict(grid=(2, 1, 1), target="sm_90", version="8.0", directives=[".reqnctapercluster 2, 1, 1"])
MEET = ["barrier.cluster.arrive.aligned;", "barrier.cluster.wait.aligned;"]
PLACES = ["global", "shared", "peer", "local", "const", "param"]
# Where each window lies among them; of a parameter the ISA does not say whether it is global too.
WINDOWS = {
    "global": [1, 0, 0, 0, 0, "*"],
    "shared": [0, 1, 0, 0, 0, 0],
    "shared::cta": [0, 1, 0, 0, 0, 0],
    "shared::cluster": [0, 1, 1, 0, 0, 0],
    "local": [0, 0, 0, 1, 0, 0],
    "const": [0, 0, 0, 0, 1, 0],
    "param": [0, 0, 0, 0, 0, 1],
    "param::entry": [0, 0, 0, 0, 0, 1],
}


def words(name, count):
    s = Stream(name)
    return [s.next() & 0xFFFFFFFF for _ in range(count)]


def questions():
    """`isspacep` of an address of every kind; the shared memory of another block of the cluster is
    in the cluster's window alone."""
    for window, answers in WINDOWS.items():
        code = ["mov.u32 %b, %cluster_ctarank;", "mad.lo.u32 %w, %b, 32, %i;", "mad.wide.u32 %out0, %w, 24, %out0;",
                "xor.b32 %b, %b, 1;", "ld.param.u64 %a0, [out0];", "mov.u64 %a1, tile;", "cvta.shared.u64 %a1, %a1;",
                "mapa.u64 %a2, %a1, %b;", "mov.u64 %a3, slot;", "cvta.local.u64 %a3, %a3;", "mov.u64 %a4, table;",
                "cvta.const.u64 %a4, %a4;", "mov.u64 %a5, out0;", "cvta.param.u64 %a5, %a5;"]  # fmt: skip
        for k in range(len(PLACES)):
            code += [f"isspacep.{window} %p, %a{k};", "selp.u32 %v, 1, 0, %p;", f"st.global.u32 [%out0+{4 * k}], %v;"]
        test = kernel("windows", f"isspacep.{window.replace('::', '_')}", f"isspacep.{window}", "9.7.9.23",
                      [wanted("out0", "u32", answers * 2 * N)], code + MEET,
                      [".u32 %b", ".u32 %w", ".u32 %v", ".pred %p", ".u64 %a<6>"], per_thread={"out0": 0},
                      globals_=[".shared .align 8 .b8 tile[64];", ".const .align 4 .u32 table[2] = {1, 2};"],
                      **PAIR | dict(version="8.3" if "entry" in window else "8.0"))  # fmt: skip
        test.body.insert(0, ".local .align 8 .b8 slot[8];")
        yield test


def there_and_back():
    values = words("windows", 2 * N)
    pair = [given("in0", "u32", values), wanted("out0", "u32", values[N:] + values[:N])]
    # A word goes to the other block by a generic address and comes back by one of the window.
    code = ["mov.u32 %b, %cluster_ctarank;", "mad.lo.u32 %w, %b, 32, %i;", "xor.b32 %b, %b, 1;",
            "mad.wide.u32 %in0, %w, 4, %in0;", "mad.wide.u32 %out0, %w, 4, %out0;", "ld.global.u32 %v, [%in0];",
            "mov.u32 %s, tile;", "mad.lo.u32 %s, %i, 4, %s;", "mapa.shared::cluster.u32 %r, %s, %b;",
            "cvt.u64.u32 %g, %r;", "cvta.shared::cluster.u64 %g, %g;", *MEET]  # fmt: skip
    regs = [".u32 %b", ".u32 %w", ".u32 %v", ".u32 %s", ".u32 %r", ".u64 %g", ".u64 %h"]
    tile = [".shared .align 4 .b8 tile[128];"]
    finish = [*MEET, "ld.shared.u32 %v, [%s];", "st.global.u32 [%out0], %v;", *MEET]
    starts = {"in0": 0, "out0": 0}
    yield kernel("windows", "cvta.shared_cluster", "cvta.shared::cluster.u64", "9.7.9.22", pair,
                 [*code, "st.u32 [%g], %v;", *finish], regs, per_thread=starts, globals_=tile, **PAIR)  # fmt: skip
    yield kernel("windows", "cvta.to.shared_cluster", "cvta.to.shared::cluster.u64", "9.7.9.22", pair,
                 [*code, "cvta.to.shared::cluster.u64 %h, %g;", "st.shared::cluster.u32 [%h], %v;", *finish], regs,
                 per_thread=starts, globals_=tile, **PAIR)  # fmt: skip
    values = values[:N]
    mine = [given("in0", "u32", values), wanted("out0", "u32", values)]
    yield kernel("windows", "cvta.shared_cta", "cvta.shared::cta.u64, cvta.to.shared::cta.u64", "9.7.9.22", mine,
                 ["mov.u64 %g, tile;", "mad.wide.u32 %g, %i, 4, %g;", "cvta.shared::cta.u64 %g, %g;",
                  "ld.global.u32 %v, [%in0];", "st.u32 [%g], %v;", "mov.u32 %v, 0;", "cvta.to.shared::cta.u64 %h, %g;",
                  "ld.shared::cta.u32 %v, [%h];", "st.global.u32 [%out0], %v;"],
                 [".u32 %v", ".u64 %g", ".u64 %h"], globals_=tile)  # fmt: skip
    table = ", ".join(map(str, values))
    yield kernel("windows", "cvta.to.const", "cvta.to.const.u64", "9.7.9.22", [wanted("out0", "u32", values)],
                 ["mov.u64 %g, table;", "cvta.const.u64 %g, %g;", "mad.wide.u32 %g, %i, 4, %g;", "cvta.to.const.u64 %h, %g;",
                  "ld.const.u32 %v, [%h];", "st.global.u32 [%out0], %v;"],
                 [".u32 %v", ".u64 %g", ".u64 %h"], globals_=[f".const .align 4 .u32 table[{N}] = {{{table}}};"])  # fmt: skip


def parameters():
    """The pointer to `in0`, read from parameter memory in another way, leads to the same words."""
    values = words("parameters", N)
    pair = [given("in0", "u32", values), wanted("out0", "u32", values)]
    read = ["mad.wide.u32 %p, %i, 4, %p;", "ld.global.u32 %v, [%p];", "st.global.u32 [%out0], %v;"]
    for window, more in (("param", {}), ("param::entry", dict(version="8.3"))):
        name = window.replace("::", "_")
        yield kernel("windows", f"ld.{name}", f"ld.{window}.u64", "5.1.6", pair, [f"ld.{window}.u64 %p, [in0];", *read],
                     [".u32 %v", ".u64 %p"], **more)  # fmt: skip
        yield kernel("windows", f"cvta.{name}", f"cvta.{window}.u64", "9.7.9.22", pair,
                     ["mov.u64 %g, in0;", f"cvta.{window}.u64 %g, %g;", "ld.u64 %p, [%g];", *read],
                     [".u32 %v", ".u64 %p", ".u64 %g"], **more)  # fmt: skip
        yield kernel("windows", f"cvta.to.{name}", f"cvta.to.{window}.u64", "9.7.9.22", pair,
                     ["mov.u64 %g, in0;", f"cvta.{window}.u64 %g, %g;", f"cvta.to.{window}.u64 %h, %g;",
                      f"ld.{window}.u64 %p, [%h];", *read],
                     [".u32 %v", ".u64 %p", ".u64 %g", ".u64 %h"], **more)  # fmt: skip
    # A device function takes a word and a vector, and gives the word times three plus their parts.
    expect = [(3 * x + i + 7) & 0xFFFFFFFF for i, x in enumerate(values)]
    for qualified in ("param", "param::func"):
        function = [
            ".func (.param .b32 answer) triple(.param .b32 word, .param .align 8 .b8 both[8]) {",
            "    .reg .u32 %x, %y, %z;",
            f"    ld.{qualified}.u32 %x, [word];",
            f"    ld.{qualified}.v2.u32 {{%y, %z}}, [both];",
            "    mad.lo.u32 %x, %x, 3, %y;",
            "    add.u32 %x, %x, %z;",
            f"    st.{qualified}.u32 [answer], %x;",
            "    ret.uni;",
            "}",
        ]
        code = ["ld.global.u32 %v, [%in0];", "mov.u32 %w, 7;", "{", ".param .b32 given;", ".param .align 8 .b8 two[8];",
                ".param .b32 back;", f"st.{qualified}.u32 [given], %v;", f"st.{qualified}.v2.u32 [two], {{%i, %w}};",
                "call.uni (back), triple, (given, two);", f"ld.{qualified}.u32 %v, [back];", "}",
                "st.global.u32 [%out0], %v;"]  # fmt: skip
        yield kernel("windows", f"{qualified.replace('::', '_')}.function", f"ld.{qualified}, st.{qualified}, ret.uni",
                     "5.1.6.2", [given("in0", "u32", values), wanted("out0", "u32", expect)], code,
                     [".u32 %v", ".u32 %w"], globals_=function,
                     **(dict(version="8.3") if "func" in qualified else {}))  # fmt: skip


def tests():
    for group in (questions, there_and_back, parameters):
        yield from group()
