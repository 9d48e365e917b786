#!/bin/sh
# Installs the distribution's packages that are missing for building and testing, and nothing else.
#
#   CNISTER_REQUIRE_PEERS  1: packages that are missing and cannot be installed are a failure rather than a skip
#
# Works as root, or through a sudo that asks for no password. Starts no service and leaves none enabled: the tests run
# their own containerd and registry, on their own ports and directories.
set -eu

# What builds it; what the tests drive; what they compare with.
packages='
    python3 python3-venv
    time
    zstd
    ca-certificates gcc git libc6-dev libssl-dev make pkg-config zlib1g-dev
    busybox-static chromium iproute2 strace
    buildah containerd containernetworking-plugins docker-registry qemu-user-static runc skopeo
'
services='containerd docker-registry'
policy=/usr/sbin/policy-rc.d
saved_policy=$policy.cnister-saved
mark='# Written by tests/peers/system.sh of cnister, for the time of an installation.'

# A package counts as installed if another one that provides it is: Docker's own containerd must stay.
missing_packages() {
    # shellcheck disable=SC2016 # the fields are dpkg's
    installed=$(dpkg-query -W -f '${db:Status-Status} ${Package} ${Provides}\n' |
        awk '$1 == "installed" { gsub(/\([^)]*\)|,/, " "); for (i = 2; i <= NF; i++) print $i }')
    for package in $packages; do
        printf '%s\n' "$installed" | grep -qxF -- "$package" || echo "$package"
    done
}

skip() { # reason
    echo "system packages: $1" >&2
    [ "${CNISTER_REQUIRE_PEERS:-0}" != 1 ] || exit 1
    exit 0
}

# Undoes `forbid_services`, including that of an earlier run that was killed.
restore_policy() {
    if grep -qsxF -- "$mark" "$policy"; then
        rm -f "$policy"
    fi
    if [ -e "$saved_policy" ] && ! [ -e "$policy" ]; then
        mv "$saved_policy" "$policy"
    fi
}

# Keeps the packages' own scripts from starting services. An existing policy that does so is left alone.
forbid_services() {
    if [ -x "$policy" ]; then
        allowed=
        for service in $services; do
            status=0
            "$policy" "$service" start >/dev/null 2>&1 || status=$?
            [ "$status" = 101 ] || allowed=$service
        done
        [ -n "$allowed" ] || return 0
    fi
    if [ -e "$policy" ]; then
        mv -f "$policy" "$saved_policy"
    fi
    printf '%s\n' '#!/bin/sh' "$mark" 'exit 101' >"$policy"
    chmod 755 "$policy"
}

if ! command -v dpkg-query >/dev/null 2>&1 || ! command -v apt-get >/dev/null 2>&1; then
    skip "skipped, no apt to install them (the names are Debian's):$(printf '%s' "$packages" | tr -s ' \n' ' ')"
fi

missing=$(missing_packages | tr '\n' ' ')
if [ -z "$missing" ]; then
    echo "system packages: all installed"
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    if command -v sudo >/dev/null 2>&1 && sudo -n true 2>/dev/null; then
        exec sudo -n env CNISTER_REQUIRE_PEERS="${CNISTER_REQUIRE_PEERS:-0}" sh "$0"
    fi
    skip "skipped, run this as root to install: ${missing% }"
fi

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'restore_policy; rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
restore_policy
forbid_services

# Lists that cannot be refreshed may still work; if not, the installation fails and says so.
apt-get -qq update >"$log" 2>&1 || :
# shellcheck disable=SC2086 # one argument per package
if ! apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-install-recommends $missing >>"$log" 2>&1; then
    sed 's/^/    /' "$log" | tail -n 20 >&2
    echo "system packages: cannot install: ${missing% }" >&2
    exit 1
fi

if command -v systemctl >/dev/null 2>&1; then
    for service in $services; do
        case " $missing" in
            *" $service "*) systemctl --quiet disable "$service.service" >/dev/null 2>&1 || : ;;
        esac
    done
fi
echo "system packages: installed: ${missing% }"
