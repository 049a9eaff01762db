#!/bin/sh
# Runs the GPU tests of every crate and the benches on this machine's first GPU, and writes one JSON
# with machine, clocks, commit and figures to benches/results/.
#
#   scripts/gpu-run.sh [--dry-run] [--out FILE] [--peers PYTHON] [--only FILTER]
#   scripts/gpu-run.sh --pack DIR         build here what another machine is to run, into DIR
#   DIR/scripts/gpu-run.sh --prebuilt DIR   there: needs a driver, neither Rust nor this checkout
#
# --dry-run   say what would be done, and do nothing
# --peers     a Python with PyTorch and Triton: times other people's kernels in the same run
# --only      shapes whose name contains this
#
# Exit codes: 0 all passed and written; 1 a test or a bench failed; 2 usage; 3 there is no GPU.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

dry=''; prebuilt=''; pack=''; out=''; peers=''; only=''
usage() {
    sed -n '2,15s/^# \{0,1\}//p' "$0" >&2
    exit 2
}
while [ $# -gt 0 ]; do
    case $1 in
    --dry-run) dry=yes ;;
    --prebuilt | --pack | --out | --peers | --only)
        [ $# -ge 2 ] || usage
        case $1 in
        --prebuilt) prebuilt=$2 ;;
        --pack) pack=$2 ;;
        --out) out=$2 ;;
        --peers) peers=$2 ;;
        --only) only=$2 ;;
        esac
        shift
        ;;
    *) usage ;;
    esac
    shift
done
[ -z "$prebuilt" ] || [ -z "$pack" ] || usage

# Runs a command, or says it.
run() {
    if [ -n "$dry" ]; then
        printf '+ %s\n' "$*"
    else
        "$@"
    fi
}

# The programs: the tests that use a GPU, by crate and name, and the benches.
tests='kernels-host:gpu kernels-host:probes kernels-host:ops_on_gpu grading:gpu'
bench='kernels'

# Path of the program that cargo makes for `cargo $*`: that of the test or bench, and not of programs
# that it wants to run.
program() {
    cargo "$@" --no-run --message-format=json |
        grep -E '"kind":\["(test|bench)"\]' |
        sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | tail -n 1
}

commit() {
    git describe --always --abbrev=40 --match= --dirty 2>/dev/null || echo unknown
}

if [ -n "$pack" ]; then
    # What the programs and scripts read: a folder that is laid out as a checkout is.
    run mkdir -p "$pack/scripts" "$pack/benches" "$pack/simt/tests"
    run cp scripts/gpu-run.sh scripts/gpu-peers.py scripts/gpu_peers_triton.py "$pack/scripts"
    run cp benches/shapes.toml "$pack/benches"
    run cp -R simt/tests/ops "$pack/simt/tests"
    for test in $tests; do
        crate=${test%%:*}; name=${test##*:}
        if [ -n "$dry" ]; then
            echo "+ cargo test --release -p $crate --test $name --no-run, into $pack/$crate-$name"
        else
            echo "building $crate $name" >&2
            cp "$(program test --release -p "$crate" --test "$name")" "$pack/$crate-$name"
        fi
    done
    if [ -n "$dry" ]; then
        echo "+ cargo bench --bench $bench --no-run, into $pack/bench-$bench"
        echo "+ cargo build --release --bin touchstone, into $pack/touchstone"
    else
        echo "building the bench and touchstone" >&2
        cp "$(program bench --bench "$bench")" "$pack/bench-$bench"
        cargo build --release --quiet --package grading --bin touchstone
        target=$(cargo metadata --format-version 1 --no-deps |
            sed -n 's/.*"target_directory":"\([^"]*\)".*/\1/p')
        cp "$target/release/touchstone" "$pack/touchstone"
        commit >"$pack/commit"
    fi
    exit 0
fi

if [ -n "$prebuilt" ]; then
    prebuilt=$(cd "$prebuilt" 2>/dev/null && pwd) || {
        echo "--prebuilt: there is no such folder" >&2
        exit 2
    }
    TOUCHSTONE_COMMIT=$(cat "$prebuilt/commit" 2>/dev/null || echo unknown)
else
    TOUCHSTONE_COMMIT=$(commit)
fi
export TOUCHSTONE_COMMIT

if [ -z "$dry" ] && ! nvidia-smi >/dev/null 2>&1; then
    echo "no GPU: nvidia-smi finds none. --dry-run says what would be done" >&2
    exit 3
fi

stamp=$(date -u +%Y-%m-%dT%H%M%SZ)
short=$(printf %.9s "$TOUCHSTONE_COMMIT")
case $out in
'') out="$root/benches/results/$stamp-$short.json" ;;
/*) ;;
*) out="$root/$out" ;;
esac
run mkdir -p "$(dirname "$out")"
failed=''
verdicts=''

# one NAME COMMAND…: a test program, and what became of it.
one() {
    name=$1
    shift
    echo "== $name" >&2
    if run "$@"; then
        verdicts="$verdicts$name=true "
    else
        verdicts="$verdicts$name=false "
        failed="$failed $name"
    fi
}

# 1. The GPU tests of every crate: each instruction, each kernel against its result on the PTX machine
#    and against its oracle.
for test in $tests; do
    crate=${test%%:*}; name=${test##*:}
    if [ -n "$prebuilt" ]; then
        one "$crate-$name" "$prebuilt/$crate-$name"
    else
        one "$crate-$name" cargo test --release -p "$crate" --test "$name"
    fi
done

# 2. Every check of every task, on the GPU.
if [ -n "$prebuilt" ]; then
    one grade "$prebuilt/touchstone" grade builtin --device cuda --full
else
    one grade cargo run --release --package grading --bin touchstone -- \
        grade builtin --device cuda --full
fi

# 3. The benches, which write the results, with what became of the tests.
TOUCHSTONE_RESULTS=$out
TOUCHSTONE_TESTS=$verdicts
export TOUCHSTONE_RESULTS TOUCHSTONE_TESTS
[ -z "$dry" ] || echo "+ export TOUCHSTONE_RESULTS=$out TOUCHSTONE_COMMIT=$TOUCHSTONE_COMMIT"
if [ -n "$prebuilt" ]; then
    one "bench-$bench" "$prebuilt/bench-$bench" --bench $only
else
    one "bench-$bench" cargo bench --bench "$bench" -- $only
fi

# 4. Other people's kernels, into the same file.
if [ -n "$peers" ]; then
    if ! run "$peers" scripts/gpu-peers.py --results "$out" ${only:+--only "$only"}; then
        failed="$failed peers"
    fi
else
    echo "no --peers: the columns of other people's kernels stay blank" >&2
fi

[ -z "$failed" ] || {
    echo "failed:$failed" >&2
    exit 1
}
[ -n "$dry" ] || echo "written: $out" >&2
