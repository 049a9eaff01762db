#!/bin/sh
# Installs NVIDIA's assembler and disassembler from PyPI into target/cuda, where the static tests
# look for them. Needs python3 with venv; no GPU, driver or toolkit.
set -eu
cd "$(dirname "$0")/.."
# One release of each, so that figures do not move by themselves.
if [ ! -x target/cuda/bin/pip ]; then
    mkdir -p target
    python3 -m venv target/cuda
fi
target/cuda/bin/pip install --quiet --disable-pip-version-check \
    "nvidia-cuda-nvcc==13.0.*" "nvidia-cuda-nvdisasm==13.2.*"
find target/cuda/lib -name ptxas -exec {} --version \;
