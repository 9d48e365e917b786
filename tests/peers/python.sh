#!/bin/sh
# Installs the checkers listed in `python.txt` into the cache of peers, in a virtual environment of their own.
#
#   CNISTER_PEERS          the cache, as for `build.sh`; the environment is its python/, the programs are in its bin/
#   CNISTER_REQUIRE_PEERS  1: a machine without Python is a failure rather than a skip
#
# The environment is made again when `python.txt` changed, so a second run does nothing and needs no network. Its programs
# appear in bin/ when all of it is there.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
wanted=$here/python.txt
peers=${CNISTER_PEERS:-${XDG_CACHE_HOME:-$HOME/.cache}/cnister/peers}
case $peers in
    /*) ;;
    *) peers=$PWD/$peers ;;
esac
programs='ntia-checker pyspdxtools'

# The caller's environment must not change what is installed here.
unset PYTHONPATH PYTHONHOME

# Ends the script if everything is installed as `python.txt` says now.
find_work() {
    cmp -s "$wanted" "$peers/stamps/python" || return 0
    for program in $programs sbom-python; do
        [ -x "$peers/bin/$program" ] || return 0
    done
    echo "checkers: up to date in $peers"
    exit 0
}

find_work
if ! python3 -c 'import ensurepip, venv' >/dev/null 2>&1; then
    echo "checkers: skipped, no Python 3 with venv to install them" >&2
    [ "${CNISTER_REQUIRE_PEERS:-0}" != 1 ]
    exit
fi

mkdir -p "$peers/stamps" "$peers/bin"
# The same lock as that of `build.sh`: the second run waits and then finds nothing to do.
exec 9>"$peers/.lock"
if command -v flock >/dev/null 2>&1; then
    flock 9
    find_work
fi

log=$(mktemp)
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
began=$(date +%s)
for program in $programs sbom-python; do
    rm -f "$peers/bin/$program"
done
rm -f "$peers/stamps/python"
# The list names every package, so nothing else is asked for.
if ! { python3 -m venv --clear "$peers/python" &&
    "$peers/python/bin/python" -m pip install --disable-pip-version-check --no-input --no-deps -r "$wanted" &&
    "$peers/python/bin/python" -m pip check; } >"$log" 2>&1 </dev/null 9>&-; then
    sed 's/^/    /' "$log" | tail -n 20 >&2
    echo "checkers: cannot install the packages of $wanted" >&2
    exit 1
fi

# A link to Python itself would not be the environment's.
printf '%s\n' '#!/bin/sh' "exec '$peers/python/bin/python' \"\$@\"" >"$peers/bin/sbom-python"
chmod 755 "$peers/bin/sbom-python"
for program in $programs; do
    ln -sf "../python/bin/$program" "$peers/bin/$program"
done
cp "$wanted" "$peers/stamps/python"
echo "checkers: installed in $(($(date +%s) - began)) s"
