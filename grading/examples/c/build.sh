#!/bin/sh
# Compiles the C examples into build/.
set -eu
cd "$(dirname "$0")"
mkdir -p build
for name in softmax_topk layernorm_backward; do
    ${CC:-cc} -std=c11 -D_POSIX_C_SOURCE=200809L -O2 -Wall -Wextra -o build/$name $name.c -lm
done
