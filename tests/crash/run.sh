#!/bin/sh
# Runs the crash matrix and the power cuts alone, and prints how many points and states there were, and all together.
#
# A point is one system call that changes something, of one change of a node, with one fault that was seen in the trace.
# `cargo test` alone tries a part of this: of EIO and EROFS one point in four, of what may be said instead of the same
# again one thing in turn, of the runs that are killed before a power cut one in six. It says so in its lines.
# A state is what a power cut may leave of a recorded run, as the model in power.rs has it.
set -eu

out=$(mktemp)
trap 'rm -f "$out"' EXIT
code=0
# --nocapture: the harness hides what a test that passes says.
CNISTER_CRASH=all cargo test --locked --test crash -- fail:: kill:: replay:: mutant:: --nocapture >"$out" 2>&1 || code=$?
if [ "$code" -ne 0 ]; then
    cat "$out" >&2
    exit "$code"
fi
grep '^skipped: ' "$out" | sort -u || true
grep '^points: ' "$out" | sort -k4,4 -k3,3 || true
grep '^states: ' "$out" | sort -k3 || true
grep '^mutant: ' "$out" || true
# What other programs were stopped at is no point of this one.
awk '$1 == "points:" && $4 != "cp" && $4 != "install" { points += $2; rows++ }
    $1 == "states:" { states += $2 }
    END { printf "crash: stopped at %d points of %d changes with their faults, and after power cuts in %d states\n", points, rows, states }' "$out"
