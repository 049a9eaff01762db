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
        code = [at("out0"), *expecting(32, 0), "add.u32 %v, %w, 100;", "st.shared::cluster.u32 [%r], %v;",
                "mapa.shared::cluster.u32 %o, %t, %o;", op, *WAIT, "ld.shared.u32 %v, [%s];",
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


def asynchronous_stores():
    for ty, width in (("b32", 4), ("u32", 4), ("s32", 4), ("b64", 8), ("u64", 8), ("s64", 8)):
        for vector, count in (("", 1), (".v2", 2), (".v4", 4)):
            if width * count > 16:
                continue
            values = ["%v", "%c", "%s", "%i"] if width == 4 else ["%x", "%y"]
            listed = values[0] if count == 1 else "{" + ", ".join(values[:count]) + "}"
            make = ["add.u32 %v, %w, 100;", "add.u32 %c, %w, 200;", "add.u32 %s, %w, 300;", "add.u32 %i, %w, 400;",
                    "cvt.u64.u32 %x, %v;", "shl.b64 %x, %x, 33;", "cvt.u64.u32 %y, %c;"]  # fmt: skip
            words = width * count // 4
            code = [f"mad.wide.u32 %out0, %w, {4 * words}, %out0;", *expecting(1, 32 * width * count),
                    "mapa.shared::cluster.u32 %o, %t, %o;", "mov.u32 %s2, %s;", *make,
                    f"st.async.weak.shared::cluster.mbarrier::complete_tx::bytes{vector}.{ty} [%r], {listed}, [%o];",
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
            yield pair(f"st.async{vector}.{ty}", f"st.async{vector}.{ty}", "9.7.9.13",
                       [wanted("out0", "u32", expect)], code + SYNC, registers=[".u32 %s2"])  # fmt: skip


def asynchronous_reductions():
    s = Stream("red.async")
    M = 0xFFFFFFFF
    signed = lambda x: x - (1 << 32) if x >> 31 else x
    cases = [("inc.u32", lambda a, b: 0 if a >= b else a + 1), ("dec.u32", lambda a, b: b if a == 0 or a > b else a - 1),
             ("add.u32", lambda a, b: (a + b) & M), ("add.s32", lambda a, b: (a + b) & M),
             ("min.u32", min), ("max.u32", max), ("min.s32", lambda a, b: min(a, b, key=signed)),
             ("max.s32", lambda a, b: max(a, b, key=signed)), ("and.b32", lambda a, b: a & b),
             ("or.b32", lambda a, b: a | b), ("xor.b32", lambda a, b: a ^ b)]  # fmt: skip
    for op, f in cases:
        before, values = ([s.next() & M for _ in range(N)] for _ in range(2))
        after = [f(before[w], values[w ^ 32]) for w in range(N)]
        code = ["mad.wide.u32 %out0, %w, 4, %out0;", "mad.wide.u32 %in0, %w, 4, %in0;", *expecting(1, 128),
                "ld.global.u32 %v, [%out0];", "st.shared.u32 [%s], %v;", "ld.global.u32 %v, [%in0];",
                "mapa.shared::cluster.u32 %o, %t, %o;", *SYNC,
                f"red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.{op} [%r], %v, [%o];", *WAIT,
                "ld.shared.u32 %v, [%s];", "st.global.u32 [%out0], %v;", *SYNC]  # fmt: skip
        yield pair(f"red.async.{op}", f"red.async.{op}", "9.7.13.7",
                   [changed("in0", "u32", values, values), changed("out0", "u32", before, after)], code)  # fmt: skip
    wide, add = ([s.next() for _ in range(N)] for _ in range(2))
    code = ["mad.wide.u32 %out0, %w, 8, %out0;", "mad.wide.u32 %in0, %w, 8, %in0;", *expecting(1, 256),
            "ld.global.u64 %x, [%out0];", "st.shared.u64 [%s], %x;", "ld.global.u64 %x, [%in0];",
            "mapa.shared::cluster.u32 %o, %t, %o;", *SYNC,
            "red.async.relaxed.cluster.shared::cluster.mbarrier::complete_tx::bytes.add.u64 [%r], %x, [%o];", *WAIT,
            "ld.shared.u64 %x, [%s];", "st.global.u64 [%out0], %x;", *SYNC]  # fmt: skip
    after = [(wide[w] + add[w ^ 32]) % (1 << 64) for w in range(N)]
    yield pair("red.async.add.u64", "red.async.add.u64", "9.7.13.7",
               [changed("in0", "u64", add, add), changed("out0", "u64", wide, after)], code)  # fmt: skip


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
    for level in ("", ".L2::cache_hint"):
        policy = ", %x" if level else ""
        code = ["setp.eq.u32 %p, %w, 0;", "createpolicy.fractional.L2::evict_first.b64 %x, 0f3F800000;",
                f"@%p cp.async.bulk.prefetch.L2.global{level} [%in0], 128{policy};", at("in0"), at("out0"),
                "ld.global.u32 %v, [%in0];", "st.global.u32 [%out0], %v;"]  # fmt: skip
        name = level.replace("::", "_")
        yield pair(f"cp.async.bulk.prefetch{name}", "cp.async.bulk.prefetch.L2", "9.7.9.25.4.3",
                   [changed("in0", "u32", data * 2, data * 2), wanted("out0", "u32", data * 2)], code)  # fmt: skip


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
        yield reduced(f"cp.reduce.async.bulk.{op}.{ty}", f"{op}.{ty}", f"u{bits}", bits // 8, before, rows, after)
    bound = [9] * N
    wrap = lambda a: 0 if a >= 9 else a + 1
    before = [k % 12 for k in range(32)]
    yield reduced("cp.reduce.async.bulk.inc.u32", "inc.u32", "u32", 4, before, bound, [wrap(wrap(x)) for x in before])
    down = lambda a: 9 if a == 0 or a > 9 else a - 1
    yield reduced("cp.reduce.async.bulk.dec.u32", "dec.u32", "u32", 4, before, bound, [down(down(x)) for x in before])
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
        yield reduced(f"cp.reduce.async.bulk.add.{ty}", f"add{noftz}.{ty}", kind, {"u16": 2, "u32": 4, "u64": 8}[kind],
                      *([pattern(float(x)) for x in part] for part in (old, new, sums)))  # fmt: skip
    for op, f in (("min", min), ("max", max)):
        for ty in ("f16", "bf16"):
            half = lambda x: int.from_bytes(struct.pack("<e" if ty == "f16" else "<f", float(x)), "little") >> (0 if ty == "f16" else 16)
            old, new = [k - 9 for k in range(32)], [5 * k % 23 - 11 for k in range(N)]
            least = [f(o, new[k], new[32 + k]) for k, o in enumerate(old)]
            yield reduced(f"cp.reduce.async.bulk.{op}.{ty}", f"{op}.{ty}", "u16", 2,
                          *([half(x) for x in part] for part in (old, new, least)))  # fmt: skip


def reduced(name, op, kind, bytes_, before, rows, after):
    load = {2: ("u16", "%h"), 4: ("u32", "%v"), 8: ("u64", "%x")}[bytes_]
    code = [at("in0", bytes_), "mov.u32 %s, row;", f"mad.lo.u32 %t, %i, {bytes_}, %s;", f"ld.global.{load[0]} {load[1]}, [%in0];",
            f"st.shared.{load[0]} [%t], {load[1]};", "fence.proxy.async.shared::cta;", "bar.sync 0;", "setp.eq.u32 %p, %i, 0;",
            f"@%p cp.reduce.async.bulk.global.shared::cta.bulk_group.{op} [%out0], [%s], {32 * bytes_};",
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
    yield from reductions()
