"""Clusters of two blocks of 32 threads, distributed shared memory, and bulk copies that reduce:
PTX ISA 9.7.9.25.4, 9.7.13, 9.7.15. Block c's thread i works on element 32c + i."""

from ptxtest import changed, kernel, wanted
from values import Stream

N = 64
PAIR = dict(grid=(2, 1, 1), block=(32, 1, 1), target="sm_90", version="8.1",
            directives=[".reqnctapercluster 2, 1, 1"])  # fmt: skip
ROW = ".shared .align 16 .b8 row[1024];"
BAR = ".shared .align 8 .b64 bar;"
SYNC = ["barrier.cluster.arrive.aligned;", "barrier.cluster.wait.aligned;"]
# %s: this thread's place in the row; %r: the same in the other block; %w: the global index.
PLACES = ["mov.u32 %c, %cluster_ctarank;", "mad.lo.u32 %w, %c, 32, %i;", "xor.b32 %o, %c, 1;", "mov.u32 %s, row;",
          "mad.lo.u32 %s, %i, 16, %s;", "mapa.shared::cluster.u32 %r, %s, %o;"]  # fmt: skip
REGISTERS = [".u32 %c", ".u32 %o", ".u32 %s", ".u32 %r", ".u32 %v", ".u32 %w", ".u32 %t", ".u64 %x", ".u64 %y",
             ".pred %p", ".pred %q"]  # fmt: skip


def at(name, bytes_=4):
    """The address of element %w of a buffer whose start is known."""
    return f"mad.wide.u32 %{name}, %w, {bytes_}, %{name};"


def pair(name, op, spec, buffers, code, **more):
    starts = {b.name: 0 for b in buffers}
    return kernel("cluster", name, op, spec, buffers, PLACES + code, REGISTERS + more.pop("registers", []),
                  per_thread=starts, globals_=[ROW, BAR], **PAIR | more)  # fmt: skip


def registers():
    expect = {
        "%cluster_ctarank": [w // 32 for w in range(N)],
        "%cluster_nctarank": [2] * N,
        "%cluster_ctaid.x": [w // 32 for w in range(N)],
        "%cluster_nctaid.x": [2] * N,
        "%clusterid.x": [0] * N,
        "%nclusterid.x": [1] * N,
    }
    for name, values in expect.items():
        yield pair(name[1:], name, "10", [wanted("out0", "u32", values)],
                   [at("out0"), f"mov.u32 %v, {name};", "st.global.u32 [%out0], %v;"])  # fmt: skip
    yield pair("is_explicit_cluster", "%is_explicit_cluster", "10", [wanted("out0", "u32", [1] * N)],
               [at("out0"), "mov.pred %p, %is_explicit_cluster;", "selp.u32 %v, 1, 0, %p;",
                "st.global.u32 [%out0], %v;"])  # fmt: skip


def addresses():
    for ty, of, a, d in (("u32", ".shared::cluster", "%r", "%v"), ("u64", ".shared::cluster", "%y", "%v")):
        code = [at("out0"), "cvt.u64.u32 %x, %s;", "mapa.shared::cluster.u64 %y, %x, %o;",
                f"getctarank{of}.{ty} {d}, {a};", "st.global.u32 [%out0], %v;"]  # fmt: skip
        yield pair(f"getctarank.shared_cluster.{ty}", f"getctarank{of}.{ty}", "9.7.9.24",
                   [wanted("out0", "u32", [1 - w // 32 for w in range(N)])], code)  # fmt: skip
    code = [at("out0"), "cvt.u64.u32 %x, %s;", "cvta.shared.u64 %x, %x;", "mapa.u64 %y, %x, %o;",
            "getctarank.u64 %v, %y;", "getctarank.u64 %t, %x;", "mad.lo.u32 %v, %t, 16, %v;",
            "st.global.u32 [%out0], %v;"]  # fmt: skip
    yield pair("getctarank.u64", "getctarank.u64, mapa.u64", "9.7.9.23",
               [wanted("out0", "u32", [16 * (w // 32) + 1 - w // 32 for w in range(N)])], code)  # fmt: skip


def accesses():
    swapped = [100 + (w ^ 32) for w in range(N)]
    for store in ("st.shared::cluster.u32 [%r], %v;", "st.relaxed.cluster.shared::cluster.u32 [%r], %v;", "st.u32 [%y], %v;"):
        code = [at("out0"), "add.u32 %v, %w, 100;", "cvt.u64.u32 %x, %s;", "cvta.shared.u64 %x, %x;", "mapa.u64 %y, %x, %o;",
                *SYNC, store, *SYNC, "ld.shared.u32 %v, [%s];", "st.global.u32 [%out0], %v;"]  # fmt: skip
        name = store.split(" ")[0].replace("::", "_")
        yield pair(f"{name}.remote", store.split(" ")[0], "9.7.9.12", [wanted("out0", "u32", swapped)], code)
    for load in ("ld.shared::cluster.u32", "ld.relaxed.cluster.shared::cluster.u32"):
        code = [at("out0"), "add.u32 %v, %w, 100;", "st.shared.u32 [%s], %v;", *SYNC, f"{load} %v, [%r];",
                "st.global.u32 [%out0], %v;", *SYNC]  # fmt: skip
        yield pair(f"{load.replace('::', '_')}.remote", load, "9.7.9.8", [wanted("out0", "u32", swapped)], code)
    # Each block's threads add to the first word of the other's row.
    for op in ("atom", "red"):
        result = "%t, " if op == "atom" else ""
        code = [at("out0"), "setp.eq.u32 %p, %i, 0;", "@%p st.shared.u32 [%s], 7;", "mov.u32 %s, row;",
                "mapa.shared::cluster.u32 %r, %s, %o;", "add.u32 %v, %w, 1;", *SYNC,
                f"{op}.relaxed.cluster.shared::cluster.add.u32 {result}[%r], %v;", *SYNC,
                "ld.shared.u32 %v, [%s];", "st.global.u32 [%out0], %v;"]  # fmt: skip
        total = [7 + sum(v + 1 for v in range(N) if v // 32 != w // 32) for w in range(N)]
        yield pair(f"{op}.shared_cluster.add.u32.remote", f"{op}.shared::cluster.add.u32", "9.7.13.5",
                   [wanted("out0", "u32", total)], code)  # fmt: skip


def barriers():
    swapped = [100 + (w ^ 32) for w in range(N)]
    for arrive in ("", ".release", ".aligned", ".release.aligned"):
        for wait in ("", ".acquire", ".acquire.aligned"):
            if (".aligned" in arrive) != (".aligned" in wait):
                continue
            both = [f"barrier.cluster.arrive{arrive};", f"barrier.cluster.wait{wait};"]
            code = [at("out0"), "add.u32 %v, %w, 100;", "st.shared.u32 [%s], %v;", *both,
                    "ld.shared::cluster.u32 %v, [%r];", "st.global.u32 [%out0], %v;", *both]  # fmt: skip
            yield pair(f"barrier.cluster{arrive}{wait}", "barrier.cluster.arrive, barrier.cluster.wait", "9.7.13.4",
                       [wanted("out0", "u32", swapped)], code)  # fmt: skip
    # Relaxed arrivals order nothing, so a fence does.
    code = [at("out0"), "add.u32 %v, %w, 100;", "st.shared.u32 [%s], %v;", "fence.acq_rel.cluster;",
            "barrier.cluster.arrive.relaxed.aligned;", "barrier.cluster.wait.acquire.aligned;",
            "st.global.u32 [%out0], %v;"]  # fmt: skip
    yield pair("barrier.cluster.relaxed", "barrier.cluster.arrive.relaxed", "9.7.13.4",
               [wanted("out0", "u32", [100 + w for w in range(N)])], code)  # fmt: skip


WAIT = ["WAIT:", "mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %q, [%t], 0;", "@!%q bra WAIT;"]


def expecting(count, bytes_):
    """An mbarrier for `count` arrivals; thread 0 arrives once and announces bytes, if there are any."""
    code = ["setp.eq.u32 %p, %i, 0;", "mov.u32 %t, bar;", f"@%p mbarrier.init.shared.b64 [%t], {count};",
            "@%p fence.mbarrier_init.release.cluster;"]  # fmt: skip
    if bytes_:
        code.append(f"@%p mbarrier.arrive.expect_tx.shared.b64 _, [%t], {bytes_};")
    return code + SYNC


def remote_barriers():
    for op in ("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%o];",
               "mbarrier.arrive.shared::cluster.b64 _, [%o];",
               "mbarrier.arrive.expect_tx.release.cluster.shared::cluster.b64 _, [%o], 0;",
               "mbarrier.arrive_drop.release.cluster.shared::cluster.b64 _, [%o];"):  # fmt: skip
        # An arrival that names no scope publishes nothing to the other block: it only counts.
        published = [] if ".release.cluster" in op else SYNC
        code = [at("out0"), *expecting(32, 0), "add.u32 %v, %w, 100;", "st.shared::cluster.u32 [%r], %v;",
                *published, "mapa.shared::cluster.u32 %o, %t, %o;", op, *WAIT, "ld.shared.u32 %v, [%s];",
                "st.global.u32 [%out0], %v;", *SYNC]  # fmt: skip
        name = op.split(" ")[0].replace("::", "_")
        yield pair(f"{name}.remote", op.split(" ")[0], "9.7.13.15.13",
                   [wanted("out0", "u32", [100 + (w ^ 32) for w in range(N)])], code)  # fmt: skip
    # Bytes announced and completed by the other block.
    code = [at("out0"), *expecting(1, 0), "mapa.shared::cluster.u32 %o, %t, %o;",
            "@%p mbarrier.expect_tx.relaxed.cluster.shared::cluster.b64 [%o], 48;",
            "@%p mbarrier.complete_tx.relaxed.cluster.shared::cluster.b64 [%o], 48;",
            "@%p mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%o];", *WAIT,
            "st.global.u32 [%out0], %w;", *SYNC]  # fmt: skip
    yield pair("mbarrier.expect_tx.remote", "mbarrier.expect_tx, mbarrier.complete_tx", "9.7.13.15.11",
               [wanted("out0", "u32", list(range(N)))], code)  # fmt: skip


def remote(space):
    """The other block's place and mbarrier, as shared addresses or as generic ones."""
    if space:
        return ["mapa.shared::cluster.u32 %o, %t, %o;"], "[%r]", "[%o]"
    code = ["cvt.u64.u32 %g, %s;", "cvta.shared.u64 %g, %g;", "mapa.u64 %g, %g, %o;", "cvt.u64.u32 %b, %t;",
            "cvta.shared.u64 %b, %b;", "mapa.u64 %b, %b, %o;"]  # fmt: skip
    return code, "[%g]", "[%b]"


def asynchronous_stores():
    types = (("b32", 4), ("u32", 4), ("s32", 4), ("f32", 4), ("b64", 8), ("u64", 8), ("s64", 8), ("f64", 8))
    forms = [(ty, width, ".weak.shared::cluster") for ty, width in types]
    forms += [(ty, width, form) for ty, width in types[:5:4] for form in (".shared::cluster", ".weak", "")]
    for ty, width, form in forms:
        for vector, count in (("", 1), (".v2", 2), (".v4", 4)):
            if width * count > 16:
                continue
            values = ["%v", "%c", "%s", "%i"] if width == 4 else ["%x", "%y"]
            if ty[0] == "f":
                values = [f"%f{k}" for k in range(len(values))]
            listed = values[0] if count == 1 else "{" + ", ".join(values[:count]) + "}"
            make = ["add.u32 %v, %w, 100;", "add.u32 %c, %w, 200;", "add.u32 %s, %w, 300;", "add.u32 %i, %w, 400;",
                    "cvt.u64.u32 %x, %v;", "shl.b64 %x, %x, 33;", "cvt.u64.u32 %y, %c;"]  # fmt: skip
            if ty[0] == "f":
                make += [f"mov.b{8 * width} %f{k}, {v};" for k, v in enumerate(["%v", "%c", "%s", "%i"] if width == 4 else ["%x", "%y"])]
            finds_place, place, barrier = remote(form.removeprefix(".weak"))
            words = width * count // 4
            code = [f"mad.wide.u32 %out0, %w, {4 * words}, %out0;", *expecting(1, 32 * width * count),
                    *finds_place, "mov.u32 %s2, %s;", *make,
                    f"st.async{form}.mbarrier::complete_tx::bytes{vector}.{ty} {place}, {listed}, {barrier};",
                    *WAIT]  # fmt: skip
            for k in range(words):
                code += [f"ld.shared.u32 %v, [%s2+{4 * k}];", f"st.global.u32 [%out0+{4 * k}], %v;"]
            expect = []
            for w in range(N):
                from_ = w ^ 32
                if width == 4:
                    expect += [100 * (k + 1) + from_ for k in range(count)]
                else:
                    wide = [(100 + from_) << 33, 200 + from_][:count]
                    expect += [part for v in wide for part in (v & 0xFFFFFFFF, v >> 32)]
            label = {".weak.shared::cluster": "", ".shared::cluster": ".no_weak", ".weak": ".weak.generic", "": ".generic"}[form]
            yield pair(f"st.async{vector}.{ty}{label}", f"st.async{vector}.{ty}", "9.7.9.13",
                       [wanted("out0", "u32", expect)], code + SYNC,
                       registers=[".u32 %s2"] + [f".{ty} %f<4>"] * (ty[0] == "f")
                       + [".u64 %g", ".u64 %b"] * ("generic" in label))  # fmt: skip


def asynchronous_reductions():
    s = Stream("red.async")
    M = 0xFFFFFFFF
    signed = lambda x: x - (1 << 32) if x >> 31 else x
    cases = [("inc.u32", lambda a, b: 0 if a >= b else a + 1), ("dec.u32", lambda a, b: b if a == 0 or a > b else a - 1),
             ("add.u32", lambda a, b: (a + b) & M), ("add.s32", lambda a, b: (a + b) & M),
             ("min.u32", min), ("max.u32", max), ("min.s32", lambda a, b: min(a, b, key=signed)),
             ("max.s32", lambda a, b: max(a, b, key=signed)), ("and.b32", lambda a, b: a & b),
             ("or.b32", lambda a, b: a | b), ("xor.b32", lambda a, b: a ^ b)]  # fmt: skip
    cases = [(op, f, M, (".shared::cluster", "")) for op, f in cases]
    cases += [(f"add.{ty}", lambda a, b: a + b & (1 << 64) - 1, (1 << 64) - 1, spaces)
              for ty, spaces in (("u64", (".shared::cluster",)), ("s64", (".shared::cluster", "")))]  # fmt: skip
    for op, f, mask, spaces in cases:
        before, values = ([s.next() & mask for _ in range(N)] for _ in range(2))
        after = [f(before[w], values[w ^ 32]) for w in range(N)]
        ty, v, width = ("u32", "%v", 4) if mask == M else ("u64", "%x", 8)
        for space in spaces:
            finds_place, place, barrier = remote(space)
            code = [at("out0", width), at("in0", width), *expecting(1, 32 * width), f"ld.global.{ty} {v}, [%out0];",
                    f"st.shared.{ty} [%s], {v};", f"ld.global.{ty} {v}, [%in0];", *finds_place, *SYNC,
                    f"red.async.relaxed.cluster{space}.mbarrier::complete_tx::bytes.{op} {place}, {v}, {barrier};", *WAIT,
                    f"ld.shared.{ty} {v}, [%s];", f"st.global.{ty} [%out0], {v};", *SYNC]  # fmt: skip
            yield pair(f"red.async.{op}{'' if space else '.generic'}", f"red.async.{op}", "9.7.13.7",
                       [changed("in0", ty, values, values), changed("out0", ty, before, after)], code,
                       registers=[] if space else [".u64 %g", ".u64 %b"])  # fmt: skip


def copies():
    # Each block fills its row and sends 512 bytes of it to the other.
    code = [at("out0"), *expecting(1, 512), "add.u32 %v, %w, 100;", "st.shared.u32 [%s], %v;", "mov.u32 %c, row;",
            "fence.proxy.async.shared::cta;", "bar.sync 0;", "mapa.shared::cluster.u32 %r, %c, %o;", "add.u32 %r, %r, 512;",
            "mapa.shared::cluster.u32 %o, %t, %o;",
            "@%p cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r], [%c], 512, [%o];",
            *WAIT, "ld.shared.u32 %v, [%s+512];", "st.global.u32 [%out0], %v;", *SYNC]  # fmt: skip
    yield pair("cp.async.bulk.shared_cta", "cp.async.bulk.shared::cluster.shared::cta", "9.7.9.25.4.1",
               [wanted("out0", "u32", [100 + (w ^ 32) for w in range(N)])], code)  # fmt: skip
    # The first block sends what it reads to both.
    data = [7 * k + 1 for k in range(32)]
    code = [at("out0"), *expecting(1, 128), "mov.u32 %v, row;", "mov.b16 %m, 3;", "setp.eq.u32 %p, %w, 0;",
            "@%p cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
            "[%v], [%in0], 128, [%t], %m;", *WAIT, "mad.lo.u32 %v, %i, 4, %v;", "ld.shared.u32 %v, [%v];",
            "st.global.u32 [%out0], %v;", *SYNC]  # fmt: skip
    yield pair("cp.async.bulk.multicast", "cp.async.bulk.multicast::cluster", "9.7.9.25.4.1",
               [changed("in0", "u32", data, data), wanted("out0", "u32", data * 2)], code, registers=[".b16 %m"],
               target="sm_90a")  # fmt: skip
    yield from hinted_copies()
    for level in ("", ".L2::cache_hint"):
        policy = ", %x" if level else ""
        code = ["setp.eq.u32 %p, %w, 0;", "createpolicy.fractional.L2::evict_first.b64 %x, 0f3F800000;",
                f"@%p cp.async.bulk.prefetch.L2.global{level} [%in0], 128{policy};", at("in0"), at("out0"),
                "ld.global.u32 %v, [%in0];", "st.global.u32 [%out0], %v;"]  # fmt: skip
        name = level.replace("::", "_")
        yield pair(f"cp.async.bulk.prefetch{name}", "cp.async.bulk.prefetch.L2", "9.7.9.25.4.3",
                   [changed("in0", "u32", data * 2, data * 2), wanted("out0", "u32", data * 2)], code)  # fmt: skip


POLICY = "createpolicy.fractional.L2::evict_first.b64 %x, 0f3F800000;"


def hinted_copies():
    """Each block gets its own row; with a mask the first sends both rows to both, the own one last."""
    data = [11 * k + 3 for k in range(N)]
    for space, casts, hint in (("cta", "", ""), ("cta", "", ".L2::cache_hint"), ("cluster", "", ".L2::cache_hint"),
                               ("cluster", ".multicast::cluster", ".L2::cache_hint")):  # fmt: skip
        op = f"cp.async.bulk.shared::{space}.global.mbarrier::complete_tx::bytes{casts}{hint}"
        mask, policy = ", %m" if casts else "", ", %x" if hint else ""
        # A block's copy goes to the other one only, to be told from one that goes home.
        code = [at("out0"), *expecting(1, 128), POLICY, "mov.u32 %v, row;", "mov.u32 %r, 2;", "shr.u32 %r, %r, %c;",
                "cvt.u16.u32 %m, %r;", "mul.wide.u32 %y, %c, 128;", "add.u64 %y, %in0, %y;",
                f"@%p {op} [%v], [%y], 128, [%t]{mask}{policy};", *WAIT, "mad.lo.u32 %v, %i, 4, %v;",
                "ld.shared.u32 %v, [%v];", "st.global.u32 [%out0], %v;", *SYNC]  # fmt: skip
        yield pair(op.removesuffix(".global").replace(".global.mbarrier::complete_tx::bytes", ".load").replace("::", "_"), op,
                   "9.7.9.25.4.1", [changed("in0", "u32", data, data),
                                    wanted("out0", "u32", data[32:] + data[:32] if casts else data)], code,
                   registers=[".u16 %m"], target="sm_90a" if casts else "sm_90",
                   version="8.6" if space == "cta" else "8.1")  # fmt: skip
    code = [at("out0"), at("in0"), "mov.u32 %s, row;", "mad.lo.u32 %t, %i, 4, %s;", "ld.global.u32 %v, [%in0];",
            "st.shared.u32 [%t], %v;", POLICY, "fence.proxy.async.shared::cta;", "bar.sync 0;", "setp.eq.u32 %p, %i, 0;",
            "@%p cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint [%out0], [%s], 128, %x;",
            "@%p cp.async.bulk.commit_group;", "@%p cp.async.bulk.wait_group 0;"]  # fmt: skip
    yield pair("cp.async.bulk.store.cache_hint", "cp.async.bulk.global.shared::cta.bulk_group.L2::cache_hint", "9.7.9.25.4.1",
               [changed("in0", "u32", data, data), wanted("out0", "u32", data)], code)  # fmt: skip


def shared_reductions():
    """Each block reduces its row into the second half of the other's."""
    s = Stream("cp.reduce shared")
    signed = lambda x: x - (1 << 32) if x >> 31 else x
    M, W = (1 << 32) - 1, (1 << 64) - 1
    cases = [("add.u32", lambda a, b: a + b & M), ("add.s32", lambda a, b: a + b & M), ("add.u64", lambda a, b: a + b & W),
             ("min.u32", min), ("max.u32", max), ("min.s32", lambda a, b: min(a, b, key=signed)),
             ("max.s32", lambda a, b: max(a, b, key=signed)), ("and.b32", lambda a, b: a & b), ("or.b32", lambda a, b: a | b),
             ("xor.b32", lambda a, b: a ^ b), ("inc.u32", lambda a, b: 0 if a >= b else a + 1),
             ("dec.u32", lambda a, b: b if a == 0 or a > b else a - 1)]  # fmt: skip
    for op, f in cases:
        width, ty, v = (8, "u64", "%x") if "64" in op else (4, "u32", "%v")
        before, values = ([s.next() & (1 << 8 * width) - 1 for _ in range(N)] for _ in range(2))
        if op[1:3] in ("nc", "ec"):
            before, values = [k % 12 for k in range(N)], [5 + k % 4 for k in range(N)]
        after = [f(before[w], values[w ^ 32]) for w in range(N)]
        code = [at("in0", width), at("out0", width), *expecting(1, 32 * width), "mov.u32 %c, row;",
                f"mad.lo.u32 %s, %i, {width}, %c;", f"ld.global.{ty} {v}, [%in0];", f"st.shared.{ty} [%s], {v};",
                f"ld.global.{ty} {v}, [%out0];", f"st.shared.{ty} [%s+512], {v};", "fence.proxy.async.shared::cta;",
                "mapa.shared::cluster.u32 %r, %c, %o;", "mapa.shared::cluster.u32 %o, %t, %o;", *SYNC,
                f"@%p cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.{op} [%r+512], [%c], {32 * width}, [%o];",
                *WAIT, f"ld.shared.{ty} {v}, [%s+512];", f"st.global.{ty} [%out0], {v};", *SYNC]  # fmt: skip
        yield pair(f"cp.reduce.async.bulk.shared_cluster.{op}", f"cp.reduce.async.bulk.shared::cluster.shared::cta.{op}",
                   "9.7.9.25.4.2", [changed("in0", ty, values, values), changed("out0", ty, before, after)], code)  # fmt: skip


def reductions():
    """Both blocks reduce 32 elements of their rows into the same place; the order does not matter."""
    s = Stream("cp.reduce")

    def integers(bits, signed=False):
        m = (1 << bits) - 1
        value = lambda x: x - (1 << bits) if signed and x >> (bits - 1) else x
        ops = {"add": lambda a, b: (a + b) & m, "min": lambda a, b: min(a, b, key=value), "max": lambda a, b: max(a, b, key=value)}
        return ops

    kinds = []
    for ty, bits, signed in (("u32", 32, False), ("s32", 32, True), ("u64", 64, False), ("s64", 64, True)):
        for op, f in integers(bits, signed).items():
            if (op, ty) != ("add", "s64"):
                kinds.append((op, ty, bits, f))
    for bits in (32, 64):
        kinds += [("and", f"b{bits}", bits, lambda a, b: a & b), ("or", f"b{bits}", bits, lambda a, b: a | b),
                  ("xor", f"b{bits}", bits, lambda a, b: a ^ b)]  # fmt: skip
    for op, ty, bits, f in kinds:
        m = (1 << bits) - 1
        before = [s.next() & m for _ in range(32)]
        rows = [s.next() & m for _ in range(N)]
        after = [f(f(x, rows[k]), rows[32 + k]) for k, x in enumerate(before)]
        yield from reduced(f"cp.reduce.async.bulk.{op}.{ty}", f"{op}.{ty}", f"u{bits}", bits // 8, before, rows, after)
    bound = [9] * N
    wrap = lambda a: 0 if a >= 9 else a + 1
    before = [k % 12 for k in range(32)]
    yield from reduced("cp.reduce.async.bulk.inc.u32", "inc.u32", "u32", 4, before, bound, [wrap(wrap(x)) for x in before])
    down = lambda a: 9 if a == 0 or a > 9 else a - 1
    yield from reduced("cp.reduce.async.bulk.dec.u32", "dec.u32", "u32", 4, before, bound, [down(down(x)) for x in before])
    # Small integers, whose sums are exact whatever the order.
    import struct

    for ty, code, kind in (("f32", "<f", "u32"), ("f64", "<d", "u64"), ("f16", "<e", "u16"), ("bf16", None, "u16")):
        def pattern(x):
            if ty == "bf16":
                return int.from_bytes(struct.pack("<f", x), "little") >> 16
            return int.from_bytes(struct.pack(code, x), "little")

        old, new = [k - 9 for k in range(32)], [k % 11 - 5 for k in range(N)]
        sums = [o + new[k] + new[32 + k] for k, o in enumerate(old)]
        noftz = ".noftz" if kind == "u16" else ""
        yield from reduced(f"cp.reduce.async.bulk.add.{ty}", f"add{noftz}.{ty}", kind, {"u16": 2, "u32": 4, "u64": 8}[kind],
                      *([pattern(float(x)) for x in part] for part in (old, new, sums)))  # fmt: skip
    for op, f in (("min", min), ("max", max)):
        for ty in ("f16", "bf16"):
            half = lambda x: int.from_bytes(struct.pack("<e" if ty == "f16" else "<f", float(x)), "little") >> (0 if ty == "f16" else 16)
            old, new = [k - 9 for k in range(32)], [5 * k % 23 - 11 for k in range(N)]
            least = [f(o, new[k], new[32 + k]) for k, o in enumerate(old)]
            yield from reduced(f"cp.reduce.async.bulk.{op}.{ty}", f"{op}.{ty}", "u16", 2,
                          *([half(x) for x in part] for part in (old, new, least)))  # fmt: skip


HINTED = ("and.b32", "inc.u32", "add.u32", "add.noftz.f16", "min.s32")


def reduced(name, op, kind, bytes_, before, rows, after):
    yield reduction(name, op, kind, bytes_, before, rows, after)
    if op in HINTED:
        yield reduction(f"{name}.cache_hint", op, kind, bytes_, before, rows, after, ".L2::cache_hint")


def reduction(name, op, kind, bytes_, before, rows, after, hint=""):
    load = {2: ("u16", "%h"), 4: ("u32", "%v"), 8: ("u64", "%x")}[bytes_]
    code = [at("in0", bytes_), "mov.u32 %s, row;", f"mad.lo.u32 %t, %i, {bytes_}, %s;", f"ld.global.{load[0]} {load[1]}, [%in0];",
            f"st.shared.{load[0]} [%t], {load[1]};", "fence.proxy.async.shared::cta;", "bar.sync 0;", "setp.eq.u32 %p, %i, 0;",
            *[POLICY] * bool(hint), f"@%p cp.reduce.async.bulk.global.shared::cta.bulk_group{hint}.{op} [%out0], [%s], {32 * bytes_}{', %x' if hint else ''};",
            "@%p cp.async.bulk.commit_group;", "@%p cp.async.bulk.wait_group 0;"]  # fmt: skip
    buffers = [changed("in0", kind, rows, rows), changed("out0", kind, before, after)]
    return pair(name, f"cp.reduce.async.bulk.{op}", "9.7.9.25.4.2", buffers, code, registers=[".u16 %h"])


def tests():
    yield from registers()
    yield from addresses()
    yield from accesses()
    yield from barriers()
    yield from remote_barriers()
    yield from asynchronous_stores()
    yield from asynchronous_reductions()
    yield from copies()
    yield from shared_reductions()
    yield from reductions()
