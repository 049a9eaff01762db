"""Writes every op test below the parent folder, or compares with what is there.

    python generate.py                        write all files
    python generate.py --check                fail if a file differs, is missing or is stray
    python generate.py --ptxas [PATH]         also assemble each file (ptxas from PATH by default)
    python generate.py --only integer,mma     these families only

Needs Python 3.11, mpmath and NumPy. Expected values come from exact arithmetic here,
never from the machine under test.
"""

import argparse
import importlib
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
# Everything beside this file that offers `tests()` is a source of tests.
LIBRARY = {"generate", "floats", "ptxtest", "values"}


def collect(only):
    sys.path.insert(0, str(HERE))
    found = {}
    for module in sorted(p.stem for p in HERE.glob("*.py")):
        if module in LIBRARY:
            continue
        loaded = importlib.import_module(module)
        if not hasattr(loaded, "tests"):
            continue
        for test in loaded.tests():
            if only and test.family not in only:
                continue
            assert test.path not in found, f"two tests are called {test.path}"
            found[test.path] = test
    return found


def assemble(ptxas, path, target):
    run = subprocess.run(
        [ptxas, f"-arch={target}", "-o", "/dev/null", str(path)], capture_output=True, text=True
    )
    return None if run.returncode == 0 else f"{path}\n{run.stdout}{run.stderr}"


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    args.add_argument("--check", action="store_true")
    args.add_argument("--ptxas", nargs="?", const="ptxas")
    args.add_argument("--only", default="")
    args = args.parse_args()
    only = set(filter(None, args.only.split(",")))
    tests = collect(only)

    wrong = []
    for path, test in tests.items():
        file, text = ROOT / path, test.render()
        if args.check:
            if not file.exists() or file.read_text() != text:
                wrong.append(f"{path}: differs from what the generator writes")
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
    families = {p.split("/")[0] for p in tests}
    for file in sorted(ROOT.glob("*/*.ptx")):
        path = str(file.relative_to(ROOT))
        if path.split("/")[0] in families and path not in tests:
            wrong.append(f"{path}: no generator writes this file")
    if args.ptxas:
        ptxas = shutil.which(args.ptxas)
        if ptxas is None:
            sys.exit(f"no ptxas at {args.ptxas}: install the nvidia-cuda-nvcc wheel or give its path")
        with ThreadPoolExecutor(2) as pool:
            jobs = [pool.submit(assemble, ptxas, ROOT / p, t.target) for p, t in tests.items()]
            wrong += [e for e in (j.result() for j in jobs) if e]
    counts = {f: sum(p.startswith(f + "/") for p in tests) for f in sorted(families)}
    print(", ".join(f"{f} {n}" for f, n in counts.items()), f"- {len(tests)} tests")
    for line in wrong:
        print(line, file=sys.stderr)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
