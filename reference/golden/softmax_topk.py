"""Golden vectors for softmax and top-k by PyTorch in float64.

    python softmax_topk.py         # needs torch and safetensors; writes softmax_topk-*.safetensors

Inputs f32, probabilities and lse f64, indices i64 by a stable descending sort (ties by lower index).

Run again with torch 2.15.0 and NumPy 2.4.6, it reproduced the checked-in files in every number, with
the same names, shapes and options; only the order of the tensors in a file may differ.
"""

import math
import os

import torch
from safetensors.torch import save_file

HERE = os.path.dirname(os.path.abspath(__file__))

# name, R, V, K, temperature, spread of the logits
CASES = [
    ("plain", 4, 50, 8, 1.0, 1.0),
    ("hot", 3, 97, 5, 2.5, 3.0),
    ("cold", 3, 97, 5, 0.3, 3.0),
    ("large-logits", 3, 64, 64, 1.0, 1e4),
    ("ties", 3, 200, 40, 1.0, 0.0),
    ("one-entry", 2, 1, 1, 1.0, 1.0),
    ("masked", 3, 30, 30, 1.0, 2.0),
]


def main():
    for number, (name, rows, width, k, temperature, spread) in enumerate(CASES):
        generator = torch.Generator().manual_seed(number)
        x = torch.randn(rows, width, generator=generator, dtype=torch.float32) * spread
        if name == "ties":
            x = torch.randint(0, 6, (rows, width), generator=generator).float() / 4
        if name == "masked":
            x[:, ::3] = -math.inf
        temperature = torch.tensor(temperature, dtype=torch.float32).item()
        scaled = x.double() / temperature
        prob = torch.softmax(scaled, 1)
        index = torch.sort(x, dim=1, descending=True, stable=True).indices[:, :k]
        tensors = {"logits": x, "prob": prob.gather(1, index), "index": index}
        tensors["lse"] = torch.logsumexp(scaled, 1)
        metadata = {"temperature": repr(temperature), "torch": torch.__version__}
        tensors = {key: t.contiguous() for key, t in tensors.items()}
        save_file(tensors, os.path.join(HERE, f"softmax_topk-{name}.safetensors"), metadata)


if __name__ == "__main__":
    main()
