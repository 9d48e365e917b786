#!/bin/sh
# Builds the peers listed in `versions` into a cache outside the source tree.
#
#   CNISTER_PEERS          the cache, by default ${XDG_CACHE_HOME:-$HOME/.cache}/cnister/peers; binaries are in its bin/,
#                          CNI plugins in its plugins/
#   CNISTER_REQUIRE_PEERS  1: a machine without Go is a failure rather than a skip
#
# A peer is built when its stamp differs from what `versions` and the flags below say, so a second run does nothing and
# needs no Go. Binaries appear by rename: a test that runs meanwhile sees the old one or the new one.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
versions=$here/versions
peers=${CNISTER_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/cnister/peers}
case $peers in
    /*) ;;
    *) peers=$PWD/$peers ;;
esac

# The caller's environment must not change what is built here.
export CGO_ENABLED=0 GOWORK=off GOFLAGS=-buildvcs=false
unset GOOS GOARCH GOBIN

# Prints the linker flags of a peer, from its version and the variable that holds it.
linker_flags() { # version stamp-variable
    case $2 in
        -) printf '%s' '-s -w' ;;
        *) printf '%s' "-s -w -X $2=$1" ;;
    esac
}

# Prints the stamp of a peer that is up to date.
stamp() { # how version module packages flags
    printf '%s' "$1 $3@$2 $4 CGO_ENABLED=0 -trimpath -ldflags $5"
}

# Prints the path of the binary of a package of a peer, relative to the cache.
destination() { # name packages package
    case $2 in
        *,*) printf '%s' "$1/${3##*/}" ;;
        *) printf '%s' "bin/$1" ;;
    esac
}

# Succeeds if all binaries of a peer exist and were built as `versions` says now.
is_current() { # name packages wanted-stamp
    [ -f "$peers/stamps/$1" ] && [ "$(cat "$peers/stamps/$1")" = "$3" ] || return 1
    for package in $(printf '%s' "$2" | tr ',' ' '); do
        [ -x "$peers/$(destination "$1" "$2" "$package")" ] || return 1
    done
}

# Builds one peer into the directory $scratch/NAME, binaries named after their packages.
compile() { # name how version module packages flags
    mkdir "$scratch/$1"
    case $2 in
        install)
            set -- "$1" "$6" "$(printf '%s' "$5" | tr ',' '\n' | sed "s|.*|$4/&@$3|")"
            # shellcheck disable=SC2086 # one argument per package; a package path has no blanks
            GOBIN=$scratch/$1 go install -trimpath -ldflags "$2" $3
            ;;
        tree)
            tree=$(go mod download -json "$4@$3" | sed -n 's/^[[:space:]]*"Dir": "\(.*\)",\{0,1\}$/\1/p')
            [ -n "$tree" ] || return 1
            for package in $(printf '%s' "$5" | tr ',' ' '); do
                go -C "$tree" build -trimpath -ldflags "$6" -o "$scratch/$1/${package##*/}" "./$package" || return 1
            done
            ;;
        *)
            echo "$versions: \`$2\` is not a way to build a peer, expected \`install\` or \`tree\`"
            return 1
            ;;
    esac
}

# Moves the binaries to their place. The stamp is removed first and written last, so an interrupted move is repeated.
publish() { # name packages wanted-stamp
    rm -f "$peers/stamps/$1"
    for package in $(printf '%s' "$2" | tr ',' ' '); do
        target=$peers/$(destination "$1" "$2" "$package")
        mkdir -p "$(dirname "$target")"
        mv -f "$scratch/$1/${package##*/}" "$target"
    done
    printf '%s\n' "$3" >"$scratch/stamp"
    mv -f "$scratch/stamp" "$peers/stamps/$1"
}

# Prints the lines of the list whose peer is not up to date.
peers_to_build() {
    sed -e '/^#/d' -e '/^[[:space:]]*$/d' "$versions" | while read -r name how version module packages variable; do
        wanted=$(stamp "$how" "$version" "$module" "$packages" "$(linker_flags "$version" "$variable")")
        is_current "$name" "$packages" "$wanted" || echo "$name $how $version $module $packages $variable"
    done
}

# Sets `pending`; ends the script if there is nothing to do.
find_work() {
    pending=$(peers_to_build)
    if [ -z "$pending" ]; then
        echo "peers: up to date in $peers"
        exit 0
    fi
}

find_work
if ! command -v go >/dev/null 2>&1; then
    echo "peers: skipped, no Go to build them:$(printf '%s\n' "$pending" | sed 's/\([^ ]*\).*/ \1/' | tr -d '\n')" >&2
    [ "${CNISTER_REQUIRE_PEERS:-0}" != 1 ]
    exit
fi

mkdir -p "$peers/stamps"
# Two builds at once would only do the same work twice; the second one waits and then finds nothing to do.
exec 9>"$peers/.lock"
if command -v flock >/dev/null 2>&1; then
    flock 9
    find_work
fi

scratch=$(mktemp -d "$peers/.build.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

failed=
while read -r name how version module packages variable; do
    flags=$(linker_flags "$version" "$variable")
    began=$(date +%s)
    if compile "$name" "$how" "$version" "$module" "$packages" "$flags" >"$scratch/log" 2>&1 </dev/null 9>&-; then
        publish "$name" "$packages" "$(stamp "$how" "$version" "$module" "$packages" "$flags")"
        echo "peers: built $name $version in $(($(date +%s) - began)) s"
    else
        sed 's/^/    /' "$scratch/log" | tail -n 20 >&2
        echo "peers: cannot build $name $version from $module" >&2
        failed="$failed $name"
    fi
done <<LIST
$pending
LIST

if [ -n "$failed" ]; then
    echo "peers: failed:$failed" >&2
    exit 1
fi
