"""What atomics compute: rounding and subnormals of sums, and every length of vectors.
PTX ISA 9.7.13.5 and 9.7.13.7."""

from fractions import Fraction

from floats import BF16, F16, F32, F64, NAN, add, encode, flush, is_nan, value
from ptxtest import WIDTH, changed, given, kernel, wanted
from values import Stream, edges, noise

N = 64
FLOATS = {"f32": F32, "f64": F64, "f16": F16, "bf16": BF16}
HELD = {"f16": "b16", "bf16": "b16", "f16x2": "b32", "bf16x2": "b32"}


def element(x):
    return "nan" if x == NAN else x


def numbers(t, name):
    """Pairs of operands: subnormals of either sign, cancellation, ties, overflow, and anything."""
    f = FLOATS[t]
    s = Stream(name)
    tiny = [1, f.min_normal - 1, f.sign_bit | 1, f.min_normal, f.sign_bit | f.min_normal, f.min_normal + 1]
    pairs = [(x, y) for x in tiny for y in (*tiny, 0, f.sign_bit)]
    pairs += [(f.one, x) for x in (f.one - (f.mant << f.mant), f.one + 1, f.sign_bit | f.one - 1, f.max_bits)]
    pairs += [(f.max_bits, f.max_bits), (f.inf_bits, f.sign_bit | f.inf_bits), (f.inf_bits, f.one)]
    plain = [x for x in edges(t) if not is_nan(f, x)]
    while len(pairs) < N:
        pairs.append((noise(t, s), s.choice(plain) if s.below(3) == 0 else noise(t, s)))
    return [p[0] for p in pairs[:N]], [p[1] for p in pairs[:N]]


def sums():
    """f32 in device memory flushes subnormals, as the ISA says of it; elsewhere nothing does."""
    for t, f in FLOATS.items():
        op = "add.noftz" if t in HELD else "add"
        held = HELD.get(t, t)
        size = WIDTH[t] // 8
        for space in ("global", "shared"):
            before, values = numbers(t, f"sum {t}")
            flushes = t == "f32" and space == "global"
            own = (lambda x: flush(F32, x)) if flushes else (lambda x: x)
            after = []
            for x, y in zip(before, values):
                r = add(f, own(x), own(y))
                after.append(element(r if r == NAN else own(r)))
            for kind in ("atom", "red"):
                result = "%d, " if kind == "atom" else ""
                buffers = [given("in0", t, values), changed("io", t, before, after)]
                buffers += [wanted("out0", t, before)] if kind == "atom" else []
                code = [f"ld.global.{held} %v, [%in0];"]
                if space == "shared":
                    code += ["mov.u32 %s, tile;", f"mad.lo.u32 %s, %i, {size}, %s;", f"ld.global.{held} %d, [%io];",
                             f"st.shared.{held} [%s], %d;", f"{kind}.shared.{op}.{t} {result}[%s], %v;"]  # fmt: skip
                else:
                    code.append(f"{kind}.global.{op}.{t} {result}[%io], %v;")
                code += [f"st.global.{held} [%out0], %d;"] if kind == "atom" else []
                if space == "shared":
                    code += [f"ld.shared.{held} %d, [%s];", f"st.global.{held} [%io], %d;"]
                note = ["device memory flushes subnormal operands and sums of f32, shared memory does not"]
                yield kernel("sums", f"{kind}.{space}.{op}.{t}.edges", f"{kind}.{space}.{op}.{t}", "9.7.13.5", buffers,
                             code, [f".{held} %v", f".{held} %d", ".u32 %s"], block=(N, 1, 1),
                             notes=note if t == "f32" else [],
                             globals_=[f".shared .align 8 .b8 tile[{N * size}];"] if space == "shared" else [],
                             target="sm_90" if t == "bf16" else "sm_80")  # fmt: skip


def lanes(t, row):
    """Numbers as the elements of a vector."""
    f = FLOATS[t.removesuffix("x2")]
    codes = [encode(f, Fraction(x)) for x in row]
    if not t.endswith("x2"):
        return codes
    return [codes[k] | codes[k + 1] << 16 for k in range(0, len(codes), 2)]


def vectors():
    """Each element its own operation. `atom` on a vector a thread shows what was there; with `red`
    all threads meet at one. Small integers are exact in every format and order."""
    shapes = [("add", "f32", n) for n in (2, 4)]
    for op in ("add.noftz", "min.noftz", "max.noftz"):
        shapes += [(op, t, n) for t in ("f16", "bf16") for n in (2, 4, 8)]
        shapes += [(op, t, n) for t in ("f16x2", "bf16x2") for n in (2, 4)]
    for op, t, n in shapes:
        s = Stream(f"{op} {t} {n}")
        columns = n * (2 if t.endswith("x2") else 1)
        fold = {"add": lambda xs: sum(xs), "min": min, "max": max}[op.split(".")[0]]
        held = HELD.get(t, t)
        rows = [[s.below(7) - 3 for _ in range(columns)] for _ in range(32)]
        values = [x for row in rows for x in lanes(t, row)]
        listed = ["{" + ", ".join(f"%{r}{k}" for k in range(n)) + "}" for r in "vd"]
        load = []  # Elements one by one: eight of 16 bits are no `ld`.
        load += [f"ld.global.{held} %v{k}, [%in0+{k * WIDTH[held] // 8}];" for k in range(n)]
        more = dict(block=(32, 1, 1), target="sm_90", version="8.1")
        regs = [f".{held} %v<{n}>", f".{held} %d<{n}>"]
        before = [[s.below(9) - 4 for _ in range(columns)] for _ in range(32)]
        name = f"atom.global.{op}.v{n}.{t}"
        after = [x for b, r in zip(before, rows) for x in lanes(t, [fold(p) for p in zip(b, r)])]
        old = [x for b in before for x in lanes(t, b)]
        yield kernel("sums", name, name, "9.7.13.5",
                     [given("in0", held, values), changed("io", held, old, after), wanted("out0", held, old)],
                     [*load, f"{name} {listed[1]}, [%io], {listed[0]};",
                      *(f"st.global.{held} [%out0+{k * WIDTH[held] // 8}], %d{k};" for k in range(n))],
                     regs, per_thread={"in0": n, "io": n, "out0": n}, **more)  # fmt: skip
        name = f"red.global.{op}.v{n}.{t}"
        final = [fold([b, *(r[k] for r in rows)]) for k, b in enumerate(before[0])]
        yield kernel("sums", name, name, "9.7.13.7",
                     [given("in0", held, values), changed("io", held, lanes(t, before[0]), lanes(t, final))],
                     [*load, f"{name} [%io], {listed[0]};"], regs, per_thread={"in0": n, "io": 0}, **more)  # fmt: skip
    # A vector of f32 flushes as one alone does.
    values = [1, F32.sign_bit | 1, F32.min_normal, F32.one]
    before = [F32.min_normal, 0, F32.sign_bit | (F32.min_normal + 1), F32.min_normal - 1]
    after = [flush(F32, add(F32, flush(F32, x), flush(F32, y))) for x, y in zip(before, values)]
    yield kernel("sums", "red.global.add.v4.f32.subnormal", "red.global.add.v4.f32", "9.7.13.7",
                 [given("in0", "f32", values), changed("io", "f32", before, after)],
                 ["ld.global.v4.f32 {%v0, %v1, %v2, %v3}, [%in0];", "red.global.add.v4.f32 [%io], {%v0, %v1, %v2, %v3};"],
                 [".f32 %v<4>"], block=(1, 1, 1), target="sm_90", version="8.1")  # fmt: skip


def bulk():
    """A bulk copy that adds flushes nothing, as an H100 answered."""
    before, values = numbers("f32", "sum f32")
    after = [element(add(F32, x, y)) for x, y in zip(before, values)]
    yield kernel("sums", "cp.reduce.async.bulk.add.f32.edges", "cp.reduce.async.bulk.add.f32", "9.7.9.25.4.2",
                 [given("in0", "f32", values), changed("io", "f32", before, after)],
                 ["ld.global.f32 %v, [%in0];", "mov.u32 %s, tile;", "mad.lo.u32 %t, %i, 4, %s;", "st.shared.f32 [%t], %v;",
                  "fence.proxy.async.shared::cta;", "bar.sync 0;", "setp.ne.u32 %p, %i, 0;", "@%p bra done;",
                  f"cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%io], [%s], {4 * N};",
                  "cp.async.bulk.commit_group;", "cp.async.bulk.wait_group 0;", "done:"],
                 [".f32 %v", ".u32 %s", ".u32 %t", ".pred %p"], block=(N, 1, 1), target="sm_90",
                 globals_=[f".shared .align 16 .b8 tile[{4 * N}];"],
                 notes=["unlike `red`, it keeps subnormals of f32"])  # fmt: skip


def tests():
    for group in (sums, vectors, bulk):
        yield from group()
