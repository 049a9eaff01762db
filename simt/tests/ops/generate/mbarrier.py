"""mbarrier with every order, scope and space: PTX ISA 9.7.13.15.

One thread runs a script and writes down what it sees, pending arrivals and answers of waits; `Model`
says what that must be. What orders mean between threads is the matter of the checkers' tests.
"""

from ptxtest import kernel, wanted

SPACES = ("", ".shared", ".shared::cta")


class Model:
    """An mbarrier (9.7.13.15.1): a phase ends when no arrival and no byte is missing."""

    def __init__(self, count):
        self.phase, self.count, self.pending, self.bytes = 0, count, count, 0

    def end(self):
        if self.pending == 0 and self.bytes == 0:
            self.phase, self.pending = self.phase + 1, self.count

    def arrive(self, count=1, drop=False, bytes_=0):
        """Returns what `mbarrier.pending_count` says of the state."""
        before = self.pending
        self.bytes += bytes_
        self.pending -= count
        self.count -= count if drop else 0
        self.end()
        return before

    def complete(self, bytes_):
        self.bytes -= bytes_
        self.end()

    def over(self, phase):
        return int(self.phase > phase)


class Script:
    """Code and, beside it, the words it must write."""

    def __init__(self, count, init="mbarrier.init.shared.b64 [bar], {};"):
        self.model = Model(count)
        self.code = ["mov.u64 %g, bar;", "cvta.shared.u64 %g, %g;", init.format(count)]
        self.words = []
        self.labels = 0

    def put(self, *lines):
        self.code += lines

    def sees(self, register, word):
        self.code.append(f"st.global.u32 [%out0+{4 * len(self.words)}], {register};")
        self.words.append(word)

    def asks(self, phase, parity=False, op=None, limit=""):
        """Whether the phase is over: by its parity, or by the state %s that an arrival of it gave."""
        operand = phase % 2 if parity else "%s"
        op = op or f"mbarrier.test_wait{'.parity' if parity else ''}.shared.b64 %p, [bar]"
        self.put(f"{op}, {operand}{limit};", "selp.u32 %v, 1, 0, %p;")
        self.sees("%v", self.model.over(phase))

    def arrives(self):
        self.put("mbarrier.arrive.shared.b64 %t, [bar];")
        self.model.arrive()

    def test(self, name, op, spec, needs=""):
        """`needs`: all modifiers of what is tested, for the version that takes them."""
        relaxed = ".relaxed" in needs and not needs.startswith("expect_tx")
        newer = relaxed or "cluster" in needs or "_tx" in needs or "try_wait" in needs
        return kernel("mbarrier", name, op, spec, [wanted("out0", "u32", self.words)], self.code,
                      [".u64 %g", ".u64 %s", ".u64 %t", ".u32 %v", ".pred %p"], block=(1, 1, 1),
                      globals_=[".shared .align 8 .b64 bar;"], target="sm_90" if newer else "sm_80",
                      version="8.6" if relaxed else "8.0")  # fmt: skip


def at(space):
    return "[bar]" if space else "[%g]"


def file(op):
    return op.replace("::", "_") + ("" if ".shared" in op else ".generic")


def lives():
    for space in SPACES:
        s = Script(3, f"mbarrier.init{space}.b64 {at(space)}, {{}};")
        s.put("mbarrier.arrive.noComplete.shared.b64 %s, [bar], 2;", "mbarrier.pending_count.b64 %v, %s;")
        s.sees("%v", s.model.arrive(2))
        s.asks(0)
        s.arrives()
        s.asks(0)
        # What is no mbarrier any more may become one.
        s.put(f"mbarrier.inval{space}.b64 {at(space)};", f"mbarrier.init{space}.b64 {at(space)}, 1;")
        s.model = Model(1)
        s.asks(0, parity=True)
        s.arrives()
        s.asks(0, parity=True)
        yield s.test(file(f"init_inval{space}"), f"mbarrier.init{space}, mbarrier.inval{space}", "9.7.13.15.9")


def arrivals():
    for drop in (False, True):
        for bytes_ in (0, 16):
            for order in ("", ".release.cta", ".release.cluster", ".relaxed.cta", ".relaxed.cluster"):
                for space in (*SPACES, ".shared::cluster"):
                    op = f"mbarrier.arrive{'_drop' * drop}{'.expect_tx' * bool(bytes_)}{order}{space}.b64"
                    # An arrival in a cluster's window gives no state.
                    state = "_" if "::cluster" in space else "%s"
                    s = Script(2)
                    s.put(f"{op} {state}, {at(space)}{f', {bytes_}' if bytes_ else ''};")
                    pending = s.model.arrive(drop=drop, bytes_=bytes_)
                    if state == "%s":
                        s.put("mbarrier.pending_count.b64 %v, %s;")
                        s.sees("%v", pending)
                        s.asks(0)
                    s.asks(0, parity=True)
                    s.arrives()
                    s.asks(0, parity=True)
                    if bytes_:
                        s.put(f"mbarrier.complete_tx.shared.b64 [bar], {bytes_};")
                        s.model.complete(bytes_)
                        s.asks(0, parity=True)
                    if state == "%s":
                        s.asks(0)
                    # The next phase ends by one arrival if the first took itself out.
                    s.arrives()
                    s.asks(1, parity=True)
                    yield s.test(file(op.removeprefix("mbarrier.")), op, "9.7.13.15.13", needs=op)


def parts():
    """Arrivals that do not end the phase."""
    for drop in (False, True):
        for order in ("", ".release.cta"):
            for space in SPACES:
                op = f"mbarrier.arrive{'_drop' * drop}.noComplete{order}{space}.b64"
                s = Script(5)
                s.put(f"{op} %s, {at(space)}, 3;", "mbarrier.pending_count.b64 %v, %s;")
                s.sees("%v", s.model.arrive(3, drop))
                s.arrives()
                s.asks(0)
                s.arrives()
                s.asks(0)
                # After a drop two are left.
                s.arrives()
                s.arrives()
                s.asks(1, parity=True)
                yield s.test(file(op.removeprefix("mbarrier.")), op, "9.7.13.15.13")


def transactions():
    for order in ("", ".relaxed.cta", ".relaxed.cluster"):
        for space in (*SPACES, ".shared::cluster"):
            expect, complete = (f"mbarrier.{what}_tx{order}{space}.b64 {at(space)}" for what in ("expect", "complete"))
            s = Script(1)
            s.put(f"{expect}, 48;")
            s.model.bytes = 48
            s.arrives()
            for bytes_ in (16, 32):
                s.asks(0, parity=True)
                s.put(f"{complete}, {bytes_};")
                s.model.complete(bytes_)
            s.asks(0, parity=True)
            yield s.test(file(f"transactions{order}{space}"), f"{expect.split(' ')[0]}, {complete.split(' ')[0]}",
                         "9.7.13.15.11", needs="expect_tx" + order)  # fmt: skip


def waits():
    for kind in ("test_wait", "try_wait"):
        for parity in ("", ".parity"):
            for order in ("", ".acquire.cta", ".acquire.cluster", ".relaxed.cta", ".relaxed.cluster"):
                for space in SPACES:
                    name = f"mbarrier.{kind}{parity}{order}{space}.b64"
                    # A limit in nanoseconds says how long to wait at most.
                    ask = dict(parity=bool(parity), op=f"{name} %p, {at(space)}",
                               limit=", 100" if kind == "try_wait" and space == ".shared" else "")  # fmt: skip
                    s = Script(2)
                    s.put("mbarrier.arrive.shared.b64 %s, [bar];")
                    s.model.arrive()
                    s.asks(0, **ask)
                    if parity:
                        s.asks(-1, **ask)
                    s.arrives()
                    s.asks(0, **ask)
                    s.put("mbarrier.arrive.shared.b64 %s, [bar];")
                    s.model.arrive()
                    s.asks(1, **ask)
                    s.arrives()
                    s.asks(1, **ask)
                    yield s.test(file(name.removeprefix("mbarrier.")), name, "9.7.13.15.16", needs=name)


def tests():
    for group in (lives, arrivals, parts, transactions, waits):
        yield from group()
