#!/bin/sh
# Runs the crash matrix alone and prints how many points each change was stopped at, and all together.
#
# A point is one system call that changes something, of one change of a node, with one fault that was seen in the trace.
set -eu

out=$(mktemp)
trap 'rm -f "$out"' EXIT
code=0
# --nocapture: the harness hides what a test that passes says.
cargo test --locked --test crash -- fail:: kill:: --nocapture >"$out" 2>&1 || code=$?
grep -v '^points: ' "$out" | grep -E '^(test |skipped: |error|thread )|panicked|^  left:|^ right:' || true
if [ "$code" -ne 0 ]; then
    cat "$out" >&2
    exit "$code"
fi
grep '^points: ' "$out" | sort -k4,4 -k3,3
awk '$1 == "points:" { total += $2; rows++ } END { printf "crash: %d points in %d rows, every one of them ended well\n", total, rows }' "$out"
