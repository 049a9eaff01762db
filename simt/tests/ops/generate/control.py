"""Branches, calls and divergence: PTX ISA 9.7.12, 7.1. What each thread must compute is
worked out here in Python, thread by thread."""

from ptxtest import given, kernel, wanted
from values import Stream

M32 = 0xFFFFFFFF


def lanes(fn, n=32):
    return [fn(k) & M32 for k in range(n)]


def flow(name, instruction, expect, code, registers, spec="9.7.12", **more):
    return kernel("control", name, instruction, spec, [wanted("out0", "u32", expect)],
                  [*code, "st.global.u32 [%out0], %v;"], [".u32 %v", *registers], **more)  # fmt: skip


def branches():
    yield flow("early_exit", "exit in part of a warp", lanes(lambda k: 0xCCCCCCCC if k % 3 == 0 else k + 1),
               ["mov.u32 %v, 0xcccccccc;", "st.global.u32 [%out0], %v;", "rem.u32 %r, %i, 3;",
                "setp.eq.u32 %p, %r, 0;", "@%p exit;", "add.u32 %v, %i, 1;"],
               [".u32 %r", ".pred %p"])  # fmt: skip
    yield flow("early_return", "ret in part of a warp", lanes(lambda k: 7 if k < 5 else k * k),
               ["mov.u32 %v, 7;", "st.global.u32 [%out0], %v;", "setp.lt.u32 %p, %i, 5;", "@%p ret;",
                "mul.lo.u32 %v, %i, %i;"], [".pred %p"])  # fmt: skip
    yield flow("if_else", "bra both ways", lanes(lambda k: 10 * k if k & 1 else 1000 + k),
               ["and.b32 %r, %i, 1;", "setp.eq.u32 %p, %r, 0;", "@%p bra even;", "mul.lo.u32 %v, %i, 10;",
                "bra.uni join;", "even:", "add.u32 %v, %i, 1000;", "join:"], [".u32 %r", ".pred %p"])  # fmt: skip

    def nested(k):
        return (1 if k & 4 else 2) if k & 1 else (3 if k & 8 else (4 if k & 2 else 5))

    yield flow("nested", "nested divergence", lanes(lambda k: nested(k) * 100 + k),
               ["and.b32 %r, %i, 1;", "setp.ne.u32 %p, %r, 0;", "@!%p bra even;",
                "and.b32 %r, %i, 4;", "setp.ne.u32 %p, %r, 0;", "@!%p bra odd_other;", "mov.u32 %v, 1;", "bra join;",
                "odd_other:", "mov.u32 %v, 2;", "bra join;",
                "even:", "and.b32 %r, %i, 8;", "setp.ne.u32 %p, %r, 0;", "@!%p bra even_other;", "mov.u32 %v, 3;",
                "bra join;", "even_other:", "and.b32 %r, %i, 2;", "setp.ne.u32 %p, %r, 0;", "mov.u32 %v, 5;",
                "@%p mov.u32 %v, 4;", "join:", "mad.lo.u32 %v, %v, 100, %i;"], [".u32 %r", ".pred %p"])  # fmt: skip

    def collatz(k):
        n = 0
        k += 1
        while k != 1:
            k = 3 * k + 1 if k & 1 else k // 2
            n += 1
        return n

    yield flow("trip_counts", "a loop of its own length per lane", lanes(collatz),
               ["add.u32 %x, %i, 1;", "mov.u32 %v, 0;", "next:", "setp.eq.u32 %p, %x, 1;", "@%p bra done;",
                "add.u32 %v, %v, 1;", "and.b32 %r, %x, 1;", "setp.ne.u32 %q, %r, 0;",
                "@%q mad.lo.u32 %x, %x, 3, 1;", "@!%q shr.u32 %x, %x, 1;", "bra next;", "done:"],
               [".u32 %x", ".u32 %r", ".pred %p", ".pred %q"])  # fmt: skip

    def triangle(k):
        return sum(1 for a in range(k % 7) for b in range(a) if (a + b + k) % 3)

    yield flow("nested_loops", "loops in loops, with continue", lanes(triangle),
               ["rem.u32 %n, %i, 7;", "mov.u32 %v, 0;", "mov.u32 %a, 0;", "outer:", "setp.ge.u32 %p, %a, %n;",
                "@%p bra done;", "mov.u32 %b, 0;", "inner:", "setp.ge.u32 %p, %b, %a;", "@%p bra next_a;",
                "add.u32 %r, %a, %b;", "add.u32 %r, %r, %i;", "rem.u32 %r, %r, 3;", "add.u32 %b, %b, 1;",
                "setp.eq.u32 %p, %r, 0;", "@%p bra inner;", "add.u32 %v, %v, 1;", "bra inner;",
                "next_a:", "add.u32 %a, %a, 1;", "bra outer;", "done:"],
               [".u32 %n", ".u32 %a", ".u32 %b", ".u32 %r", ".pred %p"])  # fmt: skip

    # A loop with two entries: even lanes jump into its middle.
    def irreducible(k):
        v, n, at = 0, k % 5 + 3, "middle" if k % 2 == 0 else "head"
        while True:
            if at == "head":
                v = v * 3 + 1
            v = v * 5 + 2
            n -= 1
            if n == 0:
                return v
            at = "head" if n % 2 else "middle"

    yield flow("irreducible", "a loop with two entries", lanes(irreducible),
               ["mov.u32 %v, 0;", "rem.u32 %n, %i, 5;", "add.u32 %n, %n, 3;", "and.b32 %r, %i, 1;",
                "setp.eq.u32 %p, %r, 0;", "@%p bra middle;", "head:", "mad.lo.u32 %v, %v, 3, 1;",
                "middle:", "mad.lo.u32 %v, %v, 5, 2;", "sub.u32 %n, %n, 1;", "setp.eq.u32 %p, %n, 0;",
                "@%p bra done;", "and.b32 %r, %n, 1;", "setp.ne.u32 %p, %r, 0;", "@%p bra head;",
                "bra middle;", "done:"], [".u32 %n", ".u32 %r", ".pred %p"])  # fmt: skip
    table = [100, 90, 80, 70]
    yield flow("brx.idx", "brx.idx", lanes(lambda k: table[k % 4] + k),
               ["and.b32 %r, %i, 3;", "targets: .branchtargets case0, case1, case2, case3;",
                "brx.idx %r, targets;", "case0:", "mov.u32 %v, 100;", "bra join;", "case1:", "mov.u32 %v, 90;",
                "bra join;", "case2:", "mov.u32 %v, 80;", "bra join;", "case3:", "mov.u32 %v, 70;", "join:",
                "add.u32 %v, %v, %i;"], [".u32 %r"], "9.7.12.4")  # fmt: skip
    yield flow("brx.idx.uniform", "brx.idx.uni", lanes(lambda k: 22),
               ["mov.u32 %r, %ctaid.x;", "add.u32 %r, %r, 1;", "targets: .branchtargets case0, case1;",
                "brx.idx.uni %r, targets;", "case0:", "mov.u32 %v, 11;", "bra join;", "case1:",
                "mov.u32 %v, 22;", "join:"], [".u32 %r"], "9.7.12.4")  # fmt: skip
    yield flow("scopes", "{ } scopes with local registers and labels", lanes(lambda k: k * 2 + 5),
               ["mov.u32 %v, %i;", "{", "    .reg .u32 %v2, %x;", "    mov.u32 %x, 5;", "    {",
                "        .reg .u32 %x;", "        mov.u32 %x, 2;", "        mul.lo.u32 %v, %v, %x;",
                "        bra skip;", "        mov.u32 %v, 0;", "    skip:", "    }", "    mov.u32 %v2, %v;",
                "    add.u32 %v, %v2, %x;", "}"], [])  # fmt: skip
    # 32 guards: a predicate holds per lane, and a false guard leaves the register alone.
    yield flow("guards", "@p and @!p", lanes(lambda k: k + (1 if k % 2 else 1 << 16)),
               ["and.b32 %r, %i, 1;", "setp.ne.u32 %p, %r, 0;", "mov.u32 %v, %i;", "@%p add.u32 %v, %v, 1;",
                "@!%p add.u32 %v, %v, 65536;"], [".u32 %r", ".pred %p"])  # fmt: skip


def threads_that_wait():
    """Programs that end only under independent thread scheduling."""
    yield flow("spin_lock.one_warp", "a lock that lanes of one warp contend for", [496] * 32,
               ["mov.u64 %l, lock;", "mov.u64 %s, sum;", "again:", "atom.global.cas.b32 %r, [%l], 0, 1;",
                "setp.ne.u32 %p, %r, 0;", "@%p bra again;", "fence.acq_rel.gpu;",
                "ld.volatile.global.u32 %v, [%s];", "add.u32 %v, %v, %i;", "st.volatile.global.u32 [%s], %v;",
                "fence.acq_rel.gpu;", "atom.global.exch.b32 %r, [%l], 0;", "bar.sync 0;",
                "ld.volatile.global.u32 %v, [%s];"],
               [".u64 %l", ".u64 %s", ".u32 %r", ".pred %p"], "3.2",
               globals_=[".global .align 4 .u32 lock = 0;", ".global .align 4 .u32 sum = 0;"])  # fmt: skip
    total = sum(range(32)) * 4
    yield flow("spin_lock.shared", "a lock in shared memory, many warps", [total] * 128,
               ["setp.ne.u32 %p, %i, 0;", "@%p bra ready;", "st.shared.u32 [lock], 0;", "st.shared.u32 [sum], 0;",
                "ready:", "bar.sync 0;", "again:", "atom.shared.cas.b32 %r, [lock], 0, 1;", "setp.ne.u32 %p, %r, 0;",
                "@%p bra again;", "membar.cta;", "and.b32 %r, %i, 31;", "ld.volatile.shared.u32 %v, [sum];",
                "add.u32 %v, %v, %r;", "st.volatile.shared.u32 [sum], %v;", "membar.cta;",
                "atom.shared.exch.b32 %r, [lock], 0;", "bar.sync 0;", "ld.volatile.shared.u32 %v, [sum];"],
               [".u32 %r", ".pred %p"], "3.2", block=(128, 1, 1),
               globals_=[".shared .align 4 .u32 lock;", ".shared .align 4 .u32 sum;"])  # fmt: skip
    # Lane k waits for lane k − 1's flag: a chain through one warp.
    yield flow("flag_chain", "each lane waits for the one before", lanes(lambda k: k * (k + 1) // 2),
               ["mov.u64 %l, chain;", "mad.wide.u32 %l, %i, 4, %l;", "setp.eq.u32 %p, %i, 0;", "mov.u32 %v, 0;",
                "@%p bra go;", "wait:", "ld.relaxed.gpu.global.u32 %v, [%l];", "setp.eq.u32 %p, %v, 0;", "@%p bra wait;",
                "sub.u32 %v, %v, 1;", "go:", "add.u32 %v, %v, %i;", "add.u32 %r, %v, 1;",
                "st.relaxed.gpu.global.u32 [%l+4], %r;"],
               [".u64 %l", ".u32 %r", ".pred %p"], "3.2", globals_=[".global .align 4 .u32 chain[33];"])  # fmt: skip
    yield flow("nanosleep", "nanosleep", lanes(lambda k: k), ["nanosleep.u32 20;", "mov.u32 %v, %i;"], [], "9.7.13")


FUNCTIONS = {
    "square": [".func (.param .b32 result) square(.param .b32 x)", "{", "    .reg .u32 %a;",
               "    ld.param.u32 %a, [x];", "    mul.lo.u32 %a, %a, %a;", "    st.param.u32 [result], %a;",
               "    ret;", "}"],
    "twice": [".func (.param .b32 result) twice(.param .b32 x)", "{", "    .reg .u32 %a;",
              "    ld.param.u32 %a, [x];", "    add.u32 %a, %a, %a;", "    st.param.u32 [result], %a;", "    ret;", "}"],
    # Registers as parameters, the older form.
    "mix": [".func (.reg .u32 %r) mix(.reg .u32 %x, .reg .u64 %y)", "{", "    .reg .u32 %t;",
            "    cvt.u32.u64 %t, %y;", "    mad.lo.u32 %r, %x, 3, %t;", "    ret;", "}"],
    # Recursion, with one activation per call.
    "factorial": [".func (.param .b32 result) factorial(.param .b32 n)", "{", "    .reg .u32 %n, %m, %f;",
                  "    .reg .pred %p;", "    ld.param.u32 %n, [n];", "    mov.u32 %f, 1;",
                  "    setp.le.u32 %p, %n, 1;", "    @%p bra done;", "    sub.u32 %m, %n, 1;", "    {",
                  "    .param .b32 a;", "    .param .b32 b;", "    st.param.u32 [a], %m;",
                  "    call (b), factorial, (a);", "    ld.param.u32 %f, [b];", "    }",
                  "    mul.lo.u32 %f, %f, %n;", "done:", "    st.param.u32 [result], %f;", "    ret;", "}"],
    # A structure by value, its fields by offset.
    "sum_struct": [".func (.param .align 8 .b8 result[16]) sum_struct(.param .align 8 .b8 x[16])", "{",
                   "    .reg .u64 %a, %b;", "    ld.param.u64 %a, [x];", "    ld.param.u64 %b, [x+8];",
                   "    add.u64 %a, %a, %b;", "    st.param.u64 [result], %a;", "    st.param.u64 [result+8], %b;",
                   "    ret;", "}"],
    # A pointer to the caller's local memory.
    "bump": [".func bump(.param .b64 where)", "{", "    .reg .u64 %p;", "    .reg .u32 %a;",
             "    ld.param.u64 %p, [where];", "    ld.u32 %a, [%p];", "    add.u32 %a, %a, 100;",
             "    st.u32 [%p], %a;", "    ret;", "}"],
}  # fmt: skip


def call(function, argument, result):
    return ["{", "    .param .b32 a;", "    .param .b32 b;", f"    st.param.b32 [a], {argument};",
            f"    call.uni (b), {function}, (a);", f"    ld.param.b32 {result}, [b];", "}"]  # fmt: skip


def calls():
    yield flow("call.param", "call with .param", lanes(lambda k: k * k), call("square", "%i", "%v"), [],
               "9.7.12.5", globals_=FUNCTIONS["square"])  # fmt: skip
    yield flow("call.reg", "call with .reg parameters", lanes(lambda k: 3 * k + 2 * k),
               ["mul.wide.u32 %w, %i, 2;", "call (%v), mix, (%i, %w);"], [".u64 %w"],
               "9.7.12.5", globals_=FUNCTIONS["mix"])  # fmt: skip
    yield flow("call.divergent", "call in one branch only", lanes(lambda k: k * k if k & 1 else k + 1),
               ["and.b32 %r, %i, 1;", "setp.eq.u32 %p, %r, 0;", "@%p bra even;",
                *[c.replace("call.uni", "call") for c in call("square", "%i", "%v")], "bra join;",
                "even:", "add.u32 %v, %i, 1;", "join:"], [".u32 %r", ".pred %p"],
               "9.7.12.5", globals_=FUNCTIONS["square"])  # fmt: skip
    yield flow("call.recursive", "recursive call, its own depth per lane",
               lanes(lambda k: [1, 1, 2, 6, 24, 120, 720, 5040][k % 8]),
               ["and.b32 %r, %i, 7;", *[c.replace("call.uni", "call") for c in call("factorial", "%r", "%v")]],
               [".u32 %r"], "9.7.12.5", globals_=FUNCTIONS["factorial"])  # fmt: skip
    yield flow("call.struct", "call with a structure", lanes(lambda k: (k + 7) + 7),
               ["{", "    .param .align 8 .b8 a[16];", "    .param .align 8 .b8 b[16];",
                "    cvt.u64.u32 %x, %i;", "    mov.u64 %y, 7;", "    st.param.b64 [a], %x;",
                "    st.param.b64 [a+8], %y;", "    call (b), sum_struct, (a);",
                "    ld.param.b64 %x, [b];", "    ld.param.b64 %y, [b+8];", "}",
                "add.u64 %x, %x, %y;", "cvt.u32.u64 %v, %x;"], [".u64 %x", ".u64 %y"],
               "9.7.12.5", globals_=FUNCTIONS["sum_struct"])  # fmt: skip
    test = flow("call.local_pointer", "call with a pointer to local memory", lanes(lambda k: k + 100),
                ["st.local.u32 [slot], %i;", "mov.u64 %x, slot;", "cvta.local.u64 %x, %x;", "{",
                 "    .param .b64 a;", "    st.param.b64 [a], %x;", "    call bump, (a);", "}",
                 "ld.local.u32 %v, [slot];"], [".u64 %x"], "9.7.12.5", globals_=FUNCTIONS["bump"])  # fmt: skip
    test.body.insert(0, ".local .align 8 .b8 slot[8];")
    yield test
    prototype = "proto: .callprototype (.param .b32 _) _ (.param .b32 _);"
    body = ["{", "    .param .b32 a;", "    .param .b32 b;", "    st.param.b32 [a], %i;", f"    {prototype}",
            "    call (b), %f, (a), proto;", "    ld.param.b32 %v, [b];", "}"]  # fmt: skip
    yield flow("call.indirect", "indirect call, its own target per lane",
               lanes(lambda k: k * k if k % 3 == 0 else 2 * k),
               ["rem.u32 %r, %i, 3;", "setp.eq.u32 %p, %r, 0;", "mov.u64 %f, twice;", "mov.u64 %g, square;",
                "selp.b64 %f, %g, %f, %p;", *body], [".u32 %r", ".u64 %f", ".u64 %g", ".pred %p"],
               "9.7.12.5", globals_=FUNCTIONS["square"] + FUNCTIONS["twice"])  # fmt: skip
    s = Stream("call in loop")
    start = [s.below(50) for _ in range(32)]

    def repeat(x, n):
        for _ in range(n):
            x = x * x + 1 & M32
        return x

    yield kernel("control", "call.in_loop", "call in a divergent loop", "9.7.12.5",
                 [given("in0", "u32", start), wanted("out0", "u32", [repeat(x, k % 6) for k, x in enumerate(start)])],
                 ["ld.global.u32 %v, [%in0];", "rem.u32 %n, %i, 6;", "next:", "setp.eq.u32 %p, %n, 0;",
                  "@%p bra done;", *[c.replace("call.uni", "call") for c in call("square", "%v", "%v")],
                  "add.u32 %v, %v, 1;", "sub.u32 %n, %n, 1;", "bra next;", "done:", "st.global.u32 [%out0], %v;"],
                 [".u32 %v", ".u32 %n", ".pred %p"], globals_=FUNCTIONS["square"])  # fmt: skip


def tests():
    for group in (branches, threads_that_wait, calls):
        yield from group()
