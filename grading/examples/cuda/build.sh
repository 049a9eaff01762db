#!/bin/sh
# Makes the PTX of this folder, without a GPU. nvcc from a toolkit, or from PyPI:
#   pip install nvidia-cuda-nvcc nvidia-nvvm nvidia-cuda-crt nvidia-cuda-runtime nvidia-cuda-cccl
# (all of one 13.0 release). Nothing in the PTX is edited by hand.
set -eu
cd "$(dirname "$0")"
${NVCC:-nvcc} -ptx -arch=compute_80 -std=c++17 -o softmax_topk.ptx softmax_topk.cu
