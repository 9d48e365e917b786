#!/bin/bash
# The main workflow, step by step. Usage: run.sh CNISTER
# Leaves target/demo: layout (signed), root (the node), cosign.key, cosign.pub, policy.yaml.
set -euo pipefail
cd "$(dirname "$0")/../.."
cnister=$1
demo=target/demo
COSIGN_PASSWORD=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
export COSIGN_PASSWORD
rm -rf "$demo/layout" "$demo/root" "$demo"/cosign.key "$demo"/cosign.pub "$demo/policy.yaml"
mkdir -p "$demo/root"
started=$(date +%s%N)

bold='' plain=''
if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then bold=$'\033[1m' plain=$'\033[0m'; fi
step() { printf '\n%s%s%s\n' "$bold" "$1" "$plain"; }
run() { printf '$ cnister %s\n' "$*"; "$cnister" "$@"; }

step "1. Compose: the chosen plugins and the tool become one image; same inputs, same digest."
run build bundles/debian.yaml --directory "debian=$demo/plugins" -o "$demo/layout"

step "2. Sign: a throw-away key signs the index and the platform's manifest, as cosign does."
run keygen --output-key-prefix "$demo/cosign"
cp policies/demo.yaml "$demo/policy.yaml"
run sign --key "$demo/cosign.key" "oci:$demo/layout"

step "3. Verify: the policy allows the signer, and the chain ends in the digest of every file."
run verify --policy "$demo/policy.yaml" "oci:$demo/layout"

step "4. Install: nothing gets a plugin's name before it is proven."
run install --policy "$demo/policy.yaml" --root "$demo/root" "oci:$demo/layout"

step "5. Check: every file is hashed again, the whole proof repeated offline, every plugin asked for its VERSION."
run check --root "$demo/root"

step "6. One byte of a plugin changes: check says no and does not run it."
printf 'X' | dd of="$demo/root/opt/cni/bin/macvlan" bs=1 seek=4096 conv=notrunc status=none
if run check --root "$demo/root"; then echo "the altered plugin was not noticed"; exit 1; fi

step "7. Repair: the next install replaces what differs, and only that."
run install --policy "$demo/policy.yaml" --root "$demo/root" "oci:$demo/layout"
run check --root "$demo/root"

printf '\nAll of this took %d ms. To inspect the result: %s/{layout,root,cosign.key,cosign.pub,policy.yaml}\n' \
	$((($(date +%s%N) - started) / 1000000)) "$demo"
