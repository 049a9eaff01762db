"""Instructions that advise or order and leave data alone, and the reducing barriers in their long
spelling: PTX ISA 9.7.9, 9.7.13, 9.7.19."""

from ptxtest import changed, kernel, wanted

N = 64
DATA = [3 * k + 1 for k in range(N)]


def hint(name, spec, lines, target="sm_90", version="8.0", registers=(), per_thread=None):
    """Data goes through memory around the instruction, unchanged."""
    code = ["ld.global.u32 %v, [%in0];", "mov.u32 %s, tile;", "mad.lo.u32 %s, %i, 4, %s;", "st.shared.u32 [%s], %v;",
            *lines, "ld.shared.u32 %v, [%s];", "st.global.u32 [%out0], %v;"]  # fmt: skip
    return kernel("hints", name, lines[-1].split(" ")[0].rstrip(";"), spec,
                  [changed("in0", "u32", DATA, DATA), wanted("out0", "u32", DATA)], code,
                  [".u32 %v", ".u32 %s", ".u64 %m", *registers], block=(N, 1, 1), target=target, version=version,
                  globals_=[".shared .align 128 .b8 tile[256];"])  # fmt: skip


def tests():
    line = ["and.b64 %m, %in0, -128;"]
    yield hint("applypriority", "9.7.9.17", [*line, "applypriority.global.L2::evict_normal [%m], 128;"])
    yield hint("pmevent", "9.7.19.3", ["pmevent 3;"])
    yield hint("pmevent.mask", "9.7.19.3", ["pmevent.mask 9;"])
    yield hint("griddepcontrol.launch_dependents", "9.7.13.13", ["griddepcontrol.launch_dependents;"])
    yield hint("griddepcontrol.wait", "9.7.13.13", ["griddepcontrol.wait;"])
    for which in ("inc", "dec"):
        yield hint(f"setmaxnreg.{which}", "9.7.19.5", [f"setmaxnreg.{which}.sync.aligned.u32 64;"], target="sm_90a")
    for proxy in ("alias", "async", "async.global", "async.shared::cta"):
        yield hint(f"fence.proxy.{proxy.replace('::', '_')}", "9.7.13.4", [f"fence.proxy.{proxy};"])
    yield hint("fence.proxy.async.shared_cluster", "9.7.13.4", ["fence.proxy.async.shared::cluster;"])
    yield hint("membar.proxy.alias", "9.7.13.4", ["membar.proxy.alias;"])
    for kind in ("", ".proxy.async::generic"):
        for side, space in (("acquire", "cluster"), ("release", "cta")):
            yield hint(f"fence{kind.replace('::', '_')}.{side}.sync_restrict", "9.7.13.4",
                       [f"fence{kind}.{side}.sync_restrict::shared::{space}.cluster;"], version="8.6")  # fmt: skip
    for scope in ("cta", "cluster", "gpu", "sys"):
        yield hint(f"fence.proxy.tensormap.{scope}", "9.7.13.4",
                   ["cvta.global.u64 %m, %in0;", "and.b64 %m, %m, -128;",
                    f"fence.proxy.tensormap::generic.acquire.{scope} [%m], 128;",
                    f"fence.proxy.tensormap::generic.release.{scope};"], version="8.3")  # fmt: skip
    for d in range(1, 6):
        at = "{" + ", ".join(["%i"] * d) + "}"
        yield hint(f"cp.async.bulk.prefetch.tensor.{d}d", "9.7.9.25.5.4",
                   ["setp.gt.u32 %p, %i, 64;", f"@%p cp.async.bulk.prefetch.tensor.{d}d.L2.global.tile [%m, {at}];"],
                   registers=[".pred %p"])  # fmt: skip
    # What is discarded may hold anything afterwards, so it is written again.
    yield kernel("hints", "discard", "discard.global.L2", "9.7.9.18", [changed("out0", "u32", [9] * N, DATA)],
                 ["and.b64 %m, %out0, -128;", "setp.eq.u32 %p, %i, 0;", "@%p discard.global.L2 [%m], 128;",
                  "bar.sync 0;", "mad.lo.u32 %v, %i, 3, 1;", "st.global.u32 [%out0], %v;"],
                 [".u32 %v", ".u64 %m", ".pred %p"], block=(N, 1, 1))  # fmt: skip

    holds = [k % 3 == 0 for k in range(N)]
    spellings = [("barrier", cta, aligned) for cta in ("", ".cta") for aligned in ("", ".aligned")] + [("bar", ".cta", "")]
    for opcode, cta, aligned in spellings:
        op = f"{opcode}{cta}.red"
        for name, code, value in (
            ("popc", f"{op}.popc{aligned}.u32 %v, 1, %p;", sum(holds)),
            ("and", f"{op}.and{aligned}.pred %q, 1, %p;", all(holds)),
            ("or", f"{op}.or{aligned}.pred %q, 1, %p;", any(holds)),
        ):
            pick = [] if name == "popc" else ["selp.u32 %v, 1, 0, %q;"]
            yield kernel("hints", f"{op}.{name}{aligned}", code.split(" ")[0], "9.7.13.1",
                         [wanted("out0", "u32", [int(value)] * N)],
                         ["rem.u32 %v, %i, 3;", "setp.eq.u32 %p, %v, 0;", code, *pick,
                          "st.global.u32 [%out0], %v;"],
                         [".u32 %v", ".pred %p", ".pred %q"], block=(N, 1, 1), version="8.0")  # fmt: skip
