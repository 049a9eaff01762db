"""Tensor copies and reductions, and the tensor maps they read, which the kernels make themselves:
PTX ISA 9.7.9.25.5, 9.7.9.26. Tiles hang over the tensor's edges: what is outside is read as zero
and not written."""

import itertools

from floats import BF16, F16, F32, encode
from ptxtest import changed, given, kernel, wanted
from values import Stream, signed

# Elements of a type, and its number in `tensormap.replace` (its table "elemtype").
CODE = {"u8": 0, "u16": 1, "u32": 2, "s32": 3, "u64": 4, "s64": 5, "f16": 6, "f32": 7, "f32.ftz": 8, "f64": 9, "bf16": 10}
WIDTH = {"u8": 1, "u16": 2, "u64": 8, "s64": 8, "f16": 2, "bf16": 2, "f64": 8}
FLOATS = {"f16": F16, "bf16": BF16, "f32": F32}
SIZES, FIRST = (20, 5, 4, 3, 3), (15, 4, -1, 2, 1)
POLICY = "createpolicy.fractional.L2::evict_first.b64 %policy, 0f3F800000;"
GLOBAL = ".global .align 128 .b8 maps[128];"
SHARED = [".shared .align 128 .b8 map[128];", ".shared .align 1024 .b8 tile[2048];", ".shared .align 8 .b64 bar;"]


class Tensor:
    """A tensor of small extents with gaps after its rows; a tile has rows of 32 bytes, or as long as
    its swizzle's. Of `steps` elements along a dimension a load copies one."""

    def __init__(self, rank, dtype="u32", swizzle=0, fill=0, steps=(1,) * 5, lines=2):
        self.rank, self.dtype, self.swizzle, self.fill, self.steps = rank, dtype, swizzle, fill, steps
        self.width = WIDTH.get(dtype, 4)
        self.sizes, self.first = SIZES[:rank], FIRST[:rank]
        self.row = 32 << max(swizzle - 1, 0)
        self.box = (self.row // self.width, lines, 3, 2, 2)[:rank]
        # The first step is not looked at without interleave.
        self.tile = (self.box[0], *(-(-n // step) for n, step in zip(self.box[1:], steps[1:])))
        strides = [-(-self.sizes[0] * self.width // 16) * 16 + 16]
        for size in self.sizes[1:]:
            strides.append(strides[-1] * size)
        self.strides, self.length = strides[:-1], strides[-1] // self.width
        self.elements = 1
        for size in self.tile:
            self.elements *= size

    def places(self):
        """Of each element of the tile, where it lies in the tensor's memory; None outside."""
        for reverse in itertools.product(*(range(n) for n in self.tile[::-1])):
            at = [f + k * step for f, k, step in zip(self.first, reverse[::-1], (1, *self.steps[1:]))]
            inside = all(0 <= a < n for a, n in zip(at, self.sizes))
            offset = at[0] * self.width + sum(a * s for a, s in zip(at[1:], self.strides))
            yield offset // self.width if inside else None

    def swizzled(self, k):
        """Which element of shared memory is element k of the tile."""
        at = k * self.width
        return (at ^ (at >> 7 & self.row // 16 - 1) << 4) // self.width if self.swizzle else k

    def mapped(self, address, space=".shared::cta", scope="gpu"):
        """The map, field by field, then where copies may read it: %m."""
        at = {".shared::cta": "[map]", ".global": "[%m]", "": "[%g]"}[space]
        fields = [("global_address", address), ("rank", self.rank - 1), ("elemtype", CODE[self.dtype]),
                  ("interleave_layout", 0), ("swizzle_mode", self.swizzle), ("fill_mode", self.fill)]  # fmt: skip
        for d in range(self.rank):
            fields += [("box_dim", d, self.box[d]), ("global_dim", d, self.sizes[d]), ("element_stride", d, self.steps[d])]
        fields += [("global_stride", d, s) for d, s in enumerate(self.strides)]
        code = ["mov.u64 %m, maps;", "mov.u64 %g, map;", "cvta.shared.u64 %g, %g;", "mov.u32 %s, map;",
                "mad.lo.u32 %s, %i, 4, %s;", "st.shared.u32 [%s], 0;", "bar.warp.sync -1;", "setp.eq.u32 %p, %i, 0;"]  # fmt: skip
        for field, *values in fields:
            wide = field in ("global_address", "global_stride")
            if wide and values[-1] != address:
                code.append(f"mov.u64 %x, {values[-1]};")
                values[-1] = "%x"
            operands = ", ".join(str(v) for v in values)
            code.append(f"@%p tensormap.replace.tile.{field}{space}.b1024.b{64 if wide else 32} {at}, {operands};")
        if space == ".global":
            code += ["bar.warp.sync -1;", f"fence.proxy.tensormap::generic.release.{scope};"]
        else:
            code += ["bar.warp.sync -1;",
                     f"tensormap.cp_fenceproxy.global.shared::cta.tensormap::generic.release.{scope}.sync.aligned "
                     "[%m], [map], 128;"]  # fmt: skip
        return [*code, f"fence.proxy.tensormap::generic.acquire.{scope} [%m], 128;"]

    def coordinates(self):
        return "{" + ", ".join(f"%c{d}" for d in range(self.rank)) + "}"

    def named(self):
        return [f"mov.s32 %c{d}, {first};" for d, first in enumerate(self.first)]

    def buffer(self):
        return f"u{8 * self.width}" if not self.fill else self.dtype.removesuffix(".ftz")

    def word(self):
        return f"u{8 * self.width}"

    def moved(self, load, store):
        """All elements of the tile, 32 at a time, between shared memory and a buffer."""
        r = {1: "%h", 2: "%h", 4: "%v", 8: "%x"}[self.width]
        return ["mov.u32 %k, %i;", "next:", f"setp.ge.u32 %q, %k, {self.elements};", "@%q bra all;", "mov.u32 %s, tile;",
                f"mad.lo.u32 %s, %k, {self.width}, %s;", f"mad.wide.u32 %y, %k, {self.width}, %{load or store};",
                *([f"ld.global.{self.word()} {r}, [%y];", f"st.shared.{self.word()} [%s], {r};"] if load else
                  [f"ld.shared.{self.word()} {r}, [%s];", f"st.global.{self.word()} [%y], {r};"]),
                "add.u32 %k, %k, 32;", "bra next;", "all:"]  # fmt: skip

    def test(self, name, op, spec, buffers, code, version="8.3", **more):
        return kernel("tensor", name, op, spec, buffers, self.named() + code,
                      [".u32 %s", ".u32 %k", ".u32 %v", ".u16 %h", ".s32 %c<5>", ".u64 %m", ".u64 %g", ".u64 %x", ".u64 %y",
                       ".u64 %policy", ".pred %p", ".pred %q"],
                      per_thread={b.name: 0 for b in buffers}, globals_=[GLOBAL, *SHARED], target="sm_90a",
                      version=version, **more)  # fmt: skip


def noise(name, count, width=4):
    s = Stream(name)
    return [s.next() & (1 << 8 * width) - 1 for _ in range(count)]


def loaded(t, name, op, data, tile, hint="", mode="", version="8.3"):
    where, policy = f"[%m, {t.coordinates()}]", ", %policy" if hint else ""
    code = [*t.mapped("%in0"), POLICY, f"@%p cp.async.bulk.prefetch.tensor.{t.rank}d.L2.global{mode}{hint} {where}{policy};",
            "@%p mbarrier.init.shared.b64 [bar], 1;", "fence.mbarrier_init.release.cluster;", "bar.warp.sync -1;",
            f"@%p mbarrier.arrive.expect_tx.shared.b64 _, [bar], {t.width * t.elements};",
            f"@%p {op} [tile], {where}, [bar]{policy};", "wait:",
            "mbarrier.try_wait.parity.shared.b64 %q, [bar], 0;", "@!%q bra wait;", *t.moved(None, "out0")]  # fmt: skip
    return t.test(name, op, "9.7.9.25.5.2", [given("in0", t.buffer(), data), wanted("out0", t.buffer(), tile)], code, version=version)


def loads():
    for rank in range(1, 6):
        t = Tensor(rank)
        data = noise(f"tensor load {rank}", t.length)
        tile = [0 if p is None else data[p] for p in t.places()]
        for space, mode, hint in (("cta", "", ""), ("cta", ".tile", ".L2::cache_hint"), ("cluster", "", ".L2::cache_hint"),
                                  ("cluster", ".tile", "")):  # fmt: skip
            op = f"cp.async.bulk.tensor.{rank}d.shared::{space}.global{mode}.mbarrier::complete_tx::bytes{hint}"
            yield loaded(t, f"load.{rank}d.{space}{mode}{'.cache_hint' if hint else ''}", op, data, tile, hint, mode,
                         "8.6" if space == "cta" else "8.3")  # fmt: skip
    kinds = [(f"load.swizzle_{32 << k - 1}", Tensor(2, swizzle=k, lines=16)) for k in (1, 2, 3)]
    kinds += [(f"load.steps_{'_'.join(map(str, steps))}", Tensor(len(steps), steps=steps, lines=5))
              for steps in ((1, 2), (1, 3, 2), (4, 1, 3), (1, 2, 1, 2, 2))]  # fmt: skip
    kinds += [(f"load.{ty}", Tensor(2, ty)) for ty in CODE]
    kinds += [(f"load.nan.{ty}", Tensor(2, ty, fill=1)) for ty in ("f16", "bf16", "f32", "f32.ftz", "f64")]
    for name, t in kinds:
        op = f"cp.async.bulk.tensor.{t.rank}d.shared::cluster.global.tile.mbarrier::complete_tx::bytes"
        data = noise(name, t.length, t.width)
        if t.dtype == "f32.ftz":
            # A third subnormal, of either sign.
            data = [x & 0x807FFFFF if k % 3 == 0 else x for k, x in enumerate(data)]
        tile = [0] * t.elements
        for k, p in enumerate(t.places()):
            x = ("nan" if t.fill else 0) if p is None else data[p]
            flushed = t.dtype == "f32.ftz" and p is not None and not x >> 23 & 0xFF
            tile[t.swizzled(k)] = x & 1 << 31 if flushed else x
        yield loaded(t, name, op, data, tile)


def stored(t, name, op, spec, combine, tile, before, mapping=None, about=None):
    """A copy out of shared memory, whose elements are combined with those of the tensor."""
    after = list(before)
    for x, p in zip(tile, t.places()):
        if p is not None:
            after[p] = combine(before[p], x)
    shared = [0] * t.elements
    for k, x in enumerate(tile):
        shared[t.swizzled(k)] = x
    policy = ", %policy" if "cache_hint" in op else ""
    code = [*(mapping or t.mapped("%out0")), POLICY, *t.moved("in0", None), "fence.proxy.async.shared::cta;", "bar.warp.sync -1;",
            f"@%p {op} [%m, {t.coordinates()}], [tile]{policy};", "@%p cp.async.bulk.commit_group;",
            "@%p cp.async.bulk.wait_group 0;"]  # fmt: skip
    return t.test(name, about or op, spec, [given("in0", t.buffer(), shared), changed("out0", t.buffer(), before, after)], code)


def stores():
    replaced = lambda old, new: new
    for rank in range(1, 6):
        t = Tensor(rank)
        for mode, hint in (("", ""), (".tile", ".L2::cache_hint")):
            op = f"cp.async.bulk.tensor.{rank}d.global.shared::cta{mode}.bulk_group{hint}"
            yield stored(t, f"store.{rank}d{mode}{'.cache_hint' if hint else ''}", op, "9.7.9.25.5.2", replaced,
                         noise(op, t.elements), noise(f"{op} before", t.length))  # fmt: skip
    for swizzle in (1, 2, 3):
        t = Tensor(2, swizzle=swizzle, lines=16)
        op = "cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group"
        yield stored(t, f"store.swizzle_{32 << swizzle - 1}", op, "9.7.9.25.5.2", replaced,
                     noise(f"store {swizzle}", t.elements), noise("store before", t.length))  # fmt: skip
    # How the map is made, and published.
    for label, space, scope in (("global", ".global", "gpu"), ("generic", "", "gpu"), ("shared", ".shared::cta", "cta"),
                                ("shared", ".shared::cta", "cluster"), ("shared", ".shared::cta", "sys")):  # fmt: skip
        t = Tensor(3, swizzle=1)
        op = "cp.async.bulk.tensor.3d.global.shared::cta.tile.bulk_group"
        yield stored(t, f"map.{label}.{scope}", op, "9.7.9.26", replaced, noise(f"map {label} {scope}", t.elements),
                     noise("map before", t.length), t.mapped("%out0", space, scope),
                     about=f"tensormap.replace in {label} memory, released to .{scope}")  # fmt: skip


def reductions():
    def whole(ty):
        bits, value = 8 * WIDTH.get(ty, 4), (lambda x: signed(x, bits)) if ty[0] == "s" else (lambda x: x)
        mask = (1 << bits) - 1
        return {"add": lambda a, b: a + b & mask, "min": lambda a, b: min(a, b, key=value),
                "max": lambda a, b: max(a, b, key=value), "and": lambda a, b: a & b, "or": lambda a, b: a | b,
                "xor": lambda a, b: a ^ b, "inc": lambda a, b: 0 if a >= b else a + 1,
                "dec": lambda a, b: b if a == 0 or a > b else a - 1}  # fmt: skip

    kinds = {"add": "u32 s32 u64", "min": "u32 s32 u64 s64", "max": "u32 s32 u64 s64", "inc": "u32", "dec": "u32",
             "and": "u32 s32 u64 s64", "or": "u32 s32 u64 s64", "xor": "u32 s32 u64 s64"}  # fmt: skip
    spec = "9.7.9.25.5.3"
    for what, types in kinds.items():
        for ty in types.split():
            t = Tensor(2, ty)
            op = f"cp.reduce.async.bulk.tensor.2d.global.shared::cta.{what}.tile.bulk_group"
            before, tile = noise(f"{op} {ty} before", t.length, t.width), noise(f"{op} {ty}", t.elements, t.width)
            if what in ("inc", "dec"):
                # Bounds that are met, passed and not reached.
                before, tile = [k % 12 for k in range(t.length)], [5 + k % 4 for k in range(t.elements)]
            yield stored(t, f"reduce.{what}.{ty}", op, spec, whole(ty)[what], tile, before)
    for what, f, types in (("add", lambda a, b: a + b, "f16 bf16 f32"), ("min", min, "f16 bf16"), ("max", max, "f16 bf16")):
        for ty in types.split():
            t = Tensor(2, ty)
            # Small integers, whose sums are exact.
            old, new = [7 * k % 33 - 16 for k in range(t.length)], [5 * k % 29 - 14 for k in range(t.elements)]
            pattern = {x: encode(FLOATS[ty], x) for x in range(-32, 33)}
            number = {p: x for x, p in pattern.items()}
            combine = lambda a, b, f=f, p=pattern, n=number: p[f(n[a], n[b])]
            op = f"cp.reduce.async.bulk.tensor.2d.global.shared::cta.{what}.bulk_group"
            yield stored(t, f"reduce.{what}.{ty}", op, spec, combine, [pattern[x] for x in new], [pattern[x] for x in old])
    for rank in range(1, 6):
        t = Tensor(rank)
        for mode, hint in (("", ".L2::cache_hint"), (".tile", "")):
            op = f"cp.reduce.async.bulk.tensor.{rank}d.global.shared::cta.add{mode}.bulk_group{hint}"
            yield stored(t, f"reduce.{rank}d{mode}{'.cache_hint' if hint else ''}", op, spec, whole("u32")["add"],
                         noise(op, t.elements), noise(f"{op} before", t.length))  # fmt: skip


def tests():
    for group in (loads, stores, reductions):
        yield from group()
