#!/bin/sh
# Runs the benchmarks. Requires CNISTER, CNISTER_NODE_BINARY and TARGET, which `make bench` sets.
set -eu
export CNISTER_PEERS="${CNISTER_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/cnister/peers}"
for program in python3 time buildah docker-registry; do
	if ! PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null; then
		echo "skipped: $program is not installed"
		exit "${CNISTER_REQUIRE_PEERS:-0}"
	fi
done
if [ ! -x "$CNISTER_PEERS/bin/cosign" ]; then
	echo "skipped: the peers are not built; make peers"
	exit "${CNISTER_REQUIRE_PEERS:-0}"
fi
exec python3 -B "$(dirname "$0")/bench.py" "$TARGET/bench.json"
