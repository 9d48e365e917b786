# demo    the main job on real plugins: compose, sign, verify, install, check, repair; no server, no root
# test    every test; installs and builds what they need first
# bench   each row beside its peer, in the same run; writes target/bench.json
# lint    format, clippy with and without the publishing half, spelling of the scripts
# peers   the programs that tests and benchmarks compare with, built once into a cache outside the tree
SHELL := /bin/bash
HOST := $(shell rustc -vV | sed -n 's/^host: //p')
TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
# With an explicit --target the flag does not reach procedural macros, which cannot be static.
STATIC := RUSTFLAGS="-C target-feature=+crt-static" cargo build --locked --release --target $(HOST)
FULL := $(TARGET)/$(HOST)/release/cnister
NODE := $(TARGET)/node/$(HOST)/release/cnister

.PHONY: demo test unit node-binary bench lint peers system clean-notes

demo:
	@tests/demo/prepare.sh "$(PLUGINS)"
	@echo "compiling the static program; the first time this takes some minutes"
	@$(STATIC) --quiet
	@tests/demo/run.sh "$(FULL)"

# The build that nodes run: no publishing verbs, no shared libraries.
node-binary:
	$(STATIC) --no-default-features --target-dir $(TARGET)/node

system:
	@tests/peers/system.sh

peers:
	@tests/peers/build.sh

test: system peers node-binary unit

unit:
	@rm -rf $(TARGET)/tmp/peers-present $(TARGET)/tmp/peers-missing
	CNISTER_NODE_BINARY=$(NODE) cargo test --locked
	cargo test --locked --no-default-features --lib
	@tests/peers/summary.sh $(TARGET)/tmp

bench: system peers node-binary
	$(STATIC) --quiet
	CNISTER=$(FULL) CNISTER_NODE_BINARY=$(NODE) TARGET=$(TARGET) tests/bench/run.sh

lint:
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	cargo clippy --locked --no-default-features --lib --bins -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck tests/*/*.sh; else echo "skipped: shellcheck is not installed"; fi
