"""Makes the PTX of this folder from the kernels in it, without a GPU.

    pip install triton==3.9.0 && python build.py

Each module lists KERNELS: file name, jitted function, signature, constants, options. Line
information would hold absolute paths and is left out. Nothing in the PTX is edited by hand.
"""
import importlib
import os
import sys
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

HERE = Path(__file__).resolve().parent
MODULES = ["softmax_topk", "layernorm_backward", "ternary_matmul", "flash_attention_forward"]


def main():
    os.chdir(HERE)
    sys.path.insert(0, str(HERE))
    sys.dont_write_bytecode = True
    triton.knobs.compilation.disable_line_info = True
    triton.knobs.compilation.always_compile = True
    for name in sys.argv[1:] or MODULES:
        for file, function, signature, constants, options in importlib.import_module(name).KERNELS:
            signature = dict(signature, **{constant: "constexpr" for constant in constants})
            compiled = triton.compile(
                ASTSource(fn=function, signature=signature, constexprs=constants),
                target=GPUTarget("cuda", 80, 32),
                options=options,
            )
            (HERE / f"{file}.ptx").write_text(compiled.asm["ptx"])
            m = compiled.metadata
            print(f"{file}.ptx: entry {m.name}, {32 * m.num_warps} threads, {m.shared} bytes shared")


main()
