#!/bin/sh
# Puts Debian's CNI plugins into DIR/usr/lib/cni: `debian-plugins.sh DIR`.
#
# Needs neither root nor an installation: the package is downloaded and unpacked. Missing or outdated package lists are
# fetched into a temporary directory; the system's own are not touched. A second run does nothing.
set -eu

package=containernetworking-plugins

fail() { # message
    echo "error: $1" >&2
    exit 1
}

[ -n "${1:-}" ] || fail "no directory given, usage: debian-plugins.sh DIR"
for tool in apt-get dpkg-deb; do
    command -v "$tool" >/dev/null 2>&1 || fail "\`$tool\` not found; Debian's plugins need Debian's or Ubuntu's package tools"
done

mkdir -p -- "$1" || fail "cannot create the directory \`$1\`"
directory=$(CDPATH='' cd -- "$1" && pwd)
plugins=$directory/usr/lib/cni
# The plugins arrive by one rename, so their directory is there only when it is complete.
if [ -d "$plugins" ]; then
    echo "Debian's plugins: present in $plugins"
    exit 0
fi

scratch=$(mktemp -d "$directory/.debian-plugins.XXXXXX") || fail "cannot write to \`$directory\`"
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
# apt's own user, to which it drops when root calls it, must be able to enter.
chmod 755 "$scratch"
mkdir -p "$scratch/state/lists/partial" "$scratch/cache/archives/partial" "$scratch/package" "$scratch/tree"

# `apt-get` with state and cache of our own; what packages exist then is known after an `update`.
private_apt() {
    apt-get -o "Dir::State=$scratch/state" -o "Dir::Cache=$scratch/cache" -o APT::Sandbox::User="" "$@"
}

download() { # the command to use as apt-get
    (cd "$scratch/package" && "$1" -qq download "$package") >>"$scratch/log" 2>&1
}

if ! download apt-get; then
    if ! private_apt -qq update >>"$scratch/log" 2>&1 || ! download private_apt; then
        sed 's/^/    /' "$scratch/log" >&2
        fail "cannot download \`$package\` with apt"
    fi
fi

dpkg-deb -x "$scratch/package/$package"_*.deb "$scratch/tree" || fail "cannot unpack \`$package\`"
[ -d "$scratch/tree/usr/lib/cni" ] || fail "\`$package\` has no usr/lib/cni"
mkdir -p "$directory/usr/lib" "$directory/usr/share/doc"
# The licence goes with the binaries.
rm -rf "$directory/usr/share/doc/$package"
mv "$scratch/tree/usr/share/doc/$package" "$directory/usr/share/doc/"
mv "$scratch/tree/usr/lib/cni" "$plugins"
echo "Debian's plugins: $(basename "$scratch/package/$package"_*.deb) in $plugins"
