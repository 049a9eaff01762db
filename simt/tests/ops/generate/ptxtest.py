"""One op test: a complete PTX module whose comment header says how to launch it
and what must come out. The format is described in `../README.md`."""

from dataclasses import dataclass, field

WIDTH = {
    "u8": 8, "s8": 8, "b8": 8, "e4m3": 8, "e5m2": 8, "u16": 16, "s16": 16, "b16": 16, "f16": 16, "bf16": 16,
    "u32": 32, "s32": 32, "b32": 32, "f32": 32, "u64": 64, "s64": 64, "b64": 64, "f64": 64,
}  # fmt: skip
# Registers for 8-bit values are 16 bits wide; the half formats live in `.b16`.
REGISTER = {"u8": "u16", "s8": "s16", "b8": "b16", "f16": "b16", "bf16": "b16"}
LOAD = {"f16": "b16", "bf16": "b16"}


@dataclass
class Buffer:
    """A parameter: `initial` bit patterns go in, `expect` elements must come out."""

    name: str
    dtype: str
    initial: list | None = None
    expect: list | None = None

    @property
    def kind(self):
        if self.expect is None:
            return "in"
        return "out" if self.initial is None else "inout"

    @property
    def length(self):
        return len(self.expect if self.initial is None else self.initial)


def hexed(dtype, x):
    """An element as the header writes it; ranges and alternatives come as text."""
    if isinstance(x, str):
        return x
    return f"{x & ((1 << WIDTH[dtype]) - 1):0{WIDTH[dtype] // 4}x}"


def between(dtype, lo, hi):
    return hexed(dtype, lo) if lo == hi else f"{hexed(dtype, lo)}..{hexed(dtype, hi)}"


def either(dtype, *elements):
    return "|".join(dict.fromkeys(hexed(dtype, e) for e in elements))


def wrapped(items, columns=96):
    line = ""
    for item in items:
        if line and len(line) + 1 + len(item) > columns:
            yield line
            line = ""
        line = f"{line} {item}" if line else item
    if line:
        yield line


@dataclass
class Test:
    """The module text is `globals_` + one entry `test` with `body`."""

    family: str
    name: str
    instruction: str
    spec: str
    buffers: list
    body: list
    registers: list = field(default_factory=list)
    grid: tuple = (1, 1, 1)
    block: tuple = (32, 1, 1)
    shared: int = 0
    target: str = "sm_80"
    version: str = "8.0"
    notes: list = field(default_factory=list)
    finds: list = field(default_factory=list)
    globals_: list = field(default_factory=list)
    directives: list = field(default_factory=list)

    @property
    def path(self):
        return f"{self.family}/{self.name}.ptx"

    def header(self):
        yield f"// test: {self.instruction}"
        yield f"// spec: PTX ISA {self.spec}"
        for note in self.notes:
            yield f"// note: {note}"
        if self.finds:
            yield f"// finds: {' '.join(self.finds)}"
        launch = f"grid {' '.join(map(str, self.grid))} block {' '.join(map(str, self.block))}"
        yield f"// launch: {launch}" + (f" shared {self.shared}" if self.shared else "")
        for b in self.buffers:
            yield f"// {b.name}: {b.kind} {b.dtype} {b.length}"
            for label, data in (("", b.initial), ("-> ", b.expect)):
                if data is not None:
                    for line in wrapped([hexed(b.dtype, x) for x in data]):
                        yield f"//   {label}{line}"

    def render(self):
        lines = list(self.header())
        lines += [f".version {self.version}", f".target {self.target}", ".address_size 64", ""]
        lines += self.globals_ + ([""] if self.globals_ else [])
        lines.append(".visible .entry test(")
        params = [f"    .param .u64 {b.name}" for b in self.buffers]
        lines += [p + "," for p in params[:-1]] + params[-1:] + [")"]
        lines += self.directives + ["{"]
        lines += [f"    .reg {r};" for r in self.registers]
        for line in self.body:
            lines.append(line if line.endswith(":") and not line.startswith(" ") else f"    {line}")
        lines += ["    ret;", "}", ""]
        return "\n".join(lines)


def pointers(buffers, index="%i", per_thread=None):
    """Each buffer's address for this thread: base + index · bytes per thread."""
    out = []
    for b in buffers:
        n = (per_thread or {}).get(b.name, 1) * WIDTH[b.dtype] // 8
        out.append(f"ld.param.u64 %{b.name}, [{b.name}];")
        out.append(f"cvta.to.global.u64 %{b.name}, %{b.name};")
        out.append(f"mad.wide.u32 %{b.name}, {index}, {n}, %{b.name};")
    return out


def elementwise(family, name, instruction, spec, ins, outs, code, extra=(), narrow=False, **more):
    """Every thread loads `%a0…` at its index, runs `code`, stores `%d0…`.

    `ins` and `outs` are lists of (dtype, values); `extra` declares scratch registers;
    `narrow` keeps 8-bit values in 8-bit registers.
    """
    wide = {} if narrow else REGISTER
    count = len(ins[0][1] if ins else outs[0][1])
    assert count <= 1024, name
    buffers = [Buffer(f"in{k}", t, initial=v) for k, (t, v) in enumerate(ins)]
    buffers += [Buffer(f"out{k}", t, expect=v) for k, (t, v) in enumerate(outs)]
    assert all(b.length == count for b in buffers), name
    registers = [".u32 %i"] + [f".u64 %{b.name}" for b in buffers]
    registers += [f".{wide.get(t, LOAD.get(t, t))} %a{k}" for k, (t, _) in enumerate(ins)]
    registers += [f".{wide.get(t, LOAD.get(t, t))} %d{k}" for k, (t, _) in enumerate(outs)]
    registers += list(extra)
    body = ["mov.u32 %i, %tid.x;"] + pointers(buffers)
    for k, (t, _) in enumerate(ins):
        body.append(f"ld.global.{LOAD.get(t, t)} %a{k}, [%in{k}];")
    body += [code] if isinstance(code, str) else list(code)
    for k, (t, _) in enumerate(outs):
        body.append(f"st.global.{LOAD.get(t, t)} [%out{k}], %d{k};")
    return Test(family, name, instruction, spec, buffers, body, registers,
                block=(count, 1, 1), **more)  # fmt: skip


def kernel(family, name, instruction, spec, buffers, code, registers=(), per_thread=None, **more):
    """A module with `%i` = thread index and `%<buffer>` = this thread's address in each
    buffer (`per_thread[buffer]` elements apart, 1 unless said, 0 for the buffer's start)."""
    declared = [".u32 %i"] + [f".u64 %{b.name}" for b in buffers] + list(registers)
    body = ["mov.u32 %i, %tid.x;"] + pointers(buffers, per_thread=per_thread) + list(code)
    return Test(family, name, instruction, spec, buffers, body, declared, **more)


def given(name, dtype, values):
    return Buffer(name, dtype, initial=list(values))


def wanted(name, dtype, values):
    return Buffer(name, dtype, expect=list(values))


def changed(name, dtype, before, after):
    return Buffer(name, dtype, initial=list(before), expect=list(after))
