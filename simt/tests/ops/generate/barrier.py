"""Block barriers: PTX ISA 9.7.13.1; fences: 9.7.13.4."""

from ptxtest import given, kernel, wanted

N = 96


def neighbour(barrier, instruction):
    """Every thread writes its word and reads its neighbour's on the other side."""
    values = [7 * k + 3 for k in range(N)]
    return kernel("barrier", instruction.replace(" ", "_").replace(",", ""), instruction, "9.7.13.1",
                  [given("in0", "u32", values), wanted("out0", "u32", values[33:] + values[:33])],
                  ["mov.u32 %s, tile;", "mad.lo.u32 %t, %i, 4, %s;", "ld.global.u32 %v, [%in0];",
                   "st.shared.u32 [%t], %v;", *barrier, "add.u32 %u, %i, 33;", f"rem.u32 %u, %u, {N};",
                   "mad.lo.u32 %t, %u, 4, %s;", "ld.shared.u32 %v, [%t];", "st.global.u32 [%out0], %v;"],
                  [".u32 %s", ".u32 %t", ".u32 %u", ".u32 %v", ".u32 %id"], block=(N, 1, 1),
                  globals_=[f".shared .align 4 .b8 tile[{4 * N}];"])  # fmt: skip


def reductions():
    patterns = {"none": lambda k: 0, "all": lambda k: 1, "one": lambda k: int(k == 77), "third": lambda k: int(k % 3 == 0)}
    for label, fn in patterns.items():
        bits = [fn(k) for k in range(N)]
        for op, result in (("popc.u32", sum(bits)), ("and.pred", int(all(bits))), ("or.pred", int(any(bits)))):
            for negate in ("", "!"):
                inv = {"popc.u32": N - sum(bits), "and.pred": int(not any(bits)), "or.pred": int(not all(bits))}[op]
                store = ["selp.u32 %v, 1, 0, %q;"] if "pred" in op else []
                d = "%q" if "pred" in op else "%v"
                op_name = f"bar.red.{op.split('.')[0]}.{label}{'.not' if negate else ''}"
                yield kernel("barrier", op_name, f"bar.red.{op}", "9.7.13.1",
                             [given("in0", "u32", bits), wanted("out0", "u32", [inv if negate else result] * N)],
                             ["ld.global.u32 %v, [%in0];", "setp.ne.u32 %p, %v, 0;",
                              f"bar.red.{op} {d}, 1, {negate}%p;", *store, "st.global.u32 [%out0], %v;"],
                             [".u32 %v", ".pred %p", ".pred %q"], block=(N, 1, 1))  # fmt: skip


def producer_consumer():
    """Warp 0 produces, warps 1 and 2 consume: arrive does not wait, sync does, and the
    count names all three warps."""
    yield kernel("barrier", "bar.arrive.producer", "bar.arrive, bar.sync with count", "9.7.13.1",
                 [wanted("out0", "u32", [0] * 32 + [100 + (k % 32) for k in range(32, N)])],
                 ["mov.u32 %s, tile;", "and.b32 %u, %i, 31;", "mad.lo.u32 %t, %u, 4, %s;",
                  "mov.u32 %v, 0;", "setp.ge.u32 %p, %i, 32;", "@%p bra consume;",
                  "add.u32 %u, %u, 100;", "st.shared.u32 [%t], %u;", "bar.arrive 3, 96;", "bra done;",
                  "consume:", "bar.sync 3, 96;", "ld.shared.u32 %v, [%t];",
                  "done:", "st.global.u32 [%out0], %v;"],
                 [".u32 %s", ".u32 %t", ".u32 %u", ".u32 %v", ".pred %p"], block=(N, 1, 1),
                 globals_=[".shared .align 4 .b8 tile[128];"])  # fmt: skip
    for op in ("barrier.arrive", "barrier.cta.arrive.aligned", "bar.cta.arrive"):
        sync = op.replace("arrive", "sync")
        yield kernel("barrier", f"{op}.producer", f"{op}, {sync}", "9.7.13.1",
                     [wanted("out0", "u32", [0] * 32 + [100 + (k % 32) for k in range(32, N)])],
                     ["mov.u32 %s, tile;", "and.b32 %u, %i, 31;", "mad.lo.u32 %t, %u, 4, %s;", "mov.u32 %v, 0;",
                      "setp.ge.u32 %p, %i, 32;", "@%p bra consume;", "add.u32 %u, %u, 100;", "st.shared.u32 [%t], %u;",
                      f"{op} 3, 96;", "bra done;", "consume:", f"{sync} 3, 96;", "ld.shared.u32 %v, [%t];",
                      "done:", "st.global.u32 [%out0], %v;"],
                     [".u32 %s", ".u32 %t", ".u32 %u", ".u32 %v", ".pred %p"], block=(N, 1, 1),
                     globals_=[".shared .align 4 .b8 tile[128];"])  # fmt: skip
    # Two pairs of warps use two barriers at once, by a register id.
    yield kernel("barrier", "bar.sync.register_id", "bar.sync a, b", "9.7.13.1",
                 [wanted("out0", "u32", [(k ^ 32) * 5 for k in range(128)])],
                 ["mov.u32 %s, tile;", "mad.lo.u32 %t, %i, 4, %s;", "mul.lo.u32 %v, %i, 5;",
                  "st.shared.u32 [%t], %v;", "shr.u32 %u, %i, 6;", "add.u32 %u, %u, 4;",
                  "bar.sync %u, 64;", "xor.b32 %u, %i, 32;", "mad.lo.u32 %t, %u, 4, %s;",
                  "ld.shared.u32 %v, [%t];", "st.global.u32 [%out0], %v;"],
                 [".u32 %s", ".u32 %t", ".u32 %u", ".u32 %v"], block=(128, 1, 1),
                 globals_=[".shared .align 4 .b8 tile[512];"])  # fmt: skip
    # Ping-pong through one barrier, many times: generations must not mix.
    yield kernel("barrier", "bar.sync.loop", "bar.sync in a loop", "9.7.13.1",
                 [wanted("out0", "u32", [k - 20 if k >= 20 else k - 20 + N for k in range(N)])],
                 ["mov.u32 %s, tile;", "mov.u32 %v, %i;", "mov.u32 %n, 0;", "next:",
                  "mad.lo.u32 %t, %i, 4, %s;", "st.shared.u32 [%t], %v;", "bar.sync 0;",
                  f"add.u32 %u, %i, {N - 1};", f"rem.u32 %u, %u, {N};", "mad.lo.u32 %t, %u, 4, %s;",
                  "ld.shared.u32 %v, [%t];", "bar.sync 0;", "add.u32 %n, %n, 1;",
                  "setp.lt.u32 %p, %n, 20;", "@%p bra next;", "st.global.u32 [%out0], %v;"],
                 [".u32 %s", ".u32 %t", ".u32 %u", ".u32 %v", ".u32 %n", ".pred %p"], block=(N, 1, 1),
                 globals_=[f".shared .align 4 .b8 tile[{4 * N}];"])  # fmt: skip


def fences():
    """Fences alone change no value: message passing between the blocks of a grid."""
    for fence in ("membar.gl", "membar.sys", "membar.cta", "fence.acq_rel.gpu", "fence.sc.gpu",
                  "fence.acq_rel.sys", "fence.acq_rel.cta", "fence.sc.cta"):  # fmt: skip
        if fence.endswith("cta"):
            yield kernel("barrier", fence, fence, "9.7.13.4", [wanted("out0", "u32", list(range(N)))],
                         [f"{fence};", "st.global.u32 [%out0], %i;"], [], block=(N, 1, 1))  # fmt: skip
            continue
        yield kernel("barrier", fence, f"{fence}: message passing", "9.7.13.4",
                     [given("in0", "u32", [41, 42]), wanted("out0", "u32", [42])],
                     ["mov.u32 %b, %ctaid.x;", "setp.eq.u32 %p, %b, 0;", "@!%p bra reader;",
                      "ld.global.u32 %v, [%in0+4];", "st.global.u32 [box], %v;", f"{fence};",
                      "st.relaxed.gpu.global.u32 [flag], 1;", "bra done;",
                      "reader:", "ld.relaxed.gpu.global.u32 %f, [flag];", "setp.eq.u32 %p, %f, 0;",
                      "@%p bra reader;", f"{fence};", "ld.global.u32 %v, [box];",
                      "st.global.u32 [%out0], %v;", "done:"],
                     [".u32 %b", ".u32 %v", ".u32 %f", ".pred %p"], block=(1, 1, 1), grid=(2, 1, 1),
                     per_thread={"in0": 0, "out0": 0},
                     globals_=[".global .align 4 .u32 box;", ".global .align 4 .u32 flag = 0;"],
                     notes=["both blocks must be resident at once, as two always are on a GPU"])  # fmt: skip


def one_sided():
    """A fence that only releases before the flag, one that only acquires after it; without a word
    it does both."""
    for scope in ("cta", "cluster", "gpu", "sys"):
        for before, after in (("release", "acquire"), ("", ""), ("acq_rel", "acquire"), ("release", "sc")):
            write, read = (".".join(x for x in ("fence", order, scope) if x) for order in (before, after))
            warps = scope == "cta"
            launch = dict(block=(64, 1, 1)) if warps else dict(block=(1, 1, 1), grid=(2, 1, 1))
            if scope == "cluster":
                launch |= dict(target="sm_90", version="8.0", directives=[".reqnctapercluster 2, 1, 1"])
            who = ["shr.u32 %b, %i, 5;", "and.b32 %f, %i, 31;", "setp.ne.u32 %p, %f, 0;", "@%p bra done;"]
            yield kernel("barrier", f"fence.{before or 'plain'}.{after or 'plain'}.{scope}", f"{write}, {read}", "9.7.13.4",
                         [given("in0", "u32", [41, 42]), wanted("out0", "u32", [42])],
                         [*(who if warps else ["mov.u32 %b, %ctaid.x;"]), "setp.eq.u32 %p, %b, 0;", "@!%p bra reader;",
                          "ld.global.u32 %v, [%in0+4];", "st.global.u32 [box], %v;", f"{write};",
                          f"st.relaxed.{scope}.global.u32 [flag], 1;", "bra done;",
                          "reader:", f"ld.relaxed.{scope}.global.u32 %f, [flag];", "setp.eq.u32 %p, %f, 0;",
                          "@%p bra reader;", f"{read};", "ld.global.u32 %v, [box];", "st.global.u32 [%out0], %v;", "done:"],
                         [".u32 %b", ".u32 %v", ".u32 %f", ".pred %p"], per_thread={"in0": 0, "out0": 0},
                         globals_=[".global .align 4 .u32 box;", ".global .align 4 .u32 flag = 0;"],
                         notes=[] if warps else ["both blocks must be resident at once, as two always are on a GPU"],
                         **launch)  # fmt: skip


def tests():
    plain = {
        "bar.sync 0": ["bar.sync 0;"], "bar.sync 2": ["bar.sync 2;"], "bar.sync 1, 96": ["bar.sync 1, 96;"],
        "barrier.sync 0": ["barrier.sync 0;"], "barrier.sync.aligned 5, 96": ["barrier.sync.aligned 5, 96;"],
        "barrier.cta.sync 0": ["barrier.cta.sync 0;"], "bar.cta.sync 15": ["bar.cta.sync 15;"],
        "bar.sync register": ["mov.u32 %id, 7;", "bar.sync %id;"],
    }  # fmt: skip
    for name, code in plain.items():
        yield neighbour(code, name)
    for group in (reductions, producer_consumer, fences, one_sided):
        yield from group()
