#!/bin/sh
set -eu
cd "$(dirname "$0")"
${CC:-cc} -std=c11 -D_POSIX_C_SOURCE=200809L -O2 -Wall -o program program.c -lm
