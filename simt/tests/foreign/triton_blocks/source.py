"""Operations on whole blocks: scans, sorting, histograms, gathers, atomics, a lock, joined and
split blocks, inline assembly."""

import triton
import triton.language as tl


@triton.jit
def larger(a, b):
    return tl.maximum(a, b)


@triton.jit
def compose(a1, b1, a2, b2):
    return a1 * a2, b1 * a2 + b2


@triton.jit
def scans(x, sums, maxima, composed, best, N: tl.constexpr):
    row = tl.program_id(0)
    at = row * N + tl.arange(0, N)
    v = tl.load(x + at)
    tl.store(sums + at, tl.cumsum(v, 0))
    tl.store(maxima + at, tl.associative_scan(v, 0, larger, reverse=True))
    _, b = tl.associative_scan((v % 2 * 2 - 1, v), 0, compose)
    tl.store(composed + at, b)
    tl.store(best + row, tl.argmax(v, 0))


@triton.jit
def sorted_rows(x, out, bins, N: tl.constexpr):
    at = tl.arange(0, N)
    v = tl.load(x + at)
    tl.store(out + at, tl.sort(v))
    tl.store(bins + tl.arange(0, 16), tl.histogram(v & 15, 16))


@triton.jit
def gathered(x, index, out, turned, N: tl.constexpr, M: tl.constexpr):
    n, m = tl.arange(0, N), tl.arange(0, M)
    at = n[:, None] * M + m[None, :]
    v = tl.load(x + at)
    tl.store(out + at, tl.gather(v, tl.load(index + at), 1))
    tl.store(turned + m[:, None] * N + n[None, :], tl.trans(v))


@triton.jit
def counted(x, counts, maxima, sums, lock, n, N: tl.constexpr):
    at = tl.program_id(0) * N + tl.arange(0, N)
    inside = at < n
    v = tl.load(x + at, mask=inside, other=0)
    tl.atomic_add(counts + v % 8, 1, mask=inside)
    tl.atomic_max(maxima + at % 4, v, mask=inside, sem="relaxed")
    tl.atomic_add(sums + at % 2, v.to(tl.float32), mask=inside, sem="release", scope="sys")
    while tl.atomic_cas(lock, 0, 1, sem="acquire") == 1:
        pass
    total = tl.load(lock + 1)
    tl.store(lock + 1, total + tl.sum(v, 0))
    tl.debug_barrier()
    tl.atomic_xchg(lock, 0, sem="release")


@triton.jit
def joined(x, y, out, N: tl.constexpr):
    at = tl.arange(0, N)
    a, b = tl.load(x + at), tl.load(y + at)
    tl.store(out + tl.arange(0, 2 * N), tl.interleave(a, b))
    p, q = tl.split(tl.join(a, b))
    low = tl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $2, 0x5410;", "=r,r,r", [p, q], dtype=tl.int32, is_pure=True, pack=1
    )
    tl.store(out + 2 * N + at, low)
    tl.store(out + 3 * N + at, tl.flip(a, 0))


TARGETS = [80, 90]
I, F, C = "*i32", "*fp32", "constexpr"
KERNELS = [
    ("scans_", scans, {"x": I, "sums": I, "maxima": I, "composed": I, "best": I, "N": C}, {"N": 256}, {}),
    ("sorted_", sorted_rows, {"x": I, "out": I, "bins": I, "N": C}, {"N": 256}, {}),
    ("gathered_", gathered, {"x": F, "index": I, "out": F, "turned": F, "N": C, "M": C}, {"N": 16, "M": 32}, {}),
    ("counted_", counted, {"x": I, "counts": I, "maxima": I, "sums": F, "lock": I, "n": "i32", "N": C}, {"N": 128}, {}),
    ("joined_", joined, {"x": I, "y": I, "out": I, "N": C}, {"N": 256}, {}),
]  # fmt: skip
