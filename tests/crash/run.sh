#!/bin/sh
# Runs only the crash matrix and the power cuts, and prints the number of points and states, and the totals.
#
# A point is a system call that changes something during a change of a node, with a fault that was seen in the trace.
# `cargo test` alone tries a part of this, and says so: for EIO and EROFS one point in four, one alternative in turn
# instead of all, and one in six of the runs that are killed before a power cut.
# A state is what a power cut may leave of a recorded run, according to the model in power.rs.
set -eu

out=$(mktemp)
trap 'rm -f "$out"' EXIT
code=0
# --nocapture: the harness captures the output of a test that passes.
CNISTER_CRASH=all cargo test --locked --test crash -- fail:: kill:: replay:: mutant:: --nocapture >"$out" 2>&1 || code=$?
if [ "$code" -ne 0 ]; then
    cat "$out" >&2
    exit "$code"
fi
grep '^skipped: ' "$out" | sort -u || true
grep '^points: ' "$out" | sort -k4,4 -k3,3 || true
grep '^states: ' "$out" | sort -k3 || true
grep '^mutant: ' "$out" || true
# Points where other programs were stopped do not count.
awk '$1 == "points:" && $4 != "cp" && $4 != "install" { points += $2; rows++ }
    $1 == "states:" { states += $2 }
    END { printf "crash: interrupted at %d points of %d changes, and by power cuts in %d states\n", points, rows, states }' "$out"
