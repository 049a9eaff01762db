"""cp.async with groups, and mbarrier: PTX ISA 9.7.9.25.3, 9.7.13.15."""

from ptxtest import given, kernel, wanted
from values import Stream

N = 64
SHARED = ".shared .align 128 .b8 tile[4096];"


def words(name, n):
    s = Stream(name)
    return [s.next() & 0xFFFFFFFF for _ in range(n)]


def copies():
    for size in (4, 8, 16):
        n = size // 4
        data = words(f"cp.async {size}", N * n)
        for cache in ("ca", "cg") if size == 16 else ("ca",):
            for hint in ("", ".L2::128B"):
                op = f"cp.async.{cache}.shared.global{hint}"
                code = ["mov.u32 %s, tile;", f"mad.lo.u32 %s, %i, {size}, %s;", f"{op} [%s], [%in0], {size};",
                        "cp.async.wait_all;", "bar.sync 0;"]  # fmt: skip
                for k in range(n):
                    code += [f"ld.shared.u32 %v, [%s+{4 * k}];", f"st.global.u32 [%out0+{4 * k}], %v;"]
                yield kernel("asynchronous", f"cp.async.{cache}{hint.replace('::', '_')}.{size}", op, "9.7.9.25.3.1",
                             [given("in0", "u32", data), wanted("out0", "u32", data)], code, [".u32 %s", ".u32 %v"],
                             per_thread={"in0": n, "out0": n}, block=(N, 1, 1), globals_=[SHARED])  # fmt: skip
        # A source shorter than the copy: the rest is zero. Thread k copies k mod (size + 1) bytes.
        expect = []
        for k in range(N):
            raw = b"".join(w.to_bytes(4, "little") for w in data[n * k : n * k + n])
            kept = raw[: k % (size + 1)].ljust(size, b"\0")
            expect += [int.from_bytes(kept[4 * q : 4 * q + 4], "little") for q in range(n)]
        code = ["mov.u32 %s, tile;", f"mad.lo.u32 %s, %i, {size}, %s;", f"rem.u32 %v, %i, {size + 1};",
                f"cp.async.ca.shared.global [%s], [%in0], {size}, %v;", "cp.async.commit_group;",
                "cp.async.wait_group 0;"]  # fmt: skip
        for k in range(n):
            code += [f"ld.shared.u32 %v, [%s+{4 * k}];", f"st.global.u32 [%out0+{4 * k}], %v;"]
        yield kernel("asynchronous", f"cp.async.zero_fill.{size}", "cp.async with src-size", "9.7.9.25.3.1",
                     [given("in0", "u32", data), wanted("out0", "u32", expect)], code, [".u32 %s", ".u32 %v"],
                     per_thread={"in0": n, "out0": n}, block=(N, 1, 1), globals_=[SHARED])  # fmt: skip
    data = words("ignore-src", N)
    yield kernel("asynchronous", "cp.async.ignore_src", "cp.async with ignore-src", "9.7.9.25.3.1",
                 [given("in0", "u32", data), wanted("out0", "u32", [0 if k % 2 else x for k, x in enumerate(data)])],
                 ["mov.u32 %s, tile;", "mad.lo.u32 %s, %i, 4, %s;", "and.b32 %v, %i, 1;", "setp.ne.u32 %p, %v, 0;",
                  "cp.async.ca.shared.global [%s], [%in0], 4, %p;", "cp.async.wait_all;",
                  "ld.shared.u32 %v, [%s];", "st.global.u32 [%out0], %v;"],
                 [".u32 %s", ".u32 %v", ".pred %p"], block=(N, 1, 1), globals_=[SHARED])  # fmt: skip
    yield from copy_hints()
    # Four groups in flight; wait_group n leaves the n youngest pending.
    data = words("groups", 4 * N)
    code = ["mov.u32 %s, tile;", "mad.lo.u32 %s, %i, 4, %s;"]
    for g in range(4):
        code += [f"cp.async.ca.shared.global [%s+{256 * g}], [%in0+{256 * g}], 4;", "cp.async.commit_group;"]
    for g in range(4):
        code += [f"cp.async.wait_group {3 - g};", "bar.sync 0;", f"xor.b32 %t, %i, {g + 1};", "mov.u32 %u, tile;",
                 "mad.lo.u32 %u, %t, 4, %u;", f"ld.shared.u32 %v, [%u+{256 * g}];",
                 f"st.global.u32 [%out0+{256 * g}], %v;"]  # fmt: skip
    expect = [data[N * g + (k ^ (g + 1))] for g in range(4) for k in range(N)]
    yield kernel("asynchronous", "cp.async.groups", "cp.async.commit_group, cp.async.wait_group", "9.7.9.25.3.2",
                 [given("in0", "u32", data), wanted("out0", "u32", expect)], code,
                 [".u32 %s", ".u32 %t", ".u32 %u", ".u32 %v"], block=(N, 1, 1), globals_=[SHARED])  # fmt: skip


def copy_hints():
    """Every qualified space, prefetch size and policy, each with a copy of its own."""
    for cache in ("ca", "cg"):
        todo = [(space, hint, ahead) for space in ("shared", "shared::cta") for hint in ("", ".L2::cache_hint")
                for ahead in ("", ".L2::64B", ".L2::128B", ".L2::256B")]  # fmt: skip
        n = 4 * len(todo)
        data = words(f"cp.async hints {cache}", 16 * n)
        code = ["createpolicy.fractional.L2::evict_first.b64 %policy, 1.0;", "mov.u32 %s, tile;",
                f"mad.lo.u32 %s, %i, {4 * n}, %s;"]  # fmt: skip
        for k, (space, hint, ahead) in enumerate(todo):
            # The source size may come before the policy: half of these copy less than all.
            tail = (", 8" if k % 4 > 1 else "") + (", %policy" if hint else "")
            code.append(f"cp.async.{cache}.{space}.global{hint}{ahead} [%s+{16 * k}], [%in0+{16 * k}], 16{tail};")
        code += ["cp.async.wait_all;"]
        for k in range(n):
            code += [f"ld.shared.u32 %v, [%s+{4 * k}];", f"st.global.u32 [%out0+{4 * k}], %v;"]
        expect = [0 if k // 4 % 4 > 1 and k % 4 > 1 else x for k, x in enumerate(data)]
        yield kernel("asynchronous", f"cp.async.{cache}.hints", f"cp.async.{cache} with hints", "9.7.9.25.3.1",
                     [given("in0", "u32", data), wanted("out0", "u32", expect)], code,
                     [".u32 %s", ".u32 %v", ".b64 %policy"], per_thread={"in0": n, "out0": n}, block=(16, 1, 1),
                     globals_=[SHARED])  # fmt: skip


WAIT = ["wait{n}:", "mbarrier.test_wait.parity.shared.b64 %p, [bar], {parity};", "@!%p bra wait{n};"]
BAR = ".shared .align 8 .b64 bar;"


def wait(n, parity):
    return [line.format(n=n, parity=parity) for line in WAIT]


def barriers():
    data = words("mbarrier", N)
    start = ["mov.u32 %s, tile;", "mad.lo.u32 %s, %i, 4, %s;", "setp.eq.u32 %p, %i, 0;",
             f"@%p mbarrier.init.shared.b64 [bar], {N};", "bar.sync 0;"]  # fmt: skip
    regs = [".u32 %s", ".u32 %t", ".u32 %v", ".u64 %state", ".pred %p"]
    turned = [data[N - 1 - k] for k in range(N)]
    reads = [f"sub.u32 %t, {N - 1}, %i;", "mov.u32 %v, tile;", "mad.lo.u32 %t, %t, 4, %v;",
             "ld.shared.u32 %v, [%t];", "st.global.u32 [%out0], %v;"]  # fmt: skip
    bufs = [given("in0", "u32", data), wanted("out0", "u32", turned)]
    put = ["ld.global.u32 %v, [%in0];", "st.shared.u32 [%s], %v;"]
    more = dict(block=(N, 1, 1), globals_=[SHARED, BAR])
    spec = "9.7.13.15"
    yield kernel("asynchronous", "mbarrier.arrive.parity", "mbarrier.arrive, test_wait.parity", spec, bufs,
                 [*start, *put, "mbarrier.arrive.shared.b64 %state, [bar];", *wait(0, 0), *reads], regs, **more)  # fmt: skip
    yield kernel("asynchronous", "mbarrier.arrive.state", "mbarrier.arrive, test_wait", spec, bufs,
                 [*start, *put, "mbarrier.arrive.shared.b64 %state, [bar];", "again:",
                  "mbarrier.test_wait.shared.b64 %p, [bar], %state;", "@!%p bra again;", *reads], regs, **more)  # fmt: skip
    yield kernel("asynchronous", "mbarrier.try_wait.parity", "mbarrier.try_wait.parity", spec, bufs,
                 [*start, *put, "mbarrier.arrive.shared.b64 %state, [bar];", "again:",
                  "mbarrier.try_wait.parity.shared.b64 %p, [bar], 0;", "@!%p bra again;", *reads], regs,
                 target="sm_90", **more)  # fmt: skip
    yield kernel("asynchronous", "mbarrier.cp_async", "cp.async.mbarrier.arrive.noinc", "9.7.13.15.16", bufs,
                 [*start, "cp.async.ca.shared.global [%s], [%in0], 4;",
                  "cp.async.mbarrier.arrive.noinc.shared.b64 [bar];", *wait(0, 0), *reads], regs, **more)  # fmt: skip
    yield kernel("asynchronous", "mbarrier.cp_async.counted", "cp.async.mbarrier.arrive", "9.7.13.15.16", bufs,
                 [*start, "cp.async.ca.shared.global [%s], [%in0], 4;",
                  "cp.async.mbarrier.arrive.shared.b64 [bar];",
                  "mbarrier.arrive.shared.b64 %state, [bar];", *wait(0, 0), *reads], regs, **more)  # fmt: skip
    for space in ("", ".shared::cta"):
        where = "%g" if not space else "bar"
        for noinc in ("", ".noinc"):
            op = f"cp.async.mbarrier.arrive{noinc}{space}.b64"
            own = [] if noinc else ["mbarrier.arrive.shared.b64 %state, [bar];"]
            yield kernel("asynchronous", op.replace("::", "_"), op, "9.7.13.15.16", bufs,
                         [*start, "mov.u64 %g, bar;", "cvta.shared.u64 %g, %g;",
                          "cp.async.ca.shared::cta.global [%s], [%in0], 4;", f"{op} [{where}];", *own, *wait(0, 0), *reads],
                         [*regs, ".u64 %g"], **more)  # fmt: skip
    # Six phases: the parity alternates, and each phase moves every word one place.
    code = [*start, "mov.u32 %n, 0;", "ld.global.u32 %v, [%in0];", "next:", "st.shared.u32 [%s], %v;",
            "mbarrier.arrive.shared.b64 %state, [bar];", "and.b32 %par, %n, 1;", "wait0:",
            "mbarrier.test_wait.parity.shared.b64 %p, [bar], %par;", "@!%p bra wait0;",
            "add.u32 %t, %i, 1;", f"and.b32 %t, %t, {N - 1};", "mov.u32 %v, tile;", "mad.lo.u32 %t, %t, 4, %v;",
            "ld.shared.u32 %v, [%t];", "bar.sync 0;", "add.u32 %n, %n, 1;", "setp.lt.u32 %p, %n, 6;",
            "@%p bra next;", "st.global.u32 [%out0], %v;"]  # fmt: skip
    yield kernel("asynchronous", "mbarrier.phases", "mbarrier over many phases", spec,
                 [given("in0", "u32", data), wanted("out0", "u32", data[6:] + data[:6])], code,
                 [*regs, ".u32 %n", ".u32 %par"], **more)  # fmt: skip
    # Arrivals by count, one thread for a whole warp; drops lower later phases.
    yield kernel("asynchronous", "mbarrier.arrive.count", "mbarrier.arrive with count", spec, bufs,
                 [*start, *put, "bar.warp.sync -1;", "and.b32 %t, %i, 31;", "setp.eq.u32 %p, %t, 0;",
                  "@%p mbarrier.arrive.release.cta.shared.b64 %state, [bar], 32;", *wait(0, 0), *reads], regs,
                 version="8.0", target="sm_90", **more)  # fmt: skip
    yield kernel("asynchronous", "mbarrier.pending_count", "mbarrier.pending_count", spec,
                 [wanted("out0", "u32", [5])],
                 ["mbarrier.init.shared.b64 [bar], 5;", "mbarrier.arrive.noComplete.shared.b64 %state, [bar], 2;",
                  "mbarrier.pending_count.b64 %v, %state;", "mbarrier.inval.shared.b64 [bar];",
                  "st.global.u32 [%out0], %v;"], [".u64 %state", ".u32 %v"], block=(1, 1, 1), globals_=[BAR],
                 notes=["the state is the one before the arrival"])  # fmt: skip


def bulk():
    """sm_90: bulk copies complete on an mbarrier that expects their bytes."""
    data = words("bulk", 4 * N)
    bufs = [given("in0", "u32", data), wanted("out0", "u32", list(data))]
    start = ["setp.eq.u32 %p, %i, 0;", "@%p mbarrier.init.shared::cta.b64 [bar], 1;",
             "@%p fence.mbarrier_init.release.cluster;", "bar.sync 0;", "@!%p bra wait0;",
             "mbarrier.arrive.expect_tx.shared::cta.b64 %state, [bar], 1024;",
             "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%in0], 1024, [bar];",
             "wait0:", "mbarrier.try_wait.parity.shared::cta.b64 %q, [bar], 0;", "@!%q bra wait0;"]  # fmt: skip
    out = []
    for g in range(4):
        out += [f"ld.shared.u32 %v, [%s+{256 * g}];", f"st.global.u32 [%o+{256 * g}], %v;"]
    regs = [".u32 %s", ".u32 %v", ".u64 %state", ".u64 %o", ".pred %p", ".pred %q"]
    address = ["mov.u32 %s, tile;", "mad.lo.u32 %s, %i, 4, %s;", "mad.wide.u32 %o, %i, 4, %out0;"]
    more = dict(block=(N, 1, 1), globals_=[SHARED, BAR], target="sm_90", per_thread={"in0": 0, "out0": 0})
    yield kernel("asynchronous", "cp.async.bulk.load", "cp.async.bulk global to shared", "9.7.9.25.4.1", bufs,
                 [*start, *address, *out], regs, **more)  # fmt: skip
    store = []
    for g in range(4):
        store += [f"ld.global.u32 %v, [%o+{256 * g}];", f"st.shared.u32 [%s+{256 * g}], %v;"]
    yield kernel("asynchronous", "cp.async.bulk.store", "cp.async.bulk shared to global", "9.7.9.25.4.1", bufs,
                 [*[a.replace("%out0", "%in0") for a in address], *store, "fence.proxy.async.shared::cta;", "bar.sync 0;",
                  "setp.eq.u32 %p, %i, 0;", "@!%p bra done;",
                  "cp.async.bulk.global.shared::cta.bulk_group [%out0], [tile], 1024;",
                  "cp.async.bulk.commit_group;", "cp.async.bulk.wait_group 0;", "done:"], regs, **more)  # fmt: skip


def tests():
    for group in (copies, barriers, bulk):
        yield from group()
