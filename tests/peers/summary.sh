#!/bin/sh
# Prints one line about how many peers took part in the tests. Usage: summary.sh FOLDER
set -eu
count() { if [ -d "$1" ]; then find "$1" -type f | wc -l; else echo 0; fi; }
names() { if [ -d "$1" ]; then find "$1" -type f -printf '%f\n' | sort | tr '\n' ' '; fi; }
present=$(count "$1/peers-present")
missing=$(count "$1/peers-missing")
printf 'peers and tools: %d took part (%s), %d missing%s\n' "$present" "$(names "$1/peers-present" | sed 's/ $//')" \
	"$missing" "$(if [ "$missing" -gt 0 ]; then printf ' (%s)' "$(names "$1/peers-missing" | sed 's/ $//')"; fi)"
