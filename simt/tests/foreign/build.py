"""Makes the cases of this folder.

    python build.py data [--check]     inputs and expected outputs (NumPy), from each expect.py
    python build.py cuda [NVCC]        PTX from each source.cu (nvcc from PATH, or given)
    python build.py triton             PTX from each source.py (needs the triton package; no GPU)

`--only NAME,…` restricts to some cases. Nothing in the PTX is edited by hand.
"""

import argparse
import importlib.util
import io
import subprocess
import sys
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.dont_write_bytecode = True
sys.path.insert(0, str(HERE))


def load(path):
    spec = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def data(case, check):
    import numpy as np

    wrong = []
    made = load(case / "expect.py").case().arrays
    for name, array in made.items():
        buffer = io.BytesIO()
        np.save(buffer, array)
        file = case / name
        if not check:
            file.write_bytes(buffer.getvalue())
        elif not file.exists() or file.read_bytes() != buffer.getvalue():
            wrong.append(f"{case.name}/{name}: differs from what expect.py makes")
    for file in case.glob("*.npy"):
        if file.name not in made:
            wrong.append(f"{case.name}/{file.name}: expect.py does not make this file")
    return wrong


def cuda(case, nvcc, flags):
    targets = {launch["ptx"] for launch in tomllib.loads((case / "case.toml").read_text())["launch"]}
    for ptx in sorted(targets):
        arch = ptx.removesuffix(".ptx").replace("sm_", "compute_")
        command = [nvcc, "-ptx", f"-arch={arch}", "-std=c++17", *flags, "-o", ptx, "source.cu"]
        # Run inside the folder, so that no path of this machine gets into the file.
        subprocess.run(command, cwd=case, check=True)


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    args.add_argument("what", choices=["data", "cuda", "triton"])
    args.add_argument("nvcc", nargs="?", default="nvcc")
    args.add_argument("--check", action="store_true")
    args.add_argument("--only", default="")
    args.add_argument("--flag", action="append", default=[], help="passed to nvcc (-I of the CUDA C++ core libraries)")
    args = args.parse_args()
    wrong = []
    for case in sorted(p.parent for p in HERE.glob("*/case.toml")):
        if args.only and case.name not in args.only.split(","):
            continue
        if args.what == "data":
            wrong += data(case, args.check)
        elif args.what == "cuda" and (case / "source.cu").exists():
            cuda(case, args.nvcc, args.flag)
        elif args.what == "triton" and (case / "source.py").exists():
            import triton_ptx

            triton_ptx.build(case)
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
