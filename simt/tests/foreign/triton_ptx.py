"""PTX from Triton without a GPU: each `source.py` lists TARGETS (compute capabilities) and
KERNELS (file prefix, jitted function, signature, constants, options).

Line information names files by absolute path, so it is left out, except where a source
says LINES = True: that one is read by a relative path and calls no library function.
"""

import importlib.util
import os

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


def load(case):
    os.chdir(case)
    spec = importlib.util.spec_from_file_location(f"{case.name}_source", "source.py")
    module = importlib.util.module_from_spec(spec)
    # The loader makes the path absolute; the code object must keep the relative one.
    exec(compile((case / "source.py").read_text(), "source.py", "exec"), module.__dict__)
    return module


def build(case):
    source = load(case)
    triton.knobs.compilation.disable_line_info = not getattr(source, "LINES", False)
    triton.knobs.compilation.always_compile = True
    for name, function, signature, constants, options in source.KERNELS:
        for target in source.TARGETS:
            compiled = triton.compile(
                ASTSource(fn=function, signature=signature, constexprs=constants),
                target=GPUTarget("cuda", target, 32),
                options=options,
            )
            text = compiled.asm["ptx"]
            ptx = f"{name}sm_{target}{'a' if target == 90 else ''}.ptx"
            (case / ptx).write_text(text)
            m = compiled.metadata
            print(f"{case.name}/{ptx}: entry {m.name}, {m.num_warps} warps, {m.shared} bytes shared,"
                  f" global scratch {m.global_scratch_size}, {len(text)} characters")  # fmt: skip
            for descriptor in getattr(m, "tensordesc_meta", None) or ():
                print(f"    descriptor made by the host: {descriptor}")
