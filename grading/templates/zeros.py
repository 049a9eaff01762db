"""pip install triton && python zeros.py   makes zeros.ptx, without a GPU."""
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource


@triton.jit
def zeros(out, bytes, BLOCK: tl.constexpr):
    """Fills an output with zeros: where the work begins."""
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.zeros((BLOCK,), tl.uint8), mask=at < bytes)


if __name__ == "__main__":
    # Line information would hold absolute paths.
    triton.knobs.compilation.disable_line_info = True
    signature = {"out": "*u8", "bytes": "i32", "BLOCK": "constexpr"}
    source = ASTSource(fn=zeros, signature=signature, constexprs={"BLOCK": 128})
    compiled = triton.compile(source, target=GPUTarget("cuda", 80, 32), options={"num_warps": 4})
    with open("zeros.ptx", "w") as file:
        file.write(compiled.asm["ptx"])
    # Triton adds two pointers to its own scratch memories to a kernel's parameters.
    print("entry", compiled.metadata.name, 32 * compiled.metadata.num_warps, "threads,", compiled.metadata.shared, "bytes shared")
