#!/bin/sh
# Puts the plugins of the demo into target/demo/plugins. Usage: prepare.sh [DIR]
# Without DIR they are Debian's, unpacked from the package; nothing is installed, and root is not needed.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
demo=$here/target/demo
mkdir -p "$demo"
rm -rf "$demo/plugins"
if [ -n "${1:-}" ]; then
	ln -s "$(cd "$1" && pwd)" "$demo/plugins"
	echo "plugins: those in $1"
else
	"$here/tests/peers/debian-plugins.sh" "$demo/debian"
	ln -s "$demo/debian/usr/lib/cni" "$demo/plugins"
fi
