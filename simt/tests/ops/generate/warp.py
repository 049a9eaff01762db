"""Warp-wide exchange: shfl, vote, match, redux, activemask, elect: PTX ISA 9.7.9.6, 9.7.13.9–14."""

from ptxtest import given, kernel, wanted
from values import Stream, signed

FULL = 0xFFFFFFFF
IDLE = 0x1D1E1D1E  # what a lane outside the mask stores
M32 = 0xFFFFFFFF


def members(mask):
    return [k for k in range(32) if mask >> k & 1]


def collective(name, instruction, spec, inputs, outputs, code, mask, registers=(), **more):
    """Lanes of `mask` run `code` (which may use `%mask`); the others keep `IDLE`.

    Expected values of idle lanes are filled in here.
    """
    bufs = [given(f"in{k}", t, v) for k, (t, v) in enumerate(inputs)]
    for k, v in enumerate(outputs):
        bufs.append(wanted(f"out{k}", "u32", [x if mask >> i & 1 else IDLE for i, x in enumerate(v)]))
    body = [f"mov.u32 %mask, {mask:#x};", "shr.u32 %bit, %mask, %i;", "and.b32 %bit, %bit, 1;",
            "setp.eq.u32 %idle, %bit, 0;"]  # fmt: skip
    body += [f"ld.global.{t} %a{k}, [%in{k}];" for k, (t, _) in enumerate(inputs)]
    body += [f"mov.u32 %d{k}, {IDLE:#x};" for k in range(len(outputs))]
    if mask != FULL:
        body.append("@%idle bra done;")
    body += code + ["done:"]
    body += [f"st.global.u32 [%out{k}], %d{k};" for k in range(len(outputs))]
    regs = [".u32 %mask", ".u32 %bit", ".pred %idle", ".pred %p", ".pred %q"]
    regs += [f".{t} %a{k}" for k, (t, _) in enumerate(inputs)]
    regs += [f".u32 %d{k}" for k in range(len(outputs))]
    return kernel("warp", name, instruction, spec, bufs, body, regs + list(registers), **more)


def source_lane(mode, lane, b, c):
    """The ISA's pseudo-code: (source lane, in range)."""
    bval, cval, seg = b & 31, c & 31, c >> 8 & 31
    top = (lane & seg) | (cval & ~seg & 31)
    low = lane & seg
    j = {"up": lane - bval, "down": lane + bval, "bfly": lane ^ bval,
         "idx": low | (bval & ~seg & 31)}[mode]  # fmt: skip
    ok = j >= top if mode == "up" else j <= top
    return (j, True) if ok else (lane, False)


def shuffles():
    values = [Stream(f"shfl {k}").next() & M32 for k in range(32)]
    per_lane = [Stream(f"shfl b {k}").below(32) for k in range(32)]
    for mode in ("up", "down", "bfly", "idx"):
        edge = 0 if mode == "up" else 31
        cases = {
            "whole": (1, edge), "far": (17, edge), "zero": (0, edge), "all": (31, edge),
            "half": (3, edge | 16 << 8), "quarter": (5, edge | 24 << 8), "pairs": (1, edge | 30 << 8),
            "clamped": (4, 20 if mode != "up" else 5), "beyond": (37, edge),
            "segment_clamp": (2, (5 if mode != "up" else 2) | 24 << 8),
        }  # fmt: skip
        for label, (b, c) in cases.items():
            got = [source_lane(mode, k, b, c) for k in range(32)]
            name = f"shfl.sync.{mode}.{label}"
            yield collective(name, f"shfl.sync.{mode}.b32", "9.7.9.6", [("u32", values)],
                             [[values[j] for j, _ in got], [int(ok) for _, ok in got]],
                             [f"shfl.sync.{mode}.b32 %d0|%p, %a0, {b}, {c:#x}, %mask;",
                              "selp.u32 %d1, 1, 0, %p;"], FULL)  # fmt: skip
        got = [source_lane(mode, k, b, edge) for k, b in enumerate(per_lane)]
        yield collective(f"shfl.sync.{mode}.per_lane", f"shfl.sync.{mode}.b32", "9.7.9.6",
                         [("u32", values), ("u32", per_lane)], [[values[j] for j, _ in got]],
                         [f"shfl.sync.{mode}.b32 %d0, %a0, %a1, {edge}, %mask;"], FULL)  # fmt: skip
    # Part of a warp: every source lane lies in the mask.
    yield collective("shfl.sync.idx.masked", "shfl.sync.idx.b32", "9.7.9.6", [("u32", values)],
                     [[values[9]] * 32], ["shfl.sync.idx.b32 %d0, %a0, 9, 31, %mask;"], 0x00F0FF00)  # fmt: skip
    yield collective("shfl.sync.bfly.masked", "shfl.sync.bfly.b32", "9.7.9.6", [("u32", values)],
                     [[values[k ^ 3] for k in range(32)]],
                     ["shfl.sync.bfly.b32 %d0, %a0, 3, 31, %mask;"], 0x0F0000F0)  # fmt: skip
    # Two halves of a warp shuffle in different branches, each with its own mask.
    expect = [values[k ^ 1] if k < 16 else values[31 - (k - 16)] for k in range(32)]
    index = [31 - (k - 16) if k >= 16 else 0 for k in range(32)]
    yield collective("shfl.sync.two_branches", "shfl.sync in divergent code", "9.7.9.6",
                     [("u32", values), ("u32", index)], [expect],
                     ["setp.lt.u32 %p, %i, 16;", "@%p bra low;",
                      "shfl.sync.idx.b32 %d0, %a0, %a1, 31, 0xffff0000;", "bra done;", "low:",
                      "shfl.sync.bfly.b32 %d0, %a0, 1, 31, 0x0000ffff;"], FULL)  # fmt: skip
    # The same shuffle reached by two paths: .sync waits for the whole mask.
    yield collective("shfl.sync.butterfly_sum", "shfl.sync.bfly.b32", "9.7.9.6", [("u32", values)],
                     [[sum(values) & M32] * 32],
                     ["mov.u32 %d0, %a0;"] + [x for n in (16, 8, 4, 2, 1) for x in
                      (f"shfl.sync.bfly.b32 %t, %d0, {n}, 31, %mask;", "add.u32 %d0, %d0, %t;")],
                     FULL, [".u32 %t"])  # fmt: skip


def masks_of_their_own():
    """One converged instruction, each group of lanes with its own mask: tiles of eight, and
    the groups that `match.any` finds."""
    values = [Stream(f"tiles {k}").next() & M32 for k in range(32)]
    own = ["and.b32 %m, %i, 24;", "mov.u32 %t, 255;", "shl.b32 %m, %t, %m;"]
    yield collective("shfl.sync.tiles", "shfl.sync.bfly.b32", "9.7.9.6", [("u32", values)],
                     [[values[k ^ 5] for k in range(32)]],
                     [*own, "shfl.sync.bfly.b32 %d0, %a0, 5, 0x181f, %m;"], FULL, [".u32 %m", ".u32 %t"])  # fmt: skip
    tiles = [sum(values[k // 8 * 8 : k // 8 * 8 + 8]) & M32 for k in range(32)]
    yield collective("redux.sync.tiles", "redux.sync.add.u32", "9.7.13.12", [("u32", values)], [tiles],
                     [*own, "redux.sync.add.u32 %d0, %a0, %m;"], FULL, [".u32 %m", ".u32 %t"])  # fmt: skip
    labels = [x % 5 for x in values]
    groups = [sum(v for v, w in zip(values, labels) if w == labels[k]) & M32 for k in range(32)]
    yield collective("redux.sync.matched", "redux.sync.add.u32 over match.any groups", "9.7.13.12",
                     [("u32", values)], [groups],
                     ["rem.u32 %t, %a0, 5;", "match.any.sync.b32 %m, %t, %mask;",
                      "redux.sync.add.u32 %d0, %a0, %m;"], FULL, [".u32 %m", ".u32 %t"])  # fmt: skip


MASKS = {"full": FULL, "low": 0xFFFF, "odd": 0xAAAAAAAA, "one": 1 << 13, "some": 0x8F00F10E}


def votes():
    patterns = {"none": 0, "all": FULL, "mixed": 0x137F5AC3}
    for mode in ("all", "any", "uni", "ballot"):
        for pname, bits in patterns.items():
            for mname, mask in MASKS.items():
                for negate in ("", "!"):
                    if negate and pname != "mixed":
                        continue
                    seen = (~bits if negate else bits) & mask
                    result = {"all": seen == mask, "any": seen != 0, "uni": seen in (0, mask),
                              "ballot": seen}[mode]  # fmt: skip
                    code = ["setp.ne.u32 %p, %a0, 0;"]
                    if mode == "ballot":
                        code.append(f"vote.sync.ballot.b32 %d0, {negate}%p, %mask;")
                    else:
                        code += [f"vote.sync.{mode}.pred %q, {negate}%p, %mask;", "selp.u32 %d0, 1, 0, %q;"]
                    name = f"vote.sync.{mode}.{pname}.{mname}{'.not' if negate else ''}"
                    yield collective(name, f"vote.sync.{mode}", "9.7.13.9",
                                     [("u32", [bits >> k & 1 for k in range(32)])],
                                     [[int(result)] * 32], code, mask)  # fmt: skip


def matches():
    for t in ("b32", "b64"):
        high = 1 << 40 if t == "b64" else 0
        sets = {
            "groups": [high * (k % 3) + k % 5 for k in range(32)],
            "same": [high + 7] * 32,
            "distinct": [high * k + k for k in range(32)],
        }
        if t == "b64":  # equal in the low words only
            sets["high_words"] = [(k % 2) << 32 | 5 for k in range(32)]
        for label, values in sets.items():
            for mname, mask in MASKS.items():
                lanes = members(mask)
                any_of = [sum(1 << j for j in lanes if values[j] == values[k]) for k in range(32)]
                same = len({values[j] for j in lanes}) == 1
                yield collective(f"match.any.sync.{t}.{label}.{mname}", f"match.any.sync.{t}", "9.7.13.10",
                                 [(t, values)], [any_of], [f"match.any.sync.{t} %d0, %a0, %mask;"], mask)  # fmt: skip
                yield collective(f"match.all.sync.{t}.{label}.{mname}", f"match.all.sync.{t}", "9.7.13.10",
                                 [(t, values)], [[mask if same else 0] * 32, [int(same)] * 32],
                                 [f"match.all.sync.{t} %d0|%p, %a0, %mask;", "selp.u32 %d1, 1, 0, %p;"], mask)  # fmt: skip


def reductions():
    values = [Stream(f"redux {k}").next() & M32 for k in range(32)]
    values[3], values[13], values[20] = 0x80000000, 0x7FFFFFFF, 0
    for op, t in [(o, t) for o in ("add", "min", "max") for t in ("u32", "s32")] + [
        (o, "b32") for o in ("and", "or", "xor")
    ]:
        for mname, mask in MASKS.items():
            xs = [values[k] for k in members(mask)]
            if t == "s32":
                xs = [signed(x, 32) for x in xs]
            r = {"add": sum, "min": min, "max": max}.get(op)
            if r is None:
                acc = xs[0]
                for x in xs[1:]:
                    acc = {"and": acc & x, "or": acc | x, "xor": acc ^ x}[op]
            else:
                acc = r(xs)
            yield collective(f"redux.sync.{op}.{t}.{mname}", f"redux.sync.{op}.{t}", "9.7.13.12",
                             [("u32", values)], [[acc & M32] * 32],
                             [f"redux.sync.{op}.{t} %d0, %a0, %mask;"], mask)  # fmt: skip


def others():
    for mname, mask in MASKS.items():
        # Which lane is elected is not said, only that one is: it must agree with itself.
        yield collective(f"elect.sync.{mname}", "elect.sync", "9.7.13.14", [],
                         [[1] * 32, [1] * 32, [1] * 32],
                         ["elect.sync %leader|%p, %mask;", "vote.sync.ballot.b32 %votes, %p, %mask;",
                          "popc.b32 %d0, %votes;",  # exactly one lane holds the predicate
                          "shl.b32 %t, 1, %leader;", "setp.eq.u32 %q, %t, %votes;", "selp.u32 %d1, 1, 0, %q;",
                          "and.b32 %t, %votes, %mask;", "setp.eq.u32 %q, %t, %votes;", "selp.u32 %d2, 1, 0, %q;"],
                         mask, [".u32 %leader", ".u32 %votes", ".u32 %t"], target="sm_90")  # fmt: skip
        # After a branch and a warp barrier the lanes of the mask may have converged or
        # not: the executing lane is always in its own active mask, never an idle one.
        yield collective(f"activemask.{mname}", "activemask.b32", "9.7.13.11", [],
                         [[1] * 32, [0] * 32],
                         ["activemask.b32 %t;", "shr.u32 %d0, %t, %i;", "and.b32 %d0, %d0, 1;",
                          "not.b32 %u, %mask;", "and.b32 %d1, %t, %u;"],
                         mask, [".u32 %t", ".u32 %u"])  # fmt: skip
        # bar.warp.sync orders shared memory among its lanes: each reads its ring neighbour.
        lanes = members(mask)
        after = {k: lanes[(n + 1) % len(lanes)] for n, k in enumerate(lanes)}
        yield collective(f"bar.warp.sync.{mname}", "bar.warp.sync", "9.7.13.2",
                         [("u32", [after.get(k, 0) for k in range(32)])],
                         [[after.get(k, 0) * 3 + 1 for k in range(32)]],
                         ["mov.u32 %s, tile;", "mad.lo.u32 %t, %i, 4, %s;", "mad.lo.u32 %u, %i, 3, 1;",
                          "st.shared.u32 [%t], %u;", "bar.warp.sync %mask;",
                          "mad.lo.u32 %t, %a0, 4, %s;", "ld.shared.u32 %d0, [%t];"],
                         mask, [".u32 %s", ".u32 %t", ".u32 %u"],
                         globals_=[".shared .align 4 .b8 tile[128];"])  # fmt: skip
    # A short warp: lanes that do not exist take no part.
    yield kernel("warp", "vote.sync.short_warp", "vote.sync.ballot.b32", "9.7.13.9",
                 [wanted("out0", "u32", [0x7F] * 7)],
                 ["setp.eq.u32 %p, %i, %i;", "vote.sync.ballot.b32 %d, %p, 0x7f;", "st.global.u32 [%out0], %d;"],
                 [".pred %p", ".u32 %d"], block=(7, 1, 1))  # fmt: skip


def tests():
    for group in (shuffles, masks_of_their_own, votes, matches, reductions, others):
        yield from group()
