#!/usr/bin/env python3
"""Times the shapes of benches/shapes.toml through other people's kernels, on this machine's GPU.

    scripts/gpu-peers.py [--results FILE] [--only NAME] [--dry-run | --table]

Peers: PyTorch eager, torch.compile, scaled_dot_product_attention by its flash and cuDNN back ends,
Triton kernels written here, and cuBLAS through torch.matmul. Times are by CUDA events, after a
warm-up, over inputs rotated past the L2 cache, so that no run finds its input there. With
--results, a file that `cargo bench` or scripts/gpu-run.sh wrote on the same machine, each figure
becomes a ratio to ours: the figures go back into that file, the table into FILE.peers.md. What a peer cannot do, or what fails, is left
blank and said: nothing is estimated.

--dry-run prints what would be timed, --table the ratios that FILE already holds; neither needs a GPU
or PyTorch.
"""

import argparse
import json
import math
import os
import statistics
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Callable

ROOT = Path(__file__).resolve().parent.parent
SHAPES = ROOT / "benches" / "shapes.toml"
WARM_UP = 10
RUNS = 50
# More than the last-level cache of any GPU that is measured (H200: 60 MB), several times over.
ROTATE_BYTES = 512 << 20


@dataclass(frozen=True)
class Peer:
    """Somebody's kernel: makes its inputs, and a function that runs it on them."""

    name: str
    make: Callable[[dict], Callable[[], object]]


def sizes(shape):
    return shape["gpu"]


# --- what peers run; torch is imported when they do


def floats(shape, *dims):
    import torch

    dtype = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}[shape["dtype"]]
    return torch.randn(*dims, device="cuda", dtype=dtype)


def layernorm(compiled):
    def make(shape):
        import torch

        rows, width = sizes(shape)["R"], sizes(shape)["D"]
        x, dy = floats(shape, rows, width), floats(shape, rows, width)
        gamma = floats(shape, width)
        beta = floats(shape, width)
        mean = x.float().mean(1)
        rstd = (x.float().var(1, unbiased=False) + 1e-5).rsqrt()
        if not compiled:
            backward = torch.ops.aten.native_layer_norm_backward
            args = (dy, x, [width], mean[:, None], rstd[:, None], gamma, beta, [True] * 3)
            return lambda: backward(*args)

        @torch.compile
        def backward(x, dy, gamma, mean, rstd):
            hat = (x.float() - mean[:, None]) * rstd[:, None]
            g = dy.float() * gamma.float()
            a = g.mean(1, keepdim=True)
            b = (g * hat).mean(1, keepdim=True)
            dx = (rstd[:, None] * (g - a - hat * b)).to(x.dtype)
            return dx, (dy.float() * hat).sum(0), dy.float().sum(0)

        return lambda: backward(x, dy, gamma, mean, rstd)

    return make


def softmax_topk(compiled):
    def make(shape):
        import torch

        rows, vocabulary, k = (sizes(shape)[n] for n in ("R", "V", "K"))
        logits = floats(shape, rows, vocabulary)

        def run(logits):
            lse = torch.logsumexp(logits.float(), 1)
            value, index = torch.topk(logits, k, 1)
            return torch.exp(value.float() - lse[:, None]), index, lse

        body = torch.compile(run) if compiled else run
        return lambda: body(logits)

    return make


def attention_inputs(shape):
    s = sizes(shape)
    q = floats(shape, s["B"], s["Hq"], s["N"], s["D"])
    k = floats(shape, s["B"], s["Hkv"], s["N"], s["D"])
    v = floats(shape, s["B"], s["Hkv"], s["N"], s["D"])
    return q, k, v


def sdpa(backend, backward):
    def make(shape):
        import torch
        from torch.nn.attention import SDPBackend, sdpa_kernel
        from torch.nn.functional import scaled_dot_product_attention

        q, k, v = attention_inputs(shape)
        causal = shape.get("causal", False)
        which = getattr(SDPBackend, backend)

        def forward():
            with sdpa_kernel(which):
                return scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)

        if not backward:
            return forward
        for tensor in (q, k, v):
            tensor.requires_grad_(True)
        out = forward()
        gradient = torch.randn_like(out)
        return lambda: torch.autograd.grad(out, (q, k, v), gradient, retain_graph=True)

    return make


def decode_dense(shape):
    """The cache gathered beforehand: what an unpaged kernel reads. A lower bound for the peer."""
    from torch.nn.functional import scaled_dot_product_attention

    s = sizes(shape)
    q = floats(shape, s["B"], s["Hq"], 1, s["D"])
    k = floats(shape, s["B"], s["Hkv"], s["S"], s["D"])
    v = floats(shape, s["B"], s["Hkv"], s["S"], s["D"])
    return lambda: scaled_dot_product_attention(q, k, v, enable_gqa=True)


def prefill_dense(shape):
    """A chunk at the end of a cache gathered beforehand, aligned bottom-right."""
    import torch
    from torch.nn.attention.bias import causal_lower_right
    from torch.nn.functional import scaled_dot_product_attention

    s = sizes(shape)
    q = floats(shape, s["B"], s["Hq"], s["T"], s["D"])
    k = floats(shape, s["B"], s["Hkv"], s["S"], s["D"])
    v = floats(shape, s["B"], s["Hkv"], s["S"], s["D"])
    mask = causal_lower_right(s["T"], s["S"])
    return lambda: scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)


def beam(compiled):
    def make(shape):
        import torch

        items, beams, vocabulary = (sizes(shape)[n] for n in ("B", "K", "V"))
        logits = floats(shape, items, beams, vocabulary)
        acc = torch.zeros(items, beams, device="cuda")

        def run(logits, acc):
            score = torch.log_softmax(logits.float(), 2) + acc[:, :, None]
            return torch.topk(score.flatten(1), 2 * beams, 1)

        body = torch.compile(run) if compiled else run
        return lambda: body(logits, acc)

    return make


def cublas(shape):
    """The dense 16-bit product of the same shape: what a packed weight competes with."""
    s = sizes(shape)
    x, w = floats(shape, s["M"], s["K"]), floats(shape, s["N"], s["K"])
    return lambda: x @ w.T


def triton_softmax(shape):
    """The read of the row alone, without a top-k."""
    import torch
    from gpu_peers_triton import log_sum_exp

    rows, vocabulary = sizes(shape)["R"], sizes(shape)["V"]
    logits = floats(shape, rows, vocabulary)
    out = torch.empty(rows, device="cuda")
    return lambda: log_sum_exp[(rows,)](logits, out, vocabulary, block=4096)


# By task and operation.
PEERS = {
    ("layernorm-backward", "layernorm-backward"): [
        Peer("PyTorch eager", layernorm(False)),
        Peer("torch.compile", layernorm(True)),
    ],
    ("softmax-topk", "softmax-topk"): [
        Peer("PyTorch eager", softmax_topk(False)),
        Peer("torch.compile", softmax_topk(True)),
        Peer("Triton, softmax only", triton_softmax),
    ],
    ("paged-kv-attention", "decode"): [Peer("SDPA, unpaged 16-bit cache", decode_dense)],
    ("paged-kv-attention", "prefill"): [Peer("SDPA, unpaged 16-bit cache", prefill_dense)],
    ("flash-attention-forward", "forward"): [
        Peer("SDPA flash", sdpa("FLASH_ATTENTION", False)),
        Peer("SDPA cuDNN", sdpa("CUDNN_ATTENTION", False)),
        Peer("SDPA memory-efficient", sdpa("EFFICIENT_ATTENTION", False)),
    ],
    ("flash-attention-backward", "backward"): [
        Peer("SDPA flash", sdpa("FLASH_ATTENTION", True)),
        Peer("SDPA cuDNN", sdpa("CUDNN_ATTENTION", True)),
        Peer("SDPA memory-efficient", sdpa("EFFICIENT_ATTENTION", True)),
    ],
    ("beam-search", "step"): [
        Peer("PyTorch eager", beam(False)),
        Peer("torch.compile", beam(True)),
    ],
    ("tree-verify", "attention"): [],
    ("tree-verify", "accept"): [],
    ("ternary-matmul", "forward"): [Peer("cuBLAS bf16", cublas)],
}


def peers(shape):
    return PEERS[shape["task"], shape["op"]]


# --- timing


def input_bytes(make_run):
    """Device memory that one set of inputs takes."""
    import torch

    before = torch.cuda.memory_allocated()
    run = make_run()
    return run, max(1, torch.cuda.memory_allocated() - before)


def time_peer(peer, shape):
    """Median, tenth and ninetieth percentile in µs."""
    import torch

    first, size = input_bytes(lambda: peer.make(shape))
    copies = max(1, min(64, math.ceil(ROTATE_BYTES / size)))
    free, _ = torch.cuda.mem_get_info()
    copies = max(1, min(copies, int(free * 0.7 / size)))
    runs = [first] + [peer.make(shape) for _ in range(copies - 1)]
    for i in range(WARM_UP):
        runs[i % copies]()
    torch.cuda.synchronize()
    times = []
    for i in range(RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        runs[i % copies]()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end) * 1000.0)
    tenths = statistics.quantiles(times, n=10)
    return {
        "median_us": statistics.median(times),
        "p10_us": tenths[0],
        "p90_us": tenths[-1],
        "runs": RUNS,
        "input_copies": copies,
    }


def measure(shapes):
    import torch

    if not torch.cuda.is_available():
        sys.exit("no GPU: --dry-run prints what would be timed")
    measured = []
    for shape in shapes:
        for peer in peers(shape):
            row = {"shape": shape["name"], "peer": peer.name, "timed": None, "why": None}
            try:
                row["timed"] = time_peer(peer, shape)
            except Exception as error:  # a peer that fails is said and left blank
                row["why"] = f"{type(error).__name__}: {error}".splitlines()[0]
            measured.append(row)
            torch.cuda.empty_cache()
            print(line(row), file=sys.stderr)
    return measured


def machine():
    import torch

    names = {"gpu": torch.cuda.get_device_name(), "torch": torch.__version__}
    names["cudnn"] = torch.backends.cudnn.version()
    try:
        import triton

        names["triton"] = triton.__version__
    except ImportError:
        names["triton"] = None
    return names


def line(row):
    timed = row["timed"]
    shown = f"{timed['median_us']:.1f} µs" if timed else f"blank ({row['why']})"
    return f"{row['shape']:<28} {row['peer']:<28} {shown}"


def ours(results, name):
    """Our best time of a shape in a results file."""
    times = [
        row["timed"]["median_us"]
        for row in results.get("rows", [])
        if row.get("shape") == name and row.get("timed")
    ]
    return min(times, default=None)


def table(measured, results):
    lines = ["| shape | peer | peer µs | ours µs | peer ÷ ours |", "|---|---|---|---|---|"]
    for row in measured:
        theirs = row["timed"]["median_us"] if row["timed"] else None
        mine = ours(results, row["shape"])
        ratio = f"{theirs / mine:.2f}" if theirs and mine else ""
        cells = [f"{t:.1f}" if t else "" for t in (theirs, mine)]
        lines.append(f"| {row['shape']} | {row['peer']} | {cells[0]} | {cells[1]} | {ratio} |")
    return "\n".join(lines)


def write(path, results):
    """Whole or not at all."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(results, indent=2) + "\n")
    os.replace(temporary, path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--results", type=Path, help="a results file of the same machine")
    parser.add_argument("--only", help="shapes whose name contains this")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--table", action="store_true", help="only print what FILE holds")
    arguments = parser.parse_args()
    if arguments.table:
        if not arguments.results:
            parser.error("--table is of a file: name it with --results")
        results = json.loads(arguments.results.read_text())
        print(table(results.get("peers", {}).get("rows", []), results))
        return
    shapes = tomllib.loads(SHAPES.read_text())["shape"]
    if arguments.only:
        shapes = [shape for shape in shapes if arguments.only in shape["name"]]
        if not shapes:
            parser.error(f"no shape of {SHAPES.name} has {arguments.only!r} in its name")
    unknown = {(shape["task"], shape["op"]) for shape in shapes} - PEERS.keys()
    if unknown:
        sys.exit(f"{SHAPES.name} names tasks that have no entry here: {sorted(unknown)}")
    if arguments.dry_run:
        for shape in shapes:
            names = [peer.name for peer in peers(shape)] or ["no peer has this"]
            print(f"{shape['name']}: {shape['dtype']} {sizes(shape)}: {', '.join(names)}")
        return
    results = json.loads(arguments.results.read_text()) if arguments.results else {}
    measured = measure(shapes)
    results["peers"] = {"machine": machine(), "rows": measured}
    ratios = table(measured, results)
    if arguments.results:
        write(arguments.results, results)
        arguments.results.with_suffix(".peers.md").write_text(ratios + "\n")
    print(ratios)


if __name__ == "__main__":
    main()
