#!/bin/sh
# Runs every fuzz target for a while with the stable compiler, starting from its seeds, and prints what each did.
#
#   FUZZ_SECONDS  how long each target runs (default 600)
#   FUZZ_TARGETS  the targets to run (default: all)
#   FUZZ_JOBS     how many run at a time (default: one per core)
#   TARGET        where to build
#
# Coverage of branches and comparisons guides libFuzzer, as with cargo-fuzz. The address sanitizer would need a nightly
# compiler and is left out: the parsers contain no unsafe code. Overflows and debug assertions panic.
set -eu
cd "$(dirname "$0")/../../fuzz"

seconds=${FUZZ_SECONDS:-600}
# Without a target directory of its own, each run would compile everything again because of the flags.
build=${TARGET:-$PWD/../target}/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')
# shellcheck disable=SC2012 # the names are ours
targets=${FUZZ_TARGETS:-$(ls fuzz_targets | sed 's/\.rs$//')}

# The parsers are built with the crates of the program; only what fuzzing adds is resolved here.
cp ../Cargo.lock Cargo.lock

# With an explicit --target the flags do not reach build scripts, which have no libFuzzer to report coverage to.
coverage='-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4'
for kind in inline-8bit-counters pc-table trace-compares; do
    coverage="$coverage -Cllvm-args=-sanitizer-coverage-$kind"
done
# shellcheck disable=SC2046 # one word for each argument
RUSTFLAGS="--cfg fuzzing $coverage -Cdebug-assertions -Cdebuginfo=line-tables-only" \
    cargo build --release --target "$host" --target-dir "$build" $(printf ' --bin %s' $targets)

out=$build/runs
mkdir -p "$out"
export build host out seconds
# shellcheck disable=SC2016 # the inner shell expands them
printf '%s\n' $targets | xargs -P "${FUZZ_JOBS:-$(nproc)}" -I{} sh -c '
    target=$1
    found=$out/$target
    mkdir -p "$found"
    if "$build/$host/release/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=512 \
        -print_final_stats=1 -artifact_prefix="$found." "$found" "corpus/$target" >"$found.log" 2>&1; then
        sed -n "s/^stat::number_of_executed_units: *//p" "$found.log" |
            { read -r runs; echo "fuzz: $target: $runs inputs in $seconds s"; }
    else
        tail -n 30 "$found.log" >&2
        echo "fuzz: $target: failed; the input is in $found.*" >&2
        exit 1
    fi' sh {}
